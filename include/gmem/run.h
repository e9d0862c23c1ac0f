/*
 * What a vCPU does when KVM cannot give it a page of a guest_memfd
 *
 * Second floor.  Called by accel/kvm/kvm-all.c when KVM_RUN has failed.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_RUN_H
#define GMEM_RUN_H

#include <linux/kvm.h>
#include "hw/core/cpu.h"

/*
 * gmem_run_failed: KVM_RUN of @cpu has returned @err, -errno
 *
 * -EHWPOISON: the page has an uncorrectable error.  A guest on ordinary
 * memory learns of it by a SIGBUS that KVM sends us; on bound memory KVM just
 * says so.  Either way it becomes a machine check of the guest.
 *
 * -ENOMEM: the host has no page.  The VM stops in state io-error and
 * GUEST_MEMFD_NO_MEMORY is sent; nothing is lost, the access is made again
 * when the VM goes on.
 *
 * Called by the vCPU's thread without the BQL, which is taken as needed.
 *
 * Returns: true if it has been dealt with and the vCPU may go on when the VM
 * does; false if it is none of ours.
 */
bool gmem_run_failed(CPUState *cpu, const struct kvm_run *run, int err);

#endif /* GMEM_RUN_H */
