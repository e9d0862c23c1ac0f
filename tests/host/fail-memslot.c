/*
 * Lets memslots and conversions fail, vCPUs leave KVM late, or hides what an
 * older kernel lacks: for LD_PRELOAD
 *
 * While the file named by GMEM_FAIL exists, creations of memslots over a
 * guest_memfd or its mapping fail as its text says:
 *
 *   KIND FIRST COUNT     KIND: bound, mapped, or any
 *
 * fails COUNT creations of that kind with ENOMEM, after letting FIRST pass.
 * Other kinds:
 *
 *   gone        deletions fail
 *   log         KVM does not say what was written: EIO
 *   late        a KVM_RUN that a signal ends returns FIRST milliseconds later
 *   attributes  pages do not change side: ENOMEM
 *   held        pages do not become private in their file: EAGAIN, the first
 *   untold      KVM does not hear of addresses where pages become shared
 *   punch       holes in files are not made: EIO
 *   register    userfaultfd watches no memory: ENOMEM
 *   copy-ERROR  it places no page
 *   dma-ERROR   memory is not mapped for devices, by its address
 *   undma       it is not unmapped: EBUSY
 *
 * ERROR: ENOMEM, EAGAIN, EEXIST or ENOSPC.
 *
 * What GMEM_HIDE in the environment names, one or more, is not there: "flags" of
 * a guest_memfd; "clear", a dirty log that is cleared by a call of its own;
 * "file", iommufd's mappings of it; "cut", parts of mappings that it unmaps;
 * "log", a log of what is written in bound memslots.
 * All else goes to the real functions.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/falloc.h>
#include <linux/iommufd.h>
#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>

int ioctl(int fd, unsigned long request, ...);
int fallocate(int fd, int mode, off_t start, off_t size);
int fallocate64(int fd, int mode, off_t start, off_t size);

/* What the file said when it was last read, and what passed since then. */
static char armed[64], kind[16];
static unsigned first, count, seen;

static bool read_orders(void)
{
    const char *path = getenv("GMEM_FAIL");
    FILE *file = path ? fopen(path, "r") : NULL;
    char text[sizeof(armed)] = "";

    if (!file) {
        armed[0] = 0;
        return false;
    }
    if (!fgets(text, sizeof(text), file)) {
        text[0] = 0;
    }
    fclose(file);
    if (strcmp(text, armed)) {
        strcpy(armed, text);
        seen = 0;
    }
    return sscanf(text, "%15s %u %u", kind, &first, &count) == 3;
}

static const char *kind_of(const struct kvm_userspace_memory_region2 *region)
{
    return !region->memory_size ? "gone"
           : region->flags & KVM_MEM_GUEST_MEMFD ? "bound" : "mapped";
}

/* Whether it is the turn of a call of this kind */
static bool its_turn(const char *called)
{
    unsigned nth;

    if (!read_orders() || strcmp(kind, called)) {
        return false;
    }
    nth = seen++;
    return nth >= first && nth - first < count;
}

/* KVM_SET_MEMORY_ATTRIBUTES and its namesake of files differ in their size. */
static bool sets_attributes(unsigned long request)
{
    return _IOC_TYPE(request) == KVMIO && _IOC_NR(request) == 0xd2;
}

/* What the caller gets to hear; 1: what the kernel says */
static int change_attributes(unsigned long request,
                             struct kvm_memory_attributes *attributes)
{
    uint64_t *error_offset = (uint64_t *)(attributes + 1);
    bool of_file = _IOC_SIZE(request) > sizeof(*attributes);

    if (attributes->size && its_turn("attributes")) {
        errno = ENOMEM;
        return -1;
    }
    if (of_file && attributes->attributes && its_turn("held")) {
        *error_offset = attributes->address;
        errno = EAGAIN;
        return -1;
    }
    return !attributes->attributes && its_turn("untold") ? 0 : 1;
}

int fallocate(int fd, int mode, off_t start, off_t size)
{
    static int (*real)(int, int, off_t, off_t);

    if (mode & FALLOC_FL_PUNCH_HOLE && its_turn("punch")) {
        errno = EIO;
        return -1;
    }
    if (!real) {
        real = dlsym(RTLD_NEXT, "fallocate");
    }
    return real(fd, mode, start, size);
}

int fallocate64(int fd, int mode, off_t start, off_t size)
{
    return fallocate(fd, mode, start, size);
}

/* The error that is ordered for this call, or 0 */
static int ordered(const char *called)
{
    static const struct { const char *name; int error; } errors[] = {
        { "ENOMEM", ENOMEM }, { "EAGAIN", EAGAIN },
        { "EEXIST", EEXIST }, { "ENOSPC", ENOSPC },
    };
    unsigned i, nr = sizeof(errors) / sizeof(errors[0]);
    char order[sizeof(kind)];

    for (i = 0; i < nr; i++) {
        snprintf(order, sizeof(order), "%s-%s", called, errors[i].name);
        if (its_turn(order)) {
            return errors[i].error;
        }
    }
    return 0;
}

/* What userfaultfd is to say, or 0 */
static int userfaultfd_error(unsigned long request)
{
    if (request == UFFDIO_REGISTER) {
        return its_turn("register") ? ENOMEM : 0;
    }
    return request == UFFDIO_COPY || request == UFFDIO_ZEROPAGE
           ? ordered("copy") : 0;
}

static bool hides(const char *what)
{
    return strstr(getenv("GMEM_HIDE") ?: "", what);
}

/* What an IOMMU's user is to hear, or 0 */
static int iommu_error(unsigned long request)
{
    switch (request) {
    case IOMMU_IOAS_MAP:
    case VFIO_IOMMU_MAP_DMA:
        return ordered("dma");
    case IOMMU_IOAS_UNMAP:
    case VFIO_IOMMU_UNMAP_DMA:
        return its_turn("undma") ? EBUSY : 0;
    case IOMMU_IOAS_MAP_FILE:
        return hides("file") ? EINVAL : 0;
    case IOMMU_OPTION:
        return hides("cut") ? EOPNOTSUPP : 0;
    default:
        return 0;
    }
}

static bool must_fail(const struct kvm_userspace_memory_region2 *region)
{
    unsigned nth;

    if (!read_orders() ||
        (strcmp(kind, kind_of(region)) &&
         (strcmp(kind, "any") || !region->memory_size))) {
        return false;
    }
    nth = seen++;
    return nth >= first && nth - first < count;
}

static bool is_hidden(unsigned capability)
{
    return (capability == KVM_CAP_GUEST_MEMFD_FLAGS && hides("flags")) ||
           (capability == KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 && hides("clear"));
}

/* As a kernel refuses it that does not log what is bound */
static bool is_hidden_log(const struct kvm_userspace_memory_region2 *region)
{
    const uint32_t both = KVM_MEM_GUEST_MEMFD | KVM_MEM_LOG_DIRTY_PAGES;

    return (region->flags & both) == both &&
           hides("log");
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

    if (request == KVM_SET_USER_MEMORY_REGION2 && must_fail(arg)) {
        errno = ENOMEM;
        return -1;
    }
    if (request == KVM_SET_USER_MEMORY_REGION2 && is_hidden_log(arg)) {
        errno = EINVAL;
        return -1;
    }
    if (request == KVM_GET_DIRTY_LOG && its_turn("log")) {
        errno = EIO;
        return -1;
    }
    ret = userfaultfd_error(request) ?: iommu_error(request);
    if (ret) {
        errno = ret;
        return -1;
    }
    if (sets_attributes(request)) {
        ret = change_attributes(request, arg);
        if (ret != 1) {
            return ret;
        }
    }
    if (request == KVM_CHECK_EXTENSION && is_hidden((uintptr_t)arg)) {
        return 0;
    }
    if (!real) {
        real = dlsym(RTLD_NEXT, "ioctl");
    }
    ret = real(fd, request, arg);
    if (request == KVM_RUN && ret < 0 && errno == EINTR) {
        if (read_orders() && !strcmp(kind, "late")) {
            usleep(first * 1000);
        }
        errno = EINTR;
    }
    return ret;
}
