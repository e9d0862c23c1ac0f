/*
 * A vCPU that KVM sends out because of a page's side
 *
 * Layer 2 (docs/architecture.md).  A guest of ours cannot say on which side it
 * wants to access a page: KVM takes the side that the page is on.  So
 * KVM_EXIT_MEMORY_FAULT never asks for a conversion.  It means that an access
 * lost a race with one, and is to be made again, or that a private page is
 * accessed where the guest has no private pages: under ROM, for example.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_FAULT_H
#define GMEM_FAULT_H

#include <linux/kvm.h>
#include "hw/core/cpu.h"

/* Whether gmem_memory_fault() is to be called, and not upstream's code. */
bool gmem_handles_memory_faults(void);

/*
 * gmem_memory_fault: @cpu has made KVM_EXIT_MEMORY_FAULT, with no flag that is
 * unknown
 *
 * What cannot be done stops the VM in state io-error with the event
 * GUEST_MEMFD_ACCESS_FAILED; the access is made again when it goes on.
 *
 * Called by the vCPU's thread without the BQL.
 *
 * Returns: for kvm_cpu_exec(), 0 to run on, or EXCP_INTERRUPT.
 */
int gmem_memory_fault(CPUState *cpu, const struct kvm_run *run);

/*
 * gmem_fault_result: KVM_RUN of @cpu has returned @ret, 0 or -errno
 *
 * In place, a private page that the guest reaches through a mapped memslot is
 * one that KVM cannot get: it says EFAULT, and not where.  If there is such a
 * page, that is the reason, and the VM stops as in gmem_memory_fault().
 *
 * Called by the vCPU's thread without the BQL.
 *
 * Returns: -EINTR if it has been dealt with; @ret if it is none of ours.
 */
int gmem_fault_result(CPUState *cpu, const struct kvm_run *run, int ret);

#endif /* GMEM_FAULT_H */
