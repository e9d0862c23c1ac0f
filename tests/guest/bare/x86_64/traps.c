/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An exception ends the job of its processor, and is its answer.  It has a
 * stack of its own, so that one that comes of the stack gets through, too.
 */
#include "x86.h"

#define TASK_TYPE 0x89
#define INTERRUPT_GATE 0x8e
#define EXCEPTION_STACK 1
#define NR_EXCEPTIONS 32

typedef struct Frame {
    uint64_t rip, cs, rflags, rsp, ss;
} Frame;

typedef struct Gate {
    uint16_t low, selector;
    uint8_t stack, type;
    uint16_t middle;
    uint32_t high, zero;
} Gate;

typedef struct __attribute__((packed)) Task {
    uint32_t zero0;
    uint64_t rsp[3];
    uint64_t zero1;
    uint64_t exception_stack;
    uint64_t zero2[7];
    uint16_t zero3, io_map;
} Task;

static Gate gates[256] __attribute__((aligned(16)));
static Task tasks[MAX_CPUS];
static char exception_stacks[MAX_CPUS][4096] __attribute__((aligned(16)));

static void resume(void)
{
    context_resume(&this_cpu()->context);
}

static void put_hex(const char *before, uint64_t value)
{
    char number[24];

    arch_console_put(before, length(before));
    arch_console_put(number, format_number(number, value, 16));
}

static void die_of(unsigned vector, uint64_t rip, uint64_t code)
{
    put_hex("error why=the program itself failed: vector 0x", vector);
    put_hex(" at 0x", rip);
    put_hex(" code 0x", code);
    arch_console_put("\n", 1);
    arch_halt();
}

/* Not inlined, or the compiler might think that nobody reads the frame. */
static __attribute__((noinline))
void exception(unsigned vector, Frame *frame, uint64_t code)
{
    Cpu *cpu = this_cpu();

    if (!cpu->in_job) {
        die_of(vector, frame->rip, code);
    }
    cpu->arch.vector = vector;
    cpu->arch.error_code = code;
    cpu->arch.rip = frame->rip;
    asm volatile("mov %%cr2, %0" : "=r"(cpu->arch.address));
    frame->rip = (uintptr_t)resume;
    frame->rsp = (cpu->context.rsp & ~15UL) - 8;
}

void arch_answer_exception(Cpu *cpu)
{
    Job *job = &cpu->job;

    say(job, "vector", cpu->arch.vector);
    say_hex(job, "code", cpu->arch.error_code);
    say_hex(job, "rip", cpu->arch.rip);
    if (cpu->arch.vector == 14) {
        say_hex(job, "address", cpu->arch.address);
    }
    fail(job, "exception");
}

#define EXCEPTION(n)                                                        \
    static __attribute__((interrupt)) void exception_##n(Frame *frame)      \
    {                                                                       \
        exception(n, frame, 0);                                             \
    }
#define EXCEPTION_WITH_CODE(n)                                              \
    static __attribute__((interrupt)) void exception_##n(Frame *frame,      \
                                                         unsigned long code) \
    {                                                                       \
        exception(n, frame, code);                                          \
    }

EXCEPTION(0)
EXCEPTION(1)
EXCEPTION(2)
EXCEPTION(3)
EXCEPTION(4)
EXCEPTION(5)
EXCEPTION(6)
EXCEPTION(7)
EXCEPTION_WITH_CODE(8)
EXCEPTION_WITH_CODE(10)
EXCEPTION_WITH_CODE(11)
EXCEPTION_WITH_CODE(12)
EXCEPTION_WITH_CODE(13)
EXCEPTION_WITH_CODE(14)
EXCEPTION(16)
EXCEPTION_WITH_CODE(17)
EXCEPTION(18)
EXCEPTION(19)
EXCEPTION_WITH_CODE(29)
/* Any other that this processor may have */
EXCEPTION(31)

static void (*const handlers[NR_EXCEPTIONS])(void) = {
#define HANDLER(n) [n] = (void (*)(void))exception_##n
    HANDLER(0), HANDLER(1), HANDLER(2), HANDLER(3), HANDLER(4), HANDLER(5),
    HANDLER(6), HANDLER(7), HANDLER(8), HANDLER(10), HANDLER(11), HANDLER(12),
    HANDLER(13), HANDLER(14), HANDLER(16), HANDLER(17), HANDLER(18),
    HANDLER(19), HANDLER(29), HANDLER(31),
};

/* It has ended somebody's sleep: that is all. */
static __attribute__((interrupt)) void interrupt(Frame *frame)
{
    apic_end_of_interrupt();
}

static __attribute__((interrupt)) void spurious(Frame *frame)
{
}

static void set_gate(unsigned vector, void *handler, unsigned stack)
{
    uint64_t address = (uintptr_t)handler;

    gates[vector] = (Gate) {
        .low = address, .middle = address >> 16, .high = address >> 32,
        .selector = CODE64, .type = INTERRUPT_GATE, .stack = stack,
    };
}

static void fill_gates(void)
{
    unsigned i;

    for (i = 0; i < NR_EXCEPTIONS; i++) {
        set_gate(i, handlers[i] ?: handlers[31], EXCEPTION_STACK);
    }
    for (; i < ARRAY_SIZE(gates); i++) {
        set_gate(i, spurious, 0);
    }
    set_gate(WAKE_VECTOR, interrupt, 0);
    set_gate(SERIAL_VECTOR, interrupt, 0);
}

static void load_task(unsigned index)
{
    uint64_t base = (uintptr_t)&tasks[index];
    unsigned entry = TASKS / 8 + 2 * index;

    tasks[index].exception_stack = (uintptr_t)exception_stacks[index + 1];
    tasks[index].io_map = sizeof(Task);
    gdt[entry] = (sizeof(Task) - 1) | (base & 0xffffff) << 16 |
        (uint64_t)TASK_TYPE << 40 | (base >> 24 & 0xff) << 56;
    gdt[entry + 1] = base >> 32;
    asm volatile("ltr %w0" :: "r"(8 * entry));
}

void traps_init(Cpu *cpu)
{
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } idt = {sizeof(gates) - 1, (uintptr_t)gates};

    if (!cpu->index) {
        fill_gates();
    }
    asm volatile("lgdt %0" :: "m"(*(char (*)[10])gdt_pointer));
    asm volatile("lidt %0" :: "m"(idt));
    load_task(cpu->index);
    paging_unmap_page((uintptr_t)stacks + cpu->index * STACK_SIZE);
}
