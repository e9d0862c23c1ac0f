// SPDX-License-Identifier: GPL-2.0
/*
 * userfaultfd on a guest_memfd: registration, MISSING (COPY, ZEROPAGE), MINOR
 * (CONTINUE), POISON, write protection, NUMA policy, and what a bound guest
 * sees of it.
 */
#include "phys.h"
#include "uffd.h"

#include <signal.h>

#define PAGES	16ul
#define SIZE	(PAGES * PAGE)

static struct vm vm;
static uint8_t buffer[PAGE] __attribute__((aligned(4096)));

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(after_fault, 1);
}

/* 1 if reading the byte raises SIGBUS. */
static int read_faults(volatile uint8_t *p)
{
	if (sigsetjmp(after_fault, 1)) {
		return 1;
	}
	(void)*p;
	return 0;
}

struct toucher {
	pthread_t thread;
	volatile uint8_t *p;
	int write, value;
};

static void *touch(void *arg)
{
	struct toucher *t = arg;

	if (t->write) {
		*t->p = t->value;
	} else {
		t->value = *t->p;
	}
	return NULL;
}

static void touch_start(struct toucher *t, void *p, int write, int value)
{
	*t = (struct toucher){ .p = p, .write = write, .value = value };
	if (pthread_create(&t->thread, NULL, touch, t)) {
		fatal("pthread_create");
	}
}

static int touch_end(struct toucher *t)
{
	pthread_join(t->thread, NULL);
	return t->value;
}

static int new_file(void)
{
	int fd = gmem_create(&vm, SIZE, GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);

	if (fd < 0) {
		fatal("guest_memfd");
	}
	return fd;
}

static void test_register(void)
{
	int fd = new_file(), priv, uffd = uffd_open(0);
	uint8_t *p = gmem_map(fd, SIZE);
	uint64_t ioctls = 0, want = 1ull << _UFFDIO_WAKE |
		1ull << _UFFDIO_COPY | 1ull << _UFFDIO_ZEROPAGE |
		1ull << _UFFDIO_POISON | 1ull << _UFFDIO_WRITEPROTECT;

	ok_call(uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING |
			      UFFDIO_REGISTER_MODE_MINOR |
			      UFFDIO_REGISTER_MODE_WP, &ioctls),
		"register MISSING, MINOR and WP");
	want |= 1ull << _UFFDIO_CONTINUE;
	ok_eq(ioctls & want, want, "registration offers their ioctls");
	ok_call(uffd_unregister(uffd, p, SIZE), "unregister");
	munmap(p, SIZE);
	close(fd);

	priv = gmem_create(&vm, SIZE, GM_FLAG_MMAP);
	p = gmem_map(priv, SIZE);
	ok_errno(uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING,
			       NULL), EINVAL,
		 "register a file without INIT_SHARED");
	munmap(p, SIZE);
	close(priv);
	close(uffd);
}

static void test_missing(void)
{
	int fd = new_file(), uffd = uffd_open(0);
	uint8_t *p = gmem_map(fd, SIZE);
	struct uffd_msg msg = { 0 };
	struct toucher t;

	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING, NULL);

	touch_start(&t, p + PAGE, 0, 0);
	ok(uffd_read(uffd, &msg), "a read of a missing page is reported");
	ok_eq(msg.arg.pagefault.address, (uintptr_t)p + PAGE,
	      "with its address");
	ok_eq(msg.arg.pagefault.flags, 0, "as a read, MISSING");
	memset(buffer, 0x5a, PAGE);
	ok_call(uffd_copy(uffd, p + PAGE, buffer, PAGE), "COPY");
	ok_eq(touch_end(&t), 0x5a, "the reader goes on with the copied byte");
	ok(!memcmp(p + PAGE, buffer, PAGE), "the page has all the bytes");
	ok_errno(uffd_copy(uffd, p + PAGE, buffer, PAGE), EEXIST,
		 "COPY onto a present page");

	touch_start(&t, p + 2 * PAGE, 1, 7);
	ok(uffd_read(uffd, &msg), "a write to a missing page is reported");
	ok_eq(msg.arg.pagefault.flags, UFFD_PAGEFAULT_FLAG_WRITE, "as a write");
	ok_call(uffd_zero(uffd, p + 2 * PAGE, PAGE), "ZEROPAGE");
	touch_end(&t);
	ok(p[2 * PAGE] == 7 && p[2 * PAGE + 1] == 0,
	   "the write lands in a zeroed page");
	ok_errno(uffd_zero(uffd, p + 2 * PAGE, PAGE), EEXIST,
		 "ZEROPAGE onto a present page");

	fallocate(fd, FALLOC_FL_KEEP_SIZE, 3 * PAGE, PAGE);
	ok_errno(uffd_copy(uffd, p + 3 * PAGE, buffer, PAGE), EEXIST,
		 "COPY onto a preallocated page");
	ok_eq(p[3 * PAGE], 0, "a preallocated page is no MISSING event");

	ok_call(punch(fd, PAGE, PAGE), "punch");
	touch_start(&t, p + PAGE, 0, 0);
	ok(uffd_read(uffd, &msg), "a punched page is missing again");
	ok_call(uffd_copy(uffd, p + PAGE, buffer, PAGE), "and can be copied");
	touch_end(&t);

	ok_errno(uffd_copy(uffd, p + 4 * PAGE, (void *)16, PAGE), EFAULT,
		 "COPY from a bad address");
	touch_start(&t, p + 4 * PAGE, 0, 1);
	ok(uffd_read(uffd, &msg), "after which the page is still missing");
	close(uffd);
	ok_eq(touch_end(&t), 0, "closing the userfaultfd lets the reader go");
	munmap(p, SIZE);
	close(fd);
}

static void test_minor(void)
{
	int fd = new_file(), uffd = uffd_open(0);
	uint8_t *p = gmem_map(fd, SIZE), *other = gmem_map(fd, SIZE);
	struct uffd_msg msg = { 0 };
	struct toucher t;

	other[0] = 0x11;
	fallocate(fd, FALLOC_FL_KEEP_SIZE, 2 * PAGE, PAGE);
	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MINOR, NULL);

	touch_start(&t, p, 0, 0);
	ok(uffd_read(uffd, &msg), "a present page is a MINOR event");
	ok_eq(msg.arg.pagefault.flags, UFFD_PAGEFAULT_FLAG_MINOR, "so flagged");
	other[0] = 0x22;
	ok_call(uffd_continue(uffd, p, PAGE), "CONTINUE");
	ok_eq(touch_end(&t), 0x22, "the reader sees the updated page");
	ok_errno(uffd_continue(uffd, p, PAGE), EEXIST,
		 "CONTINUE of a mapped page");
	ok_errno(uffd_continue(uffd, p + PAGE, PAGE), EFAULT,
		 "CONTINUE of an absent page");
	ok_call(uffd_continue(uffd, p + 2 * PAGE, PAGE),
		"CONTINUE of a preallocated page");
	ok(p[2 * PAGE] == 0 && p[3 * PAGE - 1] == 0, "which is zero");
	ok_eq(p[3 * PAGE], 0, "an absent page is no MINOR event");

	munmap(other, SIZE);
	munmap(p, SIZE);
	close(uffd);
	close(fd);
}

static void test_hwpoison(void)
{
	int fd = new_file(), uffd = uffd_open(0);
	uint8_t *p = gmem_map(fd, SIZE), *other = gmem_map(fd, SIZE);

	other[0] = 1;
	if (memory_error(other)) {
		uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MINOR, NULL);
		ok_errno(uffd_continue(uffd, p, PAGE), EIO,
			 "CONTINUE of a poisoned page");
		ok(read_faults(other), "which raises SIGBUS");
	} else {
		skip("CONTINUE of a poisoned page",
		     "this kernel cannot inject memory errors");
	}
	munmap(other, SIZE);
	munmap(p, SIZE);
	close(uffd);
	close(fd);
}

/* What a memory error hit must not be written to, lest that raise another. */
static void test_hwpoison_blank(void)
{
	const char *what = "CONTINUE of a poisoned, preallocated page";
	uint64_t phys;
	int fd = blank_poisoned_file(&vm, SIZE, &phys, what), uffd;
	uint8_t *p;

	if (fd < 0) {
		return;
	}
	uffd = uffd_open(0);
	p = gmem_map(fd, SIZE);
	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MINOR, NULL);
	ok_errno(uffd_continue(uffd, p, PAGE), EIO, what);
	uffd_unregister(uffd, p, SIZE);
	ok(read_faults(p), "which raises SIGBUS");
	ok(is_still_blank(phys), "nobody has cleared it");
	munmap(p, SIZE);
	close(uffd);
	close(fd);
}

static void test_poison(void)
{
	int fd = new_file(), uffd = uffd_open(0);
	uint8_t *p = gmem_map(fd, SIZE);

	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING, NULL);
	ok_call(uffd_poison(uffd, p, PAGE), "POISON");
	ok(read_faults(p), "a poisoned page raises SIGBUS");
	ok_errno(uffd_poison(uffd, p, PAGE), EEXIST, "POISON twice");
	ok_call(uffd_copy(uffd, p, buffer, PAGE), "COPY replaces the poison");
	ok(!read_faults(p), "and the page can be read");
	munmap(p, SIZE);
	close(uffd);
	close(fd);
}

static void test_write_protect(void)
{
	int fd = new_file(), uffd = uffd_open(0);
	uint8_t *p = gmem_map(fd, SIZE);
	struct uffd_msg msg = { 0 };
	struct toucher t;

	p[0] = 1;
	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_WP, NULL);
	ok_call(uffd_wp(uffd, p, SIZE, UFFDIO_WRITEPROTECT_MODE_WP),
		"write-protect present and absent pages");
	ok_eq(p[0], 1, "reading goes on");
	touch_start(&t, p, 1, 2);
	ok(uffd_read(uffd, &msg), "a write is reported");
	ok(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP, "as WP");
	ok_eq(p[0], 1, "and has not happened yet");
	ok_call(uffd_wp(uffd, p, PAGE, 0), "allow it");
	touch_end(&t);
	ok_eq(p[0], 2, "now it has");
	munmap(p, SIZE);
	close(uffd);
	close(fd);
}

static int node_of(void *p)
{
	int node = -1;

	syscall(SYS_get_mempolicy, &node, NULL, 0, p,
		MPOL_F_NODE | MPOL_F_ADDR);
	return node;
}

static void test_policy(void)
{
	int fd, uffd;
	unsigned long mask = 2;
	uint8_t *p;

	if (access("/sys/devices/system/node/node1", F_OK)) {
		skip("COPY and ZEROPAGE follow mbind", "one NUMA node only");
		return;
	}
	fd = new_file();
	uffd = uffd_open(0);
	p = gmem_map(fd, SIZE);
	if (syscall(SYS_mbind, p, SIZE, MPOL_BIND, &mask, 8 * sizeof(mask),
		    0)) {
		fatal("mbind");
	}
	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING, NULL);
	uffd_copy(uffd, p, buffer, PAGE);
	uffd_zero(uffd, p + PAGE, PAGE);
	ok_eq(node_of(p), 1, "COPY follows mbind");
	ok_eq(node_of(p + PAGE), 1, "ZEROPAGE follows mbind");
	munmap(p, SIZE);
	close(uffd);
	close(fd);
}

static void test_bound_guest(void)
{
	int fd = new_file(), uffd = uffd_open(0);
	uint8_t *p = gmem_map(fd, SIZE);
	uint32_t value;

	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING, NULL);
	if (set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, SIZE, p, fd, 0,
		       NULL)) {
		fatal("bound slot");
	}
	memset(buffer, 0x33, PAGE);
	uffd_copy(uffd, p, buffer, PAGE);
	ok(!vcpu_read(&vm.vcpu[0], MEM_GPA, &value) && value == 0x33333333,
	   "a bound guest reads a copied page");
	ok(!vcpu_read(&vm.vcpu[0], MEM_GPA + PAGE, &value) && value == 0,
	   "a bound guest is not stopped at a missing page, it reads zero");
	ok_errno(uffd_copy(uffd, p + PAGE, buffer, PAGE), EEXIST,
		 "and COPY there comes too late");
	set_region(&vm, 1, 0, MEM_GPA, 0, p, 0, 0, NULL);
	munmap(p, SIZE);
	close(uffd);
	close(fd);
}

/* Two threads fault, two fill, one punches: nothing is lost, nobody hangs. */
static int race_fd, race_uffd, race_stop;
static uint8_t *race_map;

static void *race_filler(void *arg)
{
	struct uffd_msg msg;

	(void)arg;
	while (!__atomic_load_n(&race_stop, __ATOMIC_ACQUIRE)) {
		struct pollfd pfd = { .fd = race_uffd, .events = POLLIN };
		uintptr_t at;

		if (poll(&pfd, 1, 20) != 1 ||
		    read(race_uffd, &msg, sizeof(msg)) != sizeof(msg)) {
			continue;
		}
		at = msg.arg.pagefault.address & -PAGE;
		if (uffd_copy(race_uffd, (void *)at, buffer, PAGE)) {
			struct uffdio_range range = { at, PAGE };

			ioctl(race_uffd, UFFDIO_WAKE, &range);
		}
	}
	return NULL;
}

static void *race_reader(void *arg)
{
	unsigned long bad = 0;
	unsigned int seed = (uintptr_t)arg;

	while (!__atomic_load_n(&race_stop, __ATOMIC_ACQUIRE)) {
		volatile uint8_t *p = race_map + rand_r(&seed) % PAGES * PAGE;

		bad += *p != 0x77;
	}
	return (void *)bad;
}

static void test_race(void)
{
	pthread_t fill[2], read[2];
	unsigned long bad = 0;
	double end = race_end(3);
	unsigned int seed = 1;
	void *ret;

	race_fd = new_file();
	race_uffd = uffd_open(0);
	race_map = gmem_map(race_fd, SIZE);
	memset(buffer, 0x77, PAGE);
	uffd_register(race_uffd, race_map, SIZE, UFFDIO_REGISTER_MODE_MISSING,
		      NULL);
	for (long i = 0; i < 2; i++) {
		pthread_create(&fill[i], NULL, race_filler, NULL);
		pthread_create(&read[i], NULL, race_reader, (void *)(i + 1));
	}
	while (now() < end) {
		punch(race_fd, rand_r(&seed) % PAGES * PAGE, PAGE);
	}
	/* Wake whoever waits for a page: fill everything. */
	for (unsigned long i = 0; i < PAGES; i++) {
		uffd_copy(race_uffd, race_map + i * PAGE, buffer, PAGE);
	}
	__atomic_store_n(&race_stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		pthread_join(fill[i], NULL);
	}
	close(race_uffd);
	for (int i = 0; i < 2; i++) {
		pthread_join(read[i], &ret);
		bad += (unsigned long)ret;
	}
	ok_eq(bad, 0, "punch against COPY: readers only ever see copied bytes");
	munmap(race_map, SIZE);
	close(race_fd);
}

int main(void)
{
	int probe, uffd;
	void *p;

	signal(SIGBUS, on_sigbus);
	vm_init(&vm, 0, 1);
	probe = new_file();
	uffd = uffd_open(0);
	p = gmem_map(probe, SIZE);
	if (uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING, NULL)) {
		skip_all("this kernel has no userfaultfd on a guest_memfd");
	}
	munmap(p, SIZE);
	close(uffd);
	close(probe);

	test_register();
	test_missing();
	test_minor();
	test_hwpoison();
	test_hwpoison_blank();
	test_poison();
	test_write_protect();
	test_policy();
	test_bound_guest();
	test_race();
	vm_free(&vm);
	return tap_done();
}
