/*
 * Memslots over a guest_memfd: bound, mapped, and from one to the other
 *
 * Second floor.  Called by accel/kvm/kvm-all.c, which keeps the table of
 * slots (KVMSlot) and decides when one comes and goes; here is decided what
 * kind it is, and every memslot ioctl for a guest_memfd is issued here.
 *
 * KVMSlot.flags of such a slot holds the flags any RAM at that place would
 * have; KVMSlot.old_flags holds what KVM has: with KVM_MEM_GUEST_MEMFD added
 * where the slot is bound, or GMEM_SLOT_ABSENT where KVM has no such slot.
 *
 * A bound slot cannot be changed, and has no dirty log.  So a change of kind
 * is delete and create, with vCPUs held out of KVM, for all slots of an
 * address space in one section: a listener's log_start and log_stop only
 * note what is wanted, its commit does it.
 *
 * What cannot be done ends QEMU with an error while the machine is being
 * set up, and afterwards stops the VM (internal-error): the guest never
 * runs on a slot that is not what it should be.
 *
 * Locks: all functions need the BQL; those that change slots also KVM's
 * slots lock.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_SLOTS_H
#define GMEM_SLOTS_H

#include "qapi/qapi-types-gmem.h"
#include "system/kvm_int.h"
#include "gmem/gmem.h"

#define GMEM_SLOT_ABSENT (-1)

/*
 * gmem_slots_plan: decide the kind of every slot of the new memory map
 *
 * Called first in the listener's commit, when the address space shows the
 * new map.
 *
 * Returns: true if slots that stay must change, so vCPUs must be held out of
 * KVM until gmem_slots_reconcile() has run.
 */
bool gmem_slots_plan(KVMMemoryListener *kml);

/*
 * gmem_slots_reconcile: change slots that are not what the plan wants
 *
 * Called in the listener's commit between deletions and additions, with
 * ioctls inhibited if gmem_slots_plan() said so.
 */
void gmem_slots_reconcile(KVMMemoryListener *kml);

/*
 * gmem_slot_set: what kvm_set_user_memory_region() does, for our slots
 *
 * @new: create it; else delete it (memory_size 0) or change its flags
 *
 * Returns: 0 always: a failure has been dealt with as said above.
 */
int gmem_slot_set(KVMMemoryListener *kml, KVMSlot *slot, bool new);

#endif /* GMEM_SLOTS_H */
