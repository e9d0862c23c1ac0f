/*
 * Which memslots over a guest_memfd are bound, and which are mapped
 *
 * KVM lets one offset of a guest_memfd lie in one bound slot only, while
 * QEMU shows the same RAM at several guest-physical addresses: SMRAM and
 * TSEG windows, the address space of SMM.  So one view of a byte is the
 * canonical one, which may be bound; all others are aliases and mapped.
 *
 * Pure functions of their arguments: no state, no locks, no errors.
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
    uint64_t gpa;
    uint64_t offset;        /* in the file */
    uint64_t size;
    bool canonical;         /* no byte of it has a canonical view elsewhere */
    bool split;             /* some of its bytes have, others have not */
} GmemView;

/* What decides about a slot beside its view. */
typedef struct GmemSlotState {
    GuestMemfdSlots policy; /* the backend's property */
    uint32_t flags;         /* KVM_MEM_* of any RAM at that place */
    bool logs_bound;        /* KVM can log what is written while it is bound */
    bool tracked;           /* writes through the mapping are being tracked */
    bool postcopy;          /* pages are missing, and KVM would not know */
    bool refused;           /* the kernel refused to bind it */
} GmemSlotState;

/*
 * Decide which views of KVM's address space 0 are canonical: from the lowest
 * address up, each that overlaps no canonical view of the same file.  A view
 * is canonical or an alias as a whole.  In other address spaces none is.
 *
 * @views: by ascending address, as a FlatView has them
 */
void gmem_policy_find_canonical(GmemView *views, size_t n);

/*
 * The view that contains @size bytes at @gpa and shows them from @offset of
 * @file on, or NULL.
 */
const GmemView *gmem_policy_find_view(const GmemView *views, size_t n,
                                      const void *file, uint64_t gpa,
                                      uint64_t size, uint64_t offset);

/* What gmem_policy_why_mapped() says of a slot that is to be bound. */
#define GMEM_NOT_MAPPED GUEST_MEMFD_WHY_MAPPED__MAX

/*
 * Why a slot in @view (NULL: in none) is not bound;
 * GMEM_NOT_MAPPED if it is to be bound.
 */
GuestMemfdWhyMapped gmem_policy_why_mapped(const GmemView *view,
                                           const GmemSlotState *state);

#endif /* GMEM_SLOT_POLICY_H */
