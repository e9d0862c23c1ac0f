/*
 * The one place where a page of a guest_memfd changes side
 *
 * Layer 2 (docs/architecture.md).  Makes the state of pages (gmem/state.h) and
 * what the kernel holds of them change together, in an order in which nobody
 * keeps access to what has become private:
 *
 * to private: listeners let go; the kernel converts; with two backings the
 * shared page is discarded.
 * to shared: the kernel converts; with two backings the private page is
 * punched; listeners may use it.
 *
 * Ranges are converted by several threads at once where they do not overlap;
 * overlapping ones wait for each other.  Pages that are on the side wanted
 * are left alone.  What fails is taken back as a whole.
 *
 * Pages of SEV-SNP and TDX guests are upstream's: kvm_convert_memory().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_CONVERT_H
#define GMEM_CONVERT_H

#include "exec/hwaddr.h"

/*
 * gmem_convert: put all pages of a guest-physical range on one side
 *
 * To private, there must be nothing else in the range than bound memory whose
 * pages can be private.  To shared, anything may be there.
 *
 * Called by a vCPU's thread without the BQL.
 *
 * Returns: 0, or with nothing converted
 * -EINVAL  the range is empty, not aligned to pages, wraps around, or has
 *          something else in it
 * -EBUSY   somebody uses a page, or the memory map has changed meanwhile:
 *          the same may succeed later
 * -EIO     the host failed
 */
int gmem_convert(hwaddr start, hwaddr size, bool to_private);

/*
 * gmem_convert_reset: all pages of the VM become shared, and private ones lose
 * their contents
 *
 * BQL held, vCPUs stopped.
 */
void gmem_convert_reset(void);

#endif /* GMEM_CONVERT_H */
