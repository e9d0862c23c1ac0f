/*
 * What x86 guests do not see whose memory the host's kernel does not map
 *
 * Layer 3 (docs/architecture.md).  For some of what KVM offers, it maps pages
 * of the guest for itself, which takes pages that can be pinned: kvm-clock, and
 * the tables of a guest that is a hypervisor.  So such a guest has neither.
 * Xen's shared pages, and System Management Mode, whose view of memory is an
 * alias of the guest's, are left out or refused likewise.
 *
 * Called from target/i386/kvm only.  Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_CPUID_H
#define GMEM_CPUID_H

#include "cpu.h"

/* gmem_cpuid_hidden: bits of a CPUID register that KVM cannot do for this VM */
uint32_t gmem_cpuid_hidden(uint32_t function, int reg);

/* gmem_cpuid_init: take them from the defaults of @cpu */
void gmem_cpuid_init(X86CPU *cpu);

/*
 * gmem_cpuid_check: has the user asked for one of them?
 *
 * Called when features have been filtered.
 *
 * Returns: false with @errp naming it.
 */
bool gmem_cpuid_check(X86CPU *cpu, Error **errp);

/*
 * gmem_cpuid_check_loaded: the state of @cpu has been loaded; can it run here?
 *
 * A guest that began where all this is to be had may use it.
 *
 * Returns: false if not, and QEMU has said why.
 */
bool gmem_cpuid_check_loaded(const X86CPU *cpu);

/*
 * gmem_cpuid_pre_load_nested: the state of a guest that is a hypervisor is
 * about to be loaded into @opaque, an X86CPU
 *
 * Returns: -EINVAL if that has no room for it, and QEMU has said why.
 * (Upstream would end by an assertion.)
 */
int gmem_cpuid_pre_load_nested(void *opaque);

#endif /* GMEM_CPUID_H */
