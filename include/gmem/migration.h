/*
 * What migration cannot do with guest RAM in a guest_memfd
 *
 * Layer 3 (docs/architecture.md).  Precopy needs nothing from us: it reads and
 * writes RAM through the mapping, and finds dirty pages because RAM is mapped
 * while they are logged (gmem/slots.h).  userfaultfd is another matter: it
 * sees accesses through the mapping only, and few kernels have it for a
 * guest_memfd.  Postcopy has a header of its own, gmem/postcopy.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_MIGRATION_H
#define GMEM_MIGRATION_H

#include "qapi/qapi-types-migration.h"

/*
 * gmem_migration_check_caps: can this VM's RAM be migrated with @caps?
 *
 * @caps: an array indexed by MigrationCapability
 *
 * Called when capabilities are set, on both sides, and again when a migration
 * starts, because RAM may have been added since.
 *
 * Returns: false with @errp naming the backend, the capability and why.
 */
bool gmem_migration_check_caps(const bool *caps, Error **errp);

/*
 * gmem_migration_check_transport: can this VM's RAM go to @addr, or come from
 * there, with the parameters that are set?
 *
 * Called when a migration starts, on both sides.
 *
 * Returns: false with @errp naming the backend and why.
 */
bool gmem_migration_check_transport(const MigrationAddress *addr,
                                    Error **errp);

/*
 * gmem_migration_can_watch: can the guest's writes be watched by @command?
 *
 * Returns: false with @errp naming it where pages can turn private: QEMU does
 * not look into them, and the memslots that have them log no writes.  So where
 * the kernel does not map pages, and KVM does not log what is bound, if the
 * command @logs writes.
 */
bool gmem_migration_can_watch(const char *command, bool logs, Error **errp);

#endif /* GMEM_MIGRATION_H */
