/*
 * Which memslots over a guest_memfd are bound, and which are mapped
 *
 * KVM lets one offset of a guest_memfd lie in one bound slot only, while
 * QEMU shows the same RAM at several guest-physical addresses: SMRAM and
 * TSEG windows, the address space of SMM.  So every byte has one home, the
 * view that may be bound; all other views of it are aliases and mapped.
 *
 * Pure functions of their arguments: no state, no locks, no errors, and the
 * result does not depend on the order in which views are given.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_SLOT_POLICY_H
#define GMEM_SLOT_POLICY_H

#include "qapi/qapi-types-gmem.h"

/*
 * A stretch of guest-physical addresses that shows a stretch of a file.
 * All members are in bytes; ranges are half-open.
 */
typedef struct GmemView {
    const void *file;       /* identity of the guest_memfd, never followed */
    int as_id;              /* KVM address space; homes are in 0 only */
    uint64_t gpa;
    uint64_t offset;        /* in the file */
    uint64_t size;
    bool home;              /* out: no byte of it has its home elsewhere */
    bool split;             /* out: some of its bytes have, others have not */
} GmemView;

/*
 * Sort @views by address space and address, and decide which are homes: in
 * address space 0, from the lowest address up, each that overlaps no home
 * of the same file.  A view is a home or an alias as a whole.
 */
void gmem_policy_find_homes(GmemView *views, size_t n);

/*
 * The view that contains @size bytes at @gpa and shows them from @offset of
 * @file on, or NULL.  @views as gmem_policy_find_homes() left them.
 */
const GmemView *gmem_policy_find_view(const GmemView *views, size_t n,
                                      const void *file, uint64_t gpa,
                                      uint64_t size, uint64_t offset);

/*
 * Why a slot in @view (NULL: in none) with KVM's @slot_flags is not bound;
 * GUEST_MEMFD_WHY_MAPPED_NONE if it is to be bound.
 *
 * @tracked: writes through the VMM's mapping are being tracked
 * @refused: the kernel refused to bind it
 */
GuestMemfdWhyMapped gmem_policy_why_mapped(const GmemView *view,
                                           GuestMemfdSlots slots,
                                           uint32_t slot_flags, bool tracked,
                                           bool refused);

#endif /* GMEM_SLOT_POLICY_H */
