// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_MEM_USERFAULT: exits for pages whose bit is set, on ordinary and on
 * bound memslots, toggling the flag, and what is refused.
 */
#include <stdbool.h>

#include "vm.h"

#define PAGES	64ul
#define SIZE	(PAGES * PAGE)
#define BOUND	(GM_MEM_GUEST_MEMFD | GM_MEM_USERFAULT)

static struct vm vm;
static unsigned long *bitmap;

static void set_bit_of(unsigned long page)
{
	__atomic_fetch_or(bitmap, 1ul << page, __ATOMIC_RELEASE);
}

static void clear_bit_of(unsigned long page)
{
	__atomic_fetch_and(bitmap, ~(1ul << page), __ATOMIC_RELEASE);
}

static int bound_file(uint8_t **map)
{
	int fd = gmem_create(&vm, SIZE, GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);

	if (fd < 0) {
		fatal("guest_memfd");
	}
	*map = gmem_map(fd, SIZE);
	return fd;
}

static int slot_set(uint32_t flags, void *hva, int fd, uint64_t offset)
{
	return set_region(&vm, 1, flags, MEM_GPA, SIZE, hva, fd, offset,
			  bitmap);
}

static void slot_delete(void)
{
	if (set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL)) {
		fatal("slot deletion");
	}
}

/* The guest reads @page: is it an exit for exactly this page? */
static int exits(unsigned long page)
{
	struct gm_memory_fault *fault;
	uint32_t value;

	if (vcpu_read(&vm.vcpu[0], MEM_GPA + page * PAGE + 8, &value) == 0 ||
	    errno != EFAULT) {
		return 0;
	}
	fault = vcpu_fault(&vm.vcpu[0]);
	return fault && fault->flags == GM_FAULT_USERFAULT &&
	       fault->gpa == MEM_GPA + page * PAGE && fault->size == PAGE;
}

static int reads(unsigned long page, uint32_t want)
{
	uint32_t value = ~want;

	return vcpu_read(&vm.vcpu[0], MEM_GPA + page * PAGE + 8, &value) == 0 &&
	       value == want;
}

static void test_refused(void *mem)
{
	struct kvm_userspace_memory_region old = {
		.slot = 1, .flags = GM_MEM_USERFAULT, .memory_size = SIZE,
		.guest_phys_addr = MEM_GPA, .userspace_addr = (uintptr_t)mem,
	};

	ok_errno(ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION, &old), EINVAL,
		 "the flag in the ioctl that has no bitmap");
	ok_errno(set_region(&vm, 1, GM_MEM_USERFAULT, MEM_GPA, SIZE, mem, 0, 0,
			    NULL), EINVAL, "no bitmap");
	ok_errno(set_region(&vm, 1, GM_MEM_USERFAULT, MEM_GPA, SIZE, mem, 0, 0,
			    (char *)bitmap + 4), EINVAL, "unaligned bitmap");
	ok_errno(set_region(&vm, 1, GM_MEM_USERFAULT, MEM_GPA, SIZE, mem, 0, 0,
			    (void *)(1ul << 63)), EINVAL,
		 "bitmap at a kernel address");
	ok_errno(set_region(&vm, 1, 16 | GM_MEM_USERFAULT, MEM_GPA, SIZE, mem,
			    0, 0, bitmap), EINVAL, "an unknown flag");
}

static void test_exits(const char *kind, uint32_t flags, uint8_t *mem, int fd)
{
	struct gm_prefault prefault = { .gpa = MEM_GPA + 3 * PAGE,
					.size = PAGE };

	printf("# %s memslot\n", kind);
	*bitmap = 0;
	set_bit_of(3);
	ok_call(slot_set(flags, mem, fd, 0), "creation with the flag");
	ok(exits(3), "a page whose bit is set: exit with gpa and size");
	ok(exits(3), "and again while the bit is set");
	ok_eq(reads(4, 0), 1, "its neighbour is there");
	ok(exits(3), "which did not map the page too");
	ok_errno(vcpu_write(&vm.vcpu[0], MEM_GPA + 3 * PAGE, 1), EFAULT,
		 "a write exits as well");
	if (vm_cap(&vm, GM_CAP_PREFAULT) > 0) {
		ok_errno(ioctl(vm.vcpu[0].fd, GM_PREFAULT, &prefault), EFAULT,
			 "KVM_PRE_FAULT_MEMORY of it");
	}
	mem[3 * PAGE + 8] = 42;
	clear_bit_of(3);
	ok(reads(3, 42), "bit cleared: the guest reads what was placed");
	set_bit_of(3);
	ok(reads(3, 42), "setting the bit of a mapped page changes nothing");
	ok_call(slot_set(flags & ~GM_MEM_USERFAULT, mem, fd, 0),
		"taking the flag away");
	ok(reads(3, 42), "the page is still there");
	ok_call(slot_set(flags, mem, fd, 0), "setting the flag again");
	ok(exits(3), "takes access away from the mapped page");
	clear_bit_of(3);
	ok(reads(3, 42), "whose content is unharmed");
	slot_delete();
}

static void test_huge(void)
{
	uint8_t *area, *mem;

	area = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mem = (uint8_t *)(((uintptr_t)area + (2 << 20) - 1) & -(2ul << 20));
	madvise(mem, 2 << 20, MADV_HUGEPAGE);
	memset(mem, 1, 2 << 20);
	*bitmap = 0;
	set_bit_of(5);
	if (set_region(&vm, 1, GM_MEM_USERFAULT, 2 << 20, SIZE, mem, 0, 0,
		       bitmap)) {
		fatal("slot over a huge page");
	}
	uint32_t value;
	ok(!vcpu_read(&vm.vcpu[0], (2 << 20) + 4 * PAGE, &value) &&
	   vcpu_read(&vm.vcpu[0], (2 << 20) + 5 * PAGE, &value),
	   "a huge host page is mapped in small pieces");
	slot_delete();
	munmap(area, 4 << 20);
}

static bool kernel_has_warned(void)
{
	char text[32] = "";
	FILE *file = fopen("/proc/sys/kernel/tainted", "r");

	if (!file || !fgets(text, sizeof(text), file)) {
		fatal("/proc/sys/kernel/tainted");
	}
	fclose(file);
	return atol(text) & 1 << 9;
}

/* ... as large and aligned as a huge page, which a file never has */
static void test_huge_bound(void)
{
	const uint64_t size = 2 << 20;
	int fd = gmem_create(&vm, size, GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);
	unsigned long *bits = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *area = mmap(NULL, 2 * size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *mem = (void *)(((uintptr_t)area + size - 1) & -size);
	bool had_warned = kernel_has_warned();
	uint32_t value;

	if (mmap(mem, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
		 0) == MAP_FAILED ||
	    set_region(&vm, 1, BOUND, size, size, mem, fd, 0, bits)) {
		fatal("slot of a huge page's size");
	}
	ok_call(vcpu_read(&vm.vcpu[0], size, &value), "a page is mapped");
	ok_call(set_region(&vm, 1, GM_MEM_GUEST_MEMFD, size, size, mem, fd, 0,
			   NULL), "the flag goes");
	ok(kernel_has_warned() == had_warned, "without a warning");
	ok_call(vcpu_read(&vm.vcpu[0], size, &value), "the page is there");
	slot_delete();
	munmap(area, 2 * size);
	munmap(bits, PAGE);
	close(fd);
}

static void test_dirty_log(uint8_t *mem)
{
	*bitmap = 0;
	set_bit_of(1);
	ok_call(slot_set(GM_MEM_USERFAULT | GM_MEM_LOG_DIRTY, mem, 0, 0),
		"the flag with dirty logging");
	ok(exits(1) && reads(2, 0), "exits go on");
	ok_call(slot_set(GM_MEM_USERFAULT, mem, 0, 0), "dirty logging ends");
	ok(exits(1) && reads(2, 0), "exits go on");
	ok_errno(set_region(&vm, 1, GM_MEM_USERFAULT, MEM_GPA, SIZE, mem, 0, 0,
			    bitmap + 1), EINVAL, "another bitmap meanwhile");
	ok_call(slot_set(GM_MEM_USERFAULT, mem, 0, 0), "no change at all");
	ok_call(slot_set(0, mem, 0, 0), "taking the flag away");
	ok(reads(1, 0), "every page is there");
	slot_delete();
}

static void test_bad_bitmap(uint8_t *mem)
{
	unsigned long *gone = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct gm_memory_fault *fault;
	uint32_t value;

	set_region(&vm, 1, GM_MEM_USERFAULT, MEM_GPA, SIZE, mem, 0, 0, gone);
	munmap(gone, PAGE);
	ok_errno(vcpu_read(&vm.vcpu[0], MEM_GPA, &value), EFAULT,
		 "the bitmap is gone");
	fault = vcpu_fault(&vm.vcpu[0]);
	ok(fault && !fault->flags && fault->gpa == MEM_GPA,
	   "a memory fault, but no userfault");
	slot_delete();
}

static void test_binding(void)
{
	uint8_t *mem, *mem2;
	int fd = bound_file(&mem), fd2 = bound_file(&mem2);
	struct gm_memory_fault *fault;
	uint32_t value;

	*bitmap = 2;
	if (slot_set(BOUND, mem, fd, 0)) {
		fatal("bound slot");
	}
	ok_errno(slot_set(BOUND, mem, fd, 0), EINVAL,
		 "setting a bound slot unchanged");
	ok_errno(slot_set(GM_MEM_GUEST_MEMFD, mem, fd2, 0), EINVAL,
		 "taking the flag away with another file");
	ok_errno(slot_set(GM_MEM_GUEST_MEMFD, mem, fd, PAGE), EINVAL,
		 "with another offset");
	ok_errno(slot_set(GM_MEM_GUEST_MEMFD, mem, -1, 0), EBADF,
		 "with a bad file descriptor");
	ok_errno(slot_set(GM_MEM_GUEST_MEMFD, mem2, fd, 0), EINVAL,
		 "with another userspace address");
	ok_errno(slot_set(GM_MEM_USERFAULT, mem, fd, 0), EINVAL,
		 "taking the binding away");
	ok_errno(set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA + SIZE, SIZE,
			    mem, fd, 0, NULL), EINVAL, "moving the slot");
	ok(exits(1), "after all that nothing has changed");
	ok_call(slot_set(GM_MEM_GUEST_MEMFD, mem, fd, 0),
		"taking the flag away");
	mem[PAGE + 8] = 9;
	ok(reads(1, 9), "the guest reads the file");
	ok_errno(set_region(&vm, 2, GM_MEM_GUEST_MEMFD, MEM_GPA + SIZE, PAGE,
			    mem, fd, 0, NULL), EEXIST,
		 "the range is still bound");
	punch(fd, PAGE, PAGE);
	ok(reads(1, 0), "a punch still reaches the guest");
	munmap(mem, SIZE);
	close(fd);
	ok_errno(vcpu_read(&vm.vcpu[0], MEM_GPA, &value), EFAULT,
		 "so does closing the file");
	fault = vcpu_fault(&vm.vcpu[0]);
	ok(fault && !fault->flags, "which is no userfault");
	slot_delete();
	*bitmap = 1;
	if (slot_set(BOUND, mem2, fd2, 0)) {
		fatal("bound slot");
	}
	munmap(mem2, SIZE);
	close(fd2);
	ok(exits(0), "a closed file with the flag: the bitmap comes first");
	slot_delete();
}

struct sweeper {
	pthread_t thread;
	struct vcpu *vcpu;
	uint8_t *mem;
	unsigned long sweeps, errors;
};

static pthread_mutex_t place_lock = PTHREAD_MUTEX_INITIALIZER;
static int stop;

/* Place the page a userfault names, whoever comes first. */
static void place(struct sweeper *s, unsigned long page)
{
	pthread_mutex_lock(&place_lock);
	if (*bitmap & 1ul << page) {
		*(volatile uint32_t *)(s->mem + page * PAGE) = 1000;
		clear_bit_of(page);
	}
	pthread_mutex_unlock(&place_lock);
}

/* Add 1 to every page, @sweeps times, or until told to stop. */
static void *sweep(void *arg)
{
	struct sweeper *s = arg;
	unsigned long limit = s->sweeps, n = 0;

	while (limit ? n < limit : !__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		int ret = vcpu_sweep(s->vcpu, MEM_GPA, MEM_GPA + SIZE);

		while (ret) {
			struct gm_memory_fault *f = vcpu_fault(s->vcpu);

			if (errno == EINTR || errno == EAGAIN) {
				/* go on where it stopped */
			} else if (errno == EFAULT && f &&
				   f->flags == GM_FAULT_USERFAULT) {
				place(s, (f->gpa - MEM_GPA) / PAGE);
			} else {
				s->errors++;
				return NULL;
			}
			ret = vcpu_run(s->vcpu);
		}
		n++;
	}
	s->sweeps = n;
	return NULL;
}

static void sweep_start(struct sweeper *s, int id, uint8_t *mem,
			unsigned long sweeps)
{
	*s = (struct sweeper){ .vcpu = &vm.vcpu[id], .mem = mem,
			       .sweeps = sweeps };
	pthread_create(&s->thread, NULL, sweep, s);
}

/* Each round starts with no page, both vCPUs touch all of them at once. */
static void test_race_place(void)
{
	struct sweeper s[2];
	uint8_t *mem;
	int fd = bound_file(&mem);
	unsigned long wrong = 0, rounds = 0;
	double end = race_end(3);

	*bitmap = ~0ul;
	if (slot_set(BOUND, mem, fd, 0)) {
		fatal("bound slot");
	}
	while (now() < end) {
		sweep_start(&s[0], 0, mem, 1);
		sweep_start(&s[1], 1, mem, 1);
		for (int i = 0; i < 2; i++) {
			pthread_join(s[i].thread, NULL);
			wrong += s[i].errors;
		}
		for (unsigned long i = 0; i < PAGES; i++) {
			wrong += *(uint32_t *)(mem + i * PAGE) != 1002;
		}
		rounds++;
		wrong += !!slot_set(GM_MEM_GUEST_MEMFD, mem, fd, 0);
		*bitmap = ~0ul;
		wrong += !!slot_set(BOUND, mem, fd, 0);
	}
	printf("# %lu rounds\n", rounds);
	ok_eq(wrong, 0, "two vCPUs and placing: every page placed once");
	slot_delete();
	munmap(mem, SIZE);
	close(fd);
}

/* The flag comes and goes under running vCPUs; no store may be lost. */
static void test_race_toggle(void)
{
	struct sweeper s[2];
	uint8_t *mem;
	int fd = bound_file(&mem);
	unsigned long wrong = 0, toggles = 0;
	double end = race_end(3);

	*bitmap = 0;
	if (slot_set(BOUND, mem, fd, 0)) {
		fatal("bound slot");
	}
	stop = 0;
	sweep_start(&s[0], 0, mem, 0);
	sweep_start(&s[1], 1, mem, 0);
	while (now() < end) {
		wrong += !!slot_set(GM_MEM_GUEST_MEMFD, mem, fd, 0);
		wrong += !!slot_set(BOUND, mem, fd, 0);
		toggles++;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		pthread_join(s[i].thread, NULL);
		wrong += s[i].errors;
	}
	for (unsigned long i = 0; i < PAGES; i++) {
		wrong += *(uint32_t *)(mem + i * PAGE) !=
			 s[0].sweeps + s[1].sweeps;
	}
	printf("# %lu toggles, %lu sweeps\n", toggles,
	       s[0].sweeps + s[1].sweeps);
	ok_eq(wrong, 0, "the flag toggles under running vCPUs");
	slot_delete();
	munmap(mem, SIZE);
	close(fd);
}

int main(void)
{
	uint8_t *mem, *map;
	int fd;

	bitmap = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mem = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	vm_init(&vm, 0, 2);
	if (slot_set(GM_MEM_USERFAULT, mem, 0, 0)) {
		skip_all("this kernel has no KVM_MEM_USERFAULT");
	}
	slot_delete();

	test_refused(mem);
	test_exits("ordinary", GM_MEM_USERFAULT, mem, 0);
	fd = bound_file(&map);
	test_exits("bound", BOUND, map, fd);
	munmap(map, SIZE);
	close(fd);
	test_huge();
	test_huge_bound();
	memset(mem, 0, SIZE);
	test_dirty_log(mem);
	test_bad_bitmap(mem);
	test_binding();
	test_race_place();
	test_race_toggle();
	vm_free(&vm);
	return tap_done();
}
