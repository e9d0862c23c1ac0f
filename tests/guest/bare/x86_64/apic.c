/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The local APIC, in whichever mode the firmware left it, and the I/O APIC.
 */
#include "x86.h"

#define APIC 0xfee00000UL
#define X2APIC_MSRS 0x800
#define X2APIC_ENABLED (1U << 10)
#define APIC_ENABLED (1U << 11)
#define IO_APIC 0xfec00000UL

enum {
    REG_ID = 0x20, REG_EOI = 0xb0, REG_SPURIOUS = 0xf0, REG_COMMAND = 0x300,
    REG_COMMAND_HIGH = 0x310, REG_TIMER = 0x320, REG_LINT0 = 0x350,
};

#define MASKED (1U << 16)
#define SOFTWARE_ENABLED (1U << 8)
#define BUSY (1U << 12)
#define ASSERT (1U << 14)
#define ALL_BUT_SELF (3U << 18)
#define INIT (5U << 8)
#define STARTUP (6U << 8)

static bool is_x2apic(void)
{
    return rdmsr(MSR_APIC_BASE) & X2APIC_ENABLED;
}

static uint32_t apic_read(unsigned reg)
{
    return is_x2apic() ? rdmsr(X2APIC_MSRS + reg / 16)
                       : AT(uint32_t, APIC + reg);
}

static void apic_write(unsigned reg, uint32_t value)
{
    if (is_x2apic()) {
        wrmsr(X2APIC_MSRS + reg / 16, value);
    } else {
        AT(uint32_t, APIC + reg) = value;
    }
}

static void send(uint32_t to, uint32_t what)
{
    if (is_x2apic()) {
        wrmsr(X2APIC_MSRS + REG_COMMAND / 16, (uint64_t)to << 32 | what);
        return;
    }
    while (apic_read(REG_COMMAND) & BUSY) {
        __builtin_ia32_pause();
    }
    apic_write(REG_COMMAND_HIGH, to << 24);
    apic_write(REG_COMMAND, what);
}

void apic_init(Cpu *cpu)
{
    wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_ENABLED);
    apic_write(REG_SPURIOUS, SOFTWARE_ENABLED | SPURIOUS_VECTOR);
    apic_write(REG_TIMER, MASKED);
    apic_write(REG_LINT0, MASKED);
    cpu->arch.apic_id = is_x2apic() ? apic_read(REG_ID)
                                    : apic_read(REG_ID) >> 24;
}

void apic_end_of_interrupt(void)
{
    apic_write(REG_EOI, 0);
}

static void pause_for(uint64_t cycles)
{
    uint64_t begin = arch_cycles();

    while (arch_cycles() - begin < cycles) {
        __builtin_ia32_pause();
    }
}

void apic_start_others(void)
{
    send(0, ALL_BUT_SELF | ASSERT | INIT);
    pause_for(1UL << 18);
    send(0, ALL_BUT_SELF | ASSERT | STARTUP | TRAMPOLINE >> 12);
}

void apic_wake(const Cpu *cpu)
{
    send(cpu->arch.apic_id, ASSERT | WAKE_VECTOR);
}

/* To the first processor, edge-triggered */
void apic_route(unsigned pin, unsigned vector)
{
    AT(uint32_t, IO_APIC) = 0x11 + 2 * pin;
    AT(uint32_t, IO_APIC + 0x10) = cpus[0].arch.apic_id << 24;
    AT(uint32_t, IO_APIC) = 0x10 + 2 * pin;
    AT(uint32_t, IO_APIC + 0x10) = vector;
}
