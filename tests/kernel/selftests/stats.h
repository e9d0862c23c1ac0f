/* SPDX-License-Identifier: GPL-2.0 */
/* What KVM counts, for what no call tells: whether a translation is there. */
#ifndef GMEM_STATS_H
#define GMEM_STATS_H

#include "vm.h"

#ifndef KVM_GET_STATS_FD
#error "linux/kvm.h of Linux 5.14 or newer is needed"
#endif

/* A statistic of the vCPU, by name. */
static inline uint64_t vcpu_stat(struct vcpu *vcpu, const char *name)
{
	int fd = ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);
	struct kvm_stats_header head;
	uint64_t value = ~0ull;

	if (fd < 0 || pread(fd, &head, sizeof(head), 0) != sizeof(head)) {
		fatal("vCPU statistics");
	}
	for (uint32_t i = 0; i < head.num_desc; i++) {
		size_t size = sizeof(struct kvm_stats_desc) + head.name_size;
		struct kvm_stats_desc *desc = malloc(size);

		if (pread(fd, desc, size, head.desc_offset + i * size) > 0 &&
		    !strcmp((char *)(desc + 1), name)) {
			pread(fd, &value, sizeof(value),
			      head.data_offset + desc->offset);
		}
		free(desc);
	}
	close(fd);
	return value;
}

/* The guest reads a page; how many pages had to be mapped for that? */
static inline uint64_t vcpu_faults_of_read(struct vcpu *vcpu, uint64_t gpa)
{
	uint64_t before = vcpu_stat(vcpu, "pf_fixed");
	uint32_t value;

	if (vcpu_read(vcpu, gpa, &value)) {
		return ~0ull;
	}
	return vcpu_stat(vcpu, "pf_fixed") - before;
}

#endif
