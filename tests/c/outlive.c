/* outlive.c - snapshots, values and iterators stay valid after the handles that they came from are freed. */
#include "check.h"

static almadia_code open_again(const char *path, almadia_store **store)
{
    almadia_config *config = NULL;
    CHECK_CODE(ALMADIA_OK, almadia_config_new(ALMADIA_ABI_VERSION, &config, NULL));
    almadia_code code = almadia_store_open(path, config, store, NULL);
    almadia_config_free(config);
    return code;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_iter *iter = NULL;
    almadia_value *early = NULL, *late = NULL;
    almadia_kv pair;
    size_t count = 0;

    almadia_store *store = open_single(argv[1]);
    put_text(store, "a", "1");
    put_text(store, "b", "2");
    CHECK_OK(almadia_get(store, "a", 1, &early, &error));
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_OK(almadia_iter_new(snapshot, NULL, &iter, &error));
    CHECK(almadia_iter_first(iter));
    put_text(store, "a", "newer");

    CHECK_OK(almadia_store_shutdown(store, 60000, &error));
    CHECK_CODE(ALMADIA_CLOSED, almadia_put(store, "k", 1, "v", 1, NULL));
    CHECK_CODE(ALMADIA_CLOSED, almadia_get(store, "k", 1, &late, NULL));
    CHECK_OK(almadia_store_shutdown(store, 60000, &error));
    almadia_store_free(store);

    /* Handles that are still alive keep the directory locked. */
    CHECK_CODE(ALMADIA_LOCKED, open_again(argv[1], &store));
    CHECK_OK(almadia_snapshot_get(snapshot, "a", 1, &late, &error));
    CHECK(is_text(almadia_value_data(late), almadia_value_size(late), "1"));
    almadia_snapshot_free(snapshot);
    CHECK(is_text(almadia_value_data(early), almadia_value_size(early), "1"));
    CHECK(is_text(almadia_value_data(late), almadia_value_size(late), "1"));
    almadia_value_free(early);
    almadia_value_free(late);
    CHECK(is_text(almadia_iter_value(iter).data, almadia_iter_value(iter).size, "1"));
    CHECK(almadia_iter_next(iter));
    CHECK_OK(almadia_iter_next_n(iter, &pair, 1, &count, &error));
    CHECK(count == 1 && is_text(pair.key.data, pair.key.size, "b"));
    almadia_iter_free(iter);

    CHECK_CODE(ALMADIA_OK, open_again(argv[1], &store));
    CHECK(holds(store, "a", "newer") && holds(store, "b", "2"));
    almadia_store_free(store);
    return 0;
}
