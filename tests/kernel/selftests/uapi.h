/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel patches add to the user interface, and what older installed
 * headers lack.  Structures have names of their own here, so that this file
 * compiles with any headers.
 */
#ifndef GMEM_UAPI_H
#define GMEM_UAPI_H

#include <linux/kvm.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <sys/ioctl.h>

struct gm_create {
	uint64_t size, flags, reserved[6];
};

struct gm_region {
	uint32_t slot, flags;
	uint64_t guest_phys_addr, memory_size, userspace_addr;
	uint64_t guest_memfd_offset;
	uint32_t guest_memfd, pad1;
	uint64_t userfault_bitmap;
	uint64_t pad2[13];
};

struct gm_attributes {
	uint64_t address, size, attributes, flags;
};

struct gm_attributes2 {
	uint64_t offset, size, attributes, flags, error_offset, reserved[11];
};

struct gm_memory_fault {
	uint64_t flags, gpa, size;
};

struct gm_prefault {
	uint64_t gpa, size, flags, padding[5];
};

#define GM_CREATE		_IOWR(0xAE, 0xd4, struct gm_create)
#define GM_SET_REGION		_IOW(0xAE, 0x49, struct gm_region)
#define GM_SET_ATTRIBUTES	_IOW(0xAE, 0xd2, struct gm_attributes)
#define GM_SET_ATTRIBUTES2	_IOWR(0xAE, 0xd2, struct gm_attributes2)
#define GM_PREFAULT		_IOWR(0xAE, 0xd5, struct gm_prefault)

#define GM_FLAG_MMAP		1
#define GM_FLAG_INIT_SHARED	2
#define GM_FLAG_NO_DIRECT_MAP	4

#define GM_MEM_LOG_DIRTY	1
#define GM_MEM_READONLY		2
#define GM_MEM_GUEST_MEMFD	4
#define GM_MEM_USERFAULT	8

#define GM_ATTR_PRIVATE		8

#define GM_EXIT_MEMORY_FAULT	39
#define GM_FAULT_PRIVATE	8
#define GM_FAULT_USERFAULT	16

#define GM_CAP_ATTRIBUTES	233
#define GM_CAP_VM_TYPES		235
#define GM_CAP_PREFAULT		236
#define GM_CAP_GMEM_FLAGS	244
#define GM_SW_PROTECTED_VM	1

#ifndef _UFFDIO_POISON
#define _UFFDIO_POISON		0x08
struct uffdio_poison {
	struct uffdio_range range;
	uint64_t mode;
	int64_t updated;
};
#define UFFDIO_POISON		_IOWR(UFFDIO, _UFFDIO_POISON, \
				      struct uffdio_poison)
#endif

#endif
