/*
 * QEMU's own accesses to guest memory, and pages that are private
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "gmem/access.h"
#include "gmem/gmem.h"
#include "gmem/state.h"
#include "trace/trace-gmem_system.h"

/* How often each page is held is counted in chunks that come when needed. */
#define CHUNK 512

static GmemState *state_of(const RAMBlock *block)
{
    return block && block->gmem ? block->gmem->state : NULL;
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

bool gmem_clip(MemoryRegion *mr, hwaddr offset, hwaddr *len)
{
    const GmemState *state = state_of(mr->ram_block);
    hwaddr wanted = *len == HWADDR_MAX ? 1 : *len;
    uint64_t first, end, next;
    bool is_shared;

    if (!state || !wanted || !qatomic_read(&state->nr_private)) {
        return true;
    }
    find_pages(state, offset, MIN(wanted, memory_region_size(mr) - offset),
               &first, &end);
    next = find_next_bit(state->private, end, first);
    is_shared = next > first;
    if (!is_shared) {
        next = find_next_zero_bit(state->private, end, first);
    }
    if (next < end && *len != HWADDR_MAX) {
        *len = next * qemu_real_host_page_size() - offset;
    }
    return is_shared;
}

bool gmem_refuses_at(AddressSpace *as, hwaddr addr, bool is_write)
{
    hwaddr offset, len = 1;

    RCU_READ_LOCK_GUARD();
    return gmem_refuses(address_space_translate(as, addr, &offset, &len,
                                                is_write,
                                                MEMTXATTRS_UNSPECIFIED));
}

/* Lock held.  Where the count for @page is; NULL if there is none yet. */
static uint32_t *find_count(const GmemState *state, uint64_t page)
{
    uint32_t *chunk = state->held[page / CHUNK];

    return chunk ? &chunk[page % CHUNK] : NULL;
}

/* Lock held.  What begins at @offset is held for one more reason. */
static void note_hold(GmemState *state, ram_addr_t offset, ram_addr_t size)
{
    GArray *sizes = g_hash_table_lookup(state->holds, GSIZE_TO_POINTER(offset));

    if (!sizes) {
        sizes = g_array_new(false, false, sizeof(ram_addr_t));
        g_hash_table_insert(state->holds, GSIZE_TO_POINTER(offset), sizes);
    }
    g_array_append_val(sizes, size);
}

/*
 * Lock held.  What is held from @offset on for one reason less: the least, as
 * devices let go of other sizes than they mapped, where a guest says how much
 * that is.  What others hold from there is not less.  False if nothing is.
 */
static bool take_hold(GmemState *state, ram_addr_t offset, ram_addr_t *size)
{
    GArray *sizes = g_hash_table_lookup(state->holds, GSIZE_TO_POINTER(offset));
    unsigned least = 0;

    if (!sizes) {
        return false;
    }
    for (unsigned i = 1; i < sizes->len; i++) {
        if (g_array_index(sizes, ram_addr_t, i) <
            g_array_index(sizes, ram_addr_t, least)) {
            least = i;
        }
    }
    *size = g_array_index(sizes, ram_addr_t, least);
    g_array_remove_index_fast(sizes, least);
    if (!sizes->len) {
        g_hash_table_remove(state->holds, GSIZE_TO_POINTER(offset));
    }
    return true;
}

bool gmem_hold(const RAMBlock *block, ram_addr_t offset, ram_addr_t size)
{
    GmemState *state = state_of(block);
    uint64_t page, end;

    if (!state || !size) {
        return true;
    }
    find_pages(state, offset, size, &page, &end);
    QEMU_LOCK_GUARD(&state->lock);
    if (any_private(state, page, end)) {
        return false;
    }
    for (; page < end; page++) {
        uint32_t **chunk = &state->held[page / CHUNK];
        uint32_t *count;

        if (!*chunk) {
            *chunk = g_new0(uint32_t, CHUNK);
        }
        count = find_count(state, page);
        *count += *count != UINT32_MAX;
    }
    note_hold(state, offset, size);
    return true;
}

void gmem_release(const RAMBlock *block, ram_addr_t offset)
{
    GmemState *state = state_of(block);
    uint64_t page, end;
    ram_addr_t size;

    if (!state) {
        return;
    }
    QEMU_LOCK_GUARD(&state->lock);
    if (!take_hold(state, offset, &size)) {
        trace_gmem_release_nothing(memory_region_name(state->mr), offset);
        return;
    }
    find_pages(state, offset, size, &page, &end);
    for (; page < end; page++) {
        uint32_t *count = find_count(state, page);

        if (count && *count) {
            *count -= *count != UINT32_MAX;
        }
    }
}

void gmem_holds_init(GmemState *state)
{
    qemu_mutex_init(&state->lock);
    state->held = g_new0(uint32_t *, DIV_ROUND_UP(state->nr_pages, CHUNK));
    state->holds = g_hash_table_new_full(NULL, NULL, NULL,
                                         (GDestroyNotify)g_array_unref);
}

void gmem_holds_destroy(GmemState *state)
{
    for (uint64_t i = 0; i < DIV_ROUND_UP(state->nr_pages, CHUNK); i++) {
        g_free(state->held[i]);
    }
    g_free(state->held);
    g_hash_table_unref(state->holds);
    qemu_mutex_destroy(&state->lock);
}

static bool any_of_run_held(const GmemState *state, uint64_t page, uint64_t end)
{
    while (page < end) {
        const uint32_t *count = find_count(state, page);

        if (!count) {
            page = QEMU_ALIGN_UP(page + 1, CHUNK);
        } else if (*count) {
            return true;
        } else {
            page++;
        }
    }
    return false;
}

bool gmem_any_held(const GmemState *state, uint64_t first, uint64_t nr,
                   const unsigned long *map)
{
    uint64_t start, end = 0;

    while (gmem_next_run(map, nr, &start, &end)) {
        if (any_of_run_held(state, first + start, first + end)) {
            return true;
        }
    }
    return false;
}
