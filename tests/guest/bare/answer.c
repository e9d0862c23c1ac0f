/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The answer of a job: key=value, separated by blanks.  What does not fit is
 * left out, whole.  Then "ok" or "error", and the answer of each.
 */
#include "bare.h"

unsigned format_number(char *to, uint64_t value, unsigned base)
{
    char digits[20];
    unsigned nr = 0, len = 0;

    do {
        digits[nr++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (nr) {
        to[len++] = digits[--nr];
    }
    to[len] = '\0';
    return len;
}

void say_text(Job *job, const char *text)
{
    size_t len = length(text);

    if (job->answer_len + len + 1 < ANSWER_SIZE) {
        job->answer[job->answer_len++] = ' ';
        memcpy(job->answer + job->answer_len, text, len);
        job->answer_len += len;
    }
}

static void say_value(Job *job, const char *key, const char *prefix,
                      uint64_t value, unsigned base)
{
    char text[96];
    unsigned len = MIN(length(key), 64);

    memcpy(text, key, len);
    text[len++] = '=';
    while (*prefix) {
        text[len++] = *prefix++;
    }
    format_number(text + len, value, base);
    say_text(job, text);
}

void say(Job *job, const char *key, uint64_t value)
{
    say_value(job, key, "", value, 10);
}

void say_hex(Job *job, const char *key, uint64_t value)
{
    say_value(job, key, "0x", value, 16);
}

void say_signed(Job *job, const char *key, int64_t value)
{
    say_value(job, key, value < 0 ? "-" : "",
              value < 0 ? -(uint64_t)value : value, 10);
}

void say_times(Job *job)
{
    say(job, "p50", histogram_quantile(&job->times, 50));
    say(job, "p99", histogram_quantile(&job->times, 99));
    say(job, "max", job->times.max);
}

bool fail(Job *job, const char *why)
{
    if (!job->why) {
        job->why = why;
    }
    return false;
}

void put(const char *text)
{
    arch_console_put(text, length(text));
}

void put_number(uint64_t value)
{
    char text[24];

    format_number(text, value, 10);
    put(text);
}

static void put_answer(const Cpu *cpu)
{
    const Job *job = &cpu->job;

    put("cpu=");
    put_number(cpu->index);
    arch_console_put(job->answer, job->answer_len);
    put(" cycles=");
    put_number(job->cycles);
    if (job->failed) {
        put(" why=");
        put(job->why ? job->why : "no reason is known");
    }
}

void put_answers(uint64_t which)
{
    const char *separator = " ";
    bool failed = false;
    unsigned i;

    for (i = 0; i < nr_cpus; i++) {
        failed |= which & 1UL << i && cpus[i].job.failed;
    }
    put(failed ? "error" : "ok");
    for (i = 0; i < nr_cpus; i++) {
        if (which & 1UL << i) {
            put(separator);
            put_answer(&cpus[i]);
            separator = "; ";
        }
    }
    put("\n");
}
