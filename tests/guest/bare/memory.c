/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What memory holds.  A word is its own address mixed with a seed, so that a
 * page that is lost, stale or in two places does not go unseen.
 *
 *   fill START SIZE [seed=N]
 *   verify START SIZE [seed=N]       goes through all of it; says the first
 *                                    word that differs, and how many pages do
 *   churn START SIZE [seed=N] [passes=N]
 *                                    verifies each word and writes that of the
 *                                    next seed; passes=0: until it is stopped
 */
#include "bare.h"

typedef struct Finding {
    uint64_t bad_pages;
    uint64_t at, found, wanted;
} Finding;

Area areas[MAX_AREAS];
unsigned nr_areas;

void add_area(uint64_t start, uint64_t size, uint32_t type)
{
    if (nr_areas < MAX_AREAS && size) {
        areas[nr_areas++] = (Area) {.range = {start, size}, .type = type};
    }
}

uint64_t ram_end(uint64_t below)
{
    uint64_t end = 0;
    unsigned i;

    for (i = 0; i < nr_areas; i++) {
        uint64_t its = areas[i].range.start + areas[i].range.size;

        if (areas[i].type == 1 && its <= below && its > end) {
            end = its;
        }
    }
    return end;
}

uint64_t pattern(uint64_t address, uint64_t seed)
{
    return (address ^ seed) * 0x9e3779b97f4a7c15UL;
}

bool whole_words(Job *job, Range range)
{
    return !((range.start | range.size) % sizeof(uint64_t)) ||
        fail(job, "a range is of whole words");
}

static bool words_at(Job *job, Range *range, uint64_t *seed)
{
    *seed = 0;
    if (!foreign_range_at(job, 1, range) || !option(job, "seed", seed)) {
        return false;
    }
    return whole_words(job, *range);
}

/* Of the page that has @at in it, or of the range that has */
uint64_t end_of_piece(Range range, uint64_t at)
{
    uint64_t page_end = (at | (PAGE_SIZE - 1)) + 1, end;

    end = range.start + range.size;
    return page_end && page_end < end ? page_end : end;
}

static bool fill(Job *job)
{
    uint64_t seed, at, end;
    Range range;

    if (!words_at(job, &range, &seed)) {
        return false;
    }
    at = range.start;
    while (at - range.start < range.size && goes_on()) {
        for (end = end_of_piece(range, at); at != end; at += 8) {
            AT(uint64_t, at) = pattern(at, seed);
        }
    }
    say(job, "bytes", at - range.start);
    return true;
}

/* Of one page; @next is what to leave there, if not the same as @seed */
static void verify_words(uint64_t at, uint64_t end, uint64_t seed,
                         uint64_t next, Finding *finding)
{
    bool bad = false;

    for (; at != end; at += 8) {
        uint64_t wanted = pattern(at, seed);
        uint64_t found = AT(uint64_t, at);

        if (found != wanted && !bad) {
            bad = true;
            if (!finding->bad_pages++) {
                finding->at = at;
                finding->found = found;
                finding->wanted = wanted;
            }
        }
        if (next != seed) {
            AT(uint64_t, at) = pattern(at, next);
        }
    }
}

static bool say_finding(Job *job, const Finding *finding)
{
    if (!finding->bad_pages) {
        return true;
    }
    say(job, "bad_pages", finding->bad_pages);
    say_hex(job, "at", finding->at);
    say_hex(job, "found", finding->found);
    say_hex(job, "wanted", finding->wanted);
    return fail(job, "memory does not hold what was written");
}

static bool verify(Job *job)
{
    Finding finding = {};
    uint64_t seed, at, end;
    Range range;

    if (!words_at(job, &range, &seed)) {
        return false;
    }
    for (at = range.start; at - range.start < range.size && goes_on();
         at = end) {
        end = end_of_piece(range, at);
        verify_words(at, end, seed, seed, &finding);
    }
    say(job, "bytes", at - range.start);
    return say_finding(job, &finding);
}

/* A pass, once begun, is done; else some words were of one seed, some not. */
static bool churn(Job *job)
{
    uint64_t seed, passes = 1, pass;
    Finding finding = {};
    Range range;
    bool more = true;

    if (!words_at(job, &range, &seed) || !option(job, "passes", &passes)) {
        return false;
    }
    for (pass = 0; more && (!passes || pass < passes) && !finding.bad_pages;
         pass++) {
        uint64_t at = range.start, end;

        for (; at - range.start < range.size; at = end) {
            end = end_of_piece(range, at);
            verify_words(at, end, seed, seed + 1, &finding);
            goes_on();
        }
        seed++;
        more = goes_on();
    }
    say(job, "passes", pass);
    say(job, "seed", seed);
    return say_finding(job, &finding);
}

const Command memory_commands[] = {
    {"fill", fill}, {"verify", verify}, {"churn", churn}, {}
};
