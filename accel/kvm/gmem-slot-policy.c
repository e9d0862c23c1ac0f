/*
 * Which memslots over a guest_memfd are bound, and which are mapped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>
#include "gmem/slot-policy.h"

static int view_compare(const void *a, const void *b)
{
    const GmemView *x = a, *y = b;

    if (x->as_id != y->as_id) {
        return x->as_id < y->as_id ? -1 : 1;
    }
    return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static uint64_t view_overlap(const GmemView *x, const GmemView *y)
{
    uint64_t start = MAX(x->offset, y->offset);
    uint64_t end = MIN(x->offset + x->size, y->offset + y->size);

    return x->file == y->file && start < end ? end - start : 0;
}

void gmem_policy_find_homes(GmemView *views, size_t n)
{
    qsort(views, n, sizeof(*views), view_compare);

    for (size_t i = 0; i < n; i++) {
        GmemView *view = &views[i];
        uint64_t elsewhere = 0;

        for (size_t j = 0; j < i && view->as_id == 0; j++) {
            /* homes do not overlap each other, so nothing counts twice */
            if (views[j].home) {
                elsewhere += view_overlap(view, &views[j]);
            }
        }
        view->home = view->as_id == 0 && elsewhere == 0;
        view->split = elsewhere > 0 && elsewhere < view->size;
    }
}

const GmemView *gmem_policy_find_view(const GmemView *views, size_t n,
                                      const void *file, uint64_t gpa,
                                      uint64_t size, uint64_t offset)
{
    for (size_t i = 0; i < n; i++) {
        const GmemView *view = &views[i];

        if (view->file == file && gpa >= view->gpa &&
            gpa - view->gpa < view->size &&
            view->size - (gpa - view->gpa) >= size &&
            view->offset + (gpa - view->gpa) == offset) {
            return view;
        }
    }
    return NULL;
}

GuestMemfdWhyMapped gmem_policy_why_mapped(const GmemView *view,
                                           GuestMemfdSlots slots,
                                           uint32_t slot_flags, bool tracked,
                                           bool refused)
{
    if (slots == GUEST_MEMFD_SLOTS_MAPPED) {
        return GUEST_MEMFD_WHY_MAPPED_REQUESTED;
    }
    if (!view || !view->home) {
        return GUEST_MEMFD_WHY_MAPPED_ALIAS;
    }
    if (slot_flags & KVM_MEM_READONLY) {
        return GUEST_MEMFD_WHY_MAPPED_READ_ONLY;
    }
    if (slot_flags & KVM_MEM_LOG_DIRTY_PAGES) {
        return GUEST_MEMFD_WHY_MAPPED_DIRTY_LOG;
    }
    if (tracked) {
        return GUEST_MEMFD_WHY_MAPPED_WRITE_TRACKING;
    }
    if (refused) {
        return GUEST_MEMFD_WHY_MAPPED_REFUSED;
    }
    return GUEST_MEMFD_WHY_MAPPED_NONE;
}
