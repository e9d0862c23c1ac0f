/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Bare-metal guest (multiboot, 32 bits, no paging): touches TOUCH_PAGES pages
 * once, with marks for bench/count.c around.  Then, without DIRTY_PAGES, once
 * more, and it ends QEMU through isa-debug-exit; with it, it says so on the
 * debug console and touches that many of them again and again (0: sleeps).
 */
#define TOUCH_BASE 0x2000000
#define MAGIC 0x1badb002
#define MARK(n) nopl 0x676d6500 + n(%eax)

        .text
        .long   MAGIC, 0, -MAGIC

        .globl  start
start:
        movl    $TOUCH_PAGES, %ecx
        MARK(1)
        call    touch
        MARK(2)
#ifdef DIRTY_PAGES
        movb    $'T', %al
        outb    %al, $0xe9
1:
#if DIRTY_PAGES == 0
        hlt
#endif
        movl    $DIRTY_PAGES + 1, %ecx
        call    touch
#else
        movl    $TOUCH_PAGES, %ecx
        call    touch
        MARK(3)
        movb    $0, %al
        outb    %al, $0xf4
1:      hlt
#endif
        jmp     1b

touch:
        movl    $TOUCH_BASE, %esi
1:      movb    $1, (%esi)
        addl    $4096, %esi
        decl    %ecx
        jnz     1b
        ret
