/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls that the fuzzer makes: each with arguments that are valid, of files,
 * ranges and slots that lie close together, but for a word or two. What they
 * share is set up by fuzz.c; do_one() is called by several threads at a time.
 */
#ifndef FUZZ_CALLS_H
#define FUZZ_CALLS_H

#include "edu.h"
#include "uffd.h"

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/uio.h>

#define PAGES		16ul
#define SIZE		(PAGES * PAGE)
#define FILES		4
#define SLOTS		4
#define ARENA		((uint8_t *)0x10000000000)	/* nothing is near it */
#define IOVA		0x1000000ul
#define SHARED		(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED)

enum kind { DEFAULT_VM, TWO_BACKINGS, IN_PLACE };

/* Of each thread: its random numbers, vCPU, pipe, and way out of a SIGBUS. */
struct fuzzer {
	uint64_t random;
	struct vcpu *vcpu;
	int pipe[2];
	const char *doing;
	unsigned long calls;
	pthread_t thread;
};

static enum kind kind;
static struct vm vm;
static struct edu edu;
static int have_edu, uffd, poisoned;
static uint32_t ioas[2];
static int file[FILES];
static uint64_t *bitmap;
static struct fuzzer fuzzer[3];
static __thread struct fuzzer *me;
static __thread sigjmp_buf after_fault;
static __thread volatile sig_atomic_t may_fault;

static uint64_t random64(void)
{
	me->random ^= me->random << 13;
	me->random ^= me->random >> 7;
	me->random ^= me->random << 17;
	return me->random;
}

static unsigned int below(unsigned int limit)
{
	return (random64() >> 32) % limit;
}

/* A word near the valid one, or at an edge. */
static uint64_t bend(uint64_t valid)
{
	static const uint64_t edge[] = {
		0, 1, 2, 8, PAGE - 1, PAGE, PAGE + 1, SIZE, SIZE + PAGE, -PAGE,
		~0ull, 1ull << 31, 1ull << 32, ~0u, 1ull << 63, 1ull << 47,
	};

	switch (below(5)) {
	case 0:
		return edge[below(sizeof(edge) / sizeof(edge[0]))];
	case 1:
		return valid ^ 1ull << below(64);
	case 2:
		return valid + PAGE * below(2 * PAGES);
	case 3:
		return valid - PAGE * below(2 * PAGES);
	default:
		return random64();
	}
}

/* Every other time bend a word or two, mostly of the first ones. */
static void spoil(void *arg, size_t size)
{
	uint64_t *word = arg;
	unsigned int words = size / 8, i;

	if (below(2)) {
		return;
	}
	do {
		i = below(below(4) && words > 6 ? 6 : words);
		word[i] = bend(word[i]);
	} while (!below(3));
}

static int any_file(void)
{
	if (!below(30)) {
		return below(2) ? -1 : vm.fd;
	}
	return __atomic_load_n(&file[below(FILES)], __ATOMIC_RELAXED);
}

/* Some pages of the arena, not always of one mapping. */
static uint8_t *any_range(uint64_t *size)
{
	*size = (1 + below(below(2) ? 4 : SIZE / PAGE)) * PAGE;
	return ARENA + below(FILES * PAGES) * PAGE;
}

/*
 * A page for userfaultfd. Every fourth time everything is there that it needs:
 * a new file, mapped and registered, whose first half has pages.
 */
static uint8_t *any_page(int present, uint64_t *size)
{
	uint32_t i = below(FILES), page = below(PAGES / 2);
	uint8_t *p = ARENA + i * SIZE;
	int fd;

	if (below(4)) {
		return any_range(size);
	}
	fd = gmem_create(&vm, SIZE, SHARED);
	fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, SIZE / 2);
	mmap(p, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING |
		      UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP,
		      NULL);
	close(__atomic_exchange_n(&file[i], fd, __ATOMIC_RELAXED));
	*size = PAGE;
	return p + (present ? page : page + PAGES / 2) * PAGE;
}

static int do_create(void)
{
	struct gm_create arg = { .size = SIZE, .flags = below(8) &
		vm_cap(&vm, GM_CAP_GMEM_FLAGS) };
	int fd;

	spoil(&arg, sizeof(arg));
	fd = ioctl(vm.fd, GM_CREATE, &arg);
	if (fd < 0) {
		return -1;
	}
	if (arg.size == SIZE) {
		fd = __atomic_exchange_n(&file[below(FILES)], fd,
					 __ATOMIC_RELAXED);
	}
	return close(fd);
}

static int do_region(void)
{
	static const uint32_t flags[] = {
		0, GM_MEM_LOG_DIRTY, GM_MEM_GUEST_MEMFD, GM_MEM_GUEST_MEMFD,
		GM_MEM_USERFAULT, GM_MEM_USERFAULT | GM_MEM_GUEST_MEMFD,
		GM_MEM_LOG_DIRTY | GM_MEM_GUEST_MEMFD,
		GM_MEM_LOG_DIRTY | GM_MEM_GUEST_MEMFD | GM_MEM_USERFAULT,
	};
	uint32_t slot = 1 + below(SLOTS), at = below(PAGES / 2);
	uint32_t i = below(FILES);
	struct gm_region arg = {
		.slot = slot, .flags = flags[below(8)],
		.guest_phys_addr = MEM_GPA + (slot - 1) * SIZE,
		.memory_size = below(3) ? SIZE / 2 : 0,
		.userspace_addr = (uintptr_t)ARENA + i * SIZE + at * PAGE,
		.guest_memfd = file[i], .guest_memfd_offset = at * PAGE,
		.userfault_bitmap = (uintptr_t)bitmap,
	};
	static struct gm_region last[SLOTS];
	int ret;

	/* A flag of the slot that is there, maybe. */
	if (!below(4)) {
		arg = last[slot - 1];
		arg.flags ^= below(2) ? GM_MEM_LOG_DIRTY : GM_MEM_USERFAULT;
	}
	spoil(&arg, sizeof(arg));
	/* Any other one that is possible would be in the way later. */
	if ((uint16_t)arg.slot < 0x7fff) {
		arg.slot = (arg.slot & ~0xffffu) | slot;
	}
	/* Terabytes are legal, but take long. */
	if (arg.memory_size < 1ull << 44) {
		arg.memory_size %= 1ul << 30;
	}
	ret = ioctl(vm.fd, GM_SET_REGION, &arg);
	if (!ret && arg.memory_size) {
		last[slot - 1] = arg;
	}
	return ret;
}

/* The log of a slot that has one now and then: fetch it, clear a part. */
static int do_dirty_log(void)
{
	static uint64_t bits[(1ul << 30) / PAGE / 64];
	struct kvm_clear_dirty_log arg = {
		.slot = 1 + below(SLOTS), .num_pages = PAGES / 2,
		.dirty_bitmap = bits,
	};
	struct kvm_dirty_log get = { .slot = arg.slot, .dirty_bitmap = bits };

	if (below(2)) {
		return ioctl(vm.fd, KVM_GET_DIRTY_LOG, &get);
	}
	memset(bits, 0xff, sizeof(bits));
	/* Not the pointer, which could be to anything. */
	spoil(&arg, offsetof(struct kvm_clear_dirty_log, dirty_bitmap));
	return ioctl(vm.fd, KVM_CLEAR_DIRTY_LOG, &arg);
}

static int do_attributes(void)
{
	struct gm_attributes arg = {
		.address = MEM_GPA + below(SLOTS * PAGES) * PAGE,
		.size = (1 + below(PAGES)) * PAGE,
		.attributes = below(2) * GM_ATTR_PRIVATE,
	};

	spoil(&arg, sizeof(arg));
	/* The kernel would go through all of it, however large it is. */
	if (arg.address + arg.size >= arg.address) {
		arg.size %= 1ul << 22;
	}
	return ioctl(vm.fd, GM_SET_ATTRIBUTES, &arg);
}

static int do_convert(void)
{
	unsigned int page = below(PAGES);
	struct gm_attributes2 arg = {
		.offset = page * PAGE, .size = (1 + below(PAGES - page)) * PAGE,
		.attributes = below(2) * GM_ATTR_PRIVATE,
	};

	spoil(&arg, sizeof(arg));
	return ioctl(any_file(), GM_SET_ATTRIBUTES2, &arg);
}

static int do_register(void)
{
	struct uffdio_register arg = { .mode = 1 + below(7) };
	uint64_t size;

	arg.range.start = (uintptr_t)any_range(&size);
	arg.range.len = size;
	spoil(&arg, sizeof(arg));
	return ioctl(uffd, UFFDIO_REGISTER, &arg);
}

static int do_unregister(void)
{
	struct uffdio_range arg;
	uint64_t size;

	arg.start = (uintptr_t)any_range(&size);
	arg.len = size;
	spoil(&arg, sizeof(arg));
	return ioctl(uffd, UFFDIO_UNREGISTER, &arg);
}

static int do_copy(void)
{
	static uint8_t page[SIZE];
	struct uffdio_copy arg = { .mode = below(8) ? 0 : below(4) };
	uint64_t size;

	arg.dst = (uintptr_t)any_page(0, &size);
	arg.len = size;
	arg.src = (uintptr_t)page;
	spoil(&arg, sizeof(arg));
	return ioctl(uffd, UFFDIO_COPY, &arg);
}

/* ZEROPAGE, CONTINUE, POISON: a range, a mode, and what was done. */
static int do_range(unsigned long cmd, int present)
{
	struct uffdio_zeropage arg = { .mode = below(8) ? 0 : below(4) };
	uint64_t size;

	arg.range.start = (uintptr_t)any_page(present, &size);
	arg.range.len = size;
	spoil(&arg, sizeof(arg));
	return ioctl(uffd, cmd, &arg);
}

static int do_zero(void)
{
	return do_range(UFFDIO_ZEROPAGE, 0);
}

static int do_continue(void)
{
	return do_range(UFFDIO_CONTINUE, 1);
}

static int do_poison(void)
{
	return do_range(UFFDIO_POISON, 0);
}

static int do_protect(void)
{
	struct uffdio_writeprotect arg = { .mode = below(2) };
	uint64_t size;

	arg.range.start = (uintptr_t)any_page(1, &size);
	arg.range.len = size;
	spoil(&arg, sizeof(arg));
	return ioctl(uffd, UFFDIO_WRITEPROTECT, &arg);
}

static int do_fallocate(void)
{
	static const int mode[] = {
		FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
		0, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_COLLAPSE_RANGE, ~0,
	};
	uint64_t range[2] = { below(PAGES) * PAGE, (1 + below(4)) * PAGE };

	spoil(range, sizeof(range));
	return fallocate(any_file(), mode[below(below(3) ? 2 : 7)], range[0],
			 range[1]);
}

static int do_mmap(void)
{
	static const int flags[] = {
		MAP_SHARED, MAP_SHARED, MAP_SHARED, MAP_PRIVATE,
		MAP_SHARED | MAP_POPULATE, MAP_SHARED | MAP_LOCKED,
	};
	uint64_t offset = below(2) ? 0 : below(PAGES) * PAGE;
	uint32_t i = below(FILES);

	spoil(&offset, sizeof(offset));
	if (mmap(ARENA + i * SIZE, SIZE - (offset < SIZE ? offset : 0),
		 below(8) ? PROT_READ | PROT_WRITE : below(8),
		 MAP_FIXED | flags[below(6)], file[i], offset) == MAP_FAILED) {
		return -1;
	}
	return 0;
}

/*
 * Not MADV_GUARD_INSTALL: in any shared mapping with write protection by
 * userfaultfd it never returns, with and without the patches.
 */
static int do_advise(void)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_DONTNEED, MADV_REMOVE, MADV_WILLNEED,
		20 /* COLD */, 21 /* PAGEOUT */, 22, 23 /* POPULATE */,
		MADV_HUGEPAGE, 25 /* COLLAPSE */, MADV_MERGEABLE, MADV_FREE,
		101 /* SOFT_OFFLINE */, 18, 19, 99,
	};
	uint64_t size;
	uint8_t *p = any_range(&size);

	/* A memory error costs a page for ever. */
	if (!below(500) && __atomic_fetch_add(&poisoned, 1, 0) < 10) {
		return madvise(p, PAGE, 100 /* HWPOISON */);
	}
	return madvise(p, size,
		       advice[below(sizeof(advice) / sizeof(advice[0]))]);
}

static int do_mapping(void)
{
	uint64_t size, mask = 1 + below(3);
	uint8_t *p = any_range(&size);

	switch (below(6)) {
	case 0:
		return munmap(p, size);
	case 1:
		return mprotect(p, size, below(4));
	case 2:
		return mlock(p, size);
	case 3:
		return munlock(p, size);
	case 4:
		return msync(p, size, MS_SYNC);
	default:
		return syscall(SYS_mbind, p, size, below(6), &mask, 64,
			       below(4));
	}
}

/* Hold references to pages by a pipe, or let go of them. */
static int do_hold(void)
{
	static uint8_t out[SIZE];
	uint64_t size;
	struct iovec held = { .iov_base = any_range(&size) };

	held.iov_len = size;
	if (below(2)) {
		return read(me->pipe[0], out, sizeof(out));
	}
	return vmsplice(me->pipe[1], &held, 1, SPLICE_F_NONBLOCK);
}

static int do_touch(void)
{
	volatile uint8_t *p = ARENA + below(FILES * PAGES) * PAGE;
	int write = below(2);

	may_fault = 1;
	if (sigsetjmp(after_fault, 1)) {
		may_fault = 0;
		return -1;
	}
	if (write) {
		*p = 1;
	} else {
		(void)*p;
	}
	may_fault = 0;
	return 0;
}

static int do_guest(void)
{
	uint64_t gpa = MEM_GPA + below(SLOTS * PAGES) * PAGE;
	uint32_t value;
	int ret;

	if (!me->vcpu) {
		return 0;
	}
	ret = below(2) ? vcpu_write(me->vcpu, gpa, 1) :
			 vcpu_read(me->vcpu, gpa, &value);
	vcpu_finish_mmio(me->vcpu);
	return ret;
}

static int do_prefault(void)
{
	struct gm_prefault arg = {
		.gpa = MEM_GPA + below(SLOTS * PAGES) * PAGE,
		.size = (1 + below(4)) * PAGE,
	};

	spoil(&arg, sizeof(arg));
	return me->vcpu ? ioctl(me->vcpu->fd, GM_PREFAULT, &arg) : 0;
}

static int do_userfault(void)
{
	uint64_t mask = random64();

	__atomic_fetch_xor(bitmap, mask, __ATOMIC_RELEASE);
	return 0;
}

static int do_map_file(void)
{
	struct {
		uint32_t size, flags, ioas_id;
		int32_t fd;
		uint64_t start, length, iova;
	} arg = { sizeof(arg), IOAS_FIXED | IOAS_WRITE | IOAS_READ,
		  ioas[below(2)], any_file(), below(PAGES / 2) * PAGE,
		  SIZE / 2, IOVA + below(4) * SIZE / 2 };

	spoil(&arg, sizeof(arg));
	return iommu_ioctl(edu.iommufd, 0x8f, &arg);
}

static int do_unmap(void)
{
	struct {
		uint32_t size, ioas_id;
		uint64_t iova, length;
	} arg = { sizeof(arg), ioas[below(2)], IOVA + below(4) * SIZE / 2,
		  SIZE / 2 };

	spoil(&arg, sizeof(arg));
	return iommu_ioctl(edu.iommufd, 0x86, &arg);
}

static int do_ioas_copy(void)
{
	uint32_t i = below(2);
	struct {
		uint32_t size, flags, dst, src;
		uint64_t length, dst_iova, src_iova;
	} arg = { sizeof(arg), IOAS_FIXED | IOAS_WRITE | IOAS_READ, ioas[i],
		  ioas[!i], (1 + below(PAGES / 2)) * PAGE,
		  IOVA + below(4) * SIZE / 2, IOVA + below(4) * SIZE / 2 };

	spoil(&arg, sizeof(arg));
	return iommu_ioctl(edu.iommufd, 0x83, &arg);
}

static int do_change_process(void)
{
	uint32_t arg[2] = { sizeof(arg) };

	spoil(arg, sizeof(arg));
	return iommu_ioctl(edu.iommufd, 0x92, arg);
}

static int do_attach(void)
{
	return below(3) ? edu_attach(&edu, ioas[below(2)]) : edu_detach(&edu);
}

static int do_dma(void)
{
	/* One DMA engine, and it is slow. */
	if (me == &fuzzer[0] && !below(20)) {
		edu_dma(&edu, IOVA + below(2 * PAGES) * PAGE, 0x40000, 0);
		edu_dma(&edu, 0x40000, IOVA + below(2 * PAGES) * PAGE, 2);
	}
	return 0;
}

#define DEFAULT	(1 << DEFAULT_VM)
#define TWO	(1 << TWO_BACKINGS)
#define PLACE	(1 << IN_PLACE)
#define ALL	(DEFAULT | TWO | PLACE)
#define DEVICE	(ALL + 1)

/* @must: the call both succeeds and fails now and then */
static struct operation {
	const char *name;
	int (*run)(void);
	int weight, must, needs;
	unsigned long good, bad;
} operation[] = {
	{ "KVM_CREATE_GUEST_MEMFD", do_create, 2, 1, ALL, 0, 0 },
	{ "KVM_SET_USER_MEMORY_REGION2", do_region, 4, 1, ALL, 0, 0 },
	{ "the dirty log", do_dirty_log, 2, 1, ALL, 0, 0 },
	{ "KVM_SET_MEMORY_ATTRIBUTES", do_attributes, 2, 1, TWO, 0, 0 },
	{ "KVM_SET_MEMORY_ATTRIBUTES2", do_convert, 4, 1, PLACE, 0, 0 },
	{ "KVM_PRE_FAULT_MEMORY", do_prefault, 1, 1, ALL, 0, 0 },
	{ "UFFDIO_REGISTER", do_register, 2, 1, DEFAULT | PLACE, 0, 0 },
	{ "UFFDIO_UNREGISTER", do_unregister, 1, 0, ALL, 0, 0 },
	{ "UFFDIO_COPY", do_copy, 3, 1, DEFAULT | PLACE, 0, 0 },
	{ "UFFDIO_ZEROPAGE", do_zero, 3, 1, DEFAULT | PLACE, 0, 0 },
	{ "UFFDIO_CONTINUE", do_continue, 3, 1, DEFAULT | PLACE, 0, 0 },
	{ "UFFDIO_POISON", do_poison, 2, 1, DEFAULT | PLACE, 0, 0 },
	{ "UFFDIO_WRITEPROTECT", do_protect, 2, 1, DEFAULT | PLACE, 0, 0 },
	{ "fallocate", do_fallocate, 4, 1, ALL, 0, 0 },
	{ "mmap", do_mmap, 3, 1, ALL, 0, 0 },
	{ "madvise", do_advise, 4, 1, ALL, 0, 0 },
	{ "other calls on the mapping", do_mapping, 2, 1, ALL, 0, 0 },
	{ "vmsplice", do_hold, 2, 0, ALL, 0, 0 },
	{ "an access by the host", do_touch, 8, 0, ALL, 0, 0 },
	{ "an access by the guest", do_guest, 8, 1, ALL, 0, 0 },
	{ "the bitmap", do_userfault, 2, 0, ALL, 0, 0 },
	{ "IOMMU_IOAS_MAP_FILE", do_map_file, 3, 1, DEVICE | DEFAULT | PLACE,
	  0, 0 },
	{ "IOMMU_IOAS_UNMAP", do_unmap, 2, 1, DEVICE | DEFAULT | PLACE, 0, 0 },
	{ "IOMMU_IOAS_COPY", do_ioas_copy, 2, 1, DEVICE | DEFAULT | PLACE,
	  0, 0 },
	{ "IOMMU_IOAS_CHANGE_PROCESS", do_change_process, 1, 0,
	  DEVICE | DEFAULT | PLACE, 0, 0 },
	{ "attach or detach", do_attach, 1, 0, DEVICE | ALL, 0, 0 },
	{ "DMA", do_dma, 1, 0, DEVICE | ALL, 0, 0 },
};
#define OPERATIONS (sizeof(operation) / sizeof(operation[0]))

static int possible(struct operation *op)
{
	return op->needs & 1 << kind && (have_edu || !(op->needs & DEVICE));
}

static void do_one(void)
{
	struct operation *op;
	int weight = 0;

	do {
		op = &operation[below(OPERATIONS)];
		weight = below(8);
	} while (weight >= op->weight || !possible(op));
	me->doing = op->name;
	if (op->run() < 0) {
		__atomic_fetch_add(&op->bad, 1, __ATOMIC_RELAXED);
	} else {
		__atomic_fetch_add(&op->good, 1, __ATOMIC_RELAXED);
	}
	me->doing = NULL;
	__atomic_fetch_add(&me->calls, 1, __ATOMIC_RELAXED);
}

#endif
