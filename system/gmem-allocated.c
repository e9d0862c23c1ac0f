/*
 * How much memory a guest_memfd, and what it accompanies, has
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include <asm/unistd.h>
#include <linux/mman.h>
#include "qemu/units.h"
#include "system/ramblock.h"
#include "gmem/gmem.h"

/* Pages are asked for by so many bytes at a time. */
#define STEP (256 * MiB)

static bool count_in_file(int fd, uint64_t start, uint64_t size,
                          uint64_t *bytes)
{
    struct cachestat_range range = { .off = start, .len = size };
    struct cachestat stat;

    if (syscall(__NR_cachestat, fd, &range, &stat, 0)) {
        return false;
    }
    *bytes = stat.nr_cache * qemu_real_host_page_size();
    return true;
}

/* Of a shared mapping, mincore() tells of the file, not of our page table. */
static bool count_in_mapping(const RAMBlock *block, uint64_t start,
                             uint64_t size, uint64_t *bytes)
{
    uint64_t page_size = qemu_real_host_page_size();
    g_autofree unsigned char *present = g_malloc(STEP / page_size);

    *bytes = 0;
    for (uint64_t done = 0; done < size; done += STEP) {
        uint64_t step = MIN(STEP, size - done);

        if (mincore(block->host + start + done, step, present)) {
            return false;
        }
        for (uint64_t i = 0; i < step / page_size; i++) {
            *bytes += (present[i] & 1) * page_size;
        }
    }
    return true;
}

bool gmem_allocated(const GuestMemfd *gmem, uint64_t start, uint64_t size,
                    uint64_t *bytes)
{
    /* a file apart has no mapping */
    return count_in_file(gmem->fd, start, size, bytes) ||
           (!gmem->apart && count_in_mapping(gmem->block, start, size, bytes));
}

bool gmem_allocated_apart(const GuestMemfd *gmem, uint64_t *bytes)
{
    return gmem->apart &&
           count_in_mapping(gmem->block, 0, gmem->block->max_length, bytes);
}
