/*
 * What migration cannot do with guest RAM in a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-types-migration.h"
#include "qemu/rcu.h"
#include "system/ramblock.h"
#include "gmem/caps.h"
#include "gmem/gmem.h"
#include "gmem/migration.h"
#include "gmem/state.h"

static GuestMemfd *first_gmem(void)
{
    RAMBlock *block;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        if (block->gmem) {
            return block->gmem;
        }
    }
    return NULL;
}

bool gmem_migration_check_caps(const bool *caps, Error **errp)
{
    const GuestMemfd *gmem = first_gmem();
    const GuestMemfdInterfaceInfo *wp;

    if (!gmem) {
        return true;
    }
    if (caps[MIGRATION_CAPABILITY_POSTCOPY_RAM]) {
        error_setg(errp, "memory backend '%s': postcopy-ram: pages of a "
                   "guest_memfd cannot be brought in after the guest has "
                   "started; use precopy", gmem->id);
        return false;
    }
    if (caps[MIGRATION_CAPABILITY_BACKGROUND_SNAPSHOT]) {
        wp = gmem_caps_find(GUEST_MEMFD_INTERFACE_UFFD_WP);
        if (!wp->available) {
            error_setg(errp, "memory backend '%s': background-snapshot: this "
                       "kernel cannot write-protect a guest_memfd for QEMU "
                       "(%s); use an ordinary snapshot", gmem->id,
                       wp->found_by);
            return false;
        }
    }
    return true;
}

bool gmem_migration_can_watch(const char *command, Error **errp)
{
    if (gmem_conversions()->enabled) {
        error_setg(errp, "%s: memory of this VM can turn private, and writes "
                   "to it are not watched then", command);
        return false;
    }
    return true;
}
