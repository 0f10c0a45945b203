/*
 * failing_clock.h - a clock that fails once, on one thread.
 *
 * Rust's standard library panics if a clock cannot be read, so this makes a thread panic wherever it reads the time. A
 * program that includes this header replaces the C library's clock_gettime.
 */
#ifndef FAILING_CLOCK_H
#define FAILING_CLOCK_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE first, for syscall"
#endif

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const char *failing_thread; /* its name */
static int readings_left;          /* until one fails; 0 if one has failed, or none is to fail */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    char name[17] = "";
    if (__atomic_load_n(&readings_left, __ATOMIC_SEQ_CST) && prctl(PR_GET_NAME, name, 0, 0, 0) == 0 &&
        strcmp(name, failing_thread) == 0 && __atomic_sub_fetch(&readings_left, 1, __ATOMIC_SEQ_CST) == 0) {
        errno = EFAULT;
        return -1;
    }
    return (int)syscall(SYS_clock_gettime, clock, now);
}

/* Makes the `reading`th reading of the clock on the thread called `thread` fail; 0: none. */
static inline void fail_clock(const char *thread, int reading)
{
    failing_thread = thread;
    __atomic_store_n(&readings_left, reading, __ATOMIC_SEQ_CST);
}

/* True until that reading has failed. */
static inline bool is_failure_pending(void)
{
    return __atomic_load_n(&readings_left, __ATOMIC_SEQ_CST) > 0;
}

#endif /* FAILING_CLOCK_H */
