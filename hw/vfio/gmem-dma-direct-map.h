/*
 * Devices of the host, and memory that the kernel does not map
 *
 * Private to hw/vfio.  Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_DMA_DIRECT_MAP_H
#define GMEM_DMA_DIRECT_MAP_H

#include "hw/vfio/vfio-container.h"
#include "gmem/gmem.h"

/*
 * gmem_dma_check_address: can @gmem be mapped in @container by address?
 *
 * Returns: false with @errp set if not.
 */
bool gmem_dma_check_address(const VFIOContainer *container,
                            const GuestMemfd *gmem, Error **errp);

/*
 * gmem_dma_must_check_address: the same where it is about to be
 *
 * Returns: 0; or -errno, when the container's error says why, or QEMU has.
 */
int gmem_dma_must_check_address(VFIOContainer *container,
                                const GuestMemfd *gmem);

/*
 * gmem_dma_can_be_by_file: of gmem-dma.c: is memory of @container mapped by
 * file, or would it be now if there were some?
 */
bool gmem_dma_can_be_by_file(VFIOContainer *container);

#endif /* GMEM_DMA_DIRECT_MAP_H */
