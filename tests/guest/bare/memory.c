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
 *   sum START SIZE                   CRC-32, as zlib's
 *   read ADDRESS [BYTES]             1, 2, 4 or 8
 *   write ADDRESS VALUE [BYTES]
 */
#include "bare.h"

#define WORDS_A_PAGE (PAGE_SIZE / sizeof(uint64_t))

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

static bool words_at(Job *job, Range *range, uint64_t *seed)
{
    *seed = 0;
    if (!foreign_range_at(job, 1, range) || !option(job, "seed", seed)) {
        return false;
    }
    if ((range->start | range->size) % sizeof(uint64_t)) {
        return fail(job, "a range is of whole words");
    }
    return true;
}

static volatile uint64_t *end_of_page(volatile uint64_t *word,
                                      volatile uint64_t *end)
{
    uint64_t left = (PAGE_SIZE - (uintptr_t)word % PAGE_SIZE) / sizeof(*word);

    return left < end - word ? word + left : end;
}

static bool fill(Job *job)
{
    volatile uint64_t *word, *end, *page_end;
    uint64_t seed;
    Range range;

    if (!words_at(job, &range, &seed)) {
        return false;
    }
    word = (uint64_t *)range.start;
    end = word + range.size / sizeof(*word);
    while (word < end && goes_on()) {
        page_end = end_of_page(word, end);
        for (; word < page_end; word++) {
            *word = pattern((uintptr_t)word, seed);
        }
    }
    say(job, "bytes", (uintptr_t)word - range.start);
    return true;
}

/* Of one page; @next is what to leave there, if not the same as @seed */
static void verify_words(volatile uint64_t *word, volatile uint64_t *end,
                         uint64_t seed, uint64_t next, Finding *finding)
{
    bool bad = false;

    for (; word < end; word++) {
        uint64_t wanted = pattern((uintptr_t)word, seed);
        uint64_t found = *word;

        if (found != wanted && !bad) {
            bad = true;
            if (!finding->bad_pages++) {
                finding->at = (uintptr_t)word;
                finding->found = found;
                finding->wanted = wanted;
            }
        }
        if (next != seed) {
            *word = pattern((uintptr_t)word, next);
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
    volatile uint64_t *word, *end, *page_end;
    uint64_t seed;
    Range range;

    if (!words_at(job, &range, &seed)) {
        return false;
    }
    word = (uint64_t *)range.start;
    end = word + range.size / sizeof(*word);
    while (word < end && goes_on()) {
        page_end = end_of_page(word, end);
        verify_words(word, page_end, seed, seed, &finding);
        word = page_end;
    }
    say(job, "bytes", (uintptr_t)word - range.start);
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
        volatile uint64_t *word = (uint64_t *)range.start, *page_end;
        volatile uint64_t *end = word + range.size / sizeof(*word);

        for (; word < end; word = page_end) {
            page_end = end_of_page(word, end);
            verify_words(word, page_end, seed, seed + 1, &finding);
            more = goes_on();
        }
        seed++;
    }
    say(job, "passes", pass);
    say(job, "seed", seed);
    return say_finding(job, &finding);
}

static uint32_t crc_tables[8][256];

/* [n][i] is what byte i does to the sum when n bytes follow it. */
static void make_crc_tables(void)
{
    unsigned i, bit, n;

    for (i = 0; i < 256; i++) {
        uint32_t entry = i;

        for (bit = 0; bit < 8; bit++) {
            entry = entry >> 1 ^ (entry & 1 ? 0xedb88320 : 0);
        }
        crc_tables[0][i] = entry;
    }
    for (i = 0; i < 256; i++) {
        for (n = 1; n < 8; n++) {
            uint32_t before = crc_tables[n - 1][i];

            crc_tables[n][i] = before >> 8 ^ crc_tables[0][before & 0xff];
        }
    }
}

static uint32_t crc_word(uint32_t crc, uint64_t word)
{
    uint32_t result = 0;
    unsigned n;

    word ^= crc;
    for (n = 0; n < 8; n++) {
        result ^= crc_tables[7 - n][word >> 8 * n & 0xff];
    }
    return result;
}

static bool sum(Job *job)
{
    volatile uint64_t *word, *end, *page_end;
    uint32_t crc = ~0;
    Range range;

    if (!range_at(job, 1, &range)) {
        return false;
    }
    if ((range.start | range.size) % sizeof(uint64_t)) {
        return fail(job, "a range is of whole words");
    }
    if (!crc_tables[0][1]) {
        make_crc_tables();
    }
    word = (uint64_t *)range.start;
    end = word + range.size / sizeof(*word);
    while (word < end && goes_on()) {
        for (page_end = end_of_page(word, end); word < page_end; word++) {
            crc = crc_word(crc, *word);
        }
    }
    say(job, "bytes", (uintptr_t)word - range.start);
    say_hex(job, "crc", ~crc);
    return true;
}

static bool size_at(Job *job, unsigned word, uint64_t *size)
{
    *size = 8;
    if (job->nr_words > word && !number_at(job, word, size)) {
        return false;
    }
    if (*size != 1 && *size != 2 && *size != 4 && *size != 8) {
        return fail(job, "BYTES is 1, 2, 4 or 8");
    }
    return true;
}

static bool peek(Job *job)
{
    uint64_t address, size, value;

    if (!number_at(job, 1, &address) || !size_at(job, 2, &size)) {
        return false;
    }
    if (size == 1) {
        value = *(volatile uint8_t *)address;
    } else if (size == 2) {
        value = *(volatile uint16_t *)address;
    } else if (size == 4) {
        value = *(volatile uint32_t *)address;
    } else {
        value = *(volatile uint64_t *)address;
    }
    say_hex(job, "value", value);
    return true;
}

static bool poke(Job *job)
{
    uint64_t address, size, value;

    if (!number_at(job, 1, &address) || !number_at(job, 2, &value) ||
        !size_at(job, 3, &size)) {
        return false;
    }
    if (is_program((Range) {address, size})) {
        return fail(job, "the program itself lies there");
    }
    if (size == 1) {
        *(volatile uint8_t *)address = value;
    } else if (size == 2) {
        *(volatile uint16_t *)address = value;
    } else if (size == 4) {
        *(volatile uint32_t *)address = value;
    } else {
        *(volatile uint64_t *)address = value;
    }
    return true;
}

const Command memory_commands[] = {
    {"fill", fill}, {"verify", verify}, {"churn", churn}, {"sum", sum},
    {"read", peek}, {"write", poke}, {}
};
