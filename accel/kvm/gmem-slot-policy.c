/*
 * Which memslots over a guest_memfd are bound, and which are mapped
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <linux/kvm.h>
#include "gmem/slot-policy.h"

static uint64_t view_overlap(const GmemView *x, const GmemView *y)
{
    uint64_t start = MAX(x->offset, y->offset);
    uint64_t end = MIN(x->offset + x->size, y->offset + y->size);

    return x->file == y->file && start < end ? end - start : 0;
}

void gmem_policy_find_canonical(GmemView *views, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        GmemView *view = &views[i];
        uint64_t elsewhere = 0;

        for (size_t j = 0; j < i; j++) {
            /* these do not overlap each other, so nothing counts twice */
            if (views[j].canonical) {
                elsewhere += view_overlap(view, &views[j]);
            }
        }
        view->canonical = elsewhere == 0;
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
                                           const GmemSlotState *state)
{
    if (state->policy == GUEST_MEMFD_SLOTS_MAPPED) {
        return GUEST_MEMFD_WHY_MAPPED_REQUESTED;
    }
    if (!view || !view->canonical) {
        return GUEST_MEMFD_WHY_MAPPED_ALIAS;
    }
    if (state->flags & KVM_MEM_READONLY) {
        return GUEST_MEMFD_WHY_MAPPED_READ_ONLY;
    }
    if ((state->flags & KVM_MEM_LOG_DIRTY_PAGES) && !state->logs_bound) {
        return GUEST_MEMFD_WHY_MAPPED_DIRTY_LOG;
    }
    if (state->tracked) {
        return GUEST_MEMFD_WHY_MAPPED_WRITE_TRACKING;
    }
    if (state->postcopy) {
        return GUEST_MEMFD_WHY_MAPPED_POSTCOPY;
    }
    if (state->refused) {
        return GUEST_MEMFD_WHY_MAPPED_REFUSED;
    }
    return GMEM_NOT_MAPPED;
}
