/*
 * What iommufd can do with a guest_memfd, and does not promise
 *
 * Private to hw/vfio.  All is found out by trying it in the container itself,
 * with pages of our own, while nothing else is mapped there: the kernel looks
 * at pages only for devices that are attached.
 *
 * Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_DMA_IOMMUFD_H
#define GMEM_DMA_IOMMUFD_H

#include "hw/vfio/vfio-iommufd.h"

/* gmem_iommufd_by_file: does it take a guest_memfd? */
bool gmem_iommufd_by_file(const VFIOIOMMUFDContainer *container);

/*
 * gmem_iommufd_cuts: can a part of a mapping be unmapped, while devices go on
 * to use the rest of it?
 *
 * If so, the IOMMU's entries are of the smallest size from here on.
 */
bool gmem_iommufd_cuts(const VFIOIOMMUFDContainer *container);

/*
 * gmem_iommufd_unmap_part: of a container that cuts
 *
 * Returns: 0, or -errno; then what was mapped is, but may have been cut.
 */
int gmem_iommufd_unmap_part(const VFIOIOMMUFDContainer *container, hwaddr iova,
                            uint64_t size);

#endif /* GMEM_DMA_IOMMUFD_H */
