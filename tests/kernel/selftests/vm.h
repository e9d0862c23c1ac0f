/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The smallest guest there is: one or two vCPUs in flat 32-bit mode without
 * paging, and routines of a few bytes that end in HLT.  vcpu_read() and
 * vcpu_write() run one of them; they return what KVM_RUN did, and the exit is
 * left in vcpu->run for the caller to look at.
 *
 * GMEM_RACE in the environment makes the races longer (10) or shorter (.3).
 */
#ifndef GMEM_VM_H
#define GMEM_VM_H

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"
#include "uapi.h"

#define PAGE		4096ul
#define CODE_GPA	0x1000ul
#define MEM_GPA		0x100000ul

enum {
	CODE_READ = 0, CODE_WRITE = 16, CODE_SWEEP = 32, CODE_CALL = 64,
	CODE_VMRUN = 80,
};

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

static const uint8_t guest_code[] = {
	/* read: eax = *ebx */
	[CODE_READ] = 0x8b, 0x03, 0xf4,
	/* write: *ebx = eax */
	[CODE_WRITE] = 0x89, 0x03, 0xf4,
	/* sweep: add 1 to the first word of each page in [ebx, ecx) */
	[CODE_SWEEP] = 0xf0, 0xff, 0x03,		/* lock incl (ebx) */
	0x81, 0xc3, 0x00, 0x10, 0x00, 0x00,		/* add $4096, ebx */
	0x39, 0xcb, 0x72, 0xf3, 0xf4,			/* jb; hlt */
	/* call the host: eax = hypercall(eax, ebx, ecx, edx, esi) */
	[CODE_CALL] = 0x0f, 0x01, 0xd9, 0xf4,		/* vmmcall */
	/* run a guest: eax is the control block, see svm.h */
	[CODE_VMRUN] = 0x0f, 0x01, 0xd8,		/* vmrun */
	0x0f, 0x01, 0xdc, 0xf4,				/* stgi; hlt */
};

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

/* Flat 32-bit mode, whatever the vCPU was in before. */
static inline void vcpu_reset(struct vcpu *vcpu)
{
	struct kvm_sregs sregs;
	struct kvm_segment flat = {
		.limit = ~0u, .present = 1, .db = 1, .s = 1, .g = 1,
	};

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs)) {
		fatal("KVM_GET_SREGS");
	}
	flat.type = 11;
	flat.selector = 8;
	sregs.cs = flat;
	flat.type = 3;
	flat.selector = 16;
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = flat;
	sregs.cr0 |= 1;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs)) {
		fatal("KVM_SET_SREGS");
	}
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

/* Run a routine up to its HLT: 0, or -1 with errno. */
static inline int vcpu_exec(struct vcpu *vcpu, int code, struct kvm_regs *regs)
{
	regs->rip = CODE_GPA + code;
	regs->rflags = 2;
	if (ioctl(vcpu->fd, KVM_SET_REGS, regs) ||
	    ioctl(vcpu->fd, KVM_RUN, 0) ||
	    ioctl(vcpu->fd, KVM_GET_REGS, regs)) {
		return -1;
	}
	if (vcpu->run->exit_reason != KVM_EXIT_HLT) {
		errno = ENOEXEC;
		return -1;
	}
	return 0;
}

static inline int vcpu_read(struct vcpu *vcpu, uint64_t gpa, uint32_t *value)
{
	struct kvm_regs regs = { .rbx = gpa };
	int ret = vcpu_exec(vcpu, CODE_READ, &regs);

	*value = regs.rax;
	return ret;
}

static inline int vcpu_write(struct vcpu *vcpu, uint64_t gpa, uint32_t value)
{
	struct kvm_regs regs = { .rbx = gpa, .rax = value };

	return vcpu_exec(vcpu, CODE_WRITE, &regs);
}

static inline int vcpu_set_msr(struct vcpu *vcpu, uint32_t index,
			       uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msrs = { .head.nmsrs = 1, .entry = { .index = index,
					       .data = value } };

	return ioctl(vcpu->fd, KVM_SET_MSRS, &msrs) == 1 ? 0 : -1;
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
