/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Ports: those of PCI, those that end it all, and for everybody:
 *
 *   in PORT BYTES             1, 2 or 4
 *   out PORT BYTES VALUE      isa-debug-exit ends QEMU with 2 * VALUE + 1
 *   cpuid LEAF [SUBLEAF]
 *   rdmsr MSR
 *
 * Ways to reset: cf9, keyboard, ged (microvm with ACPI), triple (a triple
 * fault, which works on each).
 */
#include "x86.h"

#define PCI_ADDRESS 0xcf8
#define PCI_DATA 0xcfc
#define PCI_ENABLE (1U << 31)
#define RESET_CONTROL 0xcf9
#define KEYBOARD 0x64
#define PM_CONTROL 0x604        /* where SeaBIOS puts it, on pc and q35 */
#define SLEEP 0x2000
#define GED 0xfea00200UL        /* microvm's: sleep control, status, reset */
#define GED_POWER_OFF (5 << 2 | 1 << 5)
#define GED_RESET 0x42

static bool pci_locked;

static void lock_pci(void)
{
    while (__atomic_exchange_n(&pci_locked, true, __ATOMIC_ACQUIRE)) {
        __builtin_ia32_pause();
    }
}

static void unlock_pci(void)
{
    __atomic_store_n(&pci_locked, false, __ATOMIC_RELEASE);
}

bool arch_has_pci(void)
{
    bool has;

    lock_pci();
    outl(PCI_ADDRESS, PCI_ENABLE);
    has = inl(PCI_ADDRESS) == PCI_ENABLE;
    unlock_pci();
    return has;
}

uint32_t arch_pci_read(uint32_t bdf, uint32_t offset)
{
    uint32_t value;

    lock_pci();
    outl(PCI_ADDRESS, PCI_ENABLE | bdf << 8 | offset);
    value = inl(PCI_DATA);
    unlock_pci();
    return value;
}

void arch_pci_write(uint32_t bdf, uint32_t offset, uint32_t value)
{
    lock_pci();
    outl(PCI_ADDRESS, PCI_ENABLE | bdf << 8 | offset);
    outl(PCI_DATA, value);
    unlock_pci();
}

uint32_t arch_port_read(uint32_t port, unsigned size)
{
    return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
}

void arch_port_write(uint32_t port, unsigned size, uint32_t value)
{
    if (size == 1) {
        outb(port, value);
    } else if (size == 2) {
        outw(port, value);
    } else {
        outl(port, value);
    }
}

/* QEMU does it some time after the access. */
static void wait_for_it(void)
{
    uint64_t begin = arch_cycles();

    while (arch_cycles() - begin < 1UL << 30) {
        __builtin_ia32_pause();
    }
}

static void triple_fault(void)
{
    static const char none[10];

    asm volatile("lidt %0; int3" :: "m"(none));
}

void arch_reset(const char *how)
{
    if (!how || same(how, "triple")) {
        triple_fault();
    } else if (same(how, "cf9") && arch_has_pci()) {
        outb(RESET_CONTROL, 2);
        outb(RESET_CONTROL, 6);
        wait_for_it();
    } else if (same(how, "keyboard")) {
        outb(KEYBOARD, 0xfe);
        wait_for_it();
    } else if (same(how, "ged") && !arch_has_pci()) {
        AT(uint8_t, GED + 2) = GED_RESET;
        wait_for_it();
    }
}

void arch_power_off(void)
{
    if (arch_has_pci()) {
        outw(PM_CONTROL, SLEEP);
    } else {
        AT(uint8_t, GED) = GED_POWER_OFF;
    }
    wait_for_it();
}

static bool port_at(Job *job, uint64_t *port, uint64_t *size)
{
    if (!number_at(job, 1, port) || !number_at(job, 2, size)) {
        return false;
    }
    return (*port <= 0xffff && (*size == 1 || *size == 2 || *size == 4)) ||
        fail(job, "there are 65536 ports of 1, 2 or 4 bytes");
}

static bool in(Job *job)
{
    uint64_t port, size;

    if (!port_at(job, &port, &size)) {
        return false;
    }
    say_hex(job, "value", arch_port_read(port, size));
    return true;
}

static bool out(Job *job)
{
    uint64_t port, size, value;

    if (!port_at(job, &port, &size) || !number_at(job, 3, &value)) {
        return false;
    }
    arch_port_write(port, size, value);
    return true;
}

static bool tell_cpuid(Job *job)
{
    uint64_t leaf, subleaf = 0;
    Cpuid id;

    if (!number_at(job, 1, &leaf) ||
        (job->nr_words > 2 && !number_at(job, 2, &subleaf))) {
        return false;
    }
    id = cpuid(leaf, subleaf);
    say_hex(job, "eax", id.a);
    say_hex(job, "ebx", id.b);
    say_hex(job, "ecx", id.c);
    say_hex(job, "edx", id.d);
    return true;
}

static bool tell_msr(Job *job)
{
    uint64_t msr;

    if (!number_at(job, 1, &msr)) {
        return false;
    }
    say_hex(job, "value", rdmsr(msr));
    return true;
}

const Command arch_commands[] = {
    {"in", in}, {"out", out}, {"cpuid", tell_cpuid}, {"rdmsr", tell_msr}, {}
};
