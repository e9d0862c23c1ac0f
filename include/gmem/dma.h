/*
 * A guest_memfd that devices of the host reach by DMA
 *
 * Layer 3 (docs/architecture.md).  Called by hw/vfio, which decides what is
 * mapped for a device and where; here is decided how.  By file, where iommufd
 * takes a guest_memfd: no page is pinned, and the kernel takes pages that turn
 * private, or are punched, from devices and gives them back.  By address
 * otherwise, as any other memory: all pages that are mapped are pinned.  Pages
 * that can turn private are then mapped in as large pieces as are shared, and
 * iommufd cuts these when a page is taken out; type1 cannot, so there each page
 * is mapped by itself.
 *
 * Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_DMA_H
#define GMEM_DMA_H

#include "hw/vfio/vfio-container.h"
#include "qapi/qapi-types-gmem.h"

/*
 * gmem_dma_map: vfio_container_dma_map(), where @mr is a guest_memfd
 *
 * Returns: 0, or -errno with nothing mapped.
 */
int gmem_dma_map(VFIOContainer *container, hwaddr iova, uint64_t size,
                 void *vaddr, bool readonly, MemoryRegion *mr);

/*
 * gmem_dma_unmap_part: unmap what is a part of a mapping, or cuts one
 *
 * Devices go on to use the rest of it meanwhile.
 *
 * Returns: true, with @ret 0 or -errno; false if it is for upstream to unmap.
 */
bool gmem_dma_unmap_part(VFIOContainer *container, hwaddr iova, uint64_t size,
                         int *ret);

/*
 * gmem_dma_unmapped: a range of @container, or @all of it, is; or, if @ret is
 * not 0, it is not, and pages there must not become private
 */
void gmem_dma_unmapped(VFIOContainer *container, hwaddr iova, uint64_t size,
                       bool all, int ret);

/*
 * gmem_dma_follows: does the kernel see to it that devices of @container reach
 * the shared pages of @mr and no private ones?
 *
 * Then a section is mapped as a whole, and stays so.  A container answers the
 * same for as long as it lives.
 */
bool gmem_dma_follows(VFIOContainer *container, const MemoryRegion *mr);

/*
 * gmem_dma_coordinate: @listener is about to be told of pages that turn
 * private; all but its "listener" is set
 *
 * Sets the granularity.  Returns: false with @errp set if the container cannot
 * follow such pages.
 */
bool gmem_dma_coordinate(VFIORamDiscardListener *listener, Error **errp);

/*
 * gmem_dma_translates: can @container be behind an IOMMU of the guest's?
 *
 * Returns: false with @errp set if there is memory whose pages can turn
 * private, as nobody would take them from its devices, or that it cannot map.
 */
bool gmem_dma_translates(VFIOContainer *container, Error **errp);

/*
 * gmem_dma_attached: can @container have its first device?
 *
 * Returns: false with @errp set if there is memory, in an address space or
 * not, that it could not map.
 */
bool gmem_dma_attached(VFIOContainer *container, Error **errp);

/* gmem_dma_excludes: @device cannot use what @container has mapped, and how */
bool gmem_dma_excludes(const VFIOContainer *container,
                       const VFIODevice *device);

/* gmem_dma_free: @container goes */
void gmem_dma_free(VFIOContainer *container);

/*
 * gmem_dma_query: the containers in which guest_memfds are mapped
 *
 * Returns: a list the caller frees.
 */
GuestMemfdContainerList *gmem_dma_query(void);

#endif /* GMEM_DMA_H */
