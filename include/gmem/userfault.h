/*
 * Pages of a guest_memfd that are not there yet, as KVM and its vCPUs see them
 *
 * Layer 1 (docs/architecture.md), a part of the object.  A vCPU in a bound
 * memslot does not go through QEMU's mapping, so userfaultfd does not see that
 * it needs a page.  KVM is told by a bitmap, one bit a page of the file: where
 * it is set, KVM sends the vCPU out.  The vCPU's thread then asks for the page
 * and waits for it; whoever has placed the page clears the bit and wakes it.
 *
 * All bound memslots of the file share the bitmap, but for those whose first
 * page is not the first of a long of it: KVM counts bits from the start of a
 * long, so they have a copy of their part.
 *
 * A bit is cleared after the page is in the file, with release ordering, and
 * never set again; in a copy, after it is cleared in the bitmap.  Who registers
 * as waiting looks at the bit afterwards, who clears it looks for those that
 * wait afterwards: one of them sees the other.
 *
 * Locks: the bitmap comes and goes with the BQL held; it is read under RCU.
 * The list of those that wait and the queue of what they ask for have one
 * lock, inside all others.  Nothing is held while a vCPU waits.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_USERFAULT_H
#define GMEM_USERFAULT_H

#include "gmem/gmem.h"

struct kvm_run;

/* A page that a vCPU waits for */
typedef struct GmemUserfaultRequest {
    void *page;                 /* in QEMU's mapping */
    uint32_t thread_id;         /* of the vCPU */
} GmemUserfaultRequest;

/*
 * gmem_userfault_begin: give @gmem a bitmap
 *
 * @received: one bit for each of the target's pages, set if it is there
 * @size: how much of the file, in bytes, that is about; the rest is there
 *
 * Returns: false if there is no memory for it.
 */
bool gmem_userfault_begin(GuestMemfd *gmem, const unsigned long *received,
                          uint64_t size);

/*
 * gmem_userfault_end: the bitmap of @gmem goes, if it has one
 *
 * Not while a memslot uses it: then it goes with the last one.
 */
void gmem_userfault_end(GuestMemfd *gmem);

/*
 * gmem_userfault_bitmap: the bitmap for a bound memslot that shows @size bytes
 * of the file from @offset on; there is one
 *
 * What is not told of by gmem_userfault_slot_added() is gone with the next call
 * for another memslot.
 *
 * Returns: NULL if there is no memory for a copy.
 */
void *gmem_userfault_bitmap(const GuestMemfd *gmem, uint64_t offset,
                            uint64_t size);

/*
 * gmem_userfault_slot_added, _removed: KVM has one more, or one less, memslot
 * with what gmem_userfault_bitmap() gave for it
 */
void gmem_userfault_slot_added(GuestMemfd *gmem, uint64_t offset,
                               uint64_t size);
void gmem_userfault_slot_removed(GuestMemfd *gmem, uint64_t offset);

/*
 * gmem_userfault_placed: a range of the file is there
 *
 * Called by any thread.
 */
void gmem_userfault_placed(GuestMemfd *gmem, uint64_t offset, uint64_t size);

/*
 * gmem_userfault_open: from now on pages can be asked for
 *
 * @wake: called, with the inner lock held, when gmem_userfault_next() has
 * something again after it had nothing
 *
 * gmem_userfault_close: @wake is not called any more; who waits, goes on
 */
void gmem_userfault_open(void (*wake)(void));
void gmem_userfault_close(void);

/*
 * gmem_userfault_next: what is asked for
 *
 * A vCPU asks once for a page, also if it is interrupted while it waits.
 *
 * Returns: false if that is nothing.
 */
bool gmem_userfault_next(GmemUserfaultRequest *request);

/*
 * gmem_userfault_exit: @cpu has made KVM_EXIT_MEMORY_FAULT
 *
 * Waits until the page is there, or the thread is kicked: then KVM_RUN will
 * return at once, as it does for a vCPU that is kicked inside KVM.
 *
 * Called by the vCPU's thread without the BQL.
 *
 * Returns: false if it is none of ours; else the vCPU can run on.
 */
bool gmem_userfault_exit(CPUState *cpu, const struct kvm_run *run);

#endif /* GMEM_USERFAULT_H */
