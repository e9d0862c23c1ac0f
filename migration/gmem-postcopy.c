/*
 * Postcopy into a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/lockcnt.h"
#include "exec/target_page.h"
#include "hw/core/cpu.h"
#include "migration/migration.h"
#include "migration/postcopy-ram.h"
#include "migration/ram.h"
#include "system/ramblock.h"
#include "gmem/caps.h"
#include "gmem/postcopy.h"
#include "gmem/userfault.h"
#include "trace/trace-gmem_system.h"

/* What auto is where the kernel has both: docs/postcopy.md, Measured. */
#define BETTER GUEST_MEMFD_POSTCOPY_USERFAULT

/* Time for a vCPU to come out of the guest; ample on a host that is busy. */
#define LONGEST_EXIT_MS 1000

/* Time for a page that the source has sent; ample for a network that stalls. */
#define LONGEST_WAY_MS (30 * 1000)

static bool kernel_has(GuestMemfdInterface name)
{
    const GuestMemfdInterfaceInfo *info = gmem_caps_find(name);

    return info && info->available;
}

static const char *kernel_says(GuestMemfdInterface name)
{
    const GuestMemfdInterfaceInfo *info = gmem_caps_find(name);

    return info ? info->found_by : "no KVM";
}

/* Of this memory, whatever else there is */
static bool can_come_in(const GuestMemfd *gmem, const char *capability,
                        Error **errp)
{
    if (gmem->state) {
        error_setg(errp, "memory backend '%s': %s: its pages can turn "
                   "private, and QEMU can bring in shared ones only",
                   gmem->id, capability);
        return false;
    }
    if (!kernel_has(GUEST_MEMFD_INTERFACE_UFFD_MISSING)) {
        error_setg(errp, "memory backend '%s': %s: this kernel has no "
                   "userfaultfd for missing pages of a guest_memfd, "
                   "uffd-missing (%s), so they cannot be brought in after the "
                   "guest has started; use precopy", gmem->id, capability,
                   kernel_says(GUEST_MEMFD_INTERFACE_UFFD_MISSING));
        return false;
    }
    if (gmem->postcopy.policy == GUEST_MEMFD_POSTCOPY_USERFAULT &&
        !kernel_has(GUEST_MEMFD_INTERFACE_USERFAULT)) {
        error_setg(errp, "memory backend '%s': %s: postcopy=userfault: this "
                   "kernel's memslots have no userfault bitmap, userfault "
                   "(%s); use postcopy=auto", gmem->id, capability,
                   kernel_says(GUEST_MEMFD_INTERFACE_USERFAULT));
        return false;
    }
    if (gmem_lacks_direct_map(gmem) &&
        !kernel_has(GUEST_MEMFD_INTERFACE_USERFAULT)) {
        error_setg(errp, "memory backend '%s': %s: direct-map=off: its pages "
                   "come in to bound memslots only, and those of this kernel "
                   "have no userfault bitmap, userfault (%s); use precopy",
                   gmem->id, capability,
                   kernel_says(GUEST_MEMFD_INTERFACE_USERFAULT));
        return false;
    }
    return true;
}

bool gmem_postcopy_check(const GuestMemfd *gmem, const char *capability,
                         Error **errp)
{
    return can_come_in(gmem, capability, errp) && gmem_tell_postcopy_in(errp);
}

bool gmem_postcopy_may_come(void)
{
    return gmem_any_incoming() ||
           (gmem_any() && migrate_postcopy_ram() &&
            migration_incoming_postcopy_advised() &&
            runstate_check(RUN_STATE_INMIGRATE));
}

/* How pages of @gmem, which can come in, do so. */
static GuestMemfdPostcopy strategy_of(const GuestMemfd *gmem)
{
    GuestMemfdPostcopy wanted = gmem->postcopy.policy;

    if (wanted == GUEST_MEMFD_POSTCOPY_AUTO) {
        wanted = BETTER;
    }
    if (gmem->slots == GUEST_MEMFD_SLOTS_MAPPED ||
        !kernel_has(GUEST_MEMFD_INTERFACE_USERFAULT)) {
        return GUEST_MEMFD_POSTCOPY_MAPPED;
    }
    return wanted;
}

static int add_missing_bytes(MemoryRegionSection *section, void *opaque)
{
    RAMBlock *block = section->mr->ram_block;
    uint64_t page_size = qemu_target_page_size(), *missing = opaque;
    uint64_t first = section->offset_within_region / page_size;
    uint64_t pages = int128_get64(section->size) / page_size;

    *missing += (pages - bitmap_count_one_with_offset(block->receivedmap,
                                                      first, pages)) *
                page_size;
    return 0;
}

static uint64_t missing_bytes(const GuestMemfd *gmem)
{
    RAMBlock *block = gmem->block;
    MemoryRegionSection all = {
        .mr = block->mr,
        .size = int128_make64(block->postcopy_length),
    };
    RamDiscardManager *manager = memory_region_get_ram_discard_manager(all.mr);
    uint64_t missing = 0;

    if (!gmem->postcopy.incoming || !block->receivedmap) {
        return 0;
    }
    if (manager) {
        /* the source does not send what it does not have */
        ram_discard_manager_replay_populated(manager, &all, add_missing_bytes,
                                             &missing);
    } else {
        add_missing_bytes(&all, &missing);
    }
    return missing;
}

static bool has_all(GuestMemfd *gmem, void *opaque)
{
    return missing_bytes(gmem) == 0;
}

/* No urgent page will come any more.  mis->page_request_mutex. */
static bool urgent_over;

void gmem_postcopy_urgent_over(MigrationIncomingState *mis)
{
    QEMU_LOCK_GUARD(&mis->page_request_mutex);
    urgent_over = true;
    qemu_cond_signal(&mis->page_request_cond);
}

void gmem_postcopy_await_urgent(MigrationIncomingState *mis)
{
    unsigned before, left = qatomic_read(&mis->page_requested_count);
    bool come = mis->state != MIGRATION_STATUS_FAILED;

    while (left && ((come && !urgent_over) || gmem_for_each(has_all, NULL))) {
        before = left;
        qemu_cond_timedwait(&mis->page_request_cond, &mis->page_request_mutex,
                            LONGEST_WAY_MS);
        left = qatomic_read(&mis->page_requested_count);
        come = left < before;
    }
}

/* Without a bitmap its memslots are mapped. */
static bool begin(GuestMemfd *gmem, void *opaque)
{
    GmemPostcopy *postcopy = &gmem->postcopy;
    RAMBlock *block = gmem->block;

    if (!block->receivedmap) {
        return true;            /* not of this migration */
    }
    if (!gmem_postcopy_check(gmem, "postcopy-ram", opaque)) {
        return false;
    }
    postcopy->strategy = strategy_of(gmem);
    postcopy->refused = false;
    if (postcopy->strategy == GUEST_MEMFD_POSTCOPY_USERFAULT &&
        !gmem_userfault_begin(gmem, block->receivedmap,
                              block->postcopy_length)) {
        if (gmem_lacks_direct_map(gmem)) {
            error_setg((Error **)opaque, "memory backend '%s': direct-map=off: "
                       "no memory for a userfault bitmap", gmem->id);
            return false;
        }
        warn_report("memory backend '%s': no memory for a userfault bitmap; its "
                    "memslots are mapped until postcopy is over", gmem->id);
        postcopy->strategy = GUEST_MEMFD_POSTCOPY_MAPPED;
    }
    postcopy->incoming = true;
    trace_gmem_postcopy_begin(gmem->id,
                              GuestMemfdPostcopy_str(postcopy->strategy));
    return true;
}

static bool stop_incoming(GuestMemfd *gmem, void *opaque)
{
    gmem->postcopy.incoming = false;
    return true;
}

static bool end(GuestMemfd *gmem, void *opaque)
{
    gmem_userfault_end(gmem);
    return true;
}

static void wake_fault_thread(void)
{
    postcopy_fault_thread_notify(migration_incoming_get_current());
}

bool gmem_postcopy_begin(Error **errp)
{
    urgent_over = false;
    if (!gmem_for_each(begin, errp)) {
        gmem_for_each(stop_incoming, NULL);
        gmem_for_each(end, NULL);
        return false;
    }
    if (gmem_any()) {
        gmem_userfault_open(wake_fault_thread);
        gmem_tell_slots_stale();
    }
    return true;
}

/* The guest must not run on without pages that were to come. */
static bool check_complete(GuestMemfd *gmem, void *opaque)
{
    uint64_t missing = missing_bytes(gmem);
    bool *complete = opaque;

    trace_gmem_postcopy_end(gmem->id, gmem->postcopy.incoming, missing);
    if (missing) {
        g_autofree char *what = g_strdup_printf("postcopy is over, and %"
                                                PRIu64 " bytes of it are "
                                                "missing", missing);

        *complete = false;
        gmem_lose(gmem, what, 0);
    }
    return true;
}

static bool a_vcpu_is_in_kvm(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        if (qemu_lockcnt_count(&cpu->in_ioctl_lock)) {
            return true;
        }
    }
    return false;
}

/*
 * All vCPUs have been kicked, and leave the guest at once; none comes back.
 * Who is in KVM for longer is not in the guest: it waits there for a page that
 * does not come, and returns when userfaultfd lets go.
 */
static void wait_for_vcpus(void)
{
    for (int i = 0; i < LONGEST_EXIT_MS && a_vcpu_is_in_kvm(); i++) {
        g_usleep(1000);
    }
}

void gmem_postcopy_end(void)
{
    bool complete = true;

    if (!gmem_any()) {
        return;
    }
    gmem_for_each(check_complete, &complete);
    gmem_userfault_close();
    gmem_for_each(stop_incoming, NULL);
    if (!complete) {
        /* memslots stay as they are: to change them might have to wait */
        wait_for_vcpus();
        return;
    }
    gmem_tell_slots_stale();
    gmem_for_each(end, NULL);
}

void gmem_postcopy_placed(RAMBlock *block, void *host, size_t size)
{
    GuestMemfd *gmem = block->gmem;

    if (gmem) {
        stat64_add(&gmem->postcopy.placed, size / qemu_real_host_page_size());
        gmem_userfault_placed(gmem, (uint8_t *)host - block->host, size);
    }
}

void gmem_postcopy_faulted(RAMBlock *block)
{
    if (block->gmem) {
        stat64_add(&block->gmem->postcopy.requests, 1);
    }
}

void gmem_postcopy_send_requests(MigrationIncomingState *mis,
                                 GmemPostcopyRequest *request,
                                 GmemPostcopyPause *pause)
{
    GmemUserfaultRequest wanted;

    while (!qatomic_read(&mis->fault_thread_quit) &&
           gmem_userfault_next(&wanted)) {
        ram_addr_t start;
        RAMBlock *block = qemu_ram_block_from_host(wanted.page, true, &start);

        if (!block || !block->receivedmap) {
            continue;           /* it was unplugged meanwhile, or replaced */
        }
        trace_gmem_postcopy_request(block->idstr, start, wanted.thread_id);
        while (request(mis, block, start, (uintptr_t)wanted.page,
                       wanted.thread_id) &&
               !qatomic_read(&mis->fault_thread_quit)) {
            pause(mis);
        }
    }
}

GuestMemfdPostcopyInfo *gmem_postcopy_query(const GuestMemfd *gmem)
{
    const GmemPostcopy *postcopy = &gmem->postcopy;
    GuestMemfdPostcopyInfo *info = g_new0(GuestMemfdPostcopyInfo, 1);

    info->policy = postcopy->policy;
    info->incoming = postcopy->incoming;
    info->has_strategy = postcopy->incoming ||
                         can_come_in(gmem, "", NULL);
    if (info->has_strategy) {
        info->strategy = postcopy->incoming ? postcopy->strategy
                                            : strategy_of(gmem);
    }
    info->exits = stat64_get(&postcopy->exits);
    info->requests = stat64_get(&postcopy->requests);
    info->placed = stat64_get(&postcopy->placed);
    info->missing_bytes = missing_bytes(gmem);
    return info;
}
