/*
 * The books of what is mapped for devices agree with a bit for each address
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "hw/vfio/gmem-dma-mappings.h"

#define ADDRESSES 256

static GmemMappings mappings;
static DECLARE_BITMAP(mapped, ADDRESSES);
static DECLARE_BITMAP(pinned, ADDRESSES);
/* a mapping, which may have been cut, begins here */
static DECLARE_BITMAP(begins, ADDRESSES + 1);

/* In our memory, if there were as much */
static void *at(hwaddr iova)
{
    return (void *)(uintptr_t)(iova + 0x1000);
}

static bool is_cut_at(unsigned at)
{
    return at && at < ADDRESSES && test_bit(at - 1, mapped) &&
        test_bit(at, mapped) && !test_bit(at, begins);
}

static void check_gaps(unsigned start, unsigned last)
{
    hwaddr gap, gap_last;
    unsigned first = find_next_zero_bit(mapped, last + 1, start);
    unsigned next = find_next_bit(mapped, last + 1, first);

    if (gmem_mappings_next_gap(&mappings, start, last, at(start), &gap,
                               &gap_last)) {
        g_assert_cmpuint(gap, ==, first);
        g_assert_cmpuint(gap_last, ==, next - 1);
    } else {
        g_assert_cmpuint(first, ==, last + 1);
    }
}

static void check(unsigned start, unsigned last)
{
    unsigned nr = 0;

    for (unsigned i = 0; i < ADDRESSES; i++) {
        nr += test_bit(i, mapped) && test_bit(i, begins);
    }
    g_assert_cmpuint(mappings.nr, ==, nr);
    g_assert_cmpuint(mappings.bytes, ==, bitmap_count_one(mapped, ADDRESSES));
    g_assert_cmpuint(mappings.pinned_bytes, ==,
                     bitmap_count_one(pinned, ADDRESSES));
    g_assert(gmem_mappings_cut(&mappings, start, last) ==
             (is_cut_at(start) || is_cut_at(last + 1)));
    check_gaps(start, last);
}

static void fill_gaps(unsigned start, unsigned last, bool pin)
{
    hwaddr gap, gap_last;

    while (gmem_mappings_next_gap(&mappings, start, last, at(start), &gap,
                                  &gap_last)) {
        gmem_mappings_add(&mappings, gap, gap_last, at(gap), pin);
        bitmap_set(mapped, gap, gap_last - gap + 1);
        bitmap_clear(begins, gap, gap_last - gap + 1);
        bitmap_set(begins, gap, 1);
        if (pin) {
            bitmap_set(pinned, gap, gap_last - gap + 1);
        }
    }
}

static void take_out(unsigned start, unsigned last)
{
    gmem_mappings_remove(&mappings, start, last);
    bitmap_clear(mapped, start, last - start + 1);
    bitmap_clear(pinned, start, last - start + 1);
    bitmap_clear(begins, start, last - start + 1);
    bitmap_set(begins, last + 1, 1);
}

static void test_random(void)
{
    for (unsigned i = 0; i < 20000; i++) {
        unsigned start = g_test_rand_int_range(0, ADDRESSES);
        unsigned last = g_test_rand_int_range(start, ADDRESSES);

        check(start, last);
        if (g_test_rand_int_range(0, 2)) {
            fill_gaps(start, last, g_test_rand_int_range(0, 2));
        } else {
            take_out(start, last);
        }
        check(start, last);
    }
    gmem_mappings_remove(&mappings, 0, HWADDR_MAX);
    g_assert_cmpuint(mappings.nr, ==, 0);
    g_assert_cmpuint(mappings.bytes, ==, 0);
}

static void test_last_address(void)
{
    hwaddr gap, last;

    gmem_mappings_add(&mappings, HWADDR_MAX - 9, HWADDR_MAX,
                      at(HWADDR_MAX - 9), true);
    g_assert_false(gmem_mappings_next_gap(&mappings, HWADDR_MAX - 9,
                                          HWADDR_MAX, at(HWADDR_MAX - 9),
                                          &gap, &last));
    g_assert_true(gmem_mappings_next_gap(&mappings, HWADDR_MAX - 9, HWADDR_MAX,
                                         at(0), &gap, &last));
    g_assert_cmpuint(gap, ==, HWADDR_MAX - 9);
    g_assert_cmpuint(last, ==, HWADDR_MAX);
    gmem_mappings_remove(&mappings, HWADDR_MAX - 4, HWADDR_MAX - 2);
    g_assert_cmpuint(mappings.nr, ==, 2);
    g_assert_cmpuint(mappings.pinned_bytes, ==, 7);
    gmem_mappings_remove(&mappings, 0, HWADDR_MAX);
    g_assert_cmpuint(mappings.nr, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gmem/dma-mappings/random", test_random);
    g_test_add_func("/gmem/dma-mappings/last-address", test_last_address);
    return g_test_run();
}
