/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bare-metal guest (multiboot, 32 bits, no paging): touches TOUCH_PAGES pages
 * once, then once more, with marks for bench/count.c around, and ends QEMU
 * through isa-debug-exit.
 */
#define TOUCH_BASE 0x2000000
#define MAGIC 0x1badb002
#define MARK(n) nopl 0x676d6500 + n(%eax)

        .text
        .long   MAGIC, 0, -MAGIC

        .globl  start
start:
        MARK(1)
        call    touch
        MARK(2)
        call    touch
        MARK(3)
        movb    $0, %al
        outb    %al, $0xf4
1:      hlt
        jmp     1b

touch:
        movl    $TOUCH_BASE, %esi
        movl    $TOUCH_PAGES, %ecx
1:      movb    $1, (%esi)
        addl    $4096, %esi
        decl    %ecx
        jnz     1b
        ret
