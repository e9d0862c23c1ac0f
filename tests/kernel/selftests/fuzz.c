// SPDX-License-Identifier: GPL-2.0
/*
 * Every ioctl of the interfaces, and what else can be done to a guest_memfd and
 * its mapping, in random order, with arguments that are valid but for a word
 * or two. No single call has to give a certain result; but some of each kind
 * must succeed and some must fail, memory that nobody named keeps its content,
 * and in the end a guest, a device and the host can use what is left.
 *
 * GMEM_SEED in the environment replaces the seed. How much is done is counted in
 * calls, so that a slow machine tests as much as a fast one.
 */
#include "edu.h"
#include "uffd.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/uio.h>

#define PAGES		16ul
#define SIZE		(PAGES * PAGE)
#define FILES		4
#define SLOTS		4
#define ARENA		((uint8_t *)0x10000000000)	/* nothing is near it */
#define IOVA		0x1000000ul
#define WITNESS_GPA	0x80000ul
#define WITNESS_SLOT	9
#define SHARED		(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED)
#define PARAM		"/sys/module/kvm/parameters/gmem_in_place_conversion"

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
static unsigned long calls_each;
static uint32_t ioas[2];
static int file[FILES];
static uint64_t *bitmap;
static uint32_t *witness;
static int witness_fd;
static struct fuzzer fuzzer[3];
static __thread struct fuzzer *me;
static __thread sigjmp_buf after_fault;
static __thread volatile sig_atomic_t may_fault;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)context;
	if (may_fault) {
		siglongjmp(after_fault, 1);
	}
	/* KVM tells of a poisoned page by a signal; any other is our fault. */
	if (info->si_code != 4 /* BUS_MCEERR_AR */) {
		signal(sig, SIG_DFL);
	}
}

static void on_interrupt(int sig)
{
	(void)sig;
}

static void on_alarm(int sig)
{
	(void)sig;
	for (int i = 0; i < 3; i++) {
		dprintf(1, "Bail out! after %lu calls stuck in '%s'\n",
			fuzzer[i].calls, fuzzer[i].doing ?: "");
	}
	_exit(1);
}

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
	};
	uint32_t slot = 1 + below(SLOTS), at = below(PAGES / 2);
	uint32_t i = below(FILES);
	struct gm_region arg = {
		.slot = slot, .flags = flags[below(6)],
		.guest_phys_addr = MEM_GPA + (slot - 1) * SIZE,
		.memory_size = below(3) ? SIZE / 2 : 0,
		.userspace_addr = (uintptr_t)ARENA + i * SIZE + at * PAGE,
		.guest_memfd = file[i], .guest_memfd_offset = at * PAGE,
		.userfault_bitmap = (uintptr_t)bitmap,
	};

	spoil(&arg, sizeof(arg));
	/* Any other one that is possible would be in the way later. */
	if ((uint16_t)arg.slot < 0x7fff) {
		arg.slot = (arg.slot & ~0xffffu) | slot;
	}
	/* Terabytes are legal, but take long. */
	if (arg.memory_size < 1ull << 44) {
		arg.memory_size %= 1ul << 30;
	}
	return ioctl(vm.fd, GM_SET_REGION, &arg);
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

/* An access to no memory has to be finished before the next one. */
static void finish_mmio(struct vcpu *vcpu)
{
	if (vcpu->run->exit_reason == KVM_EXIT_MMIO) {
		vcpu->run->immediate_exit = 1;
		ioctl(vcpu->fd, KVM_RUN, 0);
		vcpu->run->immediate_exit = 0;
	}
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
	finish_mmio(me->vcpu);
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

static void *fuzz(void *arg)
{
	me = arg;
	while (me->calls < calls_each) {
		do_one();
	}
	return NULL;
}

/* Whoever waits for a page goes on, one way or another. */
static void *resolve(void *arg)
{
	struct pollfd pfd = { .fd = uffd, .events = POLLIN };
	struct uffd_msg msg;

	while (!__atomic_load_n((int *)arg, __ATOMIC_ACQUIRE)) {
		struct uffdio_range range = { .len = PAGE };

		if (poll(&pfd, 1, 20) != 1 ||
		    read(uffd, &msg, sizeof(msg)) != sizeof(msg)) {
			continue;
		}
		range.start = msg.arg.pagefault.address & -PAGE;
		/* This wakes only those that wait for a missing page. */
		uffd_unregister(uffd, (void *)range.start, PAGE);
		ioctl(uffd, UFFDIO_WAKE, &range);
	}
	return NULL;
}

static void set_param(const char *value)
{
	if (!access(PARAM, W_OK)) {
		edu_write_file(PARAM, value);
	}
}

/* Memory for a bound slot; with two backings its shared half is anonymous. */
static int new_memory(uint8_t **map)
{
	int shared = kind != TWO_BACKINGS;
	int fd = gmem_create(&vm, SIZE, shared ? SHARED : 0);

	if (fd < 0) {
		fatal("guest_memfd");
	}
	*map = shared ? gmem_map(fd, SIZE) :
		mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return fd;
}

static void set_up(void)
{
	set_param(kind == IN_PLACE ? "Y" : "N");
	vm_init(&vm, kind == DEFAULT_VM ? 0 : GM_SW_PROTECTED_VM, 2);
	witness_fd = new_memory((uint8_t **)&witness);
	if (set_region(&vm, WITNESS_SLOT, GM_MEM_GUEST_MEMFD, WITNESS_GPA,
		       SIZE, witness, witness_fd, 0, NULL)) {
		fatal("the witness's slot");
	}
	for (unsigned long i = 0; i < SIZE / 4; i++) {
		witness[i] = i * 2654435761u;
	}
	for (int i = 0; i < FILES; i++) {
		file[i] = gmem_create(&vm, SIZE, vm_cap(&vm, GM_CAP_GMEM_FLAGS)
				      & SHARED);
		if (mmap(ARENA + i * SIZE, SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, file[i], 0) == MAP_FAILED) {
			fatal("mmap");
		}
	}
	uffd = uffd_open(0);
	for (int i = 0; i < 2 && have_edu; i++) {
		ioas[i] = ioas_alloc(edu.iommufd);
	}
}

/* A minute without any progress, on however slow a machine, is a hang. */
static void watch(void)
{
	static unsigned long before;
	unsigned long calls = 0;

	for (int i = 0; i < 3; i++) {
		calls += __atomic_load_n(&fuzzer[i].calls, __ATOMIC_RELAXED);
	}
	if (calls != before) {
		alarm(60);
	}
	before = calls;
}

/* One thread, which the seed determines, then several; each makes @calls. */
static void storm(unsigned long calls)
{
	pthread_t resolver;
	int over = 0;

	for (int i = 0; i < 3; i++) {
		fuzzer[i].calls = 0;
	}
	pthread_create(&resolver, NULL, resolve, &over);
	me = &fuzzer[0];
	while (me->calls < calls) {
		do_one();
		watch();
	}
	me->calls = 0;
	calls_each = calls;
	for (int i = 0; i < 3; i++) {
		pthread_create(&fuzzer[i].thread, NULL, fuzz, &fuzzer[i]);
	}
	/*
	 * Signals, as a deletion of a slot and KVM_PRE_FAULT_MEMORY can wait
	 * for each other until there is one, with and without the patches.
	 */
	for (int i = 0; i < 3; i++) {
		while (pthread_tryjoin_np(fuzzer[i].thread, NULL)) {
			for (int j = i; j < 3; j++) {
				pthread_kill(fuzzer[j].thread, SIGUSR1);
			}
			usleep(20000);
			watch();
		}
	}
	__atomic_store_n(&over, 1, __ATOMIC_RELEASE);
	pthread_join(resolver, NULL);
}

static void calm(void)
{
	struct gm_attributes shared = { .size = 1ul << 30 };
	static uint8_t out[SIZE];

	close(uffd);
	munmap(ARENA, FILES * SIZE);
	/* Also those of system management mode. */
	for (int slot = 1; slot <= SLOTS; slot++) {
		set_region(&vm, slot, 0, 0, 0, NULL, 0, 0, NULL);
		set_region(&vm, 1 << 16 | slot, 0, 0, 0, NULL, 0, 0, NULL);
	}
	for (int i = 0; i < 3; i++) {
		while (read(fuzzer[i].pipe[0], out, sizeof(out)) > 0) {
		}
	}
	if (have_edu) {
		edu_detach(&edu);
	}
	for (int i = 0; i < 2 && have_edu; i++) {
		ioas_unmap(edu.iommufd, ioas[i], 0, ~0ull);
	}
	if (kind == TWO_BACKINGS && ioctl(vm.fd, GM_SET_ATTRIBUTES, &shared)) {
		fatal("KVM_SET_MEMORY_ATTRIBUTES");
	}
	for (int i = 0; i < 2; i++) {
		finish_mmio(&vm.vcpu[i]);
		vcpu_reset(&vm.vcpu[i]);
	}
}

/* How the last run of a vCPU ended, for a reader of the log. */
static void explain(struct vcpu *vcpu, int err)
{
	struct gm_memory_fault *fault = vcpu_fault(vcpu);
	struct kvm_regs regs;

	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	printf("# vCPU %d: %s, exit %d, rip %#llx\n",
	       (int)(vcpu - vm.vcpu), strerror(err), vcpu->run->exit_reason,
	       regs.rip);
	if (fault) {
		printf("# memory fault: flags %#lx, gpa %#lx\n",
		       (long)fault->flags, (long)fault->gpa);
	}
}

static int guest_reads(int cpu, uint64_t gpa, uint32_t want)
{
	uint32_t value = 0;

	if (vcpu_read(&vm.vcpu[cpu], gpa, &value)) {
		explain(&vm.vcpu[cpu], errno);
		return 0;
	}
	if (value != want) {
		printf("# vCPU %d reads %#x at %#lx, not %#x\n", cpu, value,
		       (long)gpa, want);
	}
	return value == want;
}

static int witness_is_intact(void)
{
	int good = 1;

	for (unsigned long i = 0; i < SIZE / 4; i++) {
		good &= witness[i] == (uint32_t)(i * 2654435761u);
	}
	for (unsigned long i = 0; i < SIZE && good; i += PAGE) {
		for (int cpu = 0; cpu < 2; cpu++) {
			good &= guest_reads(cpu, WITNESS_GPA + i,
					    witness[i / 4]);
		}
	}
	return good;
}

/* Does the guest see what the host writes, and the other way round? */
static int is_usable(int fd, uint8_t *map)
{
	int good = 1;

	if (set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, SIZE, map, fd, 0,
		       NULL)) {
		printf("# cannot bind: %s\n", strerror(errno));
		return 0;
	}
	for (unsigned long i = 0; i < SIZE && good; i += PAGE) {
		map[i + 8] = i / PAGE + 1;
		good = !vcpu_write(&vm.vcpu[0], MEM_GPA + i, i + 1) &&
		       *(uint32_t *)(map + i) == i + 1 &&
		       guest_reads(1, MEM_GPA + i + 8, i / PAGE + 1);
	}
	if (good && have_edu && kind != TWO_BACKINGS) {
		good = !ioas_map_file(edu.iommufd, ioas[0], fd, 0, SIZE, IOVA);
		/* The device takes its time: two pages will do. */
		for (unsigned long i = 0; i < PAGES && good; i += PAGES - 1) {
			good = edu_read(&edu, IOVA + i * PAGE + 8) ==
			       (int)i + 1;
		}
		ioas_unmap(edu.iommufd, ioas[0], IOVA, SIZE);
	}
	set_region(&vm, 1, 0, 0, 0, NULL, 0, 0, NULL);
	return good;
}

/* Can the host reach the first page? */
static int can_touch(uint8_t *map)
{
	may_fault = 1;
	if (sigsetjmp(after_fault, 1)) {
		may_fault = 0;
		return 0;
	}
	map[0] = 0;
	may_fault = 0;
	return 1;
}

/* The files the storm left: all shared, all empty, and then as good as new. */
static int files_are_usable(void)
{
	struct gm_attributes2 shared = { .size = SIZE };
	int good = 1;

	for (int i = 0; i < FILES; i++) {
		uint8_t *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
				    MAP_SHARED, file[i], 0);

		good &= !punch(file[i], 0, SIZE);
		if (kind == IN_PLACE) {
			good &= !ioctl(file[i], GM_SET_ATTRIBUTES2, &shared);
		}
		if (map == MAP_FAILED) {
			continue;
		}
		if (can_touch(map)) {
			good &= is_usable(file[i], map);
		} else {
			/* It is private, and nothing can convert it. */
			good &= kind != IN_PLACE;
		}
		munmap(map, SIZE);
	}
	return good;
}

static void test(const char *name, unsigned long each)
{
	unsigned long calls = 0;
	double begin = now();
	uint8_t *map;
	int fd;

	printf("# %s\n", name);
	fflush(stdout);
	set_up();
	for (unsigned int i = 0; i < OPERATIONS; i++) {
		operation[i].good = operation[i].bad = 0;
	}
	fuzzer[0].vcpu = &vm.vcpu[0];
	fuzzer[1].vcpu = &vm.vcpu[1];
	storm(each);
	calm();
	for (unsigned int i = 0; i < OPERATIONS; i++) {
		struct operation *op = &operation[i];

		calls += op->good + op->bad;
		if (op->must && possible(op)) {
			ok(op->good && op->bad,
			   "%s, %s: %lu succeed, %lu fail", name, op->name,
			   op->good, op->bad);
		}
	}
	printf("# %lu calls in %.1f s\n", calls, now() - begin);
	if (have_edu) {
		edu_scratch(&edu, ioas[0]);
		if (edu_attach(&edu, ioas[0])) {
			fatal("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
		}
	}
	ok(witness_is_intact(), "%s: other memory of the guest is intact",
	   name);
	ok(files_are_usable(), "%s: the files can be used", name);
	fd = new_memory(&map);
	ok(is_usable(fd, map), "%s: so can a new one", name);
	munmap(map, SIZE);
	close(fd);
	for (int i = 0; i < FILES; i++) {
		close(file[i]);
	}
	if (have_edu) {
		edu_detach(&edu);
		ok(!ioas_destroy(edu.iommufd, ioas[0]) &&
		   !ioas_destroy(edu.iommufd, ioas[1]),
		   "%s: the address spaces can be destroyed", name);
	}
	munmap(witness, SIZE);
	close(witness_fd);
	vm_free(&vm);
}

int main(void)
{
	const struct sigaction fault = { .sa_sigaction = on_fault,
					 .sa_flags = SA_SIGINFO };
	const struct sigaction interrupt = { .sa_handler = on_interrupt };
	const char *seed = getenv("GMEM_SEED"), *reason;
	int types;

	bitmap = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm_init(&vm, 0, 0);
	if (!(vm_cap(&vm, GM_CAP_GMEM_FLAGS) & GM_FLAG_INIT_SHARED)) {
		skip_all("this kernel has no guest_memfd that can be mapped");
	}
	types = vm_cap(&vm, GM_CAP_VM_TYPES);
	vm_free(&vm);
	reason = edu_find(&edu);
	have_edu = !reason;
	printf("# seed %s, %s\n", seed ?: "1", reason ?: "with a device");
	for (int i = 0; i < 3; i++) {
		fuzzer[i].random = (strtoull(seed ?: "1", NULL, 0) + i) *
				   0x9e3779b97f4a7c15ull ?: 1;
		if (pipe(fuzzer[i].pipe) ||
		    fcntl(fuzzer[i].pipe[0], F_SETFL, O_NONBLOCK)) {
			fatal("pipe");
		}
	}
	sigaction(SIGBUS, &fault, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGUSR1, &interrupt, NULL);
	signal(SIGALRM, on_alarm);

	kind = DEFAULT_VM;
	test("default VM", 2000 * race_factor());
	if (types > 0 && types & 1 << GM_SW_PROTECTED_VM) {
		kind = TWO_BACKINGS;
		test("two backings", 1000 * race_factor());
	}
	if (types > 0 && types & 1 << GM_SW_PROTECTED_VM &&
	    !access(PARAM, W_OK)) {
		kind = IN_PLACE;
		test("in place", 3000 * race_factor());
	}
	set_param("N");
	return tap_done();
}
