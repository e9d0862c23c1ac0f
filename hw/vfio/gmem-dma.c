/*
 * A guest_memfd that devices of the host reach by DMA
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qemu/error-report.h"
#include "qemu/range.h"
#include "hw/boards.h"
#include "system/address-spaces.h"
#include "system/ramblock.h"
#include "hw/vfio/vfio-device.h"
#include "gmem/dma.h"
#include "gmem/gmem.h"
#include "gmem/pins.h"
#include "gmem/postcopy.h"
#include "gmem/state.h"
#include "gmem-dma-direct-map.h"
#include "gmem-dma-iommufd.h"
#include "gmem-dma-mappings.h"
#include "trace/trace-gmem_hw_vfio.h"

/* What a container has of guest_memfds */
typedef struct GmemDma {
    VFIOContainer *container;
    bool by_file;               /* it can be */
    bool cuts;                  /* a part of what is mapped can be unmapped */
    GmemMappings mappings;
    uint64_t revocations;
    QLIST_ENTRY(GmemDma) next;
} GmemDma;

/* More of them slow the kernel down when the guest touches fresh pages. */
#define MOST_PIECES 4096

static QLIST_HEAD(, GmemDma) all_dma = QLIST_HEAD_INITIALIZER(all_dma);

/* A mediated device pins what it accesses: addresses, and all of a mapping. */
static bool has_mediated(const VFIOContainer *container)
{
    const VFIODevice *device;

    QLIST_FOREACH(device, &container->device_list, container_next) {
        if (device->mdev) {
            return true;
        }
    }
    return false;
}

/* Its iommufd if that has an IOMMU, and for itself; else NULL */
static const VFIOIOMMUFDContainer *iommufd_of(VFIOContainer *container)
{
    const VFIOIOMMUFDContainer *iommufd;

    if (!object_dynamic_cast(OBJECT(container), TYPE_VFIO_IOMMU_IOMMUFD) ||
        has_mediated(container)) {
        return NULL;
    }
    iommufd = VFIO_IOMMU_IOMMUFD(container);
    return QLIST_EMPTY(&iommufd->hwpt_list) ? NULL : iommufd;
}

static bool takes_files(const VFIOIOMMUFDContainer *iommufd)
{
    /* it would create pages that are to come in; by address they are awaited */
    return !gmem_postcopy_may_come() && gmem_iommufd_by_file(iommufd);
}

/* All guest_memfds that a VM has are of the same shape as @gmem. */
static void find_out(GmemDma *dma, const GuestMemfd *gmem)
{
    const VFIOIOMMUFDContainer *iommufd = iommufd_of(dma->container);

    if (!iommufd) {
        return;
    }
    dma->by_file = !gmem->apart && takes_files(iommufd);
    if (gmem->state && !dma->by_file) {
        dma->cuts = gmem_iommufd_cuts(iommufd);
        if (!dma->cuts) {
            warn_report("memory backend '%s': each of its pages is mapped for "
                        "devices by itself, as iommufd does not unmap a part "
                        "of a mapping here", gmem->id);
        }
    }
}

/* From now on that is so. */
static GmemDma *remember(const GmemDma *found)
{
    GmemDma *dma = g_memdup2(found, sizeof(*found));

    dma->container->gmem_dma = dma;
    QLIST_INSERT_HEAD(&all_dma, dma, next);
    trace_gmem_dma_begin(dma->container, dma->by_file, dma->cuts);
    return dma;
}

/* Of a container that maps @gmem */
static GmemDma *dma_of(VFIOContainer *container, const GuestMemfd *gmem)
{
    GmemDma found = { .container = container };

    if (container->gmem_dma) {
        return container->gmem_dma;
    }
    find_out(&found, gmem);
    return remember(&found);
}

/*
 * In many small pieces, as what a RamDiscardManager has populated, the kernel
 * would look at each of them for each page that it creates.  By address is no
 * choice without a direct map.
 */
static bool is_by_file(const GmemDma *dma, const GuestMemfd *gmem,
                       MemoryRegion *mr)
{
    return dma->by_file &&
        (gmem->state || gmem_lacks_direct_map(gmem) ||
         !memory_region_has_ram_discard_manager(mr));
}

static int map(GmemDma *dma, const GuestMemfd *gmem, hwaddr iova, hwaddr last,
               void *vaddr, bool readonly, MemoryRegion *mr)
{
    VFIOIOMMUClass *vioc = VFIO_IOMMU_GET_CLASS(dma->container);
    bool by_file = is_by_file(dma, gmem, mr);
    uint64_t offset = (uint8_t *)vaddr - gmem->block->host;
    uint64_t size = last - iova + 1;
    int ret;

    if (by_file) {
        ret = vioc->dma_map_file(dma->container, iova, size, gmem->fd, offset,
                                 readonly);
    } else {
        ret = gmem_dma_must_check_address(dma->container, gmem) ?:
            vioc->dma_map(dma->container, iova, size, vaddr, readonly, mr);
    }
    trace_gmem_dma_map(gmem->id, dma->container, iova, size, offset, by_file,
                       ret);
    if (!ret) {
        gmem_mappings_add(&dma->mappings, iova, last, vaddr, !by_file);
    }
    return ret;
}

/* What devices could not let go of is still mapped when it comes back. */
static int map_what_is_not(GmemDma *dma, const GuestMemfd *gmem, hwaddr iova,
                           hwaddr last, void *vaddr, bool readonly,
                           MemoryRegion *mr)
{
    hwaddr start, end;

    for (hwaddr at = iova;
         gmem_mappings_next_gap(&dma->mappings, at, last, vaddr + (at - iova),
                                &start, &end);
         at = end + 1) {
        int ret = map(dma, gmem, start, end, vaddr + (start - iova), readonly,
                      mr);

        if (ret || end == last) {
            return ret;
        }
    }
    return 0;
}

static bool guest_translates(const VFIOContainer *container)
{
    return container->space->as != &address_space_memory;
}

int gmem_dma_map(VFIOContainer *container, hwaddr iova, uint64_t size,
                 void *vaddr, bool readonly, MemoryRegion *mr)
{
    GuestMemfd *gmem = gmem_from_region(mr);
    GmemDma *dma = dma_of(container, gmem);
    hwaddr last = iova + size - 1;
    int ret;

    if (!gmem->state || dma->by_file) {
        return map(dma, gmem, iova, last, vaddr, readonly, mr);
    }
    if (guest_translates(container)) {
        return -EOPNOTSUPP;     /* gmem_dma_translates() would have said so */
    }
    ret = map_what_is_not(dma, gmem, iova, last, vaddr, readonly, mr);
    if (ret && !container->initialized && !container->error) {
        error_setg(&container->error, "memory backend '%s': its shared pages "
                   "cannot be mapped for devices: %s", gmem->id,
                   strerror(-ret));
    }
    return ret;
}

bool gmem_dma_unmap_part(VFIOContainer *container, hwaddr iova, uint64_t size,
                         int *ret)
{
    const GmemDma *dma = container->gmem_dma;

    if (!dma || !dma->cuts || !size ||
        !gmem_mappings_cut(&dma->mappings, iova, iova + size - 1)) {
        return false;
    }
    *ret = gmem_iommufd_unmap_part(VFIO_IOMMU_IOMMUFD(container), iova, size);
    trace_gmem_dma_unmap_part(container, iova, size, *ret);
    return true;
}

/* What devices still reach must not become private. */
static void refuse(const VFIOContainer *container, hwaddr iova, uint64_t size,
                   int ret)
{
    const VFIORamDiscardListener *listener;

    QLIST_FOREACH(listener, &container->vrdl_list, next) {
        GuestMemfd *gmem = gmem_from_region(listener->mr);

        if (gmem && gmem->state &&
            ranges_overlap(listener->offset_within_address_space,
                           listener->size, iova, size)) {
            gmem_state_refuse(gmem->state, ret);
        }
    }
}

void gmem_dma_unmapped(VFIOContainer *container, hwaddr iova, uint64_t size,
                       bool all, int ret)
{
    GmemDma *dma = container->gmem_dma;
    hwaddr last = all ? HWADDR_MAX : iova + size - 1;

    if (!dma || (!all && !size)) {
        return;
    }
    trace_gmem_dma_unmapped(container, iova, size, ret);
    if (ret) {
        refuse(container, iova, size, ret);
    } else {
        gmem_mappings_remove(&dma->mappings, all ? 0 : iova, last);
    }
}

/* A yes is relied upon, and remembered; with nothing mapped a no is not. */
bool gmem_dma_can_be_by_file(VFIOContainer *container)
{
    const VFIOIOMMUFDContainer *iommufd = iommufd_of(container);
    GmemDma found = { .container = container, .by_file = true };

    if (container->gmem_dma) {
        return container->gmem_dma->by_file;
    }
    if (!iommufd || !takes_files(iommufd)) {
        return false;
    }
    remember(&found);
    return true;
}

bool gmem_dma_follows(VFIOContainer *container, const MemoryRegion *mr)
{
    GuestMemfd *gmem = gmem_from_region(mr);

    return gmem && gmem->state && dma_of(container, gmem)->by_file;
}

bool gmem_dma_excludes(const VFIOContainer *container, const VFIODevice *device)
{
    const GmemDma *dma = container->gmem_dma;

    return dma && device->mdev && (dma->by_file || dma->cuts);
}

static bool find_convertible(GuestMemfd *gmem, void *found)
{
    if (gmem->state) {
        *(GuestMemfd **)found = gmem;
    }
    return !gmem->state;
}

static bool find_unpinnable(GuestMemfd *gmem, void *found)
{
    if (gmem_lacks_direct_map(gmem)) {
        *(GuestMemfd **)found = gmem;
    }
    return !gmem_lacks_direct_map(gmem);
}

/* Also memory that is in no address space now: it can come there. */
bool gmem_dma_attached(VFIOContainer *container, Error **errp)
{
    GuestMemfd *gmem = NULL;

    gmem_for_each(find_unpinnable, &gmem);
    return !gmem || gmem_dma_can_be_by_file(container) ||
           gmem_dma_check_address(container, gmem, errp);
}

bool gmem_dma_translates(VFIOContainer *container, Error **errp)
{
    GuestMemfd *gmem = NULL;

    if (!gmem_dma_attached(container, errp)) {
        return false;
    }
    gmem_for_each(find_convertible, &gmem);
    if (!gmem || dma_of(container, gmem)->by_file) {
        return true;
    }
    error_setg(errp, "memory backend '%s': its pages can turn private, which "
               "devices behind an IOMMU of the guest's only follow where the "
               "kernel maps guest_memfds by file (iommufd-map-file in "
               "query-guest-memfd)", gmem->id);
    return false;
}

/*
 * A container that cannot cut may take so many mappings and no more.  Half of
 * them are for whatever else comes to be mapped: as many as KVM has memslots.
 */
static bool has_room(const VFIORamDiscardListener *listener,
                     const GuestMemfd *gmem, Error **errp)
{
    unsigned room = listener->bcontainer->dma_max_mappings / 2;
    /* also for what is plugged later, when a device cannot be refused */
    uint64_t nr = current_machine->maxram_size / listener->granularity;

    if (!room || nr <= room) {
        return true;
    }
    error_setg(errp, "memory backend '%s': as any page can turn private, each "
               "is mapped for devices by itself: %" PRIu64 " mappings of all "
               "that the machine can have, where the container of the device "
               "takes %u", gmem->id, nr, room);
    error_append_hint(errp, "With '-object iommufd,id=i0' and 'iommufd=i0' of "
                      "a vfio-pci device it takes a few.\n");
    return false;
}

/* By address, but for what that cannot be. */
static bool can_be_in_pieces(const VFIORamDiscardListener *listener,
                             const GuestMemfd *gmem, Error **errp)
{
    VFIOContainer *container = listener->bcontainer;
    uint64_t pieces = listener->size / listener->granularity;

    if (!gmem_lacks_direct_map(gmem)) {
        return true;
    }
    if (!gmem_dma_can_be_by_file(container)) {
        /* who has started is told as they come */
        return container->initialized ||
               gmem_dma_check_address(container, gmem, errp);
    }
    if (pieces > MOST_PIECES) {
        warn_report("memory backend '%s': up to %" PRIu64 " pieces of it are "
                    "mapped for devices by file, each of which the kernel "
                    "looks at for each fresh page; let its virtio-mem device "
                    "have a larger block-size", gmem->id, pieces);
    }
    return true;
}

bool gmem_dma_coordinate(VFIORamDiscardListener *listener, Error **errp)
{
    VFIOContainer *container = listener->bcontainer;
    GuestMemfd *gmem = gmem_from_region(listener->mr);

    if (!gmem) {
        return true;
    }
    if (!gmem->state) {
        return can_be_in_pieces(listener, gmem, errp);
    }
    if (guest_translates(container) &&
        !gmem_dma_translates(container, errp)) {
        return false;
    }
    if (dma_of(container, gmem)->cuts) {
        /* so that what is shared is mapped in one piece */
        listener->granularity = 1ULL << 63;
        return true;
    }
    return has_room(listener, gmem, errp);
}

void gmem_dma_free(VFIOContainer *container)
{
    GmemDma *dma = container->gmem_dma;

    if (dma) {
        QLIST_REMOVE(dma, next);
        gmem_mappings_remove(&dma->mappings, 0, HWADDR_MAX);
        g_free(dma);
        container->gmem_dma = NULL;
    }
}

GuestMemfdContainerList *gmem_dma_query(void)
{
    GuestMemfdContainerList *list = NULL;
    VFIODevice *device;
    GmemDma *dma;

    QLIST_FOREACH(dma, &all_dma, next) {
        GuestMemfdContainer *info = g_new0(GuestMemfdContainer, 1);

        QLIST_FOREACH(device, &dma->container->device_list, container_next) {
            QAPI_LIST_PREPEND(info->devices, g_strdup(device->name));
        }
        info->by_file = dma->by_file;
        info->mappings = dma->mappings.nr;
        info->mapped_bytes = dma->mappings.bytes;
        info->pinned_bytes = dma->mappings.pinned_bytes;
        info->has_revocations = !guest_translates(dma->container);
        info->revocations = dma->revocations;
        QAPI_LIST_PREPEND(list, info);
    }
    return list;
}

static void turned_private(GuestMemfd *gmem)
{
    GmemDma *dma;

    QLIST_FOREACH(dma, &all_dma, next) {
        dma->revocations++;
    }
}

/* Also where nothing is mapped now: what has no direct map will be by file. */
static bool postcopy_in(Error **errp)
{
    const GmemDma *dma;

    QLIST_FOREACH(dma, &all_dma, next) {
        const VFIODevice *device = QLIST_FIRST(&dma->container->device_list);

        if (dma->by_file && device &&
            (gmem_unpinnable_any() ||
             dma->mappings.bytes > dma->mappings.pinned_bytes)) {
            error_setg(errp, "postcopy: %s reaches guest memory by file, and "
                       "would not wait for pages that have not come in; plug "
                       "it when the migration is over, or use precopy",
                       device->name);
            return false;
        }
    }
    return true;
}

static GmemListener dma_listener = {
    .turned_private = turned_private,
    .postcopy_in = postcopy_in,
};

static void register_listener(void)
{
    gmem_listener_register(&dma_listener);
}

type_init(register_listener);
