/*
 * What a vCPU does when KVM cannot give it a page of a guest_memfd
 *
 * Layer 2 (docs/architecture.md).  Called by accel/kvm/kvm-all.c after KVM_RUN.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_RUN_H
#define GMEM_RUN_H

#include <linux/kvm.h>
#include "hw/core/cpu.h"

/*
 * gmem_run_result: KVM_RUN of @cpu has returned @ret, 0 or -errno
 *
 * -EHWPOISON: the page has an uncorrectable error.  A guest on ordinary
 * memory learns of it by a SIGBUS that KVM sends us; on bound memory KVM just
 * says so.  Either way it becomes one machine check of the guest.
 *
 * -ENOMEM: the host has no page.  The VM stops in state io-error and
 * GUEST_MEMFD_NO_MEMORY is sent; nothing is lost, the access is made again
 * when the VM goes on.  Only a bound slot's page: of a mapped one KVM says
 * EFAULT, whatever the reason, and not where.
 *
 * Called by the vCPU's thread without the BQL, which is taken as needed.
 *
 * Returns: -EINTR if it has been dealt with and the vCPU may go on when the
 * VM does; @ret if it is none of ours.
 */
int gmem_run_result(CPUState *cpu, const struct kvm_run *run, int ret);

#endif /* GMEM_RUN_H */
