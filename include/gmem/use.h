/*
 * How a guest_memfd is used, as the properties of its backend say
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_USE_H
#define GMEM_USE_H

#include "qapi/qapi-types-gmem-common.h"

/* Zeros are the defaults. */
typedef struct GmemUse {
    GuestMemfdSlots slots;
    GuestMemfdPostcopy postcopy;
    GuestMemfdDirtyLog dirty_log;
    int no_direct_map;          /* a switch, not an enumeration */
} GmemUse;

#endif /* GMEM_USE_H */
