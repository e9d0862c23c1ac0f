// SPDX-License-Identifier: GPL-2.0
/*
 * In-place conversion: KVM_SET_MEMORY_ATTRIBUTES2 on a guest_memfd of a
 * software-protected VM, and where it is refused.
 */
#include "phys.h"
#include "stats.h"
#include "uffd.h"

#include <signal.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PAGES	16ul
#define SIZE	(PAGES * PAGE)
#define SHARED	(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED)
#define PARAM	"/sys/module/kvm/parameters/gmem_in_place_conversion"

static struct vm vm;

static void on_sigbus(int sig)
{
	(void)sig;
	siglongjmp(after_fault, 1);
}

/* The byte, or -1 if reading it raises SIGBUS. */
static int peek(volatile uint8_t *p)
{
	if (sigsetjmp(after_fault, 1)) {
		return -1;
	}
	return *p;
}

static void set_param(const char *value)
{
	int fd = open(PARAM, O_WRONLY);

	if (fd < 0 || write(fd, value, 1) != 1) {
		fatal(PARAM);
	}
	close(fd);
}

static int set_attributes(int fd, uint64_t offset, uint64_t size,
			  uint64_t attributes, uint64_t *error_offset)
{
	struct gm_attributes2 arg = {
		.offset = offset, .size = size, .attributes = attributes,
		.error_offset = ~0ull,
	};
	int ret = ioctl(fd, GM_SET_ATTRIBUTES2, &arg);

	if (error_offset) {
		*error_offset = arg.error_offset;
	}
	return ret;
}

static int to_private(int fd, unsigned long page, unsigned long pages)
{
	return set_attributes(fd, page * PAGE, pages * PAGE, GM_ATTR_PRIVATE,
			      NULL);
}

static int to_shared(int fd, unsigned long page, unsigned long pages)
{
	return set_attributes(fd, page * PAGE, pages * PAGE, 0, NULL);
}

static int new_file(uint64_t flags)
{
	int fd = gmem_create(&vm, SIZE, flags);

	if (fd < 0) {
		fatal("guest_memfd with flags %#lx", (unsigned long)flags);
	}
	return fd;
}

static int bind(int fd, void *map)
{
	return set_region(&vm, 1, GM_MEM_GUEST_MEMFD, MEM_GPA, SIZE, map, fd,
			  0, NULL);
}

static void unbind(void)
{
	set_region(&vm, 1, 0, MEM_GPA, 0, NULL, 0, 0, NULL);
}

/* The parameter decides for the VMs created after it was set. */
static void test_off(void)
{
	struct gm_attributes attrs = { .address = MEM_GPA, .size = SIZE,
				       .attributes = GM_ATTR_PRIVATE };
	int fd;

	set_param("N");
	vm_init(&vm, GM_SW_PROTECTED_VM, 0);
	set_param("Y");
	fd = new_file(GM_FLAG_MMAP);
	ok_errno(set_attributes(fd, 0, 0, 0, NULL), ENOTTY,
		 "off: the ioctl is not there");
	ok_eq(vm_cap(&vm, GM_CAP_ATTRIBUTES), GM_ATTR_PRIVATE,
	      "off: the VM has attributes");
	ok_call(ioctl(vm.fd, GM_SET_ATTRIBUTES, &attrs),
		"off: and can set them");
	ok_errno(gmem_create(&vm, SIZE, SHARED), EINVAL,
		 "off: INIT_SHARED in a VM with private memory");
	close(fd);
	vm_free(&vm);
}

static void test_default_vm(void)
{
	int fd;

	vm_init(&vm, 0, 0);
	fd = new_file(SHARED);
	ok_errno(set_attributes(fd, 0, 0, 0, NULL), EINVAL,
		 "default VM: the ioctl is there, size 0");
	ok_errno(to_private(fd, 0, 1), EINVAL, "default VM: to private");
	ok_errno(to_shared(fd, 0, 1), EINVAL, "default VM: to shared");
	close(fd);
	vm_free(&vm);
}

static void test_refused(void)
{
	struct gm_attributes attrs = { .address = MEM_GPA, .size = SIZE,
				       .attributes = GM_ATTR_PRIVATE };
	struct gm_attributes2 arg = { .size = PAGE };
	int fd = new_file(SHARED);

	ok_eq(vm_cap(&vm, GM_CAP_ATTRIBUTES), 0, "the VM has no attributes");
	ok_eq(vm_cap(&vm, GM_CAP_GMEM_FLAGS) & SHARED, SHARED,
	      "INIT_SHARED is offered");
	ok_errno(ioctl(vm.fd, GM_SET_ATTRIBUTES, &attrs), EINVAL,
		 "attributes of the VM");
	ok_errno(set_attributes(fd, 0, 0, 0, NULL), EINVAL, "size 0");
	ok_errno(set_attributes(fd, 1, PAGE, 0, NULL), EINVAL,
		 "unaligned offset");
	ok_errno(set_attributes(fd, 0, PAGE + 1, 0, NULL), EINVAL,
		 "unaligned size");
	ok_errno(set_attributes(fd, 0, SIZE + PAGE, 0, NULL), EINVAL,
		 "past the end");
	ok_errno(set_attributes(fd, SIZE, PAGE, 0, NULL), EINVAL,
		 "at the end");
	ok_errno(set_attributes(fd, -PAGE, 2 * PAGE, 0, NULL), EINVAL,
		 "wrapping around");
	ok_errno(set_attributes(fd, 0, PAGE, 1, NULL), EINVAL,
		 "an unknown attribute");
	arg.flags = 1;
	ok_errno(ioctl(fd, GM_SET_ATTRIBUTES2, &arg), EINVAL, "flags");
	arg.flags = 0;
	arg.reserved[10] = 1;
	ok_errno(ioctl(fd, GM_SET_ATTRIBUTES2, &arg), EINVAL, "reserved");
	ok_errno(ioctl(fd, GM_SET_ATTRIBUTES2, NULL), EFAULT, "bad pointer");
	ok_errno(ioctl(fd, KVM_CREATE_VCPU, 0), ENOTTY, "another ioctl");
	close(fd);
}

static void test_convert(void)
{
	int fd = new_file(SHARED);
	uint8_t *p = gmem_map(fd, SIZE);
	uint32_t value = 0;

	if (bind(fd, p)) {
		fatal("bound slot");
	}
	for (unsigned long i = 0; i < PAGES; i++) {
		p[i * PAGE] = i + 1;
	}
	ok_call(to_private(fd, 1, 2), "two pages to private");
	ok(peek(p) == 1 && peek(p + 3 * PAGE) == 4, "the others stay shared");
	ok(peek(p + PAGE) < 0 && peek(p + 2 * PAGE) < 0,
	   "the host gets SIGBUS at private pages");
	ok(!vcpu_read(&vm.vcpu[0], MEM_GPA + PAGE, &value) && value == 2,
	   "the guest reads the content");
	ok(!vcpu_write(&vm.vcpu[0], MEM_GPA + PAGE, 77), "and writes");
	ok_call(to_private(fd, 1, 2), "no-op");
	ok_call(to_private(fd, 0, 4), "a range private in part");
	ok_call(to_shared(fd, 0, 4), "back to shared");
	ok(peek(p) == 1 && peek(p + PAGE) == 77 && peek(p + 3 * PAGE) == 4,
	   "the host sees the content and what the guest wrote");
	ok(!vcpu_read(&vm.vcpu[0], MEM_GPA + PAGE, &value) && value == 77,
	   "so does the guest");

	to_private(fd, 5, 1);
	punch(fd, 5 * PAGE, PAGE);
	ok(peek(p + 5 * PAGE) < 0, "a punched page is still private");
	ok(!vcpu_read(&vm.vcpu[0], MEM_GPA + 5 * PAGE, &value) && !value,
	   "and zero to the guest");
	punch(fd, 6 * PAGE, PAGE);
	ok_call(to_private(fd, 6, 1), "a page that does not exist to private");
	ok(peek(p + 6 * PAGE) < 0, "is private when it comes");
	ok_call(to_shared(fd, 0, PAGES), "everything to shared");
	unbind();
	munmap(p, SIZE);
	close(fd);
}

static void test_init_private(void)
{
	int fd = new_file(GM_FLAG_MMAP);
	uint8_t *p = gmem_map(fd, SIZE);

	ok(peek(p) < 0, "without INIT_SHARED all is private");
	ok_call(to_shared(fd, 0, 1), "to shared");
	ok(peek(p) == 0 && peek(p + PAGE) < 0, "one page is shared, zero");
	munmap(p, SIZE);
	close(fd);
}

static int is_mapped(void *p)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, 8, (uintptr_t)p / PAGE * 8) != 8) {
		fatal("pagemap");
	}
	close(fd);
	return entry >> 63;
}

/* Somebody holds a page: a pipe, whose buffers are references. */
static void test_held(void)
{
	int fd = new_file(SHARED), fds[2];
	uint8_t *p = gmem_map(fd, SIZE);
	struct iovec held = { p + 3 * PAGE, PAGE };
	uint8_t byte[PAGE];
	uint64_t at = 0;

	memset(p, 5, SIZE);
	if (pipe(fds) || vmsplice(fds[1], &held, 1, 0) != (long)PAGE) {
		fatal("vmsplice");
	}
	ok_errno(set_attributes(fd, PAGE, 4 * PAGE, GM_ATTR_PRIVATE, &at),
		 EAGAIN, "a held page to private");
	ok_eq(at, 3 * PAGE, "error_offset names it");
	ok(!is_mapped(p + PAGE) && !is_mapped(p + 3 * PAGE),
	   "host mappings of the range are gone");
	ok(is_mapped(p) && is_mapped(p + 5 * PAGE), "others are not");
	ok(peek(p + PAGE) == 5 && peek(p + 3 * PAGE) == 5,
	   "attributes are unchanged");
	ok_call(to_private(fd, 1, 2), "pages before it can be converted");
	ok_call(to_shared(fd, 1, 4), "to shared never waits");
	ok_call(to_shared(fd, 3, 1), "a no-op does not wait either");
	if (read(fds[0], byte, PAGE) != (long)PAGE) {
		fatal("pipe");
	}
	ok_call(to_private(fd, 3, 1), "released, it can be converted");
	close(fds[0]);
	close(fds[1]);
	munmap(p, SIZE);
	close(fd);
}

/* The guest keeps what a conversion does not change. */
static void test_undisturbed(void)
{
	int fd = new_file(SHARED), fds[2];
	uint8_t *p = gmem_map(fd, SIZE);
	struct iovec held = { p + 3 * PAGE, PAGE };

	memset(p, 5, SIZE);
	if (bind(fd, p) || pipe(fds) ||
	    vmsplice(fds[1], &held, 1, 0) != (long)PAGE) {
		fatal("bound slot and vmsplice");
	}
	ok(vcpu_faults_of_read(&vm.vcpu[0], MEM_GPA + PAGE) > 0 &&
	   vcpu_faults_of_read(&vm.vcpu[0], MEM_GPA + PAGE) == 0,
	   "the guest's first read faults, the second does not");
	ok_errno(to_private(fd, 0, 4), EAGAIN, "a held page to private");
	ok_eq(vcpu_faults_of_read(&vm.vcpu[0], MEM_GPA + PAGE), 0,
	      "no fault after it");
	close(fds[0]);
	close(fds[1]);
	to_private(fd, 2, 1);
	ok_call(to_shared(fd, 0, 4), "pages to shared that are but for one");
	ok_eq(vcpu_faults_of_read(&vm.vcpu[0], MEM_GPA + PAGE), 0,
	      "no fault at the others");
	to_private(fd, 1, 1);
	vcpu_faults_of_read(&vm.vcpu[0], MEM_GPA + PAGE);
	ok_call(to_private(fd, 0, 4), "pages to private but for one that is");
	ok_eq(vcpu_faults_of_read(&vm.vcpu[0], MEM_GPA + PAGE), 0,
	      "no fault at that");
	unbind();
	munmap(p, SIZE);
	close(fd);
}

static void test_userfaultfd(void)
{
	static uint8_t page[PAGE];
	int fd = new_file(SHARED), uffd = uffd_open(0);
	uint8_t *p = gmem_map(fd, SIZE);

	if (uffd_register(uffd, p, SIZE, UFFDIO_REGISTER_MODE_MISSING |
			  UFFDIO_REGISTER_MODE_MINOR, NULL)) {
		skip("userfaultfd and private pages", "it cannot be armed");
		return;
	}
	ok_call(uffd_copy(uffd, p, page, PAGE), "UFFDIO_COPY");
	ok_call(to_private(fd, 0, 2), "to private");
	ok_errno(uffd_copy(uffd, p + PAGE, page, PAGE), EFAULT,
		 "UFFDIO_COPY to a private page");
	ok_errno(uffd_continue(uffd, p, PAGE), EFAULT,
		 "UFFDIO_CONTINUE of a private page");
	ok(peek(p) < 0, "a private page is SIGBUS, not an event");
	munmap(p, SIZE);
	close(uffd);
	close(fd);
}

/* A copy waits for its source while another mapping takes the place of @dst. */
struct copier {
	pthread_t thread;
	int uffd, err;
	uint8_t *dst, *src;
};

static void *copy_page(void *arg)
{
	struct copier *c = arg;

	c->err = uffd_copy(c->uffd, c->dst, c->src, PAGE) ? errno : 0;
	return NULL;
}

/*
 * The bitmap of such a file fills its pages to the last byte: whoever looks
 * beyond its end falls over.
 */
static void test_longer_mapping(void)
{
	const uint64_t size = 256ul << 30;
	uint8_t *area, page[PAGE];
	struct copier c = { .uffd = uffd_open(0) };
	int fd = gmem_create(&vm, size, SHARED), source = uffd_open(0);
	struct uffd_msg msg;

	area = mmap(NULL, size + SIZE, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	c.src = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	c.dst = area + size;
	if (fd < 0 || area == MAP_FAILED ||
	    uffd_register(source, c.src, PAGE, UFFDIO_REGISTER_MODE_MISSING,
			  NULL) ||
	    mmap(c.dst, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 fd, 0) == MAP_FAILED ||
	    uffd_register(c.uffd, c.dst, SIZE, UFFDIO_REGISTER_MODE_MISSING,
			  NULL)) {
		fatal("two userfaultfds");
	}
	pthread_create(&c.thread, NULL, copy_page, &c);
	ok(uffd_read(source, &msg), "a copy waits for its source");
	if (mmap(area, size + SIZE, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED ||
	    uffd_register(c.uffd, area, size + SIZE,
			  UFFDIO_REGISTER_MODE_MISSING, NULL)) {
		fatal("a longer mapping");
	}
	memset(page, 1, PAGE);
	uffd_copy(source, c.src, page, PAGE);
	pthread_join(c.thread, NULL);
	ok_eq(c.err, EFAULT, "meanwhile its place has gone beyond the file");
	munmap(area, size + SIZE);
	munmap(c.src, PAGE);
	close(c.uffd);
	close(source);
	close(fd);
}

static void test_sizes(void)
{
	const uint64_t most = (1ul << 43) - PAGE;
	uint8_t *p;
	int fd;

	ok_errno(gmem_create(&vm, most + PAGE, SHARED), EINVAL,
		 "a file with more pages than an int counts");
	fd = gmem_create(&vm, most, SHARED);
	ok_call(fd, "one with as many");
	ok_call(set_attributes(fd, 0, most, GM_ATTR_PRIVATE, NULL),
		"all of it to private");
	p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, most - SIZE);
	ok(peek(p) < 0 && peek(p + SIZE - PAGE) < 0, "its end is");
	ok_call(set_attributes(fd, PAGE, most - PAGE, 0, NULL),
		"all but a page to shared");
	ok(!peek(p) && !peek(p + SIZE - PAGE), "its end is");
	munmap(p, SIZE);
	close(fd);
}

/* A mapping can grow to where the number of a byte does not fit any more. */
static void test_beyond_all_bytes(void)
{
	const uint64_t last = (1ul << 63) - 2 * PAGE;
	int fd = gmem_create(&vm, SIZE, SHARED);
	uint8_t *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, last);

	if (p == MAP_FAILED) {
		fatal("mmap far beyond a file");
	}
	p = mremap(p, PAGE, 3 * PAGE, MREMAP_MAYMOVE);
	ok(p != MAP_FAILED, "a mapping far beyond the file grows");
	if (p != MAP_FAILED) {
		ok(peek(p) < 0 && peek(p + 2 * PAGE) < 0,
		   "there is nothing in it");
		munmap(p, 3 * PAGE);
	}
	close(fd);
}

static void test_memory_error(void)
{
	int fd = new_file(SHARED);
	uint8_t *p = gmem_map(fd, SIZE);
	uint64_t at = 0;
	uint32_t value;

	memset(p, 5, SIZE);
	if (bind(fd, p)) {
		fatal("bound slot");
	}
	vcpu_read(&vm.vcpu[0], MEM_GPA + 3 * PAGE, &value);
	if (!memory_error(p + 3 * PAGE)) {
		skip("conversion of a poisoned page",
		     "this kernel cannot inject memory errors");
		goto out;
	}
	ok_errno(vcpu_read(&vm.vcpu[0], MEM_GPA + 3 * PAGE, &value), EHWPOISON,
		 "a guest that had mapped the poisoned page");
	ok(peek(p + 3 * PAGE) < 0, "the host gets SIGBUS");
	ok_errno(set_attributes(fd, PAGE, 4 * PAGE, GM_ATTR_PRIVATE, &at),
		 EHWPOISON, "a poisoned page to private");
	ok_eq(at, 3 * PAGE, "error_offset names it");
	ok(peek(p + PAGE) == 5, "nothing is converted");
	ok_call(to_private(fd, 1, 2), "pages before it can be converted");
	ok_call(to_shared(fd, 1, 4), "to shared as ever");
	ok_call(replace_page(fd, 3 * PAGE, p + 3 * PAGE), "punched");
	ok_call(to_private(fd, 1, 4), "it can be converted");
	ok(!vcpu_read(&vm.vcpu[0], MEM_GPA + 3 * PAGE, &value) && !value,
	   "and the guest has a new page");
out:
	unbind();
	munmap(p, SIZE);
	close(fd);
}

/* Guests count, the host reads, and pages are converted under both. */
static int stop, race_fd;

static void *race_guest(void *arg)
{
	struct vcpu *vcpu = arg;
	unsigned long sweeps = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		int ret = vcpu_sweep(vcpu, MEM_GPA, MEM_GPA + SIZE);

		/* A fault that lost a race with a conversion is repeated. */
		while (ret) {
			if (errno != EFAULT || !vcpu_fault(vcpu)) {
				return (void *)~0ul;
			}
			ret = vcpu_run(vcpu);
		}
		sweeps++;
	}
	return (void *)sweeps;
}

static void *race_convert(void *arg)
{
	unsigned int seed = 3;
	unsigned long wrong = 0, again = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		unsigned long page = rand_r(&seed) % PAGES;
		unsigned long pages = 1 + rand_r(&seed) % (PAGES - page);
		int private = rand_r(&seed) & 1;

		if (set_attributes(race_fd, page * PAGE, pages * PAGE,
				   private ? GM_ATTR_PRIVATE : 0, NULL)) {
			again += errno == EAGAIN;
			wrong += errno != EAGAIN || !private;
		}
	}
	*(unsigned long *)arg = again;
	return (void *)wrong;
}

static void test_race(void)
{
	pthread_t thread[3];
	unsigned long sweeps = 0, reads = 0, again, wrong = 0;
	double end = race_end(3);
	unsigned int seed = 4;
	uint8_t *p;
	void *ret;

	race_fd = new_file(SHARED);
	p = gmem_map(race_fd, SIZE);
	if (bind(race_fd, p)) {
		fatal("bound slot");
	}
	pthread_create(&thread[0], NULL, race_guest, &vm.vcpu[0]);
	pthread_create(&thread[1], NULL, race_guest, &vm.vcpu[1]);
	pthread_create(&thread[2], NULL, race_convert, &again);
	while (now() < end) {
		reads += peek(p + rand_r(&seed) % PAGES * PAGE) >= 0;
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 2; i++) {
		pthread_join(thread[i], &ret);
		wrong += (long)ret < 0;
		sweeps += (unsigned long)ret;
	}
	pthread_join(thread[2], &ret);
	wrong += (unsigned long)ret;
	printf("# %lu sweeps, %lu reads, EAGAIN %lu times\n", sweeps, reads,
	       again);
	wrong += !!to_shared(race_fd, 0, PAGES);
	for (unsigned long i = 0; i < PAGES; i++) {
		wrong += *(uint32_t *)(p + i * PAGE) != sweeps;
	}
	ok_eq(wrong, 0, "conversions under guests and host: nothing is lost");
	unbind();
	munmap(p, SIZE);
	close(race_fd);
}

/* Memory errors, each of which costs a page, meet punches and accesses. */
static uint8_t *error_map;

static void *error_punch(void *arg)
{
	unsigned long punches = 0;

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		punch(race_fd, punches++ % 2 * PAGE, PAGE);
	}
	return (void *)punches;
}

static void *error_touch(void *arg)
{
	unsigned long touches = 0;

	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
		peek(error_map + touches++ % 2 * PAGE);
	}
	return (void *)touches;
}

/* In a process of its own, as no signal ends one whose threads are stuck. */
static int error_race(void)
{
	unsigned long errors = 0, most = 300 * race_factor();
	double end = race_end(5);
	pthread_t thread[3];
	void *n[3];

	stop = 0;
	pthread_create(&thread[0], NULL, error_punch, NULL);
	pthread_create(&thread[1], NULL, error_touch, NULL);
	pthread_create(&thread[2], NULL, error_touch, NULL);
	while (errors < 3 || (errors < most && now() < end)) {
		uint8_t *p = error_map + errors % 2 * PAGE;

		madvise(p, PAGE, MADV_DONTNEED);
		errors += memory_error(p);
	}
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	for (int i = 0; i < 3; i++) {
		pthread_join(thread[i], &n[i]);
	}
	printf("# %lu errors, %lu punches, %lu accesses\n", errors,
	       (unsigned long)n[0], (unsigned long)n[1] + (unsigned long)n[2]);
	fflush(stdout);
	return 0;
}

static void test_race_memory_errors(void)
{
	double end = race_end(5) + 60;
	int status = -1;
	pid_t pid;

	race_fd = new_file(SHARED);
	error_map = gmem_map(race_fd, SIZE);
	error_map[0] = 1;
	if (!memory_error(error_map)) {
		skip("memory errors against punches and accesses",
		     "this kernel cannot inject memory errors");
		goto out;
	}
	fflush(stdout);
	pid = fork();
	if (!pid) {
		_exit(error_race());
	}
	while (!waitpid(pid, &status, WNOHANG) && now() < end) {
		usleep(50000);
	}
	if (!ok(!status, "memory errors, punches and accesses do not wait for "
		"each other for ever")) {
		return;
	}
	for (int i = 0; i < 2; i++) {
		replace_page(race_fd, i * PAGE, error_map + i * PAGE);
	}
	ok(!peek(error_map) && !peek(error_map + PAGE),
	   "and the file can be used");
out:
	munmap(error_map, SIZE);
	close(race_fd);
}

int main(void)
{
	int kvm = gm_open_kvm();
	int types = ioctl(kvm, KVM_CHECK_EXTENSION, GM_CAP_VM_TYPES);

	if (access(PARAM, W_OK)) {
		skip_all("no parameter gmem_in_place_conversion of kvm");
	}
	if (types <= 0 || !(types & 1 << GM_SW_PROTECTED_VM)) {
		skip_all("no software-protected VMs");
	}
	close(kvm);
	signal(SIGBUS, on_sigbus);
	test_off();
	test_default_vm();
	vm_init(&vm, GM_SW_PROTECTED_VM, 2);
	test_refused();
	test_convert();
	test_init_private();
	test_held();
	test_undisturbed();
	test_userfaultfd();
	test_longer_mapping();
	test_sizes();
	test_beyond_all_bytes();
	test_memory_error();
	test_race();
	test_race_memory_errors();
	vm_free(&vm);
	set_param("N");
	return tap_done();
}
