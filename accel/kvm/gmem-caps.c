/*
 * What the host kernel can do for guest RAM in a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include "qapi/error.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-gmem.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "gmem/caps.h"
#include "gmem/uapi.h"
#include "gmem-probe.h"
#include "trace/trace-gmem_accel_kvm.h"

#define FLAGS_NEEDED (GUEST_MEMFD_FLAG_MMAP | GUEST_MEMFD_FLAG_INIT_SHARED)

/* Interfaces that a capability of the running VM announces. */
static const struct {
    GuestMemfdInterface name;
    const char *cap_name;
    unsigned cap;
    uint64_t mask;              /* 0: any value will do */
    bool of_vm;                 /* the answer depends on the VM type */
} announced[] = {
    { GUEST_MEMFD_INTERFACE_CREATE, "KVM_CAP_GUEST_MEMFD",
      KVM_CAP_GUEST_MEMFD, 0, true },
    { GUEST_MEMFD_INTERFACE_MMAP, "KVM_CAP_GUEST_MEMFD_FLAGS",
      KVM_CAP_GUEST_MEMFD_FLAGS, GUEST_MEMFD_FLAG_MMAP, true },
    { GUEST_MEMFD_INTERFACE_INIT_SHARED, "KVM_CAP_GUEST_MEMFD_FLAGS",
      KVM_CAP_GUEST_MEMFD_FLAGS, GUEST_MEMFD_FLAG_INIT_SHARED, true },
    { GUEST_MEMFD_INTERFACE_PRE_FAULT, "KVM_CAP_PRE_FAULT_MEMORY",
      KVM_CAP_PRE_FAULT_MEMORY, 0, true },
    { GUEST_MEMFD_INTERFACE_PRIVATE_MEMORY, "KVM_CAP_MEMORY_ATTRIBUTES",
      KVM_CAP_MEMORY_ATTRIBUTES, KVM_MEMORY_ATTRIBUTE_PRIVATE, false },
#ifdef KVM_X86_SW_PROTECTED_VM
    { GUEST_MEMFD_INTERFACE_SW_PROTECTED_VM, "KVM_CAP_VM_TYPES",
      KVM_CAP_VM_TYPES, 1ULL << KVM_X86_SW_PROTECTED_VM, false },
#endif
};

bool gmem_caps_check(Error **errp)
{
    uint64_t flags;

    if (!kvm_enabled()) {
        error_setg(errp, "guest_memfd needs KVM; use -accel kvm");
        return false;
    }
    if (kvm_vm_check_extension(kvm_state, KVM_CAP_GUEST_MEMFD) <= 0 ||
        kvm_vm_check_extension(kvm_state, KVM_CAP_USER_MEMORY2) <= 0) {
        error_setg(errp, "this kernel has no guest_memfd for this VM: "
                   "KVM_CAP_GUEST_MEMFD or KVM_CAP_USER_MEMORY2 is missing; "
                   "Linux 6.18 or newer is needed");
        return false;
    }
    flags = kvm_vm_check_extension(kvm_state, KVM_CAP_GUEST_MEMFD_FLAGS);
    if ((flags & FLAGS_NEEDED) != FLAGS_NEEDED) {
        error_setg(errp, "this kernel cannot map and share a guest_memfd of "
                   "this VM: KVM_CAP_GUEST_MEMFD_FLAGS is 0x%" PRIx64
                   " and lacks %s; Linux 6.18 or newer and a VM type without "
                   "private memory are needed", flags,
                   flags & GUEST_MEMFD_FLAG_MMAP ? "INIT_SHARED" : "MMAP");
        return false;
    }
    return true;
}

int gmem_caps_create(uint64_t size, uint64_t flags, Error **errp)
{
    struct kvm_create_guest_memfd create = { .size = size, .flags = flags };
    int fd = kvm_vm_ioctl(kvm_state, KVM_CREATE_GUEST_MEMFD, &create);

    trace_gmem_create(size, flags, fd);
    if (fd < 0) {
        error_setg_errno(errp, -fd, "KVM cannot create a guest_memfd of "
                         "%" PRIu64 " bytes with flags 0x%" PRIx64,
                         size, flags);
        return -1;
    }
    qemu_set_cloexec(fd);
    return fd;
}

GmemAttributes gmem_caps_attributes(void)
{
    struct kvm_memory_attributes2 nothing = { .size = 0 };
    int fd, err;

    if (kvm_vm_check_extension(kvm_state, KVM_CAP_MEMORY_ATTRIBUTES) &
        KVM_MEMORY_ATTRIBUTE_PRIVATE) {
        return GMEM_ATTRIBUTES_OF_VM;
    }
    fd = gmem_caps_create(qemu_real_host_page_size(), FLAGS_NEEDED, NULL);
    if (fd < 0) {
        return GMEM_ATTRIBUTES_NONE;
    }
    err = ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES2, &nothing) ? errno : 0;
    close(fd);
    return err == EINVAL ? GMEM_ATTRIBUTES_OF_FILE : GMEM_ATTRIBUTES_NONE;
}

static void set_info(GuestMemfdInterfaceInfo *info, bool known, bool available,
                     char *found_by)
{
    g_free(info->found_by);
    info->has_available = known;
    info->available = available;
    info->found_by = found_by;
    trace_gmem_probe(GuestMemfdInterface_str(info->name), known, available,
                     found_by);
}

static void ask_announced(GuestMemfdInterfaceInfo *infos)
{
    for (size_t i = 0; i < ARRAY_SIZE(announced); i++) {
        int value = announced[i].of_vm
            ? kvm_vm_check_extension(kvm_state, announced[i].cap)
            : kvm_check_extension(kvm_state, announced[i].cap);
        bool available = announced[i].mask ? value & announced[i].mask
                                           : value > 0;

        set_info(&infos[announced[i].name], true, available,
                 g_strdup_printf("%s (%u) = %d", announced[i].cap_name,
                                 announced[i].cap, value));
    }
}

static GuestMemfdInterfaceInfo *caps_table(void)
{
    static GuestMemfdInterfaceInfo *table;

    if (!table) {
        table = g_new0(GuestMemfdInterfaceInfo, GUEST_MEMFD_INTERFACE__MAX);
        for (int i = 0; i < GUEST_MEMFD_INTERFACE__MAX; i++) {
            table[i].name = i;
            table[i].has_available = true;
            table[i].found_by = g_strdup("not there on this architecture");
        }
        ask_announced(table);
        gmem_probe_all(table, set_info);
    }
    return table;
}

const GuestMemfdInterfaceInfo *gmem_caps_find(GuestMemfdInterface name)
{
    return kvm_enabled() ? &caps_table()[name] : NULL;
}

void gmem_caps_found(GuestMemfdInterface name, const char *tried, int ret)
{
    gmem_probe_tell(&caps_table()[name], set_info, tried, ret ?: 1);
}

GuestMemfdInterfaceInfoList *gmem_caps_query(void)
{
    GuestMemfdInterfaceInfoList *list = NULL, **tail = &list;

    if (!kvm_enabled()) {
        return NULL;
    }
    for (int i = 0; i < GUEST_MEMFD_INTERFACE__MAX; i++) {
        QAPI_LIST_APPEND(tail, QAPI_CLONE(GuestMemfdInterfaceInfo,
                                          &caps_table()[i]));
    }
    return list;
}
