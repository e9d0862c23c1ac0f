/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * COM1.  Its interrupt ends the first processor's sleep.
 */
#include "x86.h"

#define COM1 0x3f8
#define COM1_PIN 4
#define FIFO_SIZE 16

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
    outb(FIFO, 1);
    outb(MODEM, 0xb);           /* DTR, RTS, and the interrupt gets out */
    outb(INTERRUPTS, RECEIVED);
    apic_route(COM1_PIN, SERIAL_VECTOR);
}

int arch_console_get(void)
{
    return inb(STATUS) & RECEIVED ? inb(DATA) : -1;
}

void arch_console_put(const char *text, unsigned len)
{
    unsigned i;

    for (i = 0; i < len; i++) {
        while (i % FIFO_SIZE == 0 && !(inb(STATUS) & SENT)) {
            __builtin_ia32_pause();
        }
        outb(DATA, text[i]);
    }
}
