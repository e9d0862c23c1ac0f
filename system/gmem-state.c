/*
 * Which pages of a guest_memfd are private
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "gmem/access.h"
#include "gmem/gmem.h"
#include "gmem/state.h"

uint64_t gmem_private_pages;

static GmemConversions conversions;

const GmemConversions *gmem_conversions(void)
{
    return &conversions;
}

void gmem_conversions_enable(bool in_place, bool by_file)
{
    conversions = (GmemConversions) {
        .enabled = true,
        .in_place = in_place,
        .by_file = by_file,
    };
}

/* Lock and BQL held. */
static void count_private(GmemState *state, int64_t more)
{
    qatomic_set(&state->nr_private, state->nr_private + more);
    qatomic_set(&gmem_private_pages, gmem_private_pages + more);
}

uint64_t gmem_state_differs(GmemState *state, uint64_t first, uint64_t nr,
                            bool private, unsigned long *map)
{
    bitmap_copy_with_src_offset(map, state->private, first, nr);
    if (private) {
        bitmap_complement(map, map, nr);
    }
    return bitmap_count_one(map, nr);
}

bool gmem_state_is_held(GmemState *state, uint64_t first, uint64_t nr,
                        const unsigned long *map)
{
    QEMU_LOCK_GUARD(&state->lock);
    return gmem_any_held(state, first, nr, map);
}

bool gmem_state_begin_private(GmemState *state, uint64_t first, uint64_t nr,
                              const unsigned long *map)
{
    uint64_t start, end = 0;

    QEMU_LOCK_GUARD(&state->lock);
    if (gmem_any_held(state, first, nr, map)) {
        return false;
    }
    while (gmem_next_run(map, nr, &start, &end)) {
        bitmap_set(state->private, first + start, end - start);
        count_private(state, end - start);
    }
    return true;
}

void gmem_state_set_shared(GmemState *state, uint64_t first, uint64_t nr,
                           unsigned long *map)
{
    g_autofree unsigned long *private = bitmap_new(nr);
    uint64_t start, end = 0;

    QEMU_LOCK_GUARD(&state->lock);
    bitmap_copy_with_src_offset(private, state->private, first, nr);
    bitmap_and(map, map, private, nr);
    while (gmem_next_run(map, nr, &start, &end)) {
        bitmap_clear(state->private, first + start, end - start);
        count_private(state, -(int64_t)(end - start));
    }
}

bool gmem_state_find_private(const GmemState *state, uint64_t offset,
                             uint64_t size, uint64_t *start, uint64_t *length)
{
    uint64_t page_size = qemu_real_host_page_size();
    uint64_t end = (offset + size) / page_size;
    uint64_t first = find_next_bit(state->private, end, offset / page_size);

    if (first >= end) {
        return false;
    }
    *start = first * page_size;
    *length = (find_last_bit(state->private, end) + 1 - first) * page_size;
    return true;
}

uint64_t gmem_state_private_bytes(const GmemState *state)
{
    return qatomic_read(&state->nr_private) * qemu_real_host_page_size();
}
