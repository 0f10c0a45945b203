/*
 * failing_clock.h - a clock that fails once, on one thread.
 *
 * The standard library of Rust takes a clock that cannot be read for a bug and panics, wherever that thread happens to
 * be. A program with this header stands in front of the C library's clock_gettime.
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

static const char *fated; /* the name of the thread */
static int planted;       /* its readings until one fails; 0 when it has, or none shall */

int clock_gettime(clockid_t clock, struct timespec *now)
{
    char name[17] = "";
    if (__atomic_load_n(&planted, __ATOMIC_SEQ_CST) && prctl(PR_GET_NAME, name, 0, 0, 0) == 0 &&
        strcmp(name, fated) == 0 && __atomic_sub_fetch(&planted, 1, __ATOMIC_SEQ_CST) == 0) {
        errno = EFAULT;
        return -1;
    }
    return (int)syscall(SYS_clock_gettime, clock, now);
}

/* Lets the `reading`th reading of the clock on the thread called `thread` fail. */
static inline void plant(const char *thread, int reading)
{
    fated = thread;
    __atomic_store_n(&planted, reading, __ATOMIC_SEQ_CST);
}

/* True until it has failed. */
static inline bool is_planted(void)
{
    return __atomic_load_n(&planted, __ATOMIC_SEQ_CST) > 0;
}

#endif /* FAILING_CLOCK_H */
