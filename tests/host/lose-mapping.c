/*
 * Takes QEMU's mapping of the guest's memory away from QEMU: for LD_PRELOAD
 *
 * When the file named by GMEM_LOSE is there, the next ioctl() does as its text
 * says to what is mapped where bound memslots are, and removes the file.  The
 * first MiBs of each are spared: KVM reads instructions there that it emulates.
 *
 *   drop      page tables lose the pages; an access brings them back
 *   protect   no access
 *   unmap     other memory is there, with no access
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dlfcn.h>
#include <err.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kvm.h>
#include <sys/mman.h>

#define SLOTS 64
#define SPARED (7 << 20)

int ioctl(int fd, unsigned long request, ...);

static struct {
    int vm;
    void *start;
    size_t size;
} bound[SLOTS];

static void note(int vm, const struct kvm_userspace_memory_region2 *region)
{
    if (region->slot >= SLOTS ||        /* SMM's, which are mapped */
        (bound[region->slot].size && bound[region->slot].vm != vm)) {
        return;
    }
    bound[region->slot].vm = vm;
    bound[region->slot].start = (void *)(uintptr_t)region->userspace_addr;
    bound[region->slot].size = region->flags & KVM_MEM_GUEST_MEMFD
                               ? region->memory_size : 0;
}

static int lose(const char *how, void *start, size_t size)
{
    if (!strcmp(how, "drop")) {
        return madvise(start, size, MADV_DONTNEED);
    }
    if (!strcmp(how, "protect")) {
        return mprotect(start, size, PROT_NONE);
    }
    return mmap(start, size, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != start;
}

static void obey(const char *path, const char *how)
{
    int i;

    for (i = 0; i < SLOTS; i++) {
        if (bound[i].size > SPARED &&
            lose(how, bound[i].start + SPARED, bound[i].size - SPARED)) {
            err(1, "%s", how);
        }
    }
    unlink(path);
}

static void look_for_orders(void)
{
    const char *path = getenv("GMEM_LOSE");
    char how[16] = "";
    FILE *file = path ? fopen(path, "r") : NULL;

    if (!file) {
        return;
    }
    if (fscanf(file, "%15s", how) == 1) {
        obey(path, how);
    }
    fclose(file);
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, void *);
    va_list ap;
    void *arg;
    int ret;

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);

    if (!real) {
        real = dlsym(RTLD_NEXT, "ioctl");
    }
    look_for_orders();
    ret = real(fd, request, arg);
    if (request == KVM_SET_USER_MEMORY_REGION2 && !ret) {
        note(fd, arg);
    }
    return ret;
}
