/*
 * Memory that the kernel cannot pin
 *
 * Layer 0 (docs/architecture.md): knows nobody, and is also in QEMU's tools.
 * What is not in the kernel's direct map cannot be pinned: get_user_pages()
 * fails with EFAULT.  Whoever needs pinned pages of the guest asks here, and is
 * told no by name if there is such memory.  (Such memory is refused while
 * somebody needs pinned pages: backends/hostmem-gmem-direct-map.c.)  Block I/O
 * past the page cache asks of each buffer, and uses one of its own instead.
 *
 * Locks: BQL, but for gmem_iov_can_be_pinned(), which any thread may call.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_PINS_H
#define GMEM_PINS_H

#include "qemu/atomic.h"

/*
 * gmem_unpinnable_add: @size bytes at @host cannot be pinned, from now on
 *
 * @id: of the memory backend, for messages
 */
void gmem_unpinnable_add(const void *host, uint64_t size, const char *id);

/* gmem_unpinnable_del: they go */
void gmem_unpinnable_del(const void *host);

/* gmem_unpinnable_any: is there such memory? */
bool gmem_unpinnable_any(void);

/*
 * gmem_pins_check: can @who have its guest memory pinned?
 *
 * Returns: false with @errp naming @who and memory that cannot be.
 */
bool gmem_pins_check(const char *who, Error **errp);

/* By system/gmem-pins.c. */
extern unsigned gmem_unpinnable_blocks;
bool gmem_iov_meets_unpinnable(const struct iovec *iov, int niov);

/*
 * gmem_iov_can_be_pinned: can the kernel move data between these buffers and a
 * device without a copy?
 */
static inline bool gmem_iov_can_be_pinned(const struct iovec *iov, int niov)
{
    return likely(!qatomic_read(&gmem_unpinnable_blocks)) ||
           !gmem_iov_meets_unpinnable(iov, niov);
}

#endif /* GMEM_PINS_H */
