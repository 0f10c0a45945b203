/*
 * transactions.c - transactions on three members: what one sees, what its commit is told, and threads on all members that
 * move money between accounts, where none is ever made or lost.
 */
#include "cluster.h"

#include <pthread.h>

enum { ACCOUNTS = 4, START = 100, TRANSFERS = 60 };

static almadia_completion *next(almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_completion *completion = NULL;
    size_t count = 0;
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, 60000, &error));
    CHECK(count == 1 && completion != NULL);
    return completion;
}

static almadia_txn *begin(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_txn *txn = NULL;
    CHECK_OK(almadia_txn_begin(store, NULL, &txn, &error));
    return txn;
}

/* Whether the transaction sees this value, or with NULL that there is no such key. */
static bool sees(almadia_txn *txn, const char *key, const char *text)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_code code = almadia_txn_get(txn, key, strlen(key), &value, &error);
    CHECK(error == NULL && (code == ALMADIA_OK || code == ALMADIA_NOT_FOUND));
    bool same = text == NULL ? value == NULL
                             : value != NULL && is_text(almadia_value_data(value), almadia_value_size(value), text);
    almadia_value_free(value);
    return same;
}

static void set(almadia_txn *txn, const char *key, const char *value)
{
    almadia_error *error = NULL;
    CHECK_OK(almadia_txn_put(txn, key, strlen(key), value, strlen(value), &error));
}

/* Whether the transaction sees exactly these keys that begin with "t/", separated by spaces, in this direction. */
static bool lists(almadia_txn *txn, int reverse, const char *keys)
{
    almadia_error *error = NULL;
    almadia_iter *iter = NULL;
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    char found[256] = "";
    options.prefix = "t/";
    options.prefix_length = 2;
    options.reverse = reverse;
    CHECK_OK(almadia_txn_iter(txn, &options, &iter, &error));
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter)) {
        almadia_slice key = almadia_iter_key(iter);
        size_t length = strlen(found);
        snprintf(found + length, sizeof found - length, "%s%.*s", length == 0 ? "" : " ", (int)key.size - 2,
                 (const char *)key.data + 2);
    }
    CHECK_OK(almadia_iter_code(iter, &error));
    almadia_iter_free(iter);
    return strcmp(found, keys) == 0;
}

/* What the error of a commit is about, and frees the error: "key" or "begin..end". */
static bool is_about(almadia_error *error, const char *what)
{
    almadia_conflict conflict = ALMADIA_CONFLICT_INIT;
    char found[256];
    CHECK(almadia_error_code(error) == ALMADIA_CONFLICT && !almadia_error_maybe_applied(error));
    CHECK_CODE(ALMADIA_OK, almadia_error_conflict(error, &conflict));
    snprintf(found, sizeof found, conflict.is_range ? "%.*s..%.*s" : "%.*s", (int)conflict.key.size,
             (const char *)conflict.key.data, (int)conflict.end.size, (const char *)conflict.end.data);
    almadia_error_free(error);
    return strcmp(found, what) == 0;
}

static void it_sees_its_snapshot_and_its_own_writes(almadia_store *store, almadia_store *other)
{
    almadia_error *error = NULL;
    uint64_t version = 0;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.version = &version;
    almadia_txn *clean = begin(store);
    CHECK_OK(almadia_txn_delete_range(clean, "t/", 2, "t0", 2, &error));
    CHECK_OK(almadia_txn_commit(clean, NULL, &error));
    almadia_txn_free(clean);
    put_text(store, "t/a", "1");
    put_text(store, "t/c", "3");
    put_text(store, "t/d", "4");
    almadia_txn *txn = begin(other);
    put_text(store, "u", "later");
    set(txn, "t/b", "2");
    CHECK_OK(almadia_txn_delete(txn, "t/a", 3, &error));
    CHECK_OK(almadia_txn_delete_range(txn, "t/d", 3, "t/e", 3, &error));

    CHECK(sees(txn, "t/a", NULL) && sees(txn, "t/b", "2") && sees(txn, "t/c", "3") && sees(txn, "t/d", NULL));
    CHECK(lists(txn, 0, "b c") && lists(txn, 1, "c b") && holds(store, "t/b", NULL));
    CHECK_OK(almadia_txn_commit(txn, &options, &error));
    CHECK(version > 0 && holds(store, "t/a", NULL) && holds(store, "t/b", "2") && holds(other, "t/d", NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_txn_put(txn, "k", 1, "", 0, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_txn_commit(txn, NULL, NULL));
    almadia_txn_free(txn);

    /* One that is not committed has no effect. */
    txn = begin(store);
    set(txn, "t/z", "");
    almadia_txn_free(txn);
    CHECK(holds(store, "t/z", NULL));
}

static void what_it_has_read_is_unchanged_at_the_commit(almadia_store *store, almadia_store *other)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_txn *late = begin(other), *scan = begin(other), *exempt = begin(other);
    CHECK(sees(late, "t/b", "2") && lists(scan, 0, "b c"));
    CHECK_OK(almadia_txn_get_exempt(exempt, "t/b", 3, &value, &error));
    almadia_value_free(value);
    set(late, "t/b", "late");
    set(scan, "sum", "2");
    set(exempt, "t/x", "exempt");
    put_text(store, "t/b", "changed");

    CHECK_CODE(ALMADIA_CONFLICT, almadia_txn_commit(late, NULL, &error));
    CHECK(is_about(error, "t/b"));
    error = NULL;
    CHECK_CODE(ALMADIA_CONFLICT, almadia_txn_commit(scan, NULL, &error));
    CHECK(is_about(error, "t/..t0"));
    error = NULL;
    CHECK_OK(almadia_txn_commit(exempt, NULL, &error));
    CHECK(holds(other, "t/b", "changed") && holds(other, "sum", NULL) && holds(store, "t/x", "exempt"));
    almadia_txn_free(late);
    almadia_txn_free(scan);
    almadia_txn_free(exempt);
}

static void it_begins_and_commits_without_waiting(almadia_store *store, almadia_store *other)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_txn *both[2];
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;
    for (int at = 0; at < 2; at++) {
        CHECK_OK(almadia_txn_begin_async(other, NULL, &done, &error));
        almadia_completion *begun = next(cq);
        CHECK_CODE(ALMADIA_OK, almadia_completion_code(begun));
        both[at] = almadia_completion_take_txn(begun);
        CHECK(both[at] != NULL && almadia_completion_take_txn(begun) == NULL);
        almadia_completion_free(begun);
        CHECK(sees(both[at], "t/c", "3"));
        set(both[at], "t/c", "three");
    }

    /* Not through another store. */
    almadia_txn *foreign = begin(store);
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_txn_commit_async(other, foreign, NULL, &done, NULL));
    almadia_txn_free(foreign);
    for (int at = 0; at < 2; at++) {
        CHECK_OK(almadia_txn_commit_async(other, both[at], NULL, &done, &error));
        almadia_txn_free(both[at]);
        almadia_completion *committed = next(cq);
        CHECK_CODE(at == 0 ? ALMADIA_OK : ALMADIA_CONFLICT, almadia_completion_code(committed));
        CHECK((almadia_completion_version(committed) > 0) == (at == 0));
        if (at == 1) {
            almadia_conflict conflict = ALMADIA_CONFLICT_INIT;
            CHECK_CODE(ALMADIA_OK, almadia_error_conflict(almadia_completion_error(committed), &conflict));
            CHECK(is_text(conflict.key.data, conflict.key.size, "t/c"));
        }
        almadia_completion_free(committed);
    }
    /* One that has written nothing. */
    almadia_txn *empty = begin(other);
    CHECK_OK(almadia_txn_commit_async(other, empty, NULL, &done, &error));
    almadia_txn_free(empty);
    almadia_completion *nothing = next(cq);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(nothing));
    CHECK(almadia_completion_version(nothing) == 0 && almadia_completion_index(nothing) > 0);
    almadia_completion_free(nothing);
    almadia_cq_free(cq);
}

static long amount(almadia_txn *txn, const char *account)
{
    almadia_value *value = NULL;
    char text[32] = "";
    CHECK_CODE(ALMADIA_OK, almadia_txn_get(txn, account, strlen(account), &value, NULL));
    memcpy(text, almadia_value_data(value), almadia_value_size(value));
    almadia_value_free(value);
    return strtol(text, NULL, 10);
}

static void set_amount(almadia_txn *txn, const char *account, long amount)
{
    char text[32];
    snprintf(text, sizeof text, "%ld", amount);
    set(txn, account, text);
}

/* A transfer, and how often it was tried. */
struct transfer {
    char from[16];
    char to[16];
    long tries;
};

enum { POOR = 1000 };

static almadia_code transfer(void *user, almadia_txn *txn)
{
    struct transfer *transfer = user;
    transfer->tries++;
    long from = amount(txn, transfer->from);
    if (from == 0)
        return POOR;
    set_amount(txn, transfer->from, from - 1);
    set_amount(txn, transfer->to, amount(txn, transfer->to) + 1);
    return ALMADIA_OK;
}

/* All money, over which no transaction may disagree. */
static almadia_code add_up(void *user, almadia_txn *txn)
{
    almadia_iter *iter = NULL;
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    long *sum = user;
    options.prefix = "account/";
    options.prefix_length = 8;
    *sum = 0;
    CHECK_CODE(ALMADIA_OK, almadia_txn_iter(txn, &options, &iter, NULL));
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter)) {
        char text[32] = "";
        almadia_slice value = almadia_iter_value(iter);
        memcpy(text, value.data, value.size);
        *sum += strtol(text, NULL, 10);
    }
    CHECK_CODE(ALMADIA_OK, almadia_iter_code(iter, NULL));
    almadia_iter_free(iter);
    return ALMADIA_OK;
}

static void *move_money(void *store)
{
    almadia_error *error = NULL;
    almadia_txn_options options = ALMADIA_TXN_OPTIONS_INIT;
    options.timeout_ms = 60000;
    unsigned seed = (unsigned)(size_t)store;
    for (int at = 0; at < TRANSFERS; at++) {
        struct transfer one = {"", "", 0};
        long sum = 0;
        seed = seed * 1103515245u + 12345u;
        unsigned from = (seed >> 16) % ACCOUNTS, to = (from + 1 + (seed >> 20) % (ACCOUNTS - 1)) % ACCOUNTS;
        snprintf(one.from, sizeof one.from, "account/%u", from);
        snprintf(one.to, sizeof one.to, "account/%u", to);
        almadia_code code = almadia_transact(store, &options, transfer, &one, &error);
        if (code != POOR)
            CHECK_OK(code);
        CHECK(error == NULL && one.tries > 0);
        CHECK_OK(almadia_transact(store, &options, add_up, &sum, &error));
        CHECK(sum == ACCOUNTS * START);
    }
    return NULL;
}

static almadia_code never(void *user, almadia_txn *txn)
{
    set(txn, "never", "");
    return *(almadia_code *)user;
}

static void a_function_is_run_until_it_commits(almadia_store *const stores[MEMBERS])
{
    almadia_error *error = NULL;
    almadia_code own = -7;
    pthread_t threads[MEMBERS];
    for (int at = 0; at < ACCOUNTS; at++) {
        char account[16], amount[16];
        snprintf(account, sizeof account, "account/%d", at);
        snprintf(amount, sizeof amount, "%d", START);
        put_text(stores[0], account, amount);
    }
    CHECK_CODE(-7, almadia_transact(stores[0], NULL, never, &own, &error));
    CHECK(error == NULL && holds(stores[0], "never", NULL));
    CHECK_CODE(ALMADIA_NULL_POINTER, almadia_transact(stores[0], NULL, NULL, NULL, NULL));
    for (int at = 0; at < MEMBERS; at++)
        CHECK(pthread_create(&threads[at], NULL, move_money, stores[at]) == 0);
    for (int at = 0; at < MEMBERS; at++)
        CHECK(pthread_join(threads[at], NULL) == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_store *stores[MEMBERS];
    open_cluster(argv[1], stores);
    put_with_retries(stores[0], "first", "v");

    for (int at = 0; at < MEMBERS; at++) {
        almadia_store *store = stores[at], *other = stores[(at + 1) % MEMBERS];
        it_sees_its_snapshot_and_its_own_writes(store, other);
        what_it_has_read_is_unchanged_at_the_commit(store, other);
        it_begins_and_commits_without_waiting(store, other);
    }
    a_function_is_run_until_it_commits(stores);

    for (int at = 0; at < MEMBERS; at++)
        shut_down_at_once(stores[at]);
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    return 0;
}
