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
#include "gmem/uapi.h"
#include "trace/trace-gmem_system.h"

/* Pages are allocated, or counted, by so many bytes at a time. */
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

bool gmem_ram_create(MemoryRegion *mr, Object *owner, const char *name,
                     const char *id, uint64_t size, uint64_t flags,
                     GuestMemfdSlots slots, Error **errp)
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

    gmem = g_new0(GuestMemfd, 1);
    gmem->id = g_strdup(id);
    gmem->block = mr->ram_block;
    gmem->fd = fd;
    gmem->flags = flags;
    gmem->slots = slots;
    gmem->block->gmem = gmem;
    gmem_count++;
    trace_gmem_ram_create(id, size, flags, fd);

    /* from here on the block owns all of it, and the caller the block */
    return block_cpr(gmem, errp);
}

uint64_t gmem_touched(const GuestMemfd *gmem, uint64_t start, uint64_t size)
{
    uint64_t page_size = qemu_real_host_page_size();
    g_autofree unsigned char *present = g_malloc(STEP / page_size);
    uint64_t bytes = 0;

    for (uint64_t done = 0; done < size; done += STEP) {
        uint64_t step = MIN(STEP, size - done);

        /* a shared mapping tells of the file, not of our page table */
        if (mincore(gmem->block->host + start + done, step, present)) {
            return 0;
        }
        for (uint64_t i = 0; i < step / page_size; i++) {
            bytes += (present[i] & 1) * page_size;
        }
    }
    return bytes;
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

GuestMemfd *gmem_from_region(const MemoryRegion *mr)
{
    return mr->ram_block ? mr->ram_block->gmem : NULL;
}

bool gmem_any(void)
{
    return gmem_count > 0;
}

void gmem_free(GuestMemfd *gmem)
{
    if (!gmem) {
        return;
    }
    trace_gmem_free(gmem->id, gmem->fd);
    migrate_del_blocker(&gmem->cpr_blocker);
    gmem_count--;
    g_free(gmem->id);
    g_free(gmem);
}
