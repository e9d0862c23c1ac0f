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

static GmemView view(uint64_t gpa, uint64_t offset, uint64_t size)
{
    return (GmemView) {
        .file = &ram, .gpa = gpa, .offset = offset, .size = size,
    };
}

/* Given pc with open SMRAM and RAM above 4 GiB: all of it is canonical. */
static void test_pc(void)
{
    GmemView views[] = {
        view(0, 0, 0xc0000),
        view(0x100000, 0x100000, 3 * GiB - 0x100000),
        view(4 * GiB, 3 * GiB, 1 * GiB),
    };

    gmem_policy_find_canonical(views, ARRAY_SIZE(views));

    for (size_t i = 0; i < ARRAY_SIZE(views); i++) {
        g_assert_true(views[i].canonical);
        g_assert_false(views[i].split);
    }
}

/* Given q35 with open SMRAM: the high window is an alias. */
static void test_q35(void)
{
    GmemView views[] = {
        view(0, 0, 0xc0000),
        view(0x100000, 0x100000, 2 * GiB - 0x100000 - 8 * MiB),
        view(0xfeda0000, 0xa0000, 0x20000),
    };

    gmem_policy_find_canonical(views, ARRAY_SIZE(views));

    g_assert_true(views[0].canonical);
    g_assert_true(views[1].canonical);
    g_assert_false(views[2].canonical);
    g_assert_false(views[2].split);
}

/* A window that shows bytes nobody else shows, and some that others do. */
static void test_split(void)
{
    GmemView views[] = {
        view(0, 0, 0x2000),
        view(0x200000, 0x1000, 0x3000),
    };

    gmem_policy_find_canonical(views, 2);

    g_assert_true(views[0].canonical);
    g_assert_false(views[1].canonical);
    g_assert_true(views[1].split);
}

/* Views do not overlap and come in order: that is what a FlatView is. */
static size_t random_map(GmemView *views)
{
    size_t n = g_test_rand_int_range(1, MAX_VIEWS + 1);
    uint64_t gpa = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t size = g_test_rand_int_range(1, 8) * 0x1000;

        gpa += g_test_rand_int_range(0, 3) * 0x1000;
        views[i] = view(gpa, g_test_rand_int_range(0, 64) * 0x1000, size);
        if (g_test_rand_int_range(0, 4) == 0) {
            views[i].file = &other;
        }
        gpa += size;
    }
    return n;
}

static void check_map(const GmemView *views, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool canonical_below = false;

        for (size_t j = 0; j < n; j++) {
            if (i == j || !overlap(&views[i], &views[j])) {
                continue;
            }
            /* no offset is bound twice */
            g_assert_false(views[i].canonical && views[j].canonical);
            canonical_below |= j < i && views[j].canonical;
        }
        /* nothing is mapped without need */
        g_assert_cmpint(views[i].canonical, ==, !canonical_below);
    }
}

static void test_random_maps(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        GmemView views[MAX_VIEWS];
        size_t n = random_map(views);

        gmem_policy_find_canonical(views, n);
        check_map(views, n);
    }
}

/* Given RAM larger than the largest slot: each piece finds its view. */
static void test_find_view(void)
{
    GmemView v = view(4 * GiB, 3 * GiB, 64 * MiB);

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
    GmemView canonical = { .canonical = true }, alias = { .canonical = false };
    static const struct {
        bool is_canonical;
        GmemSlotState state;
        GuestMemfdWhyMapped why;
    } cases[] = {
        { true, { .policy = GUEST_MEMFD_SLOTS_AUTO },
          GMEM_NOT_MAPPED },
        { true, { .policy = GUEST_MEMFD_SLOTS_BOUND },
          GMEM_NOT_MAPPED },
        { true, { .policy = GUEST_MEMFD_SLOTS_MAPPED },
          GUEST_MEMFD_WHY_MAPPED_REQUESTED },
        { false, { .policy = GUEST_MEMFD_SLOTS_BOUND },
          GUEST_MEMFD_WHY_MAPPED_ALIAS },
        { true, { .policy = GUEST_MEMFD_SLOTS_BOUND,
                  .flags = KVM_MEM_LOG_DIRTY_PAGES },
          GUEST_MEMFD_WHY_MAPPED_DIRTY_LOG },
        { true, { .policy = GUEST_MEMFD_SLOTS_BOUND, .logs_bound = true,
                  .flags = KVM_MEM_LOG_DIRTY_PAGES },
          GMEM_NOT_MAPPED },
        { true, { .policy = GUEST_MEMFD_SLOTS_AUTO, .logs_bound = true,
                  .flags = KVM_MEM_LOG_DIRTY_PAGES, .tracked = true },
          GUEST_MEMFD_WHY_MAPPED_WRITE_TRACKING },
        { false, { .policy = GUEST_MEMFD_SLOTS_AUTO, .logs_bound = true,
                   .flags = KVM_MEM_LOG_DIRTY_PAGES },
          GUEST_MEMFD_WHY_MAPPED_ALIAS },
        { true, { .policy = GUEST_MEMFD_SLOTS_BOUND, .tracked = true },
          GUEST_MEMFD_WHY_MAPPED_WRITE_TRACKING },
        { true, { .policy = GUEST_MEMFD_SLOTS_AUTO,
                  .flags = KVM_MEM_READONLY },
          GUEST_MEMFD_WHY_MAPPED_READ_ONLY },
        { true, { .policy = GUEST_MEMFD_SLOTS_BOUND, .postcopy = true },
          GUEST_MEMFD_WHY_MAPPED_POSTCOPY },
        { true, { .policy = GUEST_MEMFD_SLOTS_AUTO, .refused = true },
          GUEST_MEMFD_WHY_MAPPED_REFUSED },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        g_assert_cmpint(gmem_policy_why_mapped(cases[i].is_canonical
                                               ? &canonical : &alias,
                                               &cases[i].state),
                        ==, cases[i].why);
    }
    g_assert_cmpint(gmem_policy_why_mapped(NULL, &cases[0].state),
                    ==, GUEST_MEMFD_WHY_MAPPED_ALIAS);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/gmem/slot-policy/pc", test_pc);
    g_test_add_func("/gmem/slot-policy/q35", test_q35);
    g_test_add_func("/gmem/slot-policy/split", test_split);
    g_test_add_func("/gmem/slot-policy/random-maps", test_random_maps);
    g_test_add_func("/gmem/slot-policy/find-view", test_find_view);
    g_test_add_func("/gmem/slot-policy/why-mapped", test_why_mapped);
    return g_test_run();
}
