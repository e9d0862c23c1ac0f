/*
 * The dirty log of memslots over a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_SLOTS_LOG_H
#define GMEM_SLOTS_LOG_H

#include "gmem/slots.h"

/*
 * gmem_log_is_impossible: can there be no log of what is written to @gmem?
 *
 * So where pages can be private, which only those of bound slots are, or are
 * not mapped by the kernel, which mapped slots need, and KVM cannot log what is
 * bound.
 */
bool gmem_log_is_impossible(const GuestMemfd *gmem);

/* Can KVM log what is written to @slot while it is bound?  BQL held. */
bool gmem_log_can_be_bound(const KVMSlot *slot);

static inline bool gmem_log_in_bound_slot(uint32_t flags)
{
    return (flags & KVM_MEM_GUEST_MEMFD) && (flags & KVM_MEM_LOG_DIRTY_PAGES);
}

/*
 * gmem_log_is_all_that_changes: may @slot, as KVM has it, be given @flags
 * without being deleted?
 */
static inline bool gmem_log_is_all_that_changes(const KVMSlot *slot,
                                                uint32_t flags)
{
    return gmem_slot_is_bound(slot) &&
           (slot->old_flags ^ flags) == KVM_MEM_LOG_DIRTY_PAGES;
}

/*
 * gmem_log_refused: KVM refuses to switch the log of a bound @slot on or off,
 * @ret is why.  Warns, and lets it be mapped until the log ends.
 */
void gmem_log_refused(const KVMSlot *slot, uint32_t flags, int ret);

#endif /* GMEM_SLOTS_LOG_H */
