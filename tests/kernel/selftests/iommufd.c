// SPDX-License-Identifier: GPL-2.0
/*
 * IOMMU_IOAS_MAP_FILE of a guest_memfd, seen by a device with a DMA engine:
 * shared pages are mapped, without references; punching and converting takes
 * them away before it returns; converting back and populating restores them.
 */
#include "edu.h"
#include "phys.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/uio.h>

#define PAGES	16ul
#define SIZE	(PAGES * PAGE)
#define IOVA	0x1000000ul
#define SHARED	(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED)
#define PARAM	"/sys/module/kvm/parameters/gmem_in_place_conversion"
#define TRACING	"/sys/kernel/tracing/"

static struct vm vm;
static struct edu edu;
static uint32_t ioas;

static int convert(int fd, unsigned long page, unsigned long pages,
		   uint64_t attributes)
{
	struct gm_attributes2 arg = { .offset = page * PAGE,
				      .size = pages * PAGE,
				      .attributes = attributes };

	return ioctl(fd, GM_SET_ATTRIBUTES2, &arg);
}

static int new_file(uint8_t **map)
{
	int fd = gmem_create(&vm, SIZE, SHARED);

	if (fd < 0) {
		fatal("guest_memfd");
	}
	*map = gmem_map(fd, SIZE);
	for (unsigned long i = 0; i < PAGES; i++) {
		memset(*map + i * PAGE, i + 1, PAGE);
	}
	return fd;
}

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(after_fault, 1);
}

/* Does the device read the page's own byte? */
static int sees(unsigned long page)
{
	return edu_read(&edu, IOVA + page * PAGE) == (int)page + 1;
}

static void test_refused(void)
{
	uint8_t *p;
	int fd = new_file(&p), f = edu.iommufd;

	ok_errno(ioas_map_file(f, ioas, fd, 1, PAGE, IOVA), EINVAL,
		 "unaligned start");
	ok_errno(ioas_map_file(f, ioas, fd, SIZE, PAGE, IOVA), EINVAL,
		 "past the end");
	ok_errno(ioas_map_file(f, ioas, fd, PAGE, SIZE, IOVA), EINVAL,
		 "over the end");
	ok_errno(ioas_map_file(f, ioas, fd, 0, 0, IOVA), EINVAL, "length 0");
	ok_errno(ioas_map_file(f, ioas, -1, 0, PAGE, IOVA), EBADF, "no file");
	ok_call(ioas_map_file(f, ioas, fd, 0, SIZE, IOVA), "mapping a file");
	ok_errno(ioas_map_file(f, ioas, fd, 0, PAGE, IOVA + PAGE), EEXIST,
		 "an address that is in use");
	ok_errno(ioas_unmap(f, ioas, IOVA, PAGE), ENOENT,
		 "unmapping a part");
	ok_call(ioas_unmap(f, ioas, IOVA, SIZE), "unmapping all");
	munmap(p, SIZE);
	close(fd);
}

static void test_dma(void)
{
	uint8_t *p;
	int fd = new_file(&p);

	ok_call(ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA), "map");
	ok(sees(0) && sees(15), "the device reads the file");
	edu_write(&edu, IOVA + PAGE, 99);
	ok_eq(p[PAGE], 99, "and writes it");
	munmap(p, SIZE);
	close(fd);
	ok_eq(edu_read(&edu, IOVA + PAGE), 99,
	      "closed by its owner, the file is there until unmapped");
	ok_call(ioas_unmap(edu.iommufd, ioas, IOVA, SIZE), "unmap");
	ok(edu_read(&edu, IOVA + PAGE) != 99, "the device has lost it");
}

static void test_punch(void)
{
	uint8_t *p;
	int fd = new_file(&p);

	ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA);
	ok(sees(4), "a page that is there");
	ok_call(punch(fd, 4 * PAGE, PAGE), "punching it does not wait");
	ok(!sees(4) && sees(3) && sees(5), "and takes it from the device");
	edu_write(&edu, IOVA + 4 * PAGE, 77);
	ok_eq(p[4 * PAGE], 0, "which cannot write the new page by accident");
	p[4 * PAGE] = 5;
	ok(sees(4), "populated again, it is mapped again");
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	munmap(p, SIZE);
	close(fd);
}

static void test_absent(void)
{
	int fd = gmem_create(&vm, SIZE, SHARED);
	uint8_t *p = gmem_map(fd, SIZE);

	ok_call(ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA),
		"mapping an empty file");
	edu_write(&edu, IOVA + PAGE, 3);
	ok_eq(p[PAGE], 3, "creates its pages");
	ok(phys_flags(phys_of(p + PAGE)) & PHYS_DIRTY,
	   "which are dirty: reclaim and offlining leave them in the file");
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	munmap(p, SIZE);
	close(fd);
}

static void test_convert(void)
{
	uint8_t *p;
	int fd = new_file(&p), fds[2];
	struct iovec held;

	ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA);
	ok_call(convert(fd, 2, 2, GM_ATTR_PRIVATE),
		"to private, with the range mapped for a device");
	ok(!sees(2) && !sees(3), "the device has lost the pages");
	ok(sees(1) && sees(4), "but not their neighbours");
	ok_call(convert(fd, 2, 2, 0), "to shared");
	ok(sees(2) && sees(3), "the device has them back, with their content");

	held = (struct iovec){ p + 6 * PAGE, PAGE };
	if (pipe(fds) || vmsplice(fds[1], &held, 1, 0) != (long)PAGE) {
		fatal("vmsplice");
	}
	ok_errno(convert(fd, 5, 3, GM_ATTR_PRIVATE), EAGAIN,
		 "a held page to private");
	ok(sees(5) && sees(6) && sees(7), "the device keeps the range");
	close(fds[0]);
	close(fds[1]);

	convert(fd, 8, 1, GM_ATTR_PRIVATE);
	punch(fd, 8 * PAGE, PAGE);
	ok_call(convert(fd, 8, 1, 0), "a punched private page to shared");
	edu_write(&edu, IOVA + 8 * PAGE, 44);
	ok_eq(p[8 * PAGE], 44, "is created for the device");

	convert(fd, 9, 1, GM_ATTR_PRIVATE);
	ok_call(edu_detach(&edu), "detach");
	convert(fd, 10, 1, GM_ATTR_PRIVATE);
	ok_call(edu_attach(&edu, ioas), "attach");
	ok(!sees(9) && !sees(10) && sees(11),
	   "a new domain has the shared pages only");
	convert(fd, 9, 2, 0);
	ok(sees(9) && sees(10), "and gets what becomes shared");
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);

	convert(fd, 1, 1, GM_ATTR_PRIVATE);
	ok_call(ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA),
		"mapping a file with a private page");
	ok(sees(0) && !sees(1) && sees(2), "leaves that page out");
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	munmap(p, SIZE);
	close(fd);
}

/* Record what is mapped and unmapped in the IOMMU from here on. */
static void trace_start(void)
{
	int fd = open(TRACING "trace", O_WRONLY | O_TRUNC);

	if (fd < 0) {
		fatal(TRACING "trace");
	}
	close(fd);
	edu_write_file(TRACING "events/iommu/map/enable", "1");
	edu_write_file(TRACING "events/iommu/unmap/enable", "1");
}

/* How often was something done since, " map:" or " unmap:"? */
static unsigned long traced(const char *what)
{
	FILE *f = fopen(TRACING "trace", "r");
	unsigned long count = 0;
	char line[256];

	if (!f) {
		fatal(TRACING "trace");
	}
	while (fgets(line, sizeof(line), f)) {
		count += line[0] != '#' && strstr(line, what);
	}
	fclose(f);
	return count;
}

static int can_trace(void)
{
	mount("tracefs", TRACING, "tracefs", 0, NULL);
	return !access(TRACING "events/iommu/unmap/enable", W_OK);
}

/* Does the file have the page? */
static int is_there(void *p)
{
	unsigned char there;

	if (mincore(p, PAGE, &there)) {
		fatal("mincore");
	}
	return there & 1;
}

/* A conversion leaves alone what it does not convert. */
static void test_undisturbed(void)
{
	uint8_t *p;
	int fd = new_file(&p), fds[2];
	struct iovec held = { p + 6 * PAGE, PAGE };

	if (!can_trace()) {
		skip("what stays is not disturbed", "no tracepoints");
		return;
	}
	ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA);
	punch(fd, 7 * PAGE, PAGE);
	if (pipe(fds) || vmsplice(fds[1], &held, 1, 0) != (long)PAGE) {
		fatal("vmsplice");
	}
	trace_start();
	ok_errno(convert(fd, 4, 5, GM_ATTR_PRIVATE), EAGAIN,
		 "a held page to private");
	ok_eq(traced(" unmap:"), 0, "takes nothing from the device");
	ok(!is_there(p + 7 * PAGE), "and fills no hole");
	close(fds[0]);
	close(fds[1]);

	convert(fd, 2, 1, GM_ATTR_PRIVATE);
	trace_start();
	ok_call(convert(fd, 0, PAGES, 0), "pages to shared that are but for one");
	ok_eq(traced(" unmap:"), 0, "takes nothing from the device");
	ok_eq(traced(" map:"), 1, "and gives it that page");
	ok(sees(2) && !is_there(p + 7 * PAGE), "and fills no hole");

	convert(fd, 2, 2, GM_ATTR_PRIVATE);
	trace_start();
	ok_call(convert(fd, 1, 4, GM_ATTR_PRIVATE),
		"pages to private that are in part");
	ok_eq(traced(" unmap:"), 2, "takes the others from the device");
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	munmap(p, SIZE);
	close(fd);
}

static void test_memory_error(void)
{
	uint8_t *p;
	int fd = new_file(&p);
	uint64_t phys;

	ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA);
	if (!memory_error(p + PAGE)) {
		skip("memory errors", "this kernel cannot inject them");
		goto out;
	}
	ok(!sees(1) && sees(2), "the device loses a poisoned page");
	ok_call(replace_page(fd, PAGE, p + PAGE), "punched");
	p[PAGE] = 2;
	ok(sees(1), "and populated, it has a new one");
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	munmap(p, SIZE);
	close(fd);

	fd = blank_poisoned_file(&vm, SIZE, &phys,
				 "a poisoned, preallocated page");
	if (fd < 0) {
		return;
	}
	p = gmem_map(fd, SIZE);
	ok_call(ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA),
		"mapping a file with a poisoned, preallocated page");
	p[PAGE] = 2;
	ok(edu_read(&edu, IOVA) != 0x5a && sees(1), "leaves that page out");
	ok(is_still_blank(phys), "nobody has cleared it");
out:
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	munmap(p, SIZE);
	close(fd);
}

/* In a context without a device, and without memory that is pinned. */
static void test_other_context(void)
{
	const uint64_t huge = 1ul << 40;
	uint32_t change[2] = { sizeof(change) }, other;
	int f = open("/dev/iommu", O_RDWR | O_CLOEXEC), fd;
	uint8_t *p;

	other = ioas_alloc(f);
	fd = new_file(&p);
	ok_call(ioas_map_file(f, other, fd, 0, SIZE, IOVA), "map");
	ok_call(iommu_ioctl(f, 0x92, change), "IOMMU_IOAS_CHANGE_PROCESS");
	ioas_unmap(f, other, IOVA, SIZE);
	munmap(p, SIZE);
	close(fd);

	fd = gmem_create(&vm, huge, GM_FLAG_MMAP);
	ok_call(convert(fd, 5, 1, 0), "a TiB, private but for a page");
	ok_call(ioas_map_file(f, other, fd, 0, huge, huge), "map");
	ok_call(convert(fd, huge / PAGE - 1, 1, 0), "one more to shared");
	ok_call(ioas_unmap(f, other, huge, huge), "unmap");
	close(fd);
	ioas_destroy(f, other);
	close(f);
}

static void test_partial(void)
{
	uint8_t *p;
	int fd = new_file(&p), f = edu.iommufd;
	uint32_t other = ioas_alloc(f);

	ok_call(ioas_map_file(f, ioas, fd, 4 * PAGE, 4 * PAGE,
			      IOVA + 4 * PAGE), "a part of a file");
	ok(sees(4) && sees(7) && !sees(3) && !sees(8), "and no more");
	convert(fd, 0, 6, GM_ATTR_PRIVATE);
	ok(!sees(4) && !sees(5) && sees(6), "a conversion across its edge");
	convert(fd, 0, 6, 0);
	ok(sees(4) && sees(5) && !sees(3), "and back");

	edu_scratch(&edu, other);
	ok_call(ioas_map_file(f, other, fd, 0, 2 * PAGE, IOVA),
		"the file in another address space");
	ok_call(ioas_copy(f, other, ioas, 4 * PAGE, IOVA + 4 * PAGE,
			  IOVA + 4 * PAGE), "which gets a copy of the part");
	convert(fd, 5, 1, GM_ATTR_PRIVATE);
	ok_call(edu_attach(&edu, other), "the device moves there");
	ok(sees(0) && sees(1) && sees(4) && !sees(5) && sees(6),
	   "and sees both");
	convert(fd, 5, 1, 0);
	ok(sees(5), "conversion reaches the copy");
	ioas_unmap(f, ioas, IOVA + 4 * PAGE, 4 * PAGE);
	ok(sees(6), "which outlives the original");
	punch(fd, 6 * PAGE, PAGE);
	ok(!sees(6), "a punch reaches it");
	ok_call(edu_attach(&edu, ioas), "the device moves back");
	ioas_unmap(f, other, 0, ~0ull);
	ioas_destroy(f, other);
	munmap(p, SIZE);
	close(fd);
}

/* A guest adds 1 to every page, until it is stopped or fails. */
static int stop;
static unsigned long sweeps;

static void *guest(void *arg)
{
	int again = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		again = again ? vcpu_run(&vm.vcpu[0]) :
				vcpu_sweep(&vm.vcpu[0], MEM_GPA, MEM_GPA + SIZE);
		if (!again) {
			__atomic_fetch_add(&sweeps, 1, __ATOMIC_RELAXED);
			continue;
		}
		/* In the storm an access can lose a race: it is repeated. */
		if (errno != EFAULT || !vcpu_fault(&vm.vcpu[0]) || !arg) {
			return (void *)(long)errno;
		}
	}
	return NULL;
}

static void wait_for_sweeps(void)
{
	unsigned long seen = __atomic_load_n(&sweeps, __ATOMIC_RELAXED);
	double end = now() + 30;

	while (__atomic_load_n(&sweeps, __ATOMIC_RELAXED) < seen + 3) {
		usleep(1000);
		if (now() > end) {
			fatal("the guest stands still");
		}
	}
}

static int bind(int fd, uint8_t *map)
{
	return set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, SIZE, map, fd,
			  0, NULL);
}

static void unbind(void)
{
	set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL);
}

static void test_close(void)
{
	uint8_t *p;
	int fd = new_file(&p);
	pthread_t thread;
	uint32_t value;
	void *ret;

	ioas_map_file(edu.iommufd, ioas, fd, 0, SIZE, IOVA);
	if (bind(fd, p)) {
		fatal("bound slot");
	}
	stop = 0;
	pthread_create(&thread, NULL, guest, NULL);
	wait_for_sweeps();
	munmap(p, SIZE);
	close(fd);
	wait_for_sweeps();
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread, &ret);
	ok_eq((long)ret, 0, "closed under a guest and a device: it goes on");
	ok(!vcpu_read(&vm.vcpu[0], MEM_GPA + 3 * PAGE, &value) &&
	   edu_read(&edu, IOVA + 3 * PAGE) == (uint8_t)value,
	   "both see the same page");
	stop = 0;
	pthread_create(&thread, NULL, guest, NULL);
	wait_for_sweeps();
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	pthread_join(thread, &ret);
	ok_eq((long)ret, EFAULT, "unmapped, the guest has lost it");
	ok_errno(vcpu_read(&vm.vcpu[0], MEM_GPA, &value), EFAULT,
		 "and does not get it back");
	unbind();
}

/* Convert, punch and populate while mappings and domains come and go. */
static int race_fd;
static uint8_t *race_map;

static void *race_file(void *arg)
{
	unsigned int seed = 5;
	unsigned long wrong = 0;

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		unsigned long page = rand_r(&seed) % PAGES;
		unsigned long pages = 1 + rand_r(&seed) % (PAGES - page);

		switch (rand_r(&seed) % 4) {
		case 0:
			if (convert(race_fd, page, pages, GM_ATTR_PRIVATE)) {
				wrong += errno != EAGAIN;
			}
			break;
		case 1:
			wrong += !!convert(race_fd, page, pages, 0);
			break;
		case 2:
			wrong += !!punch(race_fd, page * PAGE, pages * PAGE);
			break;
		case 3:
			fallocate(race_fd, FALLOC_FL_KEEP_SIZE, page * PAGE,
				  pages * PAGE);
		}
	}
	return (void *)wrong;
}

static void *race_domain(void *arg)
{
	unsigned long wrong = 0;

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		wrong += !!edu_detach(&edu);
		wrong += !!edu_attach(&edu, ioas);
	}
	return (void *)wrong;
}

static void test_race(void)
{
	unsigned long wrong = 0, maps = 0;
	pthread_t thread[3];
	double end = race_end(4);
	void *ret;

	race_fd = new_file(&race_map);
	ioas_map_file(edu.iommufd, ioas, race_fd, 0, SIZE, IOVA);
	wrong += !!bind(race_fd, race_map);
	stop = sweeps = 0;
	pthread_create(&thread[0], NULL, race_file, NULL);
	pthread_create(&thread[1], NULL, race_domain, NULL);
	pthread_create(&thread[2], NULL, guest, &stop);
	while (now() < end) {
		uint64_t part = maps % 8 * PAGE, iova = IOVA + SIZE;

		wrong += !!ioas_map_file(edu.iommufd, ioas, race_fd, part,
					 SIZE - part, iova);
		wrong += !!ioas_unmap(edu.iommufd, ioas, iova, SIZE - part);
		maps++;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], &ret);
		wrong += (unsigned long)ret;
	}
	unbind();
	printf("# %lu mappings, %lu sweeps\n", maps, sweeps);
	wrong += !!convert(race_fd, 0, PAGES, 0);
	for (unsigned long i = 0; i < PAGES; i++) {
		race_map[i * PAGE] = i + 1;
		wrong += !sees(i);
	}
	ok_eq(wrong, 0, "after the storm the device sees every page");
	munmap(race_map, SIZE);
	close(race_fd);
	ok_call(ioas_unmap(edu.iommufd, ioas, IOVA, SIZE), "unmap");
}

int main(void)
{
	int probe, kvm = gm_open_kvm();
	uint8_t *p;

	if (access(PARAM, W_OK) ||
	    !(ioctl(kvm, KVM_CHECK_EXTENSION, GM_CAP_VM_TYPES) &
	      1 << GM_SW_PROTECTED_VM)) {
		skip_all("no in-place conversion");
	}
	close(kvm);
	signal(SIGBUS, on_sigbus);
	edu_open(&edu);
	edu_write_file(PARAM, "Y");
	vm_init(&vm, GM_SW_PROTECTED_VM, 1);
	ioas = ioas_alloc(edu.iommufd);
	edu_scratch(&edu, ioas);
	if (edu_attach(&edu, ioas)) {
		fatal("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
	}
	probe = new_file(&p);
	if (ioas_map_file(edu.iommufd, ioas, probe, 0, SIZE, IOVA) &&
	    errno == EINVAL) {
		skip_all("IOMMU_IOAS_MAP_FILE does not take a guest_memfd");
	}
	ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	munmap(p, SIZE);
	close(probe);

	test_refused();
	test_dma();
	test_punch();
	test_absent();
	test_convert();
	test_undisturbed();
	test_memory_error();
	test_other_context();
	test_partial();
	test_close();
	test_race();
	close(edu.device);
	close(edu.iommufd);
	vm_free(&vm);
	edu_write_file(PARAM, "N");
	return tap_done();
}
