/*
 * Memory backends whose memory is a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "hw/boards.h"
#include "migration/misc.h"
#include "system/hostmem.h"
#include "system/kvm.h"
#include "system/ramblock.h"
#include "gmem/caps.h"
#include "gmem/gmem.h"
#include "gmem/hostmem.h"
#include "gmem/hostmem-convert.h"
#include "gmem/state.h"
#include "gmem/uapi.h"

static const char *const types_that_can[] = {
    TYPE_MEMORY_BACKEND_GUEST_MEMFD,
    TYPE_MEMORY_BACKEND_MEMFD,
    TYPE_MEMORY_BACKEND_RAM,
};

static bool check_type(HostMemoryBackend *backend, Error **errp)
{
    for (size_t i = 0; i < ARRAY_SIZE(types_that_can); i++) {
        if (object_dynamic_cast(OBJECT(backend), types_that_can[i])) {
            return true;
        }
    }
    error_setg(errp, "a %s cannot be a guest_memfd; use "
               TYPE_MEMORY_BACKEND_GUEST_MEMFD ", or guest-memfd=off for "
               "this backend", object_get_typename(OBJECT(backend)));
    return false;
}

static void refuse_merge(Error **errp)
{
    error_setg(errp, "merge=on: the kernel does not merge pages of a "
               "guest_memfd; use merge=off");
}

bool gmem_hostmem_allows_merge(HostMemoryBackend *backend, bool value,
                               Error **errp)
{
    if (!host_memory_backend_mr_inited(backend)) {
        backend->gmem.merge_on = value;
    } else if (backend->gmem.wanted && value) {
        refuse_merge(errp);
        return false;
    }
    return true;
}

static bool check_huge_pages(Object *obj, Error **errp)
{
    if (!object_property_find(obj, "hugetlb")) {
        return true;
    }
    if (object_property_get_bool(obj, "hugetlb", &error_abort)) {
        error_setg(errp, "hugetlb=on: a guest_memfd has no huge pages; "
                   "use hugetlb=off");
        return false;
    }
    if (object_property_get_uint(obj, "hugetlbsize", &error_abort)) {
        error_setg(errp, "hugetlbsize: a guest_memfd has no huge pages; "
                   "leave it out");
        return false;
    }
    return true;
}

static bool check_properties(HostMemoryBackend *backend, Error **errp)
{
    if (backend->gmem.share_off) {
        error_setg(errp, "share=off: a guest_memfd is always shared between "
                   "QEMU and KVM; use share=on");
        return false;
    }
    if (backend->gmem.merge_on) {
        refuse_merge(errp);
        return false;
    }
    if (backend->gmem.seal_on) {
        error_setg(errp, "seal=on: a guest_memfd cannot be sealed, its size "
                   "never changes; use seal=off");
        return false;
    }
    return check_huge_pages(OBJECT(backend), errp);
}

static bool check_size(HostMemoryBackend *backend, Error **errp)
{
    uint64_t page_size = qemu_real_host_page_size();
    uint64_t host = qemu_get_host_physmem();

    if (!backend->size) {
        error_setg(errp, "size is 0; use size=N");
        return false;
    }
    if (backend->size % page_size) {
        error_setg(errp, "size 0x%" PRIx64 " is not a multiple of the page "
                   "size 0x%" PRIx64, backend->size, page_size);
        return false;
    }
    if (backend->reserve && backend->size > host) {
        g_autofree char *want = size_to_str(backend->size);
        g_autofree char *have = size_to_str(host);

        error_setg(errp, "%s is more than the host's %s of memory, and a "
                   "guest_memfd cannot be swapped out; use a smaller size, "
                   "or reserve=off if the guest will not use all of it",
                   want, have);
        return false;
    }
    return true;
}

static bool check_machine(Error **errp)
{
    if (machine_require_guest_memfd(current_machine)) {
        error_setg(errp, "this machine's confidential-guest-support keeps "
                   "guest memory private; leave out guest-memfd=on");
        return false;
    }
    return true;
}

/* Arm's memory tags: KVM has no room for those of a guest_memfd. */
static bool check_tags(Error **errp)
{
    Object *machine = OBJECT(current_machine);

    if (object_property_find(machine, "mte") &&
        object_property_get_bool(machine, "mte", &error_abort)) {
        error_setg(errp, "mte=on: KVM has no memory tags for a guest_memfd; "
                   "use mte=off, or guest-memfd=off for this backend");
        return false;
    }
    return true;
}

static bool check_ours(HostMemoryBackend *backend, Error **errp)
{
    return check_type(backend, errp) && check_properties(backend, errp) &&
           gmem_hostmem_check_values(backend, errp) &&
           check_size(backend, errp) && check_machine(errp) &&
           gmem_caps_check(errp) && check_tags(errp) &&
           gmem_hostmem_check_direct_map(backend, errp);
}

static void name_backend(HostMemoryBackend *backend, Error **errp)
{
    error_prepend(errp, "memory backend '%s': ",
                  object_get_canonical_path_component(OBJECT(backend)));
}

bool gmem_hostmem_can_flush(HostMemoryBackend *backend, const char *device,
                            Error **errp)
{
    GuestMemfd *gmem = gmem_from_region(&backend->mr);

    if (!gmem) {
        return true;
    }
    if (gmem->apart) {
        error_setg(errp, "memory backend '%s': %s keeps what its memory "
                   "holds, and what turns private is lost; leave it out",
                   object_get_canonical_path_component(OBJECT(backend)),
                   device);
        return false;
    }
    error_setg(errp, "memory backend '%s': %s flushes its memory to storage, "
               "and a guest_memfd has none; use guest-memfd=off for this "
               "backend", object_get_canonical_path_component(OBJECT(backend)),
               device);
    return false;
}

static bool create(HostMemoryBackend *backend, Error **errp)
{
    g_autofree char *name = host_memory_backend_get_name(backend);
    const char *id = object_get_canonical_path_component(OBJECT(backend));
    uint64_t flags = GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED;

    if (backend->gmem.use.no_direct_map) {
        flags |= GUEST_MEMFD_FLAG_NO_DIRECT_MAP;
    }
    return gmem_ram_create(&backend->mr, OBJECT(backend), name, id,
                           backend->size, flags, &backend->gmem.use, errp);
}

bool gmem_hostmem_alloc(HostMemoryBackend *backend, Error **errp)
{
    ERRP_GUARD();
    bool ours = backend->gmem.wanted;

    if (!gmem_hostmem_can_convert(backend, errp) ||
        !(ours ? check_ours : gmem_hostmem_check_other)(backend, errp)) {
        name_backend(backend, errp);
        return false;
    }
    if (!ours) {
        return MEMORY_BACKEND_GET_CLASS(backend)->alloc(backend, errp) &&
               gmem_hostmem_accompany(backend, errp);
    }
    backend->share = true;
    backend->merge = false;
    backend->aligned = true;
    return create(backend, errp);
}

/*
 * The kernel does not fail the allocation of the last page: it kills.  So ask
 * before, as well as can be.
 */
static bool check_available(uint64_t size, Error **errp)
{
    g_autofree char *meminfo = NULL;
    uint64_t available;
    char *line;

    if (!g_file_get_contents("/proc/meminfo", &meminfo, NULL, NULL)) {
        return true;
    }
    line = strstr(meminfo, "MemAvailable:");
    if (!line || sscanf(line, "MemAvailable: %" SCNu64, &available) != 1) {
        return true;
    }
    available *= KiB;
    if (size > available) {
        g_autofree char *want = size_to_str(size);
        g_autofree char *have = size_to_str(available);

        error_setg(errp, "Cannot allocate memory: prealloc=on needs %s, and "
                   "%s are available; use a smaller size or prealloc=off",
                   want, have);
        return false;
    }
    return true;
}

/* A page that is allocated now would be zero, and could not come in later. */
static bool check_incoming(const GuestMemfd *gmem, bool incoming, Error **errp)
{
    if (incoming && gmem->block->receivedmap) {
        error_setg(errp, "prealloc=on: its pages are coming in from the "
                   "source of a migration; try again when that is over");
        return false;
    }
    return true;
}

/*
 * By the mapping, unless KVM will take the pages from the file.  @incoming: it
 * is too late for that where pages come in by postcopy
 */
static bool prealloc(HostMemoryBackend *backend, uint64_t start,
                     uint64_t size, int threads, ThreadContext *context,
                     bool async, bool incoming, Error **errp)
{
    ERRP_GUARD();
    GuestMemfd *gmem = gmem_from_region(&backend->mr);
    char *ptr = memory_region_get_ram_ptr(&backend->mr);
    uint64_t allocated = 0;
    bool ok = true;

    if (gmem && gmem->apart) {
        if (gmem_state_private_bytes(gmem->state)) {
            error_setg(errp, "prealloc=on: some of its pages are private");
            error_prepend(errp, "memory backend '%s': ", gmem->id);
            return false;
        }
        gmem = NULL;
    }
    if (gmem) {
        gmem_allocated(gmem, start, size, &allocated);
        ok = check_incoming(gmem, incoming, errp) &&
             check_available(size - allocated, errp);
    }
    if (ok && gmem && gmem->slots != GUEST_MEMFD_SLOTS_MAPPED) {
        ok = gmem_prealloc(gmem, start, size, errp);
    } else if (ok) {
        ok = qemu_prealloc_mem(memory_region_get_fd(&backend->mr),
                               ptr + start, size, threads, context, async,
                               errp);
    }
    if (!ok && gmem) {
        error_prepend(errp, "memory backend '%s': ", gmem->id);
    }
    return ok;
}

bool gmem_hostmem_prealloc(HostMemoryBackend *backend, bool async,
                           Error **errp)
{
    return prealloc(backend, 0, memory_region_size(&backend->mr),
                    backend->prealloc_threads, backend->prealloc_context,
                    async, migration_incoming_postcopy_advised(), errp);
}

/* virtio-mem, which discards what it allocates between ADVISE and LISTEN */
bool gmem_hostmem_prealloc_range(HostMemoryBackend *backend, uint64_t start,
                                 uint64_t size, Error **errp)
{
    return prealloc(backend, start, size, 1, NULL, false,
                    migration_in_incoming_postcopy(), errp);
}

static void guest_memfd_backend_instance_init(Object *obj)
{
    HostMemoryBackend *backend = MEMORY_BACKEND(obj);

    backend->gmem.wanted = true;
    backend->share = true;
    backend->merge = false;
}

static void guest_memfd_backend_class_init(ObjectClass *oc, const void *data)
{
    /* gmem_hostmem_alloc() does not come here for what is a guest_memfd */
    MEMORY_BACKEND_CLASS(oc)->alloc = create;
}

static const TypeInfo guest_memfd_backend_info = {
    .name = TYPE_MEMORY_BACKEND_GUEST_MEMFD,
    .parent = TYPE_MEMORY_BACKEND,
    .instance_init = guest_memfd_backend_instance_init,
    .class_init = guest_memfd_backend_class_init,
};

static void register_types(void)
{
    type_register_static(&guest_memfd_backend_info);
}

type_init(register_types);
