/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Lines from the console.  What is too long is dropped up to its end, and
 * said to have been; characters that are no text become '?'; a line with
 * nothing in it is none.
 */
#include "bare.h"

static char line[LINE_SIZE];
static unsigned line_len;
static bool complete, overlong;

static void take(char c)
{
    if (c == '\n') {
        complete = line_len || overlong;
    } else if (line_len + 1 == LINE_SIZE) {
        overlong = true;
    } else if (c != '\r') {
        line[line_len++] = c >= ' ' && c <= '~' ? c : c == '\t' ? ' ' : '?';
    }
}

const char *line_poll(void)
{
    int c;

    while (!complete && (c = arch_console_get()) >= 0) {
        take(c);
    }
    line[line_len] = '\0';
    return complete ? line : NULL;
}

bool line_is_overlong(void)
{
    return overlong;
}

void line_done(void)
{
    line_len = 0;
    complete = overlong = false;
}
