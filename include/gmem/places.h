/*
 * Where KVM shows the pages of a guest_memfd to the guest
 *
 * Layer 1 (docs/architecture.md), a part of the object: a table of the memslots
 * over it, which who makes memslots keeps, and whoever converts pages reads.
 * Only for a guest_memfd whose pages can be private, and only of address space
 * 0: VMs that have private memory have no other.
 *
 * Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_PLACES_H
#define GMEM_PLACES_H

#include "gmem/gmem.h"

/* gmem_place_add: KVM is about to get a memslot */
void gmem_place_add(GuestMemfd *gmem, const GmemPlace *place);

/* gmem_place_del: the memslot at @gpa is gone, or did not come */
void gmem_place_del(GuestMemfd *gmem, uint64_t gpa);

/* gmem_places_settled: the memory map has its new shape */
void gmem_places_settled(void);

/*
 * gmem_place_find: the place with the lowest address that is, or reaches,
 * beyond @gpa
 *
 * @gmem: whose it is
 *
 * Returns: NULL if there is none; good until the memory map changes.
 */
const GmemPlace *gmem_place_find(uint64_t gpa, GuestMemfd **gmem);

#endif /* GMEM_PLACES_H */
