/*
 * A piece of memory that changes side: a part of one guest_memfd at one place
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/range.h"
#include "qemu/units.h"
#include "system/ramblock.h"
#include "gmem/state.h"
#include "gmem-attributes.h"
#include "gmem-convert-piece.h"
#include "trace/trace-gmem_accel_kvm.h"

/* Whoever may give up looks whether it is to after so many bytes. */
#define LARGEST_STEP (256 * MiB)

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
    piece->turning = bitmap_new(nr_pages(piece));
    piece->nr_turning = gmem_state_differs(piece->gmem->state, first_page(piece),
                                        nr_pages(piece), to_private,
                                        piece->turning);
    if (!piece->nr_turning) {
        gmem_piece_free(piece);
    } else {
        trace_gmem_piece_begin(piece->gmem->id, piece->gpa, piece->offset,
                               piece->size, piece->nr_turning, to_private);
    }
    return piece->nr_turning;
}

void gmem_piece_free(GmemPiece *piece)
{
    g_free(piece->turning);
    piece->turning = NULL;
}

/* Call @fn for each run of pages to do, in steps, until one fails. */
static int for_runs(GmemPiece *piece,
                    int (*fn)(GmemPiece *piece, uint64_t start, uint64_t size))
{
    uint64_t page_size = qemu_real_host_page_size();
    uint64_t largest = LARGEST_STEP / page_size;
    uint64_t start, end = 0;

    while (gmem_next_run(piece->turning, nr_pages(piece), &start, &end)) {
        int ret;

        end = MIN(end, start + largest);
        ret = fn(piece, start * page_size, (end - start) * page_size);
        if (ret) {
            return ret;
        }
    }
    return 0;
}

static int set_run(GmemPiece *piece, uint64_t start, uint64_t size,
                   bool private)
{
    uint64_t before = piece->effort->retries;
    int ret;

    if (gmem_effort_ends(piece->effort)) {
        return -EBUSY;
    }
    if (qatomic_read(&piece->stale) && !gmem_conversions()->by_file) {
        return 0;   /* the address is another page's: mend_attributes() */
    }
    ret = gmem_attributes_set(piece->gmem, piece->gpa + start,
                              piece->offset + start, size, private,
                              piece->effort);
    piece->retries += piece->effort->retries - before;
    return ret;
}

static int run_private(GmemPiece *piece, uint64_t start, uint64_t size)
{
    return set_run(piece, start, size, true);
}

static int run_shared(GmemPiece *piece, uint64_t start, uint64_t size)
{
    return set_run(piece, start, size, false);
}

static int run_discard(GmemPiece *piece, uint64_t start, uint64_t size)
{
    if (gmem_effort_ends(piece->effort)) {
        return -EBUSY;
    }
    return ram_block_discard_range(piece->gmem->block, piece->offset + start,
                                   size);
}

static int run_punch(GmemPiece *piece, uint64_t start, uint64_t size)
{
    return gmem_attributes_punch(piece->gmem, piece->offset + start, size);
}

bool gmem_piece_is_held(const GmemPiece *piece)
{
    return gmem_state_is_held(piece->gmem->state, first_page(piece),
                              nr_pages(piece), piece->turning);
}

static void set_shared(GmemPiece *piece)
{
    gmem_state_set_shared(piece->gmem->state, first_page(piece),
                          nr_pages(piece), piece->turning);
}

/* Pages that are shared again, whatever a device makes of it */
static void populate_again(GmemPiece *piece)
{
    GuestMemfd *gmem = piece->gmem;
    int ret = gmem_state_tell_populated_again(gmem->state, first_page(piece),
                                              nr_pages(piece), piece->turning);

    trace_gmem_piece_told(gmem->id, piece->offset, piece->size, false, ret);
    if (ret) {
        error_report("memory backend '%s': a device cannot use pages that are "
                     "shared again: %s", gmem->id, strerror(-ret));
    }
}

int gmem_piece_begin_private(GmemPiece *piece)
{
    GmemState *state = piece->gmem->state;
    int ret;

    if (!gmem_state_begin_private(state, first_page(piece), nr_pages(piece),
                                  piece->turning)) {
        return -EBUSY;
    }
    ret = gmem_state_tell_discarded(state, first_page(piece), nr_pages(piece),
                                    piece->turning);
    trace_gmem_piece_told(piece->gmem->id, piece->offset, piece->size, true,
                          ret);
    if (ret) {
        set_shared(piece);
        populate_again(piece);
    } else {
        gmem_tell_turned_private(piece->gmem);
    }
    return ret;
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

static void lose_what_is_kept(GuestMemfd *gmem, int ret)
{
    gmem_lose(gmem, "a device does not let go of private pages", ret);
}

int gmem_piece_populate(GmemPiece *piece)
{
    int ret = gmem_state_tell_populated(piece->gmem->state, first_page(piece),
                                        nr_pages(piece), piece->turning);

    trace_gmem_piece_told(piece->gmem->id, piece->offset, piece->size, false,
                          ret);
    if (ret && piece->gmem->state->refused) {
        lose_what_is_kept(piece->gmem, piece->gmem->state->refused);
    }
    return ret;
}

int gmem_piece_finish_shared(GmemPiece *piece)
{
    set_shared(piece);
    if (piece->gmem->apart) {
        /* who has come to listen since the others were told */
        populate_again(piece);
    }
    return 0;
}

void gmem_pieces_clear_place(GuestMemfd *gmem, const GmemPlace *place)
{
    uint64_t start, size;
    int ret;

    if (gmem_conversions()->by_file ||
        !gmem_state_find_private(gmem->state, place->offset, place->size,
                                 &start, &size)) {
        return;
    }
    ret = gmem_attributes_clear_vm(place->gpa + (start - place->offset), size);
    if (ret) {
        gmem_lose(gmem, "KVM does not forget which addresses were private",
                  ret);
    }
}

/* In @place, all pages on one side get the attribute of that side. */
static void follow_side(GuestMemfd *gmem, const GmemPlace *place, bool private)
{
    GmemEffort effort = { .must_end = true };
    GmemPiece piece = {
        .gmem = gmem,
        .gpa = place->gpa,
        .offset = place->offset,
        .size = place->size,
        .effort = &effort,
    };
    int ret;

    if (!gmem_piece_prepare(&piece, !private)) {
        return;
    }
    ret = for_runs(&piece, private ? run_private : run_shared);
    gmem_piece_free(&piece);
    if (ret) {
        gmem_lose(gmem, "KVM does not learn which addresses are private", ret);
    }
}

void gmem_pieces_follow_state(GuestMemfd *gmem, const GmemPlace *place)
{
    if (!gmem_conversions()->by_file &&
        gmem_range_private(gmem->block, place->offset, place->size)) {
        follow_side(gmem, place, true);
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
        follow_side(gmem, &part, false);
        follow_side(gmem, &part, true);
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

/* Addresses where no memory is now whose pages can be private */
static void clear_between_places(const GmemPiece *stale)
{
    uint64_t start = stale->gpa, end = stale->gpa + stale->size;

    while (start < end) {
        GuestMemfd *gmem;
        const GmemPlace *place = gmem_place_find(start, &gmem);
        uint64_t next = place ? MIN(end, place->gpa) : end;
        int ret = next > start ? gmem_attributes_clear_vm(start, next - start)
                               : 0;

        if (ret) {
            gmem_lose(stale->gmem, "KVM does not forget which addresses were "
                      "private", ret);
        }
        start = place ? place->gpa + place->size : end;
    }
}

/*
 * The last call for @stale can have come to the kernel after the map's change.
 * Pages that are on the right side stay there throughout: vCPUs run.
 */
static void mend_attributes(GmemPiece *stale)
{
    if (!gmem_conversions()->by_file) {
        clear_between_places(stale);
        gmem_for_each(mend_places, stale);
    }
}

int gmem_piece_kernel_no_private(GmemPiece *piece)
{
    return gmem_piece_kernel_shared(piece) ?: gmem_piece_punch_private(piece);
}

int gmem_piece_kernel_no_shared(GmemPiece *piece)
{
    /* by file, it is stale where all pages have become shared */
    return qatomic_read(&piece->stale) ? 0 : gmem_piece_kernel_private(piece);
}

void gmem_piece_end_shared(GmemPiece *piece, int ret)
{
    trace_gmem_piece_taken_back(piece->gmem->id, piece->offset, piece->size,
                                true, piece->stale);
    if (ret) {
        /* nobody is to touch them: they stay private in our books */
        gmem_lose(piece->gmem, "pages cannot be made shared again", ret);
        return;
    }
    /* what the map's change has dealt with turns no more */
    set_shared(piece);
    if (piece->stale) {
        mend_attributes(piece);
    }
    populate_again(piece);
}

/*
 * All of the file became shared while pages of @stale were being made private
 * again: those that came after it
 */
static void mend_file(GmemPiece *stale)
{
    g_autofree unsigned long *shared = bitmap_new(nr_pages(stale));
    int ret;

    gmem_state_differs(stale->gmem->state, first_page(stale), nr_pages(stale),
                       true, shared);
    bitmap_and(stale->turning, stale->turning, shared, nr_pages(stale));
    ret = gmem_piece_kernel_no_private(stale);
    if (ret) {
        gmem_lose(stale->gmem, "pages cannot be made shared again", ret);
    }
}

void gmem_piece_discard(GmemPiece *piece)
{
    int ret = gmem_state_tell_discarded(piece->gmem->state, first_page(piece),
                                        nr_pages(piece), piece->turning);

    if (ret) {
        lose_what_is_kept(piece->gmem, ret);
    }
}

void gmem_piece_end_private(GmemPiece *piece, int ret)
{
    trace_gmem_piece_taken_back(piece->gmem->id, piece->offset, piece->size,
                                false, piece->stale);
    if (ret) {
        gmem_lose(piece->gmem, "pages cannot be made private again", ret);
    }
    if (piece->stale && gmem_conversions()->by_file) {
        mend_file(piece);
    } else if (piece->stale) {
        mend_attributes(piece);
    }
}

void gmem_piece_count(const GmemPiece *piece, bool to_private, int ret,
                      uint64_t spent_ns, bool call)
{
    GuestMemfdConversions *counters = to_private ? &piece->gmem->to_private
                                                 : &piece->gmem->to_shared;

    counters->retries += piece->retries;
    counters->pages += ret ? 0 : piece->nr_turning;
    if (call) {
        counters->calls++;
        counters->failures += ret != 0;
        counters->longest = MAX(counters->longest, spent_ns);
        counters->total += spent_ns;
    }
}

/*
 * What they hold goes before they turn shared: no device is to see it, and the
 * kernel maps new pages for devices when it turns them shared.
 */
static bool drop_private_pages(GmemPiece *piece)
{
    GuestMemfd *gmem = piece->gmem;
    /* apart, there is nothing but private pages */
    int ret = gmem->apart ? gmem_attributes_punch(gmem, 0, piece->size)
                          : for_runs(piece, run_punch);

    if (!ret && gmem_conversions()->by_file) {
        ret = gmem_attributes_set(gmem, 0, 0, piece->size, false,
                                  piece->effort);
    } else if (!ret) {
        for (unsigned i = 0; gmem->places && i < gmem->places->len; i++) {
            gmem_pieces_clear_place(gmem, &g_array_index(gmem->places,
                                                         GmemPlace, i));
        }
    }
    if (ret) {
        gmem_lose(gmem, "private pages cannot be dropped", ret);
    }
    return !ret;
}

void gmem_pieces_reset(GuestMemfd *gmem)
{
    GmemEffort effort = { .must_end = true };
    GmemPiece all = {
        .gmem = gmem,
        .size = gmem->block->max_length,
        .effort = &effort,
    };

    if (!gmem_state_private_bytes(gmem->state) ||
        !gmem_piece_prepare(&all, false)) {
        return;
    }
    trace_gmem_pieces_reset(gmem->id, all.nr_turning);
    if (drop_private_pages(&all)) {
        set_shared(&all);
        populate_again(&all);
    }
    gmem_piece_free(&all);
}
