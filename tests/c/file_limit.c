/*
 * file_limit.c - the limit on the size of files (ulimit -f): whatever of a store would exceed it is an error with errno
 * EFBIG, on the caller's thread and on the library's, and the signal that would end the program comes to nobody.
 */
#define _XOPEN_SOURCE 700 /* sigaction, getrlimit */
#include "check.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

enum { KIB = 1024, VALUE_BYTES = 32 * KIB, WRITES_MAX = 10000 };

static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    limit.rlim_cur = bytes;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
}

/* The signal is as deadly to this program as before, and none waits for it. */
static void check_signal(void)
{
    struct sigaction action;
    sigset_t mask, waiting;
    CHECK(sigaction(SIGXFSZ, NULL, &action) == 0 && action.sa_handler == SIG_DFL);
    CHECK(sigprocmask(SIG_SETMASK, NULL, &mask) == 0 && !sigismember(&mask, SIGXFSZ));
    CHECK(sigpending(&waiting) == 0 && !sigismember(&waiting, SIGXFSZ));
}

static almadia_config *small_files(const char *segment_bytes)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "log.segment_bytes", segment_bytes, &error));
    CHECK_OK(almadia_config_set(config, "log.retain_bytes", "65536", &error));
    CHECK_OK(almadia_config_set(config, "engine.memtable_bytes", "1048576", &error));
    /* Longer than any disk stalls. */
    CHECK_OK(almadia_config_set(config, "write.timeout_ms", "60000", &error));
    CHECK_OK(almadia_config_set(config, "read.timeout_ms", "60000", &error));
    return config;
}

static almadia_store *open_small(const char *path, const char *segment_bytes)
{
    almadia_error *error = NULL;
    almadia_config *config = small_files(segment_bytes);
    almadia_store *store = NULL;
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    return store;
}

/* Not to be compressed. */
static void fill(char value[VALUE_BYTES], unsigned *state)
{
    for (int at = 0; at < VALUE_BYTES; at++) {
        *state = *state * 1103515245u + 12345u;
        value[at] = (char)(*state >> 16);
    }
}

/* Puts until that fails, which must be for the limit. Returns how many puts were acknowledged. */
static int put_until_refused(almadia_store *store)
{
    static char value[VALUE_BYTES];
    unsigned state = 1;
    for (int number = 0; number < WRITES_MAX; number++) {
        almadia_error *error = NULL;
        char key[16];
        fill(value, &state);
        snprintf(key, sizeof key, "%d", number);
        almadia_code code = almadia_put(store, key, strlen(key), value, sizeof value, &error);
        if (code != ALMADIA_OK) {
            CHECK(code == ALMADIA_FAILED_IN_FLIGHT || code == ALMADIA_POISONED);
            if (almadia_error_errno(error) != EFBIG)
                fprintf(stderr, "%s\n", almadia_error_message(error));
            CHECK(almadia_error_errno(error) == EFBIG);
            almadia_error_free(error);
            return number;
        }
    }
    CHECK(!"the limit is reached");
    return 0;
}

static void check_puts(almadia_store *store, int count)
{
    for (int number = 0; number < count; number++) {
        almadia_error *error = NULL;
        almadia_value *value = NULL;
        char key[16];
        snprintf(key, sizeof key, "%d", number);
        CHECK_OK(almadia_get(store, key, strlen(key), &value, &error));
        CHECK(almadia_value_size(value) == VALUE_BYTES);
        almadia_value_free(value);
    }
}

/* Too low for the smallest file, or for a segment of the log. */
static void opening(const char *path, rlim_t bytes)
{
    almadia_error *error = NULL;
    almadia_config *config = small_files("1048576");
    almadia_store *store = NULL;
    limit_files(bytes);
    CHECK_CODE(ALMADIA_IO, almadia_store_open(path, config, &store, &error));
    if (almadia_error_errno(error) != EFBIG)
        fprintf(stderr, "%s\n", almadia_error_message(error));
    CHECK(almadia_error_errno(error) == EFBIG);
    check_signal();
    limit_files(RLIM_INFINITY);
    almadia_error_free(error);
    error = NULL;
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    put_text(store, "k", "v");
    almadia_store_free(store);
    almadia_config_free(config);
}

/* What is written exceeds the limit while the store is open; the last reader closes the engine on this thread. */
static void running(const char *path, const char *segment_bytes, rlim_t bytes)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_store *store = open_small(path, segment_bytes);
    limit_files(bytes);
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    int count = put_until_refused(store);
    check_signal();
    CHECK_CODE(ALMADIA_POISONED, almadia_put(store, "k", 1, "v", 1, &error));
    CHECK(almadia_error_errno(error) == EFBIG);
    almadia_error_free(error);
    almadia_store_free(store);
    almadia_snapshot_free(snapshot);
    check_signal();
    limit_files(RLIM_INFINITY);
    store = open_small(path, segment_bytes);
    check_puts(store, count);
    almadia_store_free(store);
    printf("%d puts before the limit of %d KiB\n", count, (int)(bytes / KIB));
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char path[4096];
    snprintf(path, sizeof path, "%s-any", argv[1]);
    opening(path, 0);
    snprintf(path, sizeof path, "%s-segment", argv[1]);
    opening(path, 64 * KIB);
    /* The second half of a segment. */
    snprintf(path, sizeof path, "%s-log", argv[1]);
    running(path, "1048576", 512 * KIB);
    /* Segments are smaller than the engine's tables. */
    snprintf(path, sizeof path, "%s-engine", argv[1]);
    running(path, "65536", 640 * KIB);
    return 0;
}
