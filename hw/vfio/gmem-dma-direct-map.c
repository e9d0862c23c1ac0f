/*
 * Devices of the host, and memory that the kernel does not map
 *
 * By file it is like any other guest_memfd.  By address it cannot be mapped for
 * a device, as the kernel cannot pin it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "hw/vfio/vfio-device.h"
#include "hw/vfio/vfio-iommufd.h"
#include "gmem/dma.h"
#include "gmem-dma-direct-map.h"

static bool pins(const VFIOContainer *container)
{
    return object_dynamic_cast(OBJECT(container), TYPE_VFIO_IOMMU_LEGACY) ||
           object_dynamic_cast(OBJECT(container), TYPE_VFIO_IOMMU_IOMMUFD);
}

bool gmem_dma_check_address(const VFIOContainer *container,
                            const GuestMemfd *gmem, Error **errp)
{
    if (!gmem_lacks_direct_map(gmem) || !pins(container)) {
        return true;
    }
    error_setg(errp, "memory backend '%s': direct-map=off: its pages would be "
               "mapped for a device of the host by address, for which the "
               "kernel must pin them; iommufd of a kernel that maps a "
               "guest_memfd by file can do without (iommufd-map-file in "
               "query-guest-memfd); else use direct-map=on", gmem->id);
    return false;
}

int gmem_dma_must_check_address(VFIOContainer *container,
                                const GuestMemfd *gmem)
{
    Error *err = NULL;

    if (gmem_dma_check_address(container, gmem, &err)) {
        return 0;
    }
    if (!container->initialized && !container->error) {
        error_propagate(&container->error, err);
    } else {
        error_report_err(err);
    }
    return -EFAULT;
}

/* What is plugged later, and cannot be mapped then, would end QEMU. */
static bool direct_map_off(Error **errp)
{
    VFIODevice *device;

    QLIST_FOREACH(device, &vfio_device_list, global_next) {
        if (device->bcontainer && pins(device->bcontainer) &&
            !gmem_dma_can_be_by_file(device->bcontainer)) {
            error_setg(errp, "direct-map=off: memory is mapped for %s by "
                       "address, for which the kernel must pin it; unplug "
                       "that device, or use direct-map=on", device->name);
            return false;
        }
    }
    return true;
}

static GmemListener listener = {
    .direct_map_off = direct_map_off,
};

static void register_listener(void)
{
    gmem_listener_register(&listener);
}

type_init(register_listener);
