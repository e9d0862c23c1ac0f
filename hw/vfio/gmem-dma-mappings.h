/*
 * What of guest_memfds is mapped in a VFIO container
 *
 * Private to hw/vfio.  It only keeps books; addresses are those of devices
 * (IOVA), ranges go from a first to a last byte.
 *
 * Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_DMA_MAPPINGS_H
#define GMEM_DMA_MAPPINGS_H

#include "exec/hwaddr.h"
#include "qemu/interval-tree.h"

typedef struct GmemMappings {
    IntervalTreeRoot tree;
    uint64_t nr;
    uint64_t bytes;
    uint64_t pinned_bytes;
} GmemMappings;

/*
 * gmem_mappings_add: a new one, of addresses that none has
 *
 * @host: where its first byte is in our memory
 */
void gmem_mappings_add(GmemMappings *mappings, hwaddr iova, hwaddr last,
                       void *host, bool pinned);

/* gmem_mappings_remove: of whatever is mapped there, the rest stays */
void gmem_mappings_remove(GmemMappings *mappings, hwaddr iova, hwaddr last);

/*
 * gmem_mappings_next_gap: the first part of a range that is not mapped to
 * where it is in our memory
 *
 * What is mapped to elsewhere is as a gap: the kernel will say that it is not.
 *
 * Returns: false if there is none.
 */
bool gmem_mappings_next_gap(const GmemMappings *mappings, hwaddr iova,
                            hwaddr last, void *host, hwaddr *gap,
                            hwaddr *gap_last);

/* gmem_mappings_cut: does a mapping lie across one end of the range? */
bool gmem_mappings_cut(const GmemMappings *mappings, hwaddr iova,
                       hwaddr last);

#endif /* GMEM_DMA_MAPPINGS_H */
