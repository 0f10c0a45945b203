/*
 * beside_rocksdb.c - one program uses this library, which contains its own RocksDB, and Debian's librocksdb at the same
 * time: two threads write to both while two read from both, and in the end each has its own data.
 *
 * The test links it with the two libraries in both orders: neither may use a symbol of the other.
 */
#include "check.h"

#include <pthread.h>
#include <rocksdb/c.h>

enum { WRITERS = 2, PAIRS = 3000 };

static almadia_store *store;
static rocksdb_t *other;
static int writing = WRITERS;

#define CHECK_OTHER(message)                                                                                \
    do {                                                                                                    \
        if ((message) != NULL)                                                                              \
            fprintf(stderr, "librocksdb: %s\n", (message));                                                 \
        CHECK((message) == NULL);                                                                           \
    } while (0)

static size_t key_of(char *key, size_t capacity, int writer, int number)
{
    return (size_t)snprintf(key, capacity, "%d/%05d", writer, number);
}

static void *write_both(void *argument)
{
    int self = *(int *)argument;
    almadia_error *error = NULL;
    rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
    for (int number = 0; number < PAIRS; number++) {
        char key[32], *message = NULL;
        size_t length = key_of(key, sizeof key, self, number);
        CHECK_OK(almadia_put(store, key, length, "ours", 4, &error));
        rocksdb_put(other, options, key, length, "theirs", 6, &message);
        CHECK_OTHER(message);
    }
    rocksdb_writeoptions_destroy(options);
    __atomic_sub_fetch(&writing, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static bool other_has(rocksdb_readoptions_t *options, const char *key, size_t key_length)
{
    char *message = NULL;
    size_t length = 0;
    char *value = rocksdb_get(other, options, key, key_length, &length, &message);
    CHECK_OTHER(message);
    bool found = value != NULL;
    CHECK(!found || is_text(value, length, "theirs"));
    rocksdb_free(value);
    return found;
}

static void *read_both(void *argument)
{
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    (void)argument;
    while (__atomic_load_n(&writing, __ATOMIC_SEQ_CST) > 0)
        for (int writer = 0; writer < WRITERS; writer++) {
            char key[32];
            almadia_value *value = NULL;
            size_t length = key_of(key, sizeof key, writer, PAIRS / 2);
            almadia_code code = almadia_get(store, key, length, &value, NULL);
            CHECK(code == ALMADIA_OK || code == ALMADIA_NOT_FOUND);
            CHECK(value == NULL || is_text(almadia_value_data(value), almadia_value_size(value), "ours"));
            almadia_value_free(value);
            other_has(options, key, length);
        }
    rocksdb_readoptions_destroy(options);
    return NULL;
}

static void open_other(const char *path)
{
    char directory[4096], *message = NULL;
    rocksdb_options_t *options = rocksdb_options_create();
    snprintf(directory, sizeof directory, "%s-rocksdb", path);
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_compression(options, rocksdb_lz4_compression);
    other = rocksdb_open(options, directory, &message);
    CHECK_OTHER(message);
    rocksdb_options_destroy(options);
}

static void each_has_its_own_data(void)
{
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_iter *iter = NULL;
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    int ours = 0, theirs = 0;
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_OK(almadia_iter_new(snapshot, NULL, &iter, &error));
    rocksdb_iterator_t *other_iter = rocksdb_create_iterator(other, options);
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter))
        ours += is_text(almadia_iter_value(iter).data, almadia_iter_value(iter).size, "ours");
    for (rocksdb_iter_seek_to_first(other_iter); rocksdb_iter_valid(other_iter); rocksdb_iter_next(other_iter)) {
        size_t length = 0;
        const char *value = rocksdb_iter_value(other_iter, &length);
        theirs += is_text(value, length, "theirs");
    }
    CHECK_OK(almadia_iter_code(iter, &error));
    CHECK(ours == WRITERS * PAIRS && theirs == WRITERS * PAIRS);
    rocksdb_iter_destroy(other_iter);
    rocksdb_readoptions_destroy(options);
    almadia_iter_free(iter);
    almadia_snapshot_free(snapshot);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    pthread_t writers[WRITERS], readers[2];
    int numbers[WRITERS];
    char *message = NULL;
    store = open_single(argv[1]);
    open_other(argv[1]);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&writers[i], NULL, write_both, &numbers[i]) == 0);
        CHECK(pthread_create(&readers[i], NULL, read_both, NULL) == 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        CHECK(pthread_join(writers[i], NULL) == 0);
        CHECK(pthread_join(readers[i], NULL) == 0);
    }
    rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
    rocksdb_flush(other, flush, &message);
    CHECK_OTHER(message);
    rocksdb_flushoptions_destroy(flush);
    each_has_its_own_data();

    /* Either can be closed while the other stays open. */
    almadia_store_free(store);
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    CHECK(other_has(options, "0/00000", 7));
    rocksdb_readoptions_destroy(options);
    store = open_single(argv[1]);
    rocksdb_close(other);
    CHECK(holds(store, "0/00000", "ours"));
    almadia_store_free(store);
    return 0;
}
