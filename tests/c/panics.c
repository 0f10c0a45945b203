/*
 * panics.c - a panic in one internal thread of the library as it ships, by a clock that fails there.
 *
 *     panics DIRECTORY THREAD MEMBERS READING
 *
 * The READINGth reading of the clock on the thread called THREAD fails while calls of every kind are under way on a
 * store of MEMBERS (1 or 3). Every accepted call is answered once all the same. Unless what panicked was a matter of
 * counting only, one store is poisoned and says why; the other members work on, and what was acknowledged is there again.
 */
#define _GNU_SOURCE
#include "failing_clock.h"

#include "cluster.h"

enum { LARGE = 64 << 10, BEFORE = 100 };

static long accepted, answered, poisonings;
static char large[LARGE];

static void on_done(void *user, almadia_completion *completion)
{
    almadia_code code = almadia_completion_code(completion);
    (void)user;
    /* Answered, refused, or failed with the store; never a success that was none, which the end of main looks for. */
    CHECK(code == ALMADIA_OK || code == ALMADIA_NOT_FOUND || (code >= 300 && code < 600) || code == ALMADIA_POISONED);
    __atomic_add_fetch(&answered, 1, __ATOMIC_SEQ_CST);
}

static void on_event(void *user, const almadia_store_event *event)
{
    (void)user;
    if (event->kind == ALMADIA_STORE_EVENT_POISONED)
        __atomic_add_fetch(&poisonings, 1, __ATOMIC_SEQ_CST);
}

static void note(almadia_code code)
{
    if (code == ALMADIA_OK)
        accepted++;
    else
        CHECK(code == ALMADIA_OVERLOADED || code == ALMADIA_POISONED);
}

/* A small write, a large one, a get and a snapshot. */
static void submit_each(almadia_store *store)
{
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = on_done;
    note(almadia_put_async(store, "small", 5, "v", 1, &done, NULL));
    note(almadia_put_async(store, "large", 5, large, sizeof large, &done, NULL));
    note(almadia_get_async(store, "small", 5, &done, NULL));
    note(almadia_snapshot_open_async(store, NULL, &done, NULL));
    sched_yield();
}

static int count_poisoned(almadia_store *stores[], int count)
{
    int poisoned = 0;
    for (int at = 0; at < count; at++) {
        almadia_status status = ALMADIA_STATUS_INIT;
        CHECK_CODE(ALMADIA_OK, almadia_store_status(stores[at], &status, NULL));
        if (status.poisoned != ALMADIA_OK && status.poisoned != ALMADIA_PANIC)
            say_why(stores[at]);
        CHECK(status.poisoned == ALMADIA_OK || status.poisoned == ALMADIA_PANIC);
        poisoned += status.poisoned != ALMADIA_OK;
    }
    return poisoned;
}

/* Opens member `node` of these, or a store alone, and has the event told. */
static almadia_store *open_told(const char *path, int node, const char *members)
{
    almadia_error *error = NULL;
    almadia_config *config = member_config(node, members);
    set_option(config, "log.retain_bytes", "65536"); /* there is always something to clear away */
    set_option(config, "limits.in_flight_ops", "100");
    set_option(config, "write.timeout_ms", "60000");
    set_option(config, "raft.tick_ms", "20"); /* most of the time of three members is that of elections */
    set_option(config, "raft.heartbeat_ms", "40");
    set_option(config, "raft.election_timeout_ms", "200");
    CHECK_OK(almadia_config_set_event_callback(config, on_event, NULL, &error));
    return open_configured(path, node, config);
}

/* Puts a pair however often the leader changes meanwhile; false when the store is poisoned. */
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

/* What makes a thread that greets strangers greet one. */
static void knock(int port)
{
    struct sockaddr_in address = loopback(port);
    int stranger = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(stranger >= 0);
    (void)connect(stranger, (struct sockaddr *)&address, sizeof address); /* refused by a store that has stopped */
    close(stranger);
}

/* A poisoned store refuses everything, and its error says what happened where. */
static void refuses_and_says_why(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    CHECK_CODE(ALMADIA_POISONED, almadia_put(store, "k", 1, "v", 1, &error));
    CHECK(strstr(almadia_error_message(error), fated) != NULL);
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
        stores[at] = open_told(argv[1], at + 1, members);
    for (int at = 0; at < count; at++)
        CHECK_OK(almadia_store_wait_leader(stores[at], 30000, NULL, &error));
    for (int i = 0; i < BEFORE; i++)
        CHECK(put_until_ok(stores[0], &i, sizeof i, "acknowledged"));

    plant(argv[2], reading);
    while (is_planted())
        for (int at = 0; at < count; at++) {
            submit_each(stores[at]);
            if (count == MEMBERS)
                knock(ports[at]);
        }
    while (__atomic_load_n(&answered, __ATOMIC_SEQ_CST) < accepted) /* an answer that is lost keeps us here */
        sched_yield();

    /* The first reading of each thread is one for its work. */
    while (reading == 1 && count_poisoned(stores, count) == 0)
        sched_yield();
    for (int at = 0; at < count; at++)
        if (!put_until_ok(stores[at], "after", 5, "the panic"))
            refuses_and_says_why(stores[at]);
    for (int at = 0; at < count; at++)
        CHECK_OK(almadia_store_shutdown(stores[at], 30000, &error));
    CHECK(__atomic_load_n(&answered, __ATOMIC_SEQ_CST) == accepted);
    CHECK(count_poisoned(stores, count) <= 1);
    CHECK(__atomic_load_n(&poisonings, __ATOMIC_SEQ_CST) == count_poisoned(stores, count));
    for (int at = 0; at < count; at++)
        almadia_store_free(stores[at]);

    for (int at = 0; at < count; at++)
        stores[at] = open_told(argv[1], at + 1, members);
    for (int at = 0; at < count; at++)
        CHECK_OK(almadia_store_wait_leader(stores[at], 30000, NULL, &error));
    CHECK(holds(stores[0], "after", "the panic") || count == 1);
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
