/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All memory at its own address.  start.S has mapped 4 GiB with large pages;
 * RAM above and BARs follow, from a small store of page tables.  Changes are
 * only ever made by who holds the lock, and only to what was not there: the
 * guard page of a stack goes before anybody has used it.
 */
#include "x86.h"

#define NR_TABLES 96
#define ENTRIES 512
#define LARGE_PAGE (2UL << 20)
#define GIB (1UL << 30)
#define PRESENT 1UL

static uint64_t tables[NR_TABLES][ENTRIES] __attribute__((aligned(4096)));
static unsigned nr_tables;
static bool locked;

static void lock(void)
{
    while (__atomic_exchange_n(&locked, true, __ATOMIC_ACQUIRE)) {
        __builtin_ia32_pause();
    }
}

static void unlock(void)
{
    __atomic_store_n(&locked, false, __ATOMIC_RELEASE);
}

/* The table that an entry leads to; a new one if it leads nowhere */
static uint64_t *table_of(uint64_t *entry)
{
    if (!(*entry & PRESENT)) {
        if (nr_tables == NR_TABLES) {
            return NULL;
        }
        *entry = (uintptr_t)tables[nr_tables++] | PRESENT_WRITABLE;
    }
    return (uint64_t *)(*entry & ~(PAGE_SIZE - 1));
}

static bool map_large_page(uint64_t address)
{
    uint64_t *table = table_of(&page_map[address >> 39 & (ENTRIES - 1)]);

    table = table ? table_of(&table[address >> 30 & (ENTRIES - 1)]) : NULL;
    if (!table) {
        return false;
    }
    table += address >> 21 & (ENTRIES - 1);
    if (!(*table & PRESENT)) {
        *table = (address & ~(LARGE_PAGE - 1)) | LARGE | PRESENT_WRITABLE;
    }
    return true;
}

bool arch_map(uint64_t start, uint64_t size)
{
    uint64_t at = start & ~(LARGE_PAGE - 1), end = start + size;
    bool mapped = end > start && end <= 1UL << 47;

    lock();
    for (; mapped && at < end; at += LARGE_PAGE) {
        mapped = map_large_page(at);
    }
    unlock();
    return mapped;
}

static uint64_t *small_pages_of(uint64_t *large)
{
    uint64_t address = *large & ~(LARGE_PAGE - 1);
    uint64_t *table;
    unsigned i;

    if (!(*large & LARGE)) {
        return table_of(large);
    }
    if (nr_tables == NR_TABLES) {
        return NULL;
    }
    table = tables[nr_tables++];
    for (i = 0; i < ENTRIES; i++) {
        table[i] = (address + i * PAGE_SIZE) | PRESENT_WRITABLE;
    }
    *large = (uintptr_t)table | PRESENT_WRITABLE;
    return table;
}

/* Below 4 GiB */
void paging_unmap_page(uint64_t address)
{
    uint64_t *table;

    lock();
    table = small_pages_of(&page_directories[address / LARGE_PAGE]);
    if (table) {
        table[address / PAGE_SIZE % ENTRIES] = 0;
    }
    unlock();
    asm volatile("invlpg (%0)" :: "r"(address) : "memory");
}

void paging_init(void)
{
    unsigned i;

    for (i = 0; i < nr_areas; i++) {
        if (areas[i].type == 1 && areas[i].range.start >= 4 * GIB) {
            arch_map(areas[i].range.start, areas[i].range.size);
        }
    }
}
