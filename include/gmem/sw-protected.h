/*
 * Software-protected VMs of x86
 *
 * KVM has a VM type whose guests can make memory private without any hardware
 * for it, for development and test: nothing is encrypted, and no secrecy is
 * promised.  -object sw-protected-guest makes a machine one.  Layer 3
 * (docs/architecture.md).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_SW_PROTECTED_H
#define GMEM_SW_PROTECTED_H

struct kvm_run;

#define TYPE_SW_PROTECTED_GUEST "sw-protected-guest"

/*
 * gmem_is_sw_protected: is @cgs (NULL is fine) one?
 *
 * Such a guest starts like any other: all of its memory is shared.
 */
bool gmem_is_sw_protected(const void *cgs);

/* Whether gmem_map_gpa_range() is to be called, and not upstream's code. */
bool gmem_handles_hypercalls(void);

/*
 * gmem_map_gpa_range: the guest has made the hypercall KVM_HC_MAP_GPA_RANGE
 *
 * What gmem_convert() says goes to the guest: 0, -KVM_EINVAL, -EBUSY (16),
 * -EIO (5); an attribute that is neither the page's side nor the size of pages
 * is -KVM_EINVAL.
 *
 * Called by the vCPU's thread without the BQL.
 *
 * Returns: 0, for kvm_arch_handle_exit()
 */
int gmem_map_gpa_range(struct kvm_run *run);

#endif /* GMEM_SW_PROTECTED_H */
