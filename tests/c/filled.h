/*
 * filled.h - a store with enough in it to reach every file, and a look at whether all of it is there.
 */
#ifndef FILLED_H
#define FILLED_H

#include "cluster.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

enum { VALUE_BYTES = 4096 };

/* A store alone in `path`, with many small segments of the log; `memtable_bytes` says how soon tables are written. */
static inline almadia_store *open_small(const char *path, const char *memtable_bytes)
{
    almadia_error *error = NULL;
    almadia_store *store = NULL;
    almadia_config *config = member_config(1, NULL);
    set_option(config, "log.segment_bytes", "65536");
    set_option(config, "engine.memtable_bytes", memtable_bytes);
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    CHECK_OK(almadia_store_wait_leader(store, 10000, NULL, &error));
    return store;
}

/* The value of key `number` of `owner`, in `value`. */
static inline void make_value(char value[VALUE_BYTES], const char *owner, int number)
{
    /* LZ4 makes nothing of it, so that it fills memory and files as it is. */
    uint32_t seed = (uint32_t)number * 2654435761u + 1;
    for (int at = 0; at < VALUE_BYTES; at++) {
        seed = seed * 1664525u + 1013904223u;
        value[at] = (char)(seed >> 24);
    }
    snprintf(value, VALUE_BYTES, "%s %d", owner, number);
}

/* Puts the keys from `first` up to `end`. */
static inline void fill(almadia_store *store, const char *owner, int first, int end)
{
    almadia_error *error = NULL;
    char value[VALUE_BYTES];
    for (int number = first; number < end; number++) {
        make_value(value, owner, number);
        almadia_code code = almadia_put(store, &number, sizeof number, value, VALUE_BYTES, &error);
        if (code != ALMADIA_OK)
            say_why(store);
        CHECK_CODE(ALMADIA_OK, code);
    }
}

/* Checks that the keys below `end`, and no others, are there. */
static inline void check_filled(almadia_store *store, const char *owner, int end)
{
    almadia_error *error = NULL;
    almadia_value *found = NULL;
    char value[VALUE_BYTES];
    for (int number = 0; number < end; number++) {
        make_value(value, owner, number);
        CHECK_OK(almadia_get(store, &number, sizeof number, &found, &error));
        CHECK(almadia_value_size(found) == VALUE_BYTES);
        CHECK(memcmp(almadia_value_data(found), value, VALUE_BYTES) == 0);
        almadia_value_free(found);
    }
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_get(store, &end, sizeof end, &found, NULL));
}

/* As check_filled, of the closed store in `path`. */
static inline void check_closed(const char *path, const char *owner, int end)
{
    almadia_store *store = open_small(path, "1048576");
    check_filled(store, owner, end);
    almadia_store_free(store);
}

/* Runs this program again, in a process of its own, with one more argument; returns how it exits. */
static inline int run_itself(char *const argv[], const char *argument)
{
    char *arguments[] = {argv[0], argv[1], (char *)argument, NULL};
    int status = -1;
    pid_t child;
    CHECK(posix_spawn(&child, argv[0], NULL, NULL, arguments, environ) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

#endif /* FILLED_H */
