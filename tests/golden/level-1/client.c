/*
 * client.c - a program of the time of level 1, compiled with the header beside it and run with the library of today.
 *
 * Uses one store in each way that programs had then: plain writes and writes with conditions, reads, snapshots and
 * iterators, calls that are answered in a callback and on a queue, transactions, status. Each struct that the library
 * writes has bytes behind it that must stay as they are. Usage: client PATH, which does not exist yet. Exits with 0, or
 * prints what was wrong and exits with 1. It is kept as it is: a library that it does not work with is another ABI.
 */
#include "almadia.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                   \
    do {                                                                                   \
        if (!(condition)) {                                                                \
            fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);  \
            _Exit(1);                                                                      \
        }                                                                                  \
    } while (0)

/* A call that must return this code. */
#define RETURNS(code, call)                                                                \
    do {                                                                                   \
        almadia_code got_ = (call);                                                        \
        if (got_ != (code)) {                                                              \
            fprintf(stderr, "%s:%d: %s returned %s (%d): %s\n", __FILE__, __LINE__, #call, \
                    almadia_code_name(got_), (int)got_, almadia_error_message(error));     \
            _Exit(1);                                                                      \
        }                                                                                  \
    } while (0)
#define OK(call) RETURNS(ALMADIA_OK, call)

enum { GUARD = 0x5a, GUARD_BYTES = 64 };

/* A struct that the library writes, and what must not change behind it. */
#define GUARDED(type, name, initial)                     \
    struct {                                             \
        type it;                                         \
        unsigned char behind[GUARD_BYTES];               \
    } name = {.it = initial};                            \
    memset(name.behind, GUARD, sizeof name.behind)

static void check_guard(const unsigned char *behind)
{
    for (size_t at = 0; at < GUARD_BYTES; at++)
        CHECK(behind[at] == GUARD);
}

static int is_text(const void *data, size_t size, const char *text)
{
    return size == strlen(text) && memcmp(data, text, size) == 0;
}

static int slice_is(almadia_slice slice, const char *text)
{
    return is_text(slice.data, slice.size, text);
}

static void check_value(almadia_store *store, const char *key, const char *text)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    RETURNS(text == NULL ? ALMADIA_NOT_FOUND : ALMADIA_OK, almadia_get(store, key, strlen(key), &value, &error));
    CHECK(text == NULL ? value == NULL : is_text(almadia_value_data(value), almadia_value_size(value), text));
    almadia_value_free(value);
}

/* The events and answers that came on the library's thread. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int answers, leaders, proposed, committed;
    uint64_t version, index;
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void on_store_event(void *user, const almadia_store_event *event)
{
    CHECK(user == &seen && event->struct_size >= sizeof *event);
    if (event->kind != ALMADIA_STORE_EVENT_LEADER_CHANGED)
        return;
    CHECK(event->code == ALMADIA_OK && event->region_id > 0 && event->node_id == 0 && event->reserved == 0);
    pthread_mutex_lock(&seen.lock);
    seen.leaders += event->leader_id == 1 && event->term > 0;
    pthread_cond_signal(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void on_write_event(void *user, almadia_event event, almadia_position position)
{
    CHECK(user == &seen && position.index > 0 && position.term > 0);
    pthread_mutex_lock(&seen.lock);
    seen.proposed += event == ALMADIA_EVENT_PROPOSED;
    seen.committed += event == ALMADIA_EVENT_COMMITTED;
    pthread_mutex_unlock(&seen.lock);
}

static void on_done(void *user, almadia_completion *completion)
{
    CHECK(user == &seen && almadia_completion_code(completion) == ALMADIA_OK);
    CHECK(almadia_completion_error(completion) == NULL);
    pthread_mutex_lock(&seen.lock);
    seen.version = almadia_completion_version(completion);
    seen.index = almadia_completion_index(completion);
    seen.answers++;
    pthread_cond_signal(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void wait_for(const int *count, int least)
{
    pthread_mutex_lock(&seen.lock);
    while (*count < least)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
}

static almadia_store *open_store(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    uint64_t leader = 0;
    CHECK(almadia_abi_version() == ALMADIA_ABI_VERSION && almadia_version_number() >= ALMADIA_VERSION_NUMBER);
    OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    for (size_t at = 0; at < almadia_config_option_count(); at++) {
        GUARDED(almadia_option, option, ALMADIA_OPTION_INIT);
        OK(almadia_config_option_at(at, &option.it));
        OK(almadia_config_set(config, option.it.name, option.it.default_value, &error));
        CHECK(strlen(option.it.type_text) > 0 && strlen(option.it.doc) > 0);
        check_guard(option.behind);
    }
    RETURNS(ALMADIA_INVALID_CONFIG, almadia_config_set(config, "raft.nothing", "1", &error));
    CHECK(almadia_error_code(error) == ALMADIA_INVALID_CONFIG && strlen(almadia_error_message(error)) > 0);
    almadia_error_free(error);
    error = NULL;
    OK(almadia_config_set(config, "bootstrap.split_keys", "m", &error));
    OK(almadia_config_set_event_callback(config, on_store_event, &seen, &error));
    OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    OK(almadia_store_wait_leader(store, 60000, &leader, &error));
    CHECK(leader == 1);
    wait_for(&seen.leaders, 2); /* one for each region */
    return store;
}

static void plain_writes(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_position position = {0, 0};
    const almadia_op ops[] = {
        {ALMADIA_OP_PUT, 0, {"d", 1}, {"4", 1}},
        {ALMADIA_OP_DELETE, 0, {"a", 1}, {NULL, 0}},
        {ALMADIA_OP_DELETE_RANGE, 0, {"b", 1}, {"c", 1}},
    };
    OK(almadia_batch_new(&batch, &error));
    OK(almadia_batch_put(batch, "a", 1, "1", 1, &error));
    OK(almadia_batch_put(batch, "b", 1, "2", 1, &error));
    OK(almadia_batch_put(batch, "c", 1, "3", 1, &error));
    OK(almadia_write(store, batch, NULL, &position, &error));
    CHECK(position.index > 0 && position.term > 0 && almadia_batch_count(batch) == 0);
    OK(almadia_batch_append_ops(batch, ops, sizeof ops / sizeof *ops, &error));
    OK(almadia_write(store, batch, NULL, NULL, &error));
    check_value(store, "a", NULL);
    check_value(store, "b", NULL);
    check_value(store, "c", "3");
    check_value(store, "d", "4");
    OK(almadia_batch_put(batch, "c", 1, "3", 1, &error));
    OK(almadia_batch_put(batch, "z", 1, "26", 2, &error));
    RETURNS(ALMADIA_BATCH_ACROSS_REGIONS, almadia_write(store, batch, NULL, NULL, &error));
    CHECK(!almadia_error_maybe_applied(error));
    almadia_error_free(error);
    almadia_batch_free(batch);
}

static void writes_with_conditions(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_written *written = NULL;
    uint64_t first = 0, second = 0;
    int64_t sum = 0;
    GUARDED(almadia_precondition, found, ALMADIA_PRECONDITION_INIT);
    GUARDED(almadia_op_result, result, ALMADIA_OP_RESULT_INIT);

    OK(almadia_put_if_absent(store, "once", 4, "1", 1, NULL, &first, &error));
    RETURNS(ALMADIA_PRECONDITION_FAILED, almadia_put_if_absent(store, "once", 4, "2", 1, NULL, NULL, &error));
    OK(almadia_error_precondition(error, &found.it));
    CHECK(found.it.version == first && found.it.exists == 1);
    check_guard(found.behind);
    almadia_error_free(error);
    error = NULL;
    OK(almadia_compare_and_set(store, "once", 4, first, "3", 1, NULL, &second, &error));
    CHECK(second > first);
    check_value(store, "once", "3");

    OK(almadia_add(store, "sum", 3, 40, NULL, &sum, &error));
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.timeout_ms = 60000;
    options.written = &written;
    OK(almadia_add(store, "sum", 3, 2, &options, &sum, &error));
    CHECK(sum == 42 && almadia_written_count(written) == 1 && almadia_written_succeeded(written));
    OK(almadia_written_at(written, 0, &result.it));
    CHECK(result.it.kind == ALMADIA_RESULT_SUM && result.it.sum == 42);
    check_guard(result.behind);
    almadia_written_free(written);
}

static void reads(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_iter *iter = NULL;
    almadia_values *values = NULL;
    almadia_slice value = {NULL, 0};
    const almadia_slice keys[] = {{"r/2", 3}, {"r/none", 6}, {"r/1", 3}};
    almadia_kv pairs[4];
    uint64_t versions[4];
    size_t count = 0;
    OK(almadia_put(store, "r/1", 3, "one", 3, &error));
    OK(almadia_put(store, "r/2", 3, "two", 3, &error));
    OK(almadia_put(store, "r/3", 3, "three", 5, &error));
    OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    OK(almadia_delete(store, "r/2", 3, &error));

    OK(almadia_snapshot_multi_get(snapshot, keys, 3, &values, &error));
    CHECK(almadia_values_count(values) == 3 && almadia_values_version_at(values, 0) > 0);
    OK(almadia_values_at(values, 0, &value));
    CHECK(slice_is(value, "two"));
    RETURNS(ALMADIA_NOT_FOUND, almadia_values_at(values, 1, &value));
    almadia_values_free(values);

    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    options.prefix = "r/";
    options.prefix_length = 2;
    OK(almadia_iter_new(snapshot, &options, &iter, &error));
    OK(almadia_iter_next_n_versions(iter, pairs, versions, 4, &count, &error));
    CHECK(count == 3 && slice_is(pairs[0].key, "r/1") && slice_is(pairs[2].value, "three") && versions[0] < versions[2]);
    CHECK(almadia_iter_last(iter) && slice_is(almadia_iter_key(iter), "r/3") && almadia_iter_prev(iter));
    CHECK(slice_is(almadia_iter_value(iter), "two") && almadia_iter_version(iter) == versions[1]);
    OK(almadia_iter_code(iter, &error));
    almadia_iter_free(iter);

    almadia_snapshot_options part = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    part.level = ALMADIA_LEVEL_LOCAL;
    part.start = "r/2";
    part.start_length = 3;
    part.min_index = almadia_snapshot_index(snapshot);
    almadia_snapshot_free(snapshot);
    OK(almadia_snapshot_open(store, &part, &snapshot, &error));
    OK(almadia_iter_new(snapshot, NULL, &iter, &error));
    CHECK(almadia_iter_first(iter) && slice_is(almadia_iter_key(iter), "r/3"));
    almadia_iter_free(iter);
    almadia_snapshot_free(snapshot);
}

static void answers(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    done.callback = on_done;
    done.user = &seen;
    options.events = ALMADIA_EVENT_PROPOSED | ALMADIA_EVENT_COMMITTED;
    options.on_event = on_write_event;
    options.event_user = &seen;
    OK(almadia_put_with_async(store, "async", 5, "1", 1, &options, &done, &error));
    wait_for(&seen.answers, 1);
    CHECK(seen.version > 0 && seen.index > 0 && seen.proposed == 1 && seen.committed == 1);

    almadia_cq *cq = NULL;
    almadia_completion *completion = NULL;
    size_t count = 0;
    uint64_t op = 0;
    OK(almadia_cq_new(&cq, &error));
    CHECK(almadia_cq_fd(cq) >= 0);
    almadia_done queued = ALMADIA_DONE_INIT;
    queued.cq = cq;
    queued.user = &op;
    queued.op = &op;
    OK(almadia_get_async(store, "async", 5, &queued, &error));
    OK(almadia_cq_pop(cq, &completion, 1, &count, 60000, &error));
    CHECK(count == 1 && almadia_completion_op(completion) == op && almadia_completion_user(completion) == &op);
    CHECK(almadia_completion_code(completion) == ALMADIA_OK);
    almadia_value *value = almadia_completion_take_value(completion);
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "1"));
    CHECK(almadia_value_version(value) == seen.version);
    almadia_value_free(value);
    almadia_completion_free(completion);
    almadia_cq_shutdown(cq);
    almadia_cq_free(cq);
}

/* Adds to a number that nobody else changes, and once to one that somebody does. */
static void transactions(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_txn *txn = NULL;
    almadia_value *value = NULL;
    almadia_txn_options options = ALMADIA_TXN_OPTIONS_INIT;
    options.key = "t";
    options.key_length = 1;
    OK(almadia_put(store, "t", 1, "1", 1, &error));
    OK(almadia_txn_begin(store, &options, &txn, &error));
    OK(almadia_txn_get(txn, "t", 1, &value, &error));
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "1"));
    almadia_value_free(value);
    OK(almadia_txn_put(txn, "t", 1, "2", 1, &error));
    OK(almadia_txn_commit(txn, NULL, &error));
    almadia_txn_free(txn);
    check_value(store, "t", "2");

    GUARDED(almadia_conflict, conflict, ALMADIA_CONFLICT_INIT);
    OK(almadia_txn_begin(store, &options, &txn, &error));
    OK(almadia_txn_get(txn, "t", 1, &value, &error));
    almadia_value_free(value);
    OK(almadia_put(store, "t", 1, "other", 5, &error));
    OK(almadia_txn_put(txn, "t", 1, "3", 1, &error));
    RETURNS(ALMADIA_CONFLICT, almadia_txn_commit(txn, NULL, &error));
    OK(almadia_error_conflict(error, &conflict.it));
    check_guard(conflict.behind);
    almadia_error_free(error);
    almadia_txn_free(txn);
    check_value(store, "t", "other");
}

static void status(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_value *text = NULL;
    GUARDED(almadia_status, status, ALMADIA_STATUS_INIT);
    GUARDED(almadia_region_status, region, ALMADIA_REGION_STATUS_INIT);
    GUARDED(almadia_raft_snapshot_status, moving, ALMADIA_RAFT_SNAPSHOT_STATUS_INIT);

    OK(almadia_store_status(store, &status.it, &error));
    CHECK(status.it.node_id == 1 && status.it.leader_id == 1 && status.it.role == ALMADIA_ROLE_LEADER);
    CHECK(status.it.applied_index > 0 && status.it.applied_index <= status.it.commit_index);
    CHECK(status.it.struct_size == sizeof status.it && status.it.poisoned == ALMADIA_OK && status.it.log_bytes > 0);
    check_guard(status.behind);
    CHECK(almadia_store_region_count(store) == 2);
    OK(almadia_store_region_at(store, 1, &region.it, &error));
    CHECK(slice_is(region.it.start_key, "m") && region.it.end_key.size == 0 && region.it.feature_level >= 1);
    CHECK(region.it.role == ALMADIA_ROLE_LEADER && region.it.struct_size == sizeof region.it);
    check_guard(region.behind);
    RETURNS(ALMADIA_END, almadia_store_raft_snapshot_at(store, 0, &moving.it, &error));
    check_guard(moving.behind);
    OK(almadia_store_metrics(store, &text, &error));
    CHECK(almadia_value_size(text) > 1000);
    almadia_value_free(text);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    almadia_store *store = open_store(argv[1]);
    plain_writes(store);
    writes_with_conditions(store);
    reads(store);
    answers(store);
    transactions(store);
    status(store);
    OK(almadia_store_shutdown(store, 60000, &error));
    RETURNS(ALMADIA_CLOSED, almadia_put(store, "k", 1, "v", 1, NULL));
    almadia_store_free(store);
    puts("done");
    return 0;
}
