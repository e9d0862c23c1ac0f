/*
 * Pages that are not in the file
 *
 * Layer 1 (docs/architecture.md), a part of the object.  A page that neither
 * the guest nor QEMU has used is zeros, and to look at it would make it.  So
 * who reads guest memory to send or to save it asks here first.
 *
 * While a guest runs, a page that was absent may be written at any time.  So
 * only what is found at the moment of asking counts, and the sender asks after
 * the page has been taken out of the log of dirty pages: a write that comes
 * later is logged, and the page sent once more.
 *
 * Where the kernel does not tell (mincore(2) says that all is there to those
 * who may not write the file), or pages can be private, or have yet to come in,
 * none is absent.
 *
 * Locks: none.  Any thread may call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_ABSENT_H
#define GMEM_ABSENT_H

#include "system/ramblock.h"

/* By system/gmem-absent.c. */
bool gmem_is_absent_at(const RAMBlock *block, ram_addr_t offset);

/*
 * gmem_is_absent: is the page at @offset of @block absent?
 *
 * For who asks for one page after the other.
 */
static inline bool gmem_is_absent(const RAMBlock *block, ram_addr_t offset)
{
    return block->gmem && gmem_is_absent_at(block, offset);
}

/*
 * gmem_zero: make memory zeros that nobody else uses, as QEMU loads it
 *
 * Absent pages stay absent.
 *
 * Returns: false if it is no guest_memfd, or has to be there, for postcopy:
 * what has been received must not be missing.
 */
bool gmem_zero(void *host, uint64_t size);

/*
 * gmem_to_read: where to read @size bytes of guest memory
 *
 * Returns: @host; or as many zeros, if all their pages are absent now.
 */
void *gmem_to_read(void *host, size_t size);

#endif /* GMEM_ABSENT_H */
