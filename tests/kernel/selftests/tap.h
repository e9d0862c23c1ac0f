/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The Test Anything Protocol, for test programs of one file.
 *
 * A check that fails is reported with its place and the run goes on; a program
 * ends with tap_done(), whose result is the exit status.  ok() is the verdict,
 * fatal() is for a set-up step without which nothing else makes sense.
 */
#ifndef TAP_H
#define TAP_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_count, tap_failed;

__attribute__((format(printf, 2, 3)))
static inline int ok(int passed, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %d - ", passed ? "" : "not ", ++tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	tap_failed += !passed;
	return passed;
}

/* The call must succeed. */
#define ok_call(call, name) do {					\
	long ret_ = (call);						\
	int err_ = errno;						\
	if (!ok(ret_ >= 0, "%s", name))					\
		printf("# %s:%d: %s\n", __FILE__, __LINE__,		\
		       strerror(err_));					\
} while (0)

/* The call must fail, and with this errno. */
#define ok_errno(call, err, name) do {					\
	long ret_ = (call);						\
	int err_ = ret_ < 0 ? errno : 0;				\
	if (!ok(ret_ < 0 && err_ == (err), "%s: " #err, name))		\
		printf("# %s:%d: returned %ld, %s\n", __FILE__,		\
		       __LINE__, ret_, err_ ? strerror(err_) : "no error"); \
} while (0)

/* Two integers must be equal. */
#define ok_eq(have, want, name) do {					\
	unsigned long long h_ = (have), w_ = (want);			\
	if (!ok(h_ == w_, "%s", name))					\
		printf("# %s:%d: have %#llx, want %#llx\n", __FILE__,	\
		       __LINE__, h_, w_);				\
} while (0)

__attribute__((format(printf, 1, 2), noreturn))
static inline void fatal(const char *fmt, ...)
{
	va_list ap;

	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf(" (%s)\n", strerror(errno));
	fflush(stdout);
	_exit(1);
}

/* Nothing here can be tested on this kernel; the reason is part of the plan. */
__attribute__((noreturn))
static inline void skip_all(const char *reason)
{
	printf("1..0 # SKIP %s\n", reason);
	exit(0);
}

static inline void skip(const char *name, const char *reason)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_count, name, reason);
}

static inline int tap_done(void)
{
	printf("1..%d\n", tap_count);
	return tap_failed ? 1 : 0;
}

#endif
