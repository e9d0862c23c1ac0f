/* SPDX-License-Identifier: GPL-2.0 */
/* What KVM counts, for what no call tells: whether a translation is there. */
#ifndef GMEM_STATS_H
#define GMEM_STATS_H

#include "vm.h"

#ifdef __aarch64__

#define FAULTS	"/sys/kernel/tracing/events/kvm/kvm_guest_fault/"
#define TRACE	"/sys/kernel/tracing/trace"

static inline void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	if (fd < 0 || write(fd, text, strlen(text)) != (long)strlen(text)) {
		fatal("%s", path);
	}
	close(fd);
}

/* Faults below END_GPA since the last call: there is no statistic of them */
static inline uint64_t vcpu_new_faults(struct vcpu *vcpu)
{
	char line[512], filter[80];
	uint64_t count = 0;
	FILE *trace;

	(void)vcpu;
	trace = fopen(TRACE, "r");
	while (trace && fgets(line, sizeof(line), trace)) {
		count += !!strstr(line, "kvm_guest_fault:");
	}
	if (!trace || fclose(trace)) {
		fatal(TRACE);
	}
	snprintf(filter, sizeof(filter), "ipa >= %#lx && ipa < %#lx\n",
		 MEM_GPA, END_GPA);
	write_text(FAULTS "filter", filter);
	write_text(FAULTS "enable", "1\n");
	write_text(TRACE, "\n");
	return count;
}

#else

#ifndef KVM_GET_STATS_FD
#error "linux/kvm.h of Linux 5.14 or newer is needed"
#endif

/* How much its statistic of faults has grown since the last call */
static inline uint64_t vcpu_new_faults(struct vcpu *vcpu)
{
	int fd = ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);
	static uint64_t last;
	struct kvm_stats_header head;
	uint64_t before = last;

	if (fd < 0 || pread(fd, &head, sizeof(head), 0) != sizeof(head)) {
		fatal("vCPU statistics");
	}
	for (uint32_t i = 0; i < head.num_desc; i++) {
		size_t size = sizeof(struct kvm_stats_desc) + head.name_size;
		struct kvm_stats_desc *desc = malloc(size);

		if (pread(fd, desc, size, head.desc_offset + i * size) > 0 &&
		    !strcmp((char *)(desc + 1), "pf_fixed")) {
			pread(fd, &last, sizeof(last),
			      head.data_offset + desc->offset);
		}
		free(desc);
	}
	close(fd);
	return last - before;
}

#endif

/* The guest reads a page; how many pages had to be mapped for that? */
static inline uint64_t vcpu_faults_of_read(struct vcpu *vcpu, uint64_t gpa)
{
	uint32_t value;

	vcpu_new_faults(vcpu);
	return vcpu_read(vcpu, gpa, &value) ? ~0ull : vcpu_new_faults(vcpu);
}

#endif
