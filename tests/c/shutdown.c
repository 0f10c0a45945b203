/*
 * shutdown.c - several threads shut a store down while others write: each accepted write completes exactly once, none
 * after a shutdown has returned, and after reopening the data matches the completions.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>

enum { WRITERS = 4, WRITES = 20000, CLOSERS = 3, CLOSE_AFTER = 4000 };

/* One write: how often it completed, and with what code. */
struct written {
    unsigned char completions;
    bool accepted;
    almadia_code code;
};

static struct written writes[WRITERS][WRITES];
static almadia_store *store;
static int accepted;
static int applied_so_far;
static int shutdowns_returned;

static void on_done(void *user, almadia_completion *completion)
{
    struct written *write = user;
    CHECK(__atomic_load_n(&shutdowns_returned, __ATOMIC_SEQ_CST) == 0);
    write->completions++;
    write->code = almadia_completion_code(completion);
    if (write->code == ALMADIA_OK)
        __atomic_add_fetch(&applied_so_far, 1, __ATOMIC_SEQ_CST);
}

static size_t key_of(char *key, size_t capacity, int writer, int number)
{
    return (size_t)snprintf(key, capacity, "%d/%05d", writer, number);
}

/* Writes until the store is closed. */
static void *writer(void *argument)
{
    int self = *(int *)argument;
    for (int number = 0; number < WRITES; number++) {
        char key[32];
        size_t length = key_of(key, sizeof key, self, number);
        almadia_done done = ALMADIA_DONE_INIT;
        almadia_code code;
        done.callback = on_done;
        done.user = &writes[self][number];
        while ((code = almadia_put_async(store, key, length, key, length, &done, NULL)) == ALMADIA_OVERLOADED)
            sched_yield();
        if (code != ALMADIA_OK) {
            CHECK_CODE(ALMADIA_CLOSED, code);
            return NULL;
        }
        writes[self][number].accepted = true;
        __atomic_add_fetch(&accepted, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void *closer(void *argument)
{
    (void)argument;
    shut_down_at_once(store);
    __atomic_add_fetch(&shutdowns_returned, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static void run(void)
{
    pthread_t writers[WRITERS], closers[CLOSERS];
    int numbers[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&writers[i], NULL, writer, &numbers[i]) == 0);
    }
    while (__atomic_load_n(&accepted, __ATOMIC_SEQ_CST) < CLOSE_AFTER ||
           __atomic_load_n(&applied_so_far, __ATOMIC_SEQ_CST) == 0)
        sched_yield();
    for (int i = 0; i < CLOSERS; i++)
        CHECK(pthread_create(&closers[i], NULL, closer, NULL) == 0);
    for (int i = 0; i < CLOSERS; i++)
        CHECK(pthread_join(closers[i], NULL) == 0);
    for (int i = 0; i < WRITERS; i++)
        CHECK(pthread_join(writers[i], NULL) == 0);
}

static void each_accepted_write_completed_once(void)
{
    int applied = 0, unknown = 0, refused = 0;
    for (int i = 0; i < WRITERS; i++)
        for (int j = 0; j < WRITES; j++) {
            struct written *write = &writes[i][j];
            CHECK(write->completions == (write->accepted ? 1 : 0));
            if (!write->accepted)
                continue;
            if (write->code == ALMADIA_OK)
                applied++;
            else if (almadia_code_maybe_applied(write->code))
                unknown++;
            else
                refused++;
        }
    CHECK(applied + unknown + refused == accepted && applied > 0);
    printf("%d accepted: %d applied, %d unknown, %d certainly not applied\n", accepted, applied, unknown, refused);
}

static void the_data_matches_the_completions(void)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    for (int i = 0; i < WRITERS; i++)
        for (int j = 0; j < WRITES; j++) {
            struct written *write = &writes[i][j];
            char key[32], value[32];
            size_t length = key_of(key, sizeof key, i, j), found = 0;
            almadia_code code =
                almadia_snapshot_get_into(snapshot, key, length, value, sizeof value, &found, NULL);
            CHECK(code == ALMADIA_OK || code == ALMADIA_NOT_FOUND);
            if (write->accepted && write->code == ALMADIA_OK)
                CHECK(code == ALMADIA_OK && found == length && memcmp(key, value, length) == 0);
            if (!write->accepted || (write->code != ALMADIA_OK && !almadia_code_maybe_applied(write->code)))
                CHECK_CODE(ALMADIA_NOT_FOUND, code);
        }
    almadia_snapshot_free(snapshot);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    store = open_single(argv[1]);
    run();
    CHECK_CODE(ALMADIA_CLOSED, almadia_put(store, "k", 1, "v", 1, NULL));
    almadia_store_free(store);
    each_accepted_write_completed_once();

    store = open_single(argv[1]);
    the_data_matches_the_completions();
    almadia_store_free(store);
    return 0;
}
