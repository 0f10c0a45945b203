/* events.c - the events of a write before its completion, on the leader and on a follower. */
#include "cluster.h"

#include <pthread.h>

enum { WRITES = 1000 };

/* One write: its events, in order, and its completions. */
struct written {
    almadia_event events[4];
    int event_count;
    int completions;
    almadia_position position;
};

static struct written writes[WRITES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int completed;

static void on_event(void *user, almadia_event event, almadia_position position)
{
    struct written *write = user;
    CHECK(write->completions == 0 && write->event_count < 2 && position.index > 0 && position.term > 0);
    CHECK(write->event_count == 0 || position.index == write->position.index);
    write->events[write->event_count++] = event;
    write->position = position;
}

static void on_done(void *user, almadia_completion *completion)
{
    struct written *write = user;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK(write->event_count == 0 || write->position.index == almadia_completion_index(completion));
    CHECK(write->event_count == 0 || write->position.term == almadia_completion_term(completion));
    write->completions++;
    pthread_mutex_lock(&lock);
    completed++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

/* Calls of one key, which take the options of a batch. */
static void write_one(almadia_store *store, int number, const almadia_write_options *options, const almadia_done *done)
{
    almadia_error *error = NULL;
    if (number % 3 == 0)
        CHECK_OK(almadia_put_with_async(store, &number, sizeof number, "value", 5, options, done, &error));
    else
        CHECK_OK(almadia_delete_with_async(store, &number, sizeof number, options, done, &error));
}

/* Writes all keys once and waits for all completions. */
static void write_all(almadia_store *store, almadia_event events)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    options.events = events;
    options.on_event = on_event;
    done.callback = on_done;
    memset(writes, 0, sizeof writes);
    completed = 0;

    CHECK_OK(almadia_batch_new(&batch, &error));
    for (int i = 0; i < WRITES; i++) {
        options.event_user = done.user = &writes[i];
        if (i % 2 == 0) {
            write_one(store, i, &options, &done);
            continue;
        }
        CHECK_OK(almadia_batch_put(batch, &i, sizeof i, "value", 5, &error));
        CHECK_OK(almadia_write_async(store, batch, &options, &done, &error));
    }
    almadia_batch_free(batch);
    pthread_mutex_lock(&lock);
    while (completed < WRITES)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void each_write_had_events(int count, almadia_event first, almadia_event second)
{
    for (int i = 0; i < WRITES; i++) {
        CHECK(writes[i].completions == 1 && writes[i].event_count == count);
        CHECK(count < 1 || writes[i].events[0] == first);
        CHECK(count < 2 || writes[i].events[1] == second);
    }
}

static void events_are_refused_for_blocking_writes(almadia_store *store)
{
    almadia_batch *batch = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.events = ALMADIA_EVENT_PROPOSED;
    options.on_event = on_event;
    CHECK_CODE(ALMADIA_OK, almadia_batch_new(&batch, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_batch_put(batch, "k", 1, "v", 1, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_write(store, batch, &options, NULL, NULL));
    CHECK(almadia_batch_count(batch) == 1);
    almadia_batch_free(batch);
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_put_with(store, "k", 1, "v", 1, &options, NULL, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_delete_with(store, "k", 1, &options, NULL, NULL));
}

/* Whatever an event uses is freed with the completion. */
static void on_event_of_freed(void *user, almadia_event event, almadia_position position)
{
    struct written *write = user;
    CHECK(event == ALMADIA_EVENT_PROPOSED ? write->event_count == 0 : write->event_count < 2);
    /* Some other thread pops what comes next meanwhile. */
    sched_yield();
    write->event_count++;
    write->position = position;
}

static void *pop_until_closed(void *cq)
{
    for (;;) {
        almadia_completion *popped[4];
        size_t count = 0;
        almadia_code code = almadia_cq_pop(cq, popped, 4, &count, -1, NULL);
        if (code == ALMADIA_CLOSED)
            return NULL;
        CHECK_CODE(ALMADIA_OK, code);
        for (size_t at = 0; at < count; at++) {
            struct written *write = almadia_completion_user(popped[at]);
            CHECK_CODE(ALMADIA_OK, almadia_completion_code(popped[at]));
            CHECK(write->event_count == 0 || write->position.index == almadia_completion_index(popped[at]));
            free(write);
            almadia_completion_free(popped[at]);
        }
    }
}

static void events_end_before_the_completion_is_popped_on_another_thread(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_cq *cq = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    pthread_t threads[4];
    CHECK_OK(almadia_cq_new(&cq, &error));
    CHECK_OK(almadia_batch_new(&batch, &error));
    for (int at = 0; at < 4; at++)
        CHECK(pthread_create(&threads[at], NULL, pop_until_closed, cq) == 0);
    options.events = ALMADIA_EVENT_PROPOSED + ALMADIA_EVENT_COMMITTED;
    options.on_event = on_event_of_freed;
    done.cq = cq;
    for (int i = 0; i < 10 * WRITES; i++) {
        options.event_user = done.user = calloc(1, sizeof(struct written));
        CHECK(done.user != NULL);
        CHECK_OK(almadia_batch_put(batch, &i, sizeof i, "value", 5, &error));
        CHECK_OK(almadia_write_async(store, batch, &options, &done, &error));
    }
    almadia_cq_shutdown(cq);
    for (int at = 0; at < 4; at++)
        CHECK(pthread_join(threads[at], NULL) == 0);
    almadia_cq_free(cq);
    almadia_batch_free(batch);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_store *stores[MEMBERS];
    open_cluster(argv[1], stores);
    int leader = find_leader(stores);

    write_all(stores[leader], ALMADIA_EVENT_PROPOSED + ALMADIA_EVENT_COMMITTED);
    each_write_had_events(2, ALMADIA_EVENT_PROPOSED, ALMADIA_EVENT_COMMITTED);
    write_all(stores[leader], ALMADIA_EVENT_COMMITTED);
    each_write_had_events(1, ALMADIA_EVENT_COMMITTED, 0);
    write_all(stores[leader], 0);
    each_write_had_events(0, 0, 0);
    /* Only the leader learns of these events, and the callers of these writes are on another member. */
    write_all(stores[(leader + 1) % MEMBERS], ALMADIA_EVENT_PROPOSED + ALMADIA_EVENT_COMMITTED);
    each_write_had_events(0, 0, 0);
    events_are_refused_for_blocking_writes(stores[leader]);
    events_end_before_the_completion_is_popped_on_another_thread(stores[leader]);

    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    return 0;
}
