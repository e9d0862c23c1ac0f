/*
 * Memory backends whose memory the host's kernel does not map
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "block/block-global-state.h"
#include "block/block-io.h"
#include "net/net.h"
#include "system/hostmem.h"
#include "gmem/caps.h"
#include "gmem/gmem.h"
#include "gmem/hostmem.h"
#include "gmem/state.h"

/*
 * Those that let the kernel pin the guest's buffers, or all of its memory.
 * Each asks gmem_pins_check() when it comes; here is asked who is there.
 * (Devices of the host say no for themselves, see gmem/dma.h.)
 */
static const char *const devices_that_pin[] = {
    "scsi-block",
    "vhost-scsi",
    "vhost-vdpa-device",
};

static const char *const block_drivers_that_pin[] = {
    "io_uring",
    "nvme",
    "nvme-io_uring",
    "virtio-blk-vfio-pci",
    "virtio-blk-vhost-vdpa",
    NULL
};

static const char *device_that_pins(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(devices_that_pin); i++) {
        bool ambiguous = false;

        if (object_resolve_path_type("", devices_that_pin[i], &ambiguous) ||
            ambiguous) {
            return devices_that_pin[i];
        }
    }
    return NULL;
}

static const char *block_driver_that_pins(void)
{
    BlockDriverState *bs;

    GRAPH_RDLOCK_GUARD_MAINLOOP();
    for (bs = bdrv_next_node(NULL); bs; bs = bdrv_next_node(bs)) {
        const char *name = bdrv_get_format_name(bs);

        if (name && g_strv_contains(block_drivers_that_pin, name)) {
            return name;
        }
    }
    return NULL;
}

static const char *net_client_that_pins(void)
{
    NetClientState *clients[MAX_QUEUE_NUM];
    int n = qemu_find_net_clients_except(NULL, clients, NET_CLIENT_DRIVER_NIC,
                                         ARRAY_SIZE(clients));

    for (int i = 0; i < MIN(n, ARRAY_SIZE(clients)); i++) {
        if (clients[i]->info->type == NET_CLIENT_DRIVER_VHOST_VDPA) {
            return "vhost-vdpa";
        }
    }
    return NULL;
}

static bool nobody_pins(Error **errp)
{
    const char *who = device_that_pins() ?: block_driver_that_pins() ?:
                      net_client_that_pins();

    if (who) {
        error_setg(errp, "direct-map=off: %s needs pages of the guest pinned, "
                   "and the kernel cannot pin what it does not map; leave it "
                   "out, or use direct-map=on", who);
    }
    return !who;
}

bool gmem_hostmem_check_direct_map(HostMemoryBackend *backend, Error **errp)
{
    const GuestMemfdInterfaceInfo *info;

    if (!backend->gmem.use.no_direct_map) {
        return true;
    }
    info = gmem_caps_find(GUEST_MEMFD_INTERFACE_NO_DIRECT_MAP);
    if (!info || !info->available) {
        error_setg(errp, "direct-map=off: this kernel cannot leave memory of "
                   "this VM out of its direct map, no-direct-map (%s); use "
                   "direct-map=on", info ? info->found_by : "no KVM");
        return false;
    }
    if (gmem_conversions()->enabled) {
        error_setg(errp, "direct-map=off: memory of this VM can turn private, "
                   "which takes direct-map=on");
        return false;
    }
    return nobody_pins(errp) && gmem_tell_direct_map_off(errp);
}
