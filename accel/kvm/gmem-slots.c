/*
 * Memslots over a guest_memfd: bound, mapped, and from one to the other
 *
 * The order inside a commit keeps an offset from being bound twice: upstream
 * deletes the slots that go, then every slot that must change is deleted,
 * and only then is anything created.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/timer.h"
#include "hw/qdev-core.h"
#include "system/cpus.h"
#include "system/ramblock.h"
#include "system/runstate.h"
#include "gmem/places.h"
#include "gmem/slot-policy.h"
#include "gmem/slots.h"
#include "gmem/slots-view.h"
#include "gmem/uapi.h"
#include "gmem/userfault.h"
#include "gmem-slots-log.h"
#include "trace/trace-gmem_accel_kvm.h"

/* Why the guest must not run; NULL if it may.  BQL. */
static Error *slots_failure;
/* KVM has a slot that it should not have, for good */
static bool slot_stale;
/* The state of vCPUs is to go into KVM when the guest may run.  BQL. */
static bool cpus_wait;

/* vCPUs are held out of KVM.  BQL. */
static struct {
    int64_t start_ns;
    unsigned changed;           /* slots */
} hold;

/*
 * The flags beside KVM_MEM_GUEST_MEMFD.  Where only bound slots will do, and
 * they have no dirty log, there is none: what needs one while the guest runs is
 * refused.
 */
static uint32_t slot_other_flags(const KVMSlot *slot)
{
    return gmem_log_is_impossible(slot->gmem)
           ? slot->flags & ~KVM_MEM_LOG_DIRTY_PAGES : slot->flags;
}

/* Are pages missing that KVM would take for zeros in a bound slot? */
static bool slot_must_wait(const KVMSlot *slot)
{
    const GmemPostcopy *postcopy = &slot->gmem->postcopy;

    return postcopy->incoming && (postcopy->refused || !postcopy->userfault);
}

GuestMemfdWhyMapped gmem_slot_why_mapped(KVMMemoryListener *kml,
                                         const KVMSlot *slot)
{
    GArray *views = kml->gmem_views;
    const GuestMemfd *gmem = slot->gmem;
    const GmemView *view = NULL;
    GmemSlotState state = {
        .policy = gmem->slots,
        .flags = slot_other_flags(slot),
        .tracked = gmem->block->flags & RAM_UF_WRITEPROTECT,
        .postcopy = slot_must_wait(slot),
        .refused = gmem->bind_refused && !gmem_slot_is_bound(slot) &&
                   gmem->slots == GUEST_MEMFD_SLOTS_AUTO,
    };

    /* it is not found out before it matters, which may be never */
    state.logs_bound = (state.flags & KVM_MEM_LOG_DIRTY_PAGES) &&
                       gmem_log_can_be_bound(slot);
    if (views) {
        view = gmem_policy_find_view((GmemView *)views->data, views->len,
                                     gmem, slot->start_addr,
                                     slot->memory_size, gmem_slot_offset(slot));
    }
    return gmem_policy_why_mapped(view, &state);
}

/*
 * A mapped slot does not work over memory that the kernel does not map.  There
 * is none where one would have to be, as for an alias: the guest's accesses
 * are QEMU's then, as those to a device.
 */
static uint32_t slot_wanted_flags(KVMMemoryListener *kml, const KVMSlot *slot)
{
    uint32_t flags = slot_other_flags(slot);

    if (gmem_slot_why_mapped(kml, slot) != GMEM_NOT_MAPPED) {
        return gmem_lacks_direct_map(slot->gmem) ? GMEM_SLOT_ABSENT : flags;
    }
    return flags | KVM_MEM_GUEST_MEMFD |
           (slot->gmem->postcopy.incoming ? KVM_MEM_USERFAULT : 0);
}

/* Tell KVM about @slot with @flags; @size 0 deletes it.  0 or -errno. */
static int slot_ioctl(KVMMemoryListener *kml, KVMSlot *slot, uint32_t flags,
                      uint64_t size)
{
    GuestMemfd *gmem = slot->gmem;
    bool bound = flags & KVM_MEM_GUEST_MEMFD;
    struct kvm_userspace_memory_region2 region = {
        .slot = slot->slot | (kml->as_id << 16),
        .flags = size ? flags : 0,
        .guest_phys_addr = slot->start_addr,
        .memory_size = size,
        .userspace_addr = (uintptr_t)slot->ram,
        .guest_memfd = bound ? gmem->fd : -1,
        .guest_memfd_offset = bound ? gmem_slot_offset(slot) : 0,
    };
    void *bitmap = NULL;
    int ret;

    if (region.flags & KVM_MEM_USERFAULT) {
        bitmap = gmem_userfault_bitmap(gmem, gmem_slot_offset(slot), size);
        region.pad2[GMEM_USERFAULT_BITMAP_PAD] = (uintptr_t)bitmap;
    }
    ret = (region.flags & KVM_MEM_USERFAULT) && !bitmap ? -ENOMEM
          : kvm_vm_ioctl(kvm_state, KVM_SET_USER_MEMORY_REGION2, &region);
    trace_gmem_slot(gmem->id, kml->as_id, slot->slot,
                    slot->start_addr, size, gmem_slot_offset(slot), flags, ret);
    gmem->counters.refused += ret < 0;
    return ret;
}

/*
 * A vCPU must not run on: it may be in this thread, in its own, or waiting
 * for us to let it into KVM.  The main loop then stops the rest of the VM.
 */
static void stop_vm(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (qemu_cpu_is_self(cpu)) {
            cpu_stop_current();
        } else {
            cpu->stop = true;
            qemu_cpu_kick(cpu);
        }
    }
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
}

/* What a guest must not run on has come about.  Takes over @err. */
static void slots_failed(Error *err)
{
    error_report_err(error_copy(err));
    if (slot_stale) {
        error_free(err);        /* what is for good comes first */
    } else {
        error_free(slots_failure);
        slots_failure = err;
    }
    if (!phase_check(PHASE_MACHINE_READY)) {
        exit(EXIT_FAILURE);
    }
    stop_vm();
}

static void slot_failed(KVMMemoryListener *kml, KVMSlot *slot,
                        uint32_t flags, int ret)
{
    bool bound = flags & KVM_MEM_GUEST_MEMFD;
    Error *err = NULL;

    error_setg_errno(&err, -ret, "memory backend '%s': KVM refuses a %s "
                     "memslot of 0x%" PRIx64 " bytes at 0x%" PRIx64
                     " (address space %d)", slot->gmem->id,
                     bound ? "bound" : "mapped", (uint64_t)slot->memory_size,
                     (uint64_t)slot->start_addr, kml->as_id);
    if (bound && !gmem_lacks_direct_map(slot->gmem)) {
        error_append_hint(&err, "Use slots=auto or slots=mapped.\n");
    }
    slots_failed(err);
}

static void slot_kept(KVMSlot *slot, int ret, const char *consequence)
{
    Error *err = NULL;

    error_setg_errno(&err, -ret, "memory backend '%s': KVM does not remove "
                     "the memslot at 0x%" PRIx64 "%s", slot->gmem->id,
                     (uint64_t)slot->start_addr, consequence);
    slots_failed(err);
}

/* Create @slot as @flags say. */
static int slot_create_exactly(KVMMemoryListener *kml, KVMSlot *slot,
                               uint32_t flags)
{
    GmemPlace place = {
        .gpa = slot->start_addr,
        .offset = gmem_slot_offset(slot),
        .size = slot->memory_size,
        .bound = flags & KVM_MEM_GUEST_MEMFD,
    };
    int ret;

    if (!slot->gmem->state) {
        return slot_ioctl(kml, slot, flags, slot->memory_size);
    }
    gmem_place_add(slot->gmem, &place);
    ret = slot_ioctl(kml, slot, flags, slot->memory_size);
    if (ret < 0) {
        gmem_place_del(slot->gmem, place.gpa);
    }
    return ret;
}

/* What mapped slots cannot stand in for */
static bool must_be_bound(const GuestMemfd *gmem)
{
    return gmem->state || gmem_lacks_direct_map(gmem);
}

/* Create @slot mapped, for want of what @flags ask of a bound one. */
static int slot_create_mapped(KVMMemoryListener *kml, KVMSlot *slot,
                              uint32_t *flags)
{
    *flags &= ~(KVM_MEM_GUEST_MEMFD | KVM_MEM_USERFAULT);
    return slot_ioctl(kml, slot, *flags, slot->memory_size);
}

/* KVM takes no bitmap: wait for the pages of this memory in mapped slots. */
static void bitmap_refused(KVMSlot *slot, int ret)
{
    warn_report("memory backend '%s': KVM refuses a userfault bitmap for 0x%"
                PRIx64 " bytes at 0x%" PRIx64 ": %s; they are mapped until "
                "postcopy is over", slot->gmem->id,
                (uint64_t)slot->memory_size, (uint64_t)slot->start_addr,
                strerror(-ret));
    slot->gmem->postcopy.refused = true;
}

/* The same; slots=auto falls back from bound to mapped where that will do. */
static int slot_create(KVMMemoryListener *kml, KVMSlot *slot, uint32_t flags)
{
    GuestMemfd *gmem = slot->gmem;
    bool can_be_mapped = !must_be_bound(gmem);
    int ret;

    if (flags == (uint32_t)GMEM_SLOT_ABSENT) {
        slot->old_flags = GMEM_SLOT_ABSENT;
        return 0;
    }
    ret = slot_create_exactly(kml, slot, flags);
    if (ret < 0 && (flags & KVM_MEM_USERFAULT) && can_be_mapped) {
        bitmap_refused(slot, ret);
        ret = slot_create_mapped(kml, slot, &flags);
    }
    if (ret < 0 && gmem_log_in_bound_slot(flags) && can_be_mapped) {
        gmem_log_refused(slot, flags, ret);
        ret = slot_create_mapped(kml, slot, &flags);
    }
    if (ret < 0 && (flags & KVM_MEM_GUEST_MEMFD) && can_be_mapped &&
        gmem->slots == GUEST_MEMFD_SLOTS_AUTO) {
        warn_report("memory backend '%s': KVM refuses to bind 0x%" PRIx64
                    " bytes at 0x%" PRIx64 ": %s; its memslots are mapped",
                    gmem->id, (uint64_t)slot->memory_size,
                    (uint64_t)slot->start_addr, strerror(-ret));
        gmem->bind_refused = true;
        ret = slot_create_mapped(kml, slot, &flags);
    }
    if (ret < 0) {
        slot->old_flags = GMEM_SLOT_ABSENT;
        return ret;
    }
    slot->old_flags = flags;
    if (flags & KVM_MEM_USERFAULT) {
        gmem_userfault_slot_added(gmem, gmem_slot_offset(slot),
                                  slot->memory_size);
    }
    *(gmem_slot_is_bound(slot) ? &gmem->counters.binds
                               : &gmem->counters.maps) += 1;
    return 0;
}

/* Returns: 0, or -errno with @slot as it was. */
static int slot_delete(KVMMemoryListener *kml, KVMSlot *slot)
{
    GuestMemfdCounters *counters = &slot->gmem->counters;
    uint32_t flags = slot->old_flags;
    int ret;

    if (slot->old_flags == GMEM_SLOT_ABSENT) {
        return 0;
    }
    ret = slot_ioctl(kml, slot, flags, 0);
    if (ret == 0) {
        slot->old_flags = GMEM_SLOT_ABSENT;
        gmem_place_del(slot->gmem, slot->start_addr);
        if (flags & KVM_MEM_USERFAULT) {
            gmem_userfault_slot_removed(slot->gmem, gmem_slot_offset(slot));
        }
        *(flags & KVM_MEM_GUEST_MEMFD ? &counters->unbinds
                                      : &counters->unmaps) += 1;
    }
    return ret;
}

/*
 * KVM keeps what it calls by the number of @slot: nobody else may have the
 * number, and nobody find the slot.
 */
static void slot_retire(KVMMemoryListener *kml, KVMSlot *slot)
{
    kml->nr_slots_used++;       /* the caller takes one away */
    slot->memory_size = qemu_real_host_page_size();
    slot->start_addr = -slot->memory_size;
    slot->ram = NULL;
    slot->gmem = NULL;
}

/*
 * The region of @slot goes.  If KVM keeps the slot, it keeps an address of
 * ours that will soon be somebody else's.
 */
static void slot_remove(KVMMemoryListener *kml, KVMSlot *slot)
{
    int ret = slot_delete(kml, slot);

    if (ret < 0) {
        slot_kept(slot, ret, ", which goes: this VM can never run again");
        slot_stale = true;
        slot_retire(kml, slot);
    }
}

bool gmem_slots_give_up(KVMSlot *slot)
{
    if (!slot_stale) {
        return false;
    }
    g_free(slot->dirty_bmap);
    slot->dirty_bmap = NULL;
    slot->memory_size = 0;
    slot->flags = 0;
    return true;
}

/* Change the flags of @slot, which stays mapped, or bound. */
static int slot_change(KVMMemoryListener *kml, KVMSlot *slot, uint32_t flags)
{
    int ret = slot_ioctl(kml, slot, flags, slot->memory_size);

    if (ret == 0) {
        slot->old_flags = flags;
    }
    return ret;
}

/*
 * The log of a bound slot begins or ends.  If KVM refuses, the coming commit
 * finds that the slot is not what it should be.
 */
static void slot_switch_log(KVMMemoryListener *kml, KVMSlot *slot,
                            uint32_t flags)
{
    int ret = slot_change(kml, slot, flags);

    if (ret < 0 && !must_be_bound(slot->gmem)) {
        gmem_log_refused(slot, flags, ret);
    }
}

int gmem_slot_set(KVMMemoryListener *kml, KVMSlot *slot, bool new)
{
    uint32_t flags;
    int ret;

    if (!slot->memory_size) {
        slot_remove(kml, slot);
        return 0;
    }
    if (!(slot->flags & KVM_MEM_LOG_DIRTY_PAGES)) {
        slot->gmem->log_refused = false;
        slot->gmem->log_anew = false;
    }
    flags = slot_wanted_flags(kml, slot);
    if (new) {
        ret = slot_create(kml, slot, flags);
    } else if (gmem_log_is_all_that_changes(slot, flags)) {
        slot_switch_log(kml, slot, flags);
        return 0;
    } else if (gmem_slot_is_bound(slot) || (flags & KVM_MEM_GUEST_MEMFD) ||
               slot->old_flags == GMEM_SLOT_ABSENT) {
        /* left to gmem_slots_reconcile() in the coming commit */
        return 0;
    } else {
        ret = slot_change(kml, slot, flags);
    }
    if (ret < 0) {
        slot_failed(kml, slot, flags, ret);
    }
    return 0;
}

static bool add_view(Int128 start, Int128 size, const MemoryRegion *mr,
                     hwaddr offset, void *opaque)
{
    KVMMemoryListener *kml = opaque;
    GuestMemfd *gmem = gmem_from_region(mr);

    if (gmem) {
        GmemView view = {
            .file = gmem,
            .gpa = int128_get64(start),
            .offset = offset,
            .size = int128_get64(size),
        };
        g_array_append_val(kml->gmem_views, view);
    }
    return false;
}

/* With slots=bound, RAM that is at no other address must be bound here. */
static void check_view(const GmemView *view)
{
    const GuestMemfd *gmem = view->file;
    Error *err = NULL;

    if (!view->split || gmem->slots != GUEST_MEMFD_SLOTS_BOUND) {
        return;
    }
    error_setg(&err, "memory backend '%s': 0x%" PRIx64 " bytes at 0x%" PRIx64
               " cannot be bound: part of them is bound at another address",
               gmem->id, view->size, view->gpa);
    error_append_hint(&err, "Use slots=auto.\n");
    slots_failed(err);
}

/* Is the region of @slot among those the coming commit deletes? */
static bool slot_is_going(KVMMemoryListener *kml, const KVMSlot *slot)
{
    KVMMemoryUpdate *update;

    QSIMPLEQ_FOREACH(update, &kml->transaction_del, next) {
        const MemoryRegionSection *section = &update->section;

        if (slot->start_addr >= section->offset_within_address_space &&
            slot->start_addr - section->offset_within_address_space <
            int128_get64(section->size)) {
            return true;
        }
    }
    return false;
}

static bool slot_must_change(KVMMemoryListener *kml, const KVMSlot *slot)
{
    return slot->memory_size && slot->gmem &&
           slot->old_flags != slot_wanted_flags(kml, slot);
}

static void read_memory_map(KVMMemoryListener *kml)
{
    GArray *views = kml->gmem_views;

    g_array_set_size(views, 0);
    WITH_RCU_READ_LOCK_GUARD() {
        flatview_for_each_range(
            address_space_to_flatview(kml->listener.address_space),
            add_view, kml);
    }
    if (kml->as_id == 0) {
        gmem_policy_find_canonical((GmemView *)views->data, views->len);
    }
    for (unsigned i = 0; i < views->len; i++) {
        check_view(&g_array_index(views, GmemView, i));
    }
}

/* Must slots change that stay, or be harvested because they go? */
static bool must_hold_vcpus(KVMMemoryListener *kml)
{
    for (unsigned i = 0; i < kml->nr_slots_allocated; i++) {
        KVMSlot *slot = &kml->slots[i];

        if (!slot->memory_size || !slot->gmem) {
            continue;
        }
        if (slot_is_going(kml, slot) ? slot->flags & KVM_MEM_LOG_DIRTY_PAGES
                                     : slot_must_change(kml, slot)) {
            return true;
        }
    }
    return false;
}

bool gmem_slots_plan(KVMMemoryListener *kml)
{
    bool must_hold;

    if (!kml->gmem_views) {
        if (!gmem_any()) {
            return false;
        }
        kml->gmem_views = g_array_new(false, true, sizeof(GmemView));
    }
    read_memory_map(kml);
    must_hold = must_hold_vcpus(kml);
    trace_gmem_slots_plan(kml->as_id, kml->gmem_views->len, must_hold);
    return must_hold;
}

void gmem_slots_hold_begins(void)
{
    hold.start_ns = get_clock();
}

/* Bring back @slot as it was before a change that failed. */
static void slot_restore(KVMMemoryListener *kml, KVMSlot *slot,
                         uint32_t wanted, uint32_t before, int err)
{
    if (before != GMEM_SLOT_ABSENT && slot_create(kml, slot, before) == 0 &&
        slot->old_flags == before) {
        error_report("memory backend '%s': the memslot at 0x%" PRIx64
                     " stays as it was", slot->gmem->id,
                     (uint64_t)slot->start_addr);
    }
    slot_failed(kml, slot, wanted, err);
}

static GArray *slots_to_change(KVMMemoryListener *kml)
{
    GArray *changing = g_array_new(false, false, sizeof(KVMSlot *));

    for (unsigned i = 0; i < kml->nr_slots_allocated; i++) {
        KVMSlot *slot = &kml->slots[i];

        if (slot_must_change(kml, slot)) {
            g_array_append_val(changing, slot);
        }
    }
    return changing;
}

void gmem_slots_reconcile(KVMMemoryListener *kml)
{
    g_autoptr(GArray) changing = NULL;
    g_autofree int *before = NULL;
    g_autofree uint32_t *wanted = NULL;

    if (!kml->gmem_views) {
        return;
    }
    changing = slots_to_change(kml);
    before = g_new(int, changing->len);
    wanted = g_new(uint32_t, changing->len);
    for (unsigned i = 0; i < changing->len; i++) {
        KVMSlot *slot = g_array_index(changing, KVMSlot *, i);
        int ret;

        before[i] = slot->old_flags;
        wanted[i] = slot_wanted_flags(kml, slot);
        gmem_log_harvest(slot);
        ret = slot_delete(kml, slot);
        if (ret < 0) {
            slot_kept(slot, ret, "");
        }
        hold.changed++;
        slot->gmem->paused = true;
    }
    for (unsigned i = 0; i < changing->len; i++) {
        KVMSlot *slot = g_array_index(changing, KVMSlot *, i);
        int ret;

        if (slot->old_flags != GMEM_SLOT_ABSENT) {
            continue;           /* KVM has kept it */
        }
        if (before[i] == GMEM_SLOT_ABSENT ||
            !(before[i] & KVM_MEM_GUEST_MEMFD)) {
            /* one before it may have been refused */
            wanted[i] = slot_wanted_flags(kml, slot);
        }
        ret = slot_create(kml, slot, wanted[i]);
        if (ret < 0) {
            slot_restore(kml, slot, wanted[i], before[i], ret);
        }
    }
}

void gmem_slots_committed(KVMMemoryListener *kml)
{
    int64_t pause_ns = get_clock() - hold.start_ns;
    RAMBlock *block;

    if (!slots_failure) {
        /* else what is nowhere may only not have come back */
        gmem_places_settled();
    }
    if (!hold.changed) {
        return;
    }
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(block) {
        GuestMemfd *gmem = block->gmem;

        if (gmem && gmem->paused) {
            gmem->paused = false;
            gmem->counters.pauses++;
            gmem->counters.longest_pause = MAX(gmem->counters.longest_pause,
                                               pause_ns);
        }
    }
    trace_gmem_slots_committed(kml->as_id, hold.changed, pause_ns);
    hold.changed = 0;
}

void gmem_slots_lost(GuestMemfd *gmem, const char *what, int ret)
{
    Error *err = NULL;

    error_setg_errno(&err, -ret, "memory backend '%s': %s: this VM can never "
                     "run again", gmem->id, what);
    slots_failed(err);
    slot_stale = true;
}

bool gmem_slots_hold_vcpu(void)
{
    if (!slots_failure) {
        return false;
    }
    stop_vm();
    return true;
}

bool gmem_slots_ready(Error **errp)
{
    /* of a VM that runs, its being stopped is under way */
    if (slots_failure && !slot_stale && !runstate_is_running()) {
        error_free(slots_failure);
        slots_failure = NULL;
        gmem_slots_refresh();
    }
    if (slots_failure) {
        error_propagate(errp, error_copy(slots_failure));
        return false;
    }
    if (cpus_wait) {
        cpus_wait = false;
        cpu_synchronize_all_post_init();
    }
    return true;
}

bool gmem_slots_put_cpus(Error **errp)
{
    cpus_wait = true;
    return gmem_slots_ready(errp);
}

bool gmem_slots_may_start(void)
{
    if (gmem_slots_ready(NULL)) {
        return true;
    }
    /* no state to stay in: "cont" would have no effect, or others abort */
    if (runstate_check(RUN_STATE_INMIGRATE) ||
        runstate_check(RUN_STATE_FINISH_MIGRATE) ||
        runstate_check(RUN_STATE_SAVE_VM) ||
        runstate_check(RUN_STATE_RESTORE_VM)) {
        runstate_set(RUN_STATE_PAUSED);
    }
    return false;
}
