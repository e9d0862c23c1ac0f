/*
 * Without VFIO, devices of the host do not reach a guest_memfd.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "gmem/dma.h"

bool gmem_dma_any_by_file(void)
{
    return false;
}

GuestMemfdContainerList *gmem_dma_query(void)
{
    return NULL;
}
