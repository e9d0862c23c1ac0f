/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * One access, of RAM or of a device, and what it takes to reach it.
 *
 *   read ADDRESS [BYTES]             1, 2, 4 or 8
 *   write ADDRESS VALUE [BYTES]
 *   map START SIZE                   memory that came later, above 4 GiB
 */
#include "bare.h"

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
        value = AT(uint8_t, address);
    } else if (size == 2) {
        value = AT(uint16_t, address);
    } else if (size == 4) {
        value = AT(uint32_t, address);
    } else {
        value = AT(uint64_t, address);
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
        AT(uint8_t, address) = value;
    } else if (size == 2) {
        AT(uint16_t, address) = value;
    } else if (size == 4) {
        AT(uint32_t, address) = value;
    } else {
        AT(uint64_t, address) = value;
    }
    return true;
}

static bool map(Job *job)
{
    Range range;

    return range_at(job, 1, &range) &&
        (arch_map(range.start, range.size) ||
         fail(job, "that cannot be mapped"));
}

const Command access_commands[] = {
    {"read", peek}, {"write", poke}, {"map", map}, {}
};
