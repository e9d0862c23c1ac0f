/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The compiler calls the first two by itself.
 */
#include "bare.h"

void *memset(void *to, int byte, size_t size)
{
    char *at = to;

    while (size--) {
        *at++ = byte;
    }
    return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
    char *at = to;
    const char *source = from;

    while (size--) {
        *at++ = *source++;
    }
    return to;
}

bool same(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

size_t length(const char *text)
{
    size_t len = 0;

    while (text[len]) {
        len++;
    }
    return len;
}
