/*
 * exits.c - exit() without shutdown, at bad moments: idle, with thousands of writes under way, while a callback runs,
 * from inside a callback, with snapshots and iterators alive, from an exit handler that frees the store, and while the
 * library tears down a store that was freed inside a callback. The process ends with its own status, and what it
 * acknowledged is there afterwards.
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

enum way { IDLE, WRITING, CALLBACK_RUNS, INSIDE_CALLBACK, HANDLES_ALIVE, FREED_AT_EXIT, FREED_IN_CALLBACK, WAYS };

static const char *const names[] = {"idle", "writing", "while a callback runs", "inside a callback",
                                    "with handles alive", "freed by an exit handler",
                                    "freed inside a callback"};

static almadia_store *store;
/* Shared with the parent: how many writes, from 0 on, were acknowledged. */
static volatile int *acknowledged;
static int in_callback;

/* A segment is read whole when a store is opened; small ones make that a matter of milliseconds. */
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

/* Callbacks come in the order of the writes, so a count says which. */
static void note(void *user, almadia_completion *completion)
{
    (void)user;
    if (almadia_completion_code(completion) == ALMADIA_OK)
        *acknowledged += 1;
}

static void stay(void *user, almadia_completion *completion)
{
    note(user, completion);
    __atomic_store_n(&in_callback, 1, __ATOMIC_SEQ_CST);
    pause();
}

static void leave(void *user, almadia_completion *completion)
{
    note(user, completion);
    exit(STATUS);
}

static void free_inside(void *user, almadia_completion *completion)
{
    note(user, completion);
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

static void *write_on(void *argument)
{
    (void)argument;
    for (int number = 0; number < WRITES; number++)
        submit(number, note);
    return NULL;
}

static void free_store(void)
{
    almadia_store_free(store);
}

static void in_the_child(const char *path, enum way way)
{
    almadia_error *error = NULL;
    pthread_t writer;
    static almadia_snapshot *snapshot;
    static almadia_iter *iter;
    static almadia_value *value;
    store = open_small(path);
    switch (way) {
    case WRITING:
        CHECK(pthread_create(&writer, NULL, write_on, NULL) == 0);
        CHECK(pthread_detach(writer) == 0);
        while (*acknowledged == 0)
            sched_yield();
        break;
    case CALLBACK_RUNS:
    case FREED_IN_CALLBACK:
        submit(0, way == CALLBACK_RUNS ? stay : free_inside);
        while (__atomic_load_n(&in_callback, __ATOMIC_SEQ_CST) == 0)
            sched_yield();
        break;
    case INSIDE_CALLBACK:
        submit(0, leave);
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
        CHECK(pthread_create(&writer, NULL, write_on, NULL) == 0);
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
        for (int way = 0; way < WAYS; way++) {
            *acknowledged = 0;
            pid_t child = fork();
            if (child == 0)
                in_the_child(argv[1], (enum way)way);
            wait_for(child, names[way]);
            CHECK(way == IDLE || *acknowledged > 0);
            child = fork();
            if (child == 0)
                verify(argv[1]);
            wait_for(child, "verifying");
        }
    return 0;
}
