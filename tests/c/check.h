/*
 * check.h - shared by all C tests: checks that print what failed and where, and functions to open and use a store.
 *
 * The first argument of each program is a path that does not exist yet, where it makes its store. A program exits with
 * 0, or prints what was wrong to stderr and exits with 1.
 */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "almadia.h"

#define CHECK(condition)                                                                                    \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);                   \
            _Exit(1);                                                                                       \
        }                                                                                                   \
    } while (0)

/* Checks a code; `call` is evaluated once. */
#define CHECK_CODE(expected, call)                                                                          \
    do {                                                                                                    \
        almadia_code code_ = (call);                                                                        \
        if (code_ != (expected)) {                                                                          \
            fprintf(stderr, "%s:%d: %s returned %s, not %s\n", __FILE__, __LINE__, #call,                   \
                    almadia_code_name(code_), #expected);                                                   \
            _Exit(1);                                                                                       \
        }                                                                                                   \
    } while (0)

/* Checks that a call succeeds. The call must pass `&error`, whose message is printed if it fails. */
#define CHECK_OK(call)                                                                                      \
    do {                                                                                                    \
        if ((call) != ALMADIA_OK) {                                                                         \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, almadia_error_message(error));    \
            _Exit(1);                                                                                       \
        }                                                                                                   \
        CHECK(error == NULL);                                                                               \
    } while (0)

/* Before a check fails: prints what a put returns now. If the store has stopped, its error says why. */
static inline void print_put_error(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_code code = almadia_put(store, "why", 3, "", 0, &error);
    fprintf(stderr, "a put returns %s: %s\n", almadia_code_name(code),
            error == NULL ? "no error" : almadia_error_message(error));
    almadia_error_free(error);
}

/* Opens a cluster of one member in `path` and waits until it leads. */
static inline almadia_store *open_single(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    uint64_t leader = 0;

    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    CHECK_OK(almadia_store_wait_leader(store, 10000, &leader, &error));
    CHECK(leader == 1);
    return store;
}

/* Puts a key and a value that are C strings. */
static inline void put_text(almadia_store *store, const char *key, const char *value)
{
    almadia_error *error = NULL;
    CHECK_OK(almadia_put(store, key, strlen(key), value, strlen(value), &error));
}

/* Shuts a store down without waiting for calls in flight. On a busy machine its threads may need more than the five
 * seconds that they then have to end, so this waits for them again. */
static inline void shut_down_at_once(almadia_store *store)
{
    almadia_error *error = NULL;
    if (almadia_store_shutdown(store, 0, &error) == ALMADIA_OK)
        return;
    CHECK_CODE(ALMADIA_SHUTTING_DOWN, almadia_error_code(error));
    almadia_error_free(error);
    error = NULL;
    CHECK_OK(almadia_store_shutdown(store, 60000, &error));
}

/* True when `size` bytes at `data` are those of the C string `text`. */
static inline bool is_text(const void *data, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(data, text, size) == 0;
}

/* True when a linearizable get of `key` finds `value`, where NULL means "no such key". */
static inline bool holds(almadia_store *store, const char *key, const char *value)
{
    almadia_value *found = NULL;
    almadia_code code = almadia_get(store, key, strlen(key), &found, NULL);
    bool same = value == NULL ? code == ALMADIA_NOT_FOUND
                              : code == ALMADIA_OK &&
                                    is_text(almadia_value_data(found), almadia_value_size(found), value);
    almadia_value_free(found);
    return same;
}

#endif /* CHECK_H */
