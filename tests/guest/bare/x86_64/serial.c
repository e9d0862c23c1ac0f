/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * COM1.  Its interrupt ends the first processor's sleep.
 *
 * Each access of a port takes long, so as many bytes go through in one as the
 * FIFO has room for.  An empty one reads as zeros on QEMU.  But the hypervisor
 * then looks at the instruction and at the buffer: arch_console_alone().
 */
#include "x86.h"

#define COM1 0x3f8
#define COM1_PIN 4
#define FIFO_SIZE 16
#define FIFO_ENABLED 1
#define FIFO_WAKES_AT_14 0xc0

static bool alone;
static uint8_t received[FIFO_SIZE];
static unsigned at = FIFO_SIZE;

enum {
    DATA = COM1, INTERRUPTS = COM1 + 1, FIFO = COM1 + 2, LINE = COM1 + 3,
    MODEM = COM1 + 4, STATUS = COM1 + 5
};

enum { RECEIVED = 1, SENT = 0x20 };

void serial_init(void)
{
    outb(LINE, 0x80);
    outb(DATA, 1);              /* 115200 baud */
    outb(INTERRUPTS, 0);
    outb(LINE, 3);              /* 8 bits, no parity */
    outb(FIFO, FIFO_ENABLED | FIFO_WAKES_AT_14);
    outb(MODEM, 0xb);           /* DTR, RTS, and the interrupt gets out */
    outb(INTERRUPTS, RECEIVED);
    apic_route(COM1_PIN, SERIAL_VECTOR);
}

void arch_console_alone(void)
{
    alone = true;
}

static void receive(void)
{
    void *to = received;
    uint64_t count = sizeof(received);

    asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(DATA) : "memory");
    at = 0;
}

int arch_console_get(void)
{
    for (; at < sizeof(received); at++) {
        if (received[at]) {
            return received[at++];
        }
    }
    if (!(inb(STATUS) & RECEIVED)) {
        return -1;
    }
    if (alone) {
        return inb(DATA);
    }
    receive();
    return arch_console_get();
}

static void send(const char *text, uint64_t count)
{
    if (alone) {
        while (count--) {
            outb(DATA, *text++);
        }
    } else {
        asm volatile("rep outsb" : "+S"(text), "+c"(count) : "d"(DATA) :
                     "memory");
    }
}

void arch_console_put(const char *text, unsigned len)
{
    unsigned i;

    for (i = 0; i < len; i += FIFO_SIZE) {
        while (!(inb(STATUS) & SENT)) {
            __builtin_ia32_pause();
        }
        send(text + i, MIN(len - i, FIFO_SIZE));
    }
}
