/*
 * signals.c - floods of signals to threads that block in the library, with and without SA_RESTART: every call must
 * still return the right result, and no handler may run on a thread of the library.
 */
#define _XOPEN_SOURCE 700 /* setitimer */
#include "cluster.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>

enum { WORKERS = 4, CALLS = 400 };

/* Set by each thread of this program; not set on the threads of the library and of its engine. */
static __thread volatile sig_atomic_t is_own;
/* The name of such a thread, if a handler ran on one. */
static char library_thread[17];
static long handled;
static int running;
static almadia_store *stores[MEMBERS];
static const char *directory;

static void handle(int number)
{
    (void)number;
    if (!is_own)
        prctl(PR_GET_NAME, library_thread, 0, 0, 0);
    __atomic_add_fetch(&handled, 1, __ATOMIC_RELAXED);
}

static void install(int number, int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handle;
    action.sa_flags = flags;
    CHECK(sigaction(number, &action, NULL) == 0);
}

static void mask(int how)
{
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGUSR1);
    sigaddset(&both, SIGALRM);
    CHECK(pthread_sigmask(how, &both, NULL) == 0);
}

static void count_down(void *user, almadia_completion *completion)
{
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    __atomic_sub_fetch((int *)user, 1, __ATOMIC_SEQ_CST);
}

/* Makes blocking calls, on a member of the cluster and on a store of its own that it opens and shuts down. */
static void *work(void *argument)
{
    is_own = 1;
    mask(SIG_UNBLOCK);
    int self = *(int *)argument;
    almadia_error *error = NULL;
    almadia_store *shared = stores[self % MEMBERS];
    almadia_batch *batch = NULL;
    char path[4096];
    int in_flight = 0;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = count_down;
    done.user = &in_flight;
    almadia_done queued = ALMADIA_DONE_INIT;
    almadia_cq *cq = NULL;
    almadia_completion *popped = NULL;
    CHECK_OK(almadia_cq_new(&cq, &error));
    queued.cq = cq;
    snprintf(path, sizeof path, "%s-own-%d", directory, self);
    CHECK_OK(almadia_batch_new(&batch, &error));

    for (int call = 0; call < CALLS; call++) {
        char key[32], value[32];
        almadia_snapshot *snapshot = NULL;
        size_t length = 0;
        snprintf(key, sizeof key, "%d/%d", self, call);
        CHECK_OK(almadia_store_wait_leader(shared, 10000, NULL, &error));
        CHECK_OK(almadia_batch_put(batch, key, strlen(key), key, strlen(key), &error));
        CHECK_OK(almadia_write(shared, batch, NULL, NULL, &error));
        CHECK(holds(stores[(self + call) % MEMBERS], key, key));
        CHECK_OK(almadia_snapshot_open(shared, NULL, &snapshot, &error));
        CHECK_OK(almadia_snapshot_get_into(snapshot, key, strlen(key), value, sizeof value, &length, &error));
        CHECK(is_text(value, length, key));
        almadia_snapshot_free(snapshot);
        CHECK_OK(almadia_get_async(shared, key, strlen(key), &queued, &error));
        CHECK_OK(almadia_cq_pop(cq, &popped, 1, &length, -1, &error));
        CHECK(length == 1);
        CHECK_CODE(ALMADIA_OK, almadia_completion_code(popped));
        almadia_completion_free(popped);
        __atomic_add_fetch(&in_flight, 1, __ATOMIC_SEQ_CST);
        CHECK_OK(almadia_put_async(shared, key, strlen(key), "", 0, &done, &error));
        if (call % 40 == 0) {
            almadia_store *own = open_single(path);
            put_text(own, key, key);
            CHECK_OK(almadia_store_shutdown(own, 60000, &error));
            almadia_store_free(own);
        }
    }
    while (__atomic_load_n(&in_flight, __ATOMIC_SEQ_CST) > 0)
        sched_yield();
    almadia_cq_free(cq);
    almadia_batch_free(batch);
    __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* SIGALRM goes to any thread that does not block it, SIGUSR1 to each worker in turn, as fast as this thread can. */
static void flood(int flags)
{
    pthread_t workers[WORKERS];
    int numbers[WORKERS];
    struct itimerval every_500_us = {{0, 500}, {0, 500}}, off = {{0, 0}, {0, 0}};
    long before = __atomic_load_n(&handled, __ATOMIC_RELAXED);
    install(SIGUSR1, flags);
    install(SIGALRM, flags);
    running = WORKERS;
    /* Each worker unblocks signals once it has set `is_own`. */
    mask(SIG_BLOCK);
    for (int i = 0; i < WORKERS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&workers[i], NULL, work, &numbers[i]) == 0);
    }
    mask(SIG_UNBLOCK);
    CHECK(setitimer(ITIMER_REAL, &every_500_us, NULL) == 0);
    while (__atomic_load_n(&running, __ATOMIC_SEQ_CST) == WORKERS)
        for (int i = 0; i < WORKERS; i++) {
            CHECK(pthread_kill(workers[i], SIGUSR1) == 0);
            sched_yield();
        }
    /* One worker has ended; the timer still sends signals to the others. */
    for (int i = 0; i < WORKERS; i++)
        CHECK(pthread_join(workers[i], NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    if (library_thread[0] != 0)
        fprintf(stderr, "a handler ran on the thread %s\n", library_thread);
    CHECK(library_thread[0] == 0);
    CHECK(handled - before > 1000);
    printf("%ld signals handled\n", handled - before);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    is_own = 1;
    directory = argv[1];
    open_cluster(argv[1], stores);
    flood(0);
    flood(SA_RESTART);
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    return 0;
}
