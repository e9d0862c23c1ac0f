/*
 * Memory backends of a VM whose memory can turn private
 *
 * Layer 2 (docs/architecture.md).  In place, every backend is a guest_memfd;
 * otherwise every backend is ordinary memory, with a guest_memfd apart for its
 * private pages.  Where memory cannot turn private, all of this says yes and
 * does nothing.
 *
 * Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_HOSTMEM_CONVERT_H
#define GMEM_HOSTMEM_CONVERT_H

#include "system/hostmem.h"

/*
 * gmem_hostmem_can_convert: is @backend, not yet there, what the VM needs?
 *
 * Returns: false with @errp set, which does not name @backend.
 */
bool gmem_hostmem_can_convert(const HostMemoryBackend *backend, Error **errp);

/*
 * gmem_hostmem_accompany: give @backend, just allocated as ordinary memory,
 * what it needs for private pages
 *
 * Returns: false with @errp naming @backend and what is wrong.
 */
bool gmem_hostmem_accompany(HostMemoryBackend *backend, Error **errp);

/* Whether slots=@value may be set; else @errp says why. */
bool gmem_hostmem_allows_slots(const HostMemoryBackend *backend,
                               GuestMemfdSlots value, Error **errp);

/* Whether guest-memfd=off was given to the machine, which is the default. */
bool gmem_machine_said_off(void);

/*
 * gmem_hostmem_can_unplug_parts: can @device, which has to, plug and unplug
 * parts of the memory?
 *
 * Returns: false with @errp naming both if its pages can turn private: a
 * region has one RamDiscardManager.
 */
bool gmem_hostmem_can_unplug_parts(HostMemoryBackend *backend,
                                   const char *device, Error **errp);

#endif /* GMEM_HOSTMEM_CONVERT_H */
