/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The answer of a job: key=value, separated by blanks.  What does not fit is
 * left out, whole.
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
