/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   touch START SIZE read|write [seed=N] [random=SEED]
 *
 * One word a page, the first: write makes it what fill would.  In order, or
 * in a random one, so that nobody can guess the next.  The answer has the
 * cycles of the accesses: the median, the 99th of a hundred, the longest.
 */
#include "bare.h"

/* Each number below a power of two once: a full-period generator */
typedef struct Order {
    uint64_t nr;
    uint64_t mask, factor, addend;
    uint64_t now;
} Order;

static Order in_order(uint64_t nr)
{
    return (Order) {.nr = nr, .mask = ~0UL, .factor = 1, .addend = 1};
}

static Order random_order(uint64_t nr, uint64_t seed)
{
    uint64_t mask = 1;

    while (mask + 1 < nr) {
        mask = mask << 1 | 1;
    }
    seed = pattern(seed, 1);
    return (Order) {.nr = nr, .mask = mask, .factor = (seed & ~7UL) | 5,
                    .addend = seed >> 32 | 1, .now = seed & mask};
}

static uint64_t next(Order *order)
{
    uint64_t now;

    do {
        now = order->now;
        order->now = (now * order->factor + order->addend) & order->mask;
    } while (now >= order->nr);
    return now;
}

static uint64_t access(uint64_t address, bool writes, uint64_t seed)
{
    uint64_t begin = arch_cycles();

    if (writes) {
        AT(uint64_t, address) = pattern(address, seed);
    } else {
        AT(uint64_t, address);
    }
    return arch_cycles() - begin;
}

static bool touch(Job *job)
{
    uint64_t seed = 0, chance = 0, done, nr;
    bool writes = word_is(job, 3, "write");
    Range range;
    Order order;

    if (!(writes ? foreign_range_at : range_at)(job, 1, &range) ||
        !option(job, "seed", &seed) || !option(job, "random", &chance)) {
        return false;
    }
    if (!writes && !word_is(job, 3, "read")) {
        return fail(job, "it is touch START SIZE read|write");
    }
    if ((range.start | range.size) % PAGE_SIZE) {
        return fail(job, "a range is of whole pages");
    }
    nr = range.size / PAGE_SIZE;
    order = chance ? random_order(nr, chance) : in_order(nr);
    for (done = 0; done < nr && goes_on(); done++) {
        histogram_add(&job->times,
                      access(range.start + next(&order) * PAGE_SIZE, writes,
                             seed));
    }
    say(job, "pages", done);
    say_times(job);
    return true;
}

const Command touch_commands[] = {
    {"touch", touch}, {}
};
