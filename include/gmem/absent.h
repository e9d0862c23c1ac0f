/*
 * Pages that are not in the file
 *
 * Layer 1 (docs/architecture.md), a part of the object.  A page that neither
 * the guest nor QEMU has used is zeros, and to look at it would make it.  So
 * who reads guest memory to send or to save it asks here first.
 *
 * While a guest runs, a page that was absent may be written at any time.  So
 * the source of a migration looks after it has cleared the log of dirty pages
 * of a stretch: what is written later is logged, and sent once more.
 *
 * Where the kernel does not tell (mincore(2) says that all is there to those
 * who may not write the file), or pages can be private, none is absent.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_ABSENT_H
#define GMEM_ABSENT_H

#include "qemu/rcu.h"
#include "system/ramblock.h"
#include "gmem/gmem.h"

/*
 * gmem_absent_look: find out which pages of a stretch of @block are absent
 *
 * @start, @size: in bytes; may reach beyond the block
 *
 * The log of these pages has just been cleared.  The caller's lock keeps two
 * from looking at one block at a time.
 */
void gmem_absent_look(RAMBlock *block, ram_addr_t start, uint64_t size);

/* gmem_absent_forget: nobody will ask about @block any more, or look first */
void gmem_absent_forget(RAMBlock *block);

/* By system/gmem-absent.c. */
bool gmem_absent_was(const GuestMemfd *gmem, ram_addr_t offset);

/*
 * gmem_is_absent: was the page at @offset of @block absent at the last look?
 *
 * Called by any thread, for a page that is to be sent and whose log was
 * cleared before.
 */
static inline bool gmem_is_absent(const RAMBlock *block, ram_addr_t offset)
{
    return block->gmem && gmem_absent_was(block->gmem, offset);
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
