/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What PVH's boot protocol tells.
 */
#include "x86.h"

#define START_MAGIC 0x336ec578

typedef struct StartInfo {
    uint32_t magic, version, flags, nr_modules;
    uint64_t modules, command_line, rsdp, memory_map;
    uint32_t nr_memory_map, zero;
} StartInfo;

typedef struct MapEntry {
    uint64_t start, size;
    uint32_t type, zero;
} MapEntry;

void pvh_init(const void *start_info)
{
    const StartInfo *info = start_info;
    const MapEntry *entry;
    unsigned i;

    if (info->magic != START_MAGIC || !info->version) {
        return;
    }
    entry = (const MapEntry *)info->memory_map;
    for (i = 0; i < info->nr_memory_map; i++) {
        add_area(entry[i].start, entry[i].size, entry[i].type);
    }
}
