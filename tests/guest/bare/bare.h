/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The bare-metal guest: a command is a job that a processor does; what it has
 * to say is its answer, in the form key=value.
 */
#ifndef BARE_H
#define BARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "arch.h"

#define MAX_CPUS 16
#define PAGE_SIZE 4096UL
#define LINE_SIZE 256
#define MAX_WORDS 16
#define ANSWER_SIZE 2048
#define MAX_AREAS 32

#define ARRAY_SIZE(x) (sizeof(x) / sizeof((x)[0]))
/* volatile: devices and other processors see each access, of just that size */
#define AT(type, address) (*(volatile __typeof__(type) *)(uintptr_t)(address))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

typedef struct Range {
    uint64_t start;
    uint64_t size;
} Range;

/* Of the memory map; type as in E820, 1 being RAM */
typedef struct Area {
    Range range;
    uint32_t type;
} Area;

/* How often something took how many cycles, with an error of 1/32 */
#define OCTAVE 32
typedef struct Histogram {
    uint64_t count;
    uint64_t max;
    uint32_t buckets[60 * OCTAVE];
} Histogram;

typedef enum JobState {
    JOB_NONE,
    JOB_READY,
    JOB_RUNNING,
    JOB_DONE,
} JobState;

typedef struct Command Command;

typedef struct Job {
    const Command *command;
    JobState state;
    bool stop;              /* somebody wants it to end early */
    bool failed;
    char text[LINE_SIZE];   /* what the words point into */
    char *words[MAX_WORDS];
    unsigned nr_words;
    unsigned share;         /* of a range that several processors split up */
    unsigned nr_shares;
    const char *why;
    char answer[ANSWER_SIZE];
    unsigned answer_len;
    uint64_t cycles;
    Histogram times;
} Job;

struct Command {
    const char *name;
    bool (*run)(Job *job);
};

struct Cpu {
    Cpu *self;
    unsigned index;
    bool in_job;
    ArchContext context;    /* where an exception leads to */
    ArchCpu arch;
    Job job;
};

extern Cpu cpus[MAX_CPUS];
extern unsigned nr_cpus;

/* What the program itself occupies */
extern char program_start[], program_end[];

extern Area areas[MAX_AREAS];
extern unsigned nr_areas;

/* Tables of commands, each up to one that has no name */
extern const Command machine_commands[];
extern const Command memory_commands[];
extern const Command sum_commands[];
extern const Command access_commands[];
extern const Command touch_commands[];
extern const Command convert_commands[];
extern const Command storm_commands[];
extern const Command pci_commands[];
extern const Command edu_commands[];
extern const Command virtio_commands[];
extern const Command arch_commands[];

/* answer.c: what a job has to say, and how that is told */
void put(const char *text);
void put_number(uint64_t value);
void put_answers(uint64_t which);
void say(Job *job, const char *key, uint64_t value);
void say_hex(Job *job, const char *key, uint64_t value);
void say_signed(Job *job, const char *key, int64_t value);
void say_text(Job *job, const char *text);
void say_times(Job *job);
bool fail(Job *job, const char *why);   /* always false */
unsigned format_number(char *to, uint64_t value, unsigned base);

/* words.c: what a job was told */
bool parse_number(const char *text, uint64_t *value);
bool number_at(Job *job, unsigned word, uint64_t *value);
bool word_is(const Job *job, unsigned word, const char *text);
/* The value of "@key=NUMBER" if that was given; false if it is no number */
bool option(Job *job, const char *key, uint64_t *value);
/* This processor's share of the range that words @word and the next give */
bool range_at(Job *job, unsigned word, Range *range);
/* The same, and the program itself has nothing in it */
bool foreign_range_at(Job *job, unsigned word, Range *range);
bool is_program(Range range);
unsigned split_words(char *text, char **words, unsigned max);

/* memory.c */
bool whole_words(Job *job, Range range);
uint64_t end_of_piece(Range range, uint64_t at);
uint64_t pattern(uint64_t address, uint64_t seed);
void add_area(uint64_t start, uint64_t size, uint32_t type);
uint64_t ram_end(uint64_t below);

/* histogram.c */
void histogram_clear(Histogram *h);
void histogram_add(Histogram *h, uint64_t cycles);
uint64_t histogram_quantile(const Histogram *h, unsigned percent);

/* convert.c: KVM_HC_MAP_GPA_RANGE */
#define MAP_GPA_RANGE 12
#define MAP_GPA_PRIVATE (1UL << 4)
int64_t map_gpa_range(uint64_t start, uint64_t nr_pages, uint64_t attributes);

/* pci.c */
typedef struct Bar {
    unsigned nr;
    Range range;            /* its first page, if nobody asked for its size */
    bool is_ports;
} Bar;

/* The @nth such device, and enables its decoders and its DMA */
bool pci_find(Job *job, uint32_t vendor_device, unsigned nth, uint32_t *bdf);
bool pci_bar(uint32_t bdf, unsigned nr, Bar *bar);

/* line.c: the next line that somebody sent */
const char *line_poll(void);        /* NULL if there is none yet */
void line_done(void);               /* the next one may come */
bool line_is_overlong(void);

/* job.c */
void job_run(Cpu *cpu);
/* A long job asks now and then; false if it is to end. */
bool goes_on(void);
void job_stop(uint64_t which);
void job_start(uint64_t which);
void job_wait(uint64_t which);

/* serve.c */
void serve(void) __attribute__((noreturn));
void serve_while_busy(void);

/* string.c */
void *memset(void *to, int byte, size_t size);
void *memcpy(void *to, const void *from, size_t size);
bool same(const char *a, const char *b);
size_t length(const char *text);

#endif /* BARE_H */
