// SPDX-License-Identifier: GPL-2.0
/*
 * A bound memslot has nothing to do with the VMM's mapping of the file: what
 * happens to the mapping leaves the guest's translations alone; punching and
 * closing the file do not.
 */
#include "stats.h"

#define SIZE	(16 * PAGE)

static struct vm vm;

/* The guest reads its first page; how many pages had to be mapped for that? */
static uint64_t faults_of_read(void)
{
	return vcpu_faults_of_read(&vm.vcpu[0], MEM_GPA);
}

static void disturb(uint8_t **map, int fd, int how)
{
	switch (how) {
	case 0:
		mprotect(*map, SIZE, PROT_NONE);
		break;
	case 1:
		mprotect(*map, SIZE, PROT_READ | PROT_WRITE);
		(*map)[0] = 1;
		madvise(*map, SIZE, MADV_DONTNEED);
		break;
	case 2:
		(*map)[0] = 1;
		if (mmap(*map, SIZE, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
			fatal("mmap over the mapping");
		}
		break;
	case 3:
		(*map)[0] = 1;
		munmap(*map, SIZE);
		break;
	}
}

static void test(const char *kind, uint32_t flags, uint64_t want)
{
	static const char *const name[] = {
		"mprotect", "MADV_DONTNEED", "mmap over it", "munmap",
	};
	int fd = gmem_create(&vm, SIZE, GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);
	uint8_t *map = gmem_map(fd, SIZE);
	char text[80];
	uint32_t value;

	if (set_region(&vm, 1, flags, MEM_GPA, SIZE, map, fd, 0, NULL)) {
		fatal("slot");
	}
	map[0] = 1;
	ok(faults_of_read() > 0 && faults_of_read() == 0,
	   "%s slot: the first read faults, the second does not", kind);
	for (int how = 0; how < 4; how++) {
		disturb(&map, fd, how);
		if (!want) {
			snprintf(text, sizeof(text),
				 "%s slot: no fault after %s", kind,
				 name[how]);
			ok_eq(faults_of_read(), 0, text);
		} else if (how == 1 || how == 2) {
			ok(faults_of_read() > 0, "%s slot: a fault after %s",
			   kind, name[how]);
		}
	}
	if (!want) {
		punch(fd, 0, PAGE);
		ok(faults_of_read() > 0, "%s slot: a fault after a punch",
		   kind);
		ok(!vcpu_read(&vm.vcpu[0], MEM_GPA, &value) && value == 0,
		   "%s slot: the punched page is zero", kind);
		close(fd);
		ok_errno(vcpu_read(&vm.vcpu[0], MEM_GPA, &value), EFAULT,
			 "bound slot: no access after the file is closed");
	} else {
		close(fd);
	}
	set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL);
}

/*
 * userspace_addr need not be a mapping of the file.  With shadow paging
 * (kvm_amd.npt=0), KVM maps neighbours of a page as well: of the file, or not.
 */
static void test_other_memory(void)
{
	int fd = gmem_create(&vm, SIZE, GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);
	uint8_t *map = gmem_map(fd, SIZE);
	void *other = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned long wrong = 0;
	uint32_t value;

	memset(map, 1, SIZE);
	memset(other, 2, SIZE);
	if (set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, SIZE, other, fd, 0,
		       NULL)) {
		fatal("slot");
	}
	for (unsigned long i = 0; i < SIZE; i += PAGE) {
		wrong += vcpu_read(&vm.vcpu[0], MEM_GPA + i, &value) ||
			 value != 0x01010101;
	}
	ok_eq(wrong, 0, "a guest never sees what is at userspace_addr");
	set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL);
	munmap(other, SIZE);
	munmap(map, SIZE);
	close(fd);
}

/* The host maps, touches and unmaps while the guest counts in the file. */
static int stop;

static void *churn(void *arg)
{
	int fd = *(int *)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		volatile uint8_t *p = gmem_map(fd, SIZE);

		(void)*p;
		munmap((void *)p, SIZE);
	}
	return NULL;
}

static void test_race(void)
{
	int fd = gmem_create(&vm, SIZE, GM_FLAG_MMAP | GM_FLAG_INIT_SHARED);
	uint32_t *map = gmem_map(fd, SIZE);
	unsigned long sweeps = 0, wrong = 0;
	double end = race_end(2);
	pthread_t thread;

	if (set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, SIZE, map, fd, 0,
		       NULL)) {
		fatal("slot");
	}
	pthread_create(&thread, NULL, churn, &fd);
	while (now() < end) {
		wrong += !!vcpu_sweep(&vm.vcpu[0], MEM_GPA, MEM_GPA + SIZE);
		sweeps++;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	for (unsigned long i = 0; i < SIZE; i += PAGE) {
		wrong += map[i / 4] != sweeps;
	}
	ok_eq(wrong, 0, "mapping and unmapping under a running guest");
	set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL);
	munmap(map, SIZE);
	close(fd);
}

int main(void)
{
	vm_init(&vm, 0, 1);
	if (!(vm_cap(&vm, GM_CAP_GMEM_FLAGS) & GM_FLAG_INIT_SHARED)) {
		skip_all("this kernel has no guest_memfd that can be mapped");
	}
	test("bound", GM_MEM_GUEST_MEMFD, 0);
	test("ordinary", 0, 1);
	test_other_memory();
	test_race();
	vm_free(&vm);
	return tap_done();
}
