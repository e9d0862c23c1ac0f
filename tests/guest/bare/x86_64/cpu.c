/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Processors: how they start, sleep, wake and call the hypervisor.
 */
#include "x86.h"

#define CR4_MCE 0x40
#define FW_CFG 0x510
#define FW_CFG_NR_CPUS 5
#define PATIENCE_CYCLES (1UL << 34)
#define KVM_SIGNATURE 0x40000000
#define KVM_MAY_CONVERT (1U << 16)
#define INTEL_B 0x756e6547      /* "Genu" */

static unsigned nr_started = 1;

Cpu *this_cpu(void)
{
    Cpu *cpu;

    asm("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

static void init_cpu(Cpu *cpu)
{
    uint64_t cr4;

    wrmsr(MSR_GS_BASE, (uintptr_t)cpu);
    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    asm volatile("mov %0, %%cr4" :: "r"(cr4 | CR4_MCE));
    traps_init(cpu);
    apic_init(cpu);
}

/* Before the local APIC stops listening, or it misses what it is to forget */
static void mask_pic(void)
{
    outb(0x21, 0xff);
    outb(0xa1, 0xff);
}

void x86_main(const void *start_info)
{
    cpus[0].self = &cpus[0];
    pvh_init(start_info);
    paging_init();
    mask_pic();
    init_cpu(&cpus[0]);
    serial_init();
    bare_main();
    arch_halt();
}

void x86_other_cpu(unsigned index)
{
    init_cpu(&cpus[index]);
    __atomic_fetch_add(&nr_started, 1, __ATOMIC_RELEASE);
    bare_other_cpu(&cpus[index]);
    arch_halt();
}

static unsigned configured_cpus(void)
{
    unsigned nr;

    outw(FW_CFG, FW_CFG_NR_CPUS);
    nr = inb(FW_CFG + 1);
    nr |= inb(FW_CFG + 1) << 8;
    return MIN(nr, MAX_CPUS);
}

unsigned arch_start_cpus(void)
{
    unsigned nr = configured_cpus();
    uint64_t begin = arch_cycles();

    if (nr > 1) {
        memcpy((void *)TRAMPOLINE, trampoline, trampoline_end - trampoline);
        apic_start_others();
    }
    while (__atomic_load_n(&nr_started, __ATOMIC_ACQUIRE) < nr &&
           arch_cycles() - begin < PATIENCE_CYCLES) {
        __builtin_ia32_pause();
    }
    return __atomic_load_n(&nr_started, __ATOMIC_ACQUIRE);
}

void arch_wake(Cpu *cpu)
{
    apic_wake(cpu);
}

void arch_wait(void)
{
    asm volatile("sti; hlt; cli" : : : "memory");
}

void arch_halt(void)
{
    for (;;) {
        asm volatile("cli; hlt");
    }
}

uint64_t arch_cycles(void)
{
    return __builtin_ia32_rdtsc();
}

bool arch_may_convert(void)
{
    Cpuid id = cpuid(KVM_SIGNATURE, 0);

    return id.b == 0x4b4d564b && id.c == 0x564b4d56 && id.d == 0x4d &&
        cpuid(KVM_SIGNATURE + 1, 0).a & KVM_MAY_CONVERT;
}

int64_t arch_hypercall(uint64_t number, const uint64_t arguments[4])
{
    int64_t value = number;

    if (cpuid(0, 0).b == INTEL_B) {
        asm volatile("vmcall" : "+a"(value)
                     : "b"(arguments[0]), "c"(arguments[1]),
                       "d"(arguments[2]), "S"(arguments[3]) : "memory");
    } else {
        asm volatile("vmmcall" : "+a"(value)
                     : "b"(arguments[0]), "c"(arguments[1]),
                       "d"(arguments[2]), "S"(arguments[3]) : "memory");
    }
    return value;
}
