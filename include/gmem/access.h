/*
 * QEMU's own accesses to guest memory, and pages that are private
 *
 * Layer 1 (docs/architecture.md), what upstream asks where it admits an access:
 * a private page is not there for it, as if nothing were mapped at its address.
 * Cheap where nothing is private.
 *
 * Who has been admitted makes its access inside the same RCU critical section,
 * and a conversion waits for the end of those, or holds what it goes on using.
 *
 * Locks: none are needed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_ACCESS_H
#define GMEM_ACCESS_H

#include "exec/hwaddr.h"
#include "exec/cpu-common.h"
#include "exec/memattrs.h"
#include "qemu/atomic.h"

/* Of all blocks.  By system/gmem-state.c. */
extern uint64_t gmem_private_pages;

static inline bool gmem_some_private(void)
{
    return unlikely(qatomic_read(&gmem_private_pages));
}

bool gmem_clip(MemoryRegion *mr, hwaddr offset, hwaddr *len);

/*
 * gmem_clip_to_shared: shorten *@len to what is on the same side as @offset
 *
 * @mr: any region
 * @len: HWADDR_MAX if the caller does not care: then it stays so
 *
 * Called in an RCU critical section.
 *
 * Returns: false if that side is the private one.
 */
static inline bool gmem_clip_to_shared(MemoryRegion *mr, hwaddr offset,
                                       hwaddr *len)
{
    return !gmem_some_private() ||
           gmem_clip(mr, offset, len);
}

/*
 * gmem_refuses: is @mr, to which an address has been translated, not to be
 * mapped?
 *
 * Where pages are private, there is no bounce buffer in their stead, or where
 * nothing is: a device that aims there is to fail.
 */
bool gmem_is_unassigned(const MemoryRegion *mr);
static inline bool gmem_refuses(const MemoryRegion *mr)
{
    return gmem_some_private() && gmem_is_unassigned(mr);
}

/*
 * gmem_refuses_at: does mapping @addr fail for that reason?
 *
 * If not, it may succeed when others have let go of their bounce buffers.
 */
bool gmem_refuses_at(AddressSpace *as, hwaddr addr, bool is_write);

/*
 * gmem_hold: keep the range shared until gmem_release() of the same range
 *
 * For mappings that live on: conversions to private of what they cover are
 * refused meanwhile.  Pages are counted.
 *
 * @block: any RAM block
 *
 * Returns: false if a byte of it is private, and nothing is held.
 */
bool gmem_hold(const RAMBlock *block, ram_addr_t offset, ram_addr_t size);

/*
 * gmem_release: the end of a gmem_hold() from @offset on that returned true
 *
 * What is not released stays shared for as long as its block lives.
 */
void gmem_release(const RAMBlock *block, ram_addr_t offset);

/*
 * gmem_range_private: is any byte of the range private?
 *
 * @block: any RAM block
 *
 * For everybody who may hold a pointer to @block; needs no BQL.  Cheap where
 * nothing is private.
 */
bool gmem_range_private(const RAMBlock *block, ram_addr_t offset,
                        ram_addr_t size);

#endif /* GMEM_ACCESS_H */
