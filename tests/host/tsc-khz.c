/*
 * Prints how fast the time stamp counter counts, in kHz
 *
 * A Linux that boots under TCG measures it against a timer that TCG emulates,
 * and is far out when the machine is busy.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define TRIES 100
#define PERIOD_US 100000

typedef struct Moment {
    int64_t ns;
    uint64_t ticks;
} Moment;

static int64_t clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Both clocks at nearly the same time: of some tries the closest */
static Moment now(void)
{
    int64_t closest = INT64_MAX;
    Moment moment = { 0 };

    for (int i = 0; i < TRIES; i++) {
        int64_t before = clock_ns();
        uint64_t ticks = __rdtsc();
        int64_t took = clock_ns() - before;

        if (took < closest) {
            closest = took;
            moment = (Moment) { before + took / 2, ticks };
        }
    }
    return moment;
}

int main(void)
{
    Moment begin = now(), end;

    usleep(PERIOD_US);
    end = now();
    printf("%.0f\n", (end.ticks - begin.ticks) * 1e6 / (end.ns - begin.ns));
    return 0;
}
