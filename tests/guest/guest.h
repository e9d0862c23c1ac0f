/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>

#define MIB (1UL << 20)

/* What stands after "key" in a file, up to a blank; "" if nothing */
const char *value_in(const char *path, const char *key);

/* Of a page that this process has */
unsigned long guest_physical(const void *address);

/*
 * Each says on the console what it found; false if something is wrong.  Filling
 * allocates anew: @percent of MemAvailable.
 */
bool fill_memory(unsigned percent);
bool verify_memory(void);

/* Of what was filled, as if it were endless: is the word at @offset intact? */
bool filled_word_is_right(unsigned long offset);

/*
 * @threads read @pages pages each, which nobody has read since they came here,
 * while @workers do something else; says how long an access took.
 */
bool touch_memory(unsigned threads, unsigned long pages, unsigned workers);

/* To the guest's kernel; the pattern stays in the pages until they are used. */
void release_memory(void);

/*
 * Have the device "edu" at PCI address @device copy a page of memory to
 * another, both at guest-physical address @lowest or above; say where they are.
 */
bool copy_by_dma(const char *device, unsigned long lowest);

/*
 * Turns @mib MiB of this process private or back, then fills and verifies them;
 * always the same, which are allocated at the first call.  False: see errno.
 */
bool convert_memory(unsigned long mib, bool private);

/* A thread does that there and back, until it is told to end: how often it did,
 * or -1 if something went wrong */
bool begin_churn(unsigned long mib);
long end_churn(void);

/* Has a page of a file read into the first of these; 0, or errno and they are
 * found to be as they were */
int read_into_memory(const char *path);

/* Does what comes on the second serial port, for ever. */
void serve(void);

#endif /* GUEST_H */
