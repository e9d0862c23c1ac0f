/*
 * What iommufd can do with a guest_memfd, and does not promise
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/iommufd.h>
#include <linux/vfio.h>
#include "qemu/memalign.h"
#include "system/iommufd.h"
#include "gmem/caps.h"
#include "gmem/uapi.h"
#include "gmem-dma-iommufd.h"

static bool unmap(const VFIOIOMMUFDContainer *container, hwaddr iova,
                  uint64_t size)
{
    return !iommufd_backend_unmap_dma(container->be, container->ioas_id, iova,
                                      size);
}

bool gmem_iommufd_by_file(const VFIOIOMMUFDContainer *container)
{
    uint64_t size = qemu_real_host_page_size();
    struct iommu_ioas_map_file map = {
        .size = sizeof(map),
        .flags = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
        .ioas_id = container->ioas_id,
        .length = size,
    };
    int ret;

    map.fd = gmem_caps_create(size, GUEST_MEMFD_FLAG_MMAP |
                              GUEST_MEMFD_FLAG_INIT_SHARED, NULL);
    if (map.fd < 0) {
        return false;
    }
    ret = ioctl(container->be->fd, IOMMU_IOAS_MAP_FILE, &map) ? -errno : 0;
    close(map.fd);
    gmem_caps_found(GUEST_MEMFD_INTERFACE_IOMMUFD_MAP_FILE,
                    "IOMMU_IOAS_MAP_FILE, with a device", ret);
    return ret == 0 && unmap(container, map.iova, size);
}

/* Linux 6.2: it allows cuts, and is taken while nothing is mapped. */
static bool set_huge_pages(const VFIOIOMMUFDContainer *container, bool on)
{
    struct iommu_option option = {
        .size = sizeof(option),
        .option_id = IOMMU_OPTION_HUGE_PAGES,
        .op = IOMMU_OPTION_OP_SET,
        .object_id = container->ioas_id,
        .val64 = on,
    };

    return !ioctl(container->be->fd, IOMMU_OPTION, &option);
}

/*
 * iommufd's own call unmaps whole mappings only; the one that it has for
 * users of VFIO's containers cuts them, in the IOAS that it is told.
 */
int gmem_iommufd_unmap_part(const VFIOIOMMUFDContainer *container, hwaddr iova,
                            uint64_t size)
{
    struct iommu_vfio_ioas ioas = {
        .size = sizeof(ioas),
        .ioas_id = container->ioas_id,
        .op = IOMMU_VFIO_IOAS_SET,
    };
    struct vfio_iommu_type1_dma_unmap part = {
        .argsz = sizeof(part),
        .iova = iova,
        .size = size,
    };

    if (ioctl(container->be->fd, IOMMU_VFIO_IOAS, &ioas) ||
        ioctl(container->be->fd, VFIO_IOMMU_UNMAP_DMA, &part)) {
        return -errno;
    }
    return 0;
}

static bool try_cut(const VFIOIOMMUFDContainer *container)
{
    uint64_t page_size = qemu_real_host_page_size();
    void *pages = qemu_memalign(page_size, 2 * page_size);
    struct iommu_ioas_map map = {
        .size = sizeof(map),
        .flags = IOMMU_IOAS_MAP_READABLE,
        .ioas_id = container->ioas_id,
        .user_va = (uintptr_t)pages,
        .length = 2 * page_size,
    };
    bool ok = false;

    if (!ioctl(container->be->fd, IOMMU_IOAS_MAP, &map)) {
        ok = !gmem_iommufd_unmap_part(container, map.iova, page_size);
        ok = unmap(container, map.iova + (ok ? page_size : 0),
                   ok ? page_size : 2 * page_size) && ok;
    }
    qemu_vfree(pages);
    return ok;
}

bool gmem_iommufd_cuts(const VFIOIOMMUFDContainer *container)
{
    if (!set_huge_pages(container, false)) {
        return false;
    }
    if (!try_cut(container)) {
        set_huge_pages(container, true);
        return false;
    }
    return true;
}
