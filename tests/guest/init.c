/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's only program: fills most of its memory with a pattern, reads it
 * back, says so in one line, and does what the kernel's command line wants.
 * Before that it loads what is in /modules, in the order of names, if a kernel
 * that has its drivers as modules came with some.
 *
 *   gmem.fill=PERCENT   how much of MemAvailable (default 90)
 *   gmem.then=WHAT      poweroff (default), reboot, idle, loop: read it all
 *                       back again and again, with a line for each pass,
 *                       rewrite: the same, with a new pattern each time, or
 *                       serve: do what the host says (serve.c)
 *
 * Every word holds its own address mixed with a per-boot seed, so a page that
 * is lost, stale or in two places does not go unseen.  A processor reads what
 * its neighbour has written.  The guest-physical address of one of the words
 * is told, for a host that wants to hurt it; a machine check that the kernel
 * passes on to us is told, too, and followed by a reset.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "guest.h"

#define MAX_CPUS 64

typedef struct Chunk {
    uint64_t *words;
    size_t nr_words;
    int cpu;
    bool writes;
    bool intact;
} Chunk;

static uint64_t seed;
static int nr_cpus;
static Chunk chunks[MAX_CPUS];
static void *allocated;
static size_t allocated_size;

static uint64_t pattern(const uint64_t *word)
{
    return ((uintptr_t)word ^ seed) * 0x9e3779b97f4a7c15ULL;
}

static void *fill_or_verify(void *opaque)
{
    Chunk *chunk = opaque;
    uint64_t *end = chunk->words + chunk->nr_words;
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(chunk->cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
    for (uint64_t *word = chunk->words; word < end; word++) {
        if (chunk->writes) {
            *word = pattern(word);
        } else if (*word != pattern(word)) {
            printf("gmem-guest: CORRUPT: %p holds %016lx, not %016lx\n",
                   (void *)word, *word, pattern(word));
            chunk->intact = false;
            break;
        }
    }
    return NULL;
}

/* One thread a processor; true if nothing was found wrong. */
static bool on_all_cpus(bool writes)
{
    pthread_t threads[MAX_CPUS];
    bool intact = true;

    for (int i = 0; i < nr_cpus; i++) {
        chunks[i].cpu = writes ? i : (i + 1) % nr_cpus;
        chunks[i].writes = writes;
        chunks[i].intact = true;
        if (pthread_create(&threads[i], NULL, fill_or_verify, &chunks[i])) {
            printf("gmem-guest: FAILED: no thread\n");
            return false;
        }
    }
    for (int i = 0; i < nr_cpus; i++) {
        pthread_join(threads[i], NULL);
        intact &= chunks[i].intact;
    }
    return intact;
}

const char *value_in(const char *path, const char *key)
{
    static char text[8192];
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, text, sizeof(text) - 1);
    char *at;

    close(fd);
    text[len > 0 ? len : 0] = '\0';
    at = strstr(text, key);
    if (!at) {
        return "";
    }
    at += strlen(key);
    at += strspn(at, " ");
    at[strcspn(at, " \n")] = '\0';
    return at;
}

static bool allocate(size_t size)
{
    size_t share = size / nr_cpus & ~(2 * MIB - 1);
    char *all;

    allocated_size = share * nr_cpus + 2 * MIB;
    all = mmap(NULL, allocated_size, PROT_READ | PROT_WRITE,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED || !share) {
        printf("gmem-guest: FAILED: no memory\n");
        return false;
    }
    allocated = all;
    all += -(uintptr_t)all & (2 * MIB - 1);
    madvise(all, share * nr_cpus, MADV_HUGEPAGE);
    for (int i = 0; i < nr_cpus; i++) {
        chunks[i].words = (uint64_t *)(all + i * share);
        chunks[i].nr_words = share / sizeof(uint64_t);
    }
    return true;
}

unsigned long guest_physical(const void *address)
{
    unsigned long page_size = sysconf(_SC_PAGESIZE);
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY);

    pread(fd, &entry, sizeof(entry),
          (uintptr_t)address / page_size * sizeof(entry));
    close(fd);
    return (entry & ((1ULL << 55) - 1)) * page_size +
           (uintptr_t)address % page_size;
}

static void tell_machine_check(int sig, siginfo_t *info, void *context)
{
    printf("gmem-guest: SIGBUS, code %d\n", info->si_code);
    reboot(RB_AUTOBOOT);
}

void release_memory(void)
{
    if (allocated) {
        munmap(allocated, allocated_size);
        allocated = NULL;
    }
}

bool filled_word_is_right(unsigned long offset)
{
    const Chunk *first = &chunks[0];
    size_t words = first->nr_words * nr_cpus;
    const uint64_t *word = first->words + offset / sizeof(*word) % words;

    if (*word == pattern(word)) {
        return true;
    }
    printf("gmem-guest: CORRUPT: %p holds %016lx, not %016lx\n",
           (void *)word, *word, pattern(word));
    return false;
}

bool verify_memory(void)
{
    unsigned long total_kib = strtoul(value_in("/proc/meminfo", "MemTotal:"),
                                      NULL, 0);

    if (!allocated || !on_all_cpus(false)) {
        return false;
    }
    printf("gmem-guest: verified %lu MiB of %lu MiB, %d cpus\n",
           chunks[0].nr_words * sizeof(uint64_t) * nr_cpus / MIB,
           total_kib / 1024, nr_cpus);
    return true;
}

bool fill_memory(unsigned percent)
{
    unsigned long available_kib;

    release_memory();
    available_kib = strtoul(value_in("/proc/meminfo", "MemAvailable:"),
                            NULL, 0);
    return allocate(available_kib / 100 * percent * 1024) &&
           on_all_cpus(true) && verify_memory();
}

static void load_modules(void)
{
    glob_t modules = {};

    glob("/modules/*.ko", 0, NULL, &modules);
    for (size_t i = 0; i < modules.gl_pathc; i++) {
        int fd = open(modules.gl_pathv[i], O_RDONLY);

        if (syscall(SYS_finit_module, fd, "", 0)) {
            printf("gmem-guest: FAILED: %s\n", modules.gl_pathv[i]);
        }
        close(fd);
        unlink(modules.gl_pathv[i]);
    }
    globfree(&modules);
}

static void finish(const char *then)
{
    bool rewrite = !strcmp(then, "rewrite");
    bool loop = rewrite || !strcmp(then, "loop");

    if (!strcmp(then, "serve")) {
        serve();
    }
    if (!strcmp(then, "reboot")) {
        reboot(RB_AUTOBOOT);
    } else if (strcmp(then, "idle") && !loop) {
        reboot(RB_POWER_OFF);
    }
    for (unsigned long pass = 2; loop; pass++) {
        seed += rewrite;
        if ((rewrite && !on_all_cpus(true)) || !on_all_cpus(false)) {
            break;
        }
        printf("gmem-guest: pass %lu\n", pass);
    }
    for (;;) {
        pause();
    }
}

int main(void)
{
    const char *percent;
    struct timespec now;
    struct sigaction action = {
        .sa_sigaction = tell_machine_check,
        .sa_flags = SA_SIGINFO,
    };

    sigaction(SIGBUS, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    mkdir("/proc", 0755);
    mount("proc", "/proc", "proc", 0, NULL);
    load_modules();
    clock_gettime(CLOCK_REALTIME, &now);
    seed = now.tv_sec * 1000000000ULL + now.tv_nsec;
    nr_cpus = sysconf(_SC_NPROCESSORS_ONLN);
    nr_cpus = nr_cpus > MAX_CPUS ? MAX_CPUS : nr_cpus;
    printf("gmem-guest: user space, %lu MiB, %d cpus\n",
           strtoul(value_in("/proc/meminfo", "MemTotal:"), NULL, 0) / 1024,
           nr_cpus);

    percent = value_in("/proc/cmdline", "gmem.fill=");
    if (fill_memory(strtoul(percent, NULL, 0) ?: 90)) {
        printf("gmem-guest: a word is at 0x%lx\n",
               guest_physical(chunks[0].words));
    }
    finish(value_in("/proc/cmdline", "gmem.then="));
    return 0;
}
