/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The DMA engine of QEMU's edu device (1234:11e8), which has a buffer of one
 * page.  A transfer takes a tenth of a second.
 *
 *   dma in FROM SIZE [at=N] [device=N]     memory to the device's buffer
 *   dma out TO SIZE [at=N] [device=N]      and back; at= is where in there
 *   dma copy FROM TO SIZE [device=N]       any size, a page at a time
 *
 * wait=0 with the first two: the transfer goes on after the answer.
 * A device sees 28 bits of an address, unless dma_mask= says otherwise.
 */
#include "bare.h"

#define EDU 0x123411e8
#define BUFFER 0x40000UL
#define BUFFER_SIZE 4096UL
#define PATIENCE_CYCLES (1UL << 38)

enum { SOURCE = 0x80, DESTINATION = 0x88, COUNT = 0x90, CONTROL = 0x98 };
enum { RUN = 1, TO_MEMORY = 2 };

typedef struct Edu {
    uint64_t registers;
    uint64_t at;
    uint64_t wait;
} Edu;

static void set(const Edu *edu, unsigned offset, uint64_t value)
{
    AT(uint64_t, edu->registers + offset) = value;
}

static uint32_t get(const Edu *edu, unsigned offset)
{
    return AT(uint32_t, edu->registers + offset);
}

static bool wait_idle(Job *job, const Edu *edu)
{
    uint64_t begin = arch_cycles();

    while (get(edu, CONTROL) & RUN) {
        if (arch_cycles() - begin > PATIENCE_CYCLES) {
            return fail(job, "the transfer does not end");
        }
        /* Whoever stops the job waits for the end of this transfer. */
        goes_on();
    }
    return true;
}

static bool transfer(Job *job, const Edu *edu, uint64_t memory, uint64_t size,
                     bool to_memory)
{
    uint64_t buffer = BUFFER + edu->at;

    if (!wait_idle(job, edu)) {
        return false;
    }
    set(edu, SOURCE, to_memory ? buffer : memory);
    set(edu, DESTINATION, to_memory ? memory : buffer);
    set(edu, COUNT, size);
    set(edu, CONTROL, RUN | (to_memory ? TO_MEMORY : 0));
    return !edu->wait || wait_idle(job, edu);
}

static bool open(Job *job, Edu *edu)
{
    uint64_t nth = 0;
    uint32_t bdf;
    Bar bar;

    edu->at = 0;
    edu->wait = 1;
    if (!option(job, "device", &nth) || !option(job, "at", &edu->at) ||
        !option(job, "wait", &edu->wait) ||
        !pci_find(job, EDU, nth, &bdf)) {
        return false;
    }
    if (!pci_bar(bdf, 0, &bar) || bar.is_ports) {
        return fail(job, "the device's BAR is not usable");
    }
    edu->registers = bar.range.start;
    return true;
}

static bool one_way(Job *job, bool to_memory)
{
    Range range;
    Edu edu;

    if (!range_at(job, 2, &range) || !open(job, &edu)) {
        return false;
    }
    if (!range.size || edu.at >= BUFFER_SIZE ||
        range.size > BUFFER_SIZE - edu.at) {
        return fail(job, "the device's buffer has 4096 bytes");
    }
    if (to_memory && is_program(range)) {
        return fail(job, "the program itself lies there");
    }
    return transfer(job, &edu, range.start, range.size, to_memory);
}

static bool copy(Job *job)
{
    uint64_t from, done = 0;
    Range to;
    Edu edu;

    if (!number_at(job, 2, &from) || !foreign_range_at(job, 3, &to) ||
        !open(job, &edu)) {
        return false;
    }
    edu.at = 0;
    edu.wait = 1;
    while (done < to.size && goes_on()) {
        uint64_t size = MIN(to.size - done, BUFFER_SIZE);

        if (!transfer(job, &edu, from + done, size, false) ||
            !transfer(job, &edu, to.start + done, size, true)) {
            return false;
        }
        done += size;
    }
    say(job, "bytes", done);
    return true;
}

static bool dma(Job *job)
{
    if (word_is(job, 1, "in") || word_is(job, 1, "out")) {
        return one_way(job, word_is(job, 1, "out"));
    }
    return word_is(job, 1, "copy") ? copy(job)
                                   : fail(job, "it is dma in|out|copy");
}

const Command edu_commands[] = {
    {"dma", dma}, {}
};
