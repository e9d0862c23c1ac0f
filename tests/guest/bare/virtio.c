/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A disk (1af4:1001) or a balloon (1af4:1002) by legacy virtio-pci, whose ring
 * lies where one likes; one device at a time.
 *
 *   vring RING [balloon=1] [device=N] [clear=0]
 *                             sets the device up: a queue at RING, on a page,
 *                             which is cleared before
 *   vblk SECTOR BUFFER [size=N] [header=ADDRESS] [write=1] [patience=CYCLES]
 *                             one request by that ring, of 512 bytes or size=;
 *                             its header and status byte are the program's
 *                             own, or lie at ADDRESS
 *   vballoon START SIZE [patience=CYCLES]
 *                             these pages, 256 at most, go into the balloon
 *
 * The answer has what the disk wrote: status=0 is success; and
 * device_status, in which 0x40 is a device that wants to be reset.
 */
#include "bare.h"

#define VIRTIO_BLK 0x1af41001
#define VIRTIO_BALLOON 0x1af41002
#define MAX_BALLOON 256
#define MAX_RING_SIZE 0x10000

enum {
    QUEUE_ADDRESS = 8, QUEUE_SIZE = 12, QUEUE_SELECT = 14, NOTIFY = 16,
    STATUS = 18
};

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4 };

typedef struct Descriptor {
    uint64_t address;
    uint32_t size;
    uint16_t flags, next;
} Descriptor;

enum { HAS_NEXT = 1, DEVICE_WRITES = 2 };

typedef struct Request {
    uint32_t type, zero;
    uint64_t sector;
    uint8_t status;
} Request;

static struct {
    uint32_t device;
    uint32_t ports;
    uint64_t ring;
    uint32_t size;
    uint16_t sent;
} queue;

static void write_status(uint32_t ports, uint8_t status)
{
    arch_port_write(ports + STATUS, 1, status);
}

static uint64_t available(void)
{
    return queue.ring + queue.size * sizeof(Descriptor);
}

static uint64_t used(void)
{
    return ROUND_UP(available() + 2 * (3 + queue.size), PAGE_SIZE);
}

static void clear(Range range)
{
    uint64_t at;

    for (at = range.start; at - range.start < range.size; at += 8) {
        AT(uint64_t, at) = 0;
    }
}

/* The device takes the ring as it is once it is told that we are ready. */
static void set_up(uint32_t ports, Range ring, bool cleared)
{
    queue.ports = ports;
    queue.ring = ring.start;
    queue.sent = 0;
    write_status(ports, 0);
    write_status(ports, ACKNOWLEDGE);
    write_status(ports, ACKNOWLEDGE | DRIVER);
    arch_port_write(ports + QUEUE_SELECT, 2, 0);
    queue.size = arch_port_read(ports + QUEUE_SIZE, 2);
    if (cleared) {
        ring.size = used() + 6 + 8 * queue.size - ring.start;
        clear(ring);
    }
    arch_port_write(ports + QUEUE_ADDRESS, 4, ring.start / PAGE_SIZE);
    write_status(ports, ACKNOWLEDGE | DRIVER | DRIVER_OK);
}

static bool vring(Job *job)
{
    Range ring = {.size = MAX_RING_SIZE};
    uint64_t nth = 0, cleared = 1, balloon = 0;
    uint32_t device, bdf;
    Bar bar;

    if (!number_at(job, 1, &ring.start) || !option(job, "device", &nth) ||
        !option(job, "clear", &cleared) || !option(job, "balloon", &balloon)) {
        return false;
    }
    device = balloon ? VIRTIO_BALLOON : VIRTIO_BLK;
    if (!pci_find(job, device, nth, &bdf)) {
        return false;
    }
    if (!pci_bar(bdf, 0, &bar) || !bar.is_ports) {
        return fail(job, "it is no legacy device");
    }
    if (is_program(ring) || ring.start % PAGE_SIZE) {
        return fail(job, "a ring lies on a page, and not in the program");
    }
    queue.device = device;
    set_up(bar.range.start, ring, cleared);
    say(job, "entries", queue.size);
    return true;
}

static void describe(unsigned nr, uint64_t address, uint32_t size,
                     uint16_t flags)
{
    AT(Descriptor, queue.ring + nr * sizeof(Descriptor)) = (Descriptor) {
        address, size, flags, nr + 1
    };
}

/* What descriptor 0 begins */
static void offer(void)
{
    AT(uint16_t, available() + 4 + 2 * (queue.sent % queue.size)) = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    AT(uint16_t, available() + 2) = ++queue.sent;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    arch_port_write(queue.ports + NOTIFY, 2, 0);
}

static void send(uint64_t header, Range buffer, uint64_t sector, bool writes)
{
    AT(uint32_t, header + offsetof(Request, type)) = writes;
    AT(uint64_t, header + offsetof(Request, sector)) = sector;
    AT(uint8_t, header + offsetof(Request, status)) = 0xff;
    describe(0, header, offsetof(Request, status), HAS_NEXT);
    describe(1, buffer.start, buffer.size,
             writes ? HAS_NEXT : HAS_NEXT | DEVICE_WRITES);
    describe(2, header + offsetof(Request, status), 1, DEVICE_WRITES);
    offer();
}

static bool wait_used(Job *job, uint64_t patience)
{
    uint64_t begin = arch_cycles();

    while (AT(uint16_t, used() + 2) != queue.sent) {
        if (arch_cycles() - begin > patience || !goes_on()) {
            return fail(job, "the device does not answer");
        }
    }
    return true;
}

static bool has_ring(Job *job, uint32_t device)
{
    return (queue.size && queue.device == device) ||
        fail(job, "that device has no ring yet");
}

static bool vblk(Job *job)
{
    static Request request;
    uint64_t sector, header = (uintptr_t)&request, writes = 0;
    uint64_t patience = 1UL << 34;
    Range buffer = {.size = 512};
    bool answered;

    if (!number_at(job, 1, &sector) || !number_at(job, 2, &buffer.start) ||
        !option(job, "size", &buffer.size) ||
        !option(job, "header", &header) || !option(job, "write", &writes) ||
        !option(job, "patience", &patience)) {
        return false;
    }
    if (!has_ring(job, VIRTIO_BLK)) {
        return false;
    }
    if (!writes && is_program(buffer)) {
        return fail(job, "the program itself lies there");
    }
    send(header, buffer, sector, writes);
    answered = wait_used(job, patience);
    say(job, "status", AT(uint8_t, header + offsetof(Request, status)));
    say_hex(job, "device_status", arch_port_read(queue.ports + STATUS, 1));
    return answered;
}

static bool vballoon(Job *job)
{
    static uint32_t frames[MAX_BALLOON];
    uint64_t patience = 1UL << 34;
    Range range;
    unsigned i, nr;

    if (!foreign_range_at(job, 1, &range) ||
        !option(job, "patience", &patience) ||
        !has_ring(job, VIRTIO_BALLOON)) {
        return false;
    }
    nr = MIN(range.size / PAGE_SIZE, MAX_BALLOON);
    for (i = 0; i < nr; i++) {
        frames[i] = range.start / PAGE_SIZE + i;
    }
    describe(0, (uintptr_t)frames, nr * sizeof(frames[0]), 0);
    offer();
    say(job, "pages", nr);
    return wait_used(job, patience);
}

const Command virtio_commands[] = {
    {"vring", vring}, {"vblk", vblk}, {"vballoon", vballoon}, {}
};
