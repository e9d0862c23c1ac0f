/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the program asks of an architecture: a folder beside this file.  That
 * also has arch-cpu.h with ArchCpu, what it keeps for each processor.
 */
#ifndef ARCH_H
#define ARCH_H

#include <stdbool.h>
#include <stdint.h>
#include "arch-cpu.h"

typedef struct Cpu Cpu;

/* The first processor comes here from the architecture's entry point. */
void bare_main(void);

/* The others come here once arch_start_cpus() has let them go. */
void bare_other_cpu(Cpu *cpu);

Cpu *this_cpu(void);

/* For the first processor.  How many have come, itself being one */
unsigned arch_start_cpus(void);

/* Ends the arch_wait() of a processor, or the next one it begins. */
void arch_wake(Cpu *cpu);

/*
 * Sleeps until there is input, or somebody wakes us; or less long.  What a
 * caller waits for is looked at with interrupts off, as they are elsewhere.
 */
void arch_wait(void);

uint64_t arch_cycles(void);

/* The next character, or -1; a NUL is none */
int arch_console_get(void);
void arch_console_put(const char *text, unsigned len);

/* From now on the host may not look into the program's memory. */
void arch_console_alone(void);

/*
 * Returns false; and then again, with true, when the processor has met an
 * exception.  What it was is told in the answer to its job.
 */
bool arch_context_save(ArchContext *context) __attribute__((returns_twice));
void arch_answer_exception(Cpu *cpu);

/* Makes addresses usable that neither are RAM nor lie below 4 GiB. */
bool arch_map(uint64_t start, uint64_t size);

int64_t arch_hypercall(uint64_t number, const uint64_t arguments[4]);

/* True if the hypervisor says that it takes conversions */
bool arch_may_convert(void);

/* Configuration space; false if the machine has no PCI, or none we know */
bool arch_has_pci(void);
uint32_t arch_pci_read(uint32_t bdf, uint32_t offset);
void arch_pci_write(uint32_t bdf, uint32_t offset, uint32_t value);

/* A BAR of ports rather than memory */
uint32_t arch_port_read(uint32_t port, unsigned size);
void arch_port_write(uint32_t port, unsigned size, uint32_t value);

/* @how may be NULL; returns if there is no such way. */
void arch_reset(const char *how);
void arch_power_off(void);
void arch_halt(void) __attribute__((noreturn));

#endif /* ARCH_H */
