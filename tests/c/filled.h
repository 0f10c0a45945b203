/*
 * filled.h - fills a store with enough data that it writes every kind of file, and checks that no data is missing.
 */
#ifndef FILLED_H
#define FILLED_H

#include "cluster.h"

#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

enum { VALUE_BYTES = 4096 };

/* Opens a single-member store in `path`. Its log segments are small, so there are many; `memtable_bytes` determines how
 * soon tables are written. */
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

/* Writes the value that `owner` gives to key `number` into `value`. */
static inline void make_value(char value[VALUE_BYTES], const char *owner, int number)
{
    /* LZ4 cannot compress it, so it takes its full size in memory and on the disk. */
    uint32_t seed = (uint32_t)number * 2654435761u + 1;
    for (int at = 0; at < VALUE_BYTES; at++) {
        seed = seed * 1664525u + 1013904223u;
        value[at] = (char)(seed >> 24);
    }
    snprintf(value, VALUE_BYTES, "%s %d", owner, number);
}

/* Puts the keys from `first` to `end` - 1. */
static inline void fill(almadia_store *store, const char *owner, int first, int end)
{
    almadia_error *error = NULL;
    char value[VALUE_BYTES];
    for (int number = first; number < end; number++) {
        make_value(value, owner, number);
        almadia_code code = almadia_put(store, &number, sizeof number, value, VALUE_BYTES, &error);
        if (code != ALMADIA_OK)
            print_put_error(store);
        CHECK_CODE(ALMADIA_OK, code);
    }
}

/* Checks that the keys below `end` have their values, and that key `end` does not exist. */
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

/* Like check_filled, for the closed store in `path`. */
static inline void check_closed_store(const char *path, const char *owner, int end)
{
    almadia_store *store = open_small(path, "1048576");
    check_filled(store, owner, end);
    almadia_store_free(store);
}

/* Runs this program again, in another process, with one more argument; returns its exit status. */
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
