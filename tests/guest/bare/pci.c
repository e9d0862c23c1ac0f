/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * PCI, of the first bus and of those that the firmware numbered.
 *
 *   pci                               what there is: BUS:DEVICE.FUNCTION=ID
 *   config BDF OFFSET [BYTES]         reads configuration space
 *   config-write BDF OFFSET VALUE [BYTES]
 *   bar BDF NUMBER                    where it lies
 *   port BDF NUMBER OFFSET BYTES [VALUE]    reads or writes in a BAR of ports
 *
 * BDF is a number, 0x0010 being 00:02.0.  Memory BARs are for read and write.
 */
#include "bare.h"

#define NR_BUSES 8
#define ID 0
#define COMMAND 4
#define DECODES 3
#define MASTERS 4
#define HEADER 0xc
#define BAR0 0x10
#define MULTI_FUNCTION (1U << 23)

static bool present(uint32_t bdf)
{
    if (bdf & 7 && !(arch_pci_read(bdf & ~7, HEADER) & MULTI_FUNCTION)) {
        return false;
    }
    return (arch_pci_read(bdf, ID) & 0xffff) != 0xffff;
}

/* The first from @bdf on, or NR_BUSES << 8 */
static uint32_t next_device(uint32_t bdf)
{
    while (bdf < NR_BUSES << 8 && !present(bdf)) {
        bdf++;
    }
    return bdf;
}

static bool has_pci(Job *job)
{
    return arch_has_pci() || fail(job, "this machine has no PCI");
}

static char hex(unsigned digit)
{
    return "0123456789abcdef"[digit & 15];
}

static bool list(Job *job)
{
    uint32_t bdf;

    if (!has_pci(job)) {
        return false;
    }
    for (bdf = 0; (bdf = next_device(bdf)) < NR_BUSES << 8; bdf++) {
        uint32_t id = arch_pci_read(bdf, ID);
        char text[] = "bb:dd.f=vvvv:dddd";
        unsigned i;

        text[0] = hex(bdf >> 12);
        text[1] = hex(bdf >> 8);
        text[3] = hex(bdf >> 7 & 1);
        text[4] = hex(bdf >> 3);
        text[6] = hex(bdf & 7);
        for (i = 0; i < 4; i++) {
            text[8 + i] = hex(id >> (12 - 4 * i));
            text[13 + i] = hex(id >> (28 - 4 * i));
        }
        say_text(job, text);
    }
    return true;
}

bool pci_find(Job *job, uint32_t vendor_device, unsigned nth, uint32_t *bdf)
{
    uint32_t at, id = vendor_device >> 16 | vendor_device << 16;

    if (!has_pci(job)) {
        return false;
    }
    for (at = 0; (at = next_device(at)) < NR_BUSES << 8; at++) {
        if (arch_pci_read(at, ID) == id && !nth--) {
            arch_pci_write(at, COMMAND, (arch_pci_read(at, COMMAND) & 0xffff) |
                           DECODES | MASTERS);
            *bdf = at;
            return true;
        }
    }
    return fail(job, "there is no such device");
}

static bool is_wide(uint64_t low)
{
    return !(low & 1) && (low >> 1 & 3) == 2;
}

bool pci_bar(uint32_t bdf, unsigned nr, Bar *bar)
{
    uint32_t offset = BAR0 + 4 * nr;
    uint64_t low = arch_pci_read(bdf, offset);

    bar->nr = nr;
    bar->is_ports = low & 1;
    bar->range.start = low & (bar->is_ports ? ~3UL : ~15UL);
    bar->range.size = PAGE_SIZE;
    if (is_wide(low)) {
        bar->range.start |= (uint64_t)arch_pci_read(bdf, offset + 4) << 32;
    }
    return bar->range.start && (bar->is_ports ||
                                arch_map(bar->range.start, PAGE_SIZE));
}

/* Meanwhile it does not decode. */
static void measure_bar(uint32_t bdf, Bar *bar)
{
    uint32_t offset = BAR0 + 4 * bar->nr, command = arch_pci_read(bdf, COMMAND);
    uint64_t low = arch_pci_read(bdf, offset), mask;

    arch_pci_write(bdf, COMMAND, command & 0xffff & ~DECODES);
    arch_pci_write(bdf, offset, ~0);
    mask = arch_pci_read(bdf, offset) | ~0UL << 32;
    arch_pci_write(bdf, offset, low);
    if (is_wide(low)) {
        uint32_t high = arch_pci_read(bdf, offset + 4);

        arch_pci_write(bdf, offset + 4, ~0);
        mask &= (uint64_t)arch_pci_read(bdf, offset + 4) << 32 | ~0U;
        arch_pci_write(bdf, offset + 4, high);
    }
    arch_pci_write(bdf, COMMAND, command & 0xffff);
    bar->range.size = -(mask & (bar->is_ports ? ~3UL : ~15UL));
}

static bool bdf_at(Job *job, uint32_t *bdf)
{
    uint64_t number;

    if (!has_pci(job) || !number_at(job, 1, &number)) {
        return false;
    }
    *bdf = number;
    return (number <= 0xffff && present(number)) ||
        fail(job, "there is no such device");
}

static bool bar_at(Job *job, uint32_t *bdf, Bar *bar)
{
    uint64_t nr;

    if (!bdf_at(job, bdf) || !number_at(job, 2, &nr)) {
        return false;
    }
    return (nr < 6 && pci_bar(*bdf, nr, bar)) ||
        fail(job, "there is no such BAR");
}

static bool tell_bar(Job *job)
{
    uint32_t bdf;
    Bar bar;

    if (!bar_at(job, &bdf, &bar)) {
        return false;
    }
    measure_bar(bdf, &bar);
    if (!bar.is_ports && !arch_map(bar.range.start, bar.range.size)) {
        return fail(job, "that BAR is not usable");
    }
    say_hex(job, "start", bar.range.start);
    say_hex(job, "size", bar.range.size);
    say(job, "ports", bar.is_ports);
    return true;
}

/* Of 1, 2 or 4 bytes at @word, or else 4; as the bits that count */
static bool mask_at(Job *job, unsigned word, uint64_t offset, uint32_t *mask)
{
    uint64_t size = 4;

    if (job->nr_words > word && !number_at(job, word, &size)) {
        return false;
    }
    if ((size != 1 && size != 2 && size != 4) || offset % size ||
        offset > 255) {
        return fail(job, "it is 1, 2 or 4 bytes, aligned, of 256");
    }
    *mask = size == 4 ? ~0U : (1U << 8 * size) - 1;
    return true;
}

static bool config(Job *job)
{
    uint64_t offset;
    uint32_t bdf, mask;

    if (!bdf_at(job, &bdf) || !number_at(job, 2, &offset) ||
        !mask_at(job, 3, offset, &mask)) {
        return false;
    }
    say_hex(job, "value",
            arch_pci_read(bdf, offset & ~3) >> 8 * (offset & 3) & mask);
    return true;
}

static bool config_write(Job *job)
{
    uint64_t offset, value;
    uint32_t bdf, mask, shift, word;

    if (!bdf_at(job, &bdf) || !number_at(job, 2, &offset) ||
        !number_at(job, 3, &value) || !mask_at(job, 4, offset, &mask)) {
        return false;
    }
    shift = 8 * (offset & 3);
    word = arch_pci_read(bdf, offset & ~3) & ~(mask << shift);
    arch_pci_write(bdf, offset & ~3, word | ((uint32_t)value & mask) << shift);
    return true;
}

static bool port(Job *job)
{
    uint64_t offset, size, value;
    uint32_t bdf;
    Bar bar;

    if (!bar_at(job, &bdf, &bar) || !number_at(job, 3, &offset) ||
        !number_at(job, 4, &size)) {
        return false;
    }
    if (!bar.is_ports) {
        return fail(job, "that BAR has no ports");
    }
    if (job->nr_words > 5) {
        if (!number_at(job, 5, &value)) {
            return false;
        }
        arch_port_write(bar.range.start + offset, size, value);
    } else {
        say_hex(job, "value",
                arch_port_read(bar.range.start + offset, size));
    }
    return true;
}

const Command pci_commands[] = {
    {"pci", list}, {"config", config}, {"config-write", config_write},
    {"bar", tell_bar}, {"port", port}, {}
};
