// SPDX-License-Identifier: GPL-2.0
/*
 * KVM_MEM_LOG_DIRTY_PAGES on bound memslots: what guests, their guests and KVM
 * write is logged, in a bitmap or in rings, whatever else happens to slot and
 * file; the log comes and goes on a live slot; and what is refused.
 */
#ifdef __x86_64__
#include "svm.h"
#else
#include "vm.h"
#endif

#define MEM		(2ul << 20)
#define SIZE		(2ul << 20)	/* room for a huge page */
#define PAGES		(SIZE / PAGE)
#define OFFSET		(4 * PAGE)	/* of the slot in the file */
#define FILE_SIZE	(SIZE + OFFSET)
#define SHARED		(GM_FLAG_MMAP | GM_FLAG_INIT_SHARED)
#define BOUND		GM_MEM_GUEST_MEMFD
#define LOGGED		(GM_MEM_GUEST_MEMFD | GM_MEM_LOG_DIRTY)
#define RING_SIZE	PAGE
#define RING_ENTRIES	(RING_SIZE / sizeof(struct kvm_dirty_gfn))
#define PARAM		"/sys/module/kvm/parameters/gmem_in_place_conversion"
#define MSR_WALL_CLOCK	0x4b564d00
#define MSR_SYSTEM_TIME	0x4b564d01
#define NONE		(~0ul)

enum mode { AUTOMATIC, MANUAL, INITIALLY_SET, RING };

static const char *const mode_name[] = {
	"bitmap", "manual protect", "initially set", "rings",
};

static enum mode mode;
static struct vm vm;
static int file;
static uint8_t *map;		/* the slot's part of the file */
static unsigned long *userfaults;
static unsigned long dirty[PAGES / 64];
static struct kvm_dirty_gfn *ring[2];
static uint32_t ring_next[2];

static void enable(int cap, uint64_t arg)
{
	struct kvm_enable_cap enable = { .cap = cap, .args = { arg } };

	if (ioctl(vm.fd, KVM_ENABLE_CAP, &enable)) {
		fatal("KVM_ENABLE_CAP %d", cap);
	}
}

static void new_vm(enum mode new_mode)
{
	mode = new_mode;
	vm_init(&vm, 0, 0);
	if (mode == MANUAL || mode == INITIALLY_SET) {
		enable(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
		       mode == MANUAL ? 1 : 3);
	} else if (mode == RING) {
		enable(KVM_CAP_DIRTY_LOG_RING_ACQ_REL, RING_SIZE);
	}
	for (int i = 0; i < 2; i++) {
		vcpu_init(&vm, i);
#ifdef __x86_64__
		svm_offer(&vm.vcpu[i]);
#endif
		ring_next[i] = 0;
		if (mode == RING) {
			ring[i] = mmap(NULL, RING_SIZE, PROT_READ | PROT_WRITE,
				       MAP_SHARED, vm.vcpu[i].fd,
				       KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
		}
	}
}

static void end_vm(void)
{
	for (int i = 0; i < 2 && mode == RING; i++) {
		munmap(ring[i], RING_SIZE);
	}
	vm_free(&vm);
}

/* Map the slot's part so that a huge page would fit in, were there one. */
static void map_file(void)
{
	if (mmap(map, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		 file, OFFSET) == MAP_FAILED) {
		fatal("mmap");
	}
}

static void new_file(void)
{
	file = gmem_create(&vm, FILE_SIZE, SHARED);
	if (file < 0) {
		fatal("guest_memfd");
	}
	map_file();
}

static int slot_set(uint32_t flags)
{
	return set_region(&vm, 1, flags, MEM, SIZE, map, file, OFFSET,
			  userfaults);
}

static void slot_must_be(uint32_t flags)
{
	if (slot_set(flags)) {
		fatal("slot with flags %u", flags);
	}
}

static void slot_delete(void)
{
	if (set_region(&vm, 1, 0, MEM, 0, NULL, 0, 0, NULL)) {
		fatal("slot deletion");
	}
}

static int get_log(void)
{
	struct kvm_dirty_log get = { .slot = 1, .dirty_bitmap = dirty };

	return ioctl(vm.fd, KVM_GET_DIRTY_LOG, &get);
}

static int clear_log(void)
{
	struct kvm_clear_dirty_log clear = { .slot = 1, .num_pages = PAGES,
					     .dirty_bitmap = dirty };

	return ioctl(vm.fd, KVM_CLEAR_DIRTY_LOG, &clear);
}

/* Move what a vCPU's ring has to the bitmap; how many entries were there? */
static unsigned int read_ring(int cpu)
{
	unsigned int count = 0;

	for (;;) {
		struct kvm_dirty_gfn *entry =
			&ring[cpu][ring_next[cpu] % RING_ENTRIES];

		if (__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) !=
		    KVM_DIRTY_GFN_F_DIRTY) {
			return count;
		}
		/* Another slot, or none of the slot's pages, is for no test. */
		if (entry->slot == 1 && entry->offset < PAGES) {
			dirty[entry->offset / 64] |= 1ul << entry->offset % 64;
		}
		__atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET,
				 __ATOMIC_RELEASE);
		ring_next[cpu]++;
		count++;
	}
}

/* What was written since the last time; from now on it is watched for again. */
static int harvest(void)
{
	memset(dirty, 0, sizeof(dirty));
	if (mode == RING) {
		read_ring(0);
		read_ring(1);
		return ioctl(vm.fd, KVM_RESET_DIRTY_RINGS, 0) < 0 ? -1 : 0;
	}
	if (get_log()) {
		return -1;
	}
	return mode == AUTOMATIC ? 0 : clear_log();
}

static int is_dirty(unsigned long page)
{
	return dirty[page / 64] >> page % 64 & 1;
}

static unsigned long dirty_pages(void)
{
	unsigned long count = 0;

	for (unsigned long i = 0; i < PAGES; i++) {
		count += is_dirty(i);
	}
	return count;
}

/* Are these the pages that were written since the last time, and no others? */
static int log_is(unsigned long page, unsigned long other)
{
	if (harvest()) {
		printf("# no log: %s\n", strerror(errno));
		return 0;
	}
	for (unsigned long i = 0; i < PAGES; i++) {
		if (is_dirty(i) != (i == page || i == other)) {
			printf("# %lu pages are dirty, page %lu is%s\n",
			       dirty_pages(), i, is_dirty(i) ? "" : " not");
			return 0;
		}
	}
	return 1;
}

/* What a log that has just begun says. */
static int log_is_new(void)
{
	if (mode == INITIALLY_SET) {
		return !harvest() && dirty_pages() == PAGES;
	}
	return log_is(NONE, NONE);
}

static int writes(int cpu, unsigned long page, uint32_t value)
{
	return !vcpu_write(&vm.vcpu[cpu], MEM + page * PAGE, value);
}

static int reads(int cpu, unsigned long page, uint32_t want)
{
	uint32_t value = ~want;

	return !vcpu_read(&vm.vcpu[cpu], MEM + page * PAGE, &value) &&
	       value == want;
}

static uint32_t *word(unsigned long page)
{
	return (uint32_t *)(map + page * PAGE);
}

#ifdef __x86_64__

/* KVM itself writes into the guest's memory: by a copy, and by its own map. */
static void test_kvm_writes(void)
{
	struct vcpu *vcpu = &vm.vcpu[0];

	ok(!vcpu_set_msr(vcpu, MSR_WALL_CLOCK, MEM + 9 * PAGE) &&
	   log_is(9, NONE), "KVM writes the wall clock");
	ok(!vcpu_set_msr(vcpu, MSR_SYSTEM_TIME, (MEM + 10 * PAGE) | 1) &&
	   reads(0, 7, 3) && !vcpu_set_msr(vcpu, MSR_SYSTEM_TIME, 0) &&
	   log_is(10, NONE), "KVM writes kvm-clock's time");
}

/* A guest with page tables writes, then a guest of that guest. */
static void test_nested(void)
{
	struct svm *svm = svm_init(&vm.vcpu[0]);

	ok(writes(0, 20, 3) && writes(0, 22, 3) && log_is(20, 22) &&
	   writes(0, 20, 4) && log_is(20, NONE), "a guest with paging writes");
	if (!svm->nested) {
		printf("# no nested paging, so no guest's guest\n");
		svm_free(svm);
		return;
	}
	ok(!svm_write(svm, MEM + 20 * PAGE, 5) && *word(20) == 5 &&
	   log_is(20, NONE), "the guest's guest writes");
	ok(!svm_write(svm, MEM + 20 * PAGE, 6) && *word(20) == 6 &&
	   log_is(20, NONE), "and again what was logged before");
	ok(!svm_write(svm, MEM + 20 * PAGE, 7) && writes(1, 21, 7) &&
	   log_is(20, 21), "and so do both at once");
	svm_free(svm);
}

#else

static void test_kvm_writes(void)
{
}

static void test_nested(void)
{
}

#endif

static void test_file_changes(int bound)
{
	writes(0, 7, 4);
	punch(file, OFFSET + 7 * PAGE, PAGE);
	ok(log_is(7, NONE), "a page written and punched is logged");
	ok(writes(0, 7, 5) && log_is(7, NONE) && reads(1, 7, 5) &&
	   *word(7) == 5, "so is one that is written after a punch");
	if (bound) {
		munmap(map, SIZE);
		ok(writes(0, 7, 6) && log_is(7, NONE),
		   "so is one without a userspace mapping");
		map_file();
		ok_eq(*word(7), 6, "a new mapping has what was written");
	}
}

/* @before: what the slot is when its memory is mapped, before it is logged */
static void test_log(const char *kind, uint32_t before, uint32_t flags)
{
	printf("# %s, %s\n", mode_name[mode], kind);
	new_file();
	if (before) {
		slot_must_be(before);
		ok(writes(0, 7, 1) && writes(1, 8, 1), "not logged yet");
	}
	ok_call(slot_set(flags), "the log begins");
	ok(log_is_new(), "with nothing or, if initially set, with all");
	ok(writes(0, 7, 2) && writes(1, 511, 2) && log_is(7, 511),
	   "two vCPUs write");
	ok(log_is(NONE, NONE), "each write is told once");
	ok(writes(1, 7, 3) && log_is(7, NONE), "the next write is told again");
	ok(reads(0, 7, 3) && log_is(NONE, NONE), "a read is none");
	*word(7) = 3;
	*word(99) = 3;
	ok(log_is(NONE, NONE), "writes by the mapping are the VMM's matter");
	test_kvm_writes();
	test_nested();
	test_file_changes(flags & BOUND);

	ok_call(slot_set(flags & ~GM_MEM_LOG_DIRTY), "the log ends");
	if (mode != RING) {
		ok_errno(get_log(), ENOENT, "then there is none");
	}
	ok(writes(0, 12, 9) && *word(12) == 9, "writes go on");
	ok_call(slot_set(flags), "the log begins again");
	ok(log_is_new() && writes(0, 12, 10) && log_is(12, NONE),
	   "and sees a page that was mapped in between");
	slot_delete();
	ok_call(slot_set(flags), "so does a new slot");
	ok(log_is_new() && writes(0, 12, 11) && log_is(12, NONE) &&
	   *word(12) == 11, "which sees a write, too");
	slot_delete();
	close(file);
}

/* The pages of a userfault are not there for writes either. */
static int exits(unsigned long page)
{
	struct gm_memory_fault *fault;

	if (writes(0, page, 1) || errno != EFAULT) {
		return 0;
	}
	fault = vcpu_fault(&vm.vcpu[0]);
	return fault && fault->flags == GM_FAULT_USERFAULT &&
	       fault->gpa == MEM + page * PAGE;
}

static void test_userfault(void)
{
	const uint32_t both = LOGGED | GM_MEM_USERFAULT;

	printf("# %s, with KVM_MEM_USERFAULT\n", mode_name[mode]);
	new_file();
	userfaults[0] = 1ul << 5;
	ok_call(slot_set(both), "a slot with both flags");
	ok(log_is_new() && exits(5) && log_is(NONE, NONE),
	   "a page that is not there exits, and is not logged");
	ok(writes(0, 6, 1) && log_is(6, NONE), "one that is there is logged");
	*word(5) = 1;
	userfaults[0] = 0;
	ok(writes(0, 5, 2) && log_is(5, NONE), "so is one that was placed");

	writes(0, 5, 3);
	ok_call(slot_set(LOGGED), "the userfault flag goes");
	ok(writes(0, 6, 3) && log_is(5, 6), "the log is as it was");
	writes(0, 5, 4);
	userfaults[0] = 1ul << 6;
	ok_call(slot_set(both), "the userfault flag comes");
	ok(exits(6) && log_is(5, NONE), "the log is as it was");
	ok_call(slot_set(BOUND | GM_MEM_USERFAULT), "the log ends");
	ok(exits(6), "userfaults go on");
	ok_call(slot_set(LOGGED), "one goes, the other comes");
	ok(log_is_new() && writes(0, 6, 5) && log_is(6, NONE),
	   "the page is there, and logged");
	ok_call(slot_set(BOUND | GM_MEM_USERFAULT), "and the other way round");
	ok(exits(6), "the page is not there");
	userfaults[0] = 0;
	ok_call(slot_set(BOUND), "no flag");
	ok_call(slot_set(both), "both at once");
	ok(log_is_new() && writes(0, 6, 6) && log_is(6, NONE), "both work");
	ok_call(slot_set(BOUND), "none again");
	slot_delete();
	close(file);
}

/* What is mapped before its time is logged as if it were written. */
static void test_prefault(void)
{
	struct gm_prefault arg = { .gpa = MEM, .size = SIZE };
	unsigned int entries;

	if (vm_cap(&vm, GM_CAP_PREFAULT) <= 0) {
		printf("# no KVM_PRE_FAULT_MEMORY\n");
		return;
	}
	new_file();
	slot_must_be(LOGGED);
	log_is_new();
	ok_call(ioctl(vm.vcpu[0].fd, GM_PREFAULT, &arg),
		"KVM_PRE_FAULT_MEMORY of a logged slot");
	if (mode != RING) {
		ok(!arg.size && !harvest() && dirty_pages() == PAGES,
		   "maps and logs every page");
	} else {
		ok(arg.size, "stops when the ring has no more room");
		ok_errno(ioctl(vm.vcpu[0].fd, GM_PREFAULT, &arg), EAGAIN,
			 "and does not go on without");
		memset(dirty, 0, sizeof(dirty));
		entries = read_ring(0);
		ok(entries == dirty_pages() &&
		   entries == (SIZE - arg.size) / PAGE, "nothing is lost");
		ok_call(ioctl(vm.fd, KVM_RESET_DIRTY_RINGS, 0), "the reset");
		ok_call(ioctl(vm.vcpu[0].fd, GM_PREFAULT, &arg), "it goes on");
		harvest();
	}
	ok(writes(0, 7, 1) && log_is(7, NONE), "a write then is logged");
	slot_delete();
	close(file);
}

/* A guest that writes more than its ring can take has to wait. */
static void test_full_ring(void)
{
	unsigned int exits = 0, wrong = 0;
	unsigned long seen[PAGES / 64] = { 0 };
	int ret;

	new_file();
	slot_must_be(LOGGED);
	ok_errno(get_log(), ENXIO, "with rings there is no bitmap");
	ret = vcpu_sweep(&vm.vcpu[0], MEM, MEM + SIZE);
	while (ret) {
		if (vm.vcpu[0].run->exit_reason != KVM_EXIT_DIRTY_RING_FULL) {
			wrong++;
			break;
		}
		wrong += !!harvest();
		for (unsigned int i = 0; i < PAGES / 64; i++) {
			seen[i] |= dirty[i];
		}
		exits++;
		ret = vcpu_run(&vm.vcpu[0]);
	}
	harvest();
	for (unsigned int i = 0; i < PAGES / 64; i++) {
		dirty[i] |= seen[i];
	}
	ok(exits && !wrong && dirty_pages() == PAGES,
	   "the ring fills %u times, and nothing is lost", exits);
	slot_delete();
	close(file);
}

/* Two guests to be copied while they run; each counts in every page. */
#define RACE_PAGES	64ul
#define RACE_SIZE	(RACE_PAGES * PAGE)
#define SWEEPS		30

static int running, errors;

static void *sweep(void *arg)
{
	struct vcpu *vcpu = arg;

	for (int n = 0; n < SWEEPS; n++) {
		int ret = vcpu_sweep(vcpu, MEM, MEM + RACE_SIZE);

		while (ret) {
			if (vcpu->run->exit_reason == KVM_EXIT_DIRTY_RING_FULL) {
				usleep(500);
			} else if (errno != EINTR && errno != EAGAIN) {
				__atomic_fetch_add(&errors, 1, 0);
				break;
			}
			ret = vcpu_run(vcpu);
		}
	}
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void start(pthread_t thread[2])
{
	running = 2;
	for (int i = 0; i < 2; i++) {
		pthread_create(&thread[i], NULL, sweep, &vm.vcpu[i]);
	}
}

static int still_running(void)
{
	return __atomic_load_n(&running, __ATOMIC_ACQUIRE);
}

static void copy_dirty(uint8_t *copy)
{
	for (unsigned long i = 0; i < RACE_PAGES; i++) {
		if (is_dirty(i)) {
			memcpy(copy + i * PAGE, map + i * PAGE, PAGE);
		}
	}
}

/*
 * As a migration does it: the log begins under running vCPUs, all is copied,
 * then, again and again, what was written since; what the VMM punches is its
 * own matter. Once the vCPUs stand the copy must be complete.
 */
static int migrate(uint8_t *copy, int punches)
{
	pthread_t thread[2];
	unsigned int round = 0, wrong = 0;

	start(thread);
	wrong += !!slot_set(LOGGED);
	if (mode == INITIALLY_SET) {
		wrong += !!harvest();
	}
	memcpy(copy, map, RACE_SIZE);
	while (still_running()) {
		unsigned long page = round++ * 13 % RACE_PAGES;

		wrong += !!harvest();
		if (punches) {
			punch(file, OFFSET + page * PAGE, PAGE);
			dirty[0] |= 1ul << page;
		}
		copy_dirty(copy);
	}
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	wrong += !!harvest();
	copy_dirty(copy);
	wrong += !!memcmp(copy, map, RACE_SIZE);

	/* It is called off under running vCPUs, too; with rings full or not. */
	start(thread);
	wrong += !!slot_set(BOUND);
	while (still_running()) {
		usleep(1000);
		if (mode == RING) {
			harvest();
		}
	}
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	return wrong;
}

static void test_race(const char *name, int punches)
{
	uint8_t *copy = malloc(RACE_SIZE);
	unsigned int wrong = 0, migrations = 0;
	double end = race_end(2);

	new_file();
	slot_must_be(BOUND);
	errors = 0;
	while (now() < end || !migrations) {
		wrong += migrate(copy, punches);
		migrations++;
	}
	for (unsigned long i = 0; i < RACE_PAGES && !punches; i++) {
		wrong += *word(i) != 4 * SWEEPS * migrations;
	}
	ok(!wrong && !errors, "%s, %u migrations: every write is seen, %s",
	   mode_name[mode], migrations, name);
	slot_delete();
	close(file);
	free(copy);
}

static void test_refused_file(const char *name, uint64_t flags)
{
	char text[80];

	file = gmem_create(&vm, FILE_SIZE, flags);
	if (file < 0) {
		fatal("guest_memfd");
	}
	snprintf(text, sizeof(text), "a log of a file %s", name);
	ok_errno(slot_set(LOGGED), EINVAL, text);
	slot_must_be(BOUND);
	snprintf(text, sizeof(text), "the same on the live slot, %s", name);
	ok_errno(slot_set(LOGGED), EINVAL, text);
	slot_delete();
	close(file);
}

static void test_refused_private(const char *name, const char *in_place)
{
	int fd = open(PARAM, O_WRONLY), types = vm_cap(&vm, GM_CAP_VM_TYPES);

	if (fd < 0 || types < 0 || !(types & 1 << GM_SW_PROTECTED_VM)) {
		printf("# no software-protected VMs, nor a file %s\n", name);
		return;
	}
	if (write(fd, in_place, 1) != 1) {
		fatal("%s", PARAM);
	}
	vm_free(&vm);
	vm_init(&vm, GM_SW_PROTECTED_VM, 0);
	test_refused_file(name, vm_cap(&vm, GM_CAP_GMEM_FLAGS) & SHARED);
	if (write(fd, "N", 1) != 1) {
		fatal("%s", PARAM);
	}
	close(fd);
	end_vm();
	new_vm(AUTOMATIC);
}

static void test_refused(void)
{
	struct kvm_userspace_memory_region old = {
		.slot = 1, .flags = GM_MEM_LOG_DIRTY, .memory_size = SIZE,
		.guest_phys_addr = MEM, .userspace_addr = (uintptr_t)map,
	};
	int other;

	test_refused_file("that cannot be mapped", 0);
	test_refused_file("whose pages are private", GM_FLAG_MMAP);
	test_refused_private("that is converted with two backings", "N");
	test_refused_private("that is converted in place", "Y");

	new_file();
	other = gmem_create(&vm, FILE_SIZE, SHARED);
	ok_errno(slot_set(LOGGED | GM_MEM_READONLY), EINVAL,
		 "a log of a read-only bound slot");
	ok_errno(slot_set(LOGGED | 16), EINVAL, "an unknown flag");
	ok_errno(set_region(&vm, 1, LOGGED, MEM, SIZE, map, -1, OFFSET, NULL),
		 EBADF, "a bad file descriptor");
	ok_errno(set_region(&vm, 1, LOGGED, MEM, SIZE, map, file,
			    OFFSET + PAGE, NULL), EINVAL,
		 "a range that is not in the file");
	slot_must_be(BOUND);
	ok_errno(get_log(), ENOENT, "the log of a slot that has none");
	for (uint32_t flags = LOGGED; ; flags = BOUND) {
		ok_errno(set_region(&vm, 1, flags, MEM, SIZE, map, other,
				    OFFSET, NULL), EINVAL, "another file");
		ok_errno(set_region(&vm, 1, flags, MEM, SIZE, map, file,
				    OFFSET - PAGE, NULL), EINVAL,
			 "another offset");
		ok_errno(set_region(&vm, 1, flags, MEM, SIZE, map, -1, OFFSET,
				    NULL), EBADF, "a bad file descriptor");
		ok_errno(set_region(&vm, 1, flags, MEM, SIZE, map + PAGE, file,
				    OFFSET, NULL), EINVAL, "another address");
		ok_errno(set_region(&vm, 1, flags, MEM + SIZE, SIZE, map, file,
				    OFFSET, NULL), EINVAL, "another gpa");
		ok_errno(set_region(&vm, 1, flags, MEM, SIZE / 2, map, file,
				    OFFSET, NULL), EINVAL, "another size");
		ok_errno(set_region(&vm, 1, flags & GM_MEM_LOG_DIRTY, MEM,
				    SIZE, map, 0, 0, NULL), EINVAL,
			 "no binding any more");
		if (flags == BOUND) {
			break;
		}
		ok_call(slot_set(LOGGED), "what is right");
		ok_errno(slot_set(LOGGED), EINVAL, "the same again");
	}
	ok_errno(ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION, &old), EINVAL,
		 "the ioctl that knows no files");
	ok_errno(set_region(&vm, 2, LOGGED, MEM + SIZE, PAGE, map, file,
			    OFFSET, NULL), EEXIST, "the range bound once more");
	ok(writes(0, 3, 1) && log_is(3, NONE), "after all that the log works");
	munmap(map, SIZE);
	close(file);
	file = other;
	ok_errno(slot_set(BOUND), EINVAL,
		 "the end of the log of a file that was closed");
	ok(!writes(0, 3, 1) && errno == EFAULT && log_is(NONE, NONE),
	   "whose pages are gone");
	slot_delete();
	close(other);
}

static void test_mode(enum mode new_mode)
{
	new_vm(new_mode);
	test_log("ordinary, as it should be", 0, GM_MEM_LOG_DIRTY);
	test_log("bound, from the start", 0, LOGGED);
	test_log("bound, live", BOUND, LOGGED);
	test_userfault();
	test_prefault();
	if (mode == RING) {
		test_full_ring();
	}
	test_race("while it is toggled and cleared", 0);
	test_race("and punches in between", 1);
	end_vm();
}

int main(void)
{
	userfaults = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	map = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	map = (uint8_t *)(((uintptr_t)map + SIZE - 1) & -SIZE);
	new_vm(AUTOMATIC);
	if (!(vm_cap(&vm, GM_CAP_GMEM_FLAGS) & GM_FLAG_INIT_SHARED)) {
		skip_all("this kernel has no guest_memfd that can be mapped");
	}
	new_file();
	if (slot_set(LOGGED)) {
		skip_all("this kernel has no dirty log of bound slots");
	}
	slot_delete();
	close(file);

	test_refused();
	end_vm();
	for (enum mode each = AUTOMATIC; each <= RING; each++) {
		test_mode(each);
	}
	return tap_done();
}
