/*
 * lock_removed.c - the files named LOCK are removed while a store is open: it still cannot be opened a second time, in
 * this process or in another, and it works as if nothing had happened.
 */
#include "filled.h"

#include <pthread.h>

enum { ROUNDS = 8, ATTEMPTS = 5, LOCKED_STATUS = 7 };

/* The open store, the number of its keys so far, and whether its writer thread is to stop. */
static almadia_store *store;
static int count, stopped;

static void *keep_writing(void *argument)
{
    (void)argument;
    for (; !__atomic_load_n(&stopped, __ATOMIC_SEQ_CST); count++)
        fill(store, "it", count, count + 1);
    return NULL;
}

static void check_locked(const char *path)
{
    almadia_store *second = NULL;
    almadia_config *config = member_config(1, NULL);
    CHECK_CODE(ALMADIA_LOCKED, almadia_store_open(path, config, &second, NULL));
    almadia_config_free(config);
}

static void remove_file(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    CHECK(unlink(path) == 0);
}

int main(int argc, char **argv)
{
    if (argc == 3) {
        check_locked(argv[1]);
        return LOCKED_STATUS;
    }
    CHECK(argc == 2);
    for (int round = 0; round < ROUNDS; round++) {
        pthread_t writer;
        store = open_small(argv[1], "1048576");
        __atomic_store_n(&stopped, 0, __ATOMIC_SEQ_CST);
        CHECK(pthread_create(&writer, NULL, keep_writing, NULL) == 0);
        remove_file(argv[1], "LOCK");
        /* The engine's own lock, which an open would reach only late. */
        if (round % 2 == 1)
            remove_file(argv[1], "data/LOCK");
        for (int attempt = 0; attempt < ATTEMPTS; attempt++)
            CHECK(run_itself(argv, "locked") == LOCKED_STATUS);
        check_locked(argv[1]);
        __atomic_store_n(&stopped, 1, __ATOMIC_SEQ_CST);
        CHECK(pthread_join(writer, NULL) == 0);
        almadia_store_free(store);
        check_closed_store(argv[1], "it", count);
    }
    return 0;
}
