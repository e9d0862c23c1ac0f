/*
 * Which pages of a guest_memfd are private
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "gmem/gmem.h"
#include "gmem/state.h"

/* Of all pages held: one node for each range that somebody holds. */
typedef struct Hold {
    IntervalTreeNode node;
    unsigned count;
} Hold;

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

static GmemState *state_of(const RAMBlock *block)
{
    return block->gmem ? block->gmem->state : NULL;
}

/* The pages that bytes [@offset, @offset + @size) lie in, as first and end. */
static void find_pages(const GmemState *state, ram_addr_t offset,
                       ram_addr_t size, uint64_t *first, uint64_t *end)
{
    uint64_t page_size = qemu_real_host_page_size();

    *first = offset / page_size;
    *end = MIN(DIV_ROUND_UP(offset + size, page_size), state->nr_pages);
}

static bool any_private(const GmemState *state, uint64_t first, uint64_t end)
{
    return qatomic_read(&state->nr_private) && first < end &&
           find_next_bit(state->private, end, first) < end;
}

bool gmem_range_private(const RAMBlock *block, ram_addr_t offset,
                        ram_addr_t size)
{
    const GmemState *state = state_of(block);
    uint64_t first, end;

    if (!state) {
        return false;
    }
    find_pages(state, offset, size, &first, &end);
    return any_private(state, first, end);
}

static Hold *find_hold(GmemState *state, uint64_t first, uint64_t last)
{
    IntervalTreeNode *node = interval_tree_iter_first(&state->holds, first,
                                                      last);

    while (node && (node->start != first || node->last != last)) {
        node = interval_tree_iter_next(node, first, last);
    }
    return node ? container_of(node, Hold, node) : NULL;
}

bool gmem_hold(const RAMBlock *block, ram_addr_t offset, ram_addr_t size)
{
    GmemState *state = state_of(block);
    uint64_t first, end;
    Hold *hold;

    if (!state || !size) {
        return true;
    }
    find_pages(state, offset, size, &first, &end);
    QEMU_LOCK_GUARD(&state->lock);
    if (any_private(state, first, end)) {
        return false;
    }
    hold = find_hold(state, first, end - 1);
    if (!hold) {
        hold = g_new0(Hold, 1);
        hold->node.start = first;
        hold->node.last = end - 1;
        interval_tree_insert(&hold->node, &state->holds);
    }
    hold->count++;
    return true;
}

void gmem_release(const RAMBlock *block, ram_addr_t offset, ram_addr_t size)
{
    GmemState *state = state_of(block);
    uint64_t first, end;
    Hold *hold;

    if (!state || !size) {
        return;
    }
    find_pages(state, offset, size, &first, &end);
    QEMU_LOCK_GUARD(&state->lock);
    hold = find_hold(state, first, end - 1);
    g_assert(hold);
    if (--hold->count == 0) {
        interval_tree_remove(&hold->node, &state->holds);
        g_free(hold);
    }
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

/* Is a page in @map held?  The smaller of both is walked: there are few. */
static bool any_held(GmemState *state, uint64_t first, uint64_t nr,
                     const unsigned long *map)
{
    IntervalTreeNode *node = interval_tree_iter_first(&state->holds, first,
                                                      first + nr - 1);

    while (node) {
        uint64_t begin = MAX(node->start, first) - first;
        uint64_t end = MIN(node->last, first + nr - 1) - first + 1;

        if (find_next_bit(map, end, begin) < end) {
            return true;
        }
        node = interval_tree_iter_next(node, first, first + nr - 1);
    }
    return false;
}

bool gmem_state_begin_private(GmemState *state, uint64_t first, uint64_t nr,
                              const unsigned long *map)
{
    uint64_t start, end = 0;

    QEMU_LOCK_GUARD(&state->lock);
    if (any_held(state, first, nr, map)) {
        return false;
    }
    while (gmem_next_run(map, nr, &start, &end)) {
        bitmap_set(state->private, first + start, end - start);
        qatomic_set(&state->nr_private,
                    state->nr_private + end - start);
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
        qatomic_set(&state->nr_private,
                    state->nr_private - (end - start));
    }
}

uint64_t gmem_state_private_bytes(const GmemState *state)
{
    return qatomic_read(&state->nr_private) * qemu_real_host_page_size();
}
