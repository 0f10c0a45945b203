/*
 * versions.c - the version of a key: the same by every way to read it, on every member, and in the answer to the write
 * that set it; larger with every write; 0 where there is none.
 */
#include "cluster.h"

#include <stddef.h>

enum { ROUNDS = 50 };

/* The version of `key` in what `store` shows now; 0 when it does not exist. */
static uint64_t version_of(almadia_store *store, const char *key)
{
    almadia_value *value = NULL;
    almadia_code code = almadia_get(store, key, strlen(key), &value, NULL);
    uint64_t version = almadia_value_version(value);
    CHECK(code == ALMADIA_NOT_FOUND ? version == 0 : code == ALMADIA_OK && version > 0);
    almadia_value_free(value);
    return version;
}

/* Sets `key` and answers the version that the write says it has. */
static uint64_t put_told(almadia_store *store, const char *key, const char *value)
{
    almadia_error *error = NULL;
    almadia_position position = {0, 0};
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    uint64_t version = 0;
    options.timeout_ms = 30000;
    options.version = &version;
    CHECK_OK(almadia_put_with(store, key, strlen(key), value, strlen(value), &options, &position, &error));
    CHECK(position.index > 0 && version > 0);
    return version;
}

/* The one completion of an _async call. */
static almadia_completion *next(almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_completion *completion = NULL;
    size_t count = 0;
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, 60000, &error));
    CHECK(count == 1 && completion != NULL);
    return completion;
}

static void a_version_grows_with_each_write(almadia_store *const stores[MEMBERS])
{
    uint64_t last = 0;
    for (int round = 0; round < ROUNDS; round++) {
        almadia_store *writer = stores[round % MEMBERS], *reader = stores[(round + 1) % MEMBERS];
        uint64_t version = put_told(writer, "grows", "v");
        CHECK(version > last && version_of(reader, "grows") == version);
        last = version;
    }
}

static void a_version_is_larger_behind_a_delete(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    uint64_t deleted = 0;
    uint64_t first = put_told(store, "again", "1");
    options.timeout_ms = 30000;
    options.version = &deleted;
    CHECK_OK(almadia_delete_with(store, "again", 5, &options, NULL, &error));
    CHECK(deleted > first && version_of(store, "again") == 0);
    uint64_t second = put_told(store, "again", "2");
    CHECK(second > deleted && version_of(store, "again") == second);
}

/* Writes three keys in one batch, besides one that it deletes; answers their version. */
static uint64_t write_batch(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    uint64_t version = 0;
    options.timeout_ms = 30000;
    options.version = &version;
    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_put(batch, "batch/a", 7, "1", 1, &error));
    CHECK_OK(almadia_batch_put(batch, "batch/b", 7, "2", 1, &error));
    CHECK_OK(almadia_batch_put(batch, "batch/c", 7, "", 0, &error));
    CHECK_OK(almadia_batch_put(batch, "batch/d", 7, "4", 1, &error));
    CHECK_OK(almadia_batch_delete(batch, "batch/d", 7, &error));
    CHECK_OK(almadia_write(store, batch, &options, NULL, &error));
    CHECK(version > 0);
    /* Of a batch without operations there is none, as it is a read. */
    options.version = &(uint64_t){9};
    CHECK_OK(almadia_write(store, batch, &options, NULL, &error));
    CHECK(*options.version == 0);
    almadia_batch_free(batch);
    return version;
}

static void gets_show(almadia_store *store, uint64_t version)
{
    almadia_error *error = NULL;
    almadia_slice keys[4] = {{"batch/c", 7}, {"batch/d", 7}, {"batch/a", 7}, {"batch/b", 7}};
    almadia_values *values = NULL;
    CHECK(version_of(store, "batch/a") == version && version_of(store, "batch/b") == version);
    CHECK(version_of(store, "batch/c") == version && version_of(store, "batch/d") == 0);
    CHECK_OK(almadia_multi_get(store, keys, 4, NULL, &values, &error));
    CHECK(almadia_values_version_at(values, 0) == version && almadia_values_version_at(values, 1) == 0);
    CHECK(almadia_values_version_at(values, 2) == version && almadia_values_version_at(values, 3) == version);
    CHECK(almadia_values_version_at(values, 4) == 0);
    almadia_values_free(values);
}

static void a_snapshot_shows(almadia_store *store, uint64_t version)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_value *value = NULL;
    almadia_iter *iter = NULL;
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    almadia_kv pairs[4];
    uint64_t versions[4] = {9, 9, 9, 9};
    size_t count = 0;
    options.prefix = "batch/";
    options.prefix_length = 6;
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_OK(almadia_snapshot_get(snapshot, "batch/b", 7, &value, &error));
    CHECK(almadia_value_version(value) == version);
    almadia_value_free(value);

    CHECK_OK(almadia_iter_new(snapshot, &options, &iter, &error));
    CHECK(almadia_iter_version(iter) == 0);
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter), count++)
        CHECK(almadia_iter_version(iter) == version);
    CHECK(count == 3 && almadia_iter_version(iter) == 0);
    CHECK(almadia_iter_seek(iter, "batch/b", 7));
    CHECK_OK(almadia_iter_next_n_versions(iter, pairs, versions, 4, &count, &error));
    CHECK(count == 2 && versions[0] == version && versions[1] == version && versions[2] == 9);
    CHECK(is_text(pairs[1].key.data, pairs[1].key.size, "batch/c") && pairs[1].value.size == 0);
    CHECK_CODE(ALMADIA_END, almadia_iter_next_n_versions(iter, pairs, versions, 4, &count, &error));
    CHECK(count == 0);
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_iter_next_n_versions(iter, pairs, versions, 0, &count, NULL));
    almadia_iter_free(iter);
    almadia_snapshot_free(snapshot);
}

static void all_keys_of_a_batch_have_one_version_everywhere(almadia_store *const stores[MEMBERS])
{
    for (int writer = 0; writer < MEMBERS; writer++) {
        uint64_t version = write_batch(stores[writer]);
        for (int reader = 0; reader < MEMBERS; reader++) {
            gets_show(stores[reader], version);
            a_snapshot_shows(stores[reader], version);
        }
    }
}

static void completions_have_the_version_of_their_write(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;
    CHECK_OK(almadia_put_async(store, "async", 5, "v", 1, &done, &error));
    almadia_completion *put = next(cq);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(put));
    CHECK(almadia_completion_version(put) == version_of(store, "async"));

    CHECK_OK(almadia_get_with_async(store, "async", 5, NULL, &done, &error));
    almadia_completion *got = next(cq);
    almadia_value *value = almadia_completion_take_value(got);
    CHECK(almadia_value_version(value) == almadia_completion_version(put));
    CHECK(almadia_completion_version(got) == 0);
    almadia_value_free(value);
    almadia_completion_free(got);

    CHECK_OK(almadia_delete_async(store, "async", 5, &done, &error));
    almadia_completion *removed = next(cq);
    CHECK(almadia_completion_version(removed) > almadia_completion_version(put));
    almadia_completion_free(removed);
    almadia_completion_free(put);
    almadia_cq_free(cq);
}

static void never(void *user, almadia_completion *completion)
{
    (void)user;
    (void)completion;
    CHECK(!"a refused call never completes");
}

/* Their caller is gone when they are answered. */
static void calls_that_do_not_wait_refuse_a_place_for_it(almadia_store *store)
{
    almadia_batch *batch = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    uint64_t version = 9;
    done.callback = never;
    options.version = &version;
    CHECK_CODE(ALMADIA_OK, almadia_batch_new(&batch, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_batch_put(batch, "k", 1, "v", 1, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_write_async(store, batch, &options, &done, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_put_with_async(store, "k", 1, "v", 1, &options, &done, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_delete_with_async(store, "k", 1, &options, &done, NULL));
    CHECK(version == 9 && almadia_batch_count(batch) == 1 && holds(store, "k", NULL));
    almadia_batch_free(batch);
}

static void a_program_older_than_versions_gets_none(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    uint64_t version = 9;
    options.version = &version;
    options.struct_size = offsetof(almadia_write_options, version);
    CHECK_OK(almadia_put_with(store, "older", 5, "v", 1, &options, NULL, &error));
    CHECK(version == 9 && version_of(store, "older") > 0);
}

static void a_failed_write_and_a_text_have_no_version(almadia_store *store)
{
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    almadia_value *text = NULL;
    uint64_t version = 9;
    static char key[ALMADIA_KEY_BYTES_MAX + 1];
    options.version = &version;
    CHECK_CODE(ALMADIA_TOO_LARGE, almadia_put_with(store, key, sizeof key, "v", 1, &options, NULL, NULL));
    CHECK(version == 9);
    CHECK_CODE(ALMADIA_OK, almadia_store_metrics(store, &text, NULL));
    CHECK(almadia_value_size(text) > 0 && almadia_value_version(text) == 0);
    almadia_value_free(text);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_store *stores[MEMBERS];
    open_cluster(argv[1], stores);
    put_with_retries(stores[0], "first", "v");

    a_version_grows_with_each_write(stores);
    all_keys_of_a_batch_have_one_version_everywhere(stores);
    for (int at = 0; at < MEMBERS; at++) {
        a_version_is_larger_behind_a_delete(stores[at]);
        completions_have_the_version_of_their_write(stores[at]);
    }
    calls_that_do_not_wait_refuse_a_place_for_it(stores[0]);
    a_program_older_than_versions_gets_none(stores[0]);
    a_failed_write_and_a_text_have_no_version(stores[0]);

    for (int at = 0; at < MEMBERS; at++)
        shut_down_at_once(stores[at]);
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    return 0;
}
