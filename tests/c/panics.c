/*
 * panics.c - a panic in one internal thread of the library as it ships, caused by a clock that fails there.
 *
 *     panics DIRECTORY THREAD MEMBERS READING
 *
 * The READINGth reading of the clock on the thread called THREAD fails while writes and reads are in flight on a
 * cluster of MEMBERS (1 or 3). Every accepted call must still complete once. Unless the reading was only for
 * statistics, one store is poisoned and says why; the other members keep working, and what was acknowledged is there
 * after reopening.
 */
#define _GNU_SOURCE
#include "failing_clock.h"

#include "cluster.h"

enum { LARGE = 64 << 10, BEFORE = 100, CALLS_MAX = 1 << 22 };

static long accepted, completed, poisoned_events;
static unsigned char completions[CALLS_MAX]; /* of each accepted call */
static char large[LARGE];

static void on_done(void *user, almadia_completion *completion)
{
    almadia_code code = almadia_completion_code(completion);
    CHECK(__atomic_fetch_add((unsigned char *)user, 1, __ATOMIC_SEQ_CST) == 0);
    /* Done, refused, or failed with the store. The end of main checks that acknowledged writes are really there. */
    CHECK(code == ALMADIA_OK || code == ALMADIA_NOT_FOUND || (code >= 300 && code < 600) || code == ALMADIA_POISONED);
    __atomic_add_fetch(&completed, 1, __ATOMIC_SEQ_CST);
}

static void on_event(void *user, const almadia_store_event *event)
{
    (void)user;
    if (event->kind == ALMADIA_STORE_EVENT_POISONED)
        __atomic_add_fetch(&poisoned_events, 1, __ATOMIC_SEQ_CST);
}

static void count_accepted(almadia_code code, almadia_done *done)
{
    if (code != ALMADIA_OK) {
        CHECK(code == ALMADIA_OVERLOADED || code == ALMADIA_POISONED);
        return;
    }
    accepted++;
    CHECK(accepted < CALLS_MAX);
    done->user = &completions[accepted];
}

/* A small write, a large one, a get and a snapshot. */
static void submit_all(almadia_store *store)
{
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = on_done;
    done.user = &completions[accepted];
    count_accepted(almadia_put_async(store, "small", 5, "v", 1, &done, NULL), &done);
    count_accepted(almadia_put_async(store, "large", 5, large, sizeof large, &done, NULL), &done);
    count_accepted(almadia_get_async(store, "small", 5, &done, NULL), &done);
    count_accepted(almadia_snapshot_open_async(store, NULL, &done, NULL), &done);
    sched_yield();
}

static int count_poisoned(almadia_store *stores[], int count)
{
    int poisoned = 0;
    for (int at = 0; at < count; at++) {
        almadia_status status = ALMADIA_STATUS_INIT;
        CHECK_CODE(ALMADIA_OK, almadia_store_status(stores[at], &status, NULL));
        if (status.poisoned != ALMADIA_OK && status.poisoned != ALMADIA_PANIC)
            print_put_error(stores[at]);
        CHECK(status.poisoned == ALMADIA_OK || status.poisoned == ALMADIA_PANIC);
        poisoned += status.poisoned != ALMADIA_OK;
    }
    return poisoned;
}

/* Opens member `node` of `members`, or a single-member store if that is NULL, with the event callback. */
static almadia_store *open_with_events(const char *path, int node, const char *members)
{
    almadia_error *error = NULL;
    almadia_config *config = member_config(node, members);
    set_option(config, "log.retain_bytes", "65536"); /* there is always log to truncate */
    set_option(config, "limits.in_flight_ops", "100");
    set_option(config, "write.timeout_ms", "60000");
    set_option(config, "raft.tick_ms", "20"); /* elections take most of the time with three members */
    set_option(config, "raft.heartbeat_ms", "40");
    set_option(config, "raft.election_timeout_ms", "200");
    CHECK_OK(almadia_config_set_event_callback(config, on_event, NULL, &error));
    return open_configured(path, node, config);
}

/* Puts a pair, and retries while the leader changes; false if the store is poisoned. */
static bool put_until_ok(almadia_store *store, const void *key, size_t length, const char *value)
{
    almadia_code code;
    while ((code = almadia_put(store, key, length, value, strlen(value), NULL)) != ALMADIA_OK) {
        if (code == ALMADIA_POISONED)
            return false;
        CHECK(almadia_code_maybe_applied(code) || almadia_code_is_retryable(code));
    }
    return true;
}

/* Makes a connection, so that the thread for handshakes has one to do. */
static void connect_to(int port)
{
    struct sockaddr_in address = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(fd >= 0);
    (void)connect(fd, (struct sockaddr *)&address, sizeof address); /* refused by a store that has stopped */
    close(fd);
}

/* A poisoned store refuses every call, and its error names the thread that panicked. */
static void check_poisoned(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    CHECK_CODE(ALMADIA_POISONED, almadia_put(store, "k", 1, "v", 1, &error));
    CHECK(strstr(almadia_error_message(error), failing_thread) != NULL);
    almadia_error_free(error);
    CHECK_CODE(ALMADIA_POISONED, almadia_get(store, "k", 1, &value, &error));
    CHECK(value == NULL);
    almadia_error_free(error);
}

int main(int argc, char **argv)
{
    CHECK(argc == 5);
    almadia_error *error = NULL;
    almadia_store *stores[MEMBERS];
    char list[128], *members = NULL;
    int ports[MEMBERS], count = atoi(argv[3]), reading = atoi(argv[4]);

    if (count == MEMBERS) {
        reserve_ports(ports);
        list_members(list, ports);
        members = list;
    }
    for (int at = 0; at < count; at++)
        stores[at] = open_with_events(argv[1], at + 1, members);
    for (int at = 0; at < count; at++)
        CHECK_OK(almadia_store_wait_leader(stores[at], 30000, NULL, &error));
    for (int i = 0; i < BEFORE; i++)
        CHECK(put_until_ok(stores[0], &i, sizeof i, "acknowledged"));

    fail_clock(argv[2], reading);
    while (is_failure_pending())
        for (int at = 0; at < count; at++) {
            submit_all(stores[at]);
            if (count == MEMBERS)
                connect_to(ports[at]);
        }
    while (__atomic_load_n(&completed, __ATOMIC_SEQ_CST) < accepted) /* a lost completion hangs here */
        sched_yield();

    /* The first reading of each thread is for its work, so a panic there poisons a store. */
    while (reading == 1 && count_poisoned(stores, count) == 0)
        sched_yield();
    bool is_written = false;
    for (int at = 0; at < count; at++) {
        if (put_until_ok(stores[at], "after", 5, "the panic"))
            is_written = true;
        else
            check_poisoned(stores[at]);
    }
    CHECK(is_written || count == 1);
    for (int at = 0; at < count; at++)
        CHECK_OK(almadia_store_shutdown(stores[at], 30000, &error));
    for (long call = 0; call < accepted; call++)
        CHECK(__atomic_load_n(&completions[call], __ATOMIC_SEQ_CST) == 1);
    CHECK(count_poisoned(stores, count) <= 1);
    CHECK(__atomic_load_n(&poisoned_events, __ATOMIC_SEQ_CST) == count_poisoned(stores, count));
    for (int at = 0; at < count; at++)
        almadia_store_free(stores[at]);

    for (int at = 0; at < count; at++)
        stores[at] = open_with_events(argv[1], at + 1, members);
    for (int at = 0; at < count; at++)
        CHECK_OK(almadia_store_wait_leader(stores[at], 30000, NULL, &error));
    if (is_written)
        CHECK(holds(stores[0], "after", "the panic"));
    for (int i = 0; i < BEFORE; i++) {
        almadia_value *value = NULL;
        CHECK_OK(almadia_get(stores[0], &i, sizeof i, &value, &error));
        CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "acknowledged"));
        almadia_value_free(value);
    }
    for (int at = 0; at < count; at++)
        almadia_store_free(stores[at]);
    return 0;
}
