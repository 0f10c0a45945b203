/*
 * forked_after.c - a process that has closed its stores is as good as one that never had any: its children open stores
 * of their own, which flush and compact, and their children do. While anything of a store is left, a snapshot or a
 * value, a child is told that it cannot. That part comes with the argument "left": its children allocate, while threads
 * of the parent may hold the allocator's locks.
 */
#define _DEFAULT_SOURCE
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

enum { STATUS = 7, ROUNDS = 2, GENERATIONS = 3, VALUE_BYTES = 64 << 10, VALUES = 128 };

static almadia_config *small_memtables(void)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "log.segment_bytes", "1048576", &error));
    CHECK_OK(almadia_config_set(config, "engine.memtable_bytes", "1048576", &error));
    /* Longer than any disk stalls. */
    CHECK_OK(almadia_config_set(config, "write.timeout_ms", "60000", &error));
    CHECK_OK(almadia_config_set(config, "read.timeout_ms", "60000", &error));
    return config;
}

static almadia_store *open_small(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = small_memtables();
    almadia_store *store = NULL;
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    return store;
}

/* Eight memtables of writes: they wait for a thread of the engine to flush the first ones. */
static void use(almadia_store *store)
{
    static char value[VALUE_BYTES];
    almadia_error *error = NULL;
    for (int number = 0; number < VALUES; number++) {
        char key[16];
        snprintf(key, sizeof key, "%d", number);
        memset(value, number, sizeof value);
        CHECK_OK(almadia_put(store, key, strlen(key), value, sizeof value, &error));
    }
    put_text(store, "k", "v");
    CHECK(holds(store, "k", "v"));
}

static void wait_for(pid_t child, const char *what)
{
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS) {
        fprintf(stderr, "%s: ended with status %#x\n", what, (unsigned)status);
        _Exit(1);
    }
}

/* Opens a store, closes it, and lets a child do the same. */
static void descend(const char *path, int generation)
{
    char own[4096];
    snprintf(own, sizeof own, "%s-%d", path, generation);
    almadia_store *store = open_small(own);
    use(store);
    almadia_store_free(store);
    if (generation == GENERATIONS)
        return;
    pid_t child = fork();
    if (child == 0) {
        descend(path, generation + 1);
        exit(STATUS);
    }
    wait_for(child, "a descendant");
    store = open_small(own);
    CHECK(holds(store, "k", "v"));
    almadia_store_free(store);
}

static void expect(almadia_code expected, const char *path, const char *what)
{
    pid_t child = fork();
    if (child == 0) {
        almadia_error *error = NULL;
        almadia_config *config = small_memtables();
        almadia_store *store = NULL;
        CHECK_CODE(expected, almadia_store_open(path, config, &store, &error));
        CHECK(expected == ALMADIA_OK || strstr(almadia_error_message(error), "had a store open") != NULL);
        almadia_error_free(error);
        almadia_config_free(config);
        if (expected == ALMADIA_OK)
            use(store);
        almadia_store_free(store);
        exit(STATUS);
    }
    wait_for(child, what);
}

static void with_something_left(const char *path)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_value *value = NULL;
    char other[4200];
    snprintf(other, sizeof other, "%s-other", path);
    almadia_store *store = open_small(path);
    put_text(store, "k", "v");
    expect(ALMADIA_FORKED, other, "beside an open store");
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_OK(almadia_snapshot_get(snapshot, "k", 1, &value, &error));
    almadia_store_free(store);
    expect(ALMADIA_FORKED, other, "beside a snapshot");
    almadia_snapshot_free(snapshot);
    expect(ALMADIA_FORKED, other, "beside a value");
    almadia_value_free(value);
    expect(ALMADIA_OK, other, "when all is closed");
    store = open_small(path);
    CHECK(holds(store, "k", "v"));
    almadia_store_free(store);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2 || (argc == 3 && strcmp(argv[2], "left") == 0));
    if (argc == 3) {
        char path[4096];
        snprintf(path, sizeof path, "%s-left", argv[1]);
        with_something_left(path);
    }
    for (int round = 0; round < ROUNDS; round++)
        descend(argv[1], 0);
    return 0;
}
