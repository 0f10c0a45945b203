/*
 * null_pointers.c - NULL for every pointer of every function: an error code or a documented no-op, never a crash.
 * tests/it/coverage.rs finds each parameter of the header that is missing here.
 */
#include "check.h"

/* The call returns ALMADIA_NULL_POINTER, also when its error output is NULL. */
#define REFUSES(call) CHECK_CODE(ALMADIA_NULL_POINTER, (call))

static void never(void *user, almadia_completion *completion)
{
    (void)user;
    (void)completion;
    CHECK(!"a refused call never completes");
}

static void never_event(void *user, const almadia_store_event *event)
{
    (void)user;
    (void)event;
    CHECK(!"a store that was never opened has no events");
}

static void check_getters(void)
{
    CHECK(almadia_error_code(NULL) == ALMADIA_OK && strcmp(almadia_error_message(NULL), "") == 0);
    CHECK(almadia_error_leader(NULL) == 0 && almadia_error_errno(NULL) == 0);
    CHECK(!almadia_error_maybe_applied(NULL));
    CHECK(almadia_batch_count(NULL) == 0 && almadia_batch_bytes(NULL) == 0);
    CHECK(almadia_completion_code(NULL) == ALMADIA_NULL_POINTER && almadia_completion_index(NULL) == 0);
    CHECK(almadia_completion_term(NULL) == 0 && almadia_completion_error(NULL) == NULL);
    CHECK(almadia_completion_take_snapshot(NULL) == NULL && almadia_completion_take_value(NULL) == NULL);
    CHECK(almadia_completion_take_txn(NULL) == NULL);
    CHECK(almadia_completion_take_values(NULL) == NULL && almadia_completion_user(NULL) == NULL);
    CHECK(almadia_completion_version(NULL) == 0 && almadia_value_version(NULL) == 0);
    CHECK(almadia_values_version_at(NULL, 0) == 0 && almadia_iter_version(NULL) == 0);
    CHECK(almadia_members_version(NULL) == 0 && almadia_members_count(NULL) == 0);
    CHECK(strcmp(almadia_members_unsettled(NULL), "") == 0);
    CHECK(almadia_completion_op(NULL) == 0 && almadia_cq_fd(NULL) == -1 && almadia_values_count(NULL) == 0);
    CHECK(almadia_snapshot_index(NULL) == 0 && almadia_snapshot_term(NULL) == 0);
    CHECK(almadia_value_data(NULL) == NULL && almadia_value_size(NULL) == 0);
    CHECK(!almadia_iter_first(NULL) && !almadia_iter_last(NULL) && !almadia_iter_next(NULL));
    CHECK(!almadia_iter_prev(NULL) && !almadia_iter_valid(NULL));
    CHECK(!almadia_iter_seek(NULL, "k", 1) && !almadia_iter_seek_for_prev(NULL, "k", 1));
    CHECK(almadia_iter_key(NULL).data == NULL && almadia_iter_key(NULL).size == 0);
    CHECK(almadia_iter_value(NULL).data == NULL && almadia_iter_value(NULL).size == 0);
}

static void check_no_ops(void)
{
    almadia_error_free(NULL);
    almadia_config_free(NULL);
    almadia_store_free(NULL);
    almadia_batch_free(NULL);
    almadia_batch_clear(NULL);
    almadia_snapshot_free(NULL);
    almadia_value_free(NULL);
    almadia_iter_free(NULL);
    almadia_txn_free(NULL);
    almadia_values_free(NULL);
    almadia_members_free(NULL);
    almadia_completion_free(NULL);
    almadia_cq_interrupt(NULL);
    almadia_cq_shutdown(NULL);
    almadia_cq_free(NULL);
}

static void check_configs(almadia_config *config)
{
    almadia_store *store = (almadia_store *)config;
    char buffer[64];
    size_t length = 0;

    REFUSES(almadia_config_new(ALMADIA_ABI_VERSION, NULL, NULL));
    REFUSES(almadia_config_set(NULL, "raft.tick_ms", "50", NULL));
    REFUSES(almadia_config_set(config, NULL, "50", NULL));
    REFUSES(almadia_config_set(config, "raft.tick_ms", NULL, NULL));
    REFUSES(almadia_config_get(NULL, "raft.tick_ms", buffer, sizeof buffer, &length, NULL));
    REFUSES(almadia_config_get(config, NULL, buffer, sizeof buffer, &length, NULL));
    REFUSES(almadia_config_get(config, "raft.tick_ms", NULL, sizeof buffer, &length, NULL));
    REFUSES(almadia_config_get(config, "raft.tick_ms", buffer, sizeof buffer, NULL, NULL));
    REFUSES(almadia_config_option_at(0, NULL));
    REFUSES(almadia_config_set_event_callback(NULL, never_event, &length, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_config_set_event_callback(config, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, NULL));
    REFUSES(almadia_store_open(NULL, config, &store, NULL));
    CHECK(store == NULL);
    store = (almadia_store *)config;
    REFUSES(almadia_store_open("nowhere", NULL, &store, NULL));
    CHECK(store == NULL);
    REFUSES(almadia_store_open("nowhere", config, NULL, NULL));
}

static void check_batches(almadia_batch *batch)
{
    almadia_op op = {ALMADIA_OP_PUT, 0, {"k", 1}, {"v", 1}};

    REFUSES(almadia_batch_new(NULL, NULL));
    REFUSES(almadia_batch_put(NULL, "k", 1, "v", 1, NULL));
    REFUSES(almadia_batch_put(batch, NULL, 1, "v", 1, NULL));
    REFUSES(almadia_batch_put(batch, "k", 1, NULL, 1, NULL));
    REFUSES(almadia_batch_delete(NULL, "k", 1, NULL));
    REFUSES(almadia_batch_delete(batch, NULL, 1, NULL));
    REFUSES(almadia_batch_delete_range(NULL, "a", 1, "b", 1, NULL));
    REFUSES(almadia_batch_delete_range(batch, NULL, 1, "b", 1, NULL));
    REFUSES(almadia_batch_delete_range(batch, "a", 1, NULL, 1, NULL));
    REFUSES(almadia_batch_append_ops(NULL, &op, 1, NULL));
    REFUSES(almadia_batch_append_ops(batch, NULL, 1, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_batch_append_ops(batch, NULL, 0, NULL));
    op.key.data = NULL;
    REFUSES(almadia_batch_append_ops(batch, &op, 1, NULL));
    op.key.data = "k";
    op.value.data = NULL;
    REFUSES(almadia_batch_append_ops(batch, &op, 1, NULL));
    CHECK(almadia_batch_count(batch) == 0);
}

static void check_writes(almadia_store *store, almadia_batch *batch)
{
    almadia_done done = ALMADIA_DONE_INIT, without_callback = ALMADIA_DONE_INIT;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    done.callback = never;

    REFUSES(almadia_write(NULL, batch, NULL, NULL, NULL));
    REFUSES(almadia_write(store, NULL, NULL, NULL, NULL));
    REFUSES(almadia_write_async(NULL, batch, NULL, &done, NULL));
    REFUSES(almadia_write_async(store, NULL, NULL, &done, NULL));
    REFUSES(almadia_write_async(store, batch, NULL, NULL, NULL));
    REFUSES(almadia_write_async(store, batch, NULL, &without_callback, NULL));
    options.events = ALMADIA_EVENT_COMMITTED;
    REFUSES(almadia_write_async(store, batch, &options, &done, NULL));
    REFUSES(almadia_put(NULL, "k", 1, "v", 1, NULL));
    REFUSES(almadia_put(store, NULL, 1, "v", 1, NULL));
    REFUSES(almadia_put(store, "k", 1, NULL, 1, NULL));
    REFUSES(almadia_delete(NULL, "k", 1, NULL));
    REFUSES(almadia_delete(store, NULL, 1, NULL));
    REFUSES(almadia_delete_async(NULL, "k", 1, &done, NULL));
    REFUSES(almadia_delete_async(store, NULL, 1, &done, NULL));
    REFUSES(almadia_delete_async(store, "k", 1, NULL, NULL));
    REFUSES(almadia_delete_async(store, "k", 1, &without_callback, NULL));
    REFUSES(almadia_cancel(NULL, 1, NULL));
    REFUSES(almadia_put_with(NULL, "k", 1, "v", 1, NULL, NULL, NULL));
    REFUSES(almadia_put_with(store, NULL, 1, "v", 1, NULL, NULL, NULL));
    REFUSES(almadia_put_with(store, "k", 1, NULL, 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_put_with(store, "k", 1, "v", 1, NULL, NULL, NULL));
    REFUSES(almadia_put_with_async(NULL, "k", 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_put_with_async(store, NULL, 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_put_with_async(store, "k", 1, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_put_with_async(store, "k", 1, "v", 1, NULL, NULL, NULL));
    REFUSES(almadia_put_with_async(store, "k", 1, "v", 1, NULL, &without_callback, NULL));
    REFUSES(almadia_put_with_async(store, "k", 1, "v", 1, &options, &done, NULL));
    REFUSES(almadia_delete_with(NULL, "k", 1, NULL, NULL, NULL));
    REFUSES(almadia_delete_with(store, NULL, 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_delete_with(store, "k", 1, NULL, NULL, NULL));
    REFUSES(almadia_delete_with_async(NULL, "k", 1, NULL, &done, NULL));
    REFUSES(almadia_delete_with_async(store, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_delete_with_async(store, "k", 1, NULL, NULL, NULL));
    REFUSES(almadia_delete_with_async(store, "k", 1, &options, &done, NULL));
    REFUSES(almadia_put_async(NULL, "k", 1, "v", 1, &done, NULL));
    REFUSES(almadia_put_async(store, NULL, 1, "v", 1, &done, NULL));
    REFUSES(almadia_put_async(store, "k", 1, NULL, 1, &done, NULL));
    REFUSES(almadia_put_async(store, "k", 1, "v", 1, NULL, NULL));
    REFUSES(almadia_put_async(store, "k", 1, "v", 1, &without_callback, NULL));
}

static void check_stores(almadia_store *store)
{
    almadia_status status = ALMADIA_STATUS_INIT;
    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    almadia_raft_snapshot_status moving = ALMADIA_RAFT_SNAPSHOT_STATUS_INIT;
    almadia_value *text = (almadia_value *)store;
    uint64_t leader = 0;

    REFUSES(almadia_store_shutdown(NULL, 0, NULL));
    REFUSES(almadia_store_metrics(NULL, &text, NULL));
    CHECK(text == NULL);
    REFUSES(almadia_store_metrics(store, NULL, NULL));
    REFUSES(almadia_store_status(NULL, &status, NULL));
    REFUSES(almadia_store_status(store, NULL, NULL));
    REFUSES(almadia_store_wait_leader(NULL, 0, &leader, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_store_wait_leader(store, 1000, NULL, NULL));
    CHECK(almadia_store_region_count(NULL) == 0);
    REFUSES(almadia_store_region_at(NULL, 0, &region, NULL));
    REFUSES(almadia_store_region_at(store, 0, NULL, NULL));
    REFUSES(almadia_store_raft_snapshot_at(NULL, 0, &moving, NULL));
    REFUSES(almadia_store_raft_snapshot_at(store, 0, NULL, NULL));
    REFUSES(almadia_store_wait_ready(NULL, 0, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_store_wait_ready(store, 1000, NULL));
}

static void check_members(almadia_store *store)
{
    almadia_done done = ALMADIA_DONE_INIT, without_callback = ALMADIA_DONE_INIT;
    almadia_member member = ALMADIA_MEMBER_INIT;
    almadia_member_change change = ALMADIA_MEMBER_CHANGE_INIT;
    almadia_members *members = (almadia_members *)store;
    almadia_error *error = NULL;
    done.callback = never;

    REFUSES(almadia_members_list(NULL, &members, NULL));
    CHECK(members == NULL);
    REFUSES(almadia_members_list(store, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_members_list(store, &members, NULL));
    REFUSES(almadia_members_at(NULL, 0, &member));
    REFUSES(almadia_members_at(members, 0, NULL));
    almadia_members_free(members);

    change.kind = ALMADIA_MEMBER_CHANGE_REMOVE;
    change.node_id = 1;
    REFUSES(almadia_members_change(NULL, &change, 1, 0, NULL));
    REFUSES(almadia_members_change(store, NULL, 1, 0, NULL));
    REFUSES(almadia_members_change_async(NULL, &change, 1, 0, &done, NULL));
    REFUSES(almadia_members_change_async(store, NULL, 1, 0, &done, NULL));
    REFUSES(almadia_members_change_async(store, &change, 1, 0, NULL, NULL));
    REFUSES(almadia_members_change_async(store, &change, 1, 0, &without_callback, NULL));
    const almadia_member_change_kind with_address[] = {
        ALMADIA_MEMBER_CHANGE_ADD, ALMADIA_MEMBER_CHANGE_REPLACE, ALMADIA_MEMBER_CHANGE_MOVE};
    for (size_t at = 0; at < sizeof with_address / sizeof *with_address; at++) {
        change.kind = with_address[at];
        REFUSES(almadia_members_change(store, &change, 1, 0, &error));
        CHECK(strstr(almadia_error_message(error), "almadia_member_change.address") != NULL);
        almadia_error_free(error);
    }
    /* No pointer is needed where there are no changes. */
    CHECK_CODE(ALMADIA_OK, almadia_members_change(store, NULL, 0, 10000, NULL));
}

static void check_transfers(almadia_store *store)
{
    almadia_done done = ALMADIA_DONE_INIT, without_callback = ALMADIA_DONE_INIT;
    almadia_leader_transfer_options options = ALMADIA_LEADER_TRANSFER_OPTIONS_INIT;
    done.callback = never;

    REFUSES(almadia_leader_transfer(NULL, NULL, NULL));
    REFUSES(almadia_leader_transfer_async(NULL, NULL, &done, NULL));
    REFUSES(almadia_leader_transfer_async(store, NULL, NULL, NULL));
    REFUSES(almadia_leader_transfer_async(store, NULL, &without_callback, NULL));
    options.key_length = 1;
    REFUSES(almadia_leader_transfer(store, &options, NULL));
    REFUSES(almadia_leader_transfer_async(store, &options, &done, NULL));
}

static void check_reads(almadia_store *store, almadia_snapshot *snapshot)
{
    almadia_done done = ALMADIA_DONE_INIT, without_callback = ALMADIA_DONE_INIT;
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    almadia_snapshot *made = snapshot;
    almadia_value *value = (almadia_value *)snapshot;
    char buffer[8];
    size_t length = 0;
    done.callback = never;

    REFUSES(almadia_snapshot_open(NULL, NULL, &made, NULL));
    CHECK(made == NULL);
    REFUSES(almadia_snapshot_open(store, NULL, NULL, NULL));
    options.start_length = 1;
    REFUSES(almadia_snapshot_open(store, &options, &made, NULL));
    REFUSES(almadia_snapshot_open_async(store, &options, &done, NULL));
    options.start_length = 0;
    options.end_length = 1;
    REFUSES(almadia_snapshot_open(store, &options, &made, NULL));
    REFUSES(almadia_snapshot_open_async(NULL, NULL, &done, NULL));
    REFUSES(almadia_snapshot_open_async(store, NULL, NULL, NULL));
    REFUSES(almadia_snapshot_open_async(store, NULL, &without_callback, NULL));
    REFUSES(almadia_snapshot_clone(NULL, &made, NULL));
    REFUSES(almadia_snapshot_clone(snapshot, NULL, NULL));
    REFUSES(almadia_get(NULL, "k", 1, &value, NULL));
    CHECK(value == NULL);
    REFUSES(almadia_get(store, NULL, 1, &value, NULL));
    REFUSES(almadia_get(store, "k", 1, NULL, NULL));
    REFUSES(almadia_snapshot_get(NULL, "k", 1, &value, NULL));
    REFUSES(almadia_snapshot_get(snapshot, NULL, 1, &value, NULL));
    REFUSES(almadia_snapshot_get(snapshot, "k", 1, NULL, NULL));
    REFUSES(almadia_snapshot_get_into(NULL, "k", 1, buffer, sizeof buffer, &length, NULL));
    REFUSES(almadia_snapshot_get_into(snapshot, NULL, 1, buffer, sizeof buffer, &length, NULL));
    REFUSES(almadia_snapshot_get_into(snapshot, "k", 1, NULL, sizeof buffer, &length, NULL));
    REFUSES(almadia_snapshot_get_into(snapshot, "k", 1, buffer, sizeof buffer, NULL, NULL));
}

static void check_multi_reads(almadia_store *store, almadia_snapshot *snapshot)
{
    almadia_done done = ALMADIA_DONE_INIT, without_callback = ALMADIA_DONE_INIT;
    almadia_snapshot_options range = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    almadia_slice key = {"k", 1}, broken = {NULL, 1};
    almadia_values *values = (almadia_values *)snapshot;
    almadia_value *value = (almadia_value *)snapshot;
    almadia_position position = {0, 0};
    done.callback = never;
    range.start_length = 1;

    REFUSES(almadia_get_async(NULL, "k", 1, &done, NULL));
    REFUSES(almadia_get_async(store, NULL, 1, &done, NULL));
    REFUSES(almadia_get_async(store, "k", 1, NULL, NULL));
    REFUSES(almadia_get_async(store, "k", 1, &without_callback, NULL));
    REFUSES(almadia_get_with(NULL, "k", 1, NULL, &value, &position, NULL));
    CHECK(value == NULL && position.index == 0);
    REFUSES(almadia_get_with(store, NULL, 1, NULL, &value, NULL, NULL));
    REFUSES(almadia_get_with(store, "k", 1, &range, &value, NULL, NULL));
    REFUSES(almadia_get_with(store, "k", 1, NULL, NULL, &position, NULL));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_get_with(store, "none", 4, NULL, &value, NULL, NULL));
    REFUSES(almadia_get_with_async(NULL, "k", 1, NULL, &done, NULL));
    REFUSES(almadia_get_with_async(store, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_get_with_async(store, "k", 1, &range, &done, NULL));
    REFUSES(almadia_get_with_async(store, "k", 1, NULL, NULL, NULL));
    REFUSES(almadia_get_with_async(store, "k", 1, NULL, &without_callback, NULL));
    REFUSES(almadia_multi_get(NULL, &key, 1, NULL, &values, NULL));
    CHECK(values == NULL);
    REFUSES(almadia_multi_get(store, NULL, 1, NULL, &values, NULL));
    REFUSES(almadia_multi_get(store, &broken, 1, NULL, &values, NULL));
    REFUSES(almadia_multi_get(store, &key, 1, &range, &values, NULL));
    REFUSES(almadia_multi_get(store, &key, 1, NULL, NULL, NULL));
    REFUSES(almadia_multi_get_async(NULL, &key, 1, NULL, &done, NULL));
    REFUSES(almadia_multi_get_async(store, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_multi_get_async(store, &broken, 1, NULL, &done, NULL));
    REFUSES(almadia_multi_get_async(store, &key, 1, NULL, NULL, NULL));
    REFUSES(almadia_multi_get_async(store, &key, 1, NULL, &without_callback, NULL));
    REFUSES(almadia_snapshot_multi_get(NULL, &key, 1, &values, NULL));
    REFUSES(almadia_snapshot_multi_get(snapshot, NULL, 1, &values, NULL));
    REFUSES(almadia_snapshot_multi_get(snapshot, &broken, 1, &values, NULL));
    REFUSES(almadia_snapshot_multi_get(snapshot, &key, 1, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_snapshot_multi_get(snapshot, &key, 1, &values, NULL));
    REFUSES(almadia_values_at(NULL, 0, &key));
    REFUSES(almadia_values_at(values, 0, NULL));
    almadia_values_free(values);
}

/* Of the outputs only `version`, `sum` and the key of put_versioned may be left out; and so may `options`. */
static void check_conditional_writes(almadia_store *store)
{
    almadia_value *key = NULL, *value = NULL;
    uint64_t version = 7;
    int64_t sum = 7;

    REFUSES(almadia_put_if_absent(NULL, "k", 1, "v", 1, NULL, &version, NULL));
    REFUSES(almadia_put_if_absent(store, NULL, 1, "v", 1, NULL, &version, NULL));
    REFUSES(almadia_put_if_absent(store, "k", 1, NULL, 1, NULL, &version, NULL));
    REFUSES(almadia_compare_and_set(NULL, "k", 1, 7, "v", 1, NULL, &version, NULL));
    REFUSES(almadia_compare_and_set(store, NULL, 1, 7, "v", 1, NULL, &version, NULL));
    REFUSES(almadia_compare_and_set(store, "k", 1, 7, NULL, 1, NULL, &version, NULL));
    REFUSES(almadia_compare_value_and_set(NULL, "k", 1, "o", 1, "v", 1, NULL, &version, NULL));
    REFUSES(almadia_compare_value_and_set(store, NULL, 1, "o", 1, "v", 1, NULL, &version, NULL));
    REFUSES(almadia_compare_value_and_set(store, "k", 1, NULL, 1, "v", 1, NULL, &version, NULL));
    REFUSES(almadia_compare_value_and_set(store, "k", 1, "o", 1, NULL, 1, NULL, &version, NULL));
    REFUSES(almadia_compare_and_delete(NULL, "k", 1, 7, NULL, &version, NULL));
    REFUSES(almadia_compare_and_delete(store, NULL, 1, 7, NULL, &version, NULL));
    REFUSES(almadia_compare_value_and_delete(NULL, "k", 1, "o", 1, NULL, &version, NULL));
    REFUSES(almadia_compare_value_and_delete(store, NULL, 1, "o", 1, NULL, &version, NULL));
    REFUSES(almadia_compare_value_and_delete(store, "k", 1, NULL, 1, NULL, &version, NULL));
    REFUSES(almadia_pop(NULL, "k", 1, NULL, &value, NULL));
    REFUSES(almadia_pop(store, NULL, 1, NULL, &value, NULL));
    REFUSES(almadia_pop(store, "k", 1, NULL, NULL, NULL));
    REFUSES(almadia_take_first(NULL, "a", 1, "b", 1, NULL, &key, &value, NULL));
    REFUSES(almadia_take_first(store, NULL, 1, "b", 1, NULL, &key, &value, NULL));
    REFUSES(almadia_take_first(store, "a", 1, NULL, 1, NULL, &key, &value, NULL));
    REFUSES(almadia_take_first(store, "a", 1, "b", 1, NULL, NULL, &value, NULL));
    REFUSES(almadia_take_first(store, "a", 1, "b", 1, NULL, &key, NULL, NULL));
    REFUSES(almadia_add(NULL, "k", 1, 1, NULL, &sum, NULL));
    REFUSES(almadia_add(store, NULL, 1, 1, NULL, &sum, NULL));
    REFUSES(almadia_put_versioned(NULL, "p", 1, "v", 1, NULL, &key, NULL));
    REFUSES(almadia_put_versioned(store, NULL, 1, "v", 1, NULL, &key, NULL));
    REFUSES(almadia_put_versioned(store, "p", 1, NULL, 1, NULL, &key, NULL));
    CHECK(version == 7 && sum == 7 && key == NULL && value == NULL);
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED, almadia_compare_and_set(store, "k", 1, 7, "v", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_put_if_absent(store, "k", 1, "o", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_compare_value_and_set(store, "k", 1, "o", 1, "v", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_compare_value_and_delete(store, "k", 1, "v", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_compare_and_delete(store, "k", 1, 0, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_add(store, "sum", 3, 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_put_versioned(store, "p", 1, "v", 1, NULL, NULL, NULL));
}

static void check_conditional_writes_async(almadia_store *store)
{
    almadia_done done = ALMADIA_DONE_INIT, without_callback = ALMADIA_DONE_INIT;
    done.callback = never;

    REFUSES(almadia_put_if_absent_async(NULL, "k", 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_put_if_absent_async(store, NULL, 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_put_if_absent_async(store, "k", 1, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_put_if_absent_async(store, "k", 1, "v", 1, NULL, NULL, NULL));
    REFUSES(almadia_put_if_absent_async(store, "k", 1, "v", 1, NULL, &without_callback, NULL));
    REFUSES(almadia_compare_and_set_async(NULL, "k", 1, 7, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_compare_and_set_async(store, NULL, 1, 7, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_compare_and_set_async(store, "k", 1, 7, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_compare_and_set_async(store, "k", 1, 7, "v", 1, NULL, NULL, NULL));
    REFUSES(almadia_compare_and_set_async(store, "k", 1, 7, "v", 1, NULL, &without_callback, NULL));
    REFUSES(almadia_compare_value_and_set_async(NULL, "k", 1, "o", 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_compare_value_and_set_async(store, NULL, 1, "o", 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_compare_value_and_set_async(store, "k", 1, NULL, 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_compare_value_and_set_async(store, "k", 1, "o", 1, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_compare_value_and_set_async(store, "k", 1, "o", 1, "v", 1, NULL, NULL, NULL));
    REFUSES(almadia_compare_value_and_set_async(store, "k", 1, "o", 1, "v", 1, NULL, &without_callback, NULL));
    REFUSES(almadia_compare_and_delete_async(NULL, "k", 1, 7, NULL, &done, NULL));
    REFUSES(almadia_compare_and_delete_async(store, NULL, 1, 7, NULL, &done, NULL));
    REFUSES(almadia_compare_and_delete_async(store, "k", 1, 7, NULL, NULL, NULL));
    REFUSES(almadia_compare_and_delete_async(store, "k", 1, 7, NULL, &without_callback, NULL));
    REFUSES(almadia_compare_value_and_delete_async(NULL, "k", 1, "o", 1, NULL, &done, NULL));
    REFUSES(almadia_compare_value_and_delete_async(store, NULL, 1, "o", 1, NULL, &done, NULL));
    REFUSES(almadia_compare_value_and_delete_async(store, "k", 1, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_compare_value_and_delete_async(store, "k", 1, "o", 1, NULL, NULL, NULL));
    REFUSES(almadia_compare_value_and_delete_async(store, "k", 1, "o", 1, NULL, &without_callback, NULL));
    REFUSES(almadia_pop_async(NULL, "k", 1, NULL, &done, NULL));
    REFUSES(almadia_pop_async(store, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_pop_async(store, "k", 1, NULL, NULL, NULL));
    REFUSES(almadia_pop_async(store, "k", 1, NULL, &without_callback, NULL));
    REFUSES(almadia_take_first_async(NULL, "a", 1, "b", 1, NULL, &done, NULL));
    REFUSES(almadia_take_first_async(store, NULL, 1, "b", 1, NULL, &done, NULL));
    REFUSES(almadia_take_first_async(store, "a", 1, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_take_first_async(store, "a", 1, "b", 1, NULL, NULL, NULL));
    REFUSES(almadia_take_first_async(store, "a", 1, "b", 1, NULL, &without_callback, NULL));
    REFUSES(almadia_add_async(NULL, "k", 1, 1, NULL, &done, NULL));
    REFUSES(almadia_add_async(store, NULL, 1, 1, NULL, &done, NULL));
    REFUSES(almadia_add_async(store, "k", 1, 1, NULL, NULL, NULL));
    REFUSES(almadia_add_async(store, "k", 1, 1, NULL, &without_callback, NULL));
    REFUSES(almadia_put_versioned_async(NULL, "p", 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_put_versioned_async(store, NULL, 1, "v", 1, NULL, &done, NULL));
    REFUSES(almadia_put_versioned_async(store, "p", 1, NULL, 1, NULL, &done, NULL));
    REFUSES(almadia_put_versioned_async(store, "p", 1, "v", 1, NULL, NULL, NULL));
    REFUSES(almadia_put_versioned_async(store, "p", 1, "v", 1, NULL, &without_callback, NULL));
}

static void check_conditions(almadia_batch *batch, almadia_snapshot *snapshot)
{
    almadia_range_digest seen = ALMADIA_RANGE_DIGEST_INIT;

    REFUSES(almadia_batch_if_absent(NULL, "k", 1, NULL));
    REFUSES(almadia_batch_if_absent(batch, NULL, 1, NULL));
    REFUSES(almadia_batch_if_present(NULL, "k", 1, NULL));
    REFUSES(almadia_batch_if_present(batch, NULL, 1, NULL));
    REFUSES(almadia_batch_if_version(NULL, "k", 1, 7, NULL));
    REFUSES(almadia_batch_if_version(batch, NULL, 1, 7, NULL));
    REFUSES(almadia_batch_if_value(NULL, "k", 1, "v", 1, NULL));
    REFUSES(almadia_batch_if_value(batch, NULL, 1, "v", 1, NULL));
    REFUSES(almadia_batch_if_value(batch, "k", 1, NULL, 1, NULL));
    REFUSES(almadia_batch_if_range(NULL, "a", 1, "b", 1, &seen, NULL));
    REFUSES(almadia_batch_if_range(batch, NULL, 1, "b", 1, &seen, NULL));
    REFUSES(almadia_batch_if_range(batch, "a", 1, NULL, 1, &seen, NULL));
    REFUSES(almadia_batch_if_range(batch, "a", 1, "b", 1, NULL, NULL));
    REFUSES(almadia_batch_otherwise(NULL, NULL));
    REFUSES(almadia_batch_add(NULL, "k", 1, 1, NULL));
    REFUSES(almadia_batch_add(batch, NULL, 1, 1, NULL));
    REFUSES(almadia_batch_put_versioned(NULL, "p", 1, "v", 1, NULL));
    REFUSES(almadia_batch_put_versioned(batch, NULL, 1, "v", 1, NULL));
    REFUSES(almadia_batch_put_versioned(batch, "p", 1, NULL, 1, NULL));
    REFUSES(almadia_batch_pop(NULL, "k", 1, NULL));
    REFUSES(almadia_batch_pop(batch, NULL, 1, NULL));
    REFUSES(almadia_batch_take_first(NULL, "a", 1, "b", 1, NULL));
    REFUSES(almadia_batch_take_first(batch, NULL, 1, "b", 1, NULL));
    REFUSES(almadia_batch_take_first(batch, "a", 1, NULL, 1, NULL));
    CHECK(almadia_batch_count(batch) == 0);
    REFUSES(almadia_snapshot_digest(NULL, "a", 1, "b", 1, &seen, NULL));
    REFUSES(almadia_snapshot_digest(snapshot, NULL, 1, "b", 1, &seen, NULL));
    REFUSES(almadia_snapshot_digest(snapshot, "a", 1, NULL, 1, &seen, NULL));
    REFUSES(almadia_snapshot_digest(snapshot, "a", 1, "b", 1, NULL, NULL));
}

static void check_written(almadia_store *store)
{
    almadia_precondition failed = ALMADIA_PRECONDITION_INIT;
    almadia_op_result result = ALMADIA_OP_RESULT_INIT;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    almadia_written *written = NULL;
    almadia_error *error = NULL;

    CHECK(almadia_written_version(NULL) == 0 && !almadia_written_succeeded(NULL) && almadia_written_count(NULL) == 0);
    CHECK(almadia_written_position(NULL).index == 0 && almadia_completion_take_written(NULL) == NULL);
    almadia_written_free(NULL);
    REFUSES(almadia_written_failed(NULL, &failed));
    REFUSES(almadia_written_at(NULL, 0, &result));
    REFUSES(almadia_error_precondition(NULL, &failed));
    options.written = &written;
    CHECK_CODE(ALMADIA_OK, almadia_add(store, "sum", 3, 1, &options, NULL, NULL));
    REFUSES(almadia_written_at(written, 0, NULL));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_written_failed(written, NULL));
    almadia_written_free(written);
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED, almadia_put_if_absent(store, "sum", 3, "", 0, &options, NULL, &error));
    CHECK(written == NULL);
    REFUSES(almadia_error_precondition(error, NULL));
    almadia_error_free(error);
}

static void check_queues(void)
{
    almadia_cq *cq = NULL;
    almadia_completion *completion = NULL;
    size_t count = 7;

    REFUSES(almadia_cq_new(NULL, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_cq_new(&cq, NULL));
    REFUSES(almadia_cq_pop(NULL, &completion, 1, &count, 0, NULL));
    REFUSES(almadia_cq_pop(cq, NULL, 1, &count, 0, NULL));
    REFUSES(almadia_cq_pop(cq, &completion, 1, NULL, 0, NULL));
    almadia_cq_free(cq);
}

static void check_iterators(almadia_snapshot *snapshot)
{
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    almadia_iter *iter = (almadia_iter *)snapshot;
    almadia_kv pair;
    uint64_t version = 7;
    size_t count = 7;

    REFUSES(almadia_iter_new(NULL, NULL, &iter, NULL));
    CHECK(iter == NULL);
    REFUSES(almadia_iter_new(snapshot, NULL, NULL, NULL));
    options.lower_length = 1;
    REFUSES(almadia_iter_new(snapshot, &options, &iter, NULL));
    options.lower_length = 0;
    options.upper_length = 1;
    REFUSES(almadia_iter_new(snapshot, &options, &iter, NULL));
    options.upper_length = 0;
    options.prefix_length = 1;
    REFUSES(almadia_iter_new(snapshot, &options, &iter, NULL));

    CHECK_CODE(ALMADIA_OK, almadia_iter_new(snapshot, NULL, &iter, NULL));
    CHECK(!almadia_iter_seek(iter, NULL, 1) && !almadia_iter_seek_for_prev(iter, NULL, 1));
    REFUSES(almadia_iter_code(NULL, NULL));
    REFUSES(almadia_iter_next_n(NULL, &pair, 1, &count, NULL));
    CHECK(count == 0);
    REFUSES(almadia_iter_next_n(iter, NULL, 1, &count, NULL));
    REFUSES(almadia_iter_next_n(iter, &pair, 1, NULL, NULL));
    count = 7;
    REFUSES(almadia_iter_next_n_versions(NULL, &pair, &version, 1, &count, NULL));
    CHECK(count == 0);
    REFUSES(almadia_iter_next_n_versions(iter, NULL, &version, 1, &count, NULL));
    REFUSES(almadia_iter_next_n_versions(iter, &pair, NULL, 1, &count, NULL));
    REFUSES(almadia_iter_next_n_versions(iter, &pair, &version, 1, NULL, NULL));
    CHECK(version == 7);
    almadia_iter_free(iter);
}

static almadia_code never_run(void *user, almadia_txn *txn)
{
    (void)user;
    (void)txn;
    CHECK(!"a refused call runs no body");
    return ALMADIA_OK;
}

static void check_begins(almadia_store *store)
{
    almadia_done done = ALMADIA_DONE_INIT, without_callback = ALMADIA_DONE_INIT;
    almadia_txn_options options = ALMADIA_TXN_OPTIONS_INIT;
    almadia_txn *txn = (almadia_txn *)store;
    done.callback = never;

    REFUSES(almadia_txn_begin(NULL, NULL, &txn, NULL));
    CHECK(txn == NULL);
    REFUSES(almadia_txn_begin(store, NULL, NULL, NULL));
    REFUSES(almadia_txn_begin_async(NULL, NULL, &done, NULL));
    REFUSES(almadia_txn_begin_async(store, NULL, NULL, NULL));
    REFUSES(almadia_txn_begin_async(store, NULL, &without_callback, NULL));
    REFUSES(almadia_transact(NULL, NULL, never_run, NULL, NULL));
    REFUSES(almadia_transact(store, NULL, NULL, NULL, NULL));
    options.key_length = 1;
    REFUSES(almadia_txn_begin(store, &options, &txn, NULL));
    REFUSES(almadia_txn_begin_async(store, &options, &done, NULL));
    REFUSES(almadia_transact(store, &options, never_run, NULL, NULL));
}

static void check_transactions(almadia_store *store)
{
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_conflict conflict = ALMADIA_CONFLICT_INIT;
    almadia_txn *txn = NULL;
    almadia_value *value = (almadia_value *)store;
    almadia_iter *iter = (almadia_iter *)store;
    almadia_error *error = NULL;
    done.callback = never;

    CHECK_CODE(ALMADIA_OK, almadia_txn_begin(store, NULL, &txn, NULL));
    REFUSES(almadia_txn_get(NULL, "k", 1, &value, NULL));
    CHECK(value == NULL);
    REFUSES(almadia_txn_get(txn, NULL, 1, &value, NULL));
    REFUSES(almadia_txn_get(txn, "k", 1, NULL, NULL));
    REFUSES(almadia_txn_get_exempt(NULL, "k", 1, &value, NULL));
    REFUSES(almadia_txn_get_exempt(txn, NULL, 1, &value, NULL));
    REFUSES(almadia_txn_get_exempt(txn, "k", 1, NULL, NULL));
    REFUSES(almadia_txn_iter(NULL, NULL, &iter, NULL));
    CHECK(iter == NULL);
    REFUSES(almadia_txn_iter(txn, NULL, NULL, NULL));
    REFUSES(almadia_txn_iter_exempt(NULL, NULL, &iter, NULL));
    REFUSES(almadia_txn_iter_exempt(txn, NULL, NULL, NULL));
    REFUSES(almadia_txn_put(NULL, "k", 1, "v", 1, NULL));
    REFUSES(almadia_txn_put(txn, NULL, 1, "v", 1, NULL));
    REFUSES(almadia_txn_put(txn, "k", 1, NULL, 1, NULL));
    REFUSES(almadia_txn_delete(NULL, "k", 1, NULL));
    REFUSES(almadia_txn_delete(txn, NULL, 1, NULL));
    REFUSES(almadia_txn_delete_range(NULL, "k", 1, "l", 1, NULL));
    REFUSES(almadia_txn_delete_range(txn, NULL, 1, "l", 1, NULL));
    REFUSES(almadia_txn_delete_range(txn, "k", 1, NULL, 1, NULL));
    REFUSES(almadia_txn_commit(NULL, NULL, NULL));
    REFUSES(almadia_txn_commit_async(NULL, txn, NULL, &done, NULL));
    REFUSES(almadia_txn_commit_async(store, NULL, NULL, &done, NULL));
    REFUSES(almadia_txn_commit_async(store, txn, NULL, NULL, NULL));
    REFUSES(almadia_error_conflict(NULL, &conflict));
    /* None of them has ended it. */
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_txn_get(txn, "conflict", 8, &value, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_txn_put(txn, "conflict", 8, NULL, 0, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_put(store, "conflict", 8, NULL, 0, NULL));
    CHECK_CODE(ALMADIA_CONFLICT, almadia_txn_commit(txn, NULL, &error));
    REFUSES(almadia_error_conflict(error, NULL));
    almadia_error_free(error);
    almadia_txn_free(txn);
}

static void an_error_names_the_pointer(void)
{
    almadia_error *error = NULL;
    REFUSES(almadia_batch_put(NULL, "k", 1, "v", 1, &error));
    CHECK(almadia_error_code(error) == ALMADIA_NULL_POINTER);
    CHECK(strstr(almadia_error_message(error), "batch") != NULL);
    almadia_error_free(error);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_config *config = NULL;
    almadia_batch *batch = NULL;
    almadia_snapshot *snapshot = NULL;

    check_getters();
    check_no_ops();
    an_error_names_the_pointer();
    CHECK_CODE(ALMADIA_OK, almadia_config_new(ALMADIA_ABI_VERSION, &config, NULL));
    check_configs(config);
    almadia_config_free(config);
    CHECK_CODE(ALMADIA_OK, almadia_batch_new(&batch, NULL));
    check_batches(batch);

    almadia_store *store = open_single(argv[1]);
    check_stores(store);
    check_transfers(store);
    check_members(store);
    check_writes(store, batch);
    CHECK_CODE(ALMADIA_OK, almadia_snapshot_open(store, NULL, &snapshot, NULL));
    check_reads(store, snapshot);
    check_multi_reads(store, snapshot);
    check_conditions(batch, snapshot);
    check_conditional_writes(store);
    check_conditional_writes_async(store);
    check_written(store);
    check_queues();
    check_iterators(snapshot);
    check_begins(store);
    check_transactions(store);
    almadia_snapshot_free(snapshot);
    almadia_batch_free(batch);
    almadia_store_free(store);
    return 0;
}
