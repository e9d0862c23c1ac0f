/*
 * The slot policy as a pure function of a memory map
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>
#include "qemu/units.h"
#include "gmem/slot-policy.h"

#define MAX_VIEWS 24
#define ROUNDS 5000

static const char ram, other;

static bool overlap(const GmemView *a, const GmemView *b)
{
    return a->file == b->file && a->offset < b->offset + b->size &&
           b->offset < a->offset + a->size;
}

static GmemView view(int as_id, uint64_t gpa, uint64_t offset, uint64_t size)
{
    return (GmemView) {
        .file = &ram, .as_id = as_id, .gpa = gpa, .offset = offset,
        .size = size,
    };
}

static const GmemView *at(const GmemView *views, size_t n, int as_id,
                          uint64_t gpa)
{
    for (size_t i = 0; i < n; i++) {
        if (views[i].as_id == as_id && views[i].gpa == gpa) {
            return &views[i];
        }
    }
    g_assert_not_reached();
}

/* Given pc with open SMRAM and RAM above 4 GiB: all of it is at home. */
static void test_pc(void)
{
    GmemView views[] = {
        view(0, 4 * GiB, 3 * GiB, 1 * GiB),
        view(0, 0x100000, 0x100000, 3 * GiB - 0x100000),
        view(0, 0, 0, 0xc0000),
    };

    gmem_policy_find_homes(views, ARRAY_SIZE(views));

    for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
        g_assert_true(views[i].home);
        g_assert_false(views[i].split);
    }
}

/* Given q35 with SMM: its address space and the high window are aliases. */
static void test_q35_smm(void)
{
    GmemView views[] = {
        view(1, 0, 0, 2 * GiB),
        view(0, 0xfeda0000, 0xa0000, 0x20000),
        view(1, 0xfeda0000, 0xa0000, 0x20000),
        view(0, 0, 0, 0xc0000),
        view(0, 0x100000, 0x100000, 2 * GiB - 0x100000 - 8 * MiB),
    };
    size_t n = ARRAY_SIZE(views);

    gmem_policy_find_homes(views, n);

    g_assert_true(at(views, n, 0, 0)->home);
    g_assert_true(at(views, n, 0, 0x100000)->home);
    g_assert_false(at(views, n, 0, 0xfeda0000)->home);
    g_assert_false(at(views, n, 0, 0xfeda0000)->split);
    g_assert_false(at(views, n, 1, 0)->home);
    g_assert_false(at(views, n, 1, 0xfeda0000)->home);
}

/* A window that shows bytes nobody else shows, and some that others do. */
static void test_split(void)
{
    GmemView views[] = {
        view(0, 0x200000, 0x1000, 0x3000),
        view(0, 0, 0, 0x2000),
    };

    gmem_policy_find_homes(views, 2);

    g_assert_true(views[0].home);
    g_assert_false(views[1].home);
    g_assert_true(views[1].split);
}

/* Views of address space 0 never overlap: that is what a FlatView is. */
static size_t random_map(GmemView *views)
{
    size_t n = g_test_rand_int_range(1, MAX_VIEWS + 1);
    uint64_t gpa[2] = { 0, 0 };

    for (size_t i = 0; i < n; i++) {
        int as = g_test_rand_int_range(0, 4) == 0;
        uint64_t size = g_test_rand_int_range(1, 8) * 0x1000;

        gpa[as] += g_test_rand_int_range(0, 3) * 0x1000;
        views[i] = view(as, gpa[as],
                        g_test_rand_int_range(0, 64) * 0x1000, size);
        if (g_test_rand_int_range(0, 4) == 0) {
            views[i].file = &other;
        }
        gpa[as] += size;
    }
    return n;
}

static void shuffle(GmemView *views, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = g_test_rand_int_range(0, i);
        GmemView swap = views[i - 1];

        views[i - 1] = views[j];
        views[j] = swap;
    }
}

static void check_map(const GmemView *views, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool lower = false, lower_home = false;

        for (size_t j = 0; j < n; j++) {
            if (i == j || !overlap(&views[i], &views[j])) {
                continue;
            }
            /* no offset is bound twice */
            g_assert_false(views[i].home && views[j].home);
            if (views[j].as_id == 0 && views[j].gpa < views[i].gpa) {
                lower = true;
                lower_home |= views[j].home;
            }
        }
        if (views[i].as_id != 0) {
            g_assert_false(views[i].home);
        } else if (!lower) {
            /* canonical RAM is bound */
            g_assert_true(views[i].home);
        } else {
            /* nothing is mapped without need */
            g_assert_cmpint(views[i].home, ==, !lower_home);
        }
    }
}

static void test_random_maps(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        GmemView views[MAX_VIEWS], again[MAX_VIEWS];
        size_t n = random_map(views);

        memcpy(again, views, sizeof(views));
        shuffle(again, n);
        gmem_policy_find_homes(views, n);
        gmem_policy_find_homes(again, n);

        check_map(views, n);
        /* the order in which sections are processed does not matter */
        for (size_t i = 0; i < n; i++) {
            g_assert_cmpint(views[i].gpa, ==, again[i].gpa);
            g_assert_cmpint(views[i].offset, ==, again[i].offset);
            g_assert_cmpint(views[i].home, ==, again[i].home);
            g_assert_cmpint(views[i].split, ==, again[i].split);
        }
    }
}

/* Given RAM larger than the largest slot: each piece finds its view. */
static void test_find_view(void)
{
    GmemView v = view(0, 4 * GiB, 3 * GiB, 64 * MiB);

    for (uint64_t at = 0; at < v.size; at += 16 * MiB) {
        g_assert_true(&v == gmem_policy_find_view(&v, 1, &ram, v.gpa + at,
                                                  16 * MiB, v.offset + at));
    }
    g_assert_null(gmem_policy_find_view(&v, 1, &ram, v.gpa, v.size + 0x1000,
                                        v.offset));
    g_assert_null(gmem_policy_find_view(&v, 1, &ram, v.gpa - 0x1000, 0x1000,
                                        v.offset - 0x1000));
    g_assert_null(gmem_policy_find_view(&v, 1, &ram, v.gpa + v.size, 0x1000,
                                        v.offset + v.size));
    g_assert_null(gmem_policy_find_view(&v, 1, &ram, v.gpa, 0x1000,
                                        v.offset + 0x1000));
    g_assert_null(gmem_policy_find_view(&v, 1, &other, v.gpa, 0x1000,
                                        v.offset));
}

static void test_why_mapped(void)
{
    GmemView home = { .home = true }, alias = { .home = false };
    static const struct {
        bool is_home;
        GuestMemfdSlots slots;
        uint32_t flags;
        bool tracked, refused;
        GuestMemfdWhyMapped why;
    } cases[] = {
        { true, GUEST_MEMFD_SLOTS_AUTO, 0, false, false,
          GUEST_MEMFD_WHY_MAPPED_NONE },
        { true, GUEST_MEMFD_SLOTS_BOUND, 0, false, false,
          GUEST_MEMFD_WHY_MAPPED_NONE },
        { true, GUEST_MEMFD_SLOTS_MAPPED, 0, false, false,
          GUEST_MEMFD_WHY_MAPPED_REQUESTED },
        { false, GUEST_MEMFD_SLOTS_BOUND, 0, false, false,
          GUEST_MEMFD_WHY_MAPPED_ALIAS },
        { true, GUEST_MEMFD_SLOTS_BOUND, KVM_MEM_LOG_DIRTY_PAGES, false,
          false,
          GUEST_MEMFD_WHY_MAPPED_DIRTY_LOG },
        { true, GUEST_MEMFD_SLOTS_BOUND, 0, true, false,
          GUEST_MEMFD_WHY_MAPPED_WRITE_TRACKING },
        { true, GUEST_MEMFD_SLOTS_AUTO, KVM_MEM_READONLY, false, false,
          GUEST_MEMFD_WHY_MAPPED_READ_ONLY },
        { true, GUEST_MEMFD_SLOTS_AUTO, 0, false, true,
          GUEST_MEMFD_WHY_MAPPED_REFUSED },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        g_assert_cmpint(gmem_policy_why_mapped(cases[i].is_home ? &home
                                               : &alias, cases[i].slots,
                                               cases[i].flags,
                                               cases[i].tracked,
                                               cases[i].refused),
                        ==, cases[i].why);
    }
    g_assert_cmpint(gmem_policy_why_mapped(NULL, GUEST_MEMFD_SLOTS_AUTO, 0,
                                           false, false),
                    ==, GUEST_MEMFD_WHY_MAPPED_ALIAS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gmem/slot-policy/pc", test_pc);
    g_test_add_func("/gmem/slot-policy/q35-smm", test_q35_smm);
    g_test_add_func("/gmem/slot-policy/split", test_split);
    g_test_add_func("/gmem/slot-policy/random-maps", test_random_maps);
    g_test_add_func("/gmem/slot-policy/find-view", test_find_view);
    g_test_add_func("/gmem/slot-policy/why-mapped", test_why_mapped);
    return g_test_run();
}
