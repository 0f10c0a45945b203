/* iterate.c - iterators: bounds, prefixes, both directions, seeks, and many pairs in one call. */
#include "check.h"

static almadia_snapshot *snapshot;

/* Appends the key of a pair and a space; each value repeats its key. */
static void append(char *line, almadia_slice key, almadia_slice value)
{
    CHECK(key.size == value.size && memcmp(key.data, value.data, key.size) == 0);
    strncat(line, key.data, key.size);
    strcat(line, " ");
}

static void expect_one_by_one(const almadia_iter_options *options, const char *expected)
{
    almadia_error *error = NULL;
    almadia_iter *iter = NULL;
    char line[256] = "";
    CHECK_OK(almadia_iter_new(snapshot, options, &iter, &error));
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter))
        append(line, almadia_iter_key(iter), almadia_iter_value(iter));
    CHECK_OK(almadia_iter_code(iter, &error));
    CHECK(!almadia_iter_valid(iter) && !almadia_iter_next(iter) && almadia_iter_key(iter).data == NULL);
    if (strcmp(line, expected) != 0)
        fprintf(stderr, "got '%s', not '%s'\n", line, expected);
    CHECK(strcmp(line, expected) == 0);
    almadia_iter_free(iter);
}

static void expect_backwards(const almadia_iter_options *options, const char *expected)
{
    almadia_iter_options reversed = ALMADIA_ITER_OPTIONS_INIT;
    almadia_iter *iter = NULL;
    char line[256] = "";
    if (options != NULL)
        reversed = *options;
    reversed.reverse = !reversed.reverse;
    CHECK_CODE(ALMADIA_OK, almadia_iter_new(snapshot, &reversed, &iter, NULL));
    for (bool on = almadia_iter_prev(iter); on; on = almadia_iter_prev(iter))
        append(line, almadia_iter_key(iter), almadia_iter_value(iter));
    CHECK(strcmp(line, expected) == 0);
    almadia_iter_free(iter);
}

static void expect_in_blocks(const almadia_iter_options *options, const char *expected, size_t capacity)
{
    almadia_error *error = NULL;
    almadia_iter *iter = NULL;
    almadia_kv pairs[16];
    size_t count = 0;
    char line[256] = "";
    almadia_code code;
    CHECK_OK(almadia_iter_new(snapshot, options, &iter, &error));
    while ((code = almadia_iter_next_n(iter, pairs, capacity, &count, &error)) == ALMADIA_OK) {
        CHECK(count > 0 && count <= capacity);
        for (size_t i = 0; i < count; i++)
            append(line, pairs[i].key, pairs[i].value);
    }
    CHECK_CODE(ALMADIA_END, code);
    CHECK(count == 0 && error == NULL && strcmp(line, expected) == 0);
    almadia_iter_free(iter);
}

static void expect(const almadia_iter_options *options, const char *expected)
{
    expect_one_by_one(options, expected);
    expect_backwards(options, expected);
    for (size_t capacity = 1; capacity <= 16; capacity++)
        expect_in_blocks(options, expected, capacity);
}

static almadia_iter_options range(const char *lower, const char *upper, const char *prefix, bool reverse)
{
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    options.lower = lower;
    options.lower_length = lower == NULL ? 0 : strlen(lower);
    options.upper = upper;
    options.upper_length = upper == NULL ? 0 : strlen(upper);
    options.prefix = prefix;
    options.prefix_length = prefix == NULL ? 0 : strlen(prefix);
    options.reverse = reverse;
    return options;
}

static void expect_range(const char *lower, const char *upper, const char *prefix, const char *forward,
                         const char *backward)
{
    almadia_iter_options options = range(lower, upper, prefix, false);
    expect(&options, forward);
    options.reverse = true;
    expect(&options, backward);
}

static bool is_at(const almadia_iter *iter, const char *key)
{
    return is_text(almadia_iter_key(iter).data, almadia_iter_key(iter).size, key);
}

static void a_field_of_a_later_version_is_refused(void)
{
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    almadia_iter *iter = NULL;
    options.reserved = 1;
    CHECK_CODE(ALMADIA_UNSUPPORTED, almadia_iter_new(snapshot, &options, &iter, NULL));
    CHECK(iter == NULL);
}

static void seeking_follows_the_direction(void)
{
    for (int reverse = 0; reverse <= 1; reverse++) {
        almadia_iter_options options = range("ab", "c", NULL, reverse != 0);
        almadia_iter *iter = NULL;
        CHECK_CODE(ALMADIA_OK, almadia_iter_new(snapshot, &options, &iter, NULL));
        CHECK(almadia_iter_seek(iter, "abc", 3) && is_at(iter, "abc"));
        CHECK(almadia_iter_seek_for_prev(iter, "abc", 3) && is_at(iter, "abc"));
        CHECK(almadia_iter_seek(iter, "abb", 3) && is_at(iter, reverse ? "ab" : "abc"));
        CHECK(almadia_iter_seek_for_prev(iter, "abb", 3) && is_at(iter, reverse ? "abc" : "ab"));
        CHECK(almadia_iter_next(iter) && is_at(iter, reverse ? "ab" : "abc"));
        CHECK(almadia_iter_prev(iter) && is_at(iter, reverse ? "abc" : "ab"));
        CHECK(almadia_iter_seek(iter, "z", 1) == (reverse != 0));
        CHECK(almadia_iter_seek(iter, "a", 1) == (reverse == 0));
        almadia_iter_free(iter);
    }
}

static void blocks_begin_where_the_iterator_is(void)
{
    almadia_iter *iter = NULL;
    almadia_kv pairs[2];
    size_t count = 0;
    CHECK_CODE(ALMADIA_OK, almadia_iter_new(snapshot, NULL, &iter, NULL));
    CHECK(almadia_iter_seek(iter, "abc", 3));
    CHECK_CODE(ALMADIA_OK, almadia_iter_next_n(iter, pairs, 2, &count, NULL));
    CHECK(count == 2 && is_text(pairs[0].key.data, pairs[0].key.size, "abc"));
    CHECK(is_at(iter, "c") && is_text(pairs[1].key.data, pairs[1].key.size, "b"));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_iter_next_n(iter, pairs, 0, &count, NULL));
    CHECK(count == 0 && is_at(iter, "c"));
    almadia_iter_free(iter);
}

/* With many large pairs a block holds fewer than `capacity`, but none is lost. */
static void large_pairs_come_in_small_blocks(almadia_store *store)
{
    enum { PAIRS = 24, VALUE_BYTES = 200 * 1000 };
    static char bytes[VALUE_BYTES];
    static almadia_kv pairs[PAIRS];
    almadia_snapshot *large = NULL;
    almadia_iter_options options = range(NULL, NULL, "large", false);
    almadia_iter *iter = NULL;
    size_t total = 0, count = 0, blocks = 0;
    char key[32];
    for (int i = 0; i < PAIRS; i++) {
        int length = snprintf(key, sizeof key, "large%02d", i);
        memset(bytes, 'a' + i, sizeof bytes);
        CHECK_CODE(ALMADIA_OK, almadia_put(store, key, (size_t)length, bytes, sizeof bytes, NULL));
    }
    CHECK_CODE(ALMADIA_OK, almadia_snapshot_open(store, NULL, &large, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_iter_new(large, &options, &iter, NULL));
    while (almadia_iter_next_n(iter, pairs, PAIRS, &count, NULL) == ALMADIA_OK) {
        for (size_t i = 0; i < count; i++, total++) {
            const char *value = pairs[i].value.data;
            CHECK(pairs[i].value.size == VALUE_BYTES);
            CHECK(value[0] == (char)('a' + total) && value[VALUE_BYTES - 1] == value[0]);
        }
        blocks++;
    }
    CHECK(total == PAIRS && blocks > 1);
    almadia_iter_free(iter);
    almadia_snapshot_free(large);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    static const char *const keys[] = {"a", "ab", "abc", "b", "c", "\xff", "\xff\xff"};
    almadia_store *store = open_single(argv[1]);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        put_text(store, keys[i], keys[i]);
    CHECK_CODE(ALMADIA_OK, almadia_snapshot_open(store, NULL, &snapshot, NULL));
    put_text(store, "abd", "abd");

    expect(NULL, "a ab abc b c \xff \xff\xff ");
    expect_range(NULL, NULL, NULL, "a ab abc b c \xff \xff\xff ", "\xff\xff \xff c b abc ab a ");
    expect_range("ab", NULL, NULL, "ab abc b c \xff \xff\xff ", "\xff\xff \xff c b abc ab ");
    expect_range(NULL, "b", NULL, "a ab abc ", "abc ab a ");
    expect_range("ab", "b", NULL, "ab abc ", "abc ab ");
    expect_range("aa", "aaa", NULL, "", "");
    expect_range("b", "a", NULL, "", "");
    expect_range(NULL, NULL, "ab", "ab abc ", "abc ab ");
    expect_range(NULL, NULL, "\xff", "\xff \xff\xff ", "\xff\xff \xff ");
    expect_range(NULL, NULL, "nothing", "", "");
    expect_range("abb", NULL, "a", "abc ", "abc ");
    expect_range(NULL, "abc", "a", "a ab ", "ab a ");
    expect_range("b", NULL, "a", "", "");
    a_field_of_a_later_version_is_refused();
    seeking_follows_the_direction();
    blocks_begin_where_the_iterator_is();
    large_pairs_come_in_small_blocks(store);

    almadia_snapshot_free(snapshot);
    almadia_store_free(store);
    return 0;
}
