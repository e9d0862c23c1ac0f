// SPDX-License-Identifier: GPL-2.0
/*
 * GUEST_MEMFD_FLAG_NO_DIRECT_MAP: pages leave the kernel's direct map at their
 * first fault and return when freed; what needs struct pages is refused, what
 * copies through the mapping works.
 */
#include "phys.h"
#include "uffd.h"

#include <sys/uio.h>
#include <sys/wait.h>

#define SIZE	(16 * PAGE)
#define SEEN	8	/* pages that the kernel is asked about, of SIZE */
#define ALL	(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED | GM_FLAG_NO_DIRECT_MAP)

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

static struct vm vm;
static uint8_t pattern[PAGE] __attribute__((aligned(4096)));

static int new_file(uint64_t flags)
{
	int fd = gmem_create(&vm, SIZE, flags);

	if (fd < 0) {
		fatal("guest_memfd with flags %#lx", (unsigned long)flags);
	}
	return fd;
}

static void test_flags(void)
{
	struct vm prot;
	int fd, types = vm_cap(&vm, GM_CAP_VM_TYPES);

	ok(vm_cap(&vm, GM_CAP_GMEM_FLAGS) & GM_FLAG_NO_DIRECT_MAP,
	   "the capability of the VM shows the flag");
	fd = gmem_create(&vm, SIZE, GM_FLAG_NO_DIRECT_MAP);
	ok_call(fd, "creation with this flag alone");
	close(fd);
	ok_errno(gmem_create(&vm, SIZE, ALL + 1), EINVAL, "an unknown flag");
	if (types > 0 && types & 1 << GM_SW_PROTECTED_VM) {
		vm_init(&prot, GM_SW_PROTECTED_VM, 0);
		fd = gmem_create(&prot, SIZE, GM_FLAG_NO_DIRECT_MAP);
		ok_call(fd, "creation in a software-protected VM");
		close(fd);
		vm_free(&prot);
	} else {
		skip("creation in a software-protected VM", "no such VM type");
	}
}

/* Does the kernel see the pattern at this physical address? */
static int kernel_sees(uint64_t phys)
{
	static uint8_t seen[PAGE];

	return phys_read(phys, seen) && !memcmp(seen, pattern, PAGE);
}

/* Write the pattern into pages; where they are. */
static void fill(uint8_t *p, uint64_t phys[SEEN])
{
	for (int i = 0; i < SEEN; i++) {
		memcpy(p + i * PAGE, pattern, PAGE);
		phys[i] = phys_of(p + i * PAGE);
	}
}

static int kernel_sees_of(const uint64_t phys[SEEN])
{
	int seen = 0;

	for (int i = 0; i < SEEN; i++) {
		seen += kernel_sees(phys[i]);
	}
	return seen;
}

static void test_direct_map(void)
{
	int fd, uffd = uffd_open(0);
	uint64_t phys[SEEN];
	uint8_t *p;

	if (access("/proc/kcore", R_OK)) {
		skip("what the kernel sees", "no /proc/kcore");
		return;
	}
	fd = new_file(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);
	p = gmem_map(fd, SIZE);
	memcpy(p, pattern, PAGE);
	ok_eq(kernel_sees(phys_of(p)), 1,
	      "without the flag the kernel sees a page");
	munmap(p, SIZE);
	close(fd);

	fd = new_file(ALL);
	p = gmem_map(fd, SIZE);
	fill(p, phys);
	ok_eq(kernel_sees_of(phys), 0, "with it the kernel sees none");
	ok(!memcmp(p, pattern, PAGE), "but the process does");
	punch(fd, 0, SEEN * PAGE);
	/* A page or two of those that are free may be in use again. */
	ok(kernel_sees_of(phys) >= SEEN / 2, "punched pages are back");

	fallocate(fd, FALLOC_FL_KEEP_SIZE, SEEN * PAGE, SEEN * PAGE);
	fill(p + SEEN * PAGE, phys);
	ok_eq(kernel_sees_of(phys), 0, "so leave preallocated pages");

	uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING, NULL);
	ok_call(uffd_copy(uffd, p + 2 * PAGE, pattern, PAGE), "UFFDIO_COPY");
	ok_eq(kernel_sees(phys_of(p + 2 * PAGE)), 0,
	      "so leaves a page that userfaultfd placed");
	ok(!memcmp(p + 2 * PAGE, pattern, PAGE), "whose content is right");
	uffd_unregister(uffd, p, SIZE);
	munmap(p, SIZE);
	close(fd);
	ok(kernel_sees_of(phys) >= SEEN / 2, "after close all are back");
	close(uffd);
}

/* How many of three calls that need struct pages work? */
static int gup_works(void *p)
{
	static uint8_t buffer[PAGE];
	struct iovec local = { buffer, PAGE }, remote = { p, PAGE };
	int fds[2], works = 0;

	if (pipe(fds)) {
		fatal("pipe");
	}
	works += vmsplice(fds[1], &remote, 1, 0) == (long)PAGE;
	works += process_vm_readv(getpid(), &local, 1, &remote, 1, 0) ==
		 (long)PAGE;
	works += madvise(p, PAGE, MADV_POPULATE_READ) == 0;
	close(fds[0]);
	close(fds[1]);
	return works;
}

static void test_access(void)
{
	int fd, fds[2], status;
	uint8_t *p, *plain;

	fd = new_file(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);
	plain = gmem_map(fd, SIZE);
	plain[0] = 1;
	/* process_vm_readv() is not in every kernel. */
	ok(gup_works(plain) >= 2, "without the flag GUP works");
	munmap(plain, SIZE);
	close(fd);

	fd = new_file(ALL);
	p = gmem_map(fd, SIZE);
	p[0] = 1;
	ok_eq(gup_works(p), 0, "with it GUP is refused, page present");
	ok_eq(gup_works(p + PAGE), 0, "and page absent");
	ok_errno(madvise(p, PAGE, MADV_POPULATE_READ), EINVAL,
		 "MADV_POPULATE_READ");

	if (pipe(fds)) {
		fatal("pipe");
	}
	memcpy(p, pattern, PAGE);
	ok(write(fds[1], p, PAGE) == (long)PAGE &&
	   read(fds[0], p + 2 * PAGE, PAGE) == (long)PAGE &&
	   !memcmp(p + 2 * PAGE, pattern, PAGE),
	   "buffered write(2) and read(2) work");
	if (!fork()) {
		_exit(memcmp(p, pattern, PAGE) ? 1 : 0);
	}
	wait(&status);
	ok_eq(status, 0, "so does a forked child");
	munmap(p, SIZE);
	close(fd);
}

static void test_guest(void)
{
	int fd = new_file(ALL);
	uint8_t *p = gmem_map(fd, SIZE);
	uint32_t value = 0;

	p[0] = 7;
	set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, SIZE, p, fd, 0, NULL);
	ok(!vcpu_read(&vm.vcpu[0], MEM_GPA, &value) && value == 7,
	   "a bound guest reads");
	ok(!vcpu_write(&vm.vcpu[0], MEM_GPA + PAGE, 9) && p[PAGE] == 9,
	   "and writes a new page");
	memcpy(p + PAGE, pattern, PAGE);
	if (!access("/proc/kcore", R_OK)) {
		ok_eq(kernel_sees(phys_of(p + PAGE)), 0,
		      "which the kernel does not see");
	}
	set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL);
	set_region(&vm, 1, 0, MEM_GPA, SIZE, p, 0, 0, NULL);
	ok_errno(vcpu_read(&vm.vcpu[0], MEM_GPA, &value), EFAULT,
		 "an ordinary slot over the mapping, which needs GUP");
	set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL);
	munmap(p, SIZE);
	close(fd);
}

/* Zap and restore race with each other, on the host's and the guest's side. */
static int race_fd, stop;
static uint8_t *race_map;

static void *race_touch(void *arg)
{
	unsigned int seed = 1;

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		race_map[rand_r(&seed) % 16 * PAGE] = 1;
	}
	return NULL;
}

static void *race_punch(void *arg)
{
	unsigned int seed = 2;

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		punch(race_fd, rand_r(&seed) % 16 * PAGE, PAGE);
	}
	return NULL;
}

static void test_race(void)
{
	pthread_t thread[2];
	unsigned long sweeps = 0, wrong = 0;
	double end = race_end(3);

	race_fd = new_file(ALL);
	race_map = gmem_map(race_fd, SIZE);
	set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, SIZE, race_map,
		   race_fd, 0, NULL);
	pthread_create(&thread[0], NULL, race_touch, NULL);
	pthread_create(&thread[1], NULL, race_punch, NULL);
	while (now() < end) {
		wrong += !!vcpu_sweep(&vm.vcpu[0], MEM_GPA, MEM_GPA + SIZE);
		sweeps++;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	printf("# %lu sweeps\n", sweeps);
	ok_eq(wrong, 0, "host, guest and punch race for the same pages");
	set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL);
	munmap(race_map, SIZE);
	close(race_fd);
}

int main(void)
{
	vm_init(&vm, 0, 1);
	if (!(vm_cap(&vm, GM_CAP_GMEM_FLAGS) & GM_FLAG_NO_DIRECT_MAP)) {
		skip_all("KVM_CAP_GUEST_MEMFD_FLAGS lacks NO_DIRECT_MAP");
	}
	for (unsigned long i = 0; i < PAGE; i++) {
		pattern[i] = i * 131 + (i >> 5) + 17;
	}
	test_flags();
	test_direct_map();
	test_access();
	test_guest();
	test_race();
	vm_free(&vm);
	return tap_done();
}
