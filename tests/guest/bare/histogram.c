/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * OCTAVE buckets for each power of two; one a value below that.
 */
#include "bare.h"

void histogram_clear(Histogram *h)
{
    memset(h, 0, sizeof(*h));
}

static unsigned bucket_of(uint64_t cycles)
{
    unsigned shift;

    if (cycles < OCTAVE) {
        return cycles;
    }
    shift = 63 - __builtin_clzl(cycles) - __builtin_ctz(OCTAVE);
    return (shift + 1) * OCTAVE + (cycles >> shift) - OCTAVE;
}

static uint64_t value_of(unsigned bucket)
{
    unsigned octave = bucket / OCTAVE;

    return octave ? (uint64_t)(OCTAVE + bucket % OCTAVE) << (octave - 1)
                  : bucket;
}

void histogram_add(Histogram *h, uint64_t cycles)
{
    h->count++;
    h->max = cycles > h->max ? cycles : h->max;
    h->buckets[bucket_of(cycles)]++;
}

uint64_t histogram_quantile(const Histogram *h, unsigned percent)
{
    uint64_t below = 0, wanted = (h->count * percent + 99) / 100;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(h->buckets); i++) {
        below += h->buckets[i];
        if (below && below >= wanted) {
            return value_of(i);
        }
    }
    return 0;
}
