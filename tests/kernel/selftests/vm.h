/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest guest there is: one or two vCPUs without paging, and routines of
 * a few instructions.  vcpu_read(), vcpu_write() and vcpu_sweep() run one of
 * them; they return what KVM_RUN did, and the exit is left in vcpu->run for the
 * caller to look at.
 *
 * GMEM_RACE in the environment makes the races longer (10) or shorter (.3).
 */
#ifndef GMEM_VM_H
#define GMEM_VM_H

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"
#include "uapi.h"

#ifndef PAGE
#define PAGE		4096ul
#endif
#define CODE_GPA	PAGE
#define MEM_GPA		0x100000ul

struct vm;

struct vcpu {
	struct vm *vm;
	int fd;
	struct kvm_run *run;
};

struct vm {
	int kvm, fd;
	size_t run_size;
	uint8_t *code;
	struct vcpu vcpu[2];
};

/* An access to no memory has to be finished before the next one. */
static inline void vcpu_finish_mmio(struct vcpu *vcpu)
{
	if (vcpu->run->exit_reason == KVM_EXIT_MMIO) {
		vcpu->run->immediate_exit = 1;
		ioctl(vcpu->fd, KVM_RUN, 0);
		vcpu->run->immediate_exit = 0;
	}
}

/*
 * What an architecture has: guest_code[] and where its routines are, CODE_*;
 *
 * vcpu_reset()		the state that routines need, whatever it was
 * vcpu_start()		@code is to run next, with an address and an argument:
 *			0, or -1 with errno
 * vcpu_run()		goes on up to the routine's end: 0, or -1 with errno,
 *			ENOEXEC if KVM_RUN came back with another exit; call
 *			it again to repeat what failed
 * vcpu_result()	what was read: 0, or -1 with errno
 */
#ifdef __aarch64__
#include "vm_arm64.h"
#else
#include "vm_x86.h"
#endif

static inline int gm_open_kvm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0) {
		skip_all("no /dev/kvm");
	}
	return kvm;
}

static inline int set_region(struct vm *vm, uint32_t slot, uint32_t flags,
			     uint64_t gpa, uint64_t size, void *hva, int fd,
			     uint64_t offset, void *bitmap)
{
	struct gm_region region = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa,
		.memory_size = size, .userspace_addr = (uintptr_t)hva,
		.guest_memfd = fd, .guest_memfd_offset = offset,
		.userfault_bitmap = (uintptr_t)bitmap,
	};

	return ioctl(vm->fd, GM_SET_REGION, &region);
}

static inline void vcpu_init(struct vm *vm, int id)
{
	struct vcpu *vcpu = &vm->vcpu[id];

	vcpu->vm = vm;
	vcpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0) {
		fatal("KVM_CREATE_VCPU");
	}
	vcpu->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		fatal("mmap of a vCPU");
	}
	vcpu_reset(vcpu);
}

/* A VM of @type with @vcpus vCPUs and a code page in slot 0. */
static inline void vm_init(struct vm *vm, int type, int vcpus)
{
	vm->kvm = gm_open_kvm();
	vm->fd = ioctl(vm->kvm, KVM_CREATE_VM, type);
	if (vm->fd < 0) {
		fatal("KVM_CREATE_VM of type %d", type);
	}
	vm->run_size = ioctl(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	vm->code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	memcpy(vm->code, guest_code, sizeof(guest_code));
	if (set_region(vm, 0, 0, CODE_GPA, PAGE, vm->code, 0, 0, NULL)) {
		fatal("code slot");
	}
	for (int i = 0; i < vcpus; i++) {
		vcpu_init(vm, i);
	}
}

static inline void vm_free(struct vm *vm)
{
	for (int i = 0; i < 2; i++) {
		if (vm->vcpu[i].run) {
			munmap(vm->vcpu[i].run, vm->run_size);
			close(vm->vcpu[i].fd);
		}
	}
	close(vm->fd);
	close(vm->kvm);
	munmap(vm->code, PAGE);
	memset(vm, 0, sizeof(*vm));
}

static inline int vcpu_read(struct vcpu *vcpu, uint64_t gpa, uint32_t *value)
{
	uint64_t result = 0;
	int ret = vcpu_start(vcpu, CODE_READ, gpa, 0) || vcpu_run(vcpu) ||
		  vcpu_result(vcpu, &result) ? -1 : 0;

	*value = result;
	return ret;
}

static inline int vcpu_write(struct vcpu *vcpu, uint64_t gpa, uint32_t value)
{
	return vcpu_start(vcpu, CODE_WRITE, gpa, value) || vcpu_run(vcpu) ?
	       -1 : 0;
}

/* Add 1 to the first word of each page in [@from, @to). */
static inline int vcpu_sweep(struct vcpu *vcpu, uint64_t from, uint64_t to)
{
	return vcpu_start(vcpu, CODE_SWEEP, from, to) || vcpu_run(vcpu) ?
	       -1 : 0;
}

/* The memory fault that the last KVM_RUN reported, or NULL. */
static inline struct gm_memory_fault *vcpu_fault(struct vcpu *vcpu)
{
	if (vcpu->run->exit_reason != GM_EXIT_MEMORY_FAULT) {
		return NULL;
	}
	return (struct gm_memory_fault *)&vcpu->run->hw;
}

static inline int gmem_create(struct vm *vm, uint64_t size, uint64_t flags)
{
	struct gm_create create = { .size = size, .flags = flags };

	return ioctl(vm->fd, GM_CREATE, &create);
}

static inline void *gmem_map(int fd, uint64_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED) {
		fatal("mmap of a guest_memfd");
	}
	return p;
}

static inline int punch(int fd, uint64_t start, uint64_t size)
{
	return fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE,
			 start, size);
}

static inline int vm_cap(struct vm *vm, int cap)
{
	return ioctl(vm->fd, KVM_CHECK_EXTENSION, cap);
}

static inline double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* How much longer than usual a race is to be. */
static inline double race_factor(void)
{
	const char *factor = getenv("GMEM_RACE");

	return factor ? atof(factor) : 1;
}

/* When a race that takes @seconds by default is to end. */
static inline double race_end(double seconds)
{
	return now() + seconds * race_factor();
}

#endif
