/*
 * Where KVM shows the pages of a guest_memfd to the guest
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "gmem/places.h"
#include "gmem-listeners.h"

void gmem_place_add(GuestMemfd *gmem, const GmemPlace *place)
{
    if (!gmem->places) {
        gmem->places = g_array_new(false, false, sizeof(GmemPlace));
    }
    g_array_append_val(gmem->places, *place);
    gmem_tell_place_new(gmem, place);
}

void gmem_place_del(GuestMemfd *gmem, uint64_t gpa)
{
    for (unsigned i = 0; gmem->places && i < gmem->places->len; i++) {
        GmemPlace place = g_array_index(gmem->places, GmemPlace, i);

        if (place.gpa == gpa) {
            g_array_remove_index_fast(gmem->places, i);
            gmem_tell_place_gone(gmem, &place);
            return;
        }
    }
}

static bool settle(GuestMemfd *gmem, void *opaque)
{
    if (gmem->places && !gmem->places->len) {
        g_array_free(gmem->places, true);
        gmem->places = NULL;
        gmem_tell_unmapped(gmem);
    }
    return true;
}

void gmem_places_settled(void)
{
    gmem_for_each(settle, NULL);
}

typedef struct Search {
    uint64_t gpa;
    GuestMemfd *gmem;
    const GmemPlace *found;
} Search;

static bool search(GuestMemfd *gmem, void *opaque)
{
    Search *s = opaque;

    for (unsigned i = 0; gmem->places && i < gmem->places->len; i++) {
        const GmemPlace *place = &g_array_index(gmem->places, GmemPlace, i);

        if (place->gpa + place->size > s->gpa &&
            (!s->found || place->gpa < s->found->gpa)) {
            s->found = place;
            s->gmem = gmem;
        }
    }
    return true;
}

const GmemPlace *gmem_place_find(uint64_t gpa, GuestMemfd **gmem)
{
    Search s = { .gpa = gpa };

    gmem_for_each(search, &s);
    *gmem = s.gmem;
    return s.found;
}
