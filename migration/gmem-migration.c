/*
 * What migration cannot do with guest RAM in a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-types-migration.h"
#include "qemu/error-report.h"
#include "qemu/rcu.h"
#include "migration/misc.h"
#include "migration/options.h"
#include "system/ramblock.h"
#include "system/runstate.h"
#include "gmem/caps.h"
#include "gmem/gmem.h"
#include "gmem/migration.h"
#include "gmem/pins.h"
#include "gmem/postcopy.h"
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

/* What needs pages to come in while the guest runs; NULL if nothing does */
static const char *postcopy_capability(const bool *caps)
{
    static const MigrationCapability needy[] = {
        MIGRATION_CAPABILITY_POSTCOPY_RAM,
        MIGRATION_CAPABILITY_POSTCOPY_PREEMPT,
        MIGRATION_CAPABILITY_POSTCOPY_BLOCKTIME,
    };

    for (size_t i = 0; i < ARRAY_SIZE(needy); i++) {
        if (caps[needy[i]]) {
            return MigrationCapability_str(needy[i]);
        }
    }
    return NULL;
}

typedef struct PostcopyCheck {
    const char *capability;
    Error **errp;
} PostcopyCheck;

static bool check_postcopy_of(GuestMemfd *gmem, void *opaque)
{
    const PostcopyCheck *check = opaque;

    return gmem_postcopy_check(gmem, check->capability, check->errp);
}

/* A source only sends; what its destination can do is not known here. */
static bool check_postcopy(const bool *caps, Error **errp)
{
    static bool told;
    PostcopyCheck check = {
        .capability = postcopy_capability(caps),
        .errp = errp,
    };

    if (gmem_postcopy_may_come() && !caps[MIGRATION_CAPABILITY_POSTCOPY_RAM]) {
        error_setg(errp, "postcopy-ram: pages of a guest_memfd are coming in "
                   "by it; switch it off when that is over");
        return false;
    }
    if (!check.capability) {
        return true;
    }
    if (runstate_check(RUN_STATE_INMIGRATE)) {
        return gmem_for_each(check_postcopy_of, &check);
    }
    if (!told) {
        told = true;
        info_report("%s: whether pages of a guest_memfd can be brought in by "
                    "postcopy is up to the kernel of the destination, which "
                    "is asked there", check.capability);
    }
    return true;
}

static bool has_direct_map(GuestMemfd *gmem, void *opaque)
{
    const GuestMemfd **found = opaque;

    *found = gmem_lacks_direct_map(gmem) ? gmem : NULL;
    return !*found;
}

static const GuestMemfd *first_without_direct_map(void)
{
    const GuestMemfd *gmem = NULL;

    gmem_for_each(has_direct_map, &gmem);
    return gmem;
}

/* Can what the guest writes be logged while it runs? */
static bool check_log(const char *what, Error **errp)
{
    const GuestMemfd *gmem = first_without_direct_map();
    const GuestMemfdInterfaceInfo *log;

    if (!gmem) {
        return true;
    }
    log = gmem_caps_find(GUEST_MEMFD_INTERFACE_DIRTY_LOG_BOUND);
    if (!log->available) {
        error_setg(errp, "memory backend '%s': direct-map=off: %s needs a log "
                   "of what the guest writes, and KVM of this kernel keeps "
                   "none in bound memslots, dirty-log-bound (%s); use "
                   "direct-map=on", gmem->id, what, log->found_by);
        return false;
    }
    return true;
}

bool gmem_migration_check_transport(const MigrationAddress *addr,
                                    Error **errp)
{
    if (addr->transport == MIGRATION_ADDRESS_TYPE_RDMA &&
        !gmem_pins_check("migration by rdma", errp)) {
        return false;
    }
    if (migrate_direct_io() && !gmem_pins_check("direct-io", errp)) {
        return false;
    }
    return runstate_check(RUN_STATE_INMIGRATE) || check_log("migration", errp);
}

/* What takes pinned pages, or mapped memslots */
static bool check_direct_map(const bool *caps, Error **errp)
{
    const GuestMemfd *gmem = first_without_direct_map();

    if (gmem && caps[MIGRATION_CAPABILITY_BACKGROUND_SNAPSHOT]) {
        error_setg(errp, "memory backend '%s': direct-map=off: "
                   "background-snapshot: the guest writes past the "
                   "write-protection of QEMU's mapping; use an ordinary "
                   "snapshot, or direct-map=on", gmem->id);
        return false;
    }
    return !caps[MIGRATION_CAPABILITY_ZERO_COPY_SEND] ||
           gmem_pins_check("zero-copy-send", errp);
}

bool gmem_migration_check_caps(const bool *caps, Error **errp)
{
    const GuestMemfd *gmem = first_gmem();
    const GuestMemfdInterfaceInfo *wp;

    if (!gmem) {
        return true;
    }
    if (!check_postcopy(caps, errp) || !check_direct_map(caps, errp)) {
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

bool gmem_migration_can_watch(const char *command, bool logs, Error **errp)
{
    if (gmem_conversions()->enabled) {
        error_setg(errp, "%s: memory of this VM can turn private, and writes "
                   "to it are not watched then", command);
        return false;
    }
    return !logs || check_log(command, errp);
}
