/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Takes a line, and answers it with one:
 *
 *   [start] [@CPU] COMMAND [WORD|KEY=VALUE]...
 *   wait [@CPU]     for the answers of what was started
 *   stop [@CPU]     long jobs end early
 *   state           of every processor
 *
 * @CPU is @0 (as if nothing was said), @1 ..., @all, or @each: every one has
 * its share of the range.  The first processor, which does all this, looks at
 * the console also while it does a job; answers come in the order of lines.
 */
#include "bare.h"

typedef struct Target {
    uint64_t cpus;
    bool shares;
} Target;

/* An answer is due before anything else may be said. */
static bool owed;
/* Processors whose answers are due when the first one is free */
static uint64_t waited_for;

static const Command *const tables[] = {
    machine_commands, memory_commands, sum_commands, access_commands,
    touch_commands, convert_commands, storm_commands, pci_commands,
    edu_commands, virtio_commands, arch_commands,
};

static void refuse(const char *why)
{
    put("error why=");
    put(why);
    put("\n");
}

static uint64_t all_cpus(void)
{
    return (1UL << nr_cpus) - 1;
}

static bool find_target(const char *word, Target *target)
{
    uint64_t nr;

    target->shares = same(word, "@each");
    if (target->shares || same(word, "@all")) {
        target->cpus = all_cpus();
        return true;
    }
    if (!parse_number(word + 1, &nr) || nr >= nr_cpus) {
        return false;
    }
    target->cpus = 1UL << nr;
    return true;
}

static const Command *find_command(const char *name)
{
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(tables); i++) {
        const Command *command;

        for (command = tables[i]; command->name; command++) {
            if (same(command->name, name)) {
                return command;
            }
        }
    }
    return NULL;
}

/* Of those that were started and not waited for */
static uint64_t with_job(uint64_t which)
{
    uint64_t found = 0;
    unsigned i;

    for (i = 0; i < nr_cpus; i++) {
        found |= cpus[i].job.state != JOB_NONE ? which & 1UL << i : 0;
    }
    return found;
}

static void answer(uint64_t which)
{
    unsigned i;

    owed = true;
    job_wait(which);
    put_answers(which);
    for (i = 0; i < nr_cpus; i++) {
        cpus[i].job.state = which & 1UL << i ? JOB_NONE : cpus[i].job.state;
    }
    owed = false;
}

static void prepare(Job *job, const Command *command, const char *text,
                    unsigned skip)
{
    job->command = command;
    job->stop = job->failed = false;
    job->why = NULL;
    job->answer_len = 0;
    memcpy(job->text, text, length(text) + 1);
    job->nr_words = split_words(job->text, job->words, MAX_WORDS) - skip;
    memcpy(job->words, job->words + skip, job->nr_words * sizeof(char *));
}

static void prepare_all(Target target, const Command *command,
                        const char *text, unsigned skip)
{
    unsigned i, share = 0;

    for (i = 0; i < nr_cpus; i++) {
        if (target.cpus & 1UL << i) {
            prepare(&cpus[i].job, command, text, skip);
            cpus[i].job.share = share++;
        }
    }
    for (i = 0; i < nr_cpus; i++) {
        cpus[i].job.nr_shares = target.shares ? share : 1;
    }
}

static void do_wait(Target target)
{
    uint64_t which = with_job(target.cpus);

    if (!which) {
        refuse("nothing was started");
    } else if (which & 1 && cpus[0].job.state != JOB_DONE) {
        waited_for = which;
    } else {
        answer(which);
    }
}

static void do_state(void)
{
    static const char *const names[] = {"idle", "ready", "running", "done"};
    unsigned i;

    put("ok");
    for (i = 0; i < nr_cpus; i++) {
        put(i ? "; cpu=" : " cpu=");
        put_number(i);
        put(" state=");
        put(names[cpus[i].job.state]);
    }
    put("\n");
}

/* What concerns jobs rather than being one */
static bool is_control(const char *name)
{
    return same(name, "wait") || same(name, "stop") || same(name, "state");
}

static void do_control(const char *name, Target target)
{
    if (same(name, "wait")) {
        do_wait(target);
    } else if (same(name, "stop")) {
        job_stop(target.cpus);
        put("ok\n");
    } else {
        do_state();
    }
}

/* The job's words are those of the line but for the first @skip. */
static void do_job(const char *name, const char *line, unsigned skip,
                   Target target, bool started)
{
    const Command *command = find_command(name);

    if (!command) {
        refuse("no such command");
        return;
    }
    if (with_job(target.cpus)) {
        refuse("a processor has a job, or its answer was not waited for");
        return;
    }
    prepare_all(target, command, line, skip);
    job_start(target.cpus);
    if (started) {
        put("ok\n");
        return;
    }
    owed = true;
    if (target.cpus & 1) {
        job_run(&cpus[0]);
    }
    answer(target.cpus);
}

static void do_words(char **words, unsigned nr, const char *line)
{
    bool started = same(words[0], "start");
    bool control = is_control(words[0]);
    Target target = {.cpus = control ? all_cpus() : 1};
    unsigned at = started || control;

    if (at < nr && words[at][0] == '@' && !find_target(words[at++], &target)) {
        refuse("no such processor");
    } else if (control) {
        do_control(words[0], target);
    } else if (at == nr) {
        refuse("no command");
    } else {
        do_job(words[at], line, at, target, started);
    }
}

static void do_line(const char *line)
{
    char text[LINE_SIZE], copy[LINE_SIZE], *words[MAX_WORDS];
    bool overlong = line_is_overlong();
    unsigned nr;

    memcpy(text, line, length(line) + 1);
    memcpy(copy, line, length(line) + 1);
    line_done();
    nr = split_words(copy, words, MAX_WORDS);
    if (overlong || nr > MAX_WORDS) {
        refuse("the line is too long");
    } else if (!nr) {
        refuse("no command");
    } else {
        do_words(words, nr, text);
    }
}

void serve_while_busy(void)
{
    static bool inside;
    const char *line = line_poll();

    if (!line || inside) {
        return;
    }
    if (owed || waited_for) {
        /* It waits for its turn, but what it waits for may end sooner. */
        if (same(line, "stop")) {
            job_stop(all_cpus());
        }
        return;
    }
    inside = true;
    do_line(line);
    inside = false;
}

static void serve_once(void)
{
    const char *line;

    if (cpus[0].job.state == JOB_READY) {
        job_run(&cpus[0]);
        return;
    }
    if (waited_for) {
        answer(waited_for);
        waited_for = 0;
        return;
    }
    line = line_poll();
    if (line) {
        do_line(line);
    } else {
        arch_wait();
    }
}

void serve(void)
{
    for (;;) {
        serve_once();
    }
}
