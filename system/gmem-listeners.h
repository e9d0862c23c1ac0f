/*
 * The object's events, for the files that the object consists of
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_LISTENERS_H
#define GMEM_LISTENERS_H

#include "gmem/gmem.h"
#include "gmem/places.h"

void gmem_tell_place_new(GuestMemfd *gmem, const GmemPlace *place);
void gmem_tell_place_gone(GuestMemfd *gmem, const GmemPlace *place);
void gmem_tell_unmapped(GuestMemfd *gmem);

#endif /* GMEM_LISTENERS_H */
