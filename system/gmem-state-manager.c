/*
 * The state of a guest_memfd's pages as a RamDiscardManager
 *
 * A shared page is populated, a private one is discarded.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "gmem/state.h"

OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(GmemState, gmem_state, GMEM_STATE,
                                          OBJECT,
                                          { TYPE_RAM_DISCARD_MANAGER }, { })

/* The part of @section that pages [@start, @end) make up, if there is one */
static bool cut(const MemoryRegionSection *section, uint64_t start,
                uint64_t end, MemoryRegionSection *part)
{
    uint64_t page_size = qemu_real_host_page_size();

    *part = *section;
    return memory_region_section_intersect_range(part, start * page_size,
                                                 (end - start) * page_size);
}

/* Tell @rdl of the pages in @map; 0 or what the listener said. */
static int populate_listener(RamDiscardListener *rdl, uint64_t first,
                             uint64_t nr, const unsigned long *map)
{
    uint64_t start, end = 0;
    int ret = 0;

    while (!ret && gmem_next_run(map, nr, &start, &end)) {
        MemoryRegionSection part;

        if (cut(rdl->section, first + start, first + end, &part)) {
            ret = rdl->notify_populate(rdl, &part);
        }
    }
    return ret;
}

static void discard_listener(RamDiscardListener *rdl, uint64_t first,
                             uint64_t nr, const unsigned long *map)
{
    uint64_t start, end = 0;

    while (gmem_next_run(map, nr, &start, &end)) {
        MemoryRegionSection part;

        if (cut(rdl->section, first + start, first + end, &part)) {
            rdl->notify_discard(rdl, &part);
        }
    }
}

int gmem_state_tell_discarded(GmemState *state, uint64_t first, uint64_t nr,
                              const unsigned long *map)
{
    RamDiscardListener *rdl;

    state->refused = 0;
    QLIST_FOREACH(rdl, &state->listeners, next) {
        discard_listener(rdl, first, nr, map);
    }
    return state->refused;
}

void gmem_state_refuse(GmemState *state, int ret)
{
    state->refused = ret;
}

int gmem_state_tell_populated(GmemState *state, uint64_t first, uint64_t nr,
                              const unsigned long *map)
{
    RamDiscardListener *rdl, *told;

    state->refused = 0;
    QLIST_FOREACH(rdl, &state->listeners, next) {
        int ret = populate_listener(rdl, first, nr, map);

        if (ret) {
            QLIST_FOREACH(told, &state->listeners, next) {
                discard_listener(told, first, nr, map);
                if (told == rdl) {
                    return ret;
                }
            }
        }
    }
    return 0;
}

int gmem_state_tell_populated_again(GmemState *state, uint64_t first,
                                    uint64_t nr, const unsigned long *map)
{
    RamDiscardListener *rdl;
    int ret = 0;

    QLIST_FOREACH(rdl, &state->listeners, next) {
        int failed = populate_listener(rdl, first, nr, map);

        ret = ret ?: failed;
    }
    return ret;
}

static uint64_t get_min_granularity(const RamDiscardManager *rdm,
                                    const MemoryRegion *mr)
{
    return qemu_real_host_page_size();
}

static void section_pages(const MemoryRegionSection *section,
                          uint64_t *first, uint64_t *end)
{
    uint64_t page_size = qemu_real_host_page_size();

    *first = section->offset_within_region / page_size;
    *end = DIV_ROUND_UP(section->offset_within_region +
                        int128_get64(section->size), page_size);
}

static bool is_populated(const RamDiscardManager *rdm,
                         const MemoryRegionSection *section)
{
    const GmemState *state = GMEM_STATE(rdm);
    uint64_t first, end;

    section_pages(section, &first, &end);
    return find_next_bit(state->private, end, first) >= end;
}

/* Call @fn for each run of pages in @section on one side. */
static int replay(const GmemState *state, const MemoryRegionSection *section,
                  bool private, ReplayRamDiscardState fn, void *opaque)
{
    uint64_t end, next;
    int ret = 0;

    section_pages(section, &next, &end);
    while (!ret && next < end) {
        MemoryRegionSection part;
        uint64_t start = next;

        if (test_bit(start, state->private)) {
            next = find_next_zero_bit(state->private, end, start);
        } else {
            next = find_next_bit(state->private, end, start);
        }
        if (test_bit(start, state->private) == private &&
            cut(section, start, next, &part)) {
            ret = fn(&part, opaque);
        }
    }
    return ret;
}

static int replay_populated(const RamDiscardManager *rdm,
                            MemoryRegionSection *section,
                            ReplayRamDiscardState fn, void *opaque)
{
    return replay(GMEM_STATE(rdm), section, false, fn, opaque);
}

static int replay_discarded(const RamDiscardManager *rdm,
                            MemoryRegionSection *section,
                            ReplayRamDiscardState fn, void *opaque)
{
    return replay(GMEM_STATE(rdm), section, true, fn, opaque);
}

static int notify_populate(MemoryRegionSection *section, void *opaque)
{
    RamDiscardListener *rdl = opaque;

    return rdl->notify_populate(rdl, section);
}

static int notify_discard(MemoryRegionSection *section, void *opaque)
{
    RamDiscardListener *rdl = opaque;

    rdl->notify_discard(rdl, section);
    return 0;
}

/* At the end of the list, so that they are told in this order. */
static void insert_last(GmemState *state, RamDiscardListener *rdl)
{
    RamDiscardListener *last = QLIST_FIRST(&state->listeners);

    if (!last) {
        QLIST_INSERT_HEAD(&state->listeners, rdl, next);
        return;
    }
    while (QLIST_NEXT(last, next)) {
        last = QLIST_NEXT(last, next);
    }
    QLIST_INSERT_AFTER(last, rdl, next);
}

static void register_listener(RamDiscardManager *rdm, RamDiscardListener *rdl,
                              MemoryRegionSection *section)
{
    GmemState *state = GMEM_STATE(rdm);
    int ret;

    g_assert(section->mr == state->mr);
    rdl->section = memory_region_section_new_copy(section);
    insert_last(state, rdl);
    ret = replay(state, rdl->section, false, notify_populate, rdl);
    if (ret) {
        error_report("%s: a listener cannot use the shared pages: %s",
                     memory_region_name(state->mr), strerror(-ret));
    }
}

static void unregister_listener(RamDiscardManager *rdm,
                                RamDiscardListener *rdl)
{
    GmemState *state = GMEM_STATE(rdm);

    g_assert(rdl->section->mr == state->mr);
    if (rdl->double_discard_supported) {
        rdl->notify_discard(rdl, rdl->section);
    } else {
        replay(state, rdl->section, false, notify_discard, rdl);
    }
    QLIST_REMOVE(rdl, next);
    memory_region_section_free_copy(rdl->section);
    rdl->section = NULL;
}

GmemState *gmem_state_new(MemoryRegion *mr)
{
    GmemState *state = GMEM_STATE(object_new(TYPE_GMEM_STATE));

    state->mr = mr;
    state->nr_pages = DIV_ROUND_UP(mr->ram_block->max_length,
                                   qemu_real_host_page_size());
    state->private = bitmap_new(state->nr_pages);
    gmem_holds_init(state);
    if (memory_region_set_ram_discard_manager(mr, RAM_DISCARD_MANAGER(state))) {
        g_assert_not_reached();
    }
    return state;
}

void gmem_state_free(GmemState *state)
{
    if (state) {
        object_unref(OBJECT(state));
    }
}

static void gmem_state_init(Object *obj)
{
    GmemState *state = GMEM_STATE(obj);

    QLIST_INIT(&state->listeners);
}

static void gmem_state_finalize(Object *obj)
{
    GmemState *state = GMEM_STATE(obj);

    gmem_holds_destroy(state);
    g_free(state->private);
}

static void gmem_state_class_init(ObjectClass *oc, const void *data)
{
    RamDiscardManagerClass *rdmc = RAM_DISCARD_MANAGER_CLASS(oc);

    rdmc->get_min_granularity = get_min_granularity;
    rdmc->is_populated = is_populated;
    rdmc->replay_populated = replay_populated;
    rdmc->replay_discarded = replay_discarded;
    rdmc->register_listener = register_listener;
    rdmc->unregister_listener = unregister_listener;
}
