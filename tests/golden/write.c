/*
 * write.c - writes the store of a golden directory and is killed: write DIRECTORY PROMISES.
 *
 * Owns what golden directories hold: in four regions values of many kinds, also in tables, values that were written
 * again, keys that were deleted one by one and as ranges, and at the end of the log writes that no table has, the last
 * of which were not answered. What a build does not offer is left out, as its own header says: conditions, changes of
 * members. All that was acknowledged is written to the file PROMISES, for tests/it/golden.rs, which describes its form;
 * the values are those that this program wrote, not those that the build has shown.
 */
#define _POSIX_C_SOURCE 200809L
#include "../c/check.h"

#include <signal.h>
#include <unistd.h>

enum { KEYS_MAX = 512, KEY_BYTES_MAX = 32, BIG_KEYS = 320, BIG_BYTES = 16384, SMALL_KEYS = 12, UNANSWERED = 40 };

/* Small files, so that an archive of them is small, and tables are written early. A test may be slow for seconds. */
static const char *const OPTIONS[][2] = {
    {"cluster.name", "golden"},        {"bootstrap.split_keys", "g,n,t"},      {"raft.tick_ms", "10"},
    {"raft.heartbeat_ms", "30"},       {"raft.election_timeout_ms", "2000"},   {"engine.memtable_bytes", "1048576"},
    {"log.segment_bytes", "65536"},    {"log.retain_bytes", "65536"},
};
static const char LETTERS[] = "ahpx"; /* one for each region */

/* What was acknowledged: each key that was ever written, in the order of the first write. */
static struct pair {
    char key[KEY_BYTES_MAX];
    unsigned char *value; /* NULL: deleted */
    size_t size;
} pairs[KEYS_MAX];
static size_t pair_count;

static struct pair *pair_of(const char *key)
{
    size_t at = 0;
    while (at < pair_count && strcmp(pairs[at].key, key) != 0)
        at++;
    if (at == pair_count) {
        CHECK(pair_count++ < KEYS_MAX && strlen(key) < KEY_BYTES_MAX);
        strcpy(pairs[at].key, key);
    }
    return &pairs[at];
}

static void remember(const char *key, const void *value, size_t size)
{
    struct pair *pair = pair_of(key);
    free(pair->value);
    pair->value = NULL;
    pair->size = size;
    if (value != NULL) {
        CHECK((pair->value = malloc(size + 1)) != NULL);
        memcpy(pair->value, value, size);
    }
}

static void put(almadia_store *store, const char *key, const void *value, size_t size)
{
    almadia_error *error = NULL;
    CHECK_OK(almadia_put(store, key, strlen(key), value, size, &error));
    remember(key, value, size);
}

static void put_string(almadia_store *store, const char *key, const char *text)
{
    put(store, key, text, strlen(text));
}

static void drop(almadia_store *store, const char *key)
{
    almadia_error *error = NULL;
    CHECK_OK(almadia_delete(store, key, strlen(key), &error));
    remember(key, NULL, 0);
}

/* Deletes the keys from `begin` on and before `end`, in one region. */
static void drop_range(almadia_store *store, const char *begin, const char *end)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_delete_range(batch, begin, strlen(begin), end, strlen(end), &error));
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    almadia_batch_free(batch);
    for (size_t at = 0; at < pair_count; at++)
        if (strcmp(begin, pairs[at].key) <= 0 && strcmp(pairs[at].key, end) < 0)
            remember(pairs[at].key, NULL, 0);
}

/* Values that look like something: empty, zeros, text, what a build may put behind a value, all bits, a number. */
static void put_one_of_many_kinds(almadia_store *store, const char *key, int kind)
{
    static const unsigned char zeros[9], behind[] = "like a trailer\3\0M\0\0\0\0\0\0", small[] = {1, 0, 0, 0, 0, 0, 0, 0, 0};
    unsigned char ones[300];
    memset(ones, 0xff, sizeof ones);
    switch (kind % 6) {
    case 0: put(store, key, "", 0); break;
    case 1: put(store, key, zeros, sizeof zeros); break;
    case 2: put_string(store, key, key); break;
    case 3: put(store, key, behind, sizeof behind - 1); break; /* without the end of the string */
    case 4: put(store, key, ones, sizeof ones); break;
    case 5: put(store, key, small, sizeof small); break;
    }
}

static const char *small_key(char letter, int number)
{
    static char key[KEY_BYTES_MAX];
    snprintf(key, sizeof key, "%c/%02d", letter, number);
    return key;
}

/* What will be in tables: the large values come last, and fill more than one memtable. */
static void write_early(almadia_store *store)
{
    static unsigned char big[BIG_BYTES];
    char key[KEY_BYTES_MAX];
    for (const char *letter = LETTERS; *letter != 0; letter++)
        for (int number = 0; number < SMALL_KEYS; number++)
            put_one_of_many_kinds(store, small_key(*letter, number), number);
    put_string(store, "", "the first key");
    for (int number = 0; number < BIG_KEYS; number++) {
        snprintf(key, sizeof key, "big/%04d", number);
        memset(big, number & 0xff, sizeof big);
        put(store, key, big, sizeof big);
    }
}

/* What stays in the log alone. */
static void write_late(almadia_store *store)
{
    char begin[KEY_BYTES_MAX], end[KEY_BYTES_MAX];
    for (const char *letter = LETTERS; *letter != 0; letter++) {
        put_string(store, small_key(*letter, 1), "again");
        put_string(store, small_key(*letter, 5), "again, and longer than it was before");
        drop(store, small_key(*letter, 2));
        drop(store, small_key(*letter, 3));
        put_string(store, small_key(*letter, 3), "after it was deleted");
        snprintf(begin, sizeof begin, "%c/06", *letter);
        snprintf(end, sizeof end, "%c/09", *letter);
        drop_range(store, begin, end);
        put_string(store, small_key(*letter, 7), "in a range that was deleted");
        put_string(store, small_key(*letter, 99), "new");
    }
    drop_range(store, "big/0100", "big/0120");
}

#ifdef ALMADIA_PRECONDITION_FAILED
static uint64_t version_of(almadia_store *store, const char *key)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    CHECK_OK(almadia_get(store, key, strlen(key), &value, &error));
    uint64_t version = almadia_value_version(value);
    almadia_value_free(value);
    return version;
}

static void write_with_conditions(almadia_store *store, char letter)
{
    almadia_error *error = NULL;
    int64_t sum = 0;
    char key[KEY_BYTES_MAX];
    snprintf(key, sizeof key, "%c/once", letter);
    CHECK_OK(almadia_put_if_absent(store, key, strlen(key), "first", 5, NULL, NULL, &error));
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED,
               almadia_put_if_absent(store, key, strlen(key), "second", 6, NULL, NULL, NULL));
    CHECK_OK(almadia_compare_and_set(store, key, strlen(key), version_of(store, key), "third", 5, NULL, NULL, &error));
    remember(key, "third", 5);
    snprintf(key, sizeof key, "%c/sum", letter);
    CHECK_OK(almadia_add(store, key, strlen(key), 40, NULL, NULL, &error));
    CHECK_OK(almadia_add(store, key, strlen(key), 2, NULL, &sum, &error));
    CHECK(sum == 42);
    remember(key, "*\0\0\0\0\0\0\0", 8); /* 42, the lowest byte first */
}

static uint64_t level_of(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    CHECK_OK(almadia_store_region_at(store, 0, &region, &error));
    return region.feature_level;
}
#else
static uint64_t version_of(almadia_store *store, const char *key)
{
    CHECK(holds(store, key, NULL) == false);
    return 0;
}

static void write_with_conditions(almadia_store *store, char letter)
{
    (void)store;
    (void)letter;
}

static uint64_t level_of(almadia_store *store)
{
    (void)store;
    return 0;
}
#endif

#ifdef ALMADIA_MEMBER_CHANGE_PREFER
/* From then on there is a list of the members, and each region's record has the members' part. */
static void change_members(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_member_change change = ALMADIA_MEMBER_CHANGE_INIT;
    change.kind = ALMADIA_MEMBER_CHANGE_PREFER;
    change.node_id = 1;
    change.is_preferred = 1;
    CHECK_OK(almadia_members_change(store, &change, 1, 60000, &error));
}
#else
static void change_members(almadia_store *store)
{
    (void)store;
}
#endif

static void print_quoted(FILE *file, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    fputc('"', file);
    for (size_t at = 0; at < size; at++) {
        bool is_plain = bytes[at] > ' ' && bytes[at] < 0x7f && bytes[at] != '"' && bytes[at] != '\\';
        fprintf(file, is_plain || bytes[at] == ' ' ? "%c" : "\\x%02x", bytes[at]);
    }
    fputc('"', file);
}

/* A long value is of one byte, again and again. */
static void print_value(FILE *file, const unsigned char *value, size_t size)
{
    size_t times = size > 100 ? size : 1;
    for (size_t at = 1; times > 1 && at < size; at++)
        CHECK(value[at] == value[0]);
    print_quoted(file, value, size / times);
    fprintf(file, " times %zu", times);
}

static void print_promises(almadia_store *store, const char *path)
{
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    for (size_t at = 0; at < sizeof OPTIONS / sizeof *OPTIONS; at++)
        fprintf(file, "option %s %s\n", OPTIONS[at][0], OPTIONS[at][1]);
    fprintf(file, "regions %zu\nlevel %llu\n", almadia_store_region_count(store), (unsigned long long)level_of(store));
    for (size_t at = 0; at < pair_count; at++) {
        const struct pair *pair = &pairs[at];
        fprintf(file, pair->value == NULL ? "absent " : "present ");
        print_quoted(file, pair->key, strlen(pair->key));
        if (pair->value != NULL) {
            fputc(' ', file);
            print_value(file, pair->value, pair->size);
            fprintf(file, " version %llu", (unsigned long long)version_of(store, pair->key));
        }
        fputc('\n', file);
    }
    for (int number = 0; number < UNANSWERED; number++)
        fprintf(file, "maybe \"%c/unanswered/%02d\" \"sent\" times 1\n", LETTERS[number % 4], number);
    CHECK(fflush(file) == 0 && fsync(fileno(file)) == 0 && fclose(file) == 0);
}

static void on_done(void *user, almadia_completion *completion)
{
    (void)user;
    (void)completion;
}

/* Some of them may be in the log when this process ends. */
static void write_unanswered(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    char key[KEY_BYTES_MAX];
    done.callback = on_done;
    for (int number = 0; number < UNANSWERED; number++) {
        snprintf(key, sizeof key, "%c/unanswered/%02d", LETTERS[number % 4], number);
        CHECK_OK(almadia_put_async(store, key, strlen(key), "sent", 4, &done, &error));
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;

    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    for (size_t at = 0; at < sizeof OPTIONS / sizeof *OPTIONS; at++)
        CHECK_OK(almadia_config_set(config, OPTIONS[at][0], OPTIONS[at][1], &error));
    CHECK_OK(almadia_store_open(argv[1], config, &store, &error));
    CHECK_OK(almadia_store_wait_leader(store, 60000, NULL, &error));
    write_early(store);
    write_late(store);
    for (const char *letter = LETTERS; *letter != 0; letter++)
        write_with_conditions(store, *letter);
    change_members(store);
    put_string(store, "x/last", "acknowledged last of all");
    print_promises(store, argv[2]);
    write_unanswered(store);
    raise(SIGKILL);
    return 1;
}
