/*
 * What of guest_memfds is mapped in a VFIO container
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "gmem-dma-mappings.h"

typedef struct Mapping {
    IntervalTreeNode addresses;
    uint64_t away;              /* from an address to that in our memory */
    bool pinned;
} Mapping;

static void count(GmemMappings *mappings, const Mapping *mapping, int sign)
{
    uint64_t bytes = mapping->addresses.last - mapping->addresses.start + 1;

    mappings->nr += sign;
    mappings->bytes += sign * bytes;
    mappings->pinned_bytes += mapping->pinned ? sign * bytes : 0;
}

static void add(GmemMappings *mappings, hwaddr iova, hwaddr last,
                uint64_t away, bool pinned)
{
    Mapping *mapping = g_new0(Mapping, 1);

    mapping->addresses.start = iova;
    mapping->addresses.last = last;
    mapping->away = away;
    mapping->pinned = pinned;
    interval_tree_insert(&mapping->addresses, &mappings->tree);
    count(mappings, mapping, 1);
}

void gmem_mappings_add(GmemMappings *mappings, hwaddr iova, hwaddr last,
                       void *host, bool pinned)
{
    add(mappings, iova, last, (uintptr_t)host - iova, pinned);
}

/* The first that has some of the range, or NULL */
static Mapping *find(const GmemMappings *mappings, hwaddr iova, hwaddr last)
{
    /* it only reads */
    IntervalTreeRoot *tree = (IntervalTreeRoot *)&mappings->tree;
    IntervalTreeNode *node = interval_tree_iter_first(tree, iova, last);

    return node ? container_of(node, Mapping, addresses) : NULL;
}

void gmem_mappings_remove(GmemMappings *mappings, hwaddr iova, hwaddr last)
{
    Mapping *mapping;

    while ((mapping = find(mappings, iova, last))) {
        hwaddr start = mapping->addresses.start;
        hwaddr end = mapping->addresses.last;

        interval_tree_remove(&mapping->addresses, &mappings->tree);
        count(mappings, mapping, -1);
        if (start < iova) {
            add(mappings, start, iova - 1, mapping->away, mapping->pinned);
        }
        if (end > last) {
            add(mappings, last + 1, end, mapping->away, mapping->pinned);
        }
        g_free(mapping);
    }
}

bool gmem_mappings_next_gap(const GmemMappings *mappings, hwaddr iova,
                            hwaddr last, void *host, hwaddr *gap,
                            hwaddr *gap_last)
{
    uint64_t away = (uintptr_t)host - iova;
    const Mapping *mapping;

    while ((mapping = find(mappings, iova, last)) &&
           mapping->addresses.start <= iova && mapping->away == away) {
        if (mapping->addresses.last >= last) {
            return false;
        }
        iova = mapping->addresses.last + 1;
    }
    *gap = iova;
    *gap_last = mapping && mapping->addresses.start > iova
                ? mapping->addresses.start - 1 : last;
    return true;
}

bool gmem_mappings_cut(const GmemMappings *mappings, hwaddr iova, hwaddr last)
{
    const Mapping *first = find(mappings, iova, iova);
    const Mapping *other = find(mappings, last, last);

    return (first && first->addresses.start < iova) ||
           (other && other->addresses.last > last);
}
