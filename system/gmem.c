/*
 * GuestMemfd: a guest_memfd that is the memory of a RAM block
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/falloc.h>
#include "qapi/error.h"
#include "qemu/units.h"
#include "migration/blocker.h"
#include "system/ramblock.h"
#include "gmem/caps.h"
#include "gmem/gmem.h"
#include "gmem/pins.h"
#include "gmem/state.h"
#include "gmem/uapi.h"
#include "gmem/userfault.h"
#include "gmem-listeners.h"
#include "trace/trace-gmem_system.h"

/* Little is done again when a signal interrupts a step. */
#define STEP (256 * MiB)

static unsigned gmem_count;

static QTAILQ_HEAD(, GmemListener) listeners =
    QTAILQ_HEAD_INITIALIZER(listeners);

void gmem_listener_register(GmemListener *listener)
{
    QTAILQ_INSERT_TAIL(&listeners, listener, next);
}

static bool tell_slots_changed(GuestMemfd *gmem, Error **errp)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->slots_changed &&
            !listener->slots_changed(gmem, errp)) {
            return false;
        }
    }
    return true;
}

bool gmem_set_slots(GuestMemfd *gmem, GuestMemfdSlots slots, Error **errp)
{
    GuestMemfdSlots before = gmem->slots;

    gmem->slots = slots;
    if (!tell_slots_changed(gmem, errp)) {
        gmem->slots = before;
        tell_slots_changed(gmem, NULL);
        return false;
    }
    return true;
}

void gmem_tell_slots_stale(void)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->slots_stale) {
            listener->slots_stale();
        }
    }
}

bool gmem_tell_direct_map_off(Error **errp)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->direct_map_off && !listener->direct_map_off(errp)) {
            return false;
        }
    }
    return true;
}

bool gmem_tell_postcopy_in(Error **errp)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->postcopy_in && !listener->postcopy_in(errp)) {
            return false;
        }
    }
    return true;
}

void gmem_set_dirty_log(GuestMemfd *gmem, GuestMemfdDirtyLog dirty_log)
{
    gmem->dirty_log = dirty_log;
    gmem->log_refused = false;
    gmem_tell_slots_stale();
}

void gmem_tell_place_new(GuestMemfd *gmem, const GmemPlace *place)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->place_new) {
            listener->place_new(gmem, place);
        }
    }
}

void gmem_tell_place_gone(GuestMemfd *gmem, const GmemPlace *place)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->place_gone) {
            listener->place_gone(gmem, place);
        }
    }
}

void gmem_tell_unmapped(GuestMemfd *gmem)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->unmapped) {
            listener->unmapped(gmem);
        }
    }
}

void gmem_tell_turned_private(GuestMemfd *gmem)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->turned_private) {
            listener->turned_private(gmem);
        }
    }
}

void gmem_lose(GuestMemfd *gmem, const char *what, int ret)
{
    GmemListener *listener;

    QTAILQ_FOREACH(listener, &listeners, next) {
        if (listener->lost) {
            listener->lost(gmem, what, ret);
        }
    }
}

/* Not RAMBlock.cpr_blocker: that one goes when the block's device does. */
static bool block_cpr(GuestMemfd *gmem, Error **errp)
{
    error_setg(&gmem->cpr_blocker,
               "memory backend '%s': a guest_memfd belongs to one VM and "
               "cannot be handed to another process", gmem->id);
    return migrate_add_blocker_modes(&gmem->cpr_blocker,
                                     BIT(MIG_MODE_CPR_TRANSFER) |
                                     BIT(MIG_MODE_CPR_EXEC), errp) == 0;
}

static GuestMemfd *gmem_new(MemoryRegion *mr, const char *id, int fd,
                            uint64_t flags)
{
    GuestMemfd *gmem = g_new0(GuestMemfd, 1);

    gmem->id = g_strdup(id);
    gmem->block = mr->ram_block;
    gmem->fd = fd;
    gmem->flags = flags;
    gmem->block->gmem = gmem;
    gmem_count++;
    if (gmem_conversions()->enabled) {
        gmem->state = gmem_state_new(mr);
    }
    trace_gmem_ram_create(id, mr->ram_block->max_length, flags, fd);
    return gmem;
}

bool gmem_ram_create(MemoryRegion *mr, Object *owner, const char *name,
                     const char *id, uint64_t size, uint64_t flags,
                     const GmemUse *use, Error **errp)
{
    ERRP_GUARD();
    GuestMemfd *gmem;
    int fd;

    fd = gmem_caps_create(size, flags, errp);
    if (fd < 0) {
        error_prepend(errp, "memory backend '%s': ", id);
        return false;
    }
    if (!memory_region_init_ram_from_fd(mr, owner, name, size, RAM_SHARED, fd,
                                        0, errp)) {
        error_prepend(errp, "memory backend '%s': ", id);
        close(fd);
        return false;
    }

    gmem = gmem_new(mr, id, fd, flags);
    gmem->slots = use->slots;
    gmem->postcopy.policy = use->postcopy;
    gmem->dirty_log = use->dirty_log;
    if (gmem_lacks_direct_map(gmem)) {
        gmem_unpinnable_add(gmem->block->host, gmem->block->max_length, id);
    }

    /* from here on the block owns all of it, and the caller the block */
    return block_cpr(gmem, errp);
}

bool gmem_ram_accompany(MemoryRegion *mr, const char *id, uint64_t flags,
                        Error **errp)
{
    ERRP_GUARD();
    int fd = gmem_caps_create(mr->ram_block->max_length, flags, errp);

    if (fd < 0) {
        error_prepend(errp, "memory backend '%s': ", id);
        return false;
    }
    gmem_new(mr, id, fd, flags)->apart = true;
    return true;
}

bool gmem_prealloc(GuestMemfd *gmem, uint64_t start, uint64_t size,
                   Error **errp)
{
    uint64_t done = 0;

    while (done < size) {
        uint64_t step = MIN(size - done, STEP);

        /* a signal ends it early; what it has allocated stays */
        if (RETRY_ON_EINTR(fallocate(gmem->fd, FALLOC_FL_KEEP_SIZE,
                                     start + done, step)) < 0) {
            error_setg_errno(errp, errno, "prealloc=on: allocating %" PRIu64
                             " of %" PRIu64 " MiB failed",
                             (done + step) / MiB, size / MiB);
            return false;
        }
        done += step;
    }
    trace_gmem_prealloc(gmem->id, start, size);
    return true;
}

bool gmem_for_each(bool (*fn)(GuestMemfd *gmem, void *opaque), void *opaque)
{
    RAMBlock *block;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        if (block->gmem && !fn(block->gmem, opaque)) {
            return false;
        }
    }
    return true;
}

GuestMemfd *gmem_from_region(const MemoryRegion *mr)
{
    return mr->ram_block ? mr->ram_block->gmem : NULL;
}

bool gmem_any(void)
{
    return gmem_count > 0;
}

bool gmem_log_is_anew(const GuestMemfd *gmem)
{
    return gmem && gmem->log_anew;
}

static bool is_not_incoming(GuestMemfd *gmem, void *opaque)
{
    return !gmem->postcopy.incoming;
}

bool gmem_any_incoming(void)
{
    return !gmem_for_each(is_not_incoming, NULL);
}

void gmem_free(GuestMemfd *gmem)
{
    if (!gmem) {
        return;
    }
    trace_gmem_free(gmem->id, gmem->fd);
    migrate_del_blocker(&gmem->cpr_blocker);
    if (gmem_lacks_direct_map(gmem)) {
        gmem_unpinnable_del(gmem->block->host);
    }
    if (gmem->apart) {
        close(gmem->fd);
    }
    gmem_userfault_end(gmem);
    gmem_state_free(gmem->state);
    if (gmem->places) {
        g_array_free(gmem->places, true);
    }
    gmem_count--;
    g_free(gmem->id);
    g_free(gmem);
}
