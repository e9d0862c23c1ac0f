/*
 * Memory backends whose memory is a guest_memfd
 *
 * Layer 2 (docs/architecture.md).  One implementation, asked for in three
 * ways: the type memory-backend-guest-memfd, guest-memfd=on with memory-
 * backend-memfd or memory-backend-ram, and guest-memfd=on with the machine,
 * which is then the default of every backend.  A backend that cannot do it
 * says so by name: it never becomes ordinary memory silently.
 *
 * Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_HOSTMEM_H
#define GMEM_HOSTMEM_H

#include "qom/object.h"
#include "gmem/use.h"

#define TYPE_MEMORY_BACKEND_GUEST_MEMFD "memory-backend-guest-memfd"

/* What a HostMemoryBackend was asked for; its member "gmem". */
typedef struct GmemHostmem {
    bool wanted;                /* it is to be a guest_memfd */
    bool share_off;             /* share=off was asked for explicitly */
    bool merge_on;              /* merge=on was asked for explicitly */
    bool seal_on;               /* seal=on was asked for explicitly */
    uint32_t given;             /* which of the following were, as bits */
    GmemUse use;
} GmemHostmem;

/* What the machine was asked for; the member "gmem" of MachineState. */
typedef struct GmemMachine {
    bool wanted;
    uint32_t given;             /* which of the following were, as bits */
    GmemUse use;                /* the default of backends */
} GmemMachine;

/* Add our properties, such as guest-memfd, to class memory-backend. */
void gmem_hostmem_class_init(ObjectClass *oc);

/*
 * Whether merge=@value may be set.  Before the memory is there all may be,
 * and gmem_hostmem_alloc() tells.
 */
bool gmem_hostmem_allows_merge(HostMemoryBackend *backend, bool value,
                               Error **errp);

/*
 * Whether what @backend, which is to be a guest_memfd, was asked for goes
 * together.
 */
bool gmem_hostmem_check_values(HostMemoryBackend *backend, Error **errp);

/*
 * Whether @backend, which is to be a guest_memfd, can have no direct map, if it
 * is to have none.  (hostmem-gmem-direct-map.c)
 */
bool gmem_hostmem_check_direct_map(HostMemoryBackend *backend, Error **errp);

/* Whether @backend, which is to be ordinary memory, was asked for no more. */
bool gmem_hostmem_check_other(HostMemoryBackend *backend, Error **errp);

/* Give @backend the machine's defaults.  Instance init. */
void gmem_hostmem_init(HostMemoryBackend *backend);

/*
 * gmem_hostmem_alloc: allocate the memory of @backend
 *
 * Calls the class's alloc unless the backend is to be a guest_memfd.
 *
 * Returns: false with @errp set on failure.
 */
bool gmem_hostmem_alloc(HostMemoryBackend *backend, Error **errp);

/*
 * gmem_hostmem_prealloc: qemu_prealloc_mem() of all of @backend's memory
 *
 * @async: as there
 */
bool gmem_hostmem_prealloc(HostMemoryBackend *backend, bool async,
                           Error **errp);

/*
 * gmem_hostmem_prealloc_range: the same of a part of it, at once, by the
 * caller's thread: for a device that allocates when memory is plugged
 */
bool gmem_hostmem_prealloc_range(HostMemoryBackend *backend, uint64_t start,
                                 uint64_t size, Error **errp);

/*
 * gmem_hostmem_can_flush: can @device, which must, write the memory of
 * @backend to storage?
 *
 * Returns: false with @errp naming both if it is a guest_memfd, which knows
 * no fsync(2), or its pages can turn private.
 */
bool gmem_hostmem_can_flush(HostMemoryBackend *backend, const char *device,
                            Error **errp);

/* Add our properties, such as guest-memfd, to class machine. */
void gmem_machine_class_init(ObjectClass *oc);

/* Whether these properties make sense together.  Before the board is made. */
bool gmem_machine_check(const MachineState *machine, Error **errp);

#endif /* GMEM_HOSTMEM_H */
