/*
 * What the kernel holds of each page of a guest_memfd: its side
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/ioctl.h>
#include <linux/falloc.h>
#include "hw/core/cpu.h"
#include "system/kvm.h"
#include "system/kvm_int.h"
#include "gmem/state.h"
#include "gmem/uapi.h"
#include "gmem-attributes.h"
#include "trace/trace-gmem_accel_kvm.h"

#define FIRST_PAUSE_US 20
#define LONGEST_PAUSE_US 5000

/* How far the kernel has come */
typedef struct Step {
    uint64_t start;             /* from here on nothing is done */
    uint64_t end;               /* so far is asked for */
    unsigned pause_us;          /* the next one, if nothing moves */
} Step;

bool gmem_effort_ends(const GmemEffort *effort)
{
    return !effort->must_end &&
           (qatomic_read(&effort->give_up) ||
            (!effort->despite_stop && current_cpu &&
             qatomic_read(&current_cpu->stop)));
}

static int set_by_address(uint64_t gpa, uint64_t size, bool private)
{
    struct kvm_memory_attributes attributes = {
        .address = gpa,
        .size = size,
        .attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
    };

    return kvm_vm_ioctl(kvm_state, KVM_SET_MEMORY_ATTRIBUTES, &attributes);
}

/* @held: the first page that somebody holds, with -EAGAIN */
static int set_in_file(int fd, uint64_t offset, uint64_t size, bool private,
                       uint64_t *held)
{
    struct kvm_memory_attributes2 attributes = {
        .offset = offset,
        .size = size,
        .attributes = private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0,
    };
    int ret = ioctl(fd, KVM_SET_MEMORY_ATTRIBUTES2, &attributes) ? -errno : 0;

    *held = attributes.error_offset;
    return ret;
}

/* Wait for who holds the page at step->start; false if that was long enough. */
static bool pause_step(Step *step, GmemEffort *effort)
{
    if (effort->paused_us > GMEM_HELD_MS * 1000) {
        return false;
    }
    g_usleep(step->pause_us);
    effort->paused_us += step->pause_us;
    step->pause_us = MIN(2 * step->pause_us, LONGEST_PAUSE_US);
    return true;
}

static int set_in_steps(const GuestMemfd *gmem, uint64_t offset, uint64_t size,
                        bool private, GmemEffort *effort)
{
    Step step = {
        .start = offset,
        .end = offset + size,
        .pause_us = FIRST_PAUSE_US,
    };

    while (step.start < offset + size) {
        uint64_t held;
        int ret = set_in_file(gmem->fd, step.start, step.end - step.start,
                              private, &held);

        trace_gmem_attributes(gmem->id, step.start, step.end - step.start,
                              private, ret);
        if (ret == 0) {
            step.start = step.end;
            step.end = offset + size;
            step.pause_us = FIRST_PAUSE_US;
            continue;
        }
        if (ret != -EAGAIN) {
            return ret;
        }
        effort->retries++;
        if (gmem_effort_ends(effort)) {
            return -EBUSY;
        }
        if (held > step.start && held < step.end) {
            step.end = held;
        } else if (!pause_step(&step, effort)) {
            return -EAGAIN;
        }
    }
    return 0;
}

int gmem_attributes_set(const GuestMemfd *gmem, uint64_t gpa, uint64_t offset,
                        uint64_t size, bool private, GmemEffort *effort)
{
    int ret;

    if (gmem_conversions()->by_file) {
        return set_in_steps(gmem, offset, size, private, effort);
    }
    ret = set_by_address(gpa, size, private);
    trace_gmem_attributes(gmem->id, offset, size, private, ret);
    return ret;
}

int gmem_attributes_punch(const GuestMemfd *gmem, uint64_t offset,
                          uint64_t size)
{
    int ret = RETRY_ON_EINTR(fallocate(gmem->fd, FALLOC_FL_PUNCH_HOLE |
                                       FALLOC_FL_KEEP_SIZE, offset, size));

    ret = ret ? -errno : 0;
    trace_gmem_punch(gmem->id, offset, size, ret);
    return ret;
}

int gmem_attributes_clear_vm(uint64_t gpa, uint64_t size)
{
    return gmem_conversions()->by_file ? 0 : set_by_address(gpa, size, false);
}
