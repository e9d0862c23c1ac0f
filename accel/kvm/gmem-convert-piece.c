/*
 * A piece of memory that changes side: a part of one guest_memfd at one place
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/range.h"
#include "system/ramblock.h"
#include "system/runstate.h"
#include "gmem/state.h"
#include "gmem-attributes.h"
#include "gmem-convert-piece.h"
#include "trace/trace-gmem_accel_kvm.h"

bool gmem_pieces_overlap(const GmemPiece *a, const GmemPiece *b)
{
    return ranges_overlap(a->gpa, a->size, b->gpa, b->size) ||
           (a->gmem == b->gmem &&
            ranges_overlap(a->offset, a->size, b->offset, b->size));
}

bool gmem_pieces_find(GArray *pieces, uint64_t start, uint64_t size,
                      bool to_private)
{
    uint64_t end = start + size;

    while (start < end) {
        GmemPiece piece = { .gpa = start };
        const GmemPlace *place = gmem_place_find(start, &piece.gmem);

        if (to_private && (!place || place->gpa > start || !place->bound)) {
            return false;
        }
        if (!place || place->gpa >= end) {
            break;
        }
        piece.gpa = MAX(start, place->gpa);
        piece.offset = place->offset + (piece.gpa - place->gpa);
        start = MIN(end, place->gpa + place->size);
        piece.size = start - piece.gpa;
        g_array_append_val(pieces, piece);
    }
    return true;
}

static uint64_t first_page(const GmemPiece *piece)
{
    return piece->offset / qemu_real_host_page_size();
}

static uint64_t nr_pages(const GmemPiece *piece)
{
    return piece->size / qemu_real_host_page_size();
}

bool gmem_piece_prepare(GmemPiece *piece, bool to_private)
{
    piece->todo = bitmap_new(nr_pages(piece));
    piece->nr_todo = gmem_state_differs(piece->gmem->state, first_page(piece),
                                        nr_pages(piece), to_private,
                                        piece->todo);
    if (!piece->nr_todo) {
        gmem_piece_free(piece);
    } else {
        trace_gmem_piece_begin(piece->gmem->id, piece->gpa, piece->offset,
                               piece->size, piece->nr_todo, to_private);
    }
    return piece->nr_todo;
}

void gmem_piece_free(GmemPiece *piece)
{
    g_free(piece->todo);
    piece->todo = NULL;
}

/* Call @fn for each run of pages to do until one fails. */
static int for_runs(GmemPiece *piece,
                    int (*fn)(GmemPiece *piece, uint64_t start, uint64_t size))
{
    uint64_t page_size = qemu_real_host_page_size();
    uint64_t start, end = 0;
    int ret = 0;

    while (!ret && gmem_next_run(piece->todo, nr_pages(piece), &start, &end)) {
        ret = fn(piece, start * page_size, (end - start) * page_size);
    }
    return ret;
}

static int run_private(GmemPiece *piece, uint64_t start, uint64_t size)
{
    return gmem_attributes_set(piece->gmem, piece->gpa + start,
                               piece->offset + start, size, true,
                               &piece->retries);
}

static int run_shared(GmemPiece *piece, uint64_t start, uint64_t size)
{
    return gmem_attributes_set(piece->gmem, piece->gpa + start,
                               piece->offset + start, size, false,
                               &piece->retries);
}

static int run_discard(GmemPiece *piece, uint64_t start, uint64_t size)
{
    return ram_block_discard_range(piece->gmem->block, piece->offset + start,
                                   size);
}

static int run_punch(GmemPiece *piece, uint64_t start, uint64_t size)
{
    return gmem_attributes_punch(piece->gmem, piece->offset + start, size);
}

int gmem_piece_begin_private(GmemPiece *piece)
{
    GmemState *state = piece->gmem->state;

    if (!gmem_state_begin_private(state, first_page(piece), nr_pages(piece),
                                  piece->todo)) {
        return -EBUSY;
    }
    gmem_state_tell_discarded(state, first_page(piece), nr_pages(piece),
                              piece->todo);
    trace_gmem_piece_told(piece->gmem->id, piece->offset, piece->size, true,
                          0);
    return 0;
}

int gmem_piece_kernel_private(GmemPiece *piece)
{
    return for_runs(piece, run_private);
}

int gmem_piece_discard_shared(GmemPiece *piece)
{
    return piece->gmem->apart ? for_runs(piece, run_discard) : 0;
}

int gmem_piece_kernel_shared(GmemPiece *piece)
{
    return for_runs(piece, run_shared);
}

int gmem_piece_punch_private(GmemPiece *piece)
{
    return piece->gmem->apart ? for_runs(piece, run_punch) : 0;
}

int gmem_piece_populate(GmemPiece *piece)
{
    int ret = gmem_state_tell_populated(piece->gmem->state, first_page(piece),
                                        nr_pages(piece), piece->todo);

    trace_gmem_piece_told(piece->gmem->id, piece->offset, piece->size, false,
                          ret);
    return ret;
}

int gmem_piece_finish_shared(GmemPiece *piece)
{
    gmem_state_set_shared(piece->gmem->state, first_page(piece),
                          nr_pages(piece), piece->todo);
    return 0;
}

/* The guest must not run: pages are not on the side where they should be. */
static void state_is_lost(const GuestMemfd *gmem, const char *what, int ret)
{
    error_report("memory backend '%s': %s: %s; the VM stops", gmem->id, what,
                 strerror(-ret));
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_INTERNAL_ERROR);
}

void gmem_pieces_clear_place(GuestMemfd *gmem, const GmemPlace *place)
{
    int ret;

    if (!gmem_range_private(gmem->block, place->offset, place->size)) {
        return;
    }
    ret = gmem_attributes_clear_vm(place->gpa, place->size);
    if (ret) {
        state_is_lost(gmem, "KVM does not forget which addresses were private",
                      ret);
    }
}

void gmem_pieces_follow_state(GuestMemfd *gmem, const GmemPlace *place)
{
    GmemPiece piece = {
        .gmem = gmem,
        .gpa = place->gpa,
        .offset = place->offset,
        .size = place->size,
    };
    int ret;

    if (gmem_conversions()->by_file ||
        !gmem_range_private(gmem->block, place->offset, place->size) ||
        !gmem_piece_prepare(&piece, false)) {
        return;
    }
    ret = gmem_piece_kernel_private(&piece);
    gmem_piece_free(&piece);
    if (ret) {
        state_is_lost(gmem, "KVM does not learn which addresses are private",
                      ret);
    }
}

/* Of @place, from @base on in what @start is counted in: the part in common */
static void follow_state_again(GuestMemfd *gmem, const GmemPlace *place,
                               uint64_t base, uint64_t start, uint64_t size)
{
    uint64_t end = MIN(start + size, base + place->size);
    GmemPlace part;

    start = MAX(start, base);
    if (start < end) {
        part.gpa = place->gpa + (start - base);
        part.offset = place->offset + (start - base);
        part.size = end - start;
        gmem_attributes_clear_vm(part.gpa, part.size);
        gmem_pieces_follow_state(gmem, &part);
    }
}

/*
 * What is at the address of @opaque, or has its pages, by now.  No more than
 * that: other conversions may be under way beside it.
 */
static bool mend_places(GuestMemfd *gmem, void *opaque)
{
    const GmemPiece *stale = opaque;

    for (unsigned i = 0; gmem->places && i < gmem->places->len; i++) {
        GmemPlace *place = &g_array_index(gmem->places, GmemPlace, i);

        follow_state_again(gmem, place, place->gpa, stale->gpa, stale->size);
        if (gmem == stale->gmem) {
            follow_state_again(gmem, place, place->offset, stale->offset,
                               stale->size);
        }
    }
    return true;
}

static void mend_attributes(GmemPiece *stale)
{
    if (gmem_conversions()->by_file) {
        return;
    }
    gmem_attributes_clear_vm(stale->gpa, stale->size);
    gmem_for_each(mend_places, stale);
}

void gmem_piece_end_shared(GmemPiece *piece, bool stale)
{
    int ret = gmem_piece_kernel_shared(piece);

    trace_gmem_piece_taken_back(piece->gmem->id, piece->offset, piece->size,
                                true, stale);
    if (ret) {
        state_is_lost(piece->gmem, "pages cannot be made shared again", ret);
    }
    gmem_piece_punch_private(piece);
    /* what the map's change has dealt with is taken out of todo */
    gmem_piece_finish_shared(piece);
    if (stale) {
        mend_attributes(piece);
    }
    ret = gmem_piece_populate(piece);
    if (ret) {
        error_report("memory backend '%s': a device cannot use again what "
                     "has not become private: %s", piece->gmem->id,
                     strerror(-ret));
    }
}

void gmem_piece_end_private(GmemPiece *piece, bool populated, bool stale)
{
    int ret;

    trace_gmem_piece_taken_back(piece->gmem->id, piece->offset, piece->size,
                                false, stale);
    if (populated) {
        gmem_state_tell_discarded(piece->gmem->state, first_page(piece),
                                  nr_pages(piece), piece->todo);
    }
    if (stale) {
        mend_attributes(piece);
        return;
    }
    ret = gmem_piece_kernel_private(piece);
    if (ret) {
        state_is_lost(piece->gmem, "pages cannot be made private again", ret);
    }
}

void gmem_piece_count(const GmemPiece *piece, bool to_private, int ret,
                      uint64_t spent_ns, bool call)
{
    GuestMemfdConversions *counters = to_private ? &piece->gmem->to_private
                                                 : &piece->gmem->to_shared;

    counters->retries += piece->retries;
    counters->pages += ret ? 0 : piece->nr_todo;
    if (call) {
        counters->calls++;
        counters->failures += ret != 0;
        counters->longest = MAX(counters->longest, spent_ns);
        counters->total += spent_ns;
    }
}

static void drop_private_pages(GmemPiece *piece)
{
    GuestMemfd *gmem = piece->gmem;
    int ret = 0;

    if (gmem_conversions()->by_file) {
        ret = gmem_piece_kernel_shared(piece);
    } else {
        for (unsigned i = 0; gmem->places && i < gmem->places->len; i++) {
            gmem_pieces_clear_place(gmem, &g_array_index(gmem->places,
                                                         GmemPlace, i));
        }
    }
    ret = ret ?: for_runs(piece, run_punch);
    if (ret) {
        state_is_lost(gmem, "private pages cannot be dropped", ret);
    }
}

void gmem_pieces_reset(GuestMemfd *gmem)
{
    GmemPiece all = { .gmem = gmem, .size = gmem->block->max_length };
    int ret;

    if (!gmem_state_private_bytes(gmem->state) ||
        !gmem_piece_prepare(&all, false)) {
        return;
    }
    trace_gmem_pieces_reset(gmem->id, all.nr_todo);
    drop_private_pages(&all);
    gmem_piece_finish_shared(&all);
    ret = gmem_piece_populate(&all);
    if (ret) {
        error_report("memory backend '%s': a device cannot use pages that are "
                     "shared after a reset: %s", gmem->id, strerror(-ret));
    }
    gmem_piece_free(&all);
}
