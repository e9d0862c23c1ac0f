/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   storm START SIZE COUNT [seed=N] [pages=N] [touch=0]
 *         [wild=1] [keep=START] [keep_size=SIZE]
 *
 * COUNT random conversions (0: until it is stopped).  Most are of up to
 * pages= pages (default 512) in the range, and pages of the range are written
 * and read between them; the others ask for what cannot be: no pages, starts
 * that are not aligned, ranges that wrap around, that lie past all RAM, in the
 * hole below 4 GiB, or beyond what an address can be, attributes that do not
 * exist.  None of them can hit RAM outside the range, unless wild=1, which
 * takes any address but the program's own, what is kept, and the first MiB,
 * where some machines begin anew.  Processors that do it at the same time draw
 * from generators of their own.
 *
 * The answer has how many there were of each kind, how often each value was
 * returned, and what is the sum of all that was drawn: same seed, same sum.
 */
#include "bare.h"

#define MAX_VALUES 12
/* No RAM and no firmware lies there on any machine, but its devices do. */
#define HOLE_START 0xf0000000UL
#define HOLE_SIZE 0xe000000UL
#define ADDRESS_BITS 52
#define FIRST_MIB (1UL << 20)

enum {
    INSIDE, NO_PAGES, UNALIGNED, WRAPS, PAST_RAM, IN_HOLE, BEYOND, ATTRIBUTES,
    WILD, NR_KINDS
};

static const char *const kinds[NR_KINDS] = {
    "inside", "no_pages", "unaligned", "wraps", "past_ram", "in_hole",
    "beyond", "attributes", "wild"
};

typedef struct Call {
    uint64_t start, nr_pages, attributes;
} Call;

typedef struct Storm {
    Range range, keep;
    uint64_t count, seed, pages, touch, wild;
    uint64_t state, drawn;
    uint64_t of_kind[NR_KINDS];
    int64_t values[MAX_VALUES];
    uint64_t times[MAX_VALUES];
    unsigned nr_values;
    uint64_t other_values;
} Storm;

/* splitmix64 */
static uint64_t draw(Storm *storm)
{
    uint64_t z = storm->state += 0x9e3779b97f4a7c15UL;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9UL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebUL;
    return z ^ z >> 31;
}

static uint64_t draw_below(Storm *storm, uint64_t limit)
{
    return draw(storm) % limit;
}

static Call draw_inside(Storm *storm)
{
    uint64_t nr = storm->range.size / PAGE_SIZE;
    uint64_t first = draw_below(storm, nr);
    uint64_t most = MIN(storm->pages, nr - first);

    return (Call) {
        storm->range.start + first * PAGE_SIZE, 1 + draw_below(storm, most),
        draw(storm) & MAP_GPA_PRIVATE
    };
}

/* Past the last byte of RAM, and of what lies below 4 GiB */
static uint64_t past_ram(Storm *storm)
{
    uint64_t end = ROUND_UP(ram_end(~0UL), PAGE_SIZE);

    end = end > 1UL << 32 ? end : 1UL << 32;
    return end + draw_below(storm, 1UL << 24) * PAGE_SIZE;
}

/* What is outside can be of any size that stays outside. */
static unsigned draw_outside(Storm *storm, Call *call)
{
    unsigned kind = NO_PAGES + draw_below(storm, ATTRIBUTES - NO_PAGES + 1);

    switch (kind) {
    case NO_PAGES:
        call->nr_pages = 0;
        break;
    case UNALIGNED:
        call->start += 1 + draw_below(storm, PAGE_SIZE - 1);
        break;
    case WRAPS:
        call->start = -(1 + draw_below(storm, 1UL << 20)) * PAGE_SIZE;
        call->nr_pages = (1UL << 20) + draw(storm) / PAGE_SIZE;
        break;
    case PAST_RAM:
        call->start = past_ram(storm);
        call->nr_pages = 1 + draw_below(storm, 1UL << draw_below(storm, 40));
        break;
    case IN_HOLE:
        call->start = HOLE_START +
                      draw_below(storm, HOLE_SIZE / PAGE_SIZE) * PAGE_SIZE;
        break;
    case BEYOND:
        call->start = 1UL << (ADDRESS_BITS + draw_below(storm, 11));
        break;
    default:
        call->attributes = draw(storm);
    }
    return kind;
}

static bool overlap(Range a, Range b)
{
    return a.start < b.start + b.size && b.start < a.start + a.size;
}

static bool may_convert(const Storm *storm, const Call *call)
{
    Range range = {call->start, call->nr_pages * PAGE_SIZE};

    return !is_program(range) && !overlap(range, storm->keep);
}

static void draw_wild(Storm *storm, Call *call)
{
    uint64_t end = ram_end(~0UL) + (1UL << 30);

    end = end < 5UL << 30 ? 5UL << 30 : end;
    do {
        call->start = FIRST_MIB +
                      draw_below(storm, end / PAGE_SIZE) * PAGE_SIZE;
        call->nr_pages = 1 + draw_below(storm,
                                        1UL << draw_below(storm, 19));
    } while (!may_convert(storm, call));
}

static Call draw_call(Storm *storm)
{
    Call call = draw_inside(storm);
    unsigned kind = draw_below(storm, 16);

    if (kind < 11) {
        kind = INSIDE;
    } else if (kind < 13 && storm->wild) {
        kind = WILD;
        draw_wild(storm, &call);
    } else {
        kind = draw_outside(storm, &call);
    }
    storm->of_kind[kind]++;
    storm->drawn = (storm->drawn ^ call.start ^ call.nr_pages << 40 ^
                    call.attributes) * 0x9e3779b97f4a7c15UL;
    return call;
}

static void note_value(Storm *storm, int64_t value)
{
    unsigned i = 0;

    while (i < storm->nr_values && storm->values[i] != value) {
        i++;
    }
    if (i == MAX_VALUES) {
        storm->other_values++;
        return;
    }
    storm->nr_values = i == storm->nr_values ? i + 1 : storm->nr_values;
    storm->values[i] = value;
    storm->times[i]++;
}

/* Others change its side meanwhile: what it holds then is not defined. */
static void touch_page(Storm *storm)
{
    uint64_t nr = storm->range.size / PAGE_SIZE;
    uint64_t at = storm->range.start + draw_below(storm, nr) * PAGE_SIZE;

    if (draw(storm) & 1) {
        AT(uint64_t, at) = draw(storm);
    } else {
        AT(uint64_t, at);
    }
}

static bool storm_at(Job *job, Storm *storm)
{
    *storm = (Storm) {.pages = 512, .touch = 1};
    if (!foreign_range_at(job, 1, &storm->range) ||
        !number_at(job, 3, &storm->count) ||
        !option(job, "seed", &storm->seed) ||
        !option(job, "pages", &storm->pages) ||
        !option(job, "touch", &storm->touch) ||
        !option(job, "wild", &storm->wild) ||
        !option(job, "keep", &storm->keep.start) ||
        !option(job, "keep_size", &storm->keep.size)) {
        return false;
    }
    if (!storm->range.size || !storm->pages ||
        (storm->range.start | storm->range.size) % PAGE_SIZE) {
        return fail(job, "a storm takes whole pages, one at least");
    }
    storm->state = pattern(storm->seed, 0) + this_cpu()->index;
    return true;
}

static void say_values(Job *job, const Storm *storm)
{
    unsigned i;

    for (i = 0; i < storm->nr_values; i++) {
        char key[32] = "returned_";
        unsigned len = length(key);
        int64_t value = storm->values[i];

        if (value < 0) {
            key[len++] = '-';
        }
        format_number(key + len, value < 0 ? -value : value, 10);
        say(job, key, storm->times[i]);
    }
    if (storm->other_values) {
        say(job, "returned_others", storm->other_values);
    }
}

static bool storm(Job *job)
{
    Storm storm;
    uint64_t calls = 0;
    unsigned i;

    if (!storm_at(job, &storm)) {
        return false;
    }
    while ((!storm.count || calls < storm.count) && goes_on()) {
        Call call = draw_call(&storm);
        uint64_t begin = arch_cycles();
        int64_t value = map_gpa_range(call.start, call.nr_pages,
                                      call.attributes);

        histogram_add(&job->times, arch_cycles() - begin);
        note_value(&storm, value);
        calls++;
        if (storm.touch) {
            touch_page(&storm);
        }
    }
    say(job, "calls", calls);
    for (i = 0; i < NR_KINDS; i++) {
        say(job, kinds[i], storm.of_kind[i]);
    }
    say_values(job, &storm);
    say_hex(job, "drawn", storm.drawn);
    say_times(job);
    return true;
}

const Command storm_commands[] = {
    {"storm", storm}, {}
};
