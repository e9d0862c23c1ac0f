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
#include "fuzz_calls.h"

#define WITNESS_GPA	0x80000ul
#define WITNESS_SLOT	9
#define PARAM		"/sys/module/kvm/parameters/gmem_in_place_conversion"

static unsigned long calls_each;
static uint32_t *witness;
static int witness_fd;

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
		vcpu_finish_mmio(&vm.vcpu[i]);
		vcpu_reset(&vm.vcpu[i]);
	}
}

/* How the last run of a vCPU ended, for a reader of the log. */
static void explain(struct vcpu *vcpu, int err)
{
	struct gm_memory_fault *fault = vcpu_fault(vcpu);

	printf("# vCPU %d: %s, exit %d, pc %#lx\n",
	       (int)(vcpu - vm.vcpu), strerror(err), vcpu->run->exit_reason,
	       (long)vcpu_pc(vcpu));
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
