/* callbacks.c - the rules for callbacks (see almadia.h): where they run, what they may do, and what they may not. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

/* One test: a callback does something, and the main thread waits for it. */
struct test {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int done;
    bool submitted;
    almadia_store *store;
    const char *path;
    pthread_t submitter;
    almadia_snapshot *snapshot;
    almadia_batch *batch;
};

static struct test begin(almadia_store *store, const char *path)
{
    struct test test = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false, store, path, 0, NULL, NULL};
    test.submitter = pthread_self();
    return test;
}

static void finish(struct test *test)
{
    pthread_mutex_lock(&test->lock);
    test->done++;
    pthread_cond_broadcast(&test->changed);
    pthread_mutex_unlock(&test->lock);
}

static void wait_for(struct test *test, int times)
{
    pthread_mutex_lock(&test->lock);
    while (test->done < times)
        pthread_cond_wait(&test->changed, &test->lock);
    pthread_mutex_unlock(&test->lock);
}

static almadia_done done_with(almadia_callback callback, void *user)
{
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = callback;
    done.user = user;
    return done;
}

static void note_thread(void *user, almadia_completion *completion)
{
    struct test *test = user;
    char name[17] = {0};
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK(prctl(PR_GET_NAME, name, 0, 0, 0) == 0);
    CHECK(strcmp(name, "almadia-cb") == 0);
    CHECK(!pthread_equal(pthread_self(), test->submitter));
    finish(test);
}

static void callbacks_run_on_their_own_thread(almadia_store *store, const char *path)
{
    almadia_error *error = NULL;
    struct test test = begin(store, path);
    almadia_done done = done_with(note_thread, &test);
    CHECK_OK(almadia_put_async(store, "k", 1, "v", 1, &done, &error));
    CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    wait_for(&test, 2);
}

/* `user` need not be a valid pointer: any value is passed to the callback. */
static void *const NOT_A_POINTER = (void *)-1;
static int user_seen;

static void note_user(void *user, almadia_completion *completion)
{
    CHECK(user == NOT_A_POINTER && almadia_completion_user(completion) == NOT_A_POINTER);
    __atomic_store_n(&user_seen, 1, __ATOMIC_SEQ_CST);
}

static void user_may_be_any_value(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_done done = done_with(note_user, NOT_A_POINTER);
    CHECK_OK(almadia_put_async(store, "k", 1, "v", 1, &done, &error));
    while (!__atomic_load_n(&user_seen, __ATOMIC_SEQ_CST))
        sched_yield();
}

static almadia_code never_run(void *user, almadia_txn *txn)
{
    (void)user;
    (void)txn;
    CHECK(!"a refused call runs no body");
    return ALMADIA_OK;
}

/* Began outside of the callback. */
static almadia_txn *transaction;

static void call_blocking_functions(void *user, almadia_completion *completion)
{
    struct test *test = user;
    almadia_config *config = NULL;
    almadia_store *other = test->store;
    almadia_snapshot *snapshot = NULL;
    almadia_value *value = NULL, *taken = NULL;
    almadia_values *values = NULL;
    almadia_txn *txn = NULL;
    almadia_slice key = {"k", 1};
    almadia_cq *cq = NULL;
    almadia_completion *popped = NULL;
    almadia_members *members = NULL;
    size_t count = 0;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK_CODE(ALMADIA_OK, almadia_batch_put(test->batch, "k", 1, "v", 1, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_cq_new(&cq, NULL));

    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_write(test->store, test->batch, NULL, NULL, NULL));
    CHECK(almadia_batch_count(test->batch) == 1);
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_put(test->store, "k", 1, "v", 1, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_delete(test->store, "k", 1, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_get(test->store, "k", 1, &value, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_put_with(test->store, "k", 1, "v", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_delete_with(test->store, "k", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_get_with(test->store, "k", 1, NULL, &value, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_put_if_absent(test->store, "k", 1, "v", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_compare_and_set(test->store, "k", 1, 7, "v", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_compare_value_and_set(test->store, "k", 1, "o", 1, "v", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_compare_and_delete(test->store, "k", 1, 7, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_compare_value_and_delete(test->store, "k", 1, "o", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_pop(test->store, "k", 1, NULL, &value, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_take_first(test->store, "a", 1, "b", 1, NULL, &taken, &value, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_add(test->store, "k", 1, 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_put_versioned(test->store, "p", 1, "v", 1, NULL, &taken, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_snapshot_open(test->store, NULL, &snapshot, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_txn_begin(test->store, NULL, &txn, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_txn_commit(transaction, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_transact(test->store, NULL, never_run, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_store_wait_leader(test->store, 1000, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_leader_transfer(test->store, NULL, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_store_wait_ready(test->store, 1000, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_members_change(test->store, NULL, 0, 1000, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_members_list(test->store, &members, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_multi_get(test->store, &key, 1, NULL, &values, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_cq_pop(cq, &popped, 1, &count, 1000, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_cq_pop(cq, &popped, 1, &count, -1, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_cq_pop(cq, &popped, 1, &count, 0, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_store_shutdown(test->store, 1000, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_config_new(ALMADIA_ABI_VERSION, &config, NULL));
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_store_open(test->path, config, &other, NULL));
    CHECK(value == NULL && values == NULL && snapshot == NULL && other == NULL && count == 0 && txn == NULL);
    almadia_members_free(members);
    almadia_cq_free(cq);
    almadia_config_free(config);
    finish(test);
}

static void blocking_calls_are_refused_in_a_callback(almadia_store *store, const char *path)
{
    almadia_error *error = NULL;
    struct test test = begin(store, path);
    almadia_done done = done_with(call_blocking_functions, &test);
    CHECK_OK(almadia_batch_new(&test.batch, &error));
    CHECK_OK(almadia_txn_begin(store, NULL, &transaction, &error));
    CHECK_OK(almadia_txn_put(transaction, "t", 1, "v", 1, &error));
    CHECK_OK(almadia_put_async(store, "k", 1, "v", 1, &done, &error));
    wait_for(&test, 1);
    almadia_batch_free(test.batch);
    /* The refusal has not ended it. */
    CHECK_OK(almadia_txn_commit(transaction, NULL, &error));
    almadia_txn_free(transaction);
    put_text(store, "k", "still works elsewhere");
}

/* Each callback submits the next call; the last one reads. */
static void chain(void *user, almadia_completion *completion)
{
    struct test *test = user;
    almadia_done done = done_with(chain, test);
    almadia_snapshot *snapshot = almadia_completion_take_snapshot(completion);
    CHECK(almadia_completion_take_snapshot(completion) == NULL);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    if (test->done == 100) {
        almadia_value *value = NULL;
        CHECK(almadia_snapshot_index(snapshot) == almadia_completion_index(completion));
        CHECK_CODE(ALMADIA_OK, almadia_snapshot_get(snapshot, "chain", 5, &value, NULL));
        CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "link"));
        almadia_value_free(value);
        almadia_snapshot_free(snapshot);
    } else if (test->done == 99) {
        CHECK_CODE(ALMADIA_OK, almadia_snapshot_open_async(test->store, NULL, &done, NULL));
    } else {
        CHECK_CODE(ALMADIA_OK, almadia_put_async(test->store, "chain", 5, "link", 4, &done, NULL));
    }
    finish(test);
}

static void a_callback_may_submit_more_and_read(almadia_store *store, const char *path)
{
    almadia_error *error = NULL;
    struct test test = begin(store, path);
    almadia_done done = done_with(chain, &test);
    CHECK_OK(almadia_put_async(store, "chain", 5, "first", 5, &done, &error));
    wait_for(&test, 101);
}

static void leave_snapshot(void *user, almadia_completion *completion)
{
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    finish(user);
}

static void a_snapshot_that_is_not_taken_is_freed(almadia_store *store, const char *path)
{
    almadia_error *error = NULL;
    almadia_status status = ALMADIA_STATUS_INIT;
    struct test test = begin(store, path);
    almadia_done done = done_with(leave_snapshot, &test);
    CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    wait_for(&test, 1);
    /* There is one callback thread: when the second callback runs, the first has returned. */
    CHECK_OK(almadia_put_async(store, "k", 1, "v", 1, &done, &error));
    wait_for(&test, 2);
    CHECK_OK(almadia_store_status(store, &status, &error));
    CHECK(status.live_snapshots == 0);
}

/* What a callback may free: any handle, and its own user data, which this is. */
struct to_free {
    struct test *test;
    almadia_batch *batch;
    almadia_snapshot *snapshot;
};

static void free_handles(void *user, almadia_completion *completion)
{
    struct to_free *all = user;
    struct test *test = all->test;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    almadia_batch_free(all->batch);
    almadia_snapshot_free(all->snapshot);
    free(all);
    finish(test);
}

static void a_callback_may_free_handles_and_its_own_data(almadia_store *store, const char *path)
{
    almadia_error *error = NULL;
    struct test test = begin(store, path);
    struct to_free *all = malloc(sizeof *all);
    almadia_done done = done_with(free_handles, all);
    CHECK(all != NULL);
    all->test = &test;
    CHECK_OK(almadia_batch_new(&all->batch, &error));
    CHECK_OK(almadia_batch_put(all->batch, "k", 1, "v", 1, &error));
    CHECK_OK(almadia_snapshot_open(store, NULL, &all->snapshot, &error));
    CHECK_OK(almadia_write_async(store, all->batch, NULL, &done, &error));
    wait_for(&test, 1);
}

/* The first callback blocks the callback thread until all writes are accepted, then frees the store; the other writes
 * still complete. */
static void free_store(void *user, almadia_completion *completion)
{
    struct test *test = user;
    almadia_code code = almadia_completion_code(completion);
    CHECK((code == ALMADIA_OK) == (almadia_completion_error(completion) == NULL));
    CHECK(code == ALMADIA_OK || code == ALMADIA_SHUTDOWN_IN_FLIGHT || code == ALMADIA_CLOSED);
    pthread_mutex_lock(&test->lock);
    while (!test->submitted)
        pthread_cond_wait(&test->changed, &test->lock);
    pthread_mutex_unlock(&test->lock);
    almadia_store_free(test->store);
    test->store = NULL;
    finish(test);
}

static void a_callback_may_free_the_store(almadia_store *store, const char *path)
{
    struct test test = begin(store, path);
    almadia_done done = done_with(free_store, &test);
    for (int i = 0; i < 100; i++)
        CHECK_CODE(ALMADIA_OK, almadia_put_async(store, "k", 1, "v", 1, &done, NULL));
    pthread_mutex_lock(&test.lock);
    test.submitted = true;
    pthread_cond_broadcast(&test.changed);
    pthread_mutex_unlock(&test.lock);
    wait_for(&test, 100);

    /* A thread of the library does the rest of the closing; then the directory can be opened again. */
    almadia_config *config = NULL;
    almadia_store *again = NULL;
    almadia_code code = ALMADIA_LOCKED;
    CHECK_CODE(ALMADIA_OK, almadia_config_new(ALMADIA_ABI_VERSION, &config, NULL));
    while ((code = almadia_store_open(path, config, &again, NULL)) == ALMADIA_LOCKED)
        sched_yield();
    CHECK_CODE(ALMADIA_OK, code);
    almadia_config_free(config);
    almadia_store_free(again);
}

/* When there is a leader: waits until the handle is known, may not shut the store down, and frees it. */
static void free_at_first_leader(void *user, const almadia_store_event *event)
{
    struct test *test = user;
    if (event->kind != ALMADIA_STORE_EVENT_LEADER_CHANGED || test->done > 0)
        return;
    pthread_mutex_lock(&test->lock);
    while (!test->submitted)
        pthread_cond_wait(&test->changed, &test->lock);
    pthread_mutex_unlock(&test->lock);
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_store_shutdown(test->store, 0, NULL));
    almadia_store_free(test->store);
    finish(test);
}

static void an_event_callback_may_free_the_store(const char *path)
{
    struct test test = begin(NULL, path);
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_code code;
    char directory[4096];
    snprintf(directory, sizeof directory, "%s-events", path);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set_event_callback(config, free_at_first_leader, &test, &error));
    CHECK_OK(almadia_store_open(directory, config, &test.store, &error));
    pthread_mutex_lock(&test.lock);
    test.submitted = true;
    pthread_cond_broadcast(&test.changed);
    pthread_mutex_unlock(&test.lock);
    wait_for(&test, 1);

    /* Once the directory can be opened again, the first store reports no more events. */
    CHECK_OK(almadia_config_set_event_callback(config, NULL, NULL, &error));
    while ((code = almadia_store_open(directory, config, &test.store, NULL)) == ALMADIA_LOCKED)
        sched_yield();
    CHECK_CODE(ALMADIA_OK, code);
    almadia_config_free(config);
    almadia_store_free(test.store);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_store *store = open_single(argv[1]);
    callbacks_run_on_their_own_thread(store, argv[1]);
    user_may_be_any_value(store);
    blocking_calls_are_refused_in_a_callback(store, argv[1]);
    a_callback_may_submit_more_and_read(store, argv[1]);
    a_snapshot_that_is_not_taken_is_freed(store, argv[1]);
    a_callback_may_free_handles_and_its_own_data(store, argv[1]);
    a_callback_may_free_the_store(store, argv[1]);
    an_event_callback_may_free_the_store(argv[1]);
    return 0;
}
