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
 * gmem_slots_refresh: change every slot that is not what it should be, as if
 * the memory map had changed.  BQL held.
 */
void gmem_slots_refresh(void);

/*
 * gmem_slots_ready: may the VM run?
 *
 * No if a memslot is missing or not what it should be.  Tries to mend that
 * first.  BQL held.
 *
 * Returns: false with @errp naming the backend and what KVM refuses.
 */
bool gmem_slots_ready(Error **errp);

/*
 * gmem_slots_put_cpus: cpu_synchronize_all_post_init(), which reaches for the
 * guest's RAM
 *
 * Returns: false as above; then it is done as soon as the VM may run.
 */
bool gmem_slots_put_cpus(Error **errp);

/*
 * gmem_slots_may_start: the same for who is about to start the VM and has
 * nobody to report to.  A VM that migrates, or is being saved or loaded, is
 * paused if it may not.
 */
bool gmem_slots_may_start(void);

#endif /* GMEM_SLOTS_VIEW_H */
