/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef ARCH_CPU_H
#define ARCH_CPU_H

#include <stdint.h>

/* As start.S saves it */
typedef struct ArchContext {
    uint64_t rip, rsp, rbx, rbp, r12, r13, r14, r15;
} ArchContext;

typedef struct ArchCpu {
    uint32_t apic_id;
    uint64_t vector, error_code, rip, address;  /* of its last exception */
} ArchCpu;

#endif /* ARCH_CPU_H */
