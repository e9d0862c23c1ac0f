/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   convert START SIZE private|shared [chunk=SIZE] [attributes=N] [force=1]
 *   hypercall NUMBER [A [B [C [D]]]]
 *
 * Memory changes side by the hypercall KVM_HC_MAP_GPA_RANGE: one for all of
 * the range, or one a chunk.  The answer has how many calls there were, how
 * many were refused, what the first of these returned (or else 0), and the
 * cycles of a call.  attributes= is or-ed to what the hypercall gets.
 */
#include "bare.h"

int64_t map_gpa_range(uint64_t start, uint64_t nr_pages, uint64_t attributes)
{
    return arch_hypercall(MAP_GPA_RANGE, (uint64_t[]) {
        start, nr_pages, attributes, 0 });
}

static bool to_private(Job *job, uint64_t *attributes)
{
    uint64_t more = 0;

    *attributes = word_is(job, 3, "private") ? MAP_GPA_PRIVATE : 0;
    if (!*attributes && !word_is(job, 3, "shared")) {
        return fail(job, "it is convert START SIZE private|shared");
    }
    if (!option(job, "attributes", &more)) {
        return false;
    }
    *attributes |= more;
    return true;
}

static bool conversion_at(Job *job, Range *range, uint64_t *attributes,
                          uint64_t *chunk)
{
    uint64_t force = 0;

    if (!range_at(job, 1, range) || !to_private(job, attributes) ||
        !option(job, "force", &force)) {
        return false;
    }
    if (is_program(*range)) {
        if (!force) {
            return fail(job, "the program itself lies there");
        }
        arch_console_alone();
    }
    *chunk = range->size;
    if (!option(job, "chunk", chunk)) {
        return false;
    }
    if (*chunk % PAGE_SIZE) {
        return fail(job, "a chunk is of whole pages");
    }
    return *chunk || !range->size || fail(job, "a chunk has a size");
}

static bool convert(Job *job)
{
    uint64_t attributes, chunk, done = 0, calls = 0, refused = 0;
    int64_t first = 0;
    Range range;

    if (!conversion_at(job, &range, &attributes, &chunk)) {
        return false;
    }
    do {
        uint64_t size = MIN(chunk, range.size - done);
        uint64_t begin = arch_cycles();
        int64_t value = map_gpa_range(range.start + done, size / PAGE_SIZE,
                                      attributes);

        histogram_add(&job->times, arch_cycles() - begin);
        first = first ? first : value;
        refused += value != 0;
        calls++;
        done += size;
    } while (done < range.size && goes_on());
    say_signed(job, "value", first);
    say(job, "calls", calls);
    say(job, "refused", refused);
    say_times(job);
    return true;
}

static bool hypercall(Job *job)
{
    uint64_t number, arguments[4] = {};
    unsigned i;

    if (!number_at(job, 1, &number)) {
        return false;
    }
    for (i = 0; i < 4 && i + 2 < job->nr_words; i++) {
        if (!number_at(job, i + 2, &arguments[i])) {
            return false;
        }
    }
    say_signed(job, "value", arch_hypercall(number, arguments));
    return true;
}

const Command convert_commands[] = {
    {"convert", convert}, {"hypercall", hypercall}, {}
};
