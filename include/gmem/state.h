/*
 * Which pages of a guest_memfd are private
 *
 * Layer 1 (docs/architecture.md), a part of the object: GuestMemfd.state, NULL
 * where no page can be private.  For our blocks it is the only truth; whoever
 * must not touch private pages asks it or listens to it.  It only keeps books:
 * who makes the kernel convert is accel/kvm/gmem-convert.c, and nobody else
 * calls the functions that change it.
 *
 * Pages are counted in host pages from the start of the file, `map' is a bit
 * map of the @nr pages from @first on.
 *
 * A page that is about to become private is private here before the first
 * listener is told, and one that becomes shared stays private until the
 * kernel has converted it: whoever finds no private page can still lose a
 * race with a conversion, unless it holds the pages (gmem/access.h).
 *
 * Locks: bits change with BQL and GmemState.lock held, so holding either
 * keeps them as they are.  Listeners are told with the BQL held, populated in
 * the order in which they registered, discarded likewise.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_STATE_H
#define GMEM_STATE_H

#include "qemu/bitmap.h"
#include "system/memory.h"
#include "system/ramblock.h"
#include "gmem/access.h"

/* How memory of this VM can turn private, if it can. */
typedef struct GmemConversions {
    bool enabled;
    bool in_place;      /* private pages stay in the file that is the RAM */
    bool by_file;       /* the kernel keeps attributes with the file, not by
                           guest-physical address with the VM */
} GmemConversions;

/* Never NULL.  Does not change once the accelerator is there. */
const GmemConversions *gmem_conversions(void);

/* By who makes the VM one whose memory can turn private. */
void gmem_conversions_enable(bool in_place, bool by_file);

#define TYPE_GMEM_STATE "gmem-state"
OBJECT_DECLARE_SIMPLE_TYPE(GmemState, GMEM_STATE)

struct GmemState {
    Object parent;

    MemoryRegion *mr;
    uint64_t nr_pages;
    unsigned long *private;     /* bit i: page i is private */
    uint64_t nr_private;
    uint32_t **held;            /* how often each is (gmem-access.c) */
    GHashTable *holds;          /* offset to sizes of what is held from there */
    QemuMutex lock;
    QLIST_HEAD(, RamDiscardListener) listeners;
    int refused;                /* by a listener: gmem_state_refuse() */
};

/*
 * gmem_state_new: the state of the pages of @mr, all shared
 *
 * Becomes the RamDiscardManager of @mr, which is RAM in no address space yet
 * and has none.
 */
GmemState *gmem_state_new(MemoryRegion *mr);

/* NULL is fine.  @mr may be gone already. */
void gmem_state_free(GmemState *state);

/* The next run of bits in @map from *@end on is [*@start, *@end). */
static inline bool gmem_next_run(const unsigned long *map, uint64_t nr,
                                 uint64_t *start, uint64_t *end)
{
    *start = find_next_bit(map, nr, *end);
    *end = find_next_zero_bit(map, nr, *start);
    return *start < nr;
}

/*
 * gmem_state_differs: the pages that are not on the side wanted
 *
 * @map: gets a bit for each such page
 *
 * Returns: how many there are.
 */
uint64_t gmem_state_differs(GmemState *state, uint64_t first, uint64_t nr,
                            bool private, unsigned long *map);

/* gmem_state_is_held: does somebody hold a page in @map? (gmem/access.h) */
bool gmem_state_is_held(GmemState *state, uint64_t first, uint64_t nr,
                        const unsigned long *map);

/*
 * gmem_state_begin_private: the pages in @map become private
 *
 * Returns: false, with nothing changed, if somebody holds one of them.
 */
bool gmem_state_begin_private(GmemState *state, uint64_t first, uint64_t nr,
                              const unsigned long *map);

/*
 * gmem_state_set_shared: the pages in @map become shared
 *
 * Those that are so already are taken out of @map.
 */
void gmem_state_set_shared(GmemState *state, uint64_t first, uint64_t nr,
                           unsigned long *map);

/*
 * gmem_state_tell_discarded: listeners let go of the pages in @map
 *
 * Returns: 0, or what one said who could not; all the others have.
 */
int gmem_state_tell_discarded(GmemState *state, uint64_t first, uint64_t nr,
                              const unsigned long *map);

/* gmem_state_refuse: by a listener that is told, and cannot: -errno */
void gmem_state_refuse(GmemState *state, int ret);

/*
 * gmem_state_tell_populated: listeners may use the pages in @map
 *
 * Returns: 0, or what a listener returned who cannot; then all have let go
 * of all of them, or have refused to (GmemState.refused).
 */
int gmem_state_tell_populated(GmemState *state, uint64_t first, uint64_t nr,
                              const unsigned long *map);

/*
 * gmem_state_tell_populated_again: the same of pages that stay shared, come
 * what may: who cannot use them does not keep the others from it
 */
int gmem_state_tell_populated_again(GmemState *state, uint64_t first,
                                    uint64_t nr, const unsigned long *map);

/*
 * gmem_state_find_private: from the first to the last private page of a range
 *
 * All in bytes.
 *
 * Returns: false if there is none.
 */
bool gmem_state_find_private(const GmemState *state, uint64_t offset,
                             uint64_t size, uint64_t *start, uint64_t *length);

/* In bytes */
uint64_t gmem_state_private_bytes(const GmemState *state);

/* Of system/gmem-access.c, for the other files of this; lock held. */
void gmem_holds_init(GmemState *state);
void gmem_holds_destroy(GmemState *state);
bool gmem_any_held(const GmemState *state, uint64_t first, uint64_t nr,
                   const unsigned long *map);

#endif /* GMEM_STATE_H */
