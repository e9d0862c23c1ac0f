/*
 * What a vCPU does when KVM cannot give it a page of a guest_memfd
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-events-gmem.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "system/address-spaces.h"
#include "system/kvm.h"
#include "system/memory.h"
#include "system/ramblock.h"
#include "system/runstate.h"
#include "gmem/gmem.h"
#include "gmem/run.h"
#include "trace/trace-gmem_accel_kvm.h"

/* The page of a guest_memfd that KVM could not give, or NULL.  BQL. */
static GuestMemfd *missing_page(const struct kvm_run *run, uint64_t *offset)
{
    GuestMemfd *gmem = NULL;
    MemoryRegionSection section;

    section = memory_region_find(get_system_memory(), run->memory_fault.gpa,
                                 1);
    if (section.mr) {
        gmem = gmem_from_region(section.mr);
        *offset = section.offset_within_region;
        memory_region_unref(section.mr);
    }
    return gmem;
}

/* As in kvm-all.c: KVM_HAVE_MCE_INJECTION */
#if defined(__i386__) || defined(__x86_64__) || defined(__aarch64__)
static const bool has_machine_checks = true;
#else
static const bool has_machine_checks;
#define kvm_arch_on_sigbus_vcpu(cpu, code, page) g_assert_not_reached()
#endif

/*
 * As after the SIGBUS that KVM sends for mapped memory.  A vCPU may wait in
 * there for all others, so only one at a time does it; the others do what it
 * wants of them, come here again if their page is broken too, or do not.
 */
static void raise_machine_check(CPUState *cpu, const struct kvm_run *run)
{
    static bool raising;        /* BQL, which a vCPU that waits lets go */
    uint64_t offset;
    GuestMemfd *gmem = missing_page(run, &offset);

    /* else the memory is no longer there: what is there now is not broken */
    if (gmem && !raising) {
        raising = true;
        kvm_arch_on_sigbus_vcpu(cpu, BUS_MCEERR_AR,
                                gmem->block->host + offset);
        raising = false;
    }
}

static bool stop_until_there_is_memory(const struct kvm_run *run)
{
    uint64_t offset = 0;
    GuestMemfd *gmem = run->exit_reason == KVM_EXIT_MEMORY_FAULT
        ? missing_page(run, &offset) : NULL;
    g_autofree char *who = gmem
        ? g_strdup_printf("memory backend '%s'", gmem->id) : g_strdup("KVM");

    if (!gmem_any()) {
        return false;
    }
    error_report("%s: the host has no memory for a page of the guest; the VM "
                 "is stopped, continue it when there is memory again", who);
    qapi_event_send_guest_memfd_no_memory(gmem ? gmem->id : NULL, !!gmem,
                                          offset);
    vm_stop(RUN_STATE_IO_ERROR);
    return true;
}

static int deal_with(CPUState *cpu, const struct kvm_run *run, int ret)
{
    BQL_LOCK_GUARD();
    if (ret == -ENOMEM) {
        return stop_until_there_is_memory(run) ? -EINTR : ret;
    }
    raise_machine_check(cpu, run);
    return -EINTR;
}

int gmem_run_result(CPUState *cpu, const struct kvm_run *run, int ret)
{
    bool broken = ret == -EHWPOISON && has_machine_checks && gmem_any() &&
                  run->exit_reason == KVM_EXIT_MEMORY_FAULT;

    if (!broken && ret != -ENOMEM) {
        return ret;
    }
    trace_gmem_run_failed(cpu->cpu_index, run->exit_reason, ret);
    return deal_with(cpu, run, ret);
}
