/* events.c - what a write tells before its completion, on the member that leads and on one that follows. */
#include "cluster.h"

#include <pthread.h>

enum { WRITES = 1000 };

/* One write: what was told of it, in order, and how it ended. */
struct written {
    almadia_event told[4];
    int events;
    int completions;
    almadia_position place;
};

static struct written writes[WRITES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int completed;

static void on_event(void *user, almadia_event event, almadia_position position)
{
    struct written *write = user;
    CHECK(write->completions == 0 && write->events < 2 && position.index > 0 && position.term > 0);
    CHECK(write->events == 0 || position.index == write->place.index);
    write->told[write->events++] = event;
    write->place = position;
}

static void on_done(void *user, almadia_completion *completion)
{
    struct written *write = user;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK(write->events == 0 || write->place.index == almadia_completion_index(completion));
    CHECK(write->events == 0 || write->place.term == almadia_completion_term(completion));
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

static void each_write_was_told(int events, almadia_event first, almadia_event second)
{
    for (int i = 0; i < WRITES; i++) {
        CHECK(writes[i].completions == 1 && writes[i].events == events);
        CHECK(events < 1 || writes[i].told[0] == first);
        CHECK(events < 2 || writes[i].told[1] == second);
    }
}

static void events_are_for_writes_with_a_callback(almadia_store *store)
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

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_store *stores[MEMBERS];
    open_cluster(argv[1], stores);
    int leader = find_leader(stores);

    write_all(stores[leader], ALMADIA_EVENT_PROPOSED + ALMADIA_EVENT_COMMITTED);
    each_write_was_told(2, ALMADIA_EVENT_PROPOSED, ALMADIA_EVENT_COMMITTED);
    write_all(stores[leader], ALMADIA_EVENT_COMMITTED);
    each_write_was_told(1, ALMADIA_EVENT_COMMITTED, 0);
    write_all(stores[leader], 0);
    each_write_was_told(0, 0, 0);
    /* It is the leader that hears of them, and these writes are of callers of another member. */
    write_all(stores[(leader + 1) % MEMBERS], ALMADIA_EVENT_PROPOSED + ALMADIA_EVENT_COMMITTED);
    each_write_was_told(0, 0, 0);
    events_are_for_writes_with_a_callback(stores[leader]);

    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    return 0;
}
