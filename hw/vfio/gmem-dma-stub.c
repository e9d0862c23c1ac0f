/*
 * Without VFIO, devices of the host do not reach a guest_memfd.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "gmem/dma.h"

GuestMemfdContainerList *gmem_dma_query(void)
{
    return NULL;
}
