/*
 * exits.c - exit() without a shutdown, at bad moments: idle, with thousands of writes in flight, while a callback runs,
 * inside a callback, with live snapshots and iterators, with an exit handler that frees the store, and while the
 * library closes a store that was freed inside a callback. The process must exit with its own status, and everything
 * that was acknowledged must be there afterwards.
 *
 * Usage: exits DIRECTORY ROUNDS. Every store is opened in a child process, since the child of a process with an open store
 * cannot open one.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS = 42, WRITES = 2000 };

enum moment {
    IDLE,
    WRITING,
    CALLBACK_RUNS,
    INSIDE_CALLBACK,
    HANDLES_ALIVE,
    FREED_AT_EXIT,
    FREED_IN_CALLBACK,
    MOMENTS
};

static const char *const names[] = {"idle", "writing", "while a callback runs", "inside a callback",
                                    "with handles alive", "freed by an exit handler",
                                    "freed inside a callback"};

static almadia_store *store;
/* Shared with the parent: how many writes, counted from the first, were acknowledged. */
static volatile int *acknowledged;
static int in_callback;

/* Opening a store reads a segment of the log in full; with small ones that takes milliseconds. */
static almadia_store *open_small(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *opened = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "log.segment_bytes", "1048576", &error));
    CHECK_OK(almadia_store_open(path, config, &opened, &error));
    almadia_config_free(config);
    CHECK_OK(almadia_store_wait_leader(opened, 10000, NULL, &error));
    return opened;
}

/* Callbacks run in the order of the writes, so their number tells which writes were acknowledged. */
static void on_done(void *user, almadia_completion *completion)
{
    (void)user;
    if (almadia_completion_code(completion) == ALMADIA_OK)
        *acknowledged += 1;
}

static void block(void *user, almadia_completion *completion)
{
    on_done(user, completion);
    __atomic_store_n(&in_callback, 1, __ATOMIC_SEQ_CST);
    pause();
}

static void exit_inside(void *user, almadia_completion *completion)
{
    on_done(user, completion);
    exit(STATUS);
}

static void free_inside(void *user, almadia_completion *completion)
{
    on_done(user, completion);
    almadia_store_free(store);
    __atomic_store_n(&in_callback, 1, __ATOMIC_SEQ_CST);
}

static void submit(int number, almadia_callback callback)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    char key[16];
    size_t length = (size_t)snprintf(key, sizeof key, "%d", number);
    done.callback = callback;
    CHECK_OK(almadia_put_async(store, key, length, key, length, &done, &error));
}

static void *write_all(void *argument)
{
    (void)argument;
    for (int number = 0; number < WRITES; number++)
        submit(number, on_done);
    return NULL;
}

static void free_store(void)
{
    almadia_store_free(store);
}

static void run_child(const char *path, enum moment moment)
{
    almadia_error *error = NULL;
    pthread_t writer;
    static almadia_snapshot *snapshot;
    static almadia_iter *iter;
    static almadia_value *value;
    store = open_small(path);
    switch (moment) {
    case WRITING:
        CHECK(pthread_create(&writer, NULL, write_all, NULL) == 0);
        CHECK(pthread_detach(writer) == 0);
        while (*acknowledged == 0)
            sched_yield();
        break;
    case CALLBACK_RUNS:
    case FREED_IN_CALLBACK:
        submit(0, moment == CALLBACK_RUNS ? block : free_inside);
        while (__atomic_load_n(&in_callback, __ATOMIC_SEQ_CST) == 0)
            sched_yield();
        break;
    case INSIDE_CALLBACK:
        submit(0, exit_inside);
        for (;;)
            pause();
    case HANDLES_ALIVE:
        put_text(store, "0", "0");
        *acknowledged = 1;
        CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
        CHECK_OK(almadia_iter_new(snapshot, NULL, &iter, &error));
        CHECK(almadia_iter_first(iter));
        CHECK_OK(almadia_snapshot_get(snapshot, "0", 1, &value, &error));
        break;
    case FREED_AT_EXIT:
        CHECK(atexit(free_store) == 0);
        CHECK(pthread_create(&writer, NULL, write_all, NULL) == 0);
        CHECK(pthread_join(writer, NULL) == 0);
        while (*acknowledged == 0)
            sched_yield();
        break;
    default:
        break;
    }
    exit(STATUS);
}

static void verify(const char *path)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    int count = *acknowledged;
    store = open_small(path);
    for (int number = 0; number < count; number++) {
        char key[16];
        snprintf(key, sizeof key, "%d", number);
        CHECK(holds(store, key, key));
    }
    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_delete_range(batch, "0", 1, ":", 1, &error));
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    almadia_batch_free(batch);
    almadia_store_free(store);
    _exit(STATUS);
}

static void wait_for(pid_t child, const char *what)
{
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS) {
        fprintf(stderr, "%s: ended with status %#x\n", what, (unsigned)status);
        _exit(1);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    int rounds = atoi(argv[2]);
    CHECK(rounds > 0);
    acknowledged = mmap(NULL, sizeof *acknowledged, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(acknowledged != MAP_FAILED);
    for (int round = 0; round < rounds; round++)
        for (int moment = 0; moment < MOMENTS; moment++) {
            *acknowledged = 0;
            pid_t child = fork();
            if (child == 0)
                run_child(argv[1], (enum moment)moment);
            wait_for(child, names[moment]);
            CHECK(moment == IDLE || *acknowledged > 0);
            child = fork();
            if (child == 0)
                verify(argv[1]);
            wait_for(child, "verifying");
        }
    return 0;
}
