/*
 * refused_threads.h - an operating system that gives so many threads and no more.
 *
 * A program with this header stands in front of the C library's pthread_create, for itself, the library, and RocksDB in
 * it.
 */
#ifndef REFUSED_THREADS_H
#define REFUSED_THREADS_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE first, for RTLD_NEXT"
#endif

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>

enum { ALL = -1 };

static int given = ALL;  /* how many more threads there are */
static int refused;      /* how many were asked for in vain */

static bool take_one(void)
{
    int left = __atomic_load_n(&given, __ATOMIC_SEQ_CST);
    while (left > 0)
        if (__atomic_compare_exchange_n(&given, &left, left - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
            return true;
    return left == ALL;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!take_one()) {
        __atomic_add_fetch(&refused, 1, __ATOMIC_SEQ_CST);
        return EAGAIN;
    }
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, body, argument);
}

/* From now on there are `count` threads, or ALL. */
static inline void give_threads(int count)
{
    __atomic_store_n(&given, count, __ATOMIC_SEQ_CST);
}

static inline int refused_threads(void)
{
    return __atomic_load_n(&refused, __ATOMIC_SEQ_CST);
}

#endif /* REFUSED_THREADS_H */
