/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a job was told: the words of its line, the first being its name.
 */
#include "bare.h"

unsigned split_words(char *text, char **words, unsigned max)
{
    unsigned nr = 0;

    for (;;) {
        while (*text == ' ') {
            *text++ = '\0';
        }
        if (!*text || nr == max) {
            return *text ? max + 1 : nr;
        }
        words[nr++] = text;
        while (*text && *text != ' ') {
            text++;
        }
    }
}

static unsigned digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

static unsigned unit_shift(char c)
{
    return c == 'K' ? 10 : c == 'M' ? 20 : c == 'G' ? 30 : 0;
}

/* Decimal, or hexadecimal after 0x; K, M or G may follow.  Up to 64 bits */
bool parse_number(const char *text, uint64_t *value)
{
    unsigned base = text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10;
    uint64_t number = 0;
    unsigned shift;

    text += base == 16 ? 2 : 0;
    if (digit(*text) >= base) {
        return false;
    }
    for (; digit(*text) < base; text++) {
        if (__builtin_mul_overflow(number, base, &number) ||
            __builtin_add_overflow(number, digit(*text), &number)) {
            return false;
        }
    }
    shift = unit_shift(*text);
    if (number << shift >> shift != number || text[shift ? 1 : 0]) {
        return false;
    }
    *value = number << shift;
    return true;
}

bool number_at(Job *job, unsigned word, uint64_t *value)
{
    if (word >= job->nr_words || !parse_number(job->words[word], value)) {
        return fail(job, "a number is missing, or is none");
    }
    return true;
}

bool word_is(const Job *job, unsigned word, const char *text)
{
    return word < job->nr_words && same(job->words[word], text);
}

bool option(Job *job, const char *key, uint64_t *value)
{
    size_t len = length(key);
    unsigned i;

    for (i = 1; i < job->nr_words; i++) {
        const char *word = job->words[i];
        size_t at = 0;

        while (at < len && word[at] == key[at]) {
            at++;
        }
        if (at == len && word[at] == '=') {
            return parse_number(word + len + 1, value) ||
                   fail(job, "the value of an option is no number");
        }
    }
    return true;
}

bool is_program(Range range)
{
    return range.start < (uintptr_t)program_end &&
           range.size && range.start + range.size > (uintptr_t)program_start;
}

bool range_at(Job *job, unsigned word, Range *range)
{
    uint64_t pages, first, end, whole;

    if (!number_at(job, word, &range->start) ||
        !number_at(job, word + 1, &range->size)) {
        return false;
    }
    if (job->nr_shares > 1) {
        whole = range->size;
        pages = ROUND_UP(whole, PAGE_SIZE) / PAGE_SIZE;
        first = pages * job->share / job->nr_shares * PAGE_SIZE;
        end = pages * (job->share + 1) / job->nr_shares * PAGE_SIZE;
        range->start += first;
        range->size = MIN(end, whole) - first;
    }
    return true;
}

bool foreign_range_at(Job *job, unsigned word, Range *range)
{
    if (!range_at(job, word, range)) {
        return false;
    }
    if (range->start + range->size < range->start) {
        return fail(job, "the range wraps around");
    }
    if (is_program(*range)) {
        return fail(job, "the program itself lies there");
    }
    return true;
}
