/*
 * every_function.c - calls the functions of the header on a cluster of one member. queue.c has the rest: queues, async
 * reads, reads of many keys, cancellation, metrics, and the log and event callbacks; transfer.c has leader transfers, members.c changes of members.
 */
#include "check.h"

#include <pthread.h>

static void versions_and_codes(void)
{
    CHECK(strcmp(almadia_version_string(), ALMADIA_VERSION_STRING) == 0);
    CHECK(almadia_version_number() == ALMADIA_VERSION_NUMBER);
    CHECK(almadia_abi_version() == ALMADIA_ABI_VERSION);
    CHECK(strcmp(almadia_code_name(ALMADIA_NOT_FOUND), "ALMADIA_NOT_FOUND") == 0);
    CHECK(strlen(almadia_code_message(ALMADIA_NOT_FOUND)) > 0);
    CHECK(almadia_code_is_retryable(ALMADIA_OVERLOADED) && !almadia_code_is_retryable(ALMADIA_TIMEOUT));
    CHECK(almadia_code_maybe_applied(ALMADIA_TIMEOUT) && !almadia_code_maybe_applied(ALMADIA_OVERLOADED));
}

static void options_can_be_listed_set_and_read(almadia_config *config)
{
    almadia_error *error = NULL;
    size_t count = almadia_config_option_count();
    CHECK(count > 10);

    for (size_t index = 0; index < count; index++) {
        almadia_option option = ALMADIA_OPTION_INIT;
        char value[256];
        size_t length = 0;
        CHECK_CODE(ALMADIA_OK, almadia_config_option_at(index, &option));
        CHECK(option.struct_size == sizeof option && strlen(option.type_text) > 0 && strlen(option.doc) > 0);
        CHECK_OK(almadia_config_set(config, option.name, option.default_value, &error));
        CHECK_OK(almadia_config_get(config, option.name, value, sizeof value, &length, &error));
        CHECK(length == strlen(value) && strcmp(value, option.default_value) == 0);
    }
    almadia_option option = ALMADIA_OPTION_INIT;
    CHECK_CODE(ALMADIA_END, almadia_config_option_at(count, &option));
}

static void an_error_says_what_it_is_about(almadia_config *config)
{
    almadia_error *error = NULL;
    CHECK_CODE(ALMADIA_INVALID_CONFIG, almadia_config_set(config, "raft.tick_msec", "5", &error));
    CHECK(almadia_error_code(error) == ALMADIA_INVALID_CONFIG);
    CHECK(strstr(almadia_error_message(error), "raft.tick_msec") != NULL);
    CHECK(almadia_error_leader(error) == 0 && almadia_error_errno(error) == 0);
    CHECK(!almadia_error_maybe_applied(error));
    almadia_error_free(error);
}

static void batches(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_position first = {0, 0}, second = {0, 0};
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.timeout_ms = 10000;

    CHECK_OK(almadia_batch_new(&batch, &error));
    size_t empty_bytes = almadia_batch_bytes(batch);
    CHECK_OK(almadia_batch_put(batch, "a", 1, "1", 1, &error));
    CHECK_OK(almadia_batch_put(batch, "b", 1, "2", 1, &error));
    CHECK_OK(almadia_batch_put(batch, "c", 1, "3", 1, &error));
    CHECK(almadia_batch_count(batch) == 3 && almadia_batch_bytes(batch) >= empty_bytes + 6);
    CHECK_OK(almadia_write(store, batch, &options, &first, &error));
    CHECK(almadia_batch_count(batch) == 0 && first.index > 0 && first.term > 0);

    CHECK_OK(almadia_batch_put(batch, "d", 1, "4", 1, &error));
    almadia_batch_clear(batch);
    CHECK(almadia_batch_count(batch) == 0);
    CHECK_OK(almadia_batch_delete(batch, "a", 1, &error));
    CHECK_OK(almadia_batch_delete_range(batch, "b", 1, "c", 1, &error));
    CHECK_OK(almadia_write(store, batch, NULL, &second, &error));
    CHECK(second.index > first.index);
    CHECK(holds(store, "a", NULL) && holds(store, "b", NULL) && holds(store, "c", "3") && holds(store, "d", NULL));
    almadia_batch_free(batch);
}

static void one_operation(almadia_store *store)
{
    almadia_error *error = NULL;
    CHECK_OK(almadia_put(store, "single", 6, "value", 5, &error));
    CHECK(holds(store, "single", "value"));
    CHECK_OK(almadia_delete(store, "single", 6, &error));
    CHECK(holds(store, "single", NULL));
}

static void one_operation_with_options(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_position put = {0, 0}, read = {0, 0}, removed = {0, 0};
    almadia_write_options write = ALMADIA_WRITE_OPTIONS_INIT;
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    write.timeout_ms = options.timeout_ms = 10000;

    CHECK_OK(almadia_put_with(store, "with", 4, "value", 5, &write, &put, &error));
    CHECK(put.index > 0 && put.term > 0);
    options.level = ALMADIA_LEVEL_LOCAL;
    options.min_index = put.index;
    CHECK_OK(almadia_get_with(store, "with", 4, &options, &value, &read, &error));
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "value"));
    CHECK(read.index >= put.index && read.term >= put.term);
    almadia_value_free(value);
    CHECK_OK(almadia_delete_with(store, "with", 4, &write, &removed, &error));
    CHECK(removed.index > read.index);
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_get_with(store, "with", 4, NULL, &value, &read, &error));
    CHECK(value == NULL && error == NULL && read.index >= removed.index);
}

static void snapshots(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL, *clone = NULL;
    almadia_value *value = NULL;
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    char buffer[8] = "........";
    size_t length = 0;

    options.level = ALMADIA_LEVEL_LOCAL;
    put_text(store, "key", "before");
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    put_text(store, "key", "after");

    CHECK_OK(almadia_snapshot_clone(snapshot, &clone, &error));
    CHECK(almadia_snapshot_index(clone) == almadia_snapshot_index(snapshot) && almadia_snapshot_index(clone) > 0);
    CHECK(almadia_snapshot_term(clone) == almadia_snapshot_term(snapshot) && almadia_snapshot_term(clone) > 0);
    almadia_snapshot_free(snapshot);
    CHECK_OK(almadia_snapshot_get(clone, "key", 3, &value, &error));
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "before"));
    almadia_value_free(value);
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_snapshot_get(clone, "none", 4, &value, &error));
    CHECK(value == NULL && error == NULL);
    CHECK_OK(almadia_snapshot_get_into(clone, "key", 3, buffer, sizeof buffer, &length, &error));
    CHECK(length == 6 && memcmp(buffer, "before..", 8) == 0);
    almadia_snapshot_free(clone);

    CHECK_OK(almadia_snapshot_open(store, &options, &snapshot, &error));
    CHECK_OK(almadia_snapshot_get_into(snapshot, "key", 3, buffer, sizeof buffer, &length, &error));
    CHECK(length == 5 && memcmp(buffer, "after", 5) == 0);
    almadia_snapshot_free(snapshot);
}

static void iterators(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_iter *iter = NULL;
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    almadia_kv pairs[4];
    size_t count = 0;

    options.prefix = "it";
    options.prefix_length = 2;
    put_text(store, "it1", "one");
    put_text(store, "it2", "two");
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_OK(almadia_iter_new(snapshot, &options, &iter, &error));
    CHECK(!almadia_iter_valid(iter));
    CHECK(almadia_iter_first(iter) && almadia_iter_valid(iter));
    CHECK(is_text(almadia_iter_key(iter).data, almadia_iter_key(iter).size, "it1"));
    CHECK(almadia_iter_next(iter));
    CHECK(is_text(almadia_iter_value(iter).data, almadia_iter_value(iter).size, "two"));
    CHECK(almadia_iter_prev(iter) && almadia_iter_last(iter) && !almadia_iter_next(iter));
    CHECK_OK(almadia_iter_code(iter, &error));
    CHECK(almadia_iter_seek(iter, "it15", 4));
    CHECK(is_text(almadia_iter_key(iter).data, almadia_iter_key(iter).size, "it2"));
    CHECK(almadia_iter_seek_for_prev(iter, "it15", 4));
    CHECK(is_text(almadia_iter_key(iter).data, almadia_iter_key(iter).size, "it1"));
    CHECK_OK(almadia_iter_next_n(iter, pairs, 4, &count, &error));
    CHECK(count == 2 && is_text(pairs[1].value.data, pairs[1].value.size, "two"));
    CHECK_CODE(ALMADIA_END, almadia_iter_next_n(iter, pairs, 4, &count, &error));
    CHECK(count == 0 && error == NULL);
    almadia_iter_free(iter);
    almadia_snapshot_free(snapshot);
}

/* What the callback of `completions` records. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int answered;
    uint64_t index, term;
    almadia_snapshot *snapshot;
} seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, NULL};

static void on_done(void *user, almadia_completion *completion)
{
    CHECK(user == &seen);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK(almadia_completion_error(completion) == NULL);
    almadia_snapshot *snapshot = almadia_completion_take_snapshot(completion);
    pthread_mutex_lock(&seen.lock);
    seen.answered++;
    seen.index = almadia_completion_index(completion);
    seen.term = almadia_completion_term(completion);
    seen.snapshot = snapshot;
    pthread_cond_signal(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void wait_for(int answers)
{
    pthread_mutex_lock(&seen.lock);
    while (seen.answered < answers)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
}

static void completions(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = on_done;
    done.user = &seen;

    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_put(batch, "async", 5, "batch", 5, &error));
    CHECK_OK(almadia_write_async(store, batch, NULL, &done, &error));
    CHECK(almadia_batch_count(batch) == 0);
    wait_for(1);
    CHECK(seen.index > 0 && seen.term > 0 && seen.snapshot == NULL && holds(store, "async", "batch"));
    CHECK_OK(almadia_put_async(store, "async", 5, "put", 3, &done, &error));
    wait_for(2);
    CHECK(holds(store, "async", "put"));
    CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    wait_for(3);
    CHECK(seen.snapshot != NULL && almadia_snapshot_index(seen.snapshot) == seen.index);
    almadia_snapshot_free(seen.snapshot);
    CHECK_OK(almadia_put_with_async(store, "async", 5, "with", 4, NULL, &done, &error));
    wait_for(4);
    uint64_t put = seen.index;
    CHECK(put > 0 && seen.term > 0 && holds(store, "async", "with"));
    CHECK_OK(almadia_get_with_async(store, "async", 5, NULL, &done, &error));
    wait_for(5);
    CHECK(seen.index >= put && seen.term > 0);
    CHECK_OK(almadia_delete_with_async(store, "async", 5, NULL, &done, &error));
    wait_for(6);
    CHECK(seen.index > put && holds(store, "async", NULL));
    almadia_batch_free(batch);
}

static void status_shows_the_state_of_the_member(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_status status = ALMADIA_STATUS_INIT;
    CHECK_OK(almadia_store_status(store, &status, &error));
    CHECK(status.struct_size == sizeof status && status.node_id == 1 && status.leader_id == 1);
    CHECK(status.role == ALMADIA_ROLE_LEADER && status.poisoned == ALMADIA_OK && status.term > 0);
    CHECK(status.applied_index > 0 && status.applied_index <= status.commit_index);
    CHECK(status.commit_index <= status.last_index && status.live_snapshots == 0);

    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    CHECK(almadia_store_region_count(store) == 1);
    CHECK_OK(almadia_store_region_at(store, 0, &region, &error));
    CHECK(region.region_id == 1 && region.leader_id == 1 && region.role == ALMADIA_ROLE_LEADER);
    CHECK(region.start_key.size == 0 && region.end_key.size == 0 && region.last_index >= status.last_index);
    CHECK(region.feature_level == 2 && region.installing == 0 && region.helped == 0);

    CHECK(status.snapshots_sending == 0 && status.snapshots_receiving == 0);
    almadia_raft_snapshot_status moving = ALMADIA_RAFT_SNAPSHOT_STATUS_INIT;
    moving.to_id = 7;
    CHECK_CODE(ALMADIA_END, almadia_store_raft_snapshot_at(store, 0, &moving, &error));
    CHECK(error == NULL && moving.struct_size == sizeof moving && moving.to_id == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    almadia_config *config = NULL;

    versions_and_codes();
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    options_can_be_listed_set_and_read(config);
    an_error_says_what_it_is_about(config);
    almadia_config_free(config);

    almadia_store *store = open_single(argv[1]);
    batches(store);
    one_operation(store);
    one_operation_with_options(store);
    snapshots(store);
    iterators(store);
    completions(store);
    status_shows_the_state_of_the_member(store);
    CHECK_OK(almadia_store_shutdown(store, 60000, &error));
    CHECK_CODE(ALMADIA_CLOSED, almadia_put(store, "k", 1, "v", 1, NULL));
    almadia_store_free(store);
    return 0;
}
