/*
 * The dirty log of memslots over a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "gmem/caps.h"
#include "gmem-slots-log.h"
#include "trace/trace-gmem_accel_kvm.h"

static bool kernel_logs_bound(void)
{
    return gmem_caps_find(GUEST_MEMFD_INTERFACE_DIRTY_LOG_BOUND)->available;
}

bool gmem_log_is_impossible(const GuestMemfd *gmem)
{
    return gmem->state ||
           (gmem_lacks_direct_map(gmem) && !kernel_logs_bound());
}

bool gmem_log_can_be_bound(const KVMSlot *slot)
{
    const GuestMemfd *gmem = slot->gmem;

    if (gmem_lacks_direct_map(gmem)) {
        return true;            /* it has no other */
    }
    if (gmem->dirty_log == GUEST_MEMFD_DIRTY_LOG_MAPPED) {
        return false;
    }
    if (gmem->log_refused) {
        /* of another slot: this one's goes on */
        return gmem_slot_is_bound(slot) &&
               (slot->old_flags & KVM_MEM_LOG_DIRTY_PAGES);
    }
    return kernel_logs_bound();
}

void gmem_log_harvest(KVMSlot *slot)
{
    bool ring = kvm_state->kvm_dirty_ring_size;
    bool known = true;

    if (!gmem_slot_in_kvm(slot) ||
        !(slot->old_flags & slot->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        return;
    }
    if (ring) {
        kvm_dirty_ring_reap_locked(kvm_state, NULL);
        kvm_slot_sync_dirty_pages(slot);
    }
    if (!ring || kvm_state->kvm_dirty_ring_with_bitmap) {
        known = kvm_slot_get_dirty_log(kvm_state, slot);
        if (!known) {
            bitmap_set(slot->dirty_bmap, 0,
                       slot->memory_size / qemu_real_host_page_size());
        }
        kvm_slot_sync_dirty_pages(slot);
    }
    slot->gmem->log_anew = true;
    trace_gmem_log_harvest(slot->gmem->id, slot->start_addr,
                           slot->memory_size, known);
}

void gmem_log_refused(const KVMSlot *slot, uint32_t flags, int ret)
{
    GuestMemfd *gmem = slot->gmem;
    bool begins = flags & KVM_MEM_LOG_DIRTY_PAGES;

    warn_report("memory backend '%s': KVM refuses to %s the dirty log of the "
                "bound memslot at 0x%" PRIx64 ": %s; it is %s", gmem->id,
                begins ? "begin" : "end", (uint64_t)slot->start_addr,
                strerror(-ret), begins ? "mapped while it is logged"
                                       : "made anew without");
    /* not of one that is only put back as it was */
    gmem->log_refused |= begins && (slot->flags & KVM_MEM_LOG_DIRTY_PAGES);
}
