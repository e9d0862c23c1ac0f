/*
 * What the host kernel can do for guest RAM in a guest_memfd
 *
 * Layer 0 (docs/architecture.md): asks the kernel, knows nobody.  Merged
 * interfaces are asked for by capability, on the VM's own fd because the
 * answer depends on the VM type.  The numbers of unmerged ones collide, so
 * these are tried out on a VM of their own, once, when first asked for; the
 * answers are kept.
 *
 * Locks: BQL.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_CAPS_H
#define GMEM_CAPS_H

#include "qapi/qapi-types-gmem.h"

/*
 * gmem_caps_check: can this VM have RAM in a guest_memfd?
 *
 * Returns: false with @errp naming what is missing: the accelerator, the
 * capability, or the flag.
 */
bool gmem_caps_check(Error **errp);

/*
 * gmem_caps_create: create a guest_memfd for this VM
 *
 * @size in bytes, @flags GUEST_MEMFD_FLAG_*.
 *
 * Returns: a file descriptor that is closed on exec, or -1 with @errp set.
 */
int gmem_caps_create(uint64_t size, uint64_t flags, Error **errp);

/* Who knows, in the kernel, which pages of this VM are private */
typedef enum GmemAttributes {
    GMEM_ATTRIBUTES_NONE,       /* nobody: none are */
    GMEM_ATTRIBUTES_OF_VM,      /* by guest-physical address */
    GMEM_ATTRIBUTES_OF_FILE,    /* each guest_memfd of its own pages */
} GmemAttributes;

/* gmem_caps_attributes: tried out on this VM, which exists */
GmemAttributes gmem_caps_attributes(void);

/*
 * gmem_caps_query: every interface of #GuestMemfdInterface, in its order
 *
 * Returns: a list the caller frees; empty without KVM.
 */
GuestMemfdInterfaceInfoList *gmem_caps_query(void);

/*
 * gmem_caps_find: one interface
 *
 * Returns: what gmem_caps_query() says of it, not to be freed; NULL without
 * KVM.
 */
const GuestMemfdInterfaceInfo *gmem_caps_find(GuestMemfdInterface name);

/*
 * gmem_caps_found: an interface was @tried where it matters
 *
 * @ret: 0, or -errno that the kernel said
 */
void gmem_caps_found(GuestMemfdInterface name, const char *tried, int ret);

#endif /* GMEM_CAPS_H */
