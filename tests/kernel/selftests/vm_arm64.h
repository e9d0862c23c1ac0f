/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vm.h on arm64: EL1 without its MMU; routines end in a write where no memory
 * is.  (The sweep's exclusive accesses are to what a guest without MMU takes for
 * a device: some processors refuse them, unless stage 2 overrides that.)
 */
#ifndef GMEM_VM_ARM64_H
#define GMEM_VM_ARM64_H

#define END_GPA		(1ul << 30)
#define PSTATE_EL1	0x3c5ul		/* EL1h, all interrupts masked */

enum { CODE_READ = 0, CODE_WRITE = 16, CODE_SWEEP = 32 };

/* x1: address; x0, x2: the other argument; x3: END_GPA; x6: a page's size */
asm("	.pushsection .rodata\n"
    "guest_code:\n"
    "	ldr	w0, [x1]\n"		/* read */
    "	str	wzr, [x3]\n"
    "	.balign	16\n"
    "	str	w0, [x1]\n"		/* write */
    "	str	wzr, [x3]\n"
    "	.balign	16\n"
    "1:	ldxr	w4, [x1]\n"		/* add 1 to each page in [x1, x2) */
    "	add	w4, w4, #1\n"
    "	stxr	w5, w4, [x1]\n"
    "	cbnz	w5, 1b\n"
    "	add	x1, x1, x6\n"
    "	cmp	x1, x2\n"
    "	b.lo	1b\n"
    "	str	wzr, [x3]\n"
    "	.org	guest_code + 128\n"
    "	.popsection\n");

extern const uint8_t guest_code[128];

static inline int vcpu_core_reg(struct vcpu *vcpu, int request, size_t at,
				uint64_t *value)
{
	struct kvm_one_reg reg = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE |
		      at / sizeof(uint32_t),
		.addr = (uintptr_t)value,
	};

	return ioctl(vcpu->fd, request, &reg);
}

static inline int vcpu_set_core(struct vcpu *vcpu, size_t at, uint64_t value)
{
	return vcpu_core_reg(vcpu, KVM_SET_ONE_REG, at, &value);
}

static inline void vcpu_reset(struct vcpu *vcpu)
{
	struct kvm_vcpu_init init;

	if (ioctl(vcpu->vm->fd, KVM_ARM_PREFERRED_TARGET, &init) ||
	    ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init)) {
		fatal("KVM_ARM_VCPU_INIT");
	}
}

static inline int vcpu_start(struct vcpu *vcpu, int code, uint64_t gpa,
			     uint64_t arg)
{
	const uint64_t regs[] = { arg, gpa, arg, END_GPA, 0, 0, PAGE };

	for (size_t i = 0; i < sizeof(regs) / sizeof(*regs); i++) {
		if (vcpu_set_core(vcpu, offsetof(struct kvm_regs, regs.regs[i]),
				  regs[i])) {
			return -1;
		}
	}
	return vcpu_set_core(vcpu, offsetof(struct kvm_regs, regs.pstate),
			     PSTATE_EL1) ||
	       vcpu_set_core(vcpu, offsetof(struct kvm_regs, regs.pc),
			     CODE_GPA + code) ? -1 : 0;
}

static inline int vcpu_run(struct vcpu *vcpu)
{
	int ended;

	if (ioctl(vcpu->fd, KVM_RUN, 0)) {
		return -1;
	}
	ended = vcpu->run->exit_reason == KVM_EXIT_MMIO &&
		vcpu->run->mmio.phys_addr == END_GPA;
	/* Else the PC would move when the vCPU runs next. */
	vcpu_finish_mmio(vcpu);
	if (!ended) {
		errno = ENOEXEC;
		return -1;
	}
	return 0;
}

static inline int vcpu_result(struct vcpu *vcpu, uint64_t *result)
{
	return vcpu_core_reg(vcpu, KVM_GET_ONE_REG,
			     offsetof(struct kvm_regs, regs.regs[0]), result);
}

static inline uint64_t vcpu_pc(struct vcpu *vcpu)
{
	uint64_t pc;

	if (vcpu_core_reg(vcpu, KVM_GET_ONE_REG,
			  offsetof(struct kvm_regs, regs.pc), &pc)) {
		fatal("KVM_GET_ONE_REG");
	}
	return pc;
}

#endif
