/*
 * Memory backends of a VM whose memory can turn private
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "system/hostmem.h"
#include "system/ramblock.h"
#include "gmem/gmem.h"
#include "gmem/hostmem-convert.h"
#include "gmem/state.h"
#include "gmem/uapi.h"

bool gmem_hostmem_allows_slots(const HostMemoryBackend *backend,
                               GuestMemfdSlots value, Error **errp)
{
    if (gmem_conversions()->enabled && backend->gmem.wanted &&
        value == GUEST_MEMFD_SLOTS_MAPPED) {
        error_setg(errp, "slots=mapped: the guest reaches private pages "
                   "through bound memslots only; use slots=auto");
        return false;
    }
    return true;
}

bool gmem_hostmem_can_convert(const HostMemoryBackend *backend, Error **errp)
{
    const GmemConversions *conversions = gmem_conversions();

    if (!conversions->enabled) {
        return true;
    }
    if (conversions->in_place && !backend->gmem.wanted) {
        error_setg(errp, "guest-memfd=off: pages of this VM turn private in "
                   "place, which only those of a guest_memfd can; use "
                   "in-place=off with the sw-protected-guest");
        return false;
    }
    if (!conversions->in_place && backend->gmem.wanted) {
        error_setg(errp, "guest-memfd=on: private pages of this VM have a "
                   "backing of their own beside ordinary memory; use "
                   "guest-memfd=off, or in-place=on with the "
                   "sw-protected-guest");
        return false;
    }
    return gmem_hostmem_allows_slots(backend, backend->gmem.use.slots, errp);
}

/* Can a page be taken out of @block? */
static bool check_discards(const RAMBlock *block, Error **errp)
{
    if (qemu_ram_pagesize((RAMBlock *)block) != qemu_real_host_page_size()) {
        error_setg(errp, "huge pages: a page that turns private is taken out "
                   "of the shared memory, and a huge one cannot be; use "
                   "hugetlb=off or another mem-path");
        return false;
    }
    if (block->fd >= 0 && !(block->flags & RAM_SHARED)) {
        error_setg(errp, "share=off: a page that turns private is taken out "
                   "of the file; use share=on");
        return false;
    }
    if (block->flags & (RAM_READONLY | RAM_READONLY_FD)) {
        error_setg(errp, "readonly=on: pages that turn private are written "
                   "to; use readonly=off");
        return false;
    }
    return true;
}

bool gmem_hostmem_accompany(HostMemoryBackend *backend, Error **errp)
{
    ERRP_GUARD();
    const char *id = object_get_canonical_path_component(OBJECT(backend));

    if (!gmem_conversions()->enabled) {
        return true;
    }
    if (!check_discards(backend->mr.ram_block, errp)) {
        error_prepend(errp, "memory backend '%s': ", id);
        return false;
    }
    return gmem_ram_accompany(&backend->mr, id, gmem_conversions()->by_file
                              ? GUEST_MEMFD_FLAG_INIT_SHARED : 0, errp);
}

bool gmem_hostmem_can_unplug_parts(HostMemoryBackend *backend,
                                   const char *device, Error **errp)
{
    GuestMemfd *gmem = gmem_from_region(&backend->mr);

    if (!gmem || !gmem->state) {
        return true;
    }
    error_setg(errp, "memory backend '%s': %s cannot share the say over its "
               "pages with the sw-protected-guest, whose pages turn private; "
               "use pc-dimm", gmem->id, device);
    return false;
}
