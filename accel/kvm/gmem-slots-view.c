/*
 * The memslots of a guest_memfd, for those outside KVM code
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "system/kvm.h"
#include "system/ramblock.h"
#include "gmem/slot-policy.h"
#include "gmem/slots.h"
#include "gmem/slots-view.h"

/* Of a slot that is mapped: what is to be bound and is not, was refused. */
static GuestMemfdWhyMapped why_mapped(KVMMemoryListener *kml,
                                      const KVMSlot *slot)
{
    GuestMemfdWhyMapped why = gmem_slot_why_mapped(kml, slot);

    return why == GMEM_NOT_MAPPED ? GUEST_MEMFD_WHY_MAPPED_REFUSED : why;
}

static GuestMemfdSlotInfo *slot_info(KVMMemoryListener *kml,
                                     const KVMSlot *slot)
{
    GuestMemfdSlotInfo *info = g_new0(GuestMemfdSlotInfo, 1);

    info->as_id = kml->as_id;
    info->gpa = slot->start_addr;
    info->size = slot->memory_size;
    info->offset = gmem_slot_offset(slot);
    info->bound = gmem_slot_is_bound(slot);
    info->logged = slot->old_flags & KVM_MEM_LOG_DIRTY_PAGES;
    info->has_why_mapped = !info->bound;
    if (info->has_why_mapped) {
        info->why_mapped = why_mapped(kml, slot);
    }
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

            if (slot->gmem == gmem && gmem_slot_in_kvm(slot)) {
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

static bool slots_changed(GuestMemfd *gmem, Error **errp)
{
    bool bound = gmem->slots == GUEST_MEMFD_SLOTS_BOUND;
    bool split;

    /* what cannot be bound is mapped while we find out */
    gmem->slots = bound ? GUEST_MEMFD_SLOTS_AUTO : gmem->slots;
    gmem->bind_refused = false;
    gmem->log_refused = false;
    gmem_slots_refresh();
    if (!bound) {
        return true;
    }
    gmem->slots = GUEST_MEMFD_SLOTS_BOUND;
    split = has_split_view(gmem);
    if (gmem->bind_refused || gmem->log_refused || split) {
        error_setg(errp, "memory backend '%s': slots=bound: %s; use "
                   "slots=auto", gmem->id, split
                   ? "part of its memory is bound at another address"
                   : "KVM refuses to bind a memslot");
        return false;
    }
    return true;
}

static GmemListener slots_listener = {
    .slots_changed = slots_changed,
    .slots_stale = gmem_slots_refresh,
    .lost = gmem_slots_lost,
};

static void register_listener(void)
{
    gmem_listener_register(&slots_listener);
}

type_init(register_listener);
