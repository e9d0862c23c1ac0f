/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * How long the first access to a page takes, after postcopy: threads read words
 * of what was filled, each page once and out of order, and verify them, while
 * others count how often they get to do some work.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "guest.h"

#define PAGE 4096UL
#define MAX_THREADS 64
/* A prime: steps of that many pages reach all, in no order of theirs */
#define STRIDE 7919UL

typedef struct Toucher {
    unsigned index, threads;
    unsigned long pages;
    uint64_t *ns;
    bool intact;
} Toucher;

static volatile bool over;

static uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void pin(unsigned index)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(index % sysconf(_SC_NPROCESSORS_ONLN), &set);
    sched_setaffinity(0, sizeof(set), &set);
}

static void *touch(void *opaque)
{
    Toucher *toucher = opaque;

    pin(toucher->index);
    toucher->intact = true;
    for (unsigned long i = 0; i < toucher->pages; i++) {
        unsigned long page = (i * toucher->threads + toucher->index) * STRIDE;
        uint64_t begin = now_ns();

        toucher->intact &= filled_word_is_right(page * PAGE);
        toucher->ns[i] = now_ns() - begin;
    }
    return NULL;
}

/* Rounds of what another task could do */
static void *work(void *opaque)
{
    unsigned long rounds = 0;

    pin((uintptr_t)opaque);
    while (!over) {
        for (volatile int i = 0; i < 1000; i++) {
        }
        rounds++;
    }
    return (void *)rounds;
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void tell(uint64_t *ns, unsigned long n, uint64_t total_ns,
                 unsigned long rounds)
{
    qsort(ns, n, sizeof(*ns), by_size);
    printf("gmem-guest: touch: %lu pages %lu ns; p50 %lu p99 %lu max %lu; "
           "%lu rounds\n", n, total_ns, ns[n / 2], ns[n * 99 / 100],
           ns[n - 1], rounds);
}

bool touch_memory(unsigned threads, unsigned long pages, unsigned workers)
{
    static Toucher touchers[MAX_THREADS];
    pthread_t ids[MAX_THREADS], work_ids[MAX_THREADS];
    uint64_t *ns = calloc(threads * pages, sizeof(*ns)), begin;
    unsigned long rounds = 0;
    bool intact = true;
    void *done;

    if (!ns || threads > MAX_THREADS || workers > MAX_THREADS || !pages) {
        return false;
    }
    /* these pages are not what is measured */
    for (unsigned long i = 0; i < threads * pages; i++) {
        ns[i] = 1;
    }
    over = false;
    for (unsigned i = 0; i < workers; i++) {
        pthread_create(&work_ids[i], NULL, work, (void *)(uintptr_t)i);
    }
    begin = now_ns();
    for (unsigned i = 0; i < threads; i++) {
        touchers[i] = (Toucher) { i, threads, pages, ns + i * pages };
        pthread_create(&ids[i], NULL, touch, &touchers[i]);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        intact &= touchers[i].intact;
    }
    begin = now_ns() - begin;
    over = true;
    for (unsigned i = 0; i < workers; i++) {
        pthread_join(work_ids[i], &done);
        rounds += (unsigned long)done;
    }
    if (intact) {
        tell(ns, threads * pages, begin, rounds);
    }
    free(ns);
    return intact;
}
