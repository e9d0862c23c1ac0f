/*
 * A vCPU that KVM sends out because of a page's side
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-events-gmem.h"
#include "exec/cpu-common.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/runstate.h"
#include "gmem/fault.h"
#include "gmem/places.h"
#include "gmem/state.h"
#include "trace/trace-gmem_accel_kvm.h"

/* Who loses so many races in a row, for so long, is in none. */
#define RACES_MAX 1000
#define RACES_MIN_NS (1LL * NANOSECONDS_PER_SECOND)

/* The access this vCPU makes again and again */
static __thread struct {
    uint64_t gpa;
    unsigned times;
    int64_t start_ns;
} again;

bool gmem_handles_memory_faults(void)
{
    return gmem_conversions()->enabled;
}

static bool makes_no_progress(uint64_t gpa)
{
    if (again.gpa != gpa || !again.times) {
        again.gpa = gpa;
        again.times = 0;
        again.start_ns = get_clock();
    }
    return ++again.times > RACES_MAX &&
           get_clock() - again.start_ns > RACES_MIN_NS;
}

static void stop(uint64_t gpa, uint64_t size, GuestMemfd *gmem,
                 uint64_t offset, GuestMemfdAccessFailure reason)
{
    again.times = 0;
    error_report("the guest cannot access the page at 0x%" PRIx64 ": %s; the "
                 "VM is stopped", gpa,
                 reason == GUEST_MEMFD_ACCESS_FAILURE_NO_PRIVATE_BACKING
                 ? "it is private, and what is there has no private pages"
                 : "KVM refuses it again and again");
    qapi_event_send_guest_memfd_access_failed(
        gpa, size, reason, gmem ? gmem->id : NULL, offset);
    vm_stop(RUN_STATE_IO_ERROR);
}

int gmem_memory_fault(CPUState *cpu, const struct kvm_run *run)
{
    uint64_t gpa = run->memory_fault.gpa, offset = 0;
    bool faulted_private = run->memory_fault.flags &
                           KVM_MEMORY_EXIT_FLAG_PRIVATE;
    bool is_private = false, bound = false;
    GuestMemfd *gmem = NULL;
    const GmemPlace *place;

    BQL_LOCK_GUARD();
    place = gmem_place_find(gpa, &gmem);
    if (place && place->gpa <= gpa) {
        offset = place->offset + (gpa - place->gpa);
        is_private = gmem_range_private(gmem->block, offset, 1);
        bound = place->bound;
    } else {
        gmem = NULL;
    }
    trace_gmem_memory_fault(cpu->cpu_index, gpa, faulted_private, is_private,
                            bound);
    if (faulted_private && is_private && !bound) {
        stop(gpa, run->memory_fault.size, gmem, offset,
             GUEST_MEMFD_ACCESS_FAILURE_NO_PRIVATE_BACKING);
        return EXCP_INTERRUPT;
    }
    if (makes_no_progress(gpa)) {
        stop(gpa, run->memory_fault.size, gmem, offset,
             faulted_private && !gmem
             ? GUEST_MEMFD_ACCESS_FAILURE_NO_PRIVATE_BACKING
             : GUEST_MEMFD_ACCESS_FAILURE_NO_PROGRESS);
        return EXCP_INTERRUPT;
    }
    return 0;
}

/* A place that shows private pages and cannot, if @gmem has one */
static bool stop_for_mapped(GuestMemfd *gmem, void *opaque)
{
    for (unsigned i = 0; gmem->places && i < gmem->places->len; i++) {
        const GmemPlace *place = &g_array_index(gmem->places, GmemPlace, i);

        if (!place->bound &&
            gmem_range_private(gmem->block, place->offset, place->size)) {
            stop(place->gpa, place->size, gmem, place->offset,
                 GUEST_MEMFD_ACCESS_FAILURE_NO_PRIVATE_BACKING);
            return false;
        }
    }
    return true;
}

int gmem_fault_result(CPUState *cpu, const struct kvm_run *run, int ret)
{
    if (ret != -EFAULT || run->exit_reason == KVM_EXIT_MEMORY_FAULT ||
        !gmem_conversions()->in_place) {
        return ret;
    }
    BQL_LOCK_GUARD();
    return gmem_for_each(stop_for_mapped, NULL) ? ret : -EINTR;
}
