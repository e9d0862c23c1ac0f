/*
 * Pages that are not in the file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "migration/misc.h"
#include "gmem/absent.h"
#include "trace/trace-gmem_system.h"

/* Pages are asked for by so many at a time. */
#define STEP 65536

/* One bit a page of the host, set where it was absent */
struct GmemAbsent {
    struct rcu_head rcu;
    unsigned long bitmap[];
};

static uint64_t page_size(void)
{
    return qemu_real_host_page_size();
}

/* mincore() tells of the file, if a page of it has ever been used. */
static bool look_at(void *host, uint64_t pages, unsigned char *present)
{
    return !mincore(host, pages * page_size(), present);
}

static bool can_be_told(const GuestMemfd *gmem)
{
    return gmem && !gmem->state;
}

/* Readers see a word of before or of after. */
static void note(struct GmemAbsent *absent, uint64_t first, uint64_t pages,
                 const unsigned char *present)
{
    for (uint64_t i = 0; i < pages;) {
        unsigned long *word = &absent->bitmap[BIT_WORD(first + i)];
        unsigned long bits = *word;

        do {
            unsigned long mask = BIT_MASK(first + i);

            bits = present[i] & 1 ? bits & ~mask : bits | mask;
            i++;
        } while (i < pages && (first + i) % BITS_PER_LONG);
        qatomic_set(word, bits);
    }
}

static struct GmemAbsent *absent_of(GuestMemfd *gmem)
{
    uint64_t pages = DIV_ROUND_UP(gmem->block->max_length, page_size());

    if (!gmem->absent) {
        struct GmemAbsent *absent = g_try_malloc0(
            sizeof(*absent) + BITS_TO_LONGS(pages) * sizeof(long));

        qatomic_rcu_set(&gmem->absent, absent);
    }
    return gmem->absent;
}

void gmem_absent_look(RAMBlock *block, ram_addr_t start, uint64_t size)
{
    uint64_t first = start / page_size();
    uint64_t end = DIV_ROUND_UP(MIN(start + size, block->used_length),
                                page_size());
    g_autofree unsigned char *present = NULL;
    struct GmemAbsent *absent;

    if (!can_be_told(block->gmem) || !(absent = absent_of(block->gmem))) {
        return;
    }
    present = g_malloc(STEP);
    while (first < end) {
        uint64_t pages = MIN(STEP, end - first);

        if (!look_at(block->host + first * page_size(), pages, present)) {
            memset(present, 1, pages);
        }
        note(absent, first, pages, present);
        first += pages;
    }
    trace_gmem_absent_look(block->idstr, start, size);
}

void gmem_absent_forget(RAMBlock *block)
{
    struct GmemAbsent *absent = block->gmem ? block->gmem->absent : NULL;

    if (absent) {
        qatomic_rcu_set(&block->gmem->absent, NULL);
        g_free_rcu(absent, rcu);
    }
}

bool gmem_absent_was(const GuestMemfd *gmem, ram_addr_t offset)
{
    const struct GmemAbsent *absent;

    RCU_READ_LOCK_GUARD();
    absent = qatomic_rcu_read(&gmem->absent);
    return absent && test_bit(offset / page_size(), absent->bitmap);
}

/* RCU is held. */
static bool can_be_told_at(void *host)
{
    ram_addr_t offset;
    RAMBlock *block = qemu_ram_block_from_host(host, false, &offset);

    return block && can_be_told(block->gmem);
}

/* How much of @size bytes at @host is in the page that @host is in */
static uint64_t in_page(void *host, uint64_t size)
{
    return MIN(size, page_size() - (uintptr_t)host % page_size());
}

static bool is_absent_now(void *host)
{
    unsigned char present;

    return look_at((void *)ROUND_DOWN((uintptr_t)host, page_size()), 1,
                   &present) && !(present & 1);
}

bool gmem_zero(void *host, uint64_t size)
{
    if (migration_incoming_postcopy_advised()) {
        return false;
    }
    RCU_READ_LOCK_GUARD();
    if (!can_be_told_at(host)) {
        return false;
    }
    while (size) {
        uint64_t part = in_page(host, size);

        if (!is_absent_now(host) && !buffer_is_zero(host, part)) {
            memset(host, 0, part);
        }
        host += part;
        size -= part;
    }
    return true;
}

void *gmem_to_read(void *host, size_t size)
{
    static uint8_t zeros[64 * KiB];
    size_t done;

    RCU_READ_LOCK_GUARD();
    if (size > sizeof(zeros) || !can_be_told_at(host)) {
        return host;
    }
    for (done = 0; done < size; done += in_page(host + done, size - done)) {
        if (!is_absent_now(host + done)) {
            return host;
        }
    }
    return zeros;
}
