/*
 * Kernel interfaces found out by trying them
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <linux/iommufd.h>
#include <linux/mempolicy.h>
#include "qemu/userfaultfd.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "gmem/uapi.h"
#include "gmem-probe.h"

/* A VM of its own, of the running VM's type, with a guest_memfd, mapped. */
typedef struct Trial {
    int vm;
    int file;
    void *map;
    size_t page_size;
    size_t size;
} Trial;

static int create_file(const Trial *t, uint64_t flags)
{
    struct kvm_create_guest_memfd create = { .size = t->size, .flags = flags };

    return ioctl(t->vm, KVM_CREATE_GUEST_MEMFD, &create);
}

/* 0 or -errno; trial_end() is due in any case */
static int trial_begin(Trial *t)
{
    t->page_size = qemu_real_host_page_size();
    t->size = 2 * t->page_size;
    t->map = MAP_FAILED;
    t->file = -1;
    t->vm = RETRY_ON_EINTR(ioctl(kvm_state->fd, KVM_CREATE_VM,
                                 kvm_state->gmem_vm_type));
    if (t->vm < 0) {
        return -errno;
    }
    t->file = create_file(t, GUEST_MEMFD_FLAG_MMAP |
                             GUEST_MEMFD_FLAG_INIT_SHARED);
    if (t->file < 0) {
        return -errno;
    }
    t->map = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED,
                  t->file, 0);
    return t->map == MAP_FAILED ? -errno : 0;
}

static void trial_end(Trial *t)
{
    if (t->map != MAP_FAILED) {
        munmap(t->map, t->size);
    }
    if (t->file >= 0) {
        close(t->file);
    }
    if (t->vm >= 0) {
        close(t->vm);
    }
}

static int set_slot(const Trial *t, uint32_t flags, uint64_t size,
                    void *bitmap)
{
    struct kvm_userspace_memory_region2 region = {
        .flags = size ? flags : 0,
        .memory_size = size,
        .userspace_addr = (uintptr_t)t->map,
        .guest_memfd = t->file,
    };

    region.pad2[GMEM_USERFAULT_BITMAP_PAD] = (uintptr_t)bitmap;
    return ioctl(t->vm, KVM_SET_USER_MEMORY_REGION2, &region) ? -errno : 0;
}

/*
 * Each try_*(): 1 it is there, 0 it is not, -errno what the kernel said, and
 * -ENODATA if it cannot be found out here.
 */

/* What a kernel says of a flag or a request that it does not know. */
static bool is_refusal(int err)
{
    return err == -EINVAL || err == -ENOTTY || err == -ENOSYS ||
           err == -EOPNOTSUPP;
}

/* A slot that stays would change the next answer.  @answer, or -ENODATA */
static int without_slot(const Trial *t, int answer)
{
    return set_slot(t, 0, 0, NULL) ? -ENODATA : answer;
}

static int try_bound_slots(const Trial *t)
{
    int ret = set_slot(t, KVM_MEM_GUEST_MEMFD, t->size, NULL);

    return ret ?: without_slot(t, 1);
}

/* It is of use only if the log can begin and end while the guest runs. */
static int try_dirty_log_bound(const Trial *t)
{
    int ret = set_slot(t, KVM_MEM_GUEST_MEMFD, t->size, NULL);

    if (ret == 0) {
        ret = set_slot(t, KVM_MEM_GUEST_MEMFD | KVM_MEM_LOG_DIRTY_PAGES,
                       t->size, NULL) ?:
              set_slot(t, KVM_MEM_GUEST_MEMFD, t->size, NULL) ?: 1;
        ret = without_slot(t, ret);
    }
    return ret;
}

static int try_userfault(const Trial *t)
{
    unsigned long bitmap = ~0UL;
    int ret = set_slot(t, KVM_MEM_USERFAULT, t->size, &bitmap);

    return ret ?: without_slot(t, 1);
}

static int try_numa_policy(const Trial *t)
{
    unsigned long node0 = 1;
    int mode = -1, ret;
    void *again;

    if (syscall(SYS_mbind, t->map, t->size, MPOL_BIND, &node0,
                sizeof(node0) * 8, 0)) {
        /* EINVAL: we may not use that node */
        return errno == EINVAL ? -ENODATA : -errno;
    }
    /* it must be the file's policy, not that of one mapping of it */
    again = mmap(NULL, t->size, PROT_READ, MAP_SHARED, t->file, 0);
    if (again == MAP_FAILED) {
        return -errno;
    }
    ret = syscall(SYS_get_mempolicy, &mode, NULL, 0, again, MPOL_F_ADDR);
    ret = ret ? -errno : mode == MPOL_BIND;
    munmap(again, t->size);
    return ret;
}

static int try_convert_in_place(const Trial *t)
{
    struct kvm_memory_attributes2 nothing = { .size = 0 };

    if (ioctl(t->file, KVM_SET_MEMORY_ATTRIBUTES2, &nothing) == 0) {
        return -EPROTO;         /* this number means something else here */
    }
    return errno == EINVAL ? 1 : -errno;
}

/*
 * The flag's meaning is that the kernel cannot reach the pages: that is what
 * EFAULT or EINVAL say, while any other error is of this one attempt.
 */
static int try_populate(void *map, size_t size)
{
    if (RETRY_ON_EINTR(madvise(map, size, MADV_POPULATE_WRITE)) == 0) {
        return 0;
    }
    return errno == EFAULT || errno == EINVAL ? 1 : -ENODATA;
}

static int try_no_direct_map(const Trial *t)
{
    int file = create_file(t, GUEST_MEMFD_FLAG_MMAP |
                              GUEST_MEMFD_FLAG_INIT_SHARED |
                              GUEST_MEMFD_FLAG_NO_DIRECT_MAP);
    void *map;
    int ret;

    if (file < 0) {
        return -errno;
    }
    map = mmap(NULL, t->size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (map == MAP_FAILED) {
        ret = -errno;
    } else {
        ret = try_populate(map, t->size);
        munmap(map, t->size);
    }
    close(file);
    return ret;
}

static int try_notifier_free(const Trial *t)
{
    int ret = set_slot(t, KVM_MEM_GUEST_MEMFD, t->size, NULL);

    if (ret == 0) {
        ret = gmem_probe_notifier_free(t->vm, t->map, t->page_size);
        ret = without_slot(t, ret);
    }
    return ret;
}

/* @request: what answers faults in this @mode, as a bit of the answer */
static int try_uffd(const Trial *t, uint64_t features, uint64_t mode,
                    unsigned request)
{
    uint64_t ioctls = 0;
    int uffd, ret;

    errno = 0;                  /* is not set if too little is offered */
    uffd = uffd_create_fd(features, true);
    if (uffd < 0) {
        return -errno;
    }
    ret = uffd_register_memory(uffd, t->map, t->size, mode, &ioctls)
        ? -errno : !!(ioctls & BIT_ULL(request));
    uffd_close_fd(uffd);
    return ret;
}

static int try_uffd_missing(const Trial *t)
{
    return try_uffd(t, 0, UFFDIO_REGISTER_MODE_MISSING, _UFFDIO_COPY);
}

static int try_uffd_minor(const Trial *t)
{
    return try_uffd(t, 0, UFFDIO_REGISTER_MODE_MINOR, _UFFDIO_CONTINUE);
}

static int try_uffd_wp(const Trial *t)
{
    return try_uffd(t, UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
                    UFFDIO_REGISTER_MODE_WP, _UFFDIO_WRITEPROTECT);
}

/*
 * Pages are asked for when a device is attached, so only a refusal is an
 * answer here: what is accepted is not known to work.
 */
static int try_iommufd_map_file(const Trial *t)
{
    struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
    struct iommu_ioas_map_file map = {
        .size = sizeof(map),
        .flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
                 IOMMU_IOAS_MAP_WRITEABLE,
        .fd = t->file,
        .length = t->size,
    };
    int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    int ret = -ENODATA;

    if (iommufd < 0) {
        return -errno;
    }
    if (ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc)) {
        ret = -errno;
    } else {
        map.ioas_id = alloc.out_ioas_id;
        if (ioctl(iommufd, IOMMU_IOAS_MAP_FILE, &map)) {
            ret = -errno;
        }
    }
    close(iommufd);
    return ret;
}

static const struct {
    GuestMemfdInterface name;
    const char *tried;
    int (*try)(const Trial *t);
} trials[] = {
    { GUEST_MEMFD_INTERFACE_BOUND_SLOTS,
      "memslot with KVM_MEM_GUEST_MEMFD", try_bound_slots },
    { GUEST_MEMFD_INTERFACE_NUMA_POLICY,
      "mbind, seen through a second mapping", try_numa_policy },
    { GUEST_MEMFD_INTERFACE_CONVERT_IN_PLACE,
      "KVM_SET_MEMORY_ATTRIBUTES2 of no bytes", try_convert_in_place },
    { GUEST_MEMFD_INTERFACE_USERFAULT,
      "memslot with KVM_MEM_USERFAULT", try_userfault },
    { GUEST_MEMFD_INTERFACE_UFFD_MISSING,
      "UFFDIO_REGISTER, MODE_MISSING", try_uffd_missing },
    { GUEST_MEMFD_INTERFACE_UFFD_MINOR,
      "UFFDIO_REGISTER, MODE_MINOR", try_uffd_minor },
    { GUEST_MEMFD_INTERFACE_UFFD_WP,
      "UFFDIO_REGISTER, MODE_WP", try_uffd_wp },
    { GUEST_MEMFD_INTERFACE_NO_DIRECT_MAP,
      "flag NO_DIRECT_MAP, MADV_POPULATE_WRITE refused", try_no_direct_map },
    { GUEST_MEMFD_INTERFACE_IOMMUFD_MAP_FILE,
      "IOMMU_IOAS_MAP_FILE, no device", try_iommufd_map_file },
    { GUEST_MEMFD_INTERFACE_DIRTY_LOG_BOUND,
      "KVM_MEM_LOG_DIRTY_PAGES of a bound memslot, on and off",
      try_dirty_log_bound },
    { GUEST_MEMFD_INTERFACE_NOTIFIER_FREE_SLOTS,
      "pages_4k of a pre-faulted slot after MADV_DONTNEED",
      try_notifier_free },
};

/* @ret as of try_*() */
static void tell(GuestMemfdInterfaceInfo *info, GmemProbeResult *result,
                 const char *tried, int ret, bool known)
{
    const char *answer = ret > 0 ? "yes" : ret == 0 ? "no" :
                         ret == -ENODATA ? "no answer" : strerror(-ret);

    result(info, known, ret > 0,
           g_strdup_printf("%s: %s", tried, answer));
}

void gmem_probe_tell(GuestMemfdInterfaceInfo *info, GmemProbeResult *result,
                     const char *tried, int ret)
{
    tell(info, result, tried, ret, ret >= 0 || is_refusal(ret));
}

void gmem_probe_all(GuestMemfdInterfaceInfo *infos, GmemProbeResult *result)
{
    Trial t;
    int failed = trial_begin(&t);

    for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
        const char *tried = "guest_memfd on a VM of its own";
        int ret = failed;

        if (!failed) {
            tried = trials[i].tried;
            ret = trials[i].try(&t);
        }
        tell(&infos[trials[i].name], result, tried, ret,
             !failed && (ret >= 0 || is_refusal(ret)));
    }
    trial_end(&t);
}
