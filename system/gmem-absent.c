/*
 * Pages that are not in the file
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "migration/misc.h"
#include "gmem/absent.h"
#include "gmem/gmem.h"

/*
 * What a thread has last asked the kernel, for so many pages at a time: most
 * are there, and need not be asked for one by one.
 */
#define WINDOW 256

static __thread struct {
    uint8_t *start;
    unsigned char present[WINDOW];
} window;

static uint64_t page_size(void)
{
    return qemu_real_host_page_size();
}

/* mincore() tells of the file, if a page of it has ever been used. */
static bool look_at(void *host, uint64_t pages, unsigned char *present)
{
    return !mincore(host, pages * page_size(), present);
}

static bool is_absent_now(void *host)
{
    unsigned char present;

    return look_at((void *)ROUND_DOWN((uintptr_t)host, page_size()), 1,
                   &present) && !(present & 1);
}

static bool can_be_told(const GuestMemfd *gmem)
{
    return gmem && !gmem->state && !gmem->postcopy.incoming;
}

/* Where the window has @host; afresh if it had not */
static unsigned char *look_through_window(uint8_t *host)
{
    uint64_t size = WINDOW * page_size();

    if (host < window.start || host - window.start >= size) {
        window.start = (uint8_t *)ROUND_DOWN((uintptr_t)host, page_size());
        if (!look_at(window.start, WINDOW, window.present)) {
            /* it reaches beyond the block, or the kernel does not tell */
            memset(window.present, 0, WINDOW);
        }
    }
    return &window.present[(host - window.start) / page_size()];
}

/*
 * What was there before may be gone, which costs a page.  What was not may have
 * come, so that is asked once more.
 */
bool gmem_is_absent_at(const RAMBlock *block, ram_addr_t offset)
{
    uint8_t *host = block->host + offset;

    return can_be_told(block->gmem) && !(*look_through_window(host) & 1) &&
           is_absent_now(host);
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

bool gmem_zero(void *host, uint64_t size)
{
    if (!gmem_any() || migration_incoming_postcopy_advised()) {
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

    if (!gmem_any() || size > sizeof(zeros)) {
        return host;
    }
    RCU_READ_LOCK_GUARD();
    if (!can_be_told_at(host)) {
        return host;
    }
    for (done = 0; done < size; done += in_page(host + done, size - done)) {
        if (!is_absent_now(host + done)) {
            return host;
        }
    }
    return zeros;
}
