/*
 * Postcopy into a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bitmap.h"
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

bool gmem_postcopy_check(const GuestMemfd *gmem, const char *capability,
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
    return true;
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
        postcopy->strategy = GUEST_MEMFD_POSTCOPY_MAPPED;
    }
    postcopy->incoming = true;
    trace_gmem_postcopy_begin(gmem->id,
                              GuestMemfdPostcopy_str(postcopy->strategy));
    return true;
}

static void wake_fault_thread(void)
{
    postcopy_fault_thread_notify(migration_incoming_get_current());
}

bool gmem_postcopy_begin(Error **errp)
{
    if (!gmem_for_each(begin, errp)) {
        return false;
    }
    if (gmem_any()) {
        gmem_userfault_open(wake_fault_thread);
        gmem_tell_postcopy_changed();
    }
    return true;
}

static uint64_t missing_bytes(const GuestMemfd *gmem)
{
    RAMBlock *block = gmem->block;
    uint64_t page_size = qemu_target_page_size(), missing = 0, pages;

    if (!gmem->postcopy.incoming || !block->receivedmap) {
        return 0;
    }
    pages = block->postcopy_length / page_size;
    if (!memory_region_has_ram_discard_manager(block->mr)) {
        return (pages - bitmap_count_one(block->receivedmap, pages)) *
               page_size;
    }
    for (uint64_t i = find_first_zero_bit(block->receivedmap, pages);
         i < pages; i = find_next_zero_bit(block->receivedmap, pages, i + 1)) {
        /* the source does not send what it does not have */
        missing += !ramblock_page_is_discarded(block, i * page_size);
    }
    return missing * page_size;
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
    gmem_tell_postcopy_changed();
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

    while (gmem_userfault_next(&wanted)) {
        ram_addr_t start;
        RAMBlock *block = qemu_ram_block_from_host(wanted.page, true, &start);

        if (!block || !block->receivedmap) {
            continue;           /* it was unplugged meanwhile, or replaced */
        }
        trace_gmem_postcopy_request(block->idstr, start, wanted.thread_id);
        while (request(mis, block, start, (uintptr_t)wanted.page,
                       wanted.thread_id)) {
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
                         gmem_postcopy_check(gmem, "", NULL);
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
