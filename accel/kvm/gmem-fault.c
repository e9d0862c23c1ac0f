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

static int stop(const struct kvm_run *run, GuestMemfd *gmem, uint64_t offset,
                GuestMemfdAccessFailure reason)
{
    uint64_t gpa = run->memory_fault.gpa;

    again.times = 0;
    error_report("the guest cannot access the page at 0x%" PRIx64 ": %s; the "
                 "VM is stopped", gpa,
                 reason == GUEST_MEMFD_ACCESS_FAILURE_NO_PRIVATE_BACKING
                 ? "it is private, and what is there has no private pages"
                 : "KVM refuses it again and again");
    qapi_event_send_guest_memfd_access_failed(
        gpa, run->memory_fault.size, reason, gmem ? gmem->id : NULL, offset);
    vm_stop(RUN_STATE_IO_ERROR);
    return EXCP_INTERRUPT;
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
        return stop(run, gmem, offset,
                    GUEST_MEMFD_ACCESS_FAILURE_NO_PRIVATE_BACKING);
    }
    if (makes_no_progress(gpa)) {
        return stop(run, gmem, offset, GUEST_MEMFD_ACCESS_FAILURE_NO_PROGRESS);
    }
    return 0;
}
