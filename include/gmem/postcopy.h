/*
 * Postcopy into a guest_memfd
 *
 * Layer 2 (docs/architecture.md).  Called by migration/postcopy-ram.c at the
 * destination, where pages come in while the guest runs.  userfaultfd sees
 * accesses through QEMU's mapping only, so a bound memslot would let the guest
 * read zeros where a page is missing.  Two strategies keep it from that
 * (#GuestMemfdPostcopy): until all pages are there memslots are mapped, or
 * they have a bitmap (gmem/userfault.h).  All memslots change in one section
 * when the guest is about to start, and in another when all pages are there.
 *
 * docs/postcopy.md tells the whole way.
 *
 * Locks: BQL, but for gmem_postcopy_placed(), _faulted() and _send_requests().
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_POSTCOPY_H
#define GMEM_POSTCOPY_H

#include "qapi/qapi-types-gmem.h"
#include "exec/cpu-common.h"
#include "gmem/gmem.h"

struct MigrationIncomingState;

/*
 * gmem_postcopy_may_come: is a guest_memfd coming in by postcopy, or may it be?
 *
 * From when the source says so up to the last page, or to the end of precopy.
 */
bool gmem_postcopy_may_come(void);

/*
 * gmem_postcopy_check: can pages of @gmem come in by postcopy here?
 *
 * @capability: which needs that, for the message
 *
 * Returns: false with @errp naming the backend, the capability and what the
 * kernel lacks.
 */
bool gmem_postcopy_check(const GuestMemfd *gmem, const char *capability,
                         Error **errp);

/*
 * gmem_postcopy_begin: userfaultfd watches all RAM; the guest has not started
 *
 * Returns: false with @errp set if pages could not come in.
 */
bool gmem_postcopy_begin(Error **errp);

/*
 * gmem_postcopy_end: no page will come in any more; userfaultfd still watches
 *
 * If pages are missing, the VM stops before it can see zeros instead, and
 * never runs again.
 */
void gmem_postcopy_end(void);

/* gmem_postcopy_placed: @size bytes at @host, in @block, came in */
void gmem_postcopy_placed(RAMBlock *block, void *host, size_t size);

/* gmem_postcopy_faulted: userfaultfd says that a page of @block is needed */
void gmem_postcopy_faulted(RAMBlock *block);

/* Of upstream: asks the source for a page, 0 if it has; waits for recovery */
typedef int GmemPostcopyRequest(struct MigrationIncomingState *mis,
                                RAMBlock *block, ram_addr_t start,
                                uint64_t host, uint32_t thread_id);
typedef void GmemPostcopyPause(struct MigrationIncomingState *mis);

/*
 * gmem_postcopy_send_requests: ask for what vCPUs wait for
 *
 * Called by the thread that asks the source, whenever it has been woken.
 */
void gmem_postcopy_send_requests(struct MigrationIncomingState *mis,
                                 GmemPostcopyRequest *request,
                                 GmemPostcopyPause *pause);

/*
 * gmem_postcopy_await_urgent: wait for pages that have been asked for
 *
 * Not for ever if pages of a guest_memfd are among what is missing: then the VM
 * stops, and nobody reads zeros instead.  BQL and mis->page_request_mutex held.
 *
 * gmem_postcopy_urgent_over: that thread ends
 */
void gmem_postcopy_await_urgent(struct MigrationIncomingState *mis);
void gmem_postcopy_urgent_over(struct MigrationIncomingState *mis);

/* gmem_postcopy_query: for query-guest-memfd */
GuestMemfdPostcopyInfo *gmem_postcopy_query(const GuestMemfd *gmem);

#endif /* GMEM_POSTCOPY_H */
