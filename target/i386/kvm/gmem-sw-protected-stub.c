/*
 * Software-protected VMs where KVM or its x86 guests are not compiled in
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "gmem/sw-protected.h"

bool gmem_is_sw_protected(const void *cgs)
{
    return false;
}

bool gmem_handles_hypercalls(void)
{
    return false;
}

int gmem_map_gpa_range(struct kvm_run *run)
{
    return -EINVAL;
}
