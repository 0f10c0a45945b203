/*
 * shutdown_storm.c - a store is shut down by eight threads at once, over and over, with thousands of calls in flight,
 * writes and reads, with callbacks and through a queue: each accepted call completes exactly once, no callback runs
 * after the first shutdown has returned, and every other completion is in the queue by then.
 *
 * Usage: shutdown_storm DIRECTORY ROUNDS. In two rounds of three the threads wait for each other before they close, so
 * that each of them has submitted all of its calls; in one of these the callback thread is blocked until then, so that
 * all calls with callbacks, more than two thousand, are certainly in flight. In the third round each thread closes as
 * soon as it has submitted its calls.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 8, CALLS_MAX = 600, KINDS = 4, POPPED_MAX = 64 };

/* One call: how often it completed, and whether it was accepted. */
struct called {
    unsigned char completions;
    bool accepted;
};

struct submitter {
    int number;
    int calls_before_closing;
    pthread_t thread;
    struct called calls[CALLS_MAX];
};

static struct submitter submitters[THREADS];
static almadia_store *store;
/* Takes the completions of every other thread. Two threads may pop from it, so how many it holds is not known. */
static almadia_cq *cq;
/* How many shutdowns of this round have returned; none while a callback runs. */
static int shutdowns_returned;
/* How many threads are still submitting calls. */
static int submitting;
/* True once the last of them has submitted its calls and read how many are in flight. */
static bool all_submitted;
/* Whether all threads wait for that before they close, and whether the callback thread is blocked until then. */
static bool close_together, block_callbacks;
/* Over all rounds, for the report. */
static long accepted_total, in_flight_at_close, refused_total;

/* xorshift64: the same rounds in every run. */
static uint64_t random_state = 88172645463325252u;

static int random_below(int limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (int)(random_state % (uint64_t)limit);
}

static void count(struct called *call, almadia_completion *completion)
{
    almadia_code code = almadia_completion_code(completion);
    CHECK(code == ALMADIA_OK || code == ALMADIA_NOT_FOUND || code == ALMADIA_CLOSED ||
          code == ALMADIA_SHUTDOWN_IN_FLIGHT);
    call->completions++;
}

static void on_done(void *user, almadia_completion *completion)
{
    CHECK(__atomic_load_n(&shutdowns_returned, __ATOMIC_SEQ_CST) == 0);
    while (block_callbacks && !__atomic_load_n(&all_submitted, __ATOMIC_SEQ_CST))
        sched_yield();
    count(user, completion);
}

/* Pops once and counts the completions. */
static almadia_code pop(int64_t timeout_ms, size_t *taken)
{
    almadia_completion *popped[POPPED_MAX];
    *taken = 0;
    almadia_code code = almadia_cq_pop(cq, popped, POPPED_MAX, taken, timeout_ms, NULL);
    CHECK(code == ALMADIA_OK || code == ALMADIA_CLOSED);
    for (size_t at = 0; at < *taken; at++) {
        count(almadia_completion_user(popped[at]), popped[at]);
        almadia_completion_free(popped[at]);
    }
    return code;
}

/* Pops until the queue is shut down and empty. */
static void *keep_popping(void *argument)
{
    size_t taken;
    (void)argument;
    while (pop(-1, &taken) == ALMADIA_OK)
        CHECK(taken > 0);
    return NULL;
}

/* The calls of every other thread have callbacks; those of the rest use the queue. */
static bool has_callbacks(int submitter)
{
    return submitter % 2 == 0;
}

static almadia_code submit(struct submitter *self, int number)
{
    almadia_done done = ALMADIA_DONE_INIT;
    char key[16];
    size_t length = (size_t)snprintf(key, sizeof key, "%d/%d", self->number, number);
    almadia_slice keys[2] = {{key, length}, {"missing", 7}};
    if (has_callbacks(self->number))
        done.callback = on_done;
    else
        done.cq = cq;
    done.user = &self->calls[number];
    switch (number % KINDS) {
    case 0:
        return almadia_put_async(store, key, length, key, length, &done, NULL);
    case 1:
        return almadia_get_async(store, key, length, &done, NULL);
    case 2:
        return almadia_multi_get_async(store, keys, 2, NULL, &done, NULL);
    default:
        return almadia_snapshot_open_async(store, NULL, &done, NULL);
    }
}

/* Submits calls, closes the store, and checks that it accepts no more. */
static void *submit_and_close(void *argument)
{
    struct submitter *self = argument;
    almadia_error *error = NULL;
    almadia_status status = ALMADIA_STATUS_INIT;
    for (int number = 0; number < self->calls_before_closing; number++) {
        almadia_code code = submit(self, number);
        self->calls[number].accepted = code == ALMADIA_OK;
        if (code == ALMADIA_CLOSED)
            break;
        CHECK_CODE(ALMADIA_OK, code);
    }
    if (__atomic_sub_fetch(&submitting, 1, __ATOMIC_SEQ_CST) == 0) {
        CHECK_OK(almadia_store_status(store, &status, &error));
        in_flight_at_close += (long)status.in_flight;
        CHECK(!block_callbacks || status.in_flight >= THREADS / 2 * CALLS_MAX - 1);
        __atomic_store_n(&all_submitted, true, __ATOMIC_SEQ_CST);
    }
    while (close_together && !__atomic_load_n(&all_submitted, __ATOMIC_SEQ_CST))
        sched_yield();
    shut_down_at_once(store);
    __atomic_add_fetch(&shutdowns_returned, 1, __ATOMIC_SEQ_CST);
    CHECK_CODE(ALMADIA_CLOSED, submit(self, 0));
    return NULL;
}

static void run_round(const char *path, int round)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    /* Opening a store reads a segment of the log in full; with small ones a round takes milliseconds. */
    CHECK_OK(almadia_config_set(config, "log.segment_bytes", "1048576", &error));
    CHECK_OK(almadia_config_set(config, "log.retain_bytes", "1048576", &error));
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    /* Every other round waits for a leader; the others close a store that has just started. */
    if (round % 2 == 0)
        CHECK_OK(almadia_store_wait_leader(store, 10000, NULL, &error));

    /* If no thread pops meanwhile, all completions are in the queue after the shutdown. */
    bool pop_meanwhile = round % 4 != 0;
    pthread_t poppers[2];
    size_t taken;
    CHECK_OK(almadia_cq_new(&cq, &error));
    shutdowns_returned = 0;
    close_together = round % 3 != 2;
    block_callbacks = round % 3 == 0;
    submitting = THREADS;
    all_submitted = false;
    for (int i = 0; i < THREADS; i++) {
        memset(submitters[i].calls, 0, sizeof submitters[i].calls);
        submitters[i].number = i;
        submitters[i].calls_before_closing = CALLS_MAX - random_below(CALLS_MAX * 3 / 4);
        if (block_callbacks && has_callbacks(i))
            submitters[i].calls_before_closing = CALLS_MAX;
    }
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&submitters[i].thread, NULL, submit_and_close, &submitters[i]) == 0);
    for (int i = 0; i < 2 && pop_meanwhile; i++)
        CHECK(pthread_create(&poppers[i], NULL, keep_popping, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(submitters[i].thread, NULL) == 0);
    almadia_store_free(store);
    almadia_cq_shutdown(cq);
    for (int i = 0; i < 2 && pop_meanwhile; i++)
        CHECK(pthread_join(poppers[i], NULL) == 0);
    while (pop(0, &taken) == ALMADIA_OK)
        CHECK(!pop_meanwhile && taken > 0);
    CHECK_CODE(ALMADIA_CLOSED, pop(-1, &taken));
    almadia_cq_free(cq);

    for (int i = 0; i < THREADS; i++)
        for (int j = 0; j < submitters[i].calls_before_closing; j++) {
            struct called *call = &submitters[i].calls[j];
            CHECK(call->completions == (call->accepted ? 1 : 0));
            accepted_total += call->accepted;
            refused_total += !call->accepted;
        }
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    int rounds = atoi(argv[2]);
    CHECK(rounds > 0);
    for (int round = 0; round < rounds; round++)
        run_round(argv[1], round);
    printf("%d rounds, %ld calls accepted and completed once, %ld refused, %ld in flight when the last thread closed\n",
           rounds, accepted_total, refused_total, in_flight_at_close);
    return 0;
}
