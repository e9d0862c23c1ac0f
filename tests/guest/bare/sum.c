/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   sum START SIZE       CRC-32, as zlib's
 */
#include "bare.h"

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
    uint32_t crc = ~0;
    uint64_t at, end;
    Range range;

    if (!range_at(job, 1, &range) || !whole_words(job, range)) {
        return false;
    }
    if (!crc_tables[0][1]) {
        make_crc_tables();
    }
    at = range.start;
    while (at - range.start < range.size && goes_on()) {
        for (end = end_of_piece(range, at); at != end; at += 8) {
            crc = crc_word(crc, AT(uint64_t, at));
        }
    }
    say(job, "bytes", at - range.start);
    say_hex(job, "crc", ~crc);
    return true;
}

const Command sum_commands[] = {
    {"sum", sum}, {}
};
