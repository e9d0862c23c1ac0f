/*
 * A piece of memory that changes side: a part of one guest_memfd at one place
 *
 * The steps of gmem-convert.c for one piece.  Those whose name has `kernel',
 * `discard' or `punch' in it need no BQL, and are better called without it: they
 * take long.  All others need it.  Each is 0 or -errno.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_CONVERT_PIECE_H
#define GMEM_CONVERT_PIECE_H

#include "gmem/gmem.h"
#include "gmem/places.h"
#include "gmem-attributes.h"

typedef struct GmemPiece {
    GuestMemfd *gmem;
    uint64_t gpa;
    uint64_t offset;
    uint64_t size;
    unsigned long *turning;     /* its pages that are on the other side */
    uint64_t nr_turning;
    uint64_t retries;
    GmemEffort *effort;
    bool stale;                 /* what is where it was is something else */
} GmemPiece;

/* Do they share a page, or an address? */
bool gmem_pieces_overlap(const GmemPiece *a, const GmemPiece *b);

/*
 * gmem_pieces_find: what a guest-physical range consists of, appended to
 * @pieces
 *
 * Returns: false if all of it is to become private and cannot.
 */
bool gmem_pieces_find(GArray *pieces, uint64_t start, uint64_t size,
                      bool to_private);

/* gmem_piece_prepare: find what is to be done; false if nothing is */
bool gmem_piece_prepare(GmemPiece *piece, bool to_private);

void gmem_piece_free(GmemPiece *piece);

/* Does somebody hold a page that is to be done? */
bool gmem_piece_is_held(const GmemPiece *piece);

/* To private, in this order; -EBUSY from the first changes nothing. */
int gmem_piece_begin_private(GmemPiece *piece);
int gmem_piece_kernel_private(GmemPiece *piece);
int gmem_piece_discard_shared(GmemPiece *piece);

/* Back to before gmem_piece_begin_private(), in this order */
int gmem_piece_kernel_no_private(GmemPiece *piece);
void gmem_piece_end_shared(GmemPiece *piece, int ret);

/* To shared, in this order */
int gmem_piece_kernel_shared(GmemPiece *piece);
int gmem_piece_populate(GmemPiece *piece);
int gmem_piece_punch_private(GmemPiece *piece);
int gmem_piece_finish_shared(GmemPiece *piece);

/* Back from gmem_piece_populate(), and to before gmem_piece_kernel_shared() */
void gmem_piece_discard(GmemPiece *piece);
int gmem_piece_kernel_no_shared(GmemPiece *piece);
void gmem_piece_end_private(GmemPiece *piece, int ret);

/* gmem_piece_count: count what became of it; @call: it stands for the call */
void gmem_piece_count(const GmemPiece *piece, bool to_private, int ret,
                      uint64_t spent_ns, bool call);

/* All private pages of @gmem become shared, and are dropped. */
void gmem_pieces_reset(GuestMemfd *gmem);

/* Attributes by address follow the state of the pages seen there ... */
void gmem_pieces_follow_state(GuestMemfd *gmem, const GmemPlace *place);

/* ... and there are none where no page is seen. */
void gmem_pieces_clear_place(GuestMemfd *gmem, const GmemPlace *place);

#endif /* GMEM_CONVERT_PIECE_H */
