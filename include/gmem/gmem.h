/*
 * GuestMemfd: a guest_memfd that is the memory of a RAM block
 *
 * Layer 1 (docs/architecture.md): the object everything else asks.
 * RAMBlock.gmem points to it; NULL for any other RAM.  (RAMBlock.guest_memfd
 * is upstream's, which KVM finds private from the start; it stays -1.)
 *
 * It has one of two shapes.  Either the file is the RAM: the block owns the
 * file descriptor (RAMBlock.fd) and the one MAP_SHARED mapping of it.  Or the
 * block is ordinary memory, which has the shared pages, and the file is apart
 * and has the private ones: there are two backings.
 *
 * The file belongs to one VM and lives as long as its block.
 *
 * Locks: members are written with the BQL held.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_GMEM_H
#define GMEM_GMEM_H

#include "qapi/qapi-types-gmem.h"
#include "qemu/stats64.h"
#include "system/memory.h"
#include "gmem/uapi.h"
#include "gmem/use.h"

/*
 * Pages that postcopy brings in while the guest runs.  Counters are written by
 * whoever places a page or waits for one.
 */
typedef struct GmemPostcopy {
    GuestMemfdPostcopy policy;      /* the backend's property */
    GuestMemfdPostcopy strategy;    /* while incoming; never auto */
    bool incoming;
    bool refused;                   /* KVM took no bitmap this time */
    struct GmemUserfault *userfault;    /* RCU: gmem/userfault.h */
    Stat64 exits;
    Stat64 requests;
    Stat64 placed;
} GmemPostcopy;

typedef struct GuestMemfd {
    char *id;                   /* of the memory backend, for messages */
    RAMBlock *block;
    int fd;
    bool apart;                 /* the fd is ours, not the block's */
    uint64_t flags;             /* GUEST_MEMFD_FLAG_* at creation */
    GuestMemfdSlots slots;      /* the backend's property */
    GuestMemfdDirtyLog dirty_log;       /* the backend's property */
    GuestMemfdCounters counters;
    Error *cpr_blocker;

    /* of the pages; NULL if none can be private (gmem/state.h) */
    struct GmemState *state;
    GArray *places;             /* gmem/places.h */
    GuestMemfdConversions to_private;
    GuestMemfdConversions to_shared;

    GmemPostcopy postcopy;      /* gmem/postcopy.h */

    /* of accel/kvm/gmem-slots.c */
    bool bind_refused;          /* slots=auto: the kernel said no once */
    bool log_refused;           /* it would not log a bound slot this time */
    bool log_anew;              /* see gmem_log_is_anew() */
    bool paused;                /* vCPUs are held to change its slots */
} GuestMemfd;

/* Where KVM shows a part of it to the guest (gmem/places.h) */
typedef struct GmemPlace {
    uint64_t gpa;
    uint64_t offset;            /* in the file */
    uint64_t size;
    bool bound;                 /* the guest has private pages here */
} GmemPlace;

/*
 * What a module wants to know of every guest_memfd.  Modules do not call each
 * other: who causes an event tells the object, and the object its listeners.
 *
 * Listeners are told in the order of registration, with the BQL held.
 */
typedef struct GmemListener {
    /*
     * slots_changed: the property slots of @gmem has a new value
     *
     * Returns: false with @errp set if that cannot be; all listeners are
     * then told again, with the old value, and cannot refuse it.
     */
    bool (*slots_changed)(GuestMemfd *gmem, Error **errp);

    /*
     * slots_stale: something else has changed that says which memslots are
     * bound: how a log is kept, or whether pages are coming in, or how
     */
    void (*slots_stale)(void);

    /*
     * direct_map_off: memory that the kernel does not map is about to be
     *
     * Returns: false with @errp saying why it cannot be.
     */
    bool (*direct_map_off)(Error **errp);

    /*
     * postcopy_in: pages may come in while the guest runs
     *
     * Returns: false with @errp saying why they must not.
     */
    bool (*postcopy_in)(Error **errp);

    /*
     * place_new: KVM is about to have @place
     * place_gone: it has it no more
     * unmapped: after a change of the memory map, @gmem has no place left
     *
     * Only for a guest_memfd with a state.
     */
    void (*place_new)(GuestMemfd *gmem, const GmemPlace *place);
    void (*place_gone)(GuestMemfd *gmem, const GmemPlace *place);
    void (*unmapped)(GuestMemfd *gmem);

    /* turned_private: whoever listens to its state has let go of some pages */
    void (*turned_private)(GuestMemfd *gmem);

    /*
     * lost: pages of @gmem are not on the side where they should be, and
     * cannot be put there, so the guest must not run any more; @ret is why
     */
    void (*lost)(GuestMemfd *gmem, const char *what, int ret);
    QTAILQ_ENTRY(GmemListener) next;
} GmemListener;

/* For as long as the process lives. */
void gmem_listener_register(GmemListener *listener);

/* gmem_tell_turned_private: tell of it.  BQL held. */
void gmem_tell_turned_private(GuestMemfd *gmem);

/* gmem_lose: tell of it */
void gmem_lose(GuestMemfd *gmem, const char *what, int ret);

/* gmem_tell_slots_stale: tell of it.  BQL held. */
void gmem_tell_slots_stale(void);

/*
 * gmem_tell_direct_map_off, gmem_tell_postcopy_in: tell of it; false with @errp
 * set if one refuses
 */
bool gmem_tell_direct_map_off(Error **errp);
bool gmem_tell_postcopy_in(Error **errp);

/*
 * gmem_ram_create: make @mr RAM of @size bytes in a new guest_memfd
 *
 * @name: name of the region
 * @id: of the memory backend, for messages
 * @size: a multiple of the host page size
 * @flags: GUEST_MEMFD_FLAG_*; MMAP must be among them
 * @use: what the backend's properties say
 *
 * All pages start out zero.  CPR modes that hand memory to
 * another process are blocked for as long as the block lives: the file
 * cannot leave its VM.
 *
 * Returns: false with @errp set on failure; what @mr holds by then goes with
 * its @owner.
 */
bool gmem_ram_create(MemoryRegion *mr, Object *owner, const char *name,
                     const char *id, uint64_t size, uint64_t flags,
                     const GmemUse *use, Error **errp);

/*
 * gmem_ram_accompany: give @mr, which is ordinary RAM, a guest_memfd apart
 *
 * @id: of the memory backend, for messages
 * @flags: GUEST_MEMFD_FLAG_*, without MMAP
 *
 * Returns: false with @errp set, and @mr as it was.
 */
bool gmem_ram_accompany(MemoryRegion *mr, const char *id, uint64_t flags,
                        Error **errp);

/*
 * gmem_set_slots: change how KVM reaches the pages of @gmem
 *
 * Takes effect before it returns.  BQL held.
 *
 * Returns: false with @errp set and the property as it was, if @slots is
 * bound and something cannot be.
 */
bool gmem_set_slots(GuestMemfd *gmem, GuestMemfdSlots slots, Error **errp);

/* gmem_set_dirty_log: change how a log is kept.  At once, and BQL held. */
void gmem_set_dirty_log(GuestMemfd *gmem, GuestMemfdDirtyLog dirty_log);

/*
 * gmem_log_is_anew: has a memslot been made anew since the log began?
 *
 * Then KVM may say of any page that it was written, also of one that has been
 * discarded.  NULL is fine.  BQL held.
 */
bool gmem_log_is_anew(const GuestMemfd *gmem);

/*
 * gmem_allocated: how much of a range of the file has pages, in bytes
 *
 * Without cachestat(2), Linux 6.5, less where nobody has accessed what
 * gmem_prealloc() allocated: mincore(2) does not count that.
 *
 * Returns: false where the kernel cannot tell.
 */
bool gmem_allocated(const GuestMemfd *gmem, uint64_t start, uint64_t size,
                    uint64_t *bytes);

/*
 * gmem_allocated_apart: how much of all of the ordinary memory that the file
 * accompanies
 */
bool gmem_allocated_apart(const GuestMemfd *gmem, uint64_t *bytes);

/*
 * gmem_prealloc: allocate all pages of a range through the file
 *
 * Several times faster than through the mapping, which would also zero the
 * pages and fill QEMU's page tables: a guest on bound slots needs neither.
 * (bench/prealloc.c)  The kernel works on one file with one thread at a time.
 *
 * Returns: false with @errp set on failure; what was allocated stays.
 */
bool gmem_prealloc(GuestMemfd *gmem, uint64_t start, uint64_t size,
                   Error **errp);

/*
 * gmem_for_each: every guest_memfd
 *
 * Any of the following ends at the first call that returns false.  BQL held.
 */
bool gmem_for_each(bool (*fn)(GuestMemfd *gmem, void *opaque), void *opaque);

/* The GuestMemfd of @mr, or NULL. */
GuestMemfd *gmem_from_region(const MemoryRegion *mr);

/* Whether any RAM block is a guest_memfd. */
bool gmem_any(void);

/*
 * Whether the kernel does not map the pages of @gmem.  Then it cannot pin them
 * either (gmem/pins.h), and a mapped memslot, for which KVM pins, does not
 * work.
 */
static inline bool gmem_lacks_direct_map(const GuestMemfd *gmem)
{
    return gmem->flags & GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
}

/* Whether pages of any are coming in by postcopy.  BQL held. */
bool gmem_any_incoming(void);

/*
 * gmem_free: the block goes.  Called by upstream when the last reader of the
 * RAM list is gone, before the fd is closed.  NULL is fine.
 */
void gmem_free(GuestMemfd *gmem);

#endif /* GMEM_GMEM_H */
