/*
 * The memslots of a guest_memfd, for those outside KVM code
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_SLOTS_VIEW_H
#define GMEM_SLOTS_VIEW_H

#include "gmem/gmem.h"

/*
 * gmem_slots_query: the slots KVM has over @gmem
 *
 * Ordered by address space and guest-physical address.  BQL held.
 *
 * Returns: a list the caller frees.
 */
GuestMemfdSlotInfoList *gmem_slots_query(const GuestMemfd *gmem);

/*
 * gmem_slots_set_policy: change how KVM reaches the pages of @gmem
 *
 * Takes effect before it returns, in one quiesced section for each address
 * space.  BQL held.
 *
 * Returns: false with @errp set, and all as before, if @slots is bound and
 * something cannot be.
 */
bool gmem_slots_set_policy(GuestMemfd *gmem, GuestMemfdSlots slots,
                           Error **errp);

/*
 * gmem_slots_refresh: change every slot that is not what it should be, as if
 * the memory map had changed.  BQL held.
 */
void gmem_slots_refresh(void);

#endif /* GMEM_SLOTS_VIEW_H */
