/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The way into 64-bit mode: for the first processor from PVH's entry, with
 * paging off and %ebx at struct hvm_start_info; for the others from real
 * mode.  And what C cannot say.
 */
#include "asm.h"

    .section .note.pvh, "a", @note
    .align 4
    .long 4, 8, 18              /* Xen's PHYS32_ENTRY */
    .asciz "Xen"
    .quad pvh_entry

    .text
    .code32
    .global pvh_entry
pvh_entry:
    cli
    cld
    mov %ebx, %ebp
    mov $bss_start, %edi
    mov $program_end, %ecx
    sub %edi, %ecx
    shr $2, %ecx
    xor %eax, %eax
    rep stosl

    movl $page_directories + PRESENT_WRITABLE, %eax
    mov $page_directory_pointers, %edi
    mov $4, %ecx
1:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    loop 1b
    mov $LARGE | PRESENT_WRITABLE, %eax
    mov $page_directories, %edi
    mov $4 * 512, %ecx
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b
    movl $page_directory_pointers + PRESENT_WRITABLE, page_map

    lgdtl gdt_pointer
    mov $first_cpu, %esi
    jmp enter_long_mode

/* From a trampoline, with a GDT loaded */
other_cpu_32:
    mov $other_cpu, %esi

/* Goes on at %esi */
enter_long_mode:
    mov $page_map, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x20, %eax              /* PAE */
    mov %eax, %cr4
    mov $0xc0000080, %ecx       /* EFER */
    rdmsr
    or $0x100, %eax             /* LME */
    wrmsr
    mov $0x80000001, %eax       /* paging, protection */
    mov %eax, %cr0
    ljmpl $CODE64, $1f
    .code64
1:  jmp *%rsi

first_cpu:
    mov $stacks + STACK_SIZE, %esp
    call load_segments
    mov %ebp, %edi
    call x86_main

other_cpu:
    mov $1, %eax
    lock xadd %eax, next_cpu
    cmp $MAX_CPUS_ASM, %eax
    jae 2f
    mov %eax, %edi
    inc %eax
    imul $STACK_SIZE, %eax
    lea stacks(%eax), %esp
    call load_segments
    call x86_other_cpu
2:  hlt
    jmp 2b

load_segments:
    mov $DATA64, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    ret

/* Copied to TRAMPOLINE */
    .code16
    .global trampoline, trampoline_end
trampoline:
    cli
    cld
    lgdtl %cs:trampoline_gdt - trampoline
    mov $1, %eax
    mov %eax, %cr0
    ljmpl $CODE32, $other_cpu_32
trampoline_gdt:
    .word TASKS - 1
    .long gdt
trampoline_end:

    .code64
/* bool arch_context_save(ArchContext *context) */
    .global arch_context_save
arch_context_save:
    mov (%rsp), %rax
    mov %rax, (%rdi)
    lea 8(%rsp), %rax
    mov %rax, 8(%rdi)
    mov %rbx, 16(%rdi)
    mov %rbp, 24(%rdi)
    mov %r12, 32(%rdi)
    mov %r13, 40(%rdi)
    mov %r14, 48(%rdi)
    mov %r15, 56(%rdi)
    xor %eax, %eax
    ret

/* void context_resume(ArchContext *context): and it returns true there. */
    .global context_resume
context_resume:
    mov 8(%rdi), %rsp
    mov 16(%rdi), %rbx
    mov 24(%rdi), %rbp
    mov 32(%rdi), %r12
    mov 40(%rdi), %r13
    mov 48(%rdi), %r14
    mov 56(%rdi), %r15
    mov $1, %eax
    jmp *(%rdi)

    .data
    .align 16
    .global gdt, gdt_pointer
gdt:
    .quad 0
    .quad 0x00af9b000000ffff    /* CODE64 */
    .quad 0x00cf93000000ffff    /* DATA64 */
    .quad 0x00cf9b000000ffff    /* CODE32 */
    .fill MAX_CPUS_ASM * 2, 8, 0
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .quad gdt
next_cpu:
    .long 1

    .bss
    .align 4096
    .global page_map, page_directory_pointers, page_directories, stacks
page_map:
    .skip 4096
page_directory_pointers:
    .skip 4096
page_directories:
    .skip 4 * 4096
stacks:
    .skip MAX_CPUS_ASM * STACK_SIZE
