/*
 * The one place where a page of a guest_memfd changes side
 *
 * What takes long is done without the BQL.  A conversion under way is in
 * the list `running' with the pieces of memory it works on, and keeps
 * their regions alive.  Others that overlap wait until it is gone.  If the
 * memory map changes under it, which needs the BQL but does not wait, a piece
 * finds itself stale; everything is taken back, and the kernel's attributes by
 * address follow the state of pages again.  To private, it is also given up if
 * its vCPU is to stop.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "gmem/convert.h"
#include "gmem/places.h"
#include "gmem/state.h"
#include "gmem-attributes.h"
#include "gmem-convert-piece.h"
#include "trace/trace-gmem_accel_kvm.h"

typedef struct Conversion {
    bool to_private;
    GArray *pieces;             /* of GmemPiece */
    GmemEffort effort;
    int64_t start_ns;
    QLIST_ENTRY(Conversion) next;
} Conversion;

/* BQL */
static QLIST_HEAD(, Conversion) running = QLIST_HEAD_INITIALIZER(running);
static QemuCond one_less;

static GmemPiece *piece_at(const Conversion *c, unsigned i)
{
    return &g_array_index(c->pieces, GmemPiece, i);
}

static bool is_running(const GmemPiece *piece)
{
    Conversion *c;

    QLIST_FOREACH(c, &running, next) {
        for (unsigned i = 0; i < c->pieces->len; i++) {
            if (gmem_pieces_overlap(piece, piece_at(c, i))) {
                return true;
            }
        }
    }
    return false;
}

static bool must_wait(const Conversion *c)
{
    for (unsigned i = 0; i < c->pieces->len; i++) {
        if (is_running(piece_at(c, i))) {
            return true;
        }
    }
    return false;
}

/*
 * Find what the range consists of; false if it cannot become private.  No page
 * of it is in another conversion then.
 */
static bool find_pieces(Conversion *c, hwaddr start, hwaddr size)
{
    for (;;) {
        g_array_set_size(c->pieces, 0);
        if (!gmem_pieces_find(c->pieces, start, size, c->to_private)) {
            return false;
        }
        if (!must_wait(c)) {
            return true;
        }
        qemu_cond_wait_bql(&one_less);
    }
}

/* Leave out what is done. */
static void leave_out_done(Conversion *c)
{
    for (unsigned i = c->pieces->len; i-- > 0;) {
        GmemPiece *piece = piece_at(c, i);

        piece->effort = &c->effort;
        if (!gmem_piece_prepare(piece, c->to_private)) {
            g_array_remove_index(c->pieces, i);
        }
    }
}

static bool is_held(const Conversion *c)
{
    for (unsigned i = 0; c->to_private && i < c->pieces->len; i++) {
        if (gmem_piece_is_held(piece_at(c, i))) {
            return true;
        }
    }
    return false;
}

/*
 * Find what is to be done.  Who has let go of a mapping may hold it until the
 * end of a grace period, as for the rings of a device that was reset.
 *
 * Returns: -EINVAL, -EBUSY, or 0, also if nothing is.
 */
static int find_work(Conversion *c, hwaddr start, hwaddr size)
{
    for (bool waited = false;; waited = true) {
        if (!find_pieces(c, start, size)) {
            return -EINVAL;
        }
        leave_out_done(c);
        if (!is_held(c)) {
            return 0;
        }
        for (unsigned i = 0; i < c->pieces->len; i++) {
            gmem_piece_free(piece_at(c, i));
        }
        if (waited) {
            return -EBUSY;
        }
        drain_call_rcu();
    }
}

typedef int PieceFn(GmemPiece *piece);

/* Call @fn for all pieces until one fails; *@done is how many did not. */
static int for_pieces(Conversion *c, PieceFn *fn, unsigned *done)
{
    for (*done = 0; *done < c->pieces->len; *done += 1) {
        int ret = fn(piece_at(c, *done));

        if (ret) {
            return ret;
        }
    }
    return 0;
}

static bool is_stale(const Conversion *c)
{
    for (unsigned i = 0; i < c->pieces->len; i++) {
        if (piece_at(c, i)->stale) {
            return true;
        }
    }
    return false;
}

/*
 * The work without the BQL, in one or two steps; the second needs the first one
 * complete
 */
static int work(Conversion *c, PieceFn *first, PieceFn *second)
{
    unsigned done;
    int ret;

    bql_unlock();
    if (c->to_private) {
        /* who has translated an address of theirs has made the access then */
        synchronize_rcu();
    }
    ret = for_pieces(c, first, &done);
    if (!ret && second) {
        ret = for_pieces(c, second, &done);
    }
    bql_lock();
    return ret ?: is_stale(c) ? -EBUSY : 0;
}

/*
 * Let the first @nr pieces be as they were.  All of them are tried: what one
 * fails with goes to its @end.
 */
static void take_back(Conversion *c, unsigned nr, PieceFn *kernel,
                      void (*end)(GmemPiece *piece, int ret))
{
    g_autofree int *ret = g_new0(int, nr);

    c->effort.must_end = true;
    c->effort.paused_us = 0;
    bql_unlock();
    for (unsigned i = 0; i < nr; i++) {
        ret[i] = kernel(piece_at(c, i));
    }
    bql_lock();
    for (unsigned i = 0; i < nr; i++) {
        end(piece_at(c, i), ret[i]);
    }
}

static int convert_to_private(Conversion *c)
{
    unsigned begun;
    int ret = for_pieces(c, gmem_piece_begin_private, &begun);

    if (!ret) {
        ret = work(c, gmem_piece_kernel_private, gmem_piece_discard_shared);
    }
    if (ret) {
        take_back(c, begun, gmem_piece_kernel_no_private,
                  gmem_piece_end_shared);
    }
    return ret;
}

static int convert_to_shared(Conversion *c)
{
    unsigned done = 0, finished;
    int ret = work(c, gmem_piece_kernel_shared, NULL);

    if (!ret) {
        ret = for_pieces(c, gmem_piece_populate, &done);
    }
    if (!ret && !gmem_conversions()->in_place) {
        /* last: until here all can be taken back, with what was in the pages */
        ret = work(c, gmem_piece_punch_private, NULL);
    }
    if (!ret) {
        return for_pieces(c, gmem_piece_finish_shared, &finished);
    }
    for (unsigned i = 0; i < done; i++) {
        gmem_piece_discard(piece_at(c, i));
    }
    take_back(c, c->pieces->len, gmem_piece_kernel_no_shared,
              gmem_piece_end_private);
    return ret;
}

static void begin(Conversion *c)
{
    for (unsigned i = 0; i < c->pieces->len; i++) {
        memory_region_ref(piece_at(c, i)->gmem->block->mr);
    }
    QLIST_INSERT_HEAD(&running, c, next);
    c->start_ns = get_clock();
}

static void end(Conversion *c, int ret)
{
    int64_t spent_ns = get_clock() - c->start_ns;

    QLIST_REMOVE(c, next);
    qemu_cond_broadcast(&one_less);
    for (unsigned i = 0; i < c->pieces->len; i++) {
        GmemPiece *piece = piece_at(c, i);
        MemoryRegion *mr = piece->gmem->block->mr;

        /* a block whose parts are several pieces counts one call */
        gmem_piece_count(piece, c->to_private, ret, spent_ns,
                         i == 0 || piece->gmem != piece_at(c, i - 1)->gmem);
        gmem_piece_free(piece);
        memory_region_unref(mr);
    }
}

static int convert_pieces(Conversion *c, hwaddr start, hwaddr size)
{
    int ret = find_work(c, start, size);

    if (ret || !c->pieces->len) {
        return ret;
    }
    begin(c);
    ret = c->to_private ? convert_to_private(c) : convert_to_shared(c);
    end(c, ret);
    return ret == -EAGAIN || ret == -EBUSY ? -EBUSY : ret ? -EIO : 0;
}

int gmem_convert(hwaddr start, hwaddr size, bool to_private)
{
    /* what is shared by now may be in use, and could not become private again */
    Conversion c = {
        .to_private = to_private,
        .effort.despite_stop = !to_private,
    };
    int ret = -EINVAL;

    trace_gmem_convert(start, size, to_private);
    if (size && start + size > start &&
        QEMU_IS_ALIGNED(start | size, qemu_real_host_page_size())) {
        BQL_LOCK_GUARD();
        c.pieces = g_array_new(false, false, sizeof(GmemPiece));
        ret = convert_pieces(&c, start, size);
        g_array_free(c.pieces, true);
    }
    trace_gmem_converted(start, size, to_private, ret);
    return ret;
}

static bool reset(GuestMemfd *gmem, void *opaque)
{
    if (gmem->state) {
        gmem_pieces_reset(gmem);
    }
    return true;
}

void gmem_convert_reset(void)
{
    while (!QLIST_EMPTY(&running)) {
        qemu_cond_wait_bql(&one_less);
    }
    gmem_for_each(reset, NULL);
}

/* Whoever works on a part of @lost, or on any of @gmem, is to give up. */
static void make_stale(const GmemPiece *lost, const GuestMemfd *gmem)
{
    Conversion *c;

    QLIST_FOREACH(c, &running, next) {
        for (unsigned i = 0; i < c->pieces->len; i++) {
            GmemPiece *piece = piece_at(c, i);

            if (lost ? gmem_pieces_overlap(lost, piece) : piece->gmem == gmem) {
                qatomic_set(&piece->stale, true);
                qatomic_set(&c->effort.give_up, true);
            }
        }
    }
}

/* Attributes by address are what has to do with a place. */
static void place_gone(GuestMemfd *gmem, const GmemPlace *place)
{
    GmemPiece whole = {
        .gmem = gmem,
        .gpa = place->gpa,
        .offset = place->offset,
        .size = place->size,
    };

    if (!gmem_conversions()->by_file) {
        make_stale(&whole, NULL);
        gmem_pieces_clear_place(gmem, place);
    }
}

static void unmapped(GuestMemfd *gmem)
{
    make_stale(NULL, gmem);
    gmem_pieces_reset(gmem);
}

static GmemListener convert_listener = {
    .place_new = gmem_pieces_follow_state,
    .place_gone = place_gone,
    .unmapped = unmapped,
};

static void register_listener(void)
{
    qemu_cond_init(&one_less);
    gmem_listener_register(&convert_listener);
}

type_init(register_listener);
