/* limits.c - sizes at a limit and one past it, arbitrary bytes, other ABI versions, and structs of other versions. */
#include "check.h"

static void another_abi_version_is_refused(void)
{
    almadia_error *error = NULL;
    almadia_config *config = (almadia_config *)&error;
    CHECK_CODE(ALMADIA_ABI_MISMATCH, almadia_config_new(ALMADIA_ABI_VERSION + 1, &config, &error));
    CHECK(config == NULL && almadia_error_code(error) == ALMADIA_ABI_MISMATCH);
    almadia_error_free(error);
    CHECK_CODE(ALMADIA_ABI_MISMATCH, almadia_config_new(0, &config, NULL));
}

static void a_buffer_for_an_option_needs_room_for_the_nul(void)
{
    almadia_config *config = NULL;
    char buffer[8];
    size_t length = 0;
    CHECK_CODE(ALMADIA_OK, almadia_config_new(ALMADIA_ABI_VERSION, &config, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_config_set(config, "cluster.name", "four", NULL));
    CHECK_CODE(ALMADIA_BUFFER_TOO_SMALL, almadia_config_get(config, "cluster.name", NULL, 0, &length, NULL));
    CHECK(length == 4);
    CHECK_CODE(ALMADIA_BUFFER_TOO_SMALL, almadia_config_get(config, "cluster.name", buffer, 4, &length, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_config_get(config, "cluster.name", buffer, 5, &length, NULL));
    CHECK(strcmp(buffer, "four") == 0);
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_config_set(config, "cluster.name", "\xff", NULL));
    almadia_config_free(config);
}

static void keys_values_and_batches_have_exact_limits(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_value *value = NULL;
    char *bytes = calloc(1, ALMADIA_BATCH_BYTES_MAX);
    CHECK(bytes != NULL);

    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_put(batch, bytes, ALMADIA_KEY_BYTES_MAX + 1, "", 0, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_put(batch, "k", 1, bytes, ALMADIA_VALUE_BYTES_MAX + 1, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_delete(batch, bytes, ALMADIA_KEY_BYTES_MAX + 1, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_put(store, bytes, ALMADIA_KEY_BYTES_MAX + 1, "", 0, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_put(store, "k", 1, bytes, ALMADIA_VALUE_BYTES_MAX + 1, NULL));
    CHECK(almadia_batch_count(batch) == 0);

    CHECK_OK(almadia_batch_put(batch, bytes, ALMADIA_KEY_BYTES_MAX, bytes, ALMADIA_VALUE_BYTES_MAX, &error));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_put(batch, "k", 1, bytes, 64 * 1024, NULL));
    CHECK(almadia_batch_count(batch) == 1 && almadia_batch_bytes(batch) <= ALMADIA_BATCH_BYTES_MAX);
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK_OK(almadia_get(store, bytes, ALMADIA_KEY_BYTES_MAX, &value, &error));
    CHECK(almadia_value_size(value) == ALMADIA_VALUE_BYTES_MAX);
    CHECK(memcmp(almadia_value_data(value), bytes, ALMADIA_VALUE_BYTES_MAX) == 0);
    almadia_value_free(value);
    almadia_batch_free(batch);
    free(bytes);
}

/* An operation counts with the longest header it can have, so the last few bytes of a batch may stay unused. */
enum { SLACK = 10 };

/* Once a batch is full, nothing more fits, not even an operation without bytes, however it is added. */
static void a_batch_can_be_filled_to_its_limit(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    char *bytes = calloc(1, ALMADIA_BATCH_BYTES_MAX);
    CHECK(bytes != NULL);
    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_put(batch, "full", 4, bytes, ALMADIA_VALUE_BYTES_MAX, &error));
    size_t length = ALMADIA_BATCH_BYTES_MAX - almadia_batch_bytes(batch), refused = 0;
    almadia_code code;
    CHECK(length > 64 && length < ALMADIA_VALUE_BYTES_MAX);
    while ((code = almadia_batch_put(batch, "rest", 4, bytes, length, NULL)) == ALMADIA_TOO_LARGE) {
        CHECK(almadia_batch_count(batch) == 1 && ++refused < 64);
        length--;
    }
    CHECK_CODE(ALMADIA_OK, code);
    CHECK(almadia_batch_bytes(batch) <= ALMADIA_BATCH_BYTES_MAX && almadia_batch_count(batch) == 2);
    CHECK(almadia_batch_bytes(batch) + SLACK >= ALMADIA_BATCH_BYTES_MAX);
    size_t full = almadia_batch_bytes(batch);

    almadia_op op = {ALMADIA_OP_DELETE, 0, {NULL, 0}, {NULL, 0}};
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_put(batch, NULL, 0, NULL, 0, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_delete(batch, NULL, 0, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_delete_range(batch, NULL, 0, NULL, 0, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_append_ops(batch, &op, 1, NULL));
    CHECK(almadia_batch_bytes(batch) == full && almadia_batch_count(batch) == 2);
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK(almadia_batch_count(batch) == 0);
    almadia_batch_free(batch);
    free(bytes);
}

/* Operations without bytes count too, however they are added. After a refusal the batch can still be written. */
static void a_batch_has_a_limit_of_operations(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_op ops[2] = {{ALMADIA_OP_PUT, 0, {"", 0}, {"", 0}}, {ALMADIA_OP_PUT, 0, {"", 0}, {"", 0}}};
    CHECK_OK(almadia_batch_new(&batch, &error));
    for (size_t count = 1; count < ALMADIA_BATCH_OPERATIONS_MAX; count++)
        CHECK_OK(almadia_batch_put(batch, NULL, 0, NULL, 0, &error));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_append_ops(batch, ops, 2, NULL));
    CHECK(almadia_batch_count(batch) == ALMADIA_BATCH_OPERATIONS_MAX - 1);
    CHECK_OK(almadia_batch_append_ops(batch, ops, 1, &error));

    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_put(batch, NULL, 0, NULL, 0, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_delete_range(batch, NULL, 0, NULL, 0, NULL));
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_batch_delete(batch, NULL, 0, &error));
    CHECK(strstr(almadia_error_message(error), "65536 operations") != NULL);
    almadia_error_free(error);
    error = NULL;
    CHECK(almadia_batch_count(batch) == ALMADIA_BATCH_OPERATIONS_MAX);
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    almadia_batch_free(batch);
}

/* Keys that differ only after a NUL, and the empty key, in all kinds of calls that take keys. */
static void nuls_and_empty_keys_work_everywhere(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_iter *iter = NULL;
    almadia_values *values = NULL;
    almadia_slice keys[4] = {{"", 0}, {"\1", 1}, {"\1\0", 2}, {"\1\0\1", 3}}, found;
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    almadia_snapshot_options range = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    int count = 0;

    CHECK_OK(almadia_batch_new(&batch, &error));
    for (int at = 0; at < 4; at++) {
        almadia_op op = {ALMADIA_OP_PUT, 0, {NULL, 0}, {"\0v", 2}};
        op.key = keys[at];
        CHECK_OK(almadia_batch_append_ops(batch, &op, 1, &error));
    }
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK_OK(almadia_multi_get(store, keys, 4, NULL, &values, &error));
    for (size_t at = 0; at < 4; at++) {
        CHECK_CODE(ALMADIA_OK, almadia_values_at(values, at, &found));
        CHECK(found.size == 2 && memcmp(found.data, "\0v", 2) == 0);
    }
    almadia_values_free(values);

    options.prefix = "\1";
    options.prefix_length = 1;
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_OK(almadia_iter_new(snapshot, &options, &iter, &error));
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter), count++)
        CHECK(almadia_iter_key(iter).size == keys[count + 1].size);
    CHECK(count == 3 && almadia_iter_seek(iter, "\1\0\1", 3) && almadia_iter_key(iter).size == 3);
    almadia_iter_free(iter);
    almadia_snapshot_free(snapshot);

    range.start = "\1";
    range.start_length = 1;
    range.end = "\1\0\1";
    range.end_length = 3;
    CHECK_OK(almadia_snapshot_open(store, &range, &snapshot, &error));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_snapshot_multi_get(snapshot, keys, 4, &values, NULL));
    CHECK(values == NULL);
    CHECK_OK(almadia_snapshot_multi_get(snapshot, keys + 1, 2, &values, &error));
    almadia_values_free(values);
    almadia_snapshot_free(snapshot);

    CHECK_OK(almadia_batch_delete_range(batch, NULL, 0, "\1\0\1", 3, &error));
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK_OK(almadia_multi_get(store, keys, 4, NULL, &values, &error));
    for (size_t at = 0; at < 4; at++)
        CHECK_CODE(at < 3 ? ALMADIA_NOT_FOUND : ALMADIA_OK, almadia_values_at(values, at, &found));
    almadia_values_free(values);
    almadia_batch_free(batch);
}

static void any_bytes_are_keys_and_values(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;

    CHECK_OK(almadia_put(store, "a\0b", 3, "\0\xff\0", 3, &error));
    CHECK_OK(almadia_put(store, "a", 1, "short", 5, &error));
    CHECK_OK(almadia_get(store, "a\0b", 3, &value, &error));
    CHECK(almadia_value_size(value) == 3 && memcmp(almadia_value_data(value), "\0\xff\0", 3) == 0);
    almadia_value_free(value);

    CHECK_OK(almadia_put(store, "empty", 5, NULL, 0, &error));
    CHECK_OK(almadia_get(store, "empty", 5, &value, &error));
    CHECK(almadia_value_size(value) == 0 && almadia_value_data(value) != NULL);
    almadia_value_free(value);

    CHECK_OK(almadia_put(store, NULL, 0, "of the empty key", 16, &error));
    CHECK(holds(store, "", "of the empty key"));
    CHECK_OK(almadia_delete(store, NULL, 0, &error));
    CHECK(holds(store, "", NULL));
}

static void a_buffer_one_byte_too_small_is_not_touched(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    char buffer[6] = "......";
    size_t length = 0;

    put_text(store, "sized", "12345");
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_CODE(ALMADIA_BUFFER_TOO_SMALL,
               almadia_snapshot_get_into(snapshot, "sized", 5, buffer, 4, &length, NULL));
    CHECK(length == 5 && memcmp(buffer, "......", 6) == 0);
    CHECK_CODE(ALMADIA_BUFFER_TOO_SMALL, almadia_snapshot_get_into(snapshot, "sized", 5, NULL, 0, &length, NULL));
    CHECK_OK(almadia_snapshot_get_into(snapshot, "sized", 5, buffer, 5, &length, &error));
    CHECK(length == 5 && memcmp(buffer, "12345.", 6) == 0);
    CHECK_OK(almadia_snapshot_get_into(snapshot, "empty", 5, NULL, 0, &length, &error));
    CHECK(length == 0);
    almadia_snapshot_free(snapshot);
}

static void a_range_without_an_end_reaches_the_last_possible_key(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    char *last = malloc(ALMADIA_KEY_BYTES_MAX);
    CHECK(last != NULL);
    memset(last, 0xff, ALMADIA_KEY_BYTES_MAX);
    CHECK_OK(almadia_batch_new(&batch, &error));

    CHECK_OK(almadia_put(store, last, ALMADIA_KEY_BYTES_MAX, "", 0, &error));
    put_text(store, "a", "stays");
    put_text(store, "b", "goes");
    CHECK_OK(almadia_batch_delete_range(batch, "b", 1, NULL, 0, &error));
    CHECK(almadia_batch_bytes(batch) > ALMADIA_KEY_BYTES_MAX);
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK(holds(store, "a", "stays") && holds(store, "b", NULL));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_get(store, last, ALMADIA_KEY_BYTES_MAX, &(almadia_value *){NULL}, NULL));

    almadia_op all = {ALMADIA_OP_DELETE_RANGE, 0, {NULL, 0}, {NULL, 0}};
    CHECK_OK(almadia_put(store, "", 0, "the first key there can be", 26, &error));
    CHECK_OK(almadia_batch_append_ops(batch, &all, 1, &error));
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK(holds(store, "", NULL) && holds(store, "a", NULL));
    almadia_batch_free(batch);
    free(last);
}

static void ranges_must_not_be_reversed(void)
{
    almadia_batch *batch = NULL;
    CHECK_CODE(ALMADIA_OK, almadia_batch_new(&batch, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_batch_delete_range(batch, "b", 1, "a", 1, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_batch_delete_range(batch, "a", 1, "a", 1, NULL));
    almadia_batch_free(batch);
}

/* The write options of a header two fields newer than this library. */
struct newer_write_options {
    almadia_write_options known;
    uint64_t later[2];
};

static void structs_of_other_versions(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_status status = ALMADIA_STATUS_INIT;
    almadia_snapshot *snapshot = NULL;
    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    almadia_snapshot_options initial = ALMADIA_SNAPSHOT_OPTIONS_INIT, options = initial;
    struct newer_write_options newer = {ALMADIA_WRITE_OPTIONS_INIT, {0, 0}};
    newer.known.struct_size = sizeof newer;

    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_put(batch, "newer", 5, "v", 1, &error));
    newer.later[1] = 1;
    CHECK_CODE(ALMADIA_UNSUPPORTED, almadia_write(store, batch, &newer.known, NULL, NULL));
    CHECK(almadia_batch_count(batch) == 1);
    newer.later[1] = 0;
    CHECK_OK(almadia_write(store, batch, &newer.known, NULL, &error));

    /* The options of the first version of the header end before `events`. */
    newer.known.struct_size = offsetof(almadia_write_options, events);
    newer.known.events = 4;
    CHECK_OK(almadia_write(store, batch, &newer.known, NULL, &error));
    newer.known.struct_size = sizeof newer.known;
    CHECK_CODE(ALMADIA_UNSUPPORTED, almadia_write(store, batch, &newer.known, NULL, NULL));
    newer.known.events = 0;
    newer.known.reserved = 1;
    CHECK_CODE(ALMADIA_UNSUPPORTED, almadia_write(store, batch, &newer.known, NULL, NULL));
    newer.known.reserved = 0;
    newer.known.struct_size = 0;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_write(store, batch, &newer.known, NULL, NULL));
    status.struct_size = 1;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_store_status(store, &status, NULL));
    region.struct_size = 1;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_store_region_at(store, 0, &region, NULL));
    /* The options of the first version of the header end before the range. */
    options.struct_size = offsetof(almadia_snapshot_options, start);
    options.start = "beyond what struct_size says";
    options.start_length = 5;
    CHECK_OK(almadia_snapshot_open(store, &options, &snapshot, &error));
    almadia_snapshot_free(snapshot);
    options = initial;
    options.level = 2;
    CHECK_CODE(ALMADIA_UNSUPPORTED, almadia_snapshot_open(store, &options, &snapshot, &error));
    CHECK(snapshot == NULL && strstr(almadia_error_message(error), "level 2") != NULL);
    almadia_error_free(error);
    almadia_batch_free(batch);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    another_abi_version_is_refused();
    a_buffer_for_an_option_needs_room_for_the_nul();
    ranges_must_not_be_reversed();
    almadia_store *store = open_single(argv[1]);
    keys_values_and_batches_have_exact_limits(store);
    a_batch_can_be_filled_to_its_limit(store);
    a_batch_has_a_limit_of_operations(store);
    any_bytes_are_keys_and_values(store);
    nuls_and_empty_keys_work_everywhere(store);
    a_buffer_one_byte_too_small_is_not_touched(store);
    structs_of_other_versions(store);
    a_range_without_an_end_reaches_the_last_possible_key(store);
    almadia_store_free(store);
    return 0;
}
