/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   info           what there is
 *   memmap         START-END:TYPE of the memory map, the type as in E820
 *   spin CYCLES    does nothing for so long
 *   reset [HOW]
 *   poweroff       by ACPI
 *   halt           for ever
 */
#include "bare.h"

Cpu cpus[MAX_CPUS];
unsigned nr_cpus;

static bool info(Job *job)
{
    say(job, "cpus", nr_cpus);
    say_hex(job, "program_start", (uintptr_t)program_start);
    say_hex(job, "program_end", (uintptr_t)program_end);
    say_hex(job, "low_ram_end", ram_end(1UL << 32));
    say_hex(job, "ram_end", ram_end(~0UL));
    say(job, "may_convert", arch_may_convert());
    say(job, "pci", arch_has_pci());
    say(job, "now", arch_cycles());
    return true;
}

static bool memmap(Job *job)
{
    unsigned i;

    for (i = 0; i < nr_areas; i++) {
        const Area *area = &areas[i];
        char text[64];
        unsigned len = 0;

        len += format_number(text, area->range.start, 16);
        text[len++] = '-';
        len += format_number(text + len, area->range.start + area->range.size,
                             16);
        text[len++] = ':';
        format_number(text + len, area->type, 10);
        say_text(job, text);
    }
    return true;
}

static bool spin(Job *job)
{
    uint64_t cycles, begin = arch_cycles();
    bool more = true;

    if (!number_at(job, 1, &cycles)) {
        return false;
    }
    while (more && arch_cycles() - begin < cycles) {
        more = goes_on();
    }
    return true;
}

static bool reset(Job *job)
{
    arch_reset(job->nr_words > 1 ? job->words[1] : NULL);
    return fail(job, "this machine does not reset like that");
}

static bool power_off(Job *job)
{
    arch_power_off();
    return fail(job, "this machine does not power off like that");
}

static bool halt(Job *job)
{
    arch_halt();
}

const Command machine_commands[] = {
    {"info", info}, {"memmap", memmap}, {"spin", spin}, {"reset", reset},
    {"poweroff", power_off}, {"halt", halt}, {}
};

void bare_main(void)
{
    unsigned i;

    for (i = 0; i < MAX_CPUS; i++) {
        cpus[i].self = &cpus[i];
        cpus[i].index = i;
    }
    nr_cpus = arch_start_cpus();
    put("ready\n");
    serve();
}
