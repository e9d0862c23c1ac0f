/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Jobs: one a processor.  A job's state is handed over with it: NONE and DONE
 * belong to the first processor, READY and RUNNING to the one that does it.
 */
#include "bare.h"

/* Looking at the console is slow: not more often than that */
#define POLL_CYCLES (1UL << 24)

static JobState state_of(const Cpu *cpu)
{
    return __atomic_load_n(&cpu->job.state, __ATOMIC_ACQUIRE);
}

static void set_state(Cpu *cpu, JobState state)
{
    __atomic_store_n(&cpu->job.state, state, __ATOMIC_RELEASE);
}

bool goes_on(void)
{
    static uint64_t polled;
    Cpu *cpu = this_cpu();
    uint64_t now = arch_cycles();

    if (!cpu->index && now - polled > POLL_CYCLES) {
        polled = now;
        serve_while_busy();
    }
    return !__atomic_load_n(&cpu->job.stop, __ATOMIC_RELAXED);
}

/* Again and again if told so; only the last answer counts */
static void run_rounds(Job *job)
{
    uint64_t repeat = 1, rounds = 0;
    bool good = option(job, "repeat", &repeat);

    while (good && (!repeat || rounds < repeat)) {
        job->answer_len = 0;
        histogram_clear(&job->times);
        good = job->command->run(job);
        rounds++;
        if (!goes_on()) {
            say(job, "stopped", 1);
            break;
        }
    }
    if (repeat != 1) {
        say(job, "rounds", rounds);
    }
    job->failed = !good;
}

void job_run(Cpu *cpu)
{
    uint64_t begin = arch_cycles();

    set_state(cpu, JOB_RUNNING);
    cpu->in_job = true;
    if (!arch_context_save(&cpu->context)) {
        run_rounds(&cpu->job);
    } else {
        cpu->job.failed = true;
        arch_answer_exception(cpu);
    }
    cpu->in_job = false;
    cpu->job.cycles = arch_cycles() - begin;
    set_state(cpu, JOB_DONE);
    if (cpu->index) {
        arch_wake(&cpus[0]);
    }
}

void bare_other_cpu(Cpu *cpu)
{
    for (;;) {
        while (state_of(cpu) != JOB_READY) {
            arch_wait();
        }
        job_run(cpu);
    }
}

void job_stop(uint64_t which)
{
    unsigned i;

    for (i = 0; i < nr_cpus; i++) {
        if (which & 1UL << i) {
            __atomic_store_n(&cpus[i].job.stop, true, __ATOMIC_RELAXED);
        }
    }
}

void job_start(uint64_t which)
{
    unsigned i;

    for (i = 0; i < nr_cpus; i++) {
        if (which & 1UL << i) {
            set_state(&cpus[i], JOB_READY);
        }
    }
    for (i = 1; i < nr_cpus; i++) {
        if (which & 1UL << i) {
            arch_wake(&cpus[i]);
        }
    }
}

/* The first processor's own job it has to have done itself. */
void job_wait(uint64_t which)
{
    unsigned i;

    for (i = 1; i < nr_cpus; i++) {
        while (which & 1UL << i && (state_of(&cpus[i]) == JOB_READY ||
                                    state_of(&cpus[i]) == JOB_RUNNING)) {
            serve_while_busy();
            arch_wait();
        }
    }
}
