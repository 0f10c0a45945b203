/*
 * conditions.c - writes with conditions on three members: every way to ask for one, what its answer tells, and a counter
 * and a queue without a lock, used from all members at once.
 */
#include "cluster.h"

#include <pthread.h>

enum { INCREMENTS = 40, TASKS = 90 };

static almadia_completion *next(almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_completion *completion = NULL;
    size_t count = 0;
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, 60000, &error));
    CHECK(count == 1 && completion != NULL);
    return completion;
}

static bool is_value(almadia_value *value, const char *text)
{
    bool same = is_text(almadia_value_data(value), almadia_value_size(value), text);
    almadia_value_free(value);
    return same;
}

/* The condition that an error is about, and frees the error. */
static almadia_precondition failed_of(almadia_error *error)
{
    almadia_precondition failed = ALMADIA_PRECONDITION_INIT;
    CHECK_CODE(ALMADIA_OK, almadia_error_precondition(error, &failed));
    CHECK(!almadia_error_maybe_applied(error));
    CHECK(failed.struct_size == sizeof failed && (failed.exists == 1) == (failed.version > 0));
    almadia_error_free(error);
    return failed;
}

static void a_key_is_set_only_as_it_was_expected(almadia_store *store, almadia_store *other)
{
    almadia_error *error = NULL;
    uint64_t first = 0, second = 0, found = 0, unset = 9;
    CHECK_OK(almadia_put_if_absent(store, "k", 1, "1", 1, NULL, &first, &error));
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED, almadia_put_if_absent(other, "k", 1, "2", 1, NULL, &found, &error));
    CHECK(first > 0 && found == first && failed_of(error).version == first);

    CHECK_OK(almadia_compare_and_set(other, "k", 1, first, "2", 1, NULL, &second, &error));
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED, almadia_compare_and_set(store, "k", 1, first, "3", 1, NULL, &found, NULL));
    CHECK(second > first && found == second && holds(store, "k", "2"));

    CHECK_OK(almadia_compare_value_and_set(store, "k", 1, "2", 1, "4", 1, NULL, NULL, &error));
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED,
               almadia_compare_value_and_set(store, "k", 1, "2", 1, "5", 1, NULL, &found, NULL));
    CHECK(found > second && holds(other, "k", "4"));

    CHECK_CODE(ALMADIA_PRECONDITION_FAILED, almadia_compare_and_delete(other, "k", 1, second, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED,
               almadia_compare_value_and_delete(other, "k", 1, "2", 1, NULL, NULL, &error));
    CHECK(failed_of(error).version == found);
    CHECK_OK(almadia_compare_and_delete(other, "k", 1, found, NULL, &second, &error));
    CHECK(second > found && holds(store, "k", NULL));
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED,
               almadia_compare_value_and_delete(store, "k", 1, "4", 1, NULL, &unset, &error));
    CHECK(unset == 0 && failed_of(error).exists == 0);
    /* Version 0 is a key that does not exist. */
    CHECK_OK(almadia_compare_and_set(store, "k", 1, 0, "6", 1, NULL, NULL, &error));
    CHECK_OK(almadia_compare_value_and_delete(store, "k", 1, "6", 1, NULL, NULL, &error));
}

static void what_is_computed_is_told(almadia_store *store, almadia_store *other)
{
    almadia_error *error = NULL;
    almadia_value *key = NULL, *value = NULL, *first = NULL;
    almadia_precondition failed = ALMADIA_PRECONDITION_INIT;
    int64_t sum = 9;
    CHECK_OK(almadia_add(store, "n", 1, 5, NULL, &sum, &error));
    CHECK(sum == 5);
    CHECK_OK(almadia_add(other, "n", 1, -7, NULL, &sum, &error));
    CHECK(sum == -2);
    CHECK_CODE(ALMADIA_NOT_A_NUMBER, almadia_add(store, "n", 1, INT64_MIN, NULL, &sum, &error));
    CHECK(sum == -2 && failed_of(error).exists == 1);

    CHECK_OK(almadia_put_versioned(other, "q/", 2, "one", 3, NULL, &first, &error));
    CHECK_OK(almadia_put_versioned(store, "q/", 2, "two", 3, NULL, NULL, &error));
    CHECK(almadia_value_size(first) == 12 && memcmp(almadia_value_data(first), "q/", 2) == 0);
    CHECK_OK(almadia_take_first(other, "q/", 2, "q0", 2, NULL, &key, &value, &error));
    CHECK(almadia_value_version(key) == almadia_value_version(first));
    CHECK(almadia_value_version(value) == almadia_value_version(first) && is_value(value, "one"));
    CHECK(almadia_value_size(key) == 12 && memcmp(almadia_value_data(key), almadia_value_data(first), 12) == 0);
    almadia_value_free(key);
    almadia_value_free(first);
    CHECK_OK(almadia_take_first(store, "q/", 2, "q0", 2, NULL, &key, &value, &error));
    CHECK(is_value(value, "two"));
    almadia_value_free(key);
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_take_first(store, "q/", 2, "q0", 2, NULL, &key, &value, &error));
    CHECK(key == NULL && value == NULL && error == NULL);

    put_text(store, "popped", "v");
    CHECK_OK(almadia_pop(other, "popped", 6, NULL, &value, &error));
    CHECK(almadia_value_version(value) > 0 && is_value(value, "v"));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_pop(other, "popped", 6, NULL, &value, &error));
    CHECK(value == NULL && error == NULL);

    /* Other errors are about no condition. */
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_take_first(store, "b", 1, "a", 1, NULL, &key, &value, &error));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_error_precondition(error, &failed));
    almadia_error_free(error);
}

static void the_other_list_is_applied_instead(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_written *written = NULL;
    almadia_position position = {0, 0};
    almadia_precondition failed = ALMADIA_PRECONDITION_INIT;
    almadia_op_result result = ALMADIA_OP_RESULT_INIT;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.written = &written;
    CHECK_OK(almadia_batch_new(&batch, &error));
    for (int round = 0; round < 2; round++) {
        CHECK_OK(almadia_batch_if_present(batch, "other", 5, &error));
        CHECK_OK(almadia_batch_pop(batch, "other", 5, &error));
        CHECK_OK(almadia_batch_otherwise(batch, &error));
        CHECK_OK(almadia_batch_put(batch, "other", 5, "first", 5, &error));
        CHECK_OK(almadia_batch_add(batch, "count", 5, 1, &error));
        CHECK_OK(almadia_batch_put_versioned(batch, "log/", 4, "v", 1, &error));
        CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_batch_if_absent(batch, "late", 4, NULL));
        CHECK(almadia_batch_count(batch) == 6);
        CHECK_OK(almadia_write(store, batch, &options, &position, &error));
        CHECK(almadia_written_position(written).index == position.index);
        CHECK(almadia_written_position(written).term == position.term && almadia_written_version(written) > 0);
        CHECK(almadia_written_succeeded(written) == (round == 1));
        if (round == 0) {
            CHECK_CODE(ALMADIA_OK, almadia_written_failed(written, &failed));
            CHECK(failed.operation == 0 && failed.exists == 0 && holds(store, "other", "first"));
            CHECK(almadia_written_count(written) == 2);
            CHECK_CODE(ALMADIA_OK, almadia_written_at(written, 0, &result));
            CHECK(result.operation == 4 && result.kind == ALMADIA_RESULT_SUM && result.sum == 1);
            CHECK_CODE(ALMADIA_OK, almadia_written_at(written, 1, &result));
            CHECK(result.operation == 5 && result.kind == ALMADIA_RESULT_KEY && result.key.size == 14);
            CHECK(result.version == almadia_written_version(written) && result.value.size == 0);
        } else {
            CHECK_CODE(ALMADIA_NOT_FOUND, almadia_written_failed(written, &failed));
            CHECK(almadia_written_count(written) == 1 && holds(store, "other", NULL));
            CHECK_CODE(ALMADIA_OK, almadia_written_at(written, 0, &result));
            CHECK(result.operation == 1 && result.kind == ALMADIA_RESULT_VALUE);
            CHECK(is_text(result.key.data, result.key.size, "other"));
            CHECK(is_text(result.value.data, result.value.size, "first"));
        }
        CHECK_CODE(ALMADIA_END, almadia_written_at(written, 2, &result));
        almadia_written_free(written);
    }
    almadia_batch_free(batch);
    CHECK_CODE(ALMADIA_OK, almadia_delete(store, "count", 5, NULL));
}

/* One batch that judges its keys and a range; nobody may write them in between. */
static void a_batch_is_refused_as_a_whole(almadia_store *store, almadia_store *other)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_range_digest seen = ALMADIA_RANGE_DIGEST_INIT, again = ALMADIA_RANGE_DIGEST_INIT;
    uint64_t version = 0;
    CHECK_OK(almadia_compare_and_set(store, "r/a", 3, 0, "1", 1, NULL, &version, &error));
    put_text(store, "r/b", "22");
    CHECK_OK(almadia_snapshot_open(other, NULL, &snapshot, &error));
    CHECK_OK(almadia_snapshot_digest(snapshot, "r/", 2, "r0", 2, &seen, &error));
    CHECK(seen.keys == 2 && seen.bytes == 9);
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_snapshot_digest(snapshot, "b", 1, "a", 1, &again, NULL));
    almadia_snapshot_free(snapshot);

    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_if_version(batch, "r/a", 3, version, &error));
    CHECK_OK(almadia_batch_if_value(batch, "r/b", 3, "22", 2, &error));
    CHECK_OK(almadia_batch_if_absent(batch, "r/c", 3, &error));
    CHECK_OK(almadia_batch_if_range(batch, "r/", 2, "r0", 2, &seen, &error));
    CHECK_OK(almadia_batch_put(batch, "r/c", 3, "3", 1, &error));
    CHECK_OK(almadia_batch_take_first(batch, "r/", 2, "r0", 2, &error));
    put_text(other, "r/aa", "in between");
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED, almadia_write(store, batch, NULL, NULL, &error));
    CHECK(failed_of(error).operation == 3 && almadia_batch_count(batch) == 6 && holds(store, "r/c", NULL));
    /* The keys are the same again, but not their versions. */
    CHECK_OK(almadia_delete(other, "r/aa", 4, &error));
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK(holds(other, "r/c", "3") && holds(other, "r/a", NULL));
    almadia_batch_free(batch);
}

static void completions_tell_the_same(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_op_result result = ALMADIA_OP_RESULT_INIT;
    almadia_precondition failed = ALMADIA_PRECONDITION_INIT;
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;

    CHECK_OK(almadia_put_if_absent_async(store, "a", 1, "1", 1, NULL, &done, &error));
    almadia_completion *put = next(cq);
    uint64_t version = almadia_completion_version(put);
    almadia_written *written = almadia_completion_take_written(put);
    CHECK(version > 0 && almadia_written_version(written) == version && almadia_written_succeeded(written));
    CHECK(almadia_written_count(written) == 0 && almadia_completion_take_written(put) == NULL);
    almadia_written_free(written);
    almadia_completion_free(put);

    CHECK_OK(almadia_put_if_absent_async(store, "a", 1, "2", 1, NULL, &done, &error));
    CHECK_OK(almadia_compare_and_set_async(store, "a", 1, version, "3", 1, NULL, &done, &error));
    CHECK_OK(almadia_compare_value_and_set_async(store, "a", 1, "3", 1, "4", 1, NULL, &done, &error));
    CHECK_OK(almadia_compare_and_delete_async(store, "a", 1, version, NULL, &done, &error));
    CHECK_OK(almadia_compare_value_and_delete_async(store, "a", 1, "4", 1, NULL, &done, &error));
    for (int call = 0, refused = 0; call < 5; call++) {
        almadia_completion *completion = next(cq);
        almadia_code code = almadia_completion_code(completion);
        if (code != ALMADIA_OK) {
            CHECK_CODE(ALMADIA_PRECONDITION_FAILED, code);
            CHECK_CODE(ALMADIA_OK, almadia_error_precondition(almadia_completion_error(completion), &failed));
            CHECK(failed.version >= version && almadia_completion_take_written(completion) == NULL);
            refused++;
        }
        almadia_completion_free(completion);
        CHECK(call < 4 || refused == 2);
    }
    CHECK(holds(store, "a", NULL));

    CHECK_OK(almadia_put_versioned_async(store, "t/", 2, "task", 4, NULL, &done, &error));
    almadia_completion *made = next(cq);
    written = almadia_completion_take_written(made);
    CHECK_CODE(ALMADIA_OK, almadia_written_at(written, 0, &result));
    CHECK(result.kind == ALMADIA_RESULT_KEY && result.key.size == 12);
    CHECK_OK(almadia_pop_async(store, result.key.data, result.key.size, NULL, &done, &error));
    almadia_written_free(written);
    almadia_completion_free(made);
    almadia_completion *popped = next(cq);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(popped));
    CHECK(is_value(almadia_completion_take_value(popped), "task"));
    almadia_completion_free(popped);

    CHECK_OK(almadia_take_first_async(store, "t/", 2, "t0", 2, NULL, &done, &error));
    almadia_completion *none = next(cq);
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_completion_code(none));
    CHECK(almadia_completion_error(none) == NULL && almadia_completion_take_value(none) == NULL);
    written = almadia_completion_take_written(none);
    CHECK_CODE(ALMADIA_OK, almadia_written_at(written, 0, &result));
    CHECK(result.kind == ALMADIA_RESULT_NOTHING && result.key.size == 0);
    almadia_written_free(written);
    almadia_completion_free(none);

    CHECK_OK(almadia_add_async(store, "async", 5, 3, NULL, &done, &error));
    almadia_completion *added = next(cq);
    written = almadia_completion_take_written(added);
    CHECK_CODE(ALMADIA_OK, almadia_written_at(written, 0, &result));
    CHECK(result.kind == ALMADIA_RESULT_SUM && result.sum == 3);
    almadia_completion_free(added);
    almadia_written_free(written);
    almadia_cq_free(cq);
    CHECK_OK(almadia_delete(store, "async", 5, &error));
}

/* Its caller is gone when a call that does not wait is answered. */
static void calls_that_do_not_wait_refuse_a_place_for_what_they_tell(almadia_store *store)
{
    almadia_written *written = NULL;
    almadia_cq *cq = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.written = &written;
    CHECK_CODE(ALMADIA_OK, almadia_cq_new(&cq, NULL));
    done.cq = cq;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_add_async(store, "n", 1, 1, &options, &done, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_put_if_absent_async(store, "k", 1, "", 0, &options, &done, NULL));
    almadia_cq_free(cq);
}

/* What the threads on the three members share. */
static struct {
    pthread_mutex_t lock;
    int owners[TASKS];
    int taken;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Counts with add on one key, and by comparing versions on another. */
static void *count(void *store)
{
    for (int at = 0; at < INCREMENTS; at++) {
        almadia_error *error = NULL;
        CHECK_OK(almadia_add(store, "counter", 7, 1, NULL, NULL, &error));
    }
    for (int at = 0; at < INCREMENTS; at++) {
        almadia_code code;
        do {
            almadia_value *value = NULL;
            unsigned long number = 0;
            char text[32];
            code = almadia_get(store, "compared", 8, &value, NULL);
            CHECK(code == ALMADIA_OK || code == ALMADIA_NOT_FOUND);
            if (code == ALMADIA_OK) {
                memset(text, 0, sizeof text);
                memcpy(text, almadia_value_data(value), almadia_value_size(value));
                number = strtoul(text, NULL, 10);
            }
            int length = snprintf(text, sizeof text, "%lu", number + 1);
            code = almadia_compare_and_set(store, "compared", 8, almadia_value_version(value), text, (size_t)length,
                                           NULL, NULL, NULL);
            almadia_value_free(value);
        } while (code == ALMADIA_PRECONDITION_FAILED);
        CHECK_CODE(ALMADIA_OK, code);
    }
    return NULL;
}

/* Adds its share of the tasks and takes any until all are taken. */
static void *work(void *store)
{
    static int next_task;
    almadia_error *error = NULL;
    for (bool done = false; !done;) {
        char text[16];
        pthread_mutex_lock(&all.lock);
        int task = next_task < TASKS ? next_task++ : -1;
        done = all.taken == TASKS;
        pthread_mutex_unlock(&all.lock);
        if (task >= 0) {
            int length = snprintf(text, sizeof text, "%d", task);
            CHECK_OK(almadia_put_versioned(store, "queue/", 6, text, (size_t)length, NULL, NULL, &error));
        }
        almadia_value *key = NULL, *value = NULL;
        almadia_code code = almadia_take_first(store, "queue/", 6, "queue0", 6, NULL, &key, &value, &error);
        if (code == ALMADIA_NOT_FOUND)
            continue;
        CHECK_OK(code);
        memset(text, 0, sizeof text);
        memcpy(text, almadia_value_data(value), almadia_value_size(value));
        pthread_mutex_lock(&all.lock);
        all.owners[atoi(text)]++;
        all.taken++;
        pthread_mutex_unlock(&all.lock);
        almadia_value_free(key);
        almadia_value_free(value);
    }
    return NULL;
}

static void on_all(almadia_store *const stores[MEMBERS], void *(*body)(void *))
{
    pthread_t threads[MEMBERS];
    for (int at = 0; at < MEMBERS; at++)
        CHECK(pthread_create(&threads[at], NULL, body, stores[at]) == 0);
    for (int at = 0; at < MEMBERS; at++)
        CHECK(pthread_join(threads[at], NULL) == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_store *stores[MEMBERS];
    almadia_error *error = NULL;
    int64_t sum = 0;
    open_cluster(argv[1], stores);
    put_with_retries(stores[0], "first", "v");

    for (int at = 0; at < MEMBERS; at++) {
        almadia_store *store = stores[at], *other = stores[(at + 1) % MEMBERS];
        a_key_is_set_only_as_it_was_expected(store, other);
        what_is_computed_is_told(store, other);
        the_other_list_is_applied_instead(store);
        a_batch_is_refused_as_a_whole(store, other);
        completions_tell_the_same(store);
        CHECK_OK(almadia_delete(store, "n", 1, &error));
        CHECK_OK(almadia_delete(store, "r/b", 3, &error));
        CHECK_OK(almadia_delete(store, "r/c", 3, &error));
    }
    calls_that_do_not_wait_refuse_a_place_for_what_they_tell(stores[0]);
    on_all(stores, count);
    CHECK_OK(almadia_add(stores[1], "counter", 7, 0, NULL, &sum, &error));
    CHECK(sum == MEMBERS * INCREMENTS && holds(stores[2], "compared", "120"));
    on_all(stores, work);
    for (int task = 0; task < TASKS; task++)
        CHECK(all.owners[task] == 1);

    for (int at = 0; at < MEMBERS; at++)
        shut_down_at_once(stores[at]);
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    return 0;
}
