/*
 * QMP and HMP views of guest RAM in guest_memfds
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-commands-gmem.h"
#include "qapi/qapi-visit-gmem.h"
#include "qapi/type-helpers.h"
#include "qemu/cutils.h"
#include "qemu/range.h"
#include "system/ramblock.h"
#include "gmem/caps.h"
#include "gmem/dma.h"
#include "gmem/gmem.h"
#include "gmem/postcopy.h"
#include "gmem/slots-view.h"
#include "gmem/state.h"
#include "gmem/uapi.h"

static GuestMemfdCreateFlagList *flags_list(uint64_t flags)
{
    static const uint64_t bits[GUEST_MEMFD_CREATE_FLAG__MAX] = {
        [GUEST_MEMFD_CREATE_FLAG_MMAP] = GUEST_MEMFD_FLAG_MMAP,
        [GUEST_MEMFD_CREATE_FLAG_INIT_SHARED] = GUEST_MEMFD_FLAG_INIT_SHARED,
        [GUEST_MEMFD_CREATE_FLAG_NO_DIRECT_MAP] =
            GUEST_MEMFD_FLAG_NO_DIRECT_MAP,
    };
    GuestMemfdCreateFlagList *list = NULL, **tail = &list;

    for (int i = 0; i < GUEST_MEMFD_CREATE_FLAG__MAX; i++) {
        if (flags & bits[i]) {
            QAPI_LIST_APPEND(tail, i);
        }
    }
    return list;
}

/* Bytes of the file that lie in some slot, or in some bound slot. */
static uint64_t covered_bytes(GuestMemfdSlotInfoList *slots, bool only_bound)
{
    GList *ranges = NULL;
    uint64_t bytes = 0;

    for (; slots; slots = slots->next) {
        if (slots->value->bound || !only_bound) {
            Range *range = g_new(Range, 1);

            range_init_nofail(range, slots->value->offset,
                              slots->value->size);
            ranges = range_list_insert(ranges, range);
        }
    }
    for (GList *item = ranges; item; item = item->next) {
        bytes += range_size(item->data);
    }
    g_list_free_full(ranges, g_free);
    return bytes;
}

/* Of a slot that is mapped, a page goes whenever QEMU's mapping changes. */
static void add_stays_mapped(GuestMemfdBlock *info)
{
    const GuestMemfdInterfaceInfo *kernel =
        gmem_caps_find(GUEST_MEMFD_INTERFACE_NOTIFIER_FREE_SLOTS);

    info->has_stays_mapped = kernel && kernel->has_available;
    info->stays_mapped = info->has_stays_mapped && kernel->available &&
                         info->bound_bytes && !info->mapped_bytes;
}

static void add_pages(GuestMemfdBlock *info, const GuestMemfd *gmem)
{
    info->backing = gmem->apart ? GUEST_MEMFD_BACKING_PRIVATE :
                    gmem->state ? GUEST_MEMFD_BACKING_IN_PLACE :
                    GUEST_MEMFD_BACKING_SHARED;
    if (gmem->state) {
        info->private_bytes = gmem_state_private_bytes(gmem->state);
        info->to_private = QAPI_CLONE(GuestMemfdConversions,
                                      &gmem->to_private);
        info->to_shared = QAPI_CLONE(GuestMemfdConversions, &gmem->to_shared);
    }
    info->shared_bytes = info->size - info->private_bytes;
    info->has_allocated_bytes = gmem_allocated(gmem, 0, info->size,
                                               &info->allocated_bytes);
    info->has_ordinary_bytes = gmem_allocated_apart(gmem,
                                                    &info->ordinary_bytes);
}

static GuestMemfdBlock *block_info(GuestMemfd *gmem)
{
    GuestMemfdBlock *info = g_new0(GuestMemfdBlock, 1);

    info->id = g_strdup(memory_region_name(gmem->block->mr));
    info->memdev = g_strdup(gmem->id);
    info->size = gmem->block->used_length;
    info->flags = flags_list(gmem->flags);
    info->slots_policy = gmem->slots;
    info->dirty_log_policy = gmem->dirty_log;
    info->slots = gmem_slots_query(gmem);
    info->bound_bytes = covered_bytes(info->slots, true);
    info->mapped_bytes = covered_bytes(info->slots, false) -
                         info->bound_bytes;
    add_stays_mapped(info);
    add_pages(info, gmem);
    info->postcopy = gmem_postcopy_query(gmem);
    info->counters = QAPI_CLONE(GuestMemfdCounters, &gmem->counters);
    return info;
}

GuestMemfdInfo *qmp_query_guest_memfd(Error **errp)
{
    GuestMemfdInfo *info = g_new0(GuestMemfdInfo, 1);
    GuestMemfdBlockList **tail = &info->blocks;
    RAMBlock *block;

    info->host = gmem_caps_query();
    info->containers = gmem_dma_query();
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        if (block->gmem) {
            QAPI_LIST_APPEND(tail, block_info(block->gmem));
        }
    }
    return info;
}

static void print_slots(GString *buf, const GuestMemfdBlock *block)
{
    const GuestMemfdCounters *n = block->counters;

    g_string_append(buf, "  as  guest address       size (KiB)  offset"
                         "              kind\n");
    for (GuestMemfdSlotInfoList *s = block->slots; s; s = s->next) {
        const GuestMemfdSlotInfo *slot = s->value;

        g_string_append_printf(buf, "  %2" PRId64 "  0x%016" PRIx64
                               "  %10" PRIu64 "  0x%016" PRIx64 "  %s%s%s%s\n",
                               slot->as_id, slot->gpa, slot->size >> 10,
                               slot->offset, slot->bound ? "bound" : "mapped",
                               slot->bound ? "" : ": ", slot->bound ? ""
                               : GuestMemfdWhyMapped_str(slot->why_mapped),
                               slot->logged ? ", logged" : "");
    }
    g_string_append_printf(buf, "  slots: %" PRIu64 " bound, %" PRIu64
                           " unbound, %" PRIu64 " mapped, %" PRIu64
                           " unmapped, %" PRIu64 " refused; %" PRIu64
                           " pauses, longest %" PRIu64 " us\n",
                           n->binds, n->unbinds, n->maps, n->unmaps,
                           n->refused, n->pauses, n->longest_pause / 1000);
}

static void print_conversions(GString *buf, const char *where,
                              const GuestMemfdConversions *n)
{
    if (n) {
        g_string_append_printf(buf, "  to %s: %" PRIu64 " calls, %" PRIu64
                               " pages, %" PRIu64 " retries, %" PRIu64
                               " failures; longest %" PRIu64 " us, total %"
                               PRIu64 " us\n", where, n->calls, n->pages,
                               n->retries, n->failures, n->longest / 1000,
                               n->total / 1000);
    }
}

static void print_postcopy(GString *buf, const GuestMemfdPostcopyInfo *n)
{
    g_string_append_printf(buf, "  postcopy: %s (%s)%s; %" PRIu64 " exits, %"
                           PRIu64 " requests, %" PRIu64 " pages placed, %"
                           PRIu64 " KiB missing\n",
                           GuestMemfdPostcopy_str(n->policy),
                           n->has_strategy
                           ? GuestMemfdPostcopy_str(n->strategy)
                           : "not on this host",
                           n->incoming ? ", incoming" : "", n->exits,
                           n->requests, n->placed, n->missing_bytes >> 10);
}

static void print_bytes(GString *buf, const GuestMemfdBlock *block)
{
    g_string_append_printf(buf, "  bound %" PRIu64 " KiB, mapped %" PRIu64
                           " KiB, shared %" PRIu64 " KiB, private %" PRIu64
                           " KiB", block->bound_bytes >> 10,
                           block->mapped_bytes >> 10,
                           block->shared_bytes >> 10,
                           block->private_bytes >> 10);
    if (block->has_allocated_bytes) {
        g_string_append_printf(buf, ", allocated %" PRIu64 " KiB",
                               block->allocated_bytes >> 10);
    }
    if (block->has_ordinary_bytes) {
        g_string_append_printf(buf, ", ordinary %" PRIu64 " KiB",
                               block->ordinary_bytes >> 10);
    }
    if (block->has_stays_mapped) {
        g_string_append(buf, block->stays_mapped ? ", stays mapped"
                                                 : ", may be unmapped");
    }
    g_string_append_c(buf, '\n');
}

static void print_block(GString *buf, const GuestMemfdBlock *block)
{
    g_string_append_printf(buf, "%s (memdev %s): %" PRIu64 " MiB, slots=%s, "
                           "dirty-log=%s\n", block->id, block->memdev,
                           block->size >> 20,
                           GuestMemfdSlots_str(block->slots_policy),
                           GuestMemfdDirtyLog_str(block->dirty_log_policy));
    g_string_append_printf(buf, "  backing: %s, flags:",
                           GuestMemfdBacking_str(block->backing));
    for (GuestMemfdCreateFlagList *f = block->flags; f; f = f->next) {
        g_string_append_printf(buf, " %s", GuestMemfdCreateFlag_str(f->value));
    }
    g_string_append_c(buf, '\n');
    print_bytes(buf, block);
    print_slots(buf, block);
    print_postcopy(buf, block->postcopy);
    print_conversions(buf, "private", block->to_private);
    print_conversions(buf, "shared", block->to_shared);
}

static void print_container(GString *buf, const GuestMemfdContainer *container)
{
    g_string_append(buf, "Devices:");
    for (strList *name = container->devices; name; name = name->next) {
        g_string_append_printf(buf, " %s", name->value);
    }
    g_string_append_printf(buf, ": by %s, %" PRIu64 " mappings, %" PRIu64
                           " KiB, pinned %" PRIu64 " KiB",
                           container->by_file ? "file" : "address",
                           container->mappings, container->mapped_bytes >> 10,
                           container->pinned_bytes >> 10);
    if (container->has_revocations) {
        g_string_append_printf(buf, ", %" PRIu64 " revocations",
                               container->revocations);
    }
    g_string_append_c(buf, '\n');
}

HumanReadableText *qmp_x_query_guest_memfd(Error **errp)
{
    g_autoptr(GString) buf = g_string_new("");
    GuestMemfdInfo *info = qmp_query_guest_memfd(errp);

    if (!info->blocks) {
        g_string_append(buf, "No guest RAM is a guest_memfd\n");
    }
    for (GuestMemfdBlockList *b = info->blocks; b; b = b->next) {
        print_block(buf, b->value);
    }
    for (GuestMemfdContainerList *c = info->containers; c; c = c->next) {
        print_container(buf, c->value);
    }
    g_string_append(buf, info->host ? "The host kernel:\n"
                                    : "The accelerator is not KVM\n");
    for (GuestMemfdInterfaceInfoList *h = info->host; h; h = h->next) {
        const GuestMemfdInterfaceInfo *i = h->value;

        g_string_append_printf(buf, "  %-20s %-8s %s\n",
                               GuestMemfdInterface_str(i->name),
                               !i->has_available ? "unknown" :
                               i->available ? "yes" : "no", i->found_by);
    }
    qapi_free_GuestMemfdInfo(info);
    return human_readable_text_from_str(buf);
}
