/*
 * Lets KVM_SET_USER_MEMORY_REGION2 fail, vCPUs leave KVM late, or hides what an
 * older kernel lacks: for LD_PRELOAD
 *
 * While the file named by GMEM_FAIL exists, creations of memslots over a
 * guest_memfd or its mapping fail as its text says:
 *
 *   KIND FIRST COUNT     KIND: bound, mapped, or any
 *
 * fails COUNT creations of that kind with ENOMEM, after letting FIRST pass.
 * KIND "gone" fails deletions, "late" lets a KVM_RUN that a signal ends return
 * FIRST milliseconds later.  With GMEM_HIDE in the environment a
 * guest_memfd can have no flags.  All else goes to the real ioctl().
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
#include <linux/kvm.h>

int ioctl(int fd, unsigned long request, ...);

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
    if (request == KVM_CHECK_EXTENSION &&
        (uintptr_t)arg == KVM_CAP_GUEST_MEMFD_FLAGS && getenv("GMEM_HIDE")) {
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
