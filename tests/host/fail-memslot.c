/*
 * Lets KVM_SET_USER_MEMORY_REGION2 fail, or hides what an older kernel lacks:
 * for LD_PRELOAD
 *
 * While the file named by GMEM_FAIL exists, creations of memslots over a
 * guest_memfd or its mapping fail as its text says:
 *
 *   KIND FIRST COUNT     KIND: bound, mapped, or any
 *
 * fails COUNT creations of that kind with ENOMEM, after letting FIRST pass.
 * Deletions are never touched.  With GMEM_HIDE in the environment a
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
#include <linux/kvm.h>

int ioctl(int fd, unsigned long request, ...);

/* What the file said when it was last read, and what passed since then. */
static char armed[64];
static unsigned seen;

static bool must_fail(const struct kvm_userspace_memory_region2 *region)
{
    const char *path = getenv("GMEM_FAIL");
    FILE *file = path ? fopen(path, "r") : NULL;
    char text[sizeof(armed)] = "", kind[16];
    unsigned first, count, nth;

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
    if (sscanf(text, "%15s %u %u", kind, &first, &count) != 3) {
        return false;
    }
    if (strcmp(kind, "any") &&
        strcmp(kind, region->flags & KVM_MEM_GUEST_MEMFD ? "bound"
                                                         : "mapped")) {
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

    va_start(ap, request);
    arg = va_arg(ap, void *);
    va_end(ap);

    if (request == KVM_SET_USER_MEMORY_REGION2 &&
        ((struct kvm_userspace_memory_region2 *)arg)->memory_size &&
        must_fail(arg)) {
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
    return real(fd, request, arg);
}
