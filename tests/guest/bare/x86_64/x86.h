/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the files of this architecture say to each other, and instructions.
 */
#ifndef X86_H
#define X86_H

#include "bare.h"
#include "asm.h"

_Static_assert(MAX_CPUS == MAX_CPUS_ASM, "start.S has another MAX_CPUS");

#define MSR_APIC_BASE 0x1b
#define MSR_GS_BASE 0xc0000101

typedef struct Cpuid {
    uint32_t a, b, c, d;
} Cpuid;

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;

    asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void outb(uint16_t port, uint8_t value)
{
    asm volatile("outb %0, %1" :: "a"(value), "Nd"(port));
}

static inline uint16_t inw(uint16_t port)
{
    uint16_t value;

    asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void outw(uint16_t port, uint16_t value)
{
    asm volatile("outw %0, %1" :: "a"(value), "Nd"(port));
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t value;

    asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void outl(uint16_t port, uint32_t value)
{
    asm volatile("outl %0, %1" :: "a"(value), "Nd"(port));
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;

    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    asm volatile("wrmsr" :: "a"((uint32_t)value), "d"((uint32_t)(value >> 32)),
                 "c"(msr) : "memory");
}

static inline Cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    Cpuid id;

    asm volatile("cpuid" : "=a"(id.a), "=b"(id.b), "=c"(id.c), "=d"(id.d)
                 : "a"(leaf), "c"(subleaf));
    return id;
}

/* start.S */
extern uint64_t gdt[], page_map[], page_directory_pointers[];
extern uint64_t page_directories[];
extern char gdt_pointer[], trampoline[], trampoline_end[], stacks[];
void context_resume(ArchContext *context) __attribute__((noreturn));

/* traps.c: descriptor tables of a processor, the guard page of its stack */
void traps_init(Cpu *cpu);

/* apic.c */
#define WAKE_VECTOR 0x40
#define SERIAL_VECTOR 0x41
#define SPURIOUS_VECTOR 0xff
void apic_init(Cpu *cpu);
void apic_end_of_interrupt(void);
void apic_start_others(void);
void apic_wake(const Cpu *cpu);
void apic_route(unsigned pin, unsigned vector);

/* paging.c */
void paging_init(void);
void paging_unmap_page(uint64_t address);

/* serial.c */
void serial_init(void);

/* pvh.c */
void pvh_init(const void *start_info);

/* cpu.c */
void x86_main(const void *start_info) __attribute__((noreturn));
void x86_other_cpu(unsigned index) __attribute__((noreturn));

#endif /* X86_H */
