/*
 * Memslots over a guest_memfd: bound, mapped, and from one to the other
 *
 * Layer 2 (docs/architecture.md).  Called by accel/kvm/kvm-all.c, which keeps
 * the table of slots (KVMSlot) and decides when one comes and goes; here is
 * decided what kind it is, and every memslot ioctl for a guest_memfd is issued
 * here.
 *
 * KVMSlot.flags of such a slot holds the flags any RAM at that place would
 * have; KVMSlot.old_flags holds what KVM has: with KVM_MEM_GUEST_MEMFD added
 * where the slot is bound, or GMEM_SLOT_ABSENT where KVM has no such slot.
 *
 * A change of kind is delete and create, with vCPUs held out of KVM, for all
 * slots of an address space in one section: a listener's log_start and log_stop
 * only note what is wanted, its commit does it.  A slot that is logged is
 * harvested before.  Where KVM has a dirty log of bound slots, beginning and
 * ending it is no such change: log_start and log_stop do it, and no vCPU is
 * held.
 *
 * What cannot be done ends QEMU with an error while the machine is being
 * set up, and afterwards stops the VM (internal-error): the guest never
 * runs on a slot that is not what it should be.  A VM that is not running
 * then does not start, and no vCPU enters KVM, until a further commit has
 * made all slots what they should be: gmem_slots_ready() tries.
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
#include "system/ramblock.h"
#include "gmem/gmem.h"

#define GMEM_SLOT_ABSENT (-1)

/* Where @slot begins in its file, in bytes. */
static inline uint64_t gmem_slot_offset(const KVMSlot *slot)
{
    return (uint8_t *)slot->ram - slot->gmem->block->host;
}

static inline bool gmem_slot_in_kvm(const KVMSlot *slot)
{
    return slot->memory_size && slot->old_flags != GMEM_SLOT_ABSENT;
}

static inline bool gmem_slot_is_bound(const KVMSlot *slot)
{
    return gmem_slot_in_kvm(slot) && (slot->old_flags & KVM_MEM_GUEST_MEMFD);
}

/* Why @slot is not bound, or is not to be. */
GuestMemfdWhyMapped gmem_slot_why_mapped(KVMMemoryListener *kml,
                                         const KVMSlot *slot);

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

/* gmem_slots_hold_begins: the listener's commit inhibits ioctls now */
void gmem_slots_hold_begins(void);

/*
 * gmem_slots_reconcile: change slots that are not what the plan wants
 *
 * Called in the listener's commit between deletions and additions, with
 * ioctls inhibited if gmem_slots_plan() said so.
 */
void gmem_slots_reconcile(KVMMemoryListener *kml);

/*
 * gmem_slots_committed: the listener's commit is over
 *
 * Called when ioctls are no longer inhibited: counts how long vCPUs were held.
 */
void gmem_slots_committed(KVMMemoryListener *kml);

/*
 * gmem_log_harvest: @slot is about to be deleted, and its log with it; if there
 * is one, note what was written
 *
 * If KVM does not say what was, all of it is.  Called also for a slot whose
 * region goes; KVM's slots lock held, vCPUs held out of KVM.
 */
void gmem_log_harvest(KVMSlot *slot);

/* gmem_slots_lost: GmemListener.lost(); the VM stops and stays so */
void gmem_slots_lost(GuestMemfd *gmem, const char *what, int ret);

/*
 * gmem_slots_hold_vcpu: must the vCPU of this thread not enter KVM?
 *
 * Called before every turn.  If a memslot has failed, stops the VM.
 */
bool gmem_slots_hold_vcpu(void);

/*
 * gmem_slots_give_up: KVM refuses @slot, which is of other memory
 *
 * Returns: true if that is because KVM has kept a slot that is there no more: this
 * VM can never run again, and does not need it.
 */
bool gmem_slots_give_up(KVMSlot *slot);

/*
 * gmem_slot_set: what kvm_set_user_memory_region() does, for our slots
 *
 * @new: create it; else delete it (memory_size 0) or change its flags
 *
 * Returns: 0 always: a failure has been dealt with as said above.
 */
int gmem_slot_set(KVMMemoryListener *kml, KVMSlot *slot, bool new);

#endif /* GMEM_SLOTS_H */
