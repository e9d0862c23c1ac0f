/*
 * KVM interfaces that the imported linux-headers lack
 *
 * Layer 0 (docs/architecture.md): constants and layouts only.  Each entry
 * names the posting it comes from; none of these numbers is taken as proof
 * that a kernel has the feature (see gmem/caps.h).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GMEM_UAPI_H
#define GMEM_UAPI_H

#include <linux/kvm.h>
#include <linux/ioctl.h>

/*
 * f_type of a guest_memfd in fstatfs(2).  include/uapi/linux/magic.h of
 * Linux 6.18; absent from the C libraries of Debian 12 and 13.
 */
#ifndef GUEST_MEMFD_MAGIC
#define GUEST_MEMFD_MAGIC 0x474d454d
#endif

/* "Direct Map Removal Support for guest_memfd", v12, April 2026 */
#ifndef GUEST_MEMFD_FLAG_NO_DIRECT_MAP
#define GUEST_MEMFD_FLAG_NO_DIRECT_MAP (1ULL << 2)
#endif

/*
 * "KVM: Introduce KVM Userfault", v3, June 2025.  The address of the bitmap
 * takes the first word of pad2 in struct kvm_userspace_memory_region2.
 */
#ifndef KVM_MEM_USERFAULT
#define KVM_MEM_USERFAULT (1UL << 3)
#endif
#ifndef KVM_MEMORY_EXIT_FLAG_USERFAULT
#define KVM_MEMORY_EXIT_FLAG_USERFAULT (1ULL << 4)
#endif
#define GMEM_USERFAULT_BITMAP_PAD 0

/*
 * "guest_memfd: In-place conversion support", v13, September 2026.  Issued
 * on the guest_memfd itself; offsets and sizes in bytes, page aligned.
 */
#ifndef KVM_SET_MEMORY_ATTRIBUTES2
struct kvm_memory_attributes2 {
    union {
        __u64 address;
        __u64 offset;
    };
    __u64 size;
    __u64 attributes;
    __u64 flags;
    __u64 error_offset;     /* out: first byte held by somebody, on EAGAIN */
    __u64 reserved[11];
};
#define KVM_SET_MEMORY_ATTRIBUTES2 \
    _IOWR(KVMIO, 0xd2, struct kvm_memory_attributes2)
#endif

#endif /* GMEM_UAPI_H */
