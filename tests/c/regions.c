/* regions.c - a store whose keys are split into four regions: routing, refusals, ranges, and the status of each. */
#include "check.h"

#include <pthread.h>

/* The boundaries are "g", "n" and the byte FF, which is not valid UTF-8. */
static const char *const SPLIT_KEYS = "n,%FF,g";
static const char *const KEYS[] = {"a", "g", "z", "\xff\xff"};
enum { REGIONS = 4 };

static almadia_store *open_split(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "bootstrap.split_keys", SPLIT_KEYS, &error));
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    CHECK_OK(almadia_store_wait_leader(store, 10000, NULL, &error));
    return store;
}

static void malformed_split_keys_are_refused_by_name(void)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_CODE(ALMADIA_INVALID_CONFIG, almadia_config_set(config, "bootstrap.split_keys", "m,b,m", &error));
    CHECK(strstr(almadia_error_message(error), "bootstrap.split_keys") != NULL);
    CHECK(strstr(almadia_error_message(error), "'m' occurs twice") != NULL);
    almadia_error_free(error);
    almadia_config_free(config);
}

static void regions_are_listed_in_the_order_of_their_keys(almadia_store *store)
{
    static const char *const BOUNDARIES[] = {"", "g", "n", "\xff", ""};
    almadia_error *error = NULL;
    CHECK(almadia_store_region_count(store) == REGIONS);
    for (size_t at = 0; at < REGIONS; at++) {
        almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
        CHECK_OK(almadia_store_region_at(store, at, &region, &error));
        CHECK(region.struct_size == sizeof region && region.region_id == at + 1);
        CHECK(is_text(region.start_key.data, region.start_key.size, BOUNDARIES[at]));
        CHECK(is_text(region.end_key.data, region.end_key.size, BOUNDARIES[at + 1]));
        CHECK(region.leader_id == 1 && region.role == ALMADIA_ROLE_LEADER && region.term > 0);
        CHECK(region.applied_index <= region.commit_index && region.commit_index <= region.last_index);
    }
    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    CHECK_CODE(ALMADIA_END, almadia_store_region_at(store, REGIONS, &region, &error));
    CHECK(error == NULL);
}

static void never(void *user, almadia_completion *completion)
{
    (void)user;
    (void)completion;
    CHECK(!"a refused call never completes");
}

static void a_batch_must_be_within_one_region(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = never;

    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_put(batch, "a", 1, "v", 1, &error));
    CHECK_OK(almadia_batch_delete(batch, "h", 1, &error));
    CHECK_CODE(ALMADIA_BATCH_ACROSS_REGIONS, almadia_write(store, batch, NULL, NULL, &error));
    CHECK(strstr(almadia_error_message(error), "boundary 'g'") != NULL && !almadia_error_maybe_applied(error));
    almadia_error_free(error);
    CHECK_CODE(ALMADIA_BATCH_ACROSS_REGIONS, almadia_write_async(store, batch, NULL, &done, NULL));
    CHECK(almadia_batch_count(batch) == 2 && holds(store, "a", NULL));

    almadia_batch_clear(batch);
    CHECK_OK(almadia_batch_delete_range(batch, "h", 1, "\xff\x01", 2, &error));
    CHECK_CODE(ALMADIA_BATCH_ACROSS_REGIONS, almadia_write(store, batch, NULL, NULL, &error));
    CHECK(strstr(almadia_error_message(error), "regions 2 to 4") != NULL);
    almadia_error_free(error);
    error = NULL;

    almadia_batch_clear(batch);
    CHECK_OK(almadia_batch_delete_range(batch, "a", 1, NULL, 0, &error));
    CHECK_CODE(ALMADIA_BATCH_ACROSS_REGIONS, almadia_write(store, batch, NULL, NULL, &error));
    CHECK(strstr(almadia_error_message(error), "from 'a' to the end") != NULL);
    almadia_error_free(error);
    error = NULL;

    almadia_batch_clear(batch);
    CHECK_OK(almadia_batch_delete_range(batch, "g", 1, "n", 1, &error));
    CHECK_OK(almadia_batch_put(batch, "g", 1, "v", 1, &error));
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK(holds(store, "g", "v"));
    almadia_batch_free(batch);
}

/* The number of keys in a snapshot. */
static size_t count_keys(const almadia_snapshot *snapshot)
{
    almadia_error *error = NULL;
    almadia_iter *iter = NULL;
    size_t count = 0;
    CHECK_OK(almadia_iter_new(snapshot, NULL, &iter, &error));
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter))
        count++;
    CHECK_OK(almadia_iter_code(iter, &error));
    almadia_iter_free(iter);
    return count;
}

static void a_snapshot_covers_all_regions_or_a_range(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_value *value = NULL;
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    size_t length = 0;

    for (size_t at = 0; at < REGIONS; at++)
        put_text(store, KEYS[at], "value");
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK(count_keys(snapshot) == REGIONS && almadia_snapshot_index(snapshot) == 0);
    almadia_snapshot_free(snapshot);

    options.start = "b";
    options.start_length = 1;
    options.end = "zz";
    options.end_length = 2;
    CHECK_OK(almadia_snapshot_open(store, &options, &snapshot, &error));
    CHECK(count_keys(snapshot) == 2);
    CHECK_OK(almadia_snapshot_get(snapshot, "z", 1, &value, &error));
    almadia_value_free(value);
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_snapshot_get(snapshot, "a", 1, &value, &error));
    CHECK(value == NULL && strstr(almadia_error_message(error), "'a' is outside") != NULL);
    almadia_error_free(error);
    error = NULL;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_snapshot_get_into(snapshot, "zz", 2, NULL, 0, &length, NULL));
    almadia_snapshot_free(snapshot);

    options.end = "a";
    options.end_length = 1;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_snapshot_open(store, &options, &snapshot, NULL));
}

static void a_local_snapshot_waits_for_its_minimum_index(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    almadia_region_status last = ALMADIA_REGION_STATUS_INIT;

    CHECK_OK(almadia_store_region_at(store, REGIONS - 1, &last, &error));
    options.level = ALMADIA_LEVEL_LOCAL;
    options.min_index = last.last_index;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_snapshot_open(store, &options, &snapshot, NULL));
    options.start = last.start_key.data;
    options.start_length = last.start_key.size;
    CHECK_OK(almadia_snapshot_open(store, &options, &snapshot, &error));
    CHECK(almadia_snapshot_index(snapshot) >= last.last_index);
    almadia_snapshot_free(snapshot);
    options.timeout_ms = 50;
    options.min_index = last.last_index + 1000;
    CHECK_CODE(ALMADIA_READ_TIMEOUT, almadia_snapshot_open(store, &options, &snapshot, NULL));
    CHECK(snapshot == NULL);
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    almadia_snapshot *snapshot;
} taken = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};

static void take(void *user, almadia_completion *completion)
{
    (void)user;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    pthread_mutex_lock(&taken.lock);
    taken.snapshot = almadia_completion_take_snapshot(completion);
    pthread_cond_signal(&taken.changed);
    pthread_mutex_unlock(&taken.lock);
}

static void the_async_form_covers_all_regions_too(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = take;
    CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    pthread_mutex_lock(&taken.lock);
    while (taken.snapshot == NULL)
        pthread_cond_wait(&taken.changed, &taken.lock);
    pthread_mutex_unlock(&taken.lock);
    CHECK(count_keys(taken.snapshot) == REGIONS);
    almadia_snapshot_free(taken.snapshot);
}

static void the_regions_are_there_again_after_a_restart(const char *path)
{
    almadia_error *error = NULL;
    almadia_store *store = open_split(path);
    for (size_t at = 0; at < REGIONS; at++)
        CHECK(holds(store, KEYS[at], "value"));
    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    shut_down_at_once(store);
    CHECK_OK(almadia_store_region_at(store, 1, &region, &error));
    CHECK(is_text(region.start_key.data, region.start_key.size, "g"));
    almadia_store_free(store);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    malformed_split_keys_are_refused_by_name();
    almadia_store *store = open_split(argv[1]);
    regions_are_listed_in_the_order_of_their_keys(store);
    a_batch_must_be_within_one_region(store);
    a_snapshot_covers_all_regions_or_a_range(store);
    a_local_snapshot_waits_for_its_minimum_index(store);
    the_async_form_covers_all_regions_too(store);
    almadia_store_free(store);
    the_regions_are_there_again_after_a_restart(argv[1]);
    return 0;
}
