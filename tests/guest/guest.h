/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>

#define MIB (1UL << 20)

/* What stands after "key" in a file, up to a blank; "" if nothing */
const char *value_in(const char *path, const char *key);

/*
 * Each says on the console what it found; false if something is wrong.  Filling
 * allocates anew: @percent of MemAvailable.
 */
bool fill_memory(unsigned percent);
bool verify_memory(void);

/* To the guest's kernel; the pattern stays in the pages until they are used. */
void release_memory(void);

/* Does what comes on the second serial port, for ever. */
void serve(void);

#endif /* GUEST_H */
