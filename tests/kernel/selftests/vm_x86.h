/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vm.h on x86: flat 32-bit mode without paging, routines that end in HLT.
 */
#ifndef GMEM_VM_X86_H
#define GMEM_VM_X86_H

enum {
	CODE_READ = 0, CODE_WRITE = 16, CODE_SWEEP = 32, CODE_VMRUN = 64,
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
	/* run a guest: eax is the control block, see svm.h */
	[CODE_VMRUN] = 0x0f, 0x01, 0xd8,		/* vmrun */
	0x0f, 0x01, 0xdc, 0xf4,				/* stgi; hlt */
	[127] = 0,
};

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

static inline int vcpu_start(struct vcpu *vcpu, int code, uint64_t gpa,
			     uint64_t arg)
{
	struct kvm_regs regs = {
		.rip = CODE_GPA + code, .rflags = 2,
		.rbx = gpa, .rax = arg, .rcx = arg,
	};

	return ioctl(vcpu->fd, KVM_SET_REGS, &regs);
}

static inline int vcpu_run(struct vcpu *vcpu)
{
	if (ioctl(vcpu->fd, KVM_RUN, 0)) {
		return -1;
	}
	if (vcpu->run->exit_reason != KVM_EXIT_HLT) {
		errno = ENOEXEC;
		return -1;
	}
	return 0;
}

static inline int vcpu_result(struct vcpu *vcpu, uint64_t *result)
{
	struct kvm_regs regs;
	int ret = ioctl(vcpu->fd, KVM_GET_REGS, &regs);

	if (!ret) {
		*result = regs.rax;
	}
	return ret;
}

static inline uint64_t vcpu_pc(struct vcpu *vcpu)
{
	struct kvm_regs regs;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &regs)) {
		fatal("KVM_GET_REGS");
	}
	return regs.rip;
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

#endif
