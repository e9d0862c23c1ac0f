/* SPDX-License-Identifier: GPL-2.0 */
/* userfaultfd in short calls; each returns 0, or -1 with errno. */
#ifndef GMEM_UFFD_H
#define GMEM_UFFD_H

#include <poll.h>

#include "vm.h"

static inline int uffd_open(uint64_t features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		fatal("userfaultfd");
	}
	if (ioctl(fd, UFFDIO_API, &api)) {
		fatal("UFFDIO_API");
	}
	return fd;
}

static inline int uffd_register(int fd, void *p, uint64_t size, uint64_t mode,
				uint64_t *ioctls)
{
	struct uffdio_register reg = {
		.range = { (uintptr_t)p, size }, .mode = mode,
	};
	int ret = ioctl(fd, UFFDIO_REGISTER, &reg);

	if (ioctls) {
		*ioctls = reg.ioctls;
	}
	return ret;
}

static inline int uffd_unregister(int fd, void *p, uint64_t size)
{
	struct uffdio_range range = { (uintptr_t)p, size };

	return ioctl(fd, UFFDIO_UNREGISTER, &range);
}

static inline int uffd_copy(int fd, void *dst, void *src, uint64_t size)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)dst, .src = (uintptr_t)src, .len = size,
	};

	return ioctl(fd, UFFDIO_COPY, &copy);
}

static inline int uffd_zero(int fd, void *dst, uint64_t size)
{
	struct uffdio_zeropage zero = { .range = { (uintptr_t)dst, size } };

	return ioctl(fd, UFFDIO_ZEROPAGE, &zero);
}

static inline int uffd_continue(int fd, void *dst, uint64_t size)
{
	struct uffdio_continue cont = { .range = { (uintptr_t)dst, size } };

	return ioctl(fd, UFFDIO_CONTINUE, &cont);
}

static inline int uffd_poison(int fd, void *dst, uint64_t size)
{
	struct uffdio_poison poison = { .range = { (uintptr_t)dst, size } };

	return ioctl(fd, UFFDIO_POISON, &poison);
}

static inline int uffd_wp(int fd, void *dst, uint64_t size, uint64_t mode)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)dst, size }, .mode = mode,
	};

	return ioctl(fd, UFFDIO_WRITEPROTECT, &wp);
}

/* Wait up to a time no working kernel needs; 1 if there was a message. */
static inline int uffd_read(int fd, struct uffd_msg *msg)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (poll(&pfd, 1, 20000) != 1) {
		return 0;
	}
	return read(fd, msg, sizeof(*msg)) == sizeof(*msg);
}

#endif
