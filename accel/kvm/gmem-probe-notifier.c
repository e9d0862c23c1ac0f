/*
 * Do bound slots keep their guest mappings when the VMM's mapping changes?
 *
 * No bit tells.  A page is mapped for the guest ahead of any access; then
 * the VMM's page table entry for it goes, and KVM's own statistics say
 * whether the guest's went too.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/kvm.h>
#include "qemu/atomic.h"
#include "gmem-probe.h"

/* The VM's statistic @name, or -errno. */
static int64_t vm_stat(int stats, const char *name)
{
    struct kvm_stats_header header;
    g_autofree struct kvm_stats_desc *desc = NULL;
    size_t desc_size;
    uint64_t value;

    if (pread(stats, &header, sizeof(header), 0) != sizeof(header)) {
        return -EIO;
    }
    desc_size = sizeof(*desc) + header.name_size;
    desc = g_malloc0(desc_size + 1);
    for (uint32_t i = 0; i < header.num_desc; i++) {
        if (pread(stats, desc, desc_size,
                  header.desc_offset + i * desc_size) != desc_size) {
            return -EIO;
        }
        if (g_str_equal(desc->name, name)) {
            off_t at = header.data_offset + desc->offset;

            return pread(stats, &value, sizeof(value), at) == sizeof(value)
                   ? value : -EIO;
        }
    }
    return -ENOENT;
}

static int pre_fault(int vm, size_t page_size)
{
    struct kvm_pre_fault_memory range = { .gpa = 0, .size = page_size };
    int vcpu, ret;

    vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0) {
        return -errno;
    }
    do {
        ret = ioctl(vcpu, KVM_PRE_FAULT_MEMORY, &range);
    } while (ret < 0 && errno == EINTR);
    ret = ret ? -errno : 0;
    close(vcpu);
    return ret;
}

/* The page goes from our page tables and stays in the file. */
static int unmap_page(void *map, size_t page_size)
{
    /* locked pages: -overcommit mem-lock=on */
    return madvise(map, page_size, MADV_DONTNEED) &&
           madvise(map, page_size, MADV_DONTNEED_LOCKED) ? -errno : 0;
}

/* 1 or 0, or -errno */
static int mapping_survives(int vm, int stats, void *map, size_t page_size)
{
    int64_t before, after;
    int ret;

    qatomic_set((uint8_t *)map, 1);
    ret = pre_fault(vm, page_size);
    if (ret) {
        return ret;
    }
    before = vm_stat(stats, "pages_4k");
    if (before <= 0) {
        return -EIO;
    }
    ret = unmap_page(map, page_size);
    after = vm_stat(stats, "pages_4k");
    return ret ?: after < 0 ? after : after == before;
}

int gmem_probe_notifier_free(int vm, void *map, size_t page_size)
{
    int stats = ioctl(vm, KVM_GET_STATS_FD, NULL);
    int ret;

    if (stats < 0) {
        return -ENODATA;
    }
    ret = mapping_survives(vm, stats, map, page_size);
    close(stats);
    return ret < 0 ? -ENODATA : ret;
}
