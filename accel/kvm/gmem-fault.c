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
#include "system/cpus.h"
#include "system/runstate.h"
#include "gmem/fault.h"
#include "gmem/places.h"
#include "gmem/state.h"
#include "trace/trace-gmem_accel_kvm.h"

/* Who loses so many races in a row, for so long, is in none. */
#define RACES_MAX 1000
#define RACES_MIN_NS (1LL * NANOSECONDS_PER_SECOND)
/* After so long without one, it had won */
#define RACES_APART_NS (NANOSECONDS_PER_SECOND / 10)

/* The access this vCPU makes again and again */
static __thread struct {
    uint64_t gpa;
    unsigned times;
    int64_t start_ns, last_ns;
} again;

bool gmem_handles_memory_faults(void)
{
    return gmem_conversions()->enabled;
}

static bool makes_no_progress(uint64_t gpa)
{
    int64_t now = get_clock();

    if (again.gpa != gpa || !again.times ||
        now - again.last_ns > RACES_APART_NS) {
        again.gpa = gpa;
        again.times = 0;
        again.start_ns = now;
    }
    again.last_ns = now;
    return ++again.times > RACES_MAX && now - again.start_ns > RACES_MIN_NS;
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
    /* soon: vCPUs may be held right now */
    qemu_system_vmstop_request_prepare();
    qemu_system_vmstop_request(RUN_STATE_IO_ERROR);
    cpu_stop_current();
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

/* False, and the VM is stopped, if @place shows private pages and cannot */
static bool check_place(GuestMemfd *gmem, const GmemPlace *place)
{
    if (place->bound ||
        !gmem_range_private(gmem->block, place->offset, place->size)) {
        return true;
    }
    stop(place->gpa, place->size, gmem, place->offset,
         GUEST_MEMFD_ACCESS_FAILURE_NO_PRIVATE_BACKING);
    return false;
}

static bool check_places(GuestMemfd *gmem, void *opaque)
{
    for (unsigned i = 0; gmem->places && i < gmem->places->len; i++) {
        if (!check_place(gmem, &g_array_index(gmem->places, GmemPlace, i))) {
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
    return gmem_for_each(check_places, NULL) ? ret : -EINTR;
}

/*
 * Of two backings by file, KVM takes the shared one where a memslot has no
 * file, and tells nobody.
 */
static void place_new(GuestMemfd *gmem, const GmemPlace *place)
{
    if (gmem->apart && gmem_conversions()->by_file) {
        check_place(gmem, place);
    }
}

static GmemListener fault_listener = {
    .place_new = place_new,
};

static void register_listener(void)
{
    gmem_listener_register(&fault_listener);
}

type_init(register_listener);
