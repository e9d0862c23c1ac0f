/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What start.S and the C files both know.
 */
#ifndef ASM_H
#define ASM_H

#define CODE64 0x08
#define DATA64 0x10
#define CODE32 0x18
#define TASKS 0x20              /* 16 bytes a processor */

#define MAX_CPUS_ASM 16
#define STACK_SIZE 0x4000       /* a guard page is the lowest of it */

/* A page below 1 MiB that RAM has on every machine */
#define TRAMPOLINE 0x8000

/* Page tables: 4 GiB of large pages to begin with */
#define PRESENT_WRITABLE 3
#define LARGE 0x80

#endif /* ASM_H */
