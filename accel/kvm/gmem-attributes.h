/*
 * What the kernel holds of each page of a guest_memfd: its side
 *
 * The lowest part of the engine (gmem-convert.c): issues the ioctls, knows no
 * locks and keeps no books.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_ATTRIBUTES_H
#define GMEM_ATTRIBUTES_H

#include "gmem/gmem.h"

#define GMEM_HELD_MS 200

/* What is put into it, by a thread */
typedef struct GmemEffort {
    uint64_t retries;           /* the times that the kernel was asked again */
    uint64_t paused_us;         /* before it was, in all */
    bool give_up;               /* as soon as can be; atomic */
    bool despite_stop;          /* but not for a VM that is to stop */
    bool must_end;              /* do not at all */
} GmemEffort;

/*
 * gmem_attributes_set: put pages on one side
 *
 * @gpa: where the guest sees them
 * @offset: where they are in the file
 *
 * To private, the kernel refuses while somebody holds a page, be it for the
 * moment of a fault.  So it is asked again, for the pages up to the one held
 * and then from there, with growing pauses that last GMEM_HELD_MS in all.
 * Better without the BQL: whoever holds a page may need it to
 * let go.
 *
 * Returns: 0, or -errno with the range on both sides; -EAGAIN if a page is
 * still held, -EBUSY if it was given up.
 */
int gmem_attributes_set(const GuestMemfd *gmem, uint64_t gpa, uint64_t offset,
                        uint64_t size, bool private, GmemEffort *effort);

/* Is it to be given up now?  Without the BQL, too. */
bool gmem_effort_ends(const GmemEffort *effort);

/* gmem_attributes_punch: free pages of the file; 0 or -errno */
int gmem_attributes_punch(const GuestMemfd *gmem, uint64_t offset,
                          uint64_t size);

/* gmem_attributes_clear_vm: no page there is private by address; 0 or -errno */
int gmem_attributes_clear_vm(uint64_t gpa, uint64_t size);

#endif /* GMEM_ATTRIBUTES_H */
