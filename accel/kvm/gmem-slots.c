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
#include "gmem/slot-policy.h"
#include "gmem/slots.h"
#include "gmem/slots-view.h"
#include "trace/trace-gmem_accel_kvm.h"

static uint64_t slot_offset(const KVMSlot *slot)
{
    return (uint8_t *)slot->ram - slot->gmem->block->host;
}

static bool slot_in_kvm(const KVMSlot *slot)
{
    return slot->memory_size && slot->old_flags != GMEM_SLOT_ABSENT;
}

static bool slot_is_bound(const KVMSlot *slot)
{
    return slot_in_kvm(slot) && (slot->old_flags & KVM_MEM_GUEST_MEMFD);
}

static GuestMemfdWhyMapped slot_why_mapped(KVMMemoryListener *kml,
                                           const KVMSlot *slot)
{
    GArray *views = kml->gmem_views;
    const GmemView *view = NULL;

    if (views) {
        view = gmem_policy_find_view((GmemView *)views->data, views->len,
                                     slot->gmem, slot->start_addr,
                                     slot->memory_size, slot_offset(slot));
    }
    return gmem_policy_why_mapped(view, slot->gmem->slots, slot->flags,
                                  slot->gmem->block->flags &
                                  RAM_UF_WRITEPROTECT,
                                  slot->gmem->bind_refused);
}

static uint32_t slot_wanted_flags(KVMMemoryListener *kml, const KVMSlot *slot)
{
    return slot->flags |
           (slot_why_mapped(kml, slot) == GUEST_MEMFD_WHY_MAPPED_NONE
            ? KVM_MEM_GUEST_MEMFD : 0);
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
        .guest_memfd_offset = bound ? slot_offset(slot) : 0,
    };
    int ret = kvm_vm_ioctl(kvm_state, KVM_SET_USER_MEMORY_REGION2, &region);

    trace_gmem_slot(gmem->id, kml->as_id, slot->slot,
                    slot->start_addr, size, slot_offset(slot), flags, ret);
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

static void slot_failed(KVMMemoryListener *kml, KVMSlot *slot,
                        uint32_t flags, int err)
{
    bool bound = flags & KVM_MEM_GUEST_MEMFD;

    error_report("memory backend '%s': KVM refuses a %s memslot of 0x%" PRIx64
                 " bytes at 0x%" PRIx64 " (address space %d): %s",
                 slot->gmem->id, bound ? "bound" : "mapped",
                 (uint64_t)slot->memory_size, (uint64_t)slot->start_addr,
                 kml->as_id, strerror(-err));
    if (bound) {
        error_printf("Use slots=auto or slots=mapped.\n");
    }
    if (!phase_check(PHASE_MACHINE_READY)) {
        exit(EXIT_FAILURE);
    }
    stop_vm();
}

/* Create @slot as @flags say; slots=auto falls back from bound to mapped. */
static int slot_create(KVMMemoryListener *kml, KVMSlot *slot, uint32_t flags)
{
    GuestMemfd *gmem = slot->gmem;
    int ret = slot_ioctl(kml, slot, flags, slot->memory_size);

    if (ret < 0 && (flags & KVM_MEM_GUEST_MEMFD) &&
        gmem->slots == GUEST_MEMFD_SLOTS_AUTO) {
        warn_report("memory backend '%s': KVM refuses to bind 0x%" PRIx64
                    " bytes at 0x%" PRIx64 ": %s; its memslots are mapped",
                    gmem->id, (uint64_t)slot->memory_size,
                    (uint64_t)slot->start_addr, strerror(-ret));
        gmem->bind_refused = true;
        flags &= ~KVM_MEM_GUEST_MEMFD;
        ret = slot_ioctl(kml, slot, flags, slot->memory_size);
    }
    if (ret < 0) {
        slot->old_flags = GMEM_SLOT_ABSENT;
        return ret;
    }
    slot->old_flags = flags;
    *(slot_is_bound(slot) ? &gmem->counters.binds : &gmem->counters.maps) += 1;
    return 0;
}

static void slot_delete(KVMMemoryListener *kml, KVMSlot *slot)
{
    GuestMemfdCounters *counters = &slot->gmem->counters;
    uint32_t flags = slot->old_flags;
    int ret;

    if (slot->old_flags == GMEM_SLOT_ABSENT) {
        return;
    }
    slot->old_flags = GMEM_SLOT_ABSENT;
    ret = slot_ioctl(kml, slot, flags, 0);
    if (ret < 0) {
        slot_failed(kml, slot, flags, ret);
        return;
    }
    *(flags & KVM_MEM_GUEST_MEMFD ? &counters->unbinds
                                  : &counters->unmaps) += 1;
}

/* Change the flags of @slot, which is mapped and stays so. */
static int slot_change(KVMMemoryListener *kml, KVMSlot *slot, uint32_t flags)
{
    int ret = slot_ioctl(kml, slot, flags, slot->memory_size);

    if (ret == 0) {
        slot->old_flags = flags;
    }
    return ret;
}

int gmem_slot_set(KVMMemoryListener *kml, KVMSlot *slot, bool new)
{
    uint32_t flags;
    int ret;

    if (!slot->memory_size) {
        slot_delete(kml, slot);
        return 0;
    }
    flags = slot_wanted_flags(kml, slot);
    if (new) {
        ret = slot_create(kml, slot, flags);
    } else if (slot_is_bound(slot) || (flags & KVM_MEM_GUEST_MEMFD)) {
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
            .as_id = kml->as_id,
            .gpa = int128_get64(start),
            .offset = offset,
            .size = int128_get64(size),
        };
        g_array_append_val(kml->gmem_views, view);
    }
    return false;
}

/* slots=bound is a promise: RAM that is nowhere else must be bound here. */
static void check_bound_promise(const GmemView *view)
{
    const GuestMemfd *gmem = view->file;

    if (!view->split || gmem->slots != GUEST_MEMFD_SLOTS_BOUND) {
        return;
    }
    error_report("memory backend '%s': 0x%" PRIx64 " bytes at 0x%" PRIx64
                 " cannot be bound: part of them is bound at another address",
                 gmem->id, view->size, view->gpa);
    error_printf("Use slots=auto.\n");
    if (!phase_check(PHASE_MACHINE_READY)) {
        exit(EXIT_FAILURE);
    }
    stop_vm();
}

static bool slot_must_change(KVMMemoryListener *kml, const KVMSlot *slot)
{
    return slot->memory_size && slot->gmem &&
           slot->old_flags != slot_wanted_flags(kml, slot);
}

bool gmem_slots_plan(KVMMemoryListener *kml)
{
    if (!kml->gmem_views) {
        if (!gmem_any()) {
            return false;
        }
        kml->gmem_views = g_array_new(false, true, sizeof(GmemView));
    }

    g_array_set_size(kml->gmem_views, 0);
    WITH_RCU_READ_LOCK_GUARD() {
        flatview_for_each_range(
            address_space_to_flatview(kml->listener.address_space),
            add_view, kml);
    }
    gmem_policy_find_homes((GmemView *)kml->gmem_views->data,
                           kml->gmem_views->len);
    for (unsigned i = 0; i < kml->gmem_views->len; i++) {
        check_bound_promise(&g_array_index(kml->gmem_views, GmemView, i));
    }

    for (unsigned i = 0; i < kml->nr_slots_allocated; i++) {
        if (slot_must_change(kml, &kml->slots[i])) {
            return true;
        }
    }
    return false;
}

/* Bring back @slot as it was before a change that failed. */
static void slot_restore(KVMMemoryListener *kml, KVMSlot *slot,
                         uint32_t wanted, uint32_t before, int err)
{
    if (before != GMEM_SLOT_ABSENT && slot_create(kml, slot, before) == 0) {
        error_report("memory backend '%s': the memslot at 0x%" PRIx64
                     " stays as it was", slot->gmem->id,
                     (uint64_t)slot->start_addr);
    }
    slot_failed(kml, slot, wanted, err);
}

/* One pause for each block that has a slot among @changing. */
static void count_pause(GArray *changing, int64_t pause_ns)
{
    for (unsigned i = 0; i < changing->len; i++) {
        GuestMemfd *gmem = g_array_index(changing, KVMSlot *, i)->gmem;
        bool counted = false;

        for (unsigned j = 0; j < i && !counted; j++) {
            counted = g_array_index(changing, KVMSlot *, j)->gmem == gmem;
        }
        gmem->counters.pauses += !counted;
        gmem->counters.longest_pause = MAX(gmem->counters.longest_pause,
                                           pause_ns);
    }
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
    int64_t start = get_clock();

    if (!kml->gmem_views) {
        return;
    }
    changing = slots_to_change(kml);
    if (!changing->len) {
        return;
    }

    before = g_new(int, changing->len);
    for (unsigned i = 0; i < changing->len; i++) {
        KVMSlot *slot = g_array_index(changing, KVMSlot *, i);

        before[i] = slot->old_flags;
        slot_delete(kml, slot);
    }
    for (unsigned i = 0; i < changing->len; i++) {
        KVMSlot *slot = g_array_index(changing, KVMSlot *, i);
        uint32_t wanted = slot_wanted_flags(kml, slot);
        int ret = slot_create(kml, slot, wanted);

        if (ret < 0) {
            slot_restore(kml, slot, wanted, before[i], ret);
        }
    }
    count_pause(changing, get_clock() - start);
    trace_gmem_slots_reconcile(kml->as_id, changing->len,
                               get_clock() - start);
}

static GuestMemfdSlotInfo *slot_info(KVMMemoryListener *kml,
                                     const KVMSlot *slot)
{
    GuestMemfdSlotInfo *info = g_new0(GuestMemfdSlotInfo, 1);

    info->as_id = kml->as_id;
    info->gpa = slot->start_addr;
    info->size = slot->memory_size;
    info->offset = slot_offset(slot);
    info->bound = slot_is_bound(slot);
    info->why_mapped = info->bound ? GUEST_MEMFD_WHY_MAPPED_NONE
                                   : slot_why_mapped(kml, slot);
    return info;
}

static int info_compare(gconstpointer a, gconstpointer b)
{
    const GuestMemfdSlotInfo *x = a, *y = b;

    if (x->as_id != y->as_id) {
        return x->as_id < y->as_id ? -1 : 1;
    }
    return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

GuestMemfdSlotInfoList *gmem_slots_query(const GuestMemfd *gmem)
{
    GuestMemfdSlotInfoList *list = NULL, **tail = &list;
    g_autoptr(GSList) sorted = NULL;

    for (int as = 0; as < kvm_state->nr_as; as++) {
        KVMMemoryListener *kml = kvm_state->as[as].ml;

        for (unsigned i = 0; kml && i < kml->nr_slots_allocated; i++) {
            const KVMSlot *slot = &kml->slots[i];

            if (slot->gmem == gmem && slot_in_kvm(slot)) {
                sorted = g_slist_insert_sorted(sorted, slot_info(kml, slot),
                                               info_compare);
            }
        }
    }
    for (GSList *item = sorted; item; item = item->next) {
        QAPI_LIST_APPEND(tail, item->data);
    }
    return list;
}

void gmem_slots_refresh(void)
{
    if (!gmem_any()) {
        return;
    }
    for (int as = 0; as < kvm_state->nr_as; as++) {
        KVMMemoryListener *kml = kvm_state->as[as].ml;

        if (kml) {
            kml->listener.commit(&kml->listener);
        }
    }
}

static bool has_split_view(const GuestMemfd *gmem)
{
    GArray *views = kvm_state->memory_listener.gmem_views;

    for (unsigned i = 0; views && i < views->len; i++) {
        GmemView *view = &g_array_index(views, GmemView, i);

        if (view->file == gmem && view->split) {
            return true;
        }
    }
    return false;
}

bool gmem_slots_set_policy(GuestMemfd *gmem, GuestMemfdSlots slots,
                           Error **errp)
{
    GuestMemfdSlots before = gmem->slots;
    bool bound = slots == GUEST_MEMFD_SLOTS_BOUND;

    /* what cannot be bound is mapped while we find out */
    gmem->slots = bound ? GUEST_MEMFD_SLOTS_AUTO : slots;
    gmem->bind_refused = false;
    gmem_slots_refresh();

    if (bound && (gmem->bind_refused || has_split_view(gmem))) {
        error_setg(errp, "memory backend '%s': slots=bound: %s; use "
                   "slots=auto", gmem->id, gmem->bind_refused
                   ? "KVM refuses to bind a memslot"
                   : "part of its memory is bound at another address");
        gmem->slots = before;
        gmem_slots_refresh();
        return false;
    }
    gmem->slots = slots;
    return true;
}
