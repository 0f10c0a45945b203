/*
 * queue_storm.c - completion queues under stress: several poppers, several stores, epoll, interruptions, a shutdown
 * while threads wait, a pop inside a pop, and queues that outlive their stores or are freed with completions in them.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { STORES = 2, POPPERS = 4, CALLS = 4000 };

static almadia_store *stores[STORES];
static almadia_cq *queue;
/* One call. Nothing in it is atomic or locked: submitting a call and popping its completion synchronize the threads. */
struct call {
    int number;
    int completions;
};
static struct call calls[STORES][CALLS];

static almadia_cq *new_queue(void)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    CHECK_OK(almadia_cq_new(&cq, &error));
    return cq;
}

static almadia_done done_to(almadia_cq *cq, void *user)
{
    almadia_done done = ALMADIA_DONE_INIT;
    done.cq = cq;
    done.user = user;
    return done;
}

/* Retries until the store accepts the call: a completion that is not popped yet counts as in flight. */
static void submit(almadia_store *store, int number, const almadia_done *done)
{
    almadia_code code;
    char key[16];
    size_t length = (size_t)snprintf(key, sizeof key, "%d", number % 50);
    do
        code = number % 2 == 0 ? almadia_put_async(store, key, length, "v", 1, done, NULL)
                               : almadia_get_async(store, key, length, done, NULL);
    while (code == ALMADIA_OVERLOADED && sched_yield() == 0);
    CHECK_CODE(ALMADIA_OK, code);
}

static void *submit_all(void *argument)
{
    int self = *(int *)argument;
    for (int number = 0; number < CALLS; number++) {
        almadia_done done = done_to(queue, &calls[self][number]);
        calls[self][number].number = number;
        submit(stores[self], number, &done);
    }
    return NULL;
}

/* Each popper takes a different number of completions at once; all end when the queue is shut down. */
static void *pop_all(void *argument)
{
    int self = *(int *)argument;
    almadia_completion *popped[1 + POPPERS * 7];
    almadia_code code;
    size_t count = 0;
    while ((code = almadia_cq_pop(queue, popped, (size_t)(1 + self * 7), &count, -1, NULL)) == ALMADIA_OK) {
        CHECK(count > 0 && count <= (size_t)(1 + self * 7));
        for (size_t at = 0; at < count; at++) {
            almadia_code answer = almadia_completion_code(popped[at]);
            CHECK(answer == ALMADIA_OK || answer == ALMADIA_NOT_FOUND);
            struct call *call = almadia_completion_user(popped[at]);
            CHECK(call->number == (int)((call - calls[0]) % CALLS));
            call->completions++;
            almadia_completion_free(popped[at]);
        }
    }
    CHECK_CODE(ALMADIA_CLOSED, code);
    return NULL;
}

static void four_poppers_share_the_completions_of_two_stores_and_end_together(void)
{
    pthread_t submitters[STORES], poppers[POPPERS];
    int numbers[POPPERS] = {0, 1, 2, 3};
    queue = new_queue();
    for (int i = 0; i < POPPERS; i++)
        CHECK(pthread_create(&poppers[i], NULL, pop_all, &numbers[i]) == 0);
    for (int i = 0; i < STORES; i++)
        CHECK(pthread_create(&submitters[i], NULL, submit_all, &numbers[i]) == 0);
    for (int i = 0; i < STORES; i++)
        CHECK(pthread_join(submitters[i], NULL) == 0);
    almadia_cq_shutdown(queue);
    for (int i = 0; i < POPPERS; i++)
        CHECK(pthread_join(poppers[i], NULL) == 0);
    almadia_cq_free(queue);
    for (int i = 0; i < STORES; i++)
        for (int j = 0; j < CALLS; j++)
            CHECK(calls[i][j].completions == 1);
}

static void *wait_for_shutdown(void *cq)
{
    almadia_completion *popped;
    size_t count;
    CHECK_CODE(ALMADIA_CLOSED, almadia_cq_pop(cq, &popped, 1, &count, -1, NULL));
    return NULL;
}

static void a_shutdown_ends_the_wait_of_every_thread(void)
{
    pthread_t waiting[POPPERS];
    for (int round = 0; round < 200; round++) {
        almadia_cq *cq = new_queue();
        for (int i = 0; i < POPPERS; i++)
            CHECK(pthread_create(&waiting[i], NULL, wait_for_shutdown, cq) == 0);
        almadia_cq_shutdown(cq);
        for (int i = 0; i < POPPERS; i++)
            CHECK(pthread_join(waiting[i], NULL) == 0);
        almadia_cq_free(cq);
    }
}

static int interruptions;

static void *wait_for_an_interruption(void *cq)
{
    almadia_completion *popped;
    size_t count = 9;
    CHECK_CODE(ALMADIA_OK, almadia_cq_pop(cq, &popped, 1, &count, -1, NULL));
    CHECK(count == 0);
    __atomic_add_fetch(&interruptions, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Each interruption ends exactly one wait: the next one is made once the last was seen. */
static void an_interruption_ends_one_wait(void)
{
    almadia_cq *cq = new_queue();
    pthread_t waiting[POPPERS];
    for (int i = 0; i < POPPERS; i++)
        CHECK(pthread_create(&waiting[i], NULL, wait_for_an_interruption, cq) == 0);
    for (int i = 0; i < POPPERS; i++) {
        almadia_cq_interrupt(cq);
        while (__atomic_load_n(&interruptions, __ATOMIC_SEQ_CST) <= i)
            sched_yield();
        CHECK(__atomic_load_n(&interruptions, __ATOMIC_SEQ_CST) == i + 1);
    }
    for (int i = 0; i < POPPERS; i++)
        CHECK(pthread_join(waiting[i], NULL) == 0);
    almadia_cq_free(cq);
}

/* Edge-triggered, so that a missing wake-up fails the test: after each one the queue is popped until it is empty. */
static void epoll_reports_every_completion(void)
{
    almadia_cq *cqs[STORES];
    int epoll = epoll_create1(EPOLL_CLOEXEC), left[STORES] = {0, 0};
    CHECK(epoll >= 0);
    for (int i = 0; i < STORES; i++) {
        struct epoll_event watched;
        memset(&watched, 0, sizeof watched);
        watched.events = EPOLLIN | EPOLLET;
        watched.data.u32 = (uint32_t)i;
        cqs[i] = new_queue();
        CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, almadia_cq_fd(cqs[i]), &watched) == 0);
    }
    for (int number = 0; number < 2 * CALLS; number++) {
        almadia_done done = done_to(cqs[number % STORES], NULL);
        left[number % STORES]++;
        submit(stores[number / 3 % STORES], number, &done);
        /* Waits for all that are in flight, which arrive in bursts of all sizes. */
        while (number % 97 == 0 && left[0] + left[1] > 0) {
            struct epoll_event events[STORES];
            int ready = epoll_wait(epoll, events, STORES, 10000);
            CHECK(ready > 0);
            for (int at = 0; at < ready; at++) {
                almadia_completion *popped[16];
                size_t count;
                int which = (int)events[at].data.u32;
                do {
                    CHECK_CODE(ALMADIA_OK, almadia_cq_pop(cqs[which], popped, 16, &count, 0, NULL));
                    left[which] -= (int)count;
                    for (size_t i = 0; i < count; i++)
                        almadia_completion_free(popped[i]);
                } while (count > 0);
            }
        }
    }
    for (int i = 0; i < STORES; i++)
        almadia_cq_free(cqs[i]);
    close(epoll);
}

/* What the event callbacks have popped. */
struct nested {
    almadia_cq *cq;
    int events, popped;
};

static void pop_inside(void *user, almadia_event event, almadia_position position)
{
    struct nested *nested = user;
    almadia_completion *popped[2] = {NULL, NULL}; /* room for one; the second must not be written */
    size_t count = 0;
    (void)event, (void)position;
    CHECK_CODE(ALMADIA_OK, almadia_cq_pop(nested->cq, popped, 1, &count, 0, NULL));
    CHECK(count <= 1 && popped[1] == NULL);
    nested->events++;
    nested->popped += (int)count;
    almadia_completion_free(popped[0]);
}

/* An event callback runs inside a pop, and may pop too: each takes no more than it has room for. */
static void a_pop_inside_a_pop_takes_only_its_own(void)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    struct nested nested = {new_queue(), 0, 0};
    almadia_done done = done_to(nested.cq, NULL);
    int outer = 0;
    options.events = ALMADIA_EVENT_PROPOSED | ALMADIA_EVENT_COMMITTED;
    options.on_event = pop_inside;
    options.event_user = &nested;
    CHECK_OK(almadia_batch_new(&batch, &error));
    for (int call = 0; call < 100; call++) {
        submit(stores[0], call, &done);
        CHECK_OK(almadia_batch_put(batch, "k", 1, "v", 1, &error));
        CHECK_OK(almadia_write_async(stores[0], batch, &options, &done, &error));
    }
    while (outer + nested.popped < 200) {
        almadia_completion *popped[8];
        size_t count;
        CHECK_OK(almadia_cq_pop(nested.cq, popped, 8, &count, 1000, &error));
        CHECK(count <= 8);
        outer += (int)count;
        for (size_t at = 0; at < count; at++)
            almadia_completion_free(popped[at]);
    }
    CHECK(nested.events > 0 && outer + nested.popped == 200);
    almadia_batch_free(batch);
    almadia_cq_free(nested.cq);
}

static void a_queue_is_freed_with_the_completions_in_it(void)
{
    almadia_error *error = NULL;
    for (int round = 0; round < 100; round++) {
        almadia_status status = ALMADIA_STATUS_INIT;
        almadia_cq *cq = new_queue();
        almadia_done done = done_to(cq, NULL);
        uint64_t op = 0;
        done.op = round % 2 == 0 ? &op : NULL;
        for (int call = 0; call < 20; call++) {
            submit(stores[0], call, &done);
            CHECK_OK(almadia_snapshot_open_async(stores[0], NULL, &done, &error));
        }
        /* Some have arrived, some are still to come. */
        almadia_cq_free(cq);
        put_text(stores[0], "the store", "goes on");
        do
            CHECK_OK(almadia_store_status(stores[0], &status, &error));
        while (status.in_flight + status.live_snapshots > 0 && sched_yield() == 0);
    }
}

static void a_queue_and_its_completions_outlive_the_store(const char *path)
{
    almadia_error *error = NULL;
    almadia_cq *cq = new_queue();
    almadia_done done = done_to(cq, NULL);
    almadia_completion *popped[3];
    almadia_slice keys[2] = {{"key", 3}, {"none", 4}};
    size_t count = 0, all = 0;
    char directory[4096];
    snprintf(directory, sizeof directory, "%s-outlived", path);
    almadia_store *store = open_single(directory);
    put_text(store, "key", "value");
    CHECK_OK(almadia_get_async(store, "key", 3, &done, &error));
    CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    CHECK_OK(almadia_multi_get_async(store, keys, 2, NULL, &done, &error));
    /* Popped first: freeing the store leaves calls in flight no time to complete. */
    for (int at = 0; at < 3; at += (int)count)
        CHECK_OK(almadia_cq_pop(cq, popped + at, 3 - (size_t)at, &count, 10000, &error));
    CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    almadia_store_free(store);

    for (int at = 0; at < 3; at++) {
        CHECK_CODE(ALMADIA_OK, almadia_completion_code(popped[at]));
        almadia_value *value = almadia_completion_take_value(popped[at]);
        almadia_values *values = almadia_completion_take_values(popped[at]);
        almadia_snapshot *snapshot = almadia_completion_take_snapshot(popped[at]);
        almadia_completion_free(popped[at]);
        CHECK((value != NULL) + (values != NULL) + (snapshot != NULL) == 1);
        all += value == NULL ? 0 : almadia_value_size(value);
        all += almadia_values_count(values);
        if (snapshot != NULL) {
            CHECK_OK(almadia_snapshot_get(snapshot, "key", 3, &value, &error));
            all += almadia_value_size(value);
        }
        almadia_value_free(value);
        almadia_values_free(values);
        almadia_snapshot_free(snapshot);
    }
    CHECK(all == 12);
    CHECK_OK(almadia_cq_pop(cq, popped, 1, &count, 0, &error));
    CHECK(count == 1);
    almadia_code code = almadia_completion_code(popped[0]);
    CHECK(code == ALMADIA_OK || code == ALMADIA_CLOSED);
    /* The snapshot in it, if there is one, keeps the directory locked until here. */
    almadia_completion_free(popped[0]);
    store = open_single(directory);
    almadia_store_free(store);
    almadia_cq_free(cq);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    for (int i = 0; i < STORES; i++) {
        char directory[4096];
        snprintf(directory, sizeof directory, "%s-%d", argv[1], i);
        stores[i] = open_single(directory);
    }
    a_shutdown_ends_the_wait_of_every_thread();
    an_interruption_ends_one_wait();
    four_poppers_share_the_completions_of_two_stores_and_end_together();
    epoll_reports_every_completion();
    a_pop_inside_a_pop_takes_only_its_own();
    a_queue_is_freed_with_the_completions_in_it();
    for (int i = 0; i < STORES; i++)
        almadia_store_free(stores[i]);
    a_queue_and_its_completions_outlive_the_store(argv[1]);
    return 0;
}
