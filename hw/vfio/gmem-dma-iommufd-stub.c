/*
 * Without iommufd, all is by type1.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "gmem-dma-iommufd.h"

bool gmem_iommufd_by_file(const VFIOIOMMUFDContainer *container)
{
    return false;
}

bool gmem_iommufd_cuts(const VFIOIOMMUFDContainer *container)
{
    return false;
}

int gmem_iommufd_unmap_part(const VFIOIOMMUFDContainer *container, hwaddr iova,
                            uint64_t size)
{
    return -ENOSYS;
}
