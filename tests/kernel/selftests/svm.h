/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A vCPU with paging, which can run a guest of its own: VMRUN (AMD's) starts
 * the routines of vm.h in there.  Its page tables, and the nested ones of its
 * guest, map the first 4 MiB as they are.  They lie in a slot of their own.
 */
#ifndef GMEM_SVM_H
#define GMEM_SVM_H

#include "vm.h"

#define SVM_GPA		0x10000ul
#define SVM_SLOT	8
#define SVM_PAGES	6ul	/* control block, tables, nested ones, KVM's */
#define SVM_EFER	0x1000ul
#define MSR_HSAVE_PA	0xc0010117

struct svm {
	struct vcpu *vcpu;
	int nested;	/* it can run guests */
	uint8_t *vmcb;
	struct kvm_sregs before;
};

static int svm_offered;

/* Give the vCPU, before it first runs, all that KVM offers. */
static inline void svm_offer(struct vcpu *vcpu)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[200];
	} cpuid;
	int svm = 0, nested_paging = 0;

	cpuid.head.nent = 200;
	if (ioctl(vcpu->vm->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) ||
	    ioctl(vcpu->fd, KVM_SET_CPUID2, &cpuid)) {
		fatal("CPUID");
	}
	for (uint32_t i = 0; i < cpuid.head.nent; i++) {
		struct kvm_cpuid_entry2 *leaf = &cpuid.entry[i];

		if (leaf->function == 0x80000001) {
			svm = leaf->ecx >> 2 & 1;
		} else if (leaf->function == 0x8000000a) {
			nested_paging = leaf->edx & 1;
		}
	}
	svm_offered = svm && nested_paging;
}

static inline void svm_put(struct svm *svm, unsigned int at, uint64_t value,
			   int size)
{
	memcpy(svm->vmcb + at, &value, size);
}

/* Selector, attributes, limit and base of a flat segment. */
static inline void svm_put_segment(struct svm *svm, unsigned int at,
				   uint16_t selector, uint16_t attributes)
{
	svm_put(svm, at, selector, 2);
	svm_put(svm, at + 2, attributes, 2);
	svm_put(svm, at + 4, ~0u, 4);
	svm_put(svm, at + 8, 0, 8);
}

/* Two levels of tables in the pages from @page on; returns where they are. */
static inline uint64_t svm_map_all(struct svm *svm, unsigned int page)
{
	uint32_t *directory = (uint32_t *)(svm->vmcb + page * PAGE);

	directory[0] = (SVM_GPA + (page + 1) * PAGE) | 7;
	for (uint32_t i = 0; i < 1024; i++) {
		directory[1024 + i] = i << 12 | 7;
	}
	return SVM_GPA + page * PAGE;
}

/* The vCPU must have had svm_offer(). */
static inline struct svm *svm_init(struct vcpu *vcpu)
{
	static struct svm svm;
	struct kvm_sregs sregs;

	svm.vcpu = vcpu;
	svm.nested = svm_offered;
	svm.vmcb = mmap(NULL, SVM_PAGES * PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (set_region(vcpu->vm, SVM_SLOT, 0, SVM_GPA, SVM_PAGES * PAGE,
		       svm.vmcb, 0, 0, NULL) ||
	    ioctl(vcpu->fd, KVM_GET_SREGS, &svm.before)) {
		fatal("slot of the page tables");
	}
	sregs = svm.before;
	sregs.cr0 |= 1u << 31;
	sregs.cr3 = svm_map_all(&svm, 1);
	sregs.efer |= svm.nested ? SVM_EFER : 0;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) ||
	    (svm.nested &&
	     vcpu_set_msr(vcpu, MSR_HSAVE_PA, SVM_GPA + 5 * PAGE))) {
		fatal("a vCPU with paging");
	}
	svm_put(&svm, 0x0c, 1u << 24, 4);	/* intercept HLT */
	svm_put(&svm, 0x10, 1, 4);		/* and VMRUN, as it must be */
	svm_put(&svm, 0x58, 1, 4);		/* address space */
	svm_put(&svm, 0x90, 1, 8);		/* nested paging */
	svm_put(&svm, 0xb0, svm_map_all(&svm, 3), 8);
	svm_put_segment(&svm, 0x400, 16, 0xc93);	/* es */
	svm_put_segment(&svm, 0x410, 8, 0xc9b);		/* cs */
	svm_put_segment(&svm, 0x420, 16, 0xc93);	/* ss */
	svm_put_segment(&svm, 0x430, 16, 0xc93);	/* ds */
	svm_put(&svm, 0x4d0, SVM_EFER, 8);
	svm_put(&svm, 0x558, 0x11, 8);			/* cr0 */
	svm_put(&svm, 0x560, 0x400, 8);			/* dr7 */
	svm_put(&svm, 0x568, 0xffff0ff0, 8);		/* dr6 */
	svm_put(&svm, 0x668, 0x0007040600070406, 8);	/* page attributes */
	return &svm;
}

/* The guest's guest writes; 0, or -1 if it did not come to its end. */
static inline int svm_write(struct svm *svm, uint64_t gpa, uint32_t value)
{
	uint32_t code;

	svm_put(svm, 0x570, 2, 8);			/* rflags */
	svm_put(svm, 0x578, CODE_GPA + CODE_WRITE, 8);	/* rip */
	svm_put(svm, 0x5f8, value, 8);			/* rax */
	if (vcpu_start(svm->vcpu, CODE_VMRUN, gpa, SVM_GPA) ||
	    vcpu_run(svm->vcpu)) {
		return -1;
	}
	memcpy(&code, svm->vmcb + 0x70, sizeof(code));
	if (code != 0x78 /* HLT */) {
		printf("# exit code %#x\n", code);
		errno = ENOEXEC;
		return -1;
	}
	return 0;
}

static inline void svm_free(struct svm *svm)
{
	ioctl(svm->vcpu->fd, KVM_SET_SREGS, &svm->before);
	set_region(svm->vcpu->vm, SVM_SLOT, 0, 0, 0, NULL, 0, 0, NULL);
	munmap(svm->vmcb, SVM_PAGES * PAGE);
}

#endif
