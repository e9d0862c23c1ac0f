/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory of ours that turns private and back, through the file that our patch
 * of the guest's kernel has for it (tests/kernel/patches/90-guest).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <unistd.h>
#include "guest.h"

#define PAGE 4096UL
#define MAP_GPA_RANGE "/sys/kernel/debug/x86/map_gpa_range"
/* KVM_MAP_GPA_RANGE_ENCRYPTED; a clear bit is KVM_MAP_GPA_RANGE_DECRYPTED */
#define PRIVATE 0x10

static uint8_t *memory;
static size_t memory_size;
static uint64_t seed;

static pthread_t churner;
static atomic_bool churns;
static unsigned long passes;
static bool churned_well;

static void stay_where_they_are(void)
{
    int fd = open("/proc/sys/vm/compact_unevictable_allowed", O_WRONLY);

    if (fd >= 0 && write(fd, "0", 1) < 0) {
        printf("gmem-guest: locked pages may be moved\n");
    }
    close(fd);
}

static bool have_memory(size_t size)
{
    if (memory_size == size) {
        return true;
    }
    if (memory) {
        errno = EBUSY;
        return false;
    }
    mount("debug", "/sys/kernel/debug", "debugfs", 0, NULL);
    stay_where_they_are();
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1,
                  0);
    if (memory == MAP_FAILED) {
        memory = NULL;
        return false;
    }
    memory_size = size;
    return true;
}

/* All of it, in as few calls as its pages lie in runs */
static bool convert(unsigned attributes)
{
    int fd = open(MAP_GPA_RANGE, O_WRONLY);
    bool good = fd >= 0;
    uint8_t *end = memory + memory_size;

    for (uint8_t *from = memory, *to; good && from < end; from = to) {
        unsigned long gpa = guest_physical(from);

        for (to = from + PAGE;
             to < end && guest_physical(to) == gpa + (to - from); to += PAGE) {
        }
        good = dprintf(fd, "%lu %lu %u", gpa, (to - from) / PAGE,
                       attributes) > 0;
    }
    close(fd);
    return good;
}

static uint64_t word(size_t i)
{
    return (i ^ seed) * 0x9e3779b97f4a7c15ULL;
}

static void fill(void)
{
    uint64_t *words = (uint64_t *)memory;

    seed++;
    for (size_t i = 0; i < memory_size / sizeof(*words); i++) {
        words[i] = word(i);
    }
}

static bool verify(void)
{
    uint64_t *words = (uint64_t *)memory;

    for (size_t i = 0; i < memory_size / sizeof(*words); i++) {
        if (words[i] != word(i)) {
            printf("gmem-guest: CORRUPT: converted memory at 0x%lx\n",
                   guest_physical(&words[i]));
            return false;
        }
    }
    return true;
}

bool convert_memory(unsigned long mib, bool private)
{
    if (!have_memory(mib * MIB) || !convert(private ? PRIVATE : 0)) {
        return false;
    }
    fill();
    return verify();
}

static void *churn(void *opaque)
{
    churned_well = true;
    for (passes = 0; churned_well && atomic_load(&churns); passes++) {
        churned_well = convert_memory(memory_size / MIB, !(passes % 2));
    }
    if (!churned_well) {
        printf("gmem-guest: FAILED: conversion: %s\n", strerror(errno));
    }
    return NULL;
}

bool begin_churn(unsigned long mib)
{
    if (!have_memory(mib * MIB) || atomic_load(&churns)) {
        return false;
    }
    atomic_store(&churns, true);
    return !pthread_create(&churner, NULL, churn, NULL);
}

long end_churn(void)
{
    if (!atomic_exchange(&churns, false)) {
        return -1;
    }
    pthread_join(churner, NULL);
    return churned_well ? passes : -1;
}

int read_into_memory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECT);
    int error = 0;

    if (!memory_size) {
        error = EINVAL;
    } else if (fd < 0 || read(fd, memory, PAGE) < 0) {
        error = errno;
        verify();
    }
    close(fd);
    return error;
}
