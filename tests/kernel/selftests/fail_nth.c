// SPDX-License-Identifier: GPL-2.0
/*
 * Each call that can run out of memory does so at every place where it can:
 * the first allocation or copy to or from the process fails, then the second,
 * until one round is through without a failure. A call that fails leaves the
 * memory readable, and succeeds when it is tried again; but iommufd does not undo
 * what it has done when it cannot tell the result.
 */
#include "edu.h"
#include "uffd.h"

#include <setjmp.h>
#include <signal.h>

#define PAGES		16ul
#define FULL		8ul	/* pages with content; the others are absent */
#define SIZE		(PAGES * PAGE)
#define IOVA		0x1000000ul
#define SHARED		(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED)
#define PARAM		"/sys/module/kvm/parameters/gmem_in_place_conversion"
#define DEBUGFS		"/sys/kernel/debug/"

static struct vm vm;
static struct edu edu;
static int nth, have_edu, uffd, file;
static int plain;	/* a default VM, whose memory cannot be private */
static uint8_t *map;
static uint32_t ioas, other_ioas;
static unsigned long *bitmap;
static sigjmp_buf after_fault;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(after_fault, 1);
}

static void write_debugfs(const char *file, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), DEBUGFS "%s", file);
	edu_write_file(path, value);
}

/* Any allocation can fail, and the log stays short. */
static void set_up_injection(void)
{
	static const char *const quiet[] = {
		"failslab/verbose", "fail_page_alloc/verbose",
		"fail_usercopy/verbose", "fail_iommufd/verbose",
	};

	write_debugfs("failslab/ignore-gfp-wait", "N");
	write_debugfs("fail_page_alloc/ignore-gfp-wait", "N");
	write_debugfs("fail_page_alloc/ignore-gfp-highmem", "N");
	write_debugfs("fail_page_alloc/min-order", "0");
	for (int i = 0; i < 4; i++) {
		write_debugfs(quiet[i], "0");
	}
}

static void arm(int n)
{
	char text[16];
	int size = snprintf(text, sizeof(text), "%d", n);

	if (pwrite(nth, text, size, 0) != size) {
		fatal("fail-nth");
	}
}

/* Did the failure happen before this call? */
static int disarm(void)
{
	char text[16] = "1";
	int happened = pread(nth, text, sizeof(text), 0) > 0 && text[0] == '0' &&
		       text[1] == '\n';

	while (pwrite(nth, "0", 1, 0) != 1) {
		if (errno != EFAULT) {
			fatal("fail-nth");
		}
		happened = 0;
	}
	return happened;
}

static int convert(unsigned long page, unsigned long pages, uint64_t attributes)
{
	struct gm_attributes2 arg = { .offset = page * PAGE,
				      .size = pages * PAGE,
				      .attributes = attributes };

	return ioctl(file, GM_SET_ATTRIBUTES2, &arg);
}

static int slot(uint32_t flags)
{
	return set_region(&vm, 1, flags, MEM_GPA, SIZE, map, file, 0, bitmap);
}

static void new_file_with(uint64_t flags)
{
	file = gmem_create(&vm, SIZE, flags);
	if (file < 0) {
		fatal("guest_memfd");
	}
	map = gmem_map(file, SIZE);
	for (unsigned long i = 0; i < FULL; i++) {
		map[i * PAGE] = i + 1;
	}
}

static void new_file(void)
{
	new_file_with(SHARED);
}

static void new_unmapped_file(void)
{
	new_file_with(SHARED | GM_FLAG_NO_DIRECT_MAP);
}

static void bound_file(void)
{
	new_file();
	*bitmap = 0;
	if (slot(GM_MEM_GUEST_MEMFD)) {
		fatal("slot");
	}
}

static void userfault_file(void)
{
	new_file();
	*bitmap = 0;
	if (slot(GM_MEM_GUEST_MEMFD | GM_MEM_USERFAULT)) {
		fatal("slot");
	}
}

static void logged_file(void)
{
	new_file();
	if (slot(GM_MEM_GUEST_MEMFD | GM_MEM_LOG_DIRTY)) {
		fatal("slot");
	}
}

static void private_file(void)
{
	bound_file();
	if (convert(0, FULL, GM_ATTR_PRIVATE)) {
		fatal("conversion");
	}
}

static void armed_file(void)
{
	new_file();
	if (uffd_register(uffd, map, SIZE, UFFDIO_REGISTER_MODE_MISSING |
			  UFFDIO_REGISTER_MODE_MINOR |
			  UFFDIO_REGISTER_MODE_WP, NULL)) {
		fatal("UFFDIO_REGISTER");
	}
	madvise(map, PAGE, MADV_DONTNEED);
}

static void device_file(void)
{
	bound_file();
	if (ioas_map_file(edu.iommufd, ioas, file, 0, SIZE, IOVA)) {
		fatal("IOMMU_IOAS_MAP_FILE");
	}
}

static void device_hole(void)
{
	device_file();
	if (punch(file, FULL * PAGE, PAGE)) {
		fatal("punch");
	}
}

/* Conversion back has to create pages for the device. */
static void device_private_file(void)
{
	device_file();
	if (convert(FULL, FULL, GM_ATTR_PRIVATE) ||
	    punch(file, FULL * PAGE, FULL * PAGE)) {
		fatal("conversion");
	}
}

/* The same, but only the first page is missing, the others were mapped once. */
static void device_private_hole(void)
{
	device_file();
	if (convert(0, PAGES, GM_ATTR_PRIVATE) ||
	    punch(file, FULL * PAGE, PAGE)) {
		fatal("conversion");
	}
}

static void device_detached(void)
{
	device_file();
	if (edu_detach(&edu)) {
		fatal("detach");
	}
}

static int create(void)
{
	int fd = gmem_create(&vm, SIZE, SHARED);

	return fd < 0 ? -1 : close(fd);
}

static int create_unmapped(void)
{
	int fd = gmem_create(&vm, SIZE, SHARED | GM_FLAG_NO_DIRECT_MAP);

	return fd < 0 ? -1 : close(fd);
}

static int do_mmap(void)
{
	void *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	return p == MAP_FAILED ? -1 : munmap(p, SIZE);
}

static int do_fallocate(void)
{
	return fallocate(file, FALLOC_FL_KEEP_SIZE, FULL * PAGE, 2 * PAGE);
}

static int do_punch(void)
{
	return punch(file, (FULL - 1) * PAGE, 2 * PAGE);
}

static int touch(void)
{
	if (sigsetjmp(after_fault, 1)) {
		errno = EFAULT;
		return -1;
	}
	*(volatile uint8_t *)(map + FULL * PAGE) = 1;
	return 0;
}

static int bind(void)
{
	return slot(GM_MEM_GUEST_MEMFD);
}

static int bind_userfault(void)
{
	return slot(GM_MEM_GUEST_MEMFD | GM_MEM_USERFAULT);
}

static int bind_logged(void)
{
	return slot(GM_MEM_GUEST_MEMFD | GM_MEM_LOG_DIRTY);
}

static int get_log(void)
{
	static uint64_t bits;
	struct kvm_dirty_log arg = { .slot = 1, .dirty_bitmap = &bits };

	return ioctl(vm.fd, KVM_GET_DIRTY_LOG, &arg);
}

static int clear_log(void)
{
	static uint64_t bits = ~0ull;
	struct kvm_clear_dirty_log arg = { .slot = 1, .num_pages = PAGES,
					   .dirty_bitmap = &bits };

	return ioctl(vm.fd, KVM_CLEAR_DIRTY_LOG, &arg);
}

static int ordinary_userfault(void)
{
	return slot(GM_MEM_USERFAULT);
}

static int unbind(void)
{
	return set_region(&vm, 1, 0, 0, 0, NULL, 0, 0, NULL);
}

static int guest_reads(void)
{
	uint32_t value;

	return vcpu_read(&vm.vcpu[0], MEM_GPA, &value);
}

static int guest_writes(void)
{
	return vcpu_write(&vm.vcpu[0], MEM_GPA + FULL * PAGE, 1);
}

static int prefault(void)
{
	struct gm_prefault arg = { .gpa = MEM_GPA, .size = SIZE };

	return ioctl(vm.vcpu[0].fd, GM_PREFAULT, &arg);
}

static int to_private(void)
{
	return convert(0, PAGES, GM_ATTR_PRIVATE);
}

static int to_shared(void)
{
	return convert(0, PAGES, 0);
}

static int do_register(void)
{
	return uffd_register(uffd, map, SIZE, UFFDIO_REGISTER_MODE_MISSING,
			     NULL);
}

static int copy(void)
{
	static uint8_t page[PAGE];

	return uffd_copy(uffd, map + FULL * PAGE, page, PAGE);
}

static int zero(void)
{
	return uffd_zero(uffd, map + FULL * PAGE, PAGE);
}

static int continue_(void)
{
	return uffd_continue(uffd, map, PAGE);
}

static int poison(void)
{
	return uffd_poison(uffd, map + FULL * PAGE, PAGE);
}

static int protect(void)
{
	return uffd_wp(uffd, map, SIZE, UFFDIO_WRITEPROTECT_MODE_WP);
}

static int map_file(void)
{
	return ioas_map_file(edu.iommufd, ioas, file, 0, SIZE, IOVA);
}

static int map_file_unused(void)
{
	return ioas_map_file(edu.iommufd, other_ioas, file, 0, SIZE, IOVA);
}

static int copy_mapping(void)
{
	return ioas_copy(edu.iommufd, ioas, ioas, 4 * PAGE, IOVA + SIZE, IOVA);
}

static int attach(void)
{
	return edu_attach(&edu, ioas);
}

static int detach(void)
{
	return edu_detach(&edu);
}

static int unmap(void)
{
	return ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
}

/* Once the host has touched every page, the device must have them all. */
static int faults_repair(void)
{
	int good = 1;

	for (unsigned long i = 0; i < PAGES; i++) {
		map[i * PAGE] = i + 1;
	}
	for (unsigned long i = FULL; i < PAGES && good; i++) {
		good = edu_read(&edu, IOVA + i * PAGE) == (int)i + 1;
	}
	return good;
}

/* @done: what the call says when it is repeated after its success */
struct test {
	const char *name;
	void (*before)(void);
	int (*call)(void);
	int device, done;
};

static const struct test log_tests[] = {
	{ "a bound slot with a log", new_file, bind_logged, 0, 0 },
	{ "the log begins", bound_file, bind_logged, 0, 0 },
	{ "the log ends", logged_file, bind, 0, 0 },
	{ "deleting a bound slot with a log", logged_file, unbind, 0, 0 },
	{ "KVM_GET_DIRTY_LOG", logged_file, get_log, 0, 0 },
	{ "KVM_CLEAR_DIRTY_LOG", logged_file, clear_log, 0, 0 },
	{ "a guest's write to a logged page", logged_file, guest_writes, 0, 0 },
	{ "KVM_PRE_FAULT_MEMORY of logged pages", logged_file, prefault, 0, 0 },
};

static const struct test tests[] = {
	{ "KVM_CREATE_GUEST_MEMFD", new_file, create, 0, 0 },
	{ "KVM_CREATE_GUEST_MEMFD, NO_DIRECT_MAP", new_file, create_unmapped,
	  0, 0 },
	{ "mmap", new_file, do_mmap, 0, 0 },
	{ "fallocate", bound_file, do_fallocate, 0, 0 },
	{ "a punch", device_file, do_punch, 1, 0 },
	{ "a host's access", new_file, touch, 0, 0 },
	{ "a host's access, NO_DIRECT_MAP", new_unmapped_file, touch, 0, 0 },
	{ "a host's access, a device told", device_hole, touch, 1, 0 },
	{ "a bound slot", new_file, bind, 0, 0 },
	{ "a bound slot with userfault", new_file, bind_userfault, 0, 0 },
	{ "an ordinary slot with userfault", new_file, ordinary_userfault, 0, 0 },
	{ "setting the userfault flag", bound_file, bind_userfault, 0, 0 },
	{ "clearing the userfault flag", userfault_file, bind, 0, 0 },
	{ "deleting a bound slot", bound_file, unbind, 0, 0 },
	{ "a guest's access", bound_file, guest_reads, 0, 0 },
	{ "a guest's access with userfault", userfault_file, guest_reads, 0, 0 },
	{ "a guest's access to a new page", bound_file, guest_writes, 0, 0 },
	{ "KVM_PRE_FAULT_MEMORY", bound_file, prefault, 0, 0 },
	{ "conversion to private", bound_file, to_private, 0, 0 },
	{ "conversion to shared", private_file, to_shared, 0, 0 },
	{ "conversion to private under a device", device_file, to_private, 1, 0 },
	{ "conversion to shared under a device", device_private_file,
	  to_shared, 1, 0 },
	{ "the same, and the device's faults", device_private_hole,
	  to_shared, 1, 0 },
	{ "UFFDIO_REGISTER", new_file, do_register, 0, 0 },
	{ "UFFDIO_COPY", armed_file, copy, 0, 0 },
	{ "UFFDIO_ZEROPAGE", armed_file, zero, 0, 0 },
	{ "UFFDIO_CONTINUE", armed_file, continue_, 0, 0 },
	{ "UFFDIO_POISON", armed_file, poison, 0, 0 },
	{ "UFFDIO_WRITEPROTECT", armed_file, protect, 0, 0 },
	{ "IOMMU_IOAS_MAP_FILE without a device", new_file, map_file_unused,
	  1, EEXIST },
	{ "IOMMU_IOAS_MAP_FILE", new_file, map_file, 1, EEXIST },
	{ "IOMMU_IOAS_COPY", device_file, copy_mapping, 1, EEXIST },
	{ "IOMMU_IOAS_UNMAP", device_file, unmap, 1, ENOENT },
	{ "attaching a device", device_detached, attach, 1, 0 },
	{ "detaching a device", device_file, detach, 1, 0 },
};

/* Is what new_file() wrote what host, guest and maybe the device read? */
static int is_intact(int device)
{
	uint32_t value;
	int good = 1;

	uffd_unregister(uffd, map, SIZE);
	unbind();
	good &= (plain || !convert(0, PAGES, 0)) && !slot(GM_MEM_GUEST_MEMFD);
	if (device) {
		ioas_unmap(edu.iommufd, ioas, IOVA, 2 * SIZE);
		ioas_unmap(edu.iommufd, other_ioas, IOVA, SIZE);
		good &= !edu_attach(&edu, ioas) && !map_file();
		good &= edu_read(&edu, IOVA) == 1;
	}
	for (unsigned long i = 0; i < FULL - 1 && good; i++) {
		good &= map[i * PAGE] == i + 1;
		good &= !vcpu_read(&vm.vcpu[0], MEM_GPA + i * PAGE, &value) &&
			value == i + 1;
	}
	return good;
}

static void end_file(void)
{
	unbind();
	if (have_edu) {
		ioas_unmap(edu.iommufd, ioas, IOVA, SIZE);
	}
	munmap(map, SIZE);
	close(file);
}

/* The debug build of iommufd injects failures of its own. */
static int is_honest(const struct test *test, int err)
{
	return err == ENOMEM || err == EFAULT || err == EAGAIN ||
	       (test->device && (err == ENOENT || err == EINVAL));
}

static void run(const struct test *test)
{
	int n, happened = 1, failures = 0, ret, err;
	int odd = 0, again = 0, lost = 0;

	for (n = 1; happened; n++) {
		test->before();
		arm(n);
		ret = test->call();
		err = errno;
		happened = disarm();
		if (ret) {
			failures++;
			if (!is_honest(test, err)) {
				printf("# failure %d: %s\n", n, strerror(err));
				odd++;
			}
			if (test->call() &&
			    !(err == EFAULT && errno == test->done)) {
				printf("# again after failure %d: %s\n", n,
				       strerror(errno));
				again++;
			}
		}
		if (test->before == device_private_hole && !faults_repair()) {
			printf("# failure %d: the device has a hole\n", n);
			lost++;
		}
		lost += !is_intact(test->device);
		end_file();
	}
	ok(!odd && !again && !lost,
	   "%s: survives %d failures, %d times by an error", test->name, n - 2,
	   failures);
}

int main(void)
{
	int types;

	nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth < 0 || access(DEBUGFS "failslab", F_OK)) {
		skip_all("this kernel has no fault injection");
	}
	vm_init(&vm, 0, 0);
	types = vm_cap(&vm, GM_CAP_VM_TYPES);
	vm_free(&vm);
	if (access(PARAM, W_OK) || types < 0 ||
	    !(types & 1 << GM_SW_PROTECTED_VM)) {
		skip_all("no in-place conversion");
	}
	set_up_injection();
	signal(SIGBUS, on_sigbus);
	edu_write_file(PARAM, "Y");
	bitmap = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	vm_init(&vm, GM_SW_PROTECTED_VM, 1);
	uffd = uffd_open(0);
	have_edu = !edu_find(&edu);
	if (have_edu) {
		ioas = ioas_alloc(edu.iommufd);
		other_ioas = ioas_alloc(edu.iommufd);
		edu_scratch(&edu, ioas);
		if (edu_attach(&edu, ioas)) {
			fatal("VFIO_DEVICE_ATTACH_IOMMUFD_PT");
		}
	}
	for (unsigned int i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (tests[i].device && !have_edu) {
			skip(tests[i].name, "no edu device");
		} else {
			run(&tests[i]);
		}
	}
	vm_free(&vm);
	vm_init(&vm, 0, 1);
	plain = 1;
	for (unsigned int i = 0; i < sizeof(log_tests) / sizeof(log_tests[0]);
	     i++) {
		run(&log_tests[i]);
	}
	close(uffd);
	vm_free(&vm);
	edu_write_file(PARAM, "N");
	return tap_done();
}
