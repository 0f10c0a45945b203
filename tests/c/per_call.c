/*
 * per_call.c - what one call decides for itself: how recent a read must be, from which position on, how long to wait; and
 * which position it is told.
 */
#include "cluster.h"

#include <pthread.h>

enum { WRITES = 2000, BEYOND = 1 << 20 };

static almadia_snapshot_options local_from(uint64_t min_index, uint64_t timeout_ms)
{
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    options.level = ALMADIA_LEVEL_LOCAL;
    options.min_index = min_index;
    options.timeout_ms = timeout_ms;
    return options;
}

/* The one completion that comes next, within half a minute. */
static almadia_completion *next(almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_completion *completion = NULL;
    size_t count = 0;
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, 30000, &error));
    CHECK(count == 1);
    return completion;
}

static void nothing_comes(almadia_cq *cq)
{
    almadia_completion *completion = NULL;
    size_t count = 9;
    CHECK_CODE(ALMADIA_OK, almadia_cq_pop(cq, &completion, 1, &count, 0, NULL));
    CHECK(count == 0);
}

/* Zeros and a size are the defaults, as is NULL. */
static void options_of_zeros_are_the_defaults(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_position put = {0, 0}, read = {0, 0};
    almadia_snapshot_options reading;
    almadia_write_options writing;
    memset(&reading, 0, sizeof reading);
    memset(&writing, 0, sizeof writing);
    reading.struct_size = sizeof reading;
    writing.struct_size = sizeof writing;

    CHECK_OK(almadia_put_with(store, "zeros", 5, "v", 1, &writing, &put, &error));
    CHECK_OK(almadia_get_with(store, "zeros", 5, &reading, &value, &read, &error));
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "v") && read.index >= put.index);
    almadia_value_free(value);
    CHECK_OK(almadia_get_with(store, "zeros", 5, NULL, &value, NULL, &error));
    almadia_value_free(value);
    CHECK_OK(almadia_delete_with(store, "zeros", 5, &writing, NULL, &error));
}

static void what_a_get_has_not_is_refused(almadia_store *store)
{
    almadia_value *value = NULL;
    almadia_position position = {7, 7};
    almadia_snapshot_options options = local_from(0, 0);
    options.level = 9;
    CHECK_CODE(ALMADIA_UNSUPPORTED, almadia_get_with(store, "k", 1, &options, &value, &position, NULL));
    options.level = ALMADIA_LEVEL_LOCAL;
    options.reserved = 1;
    CHECK_CODE(ALMADIA_UNSUPPORTED, almadia_get_with(store, "k", 1, &options, &value, &position, NULL));
    options.reserved = 0;
    options.end = "z";
    options.end_length = 1;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_get_with(store, "k", 1, &options, &value, &position, NULL));
    CHECK(value == NULL && position.index == 7 && position.term == 7);
}

/* An index that the log does not have: the wait ends with its deadline, and says how far this member is. */
static void an_index_beyond_the_log_is_waited_for_in_vain(almadia_store *store, almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_position put = {0, 0}, position = {7, 7};
    almadia_done done = ALMADIA_DONE_INIT;
    char wanted[64];
    done.cq = cq;
    CHECK_OK(almadia_put_with(store, "k", 1, "v", 1, NULL, &put, &error));
    almadia_snapshot_options options = local_from(put.index + BEYOND, 50);
    snprintf(wanted, sizeof wanted, "min_index is %llu", (unsigned long long)options.min_index);

    CHECK_CODE(ALMADIA_READ_TIMEOUT, almadia_get_with(store, "k", 1, &options, &value, &position, &error));
    CHECK(strstr(almadia_error_message(error), wanted) != NULL);
    CHECK(strstr(almadia_error_message(error), "has applied it up to index") != NULL);
    CHECK(almadia_code_is_retryable(almadia_error_code(error)) && !almadia_error_maybe_applied(error));
    CHECK(value == NULL && position.index == 7 && position.term == 7);
    almadia_error_free(error);
    error = NULL;

    CHECK_OK(almadia_get_with_async(store, "k", 1, &options, &done, &error));
    almadia_completion *completion = next(cq);
    CHECK_CODE(ALMADIA_READ_TIMEOUT, almadia_completion_code(completion));
    CHECK(strstr(almadia_error_message(almadia_completion_error(completion)), wanted) != NULL);
    CHECK(almadia_completion_index(completion) == 0);
    almadia_completion_free(completion);

    /* It shows every acknowledged write anyway. */
    options.level = ALMADIA_LEVEL_LINEARIZABLE;
    options.timeout_ms = 0;
    CHECK_OK(almadia_get_with(store, "k", 1, &options, &value, &position, &error));
    CHECK(position.index >= put.index);
    almadia_value_free(value);
}

static void a_read_that_waits_for_an_index_can_be_cancelled(almadia_store *store, almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_snapshot_options options = local_from(BEYOND, 600000);
    almadia_done done = ALMADIA_DONE_INIT;
    uint64_t op = 0;
    done.cq = cq;
    done.op = &op;
    CHECK_OK(almadia_get_with_async(store, "k", 1, &options, &done, &error));
    nothing_comes(cq);
    CHECK_OK(almadia_cancel(store, op, &error));
    almadia_completion *completion = next(cq);
    CHECK_CODE(ALMADIA_CANCELLED, almadia_completion_code(completion));
    CHECK(almadia_completion_op(completion) == op);
    almadia_completion_free(completion);
    nothing_comes(cq);
}

/* The peer of the region may not know yet what is applied; the program does. */
static void a_local_read_shows_what_its_program_has_just_written(almadia_store *store, almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.cq = cq;
    for (int number = 0; number < 200; number++) {
        almadia_value *value = NULL;
        almadia_position put = {0, 0};
        CHECK_OK(almadia_put_with(store, "now", 3, &number, sizeof number, NULL, &put, &error));
        almadia_snapshot_options options = local_from(put.index, 0);
        CHECK_OK(almadia_get_with(store, "now", 3, &options, &value, NULL, &error));
        CHECK(memcmp(almadia_value_data(value), &number, sizeof number) == 0);
        almadia_value_free(value);
        CHECK_OK(almadia_get_with_async(store, "now", 3, &options, &done, &error));
        almadia_completion *completion = next(cq);
        CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
        CHECK(almadia_completion_index(completion) >= put.index);
        value = almadia_completion_take_value(completion);
        CHECK(memcmp(almadia_value_data(value), &number, sizeof number) == 0);
        almadia_value_free(value);
        almadia_completion_free(completion);
    }
}

/* An index is one of a region: there is no such entry in the log of another. */
static void an_index_is_one_of_its_region(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    almadia_value *value = NULL;
    almadia_position position = {0, 0};
    char directory[4096];
    snprintf(directory, sizeof directory, "%s-regions", path);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "bootstrap.split_keys", "m", &error));
    CHECK_OK(almadia_store_open(directory, config, &store, &error));
    almadia_config_free(config);
    put_text(store, "a", "first");
    for (int number = 0; number < 100; number++)
        CHECK_OK(almadia_put_with(store, "z", 1, "second", 6, NULL, &position, &error));

    almadia_snapshot_options options = local_from(position.index, 50);
    CHECK_OK(almadia_get_with(store, "z", 1, &options, &value, &position, &error));
    CHECK(position.index >= options.min_index);
    almadia_value_free(value);
    CHECK_CODE(ALMADIA_READ_TIMEOUT, almadia_get_with(store, "a", 1, &options, &value, &position, &error));
    CHECK(strstr(almadia_error_message(error), "region 1") != NULL);
    almadia_error_free(error);
    error = NULL;
    options.min_index = 0;
    CHECK_OK(almadia_get_with(store, "a", 1, &options, &value, &position, &error));
    CHECK(position.index > 0 && position.index < 100);
    almadia_value_free(value);
    almadia_store_free(store);
}

/* A member whose companions do not exist answers from what it has, and from nothing else. */
static void a_local_read_needs_nobody(const char *path)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_position position = {0, 0};
    int ports[MEMBERS];
    char members[128];
    reserve_ports(ports);
    list_members(members, ports);
    char lonely[4096];
    snprintf(lonely, sizeof lonely, "%s-lonely", path);
    almadia_store *store = open_member(lonely, 1, members);
    almadia_snapshot_options options = local_from(0, 0);
    almadia_write_options writing = ALMADIA_WRITE_OPTIONS_INIT;
    writing.timeout_ms = 50;

    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_get_with(store, "k", 1, &options, &value, &position, &error));
    CHECK(position.index > 0 && position.term > 0 && error == NULL);
    options.level = ALMADIA_LEVEL_LINEARIZABLE;
    options.timeout_ms = 50;
    CHECK_CODE(ALMADIA_NO_LEADER, almadia_get_with(store, "k", 1, &options, &value, &position, NULL));
    CHECK_CODE(ALMADIA_NO_LEADER, almadia_put_with(store, "k", 1, "v", 1, &writing, &position, NULL));
    CHECK_CODE(ALMADIA_NO_LEADER, almadia_delete_with(store, "k", 1, &writing, &position, NULL));
    almadia_store_free(store);
}

/* A member that was away answers once it has the write that the caller knows of. */
static void a_read_on_a_member_that_lags_waits_for_a_write(const char *path)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_position put = {0, 0}, read = {0, 0};
    almadia_store *stores[MEMBERS];
    almadia_cq *cq = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    int ports[MEMBERS];
    char members[128];
    reserve_ports(ports);
    list_members(members, ports);
    for (int at = 0; at < MEMBERS; at++)
        stores[at] = open_member(path, at + 1, members);
    CHECK_OK(almadia_store_wait_leader(stores[0], 30000, NULL, &error));
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;
    CHECK_OK(almadia_store_shutdown(stores[2], 30000, &error));
    almadia_store_free(stores[2]);
    almadia_code code;
    do
        code = almadia_put_with(stores[0], "away", 4, "new", 3, NULL, &put, NULL);
    while (code != ALMADIA_OK);

    stores[2] = open_member(path, 3, members);
    almadia_snapshot_options options = local_from(put.index, 60000);
    CHECK_OK(almadia_get_with_async(stores[2], "away", 4, &options, &done, &error));
    CHECK_OK(almadia_get_with(stores[2], "away", 4, &options, &value, &read, &error));
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "new"));
    CHECK(read.index >= put.index && read.term >= put.term);
    almadia_value_free(value);
    almadia_completion *completion = next(cq);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK(almadia_completion_index(completion) >= put.index);
    almadia_completion_free(completion);

    /* What was read there is no news elsewhere. */
    options = local_from(read.index, 60000);
    CHECK_OK(almadia_get_with(stores[1], "away", 4, &options, &value, &read, &error));
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "new"));
    almadia_value_free(value);
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    almadia_cq_free(cq);
}

/* A value that was read, its number in its key's history, and the position that came with it. */
struct sighting {
    int number;
    almadia_position at;
};

static almadia_store *written_to;
static almadia_position places[WRITES];
static int written;

static void *write_on(void *argument)
{
    almadia_error *error = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    (void)argument;
    /* A change of leader takes less, and a write that was answered is applied once. */
    options.timeout_ms = 60000;
    for (int number = 0; number < WRITES; number++) {
        CHECK_OK(almadia_put_with(written_to, "n", 1, &number, sizeof number, &options, &places[number], &error));
        __atomic_store_n(&written, number + 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static struct sighting see(almadia_store *store, int32_t level)
{
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    struct sighting seen = {-1, {0, 0}};
    options.level = level;
    options.timeout_ms = 60000;
    almadia_code code = almadia_get_with(store, "n", 1, &options, &value, &seen.at, &error);
    if (code != ALMADIA_NOT_FOUND)
        CHECK_OK(code);
    if (code == ALMADIA_OK)
        memcpy(&seen.number, almadia_value_data(value), sizeof seen.number);
    almadia_value_free(value);
    return seen;
}

static struct sighting see_async(almadia_store *store, int32_t level, almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    struct sighting seen = {-1, {0, 0}};
    options.level = level;
    options.timeout_ms = 60000;
    done.cq = cq;
    CHECK_OK(almadia_get_with_async(store, "n", 1, &options, &done, &error));
    almadia_completion *completion = next(cq);
    almadia_value *value = almadia_completion_take_value(completion);
    CHECK((value == NULL) == (almadia_completion_code(completion) == ALMADIA_NOT_FOUND));
    seen.at.index = almadia_completion_index(completion);
    seen.at.term = almadia_completion_term(completion);
    if (value != NULL)
        memcpy(&seen.number, almadia_value_data(value), sizeof seen.number);
    almadia_value_free(value);
    almadia_completion_free(completion);
    return seen;
}

/*
 * While one thread writes 0, 1, 2 and so on, the position of a read is that of its value or of something behind it, and
 * before the next value: neither older nor newer than what was read. On the leader and on a follower, at both levels,
 * blocking and not.
 */
static void the_position_of_a_read_is_exactly_that_of_its_value(const char *path)
{
    enum { KINDS = 8, EACH_MAX = 100000 };
    static struct sighting seen[KINDS][EACH_MAX];
    int count = 0;
    almadia_error *error = NULL;
    almadia_store *stores[MEMBERS];
    almadia_cq *cq = NULL;
    pthread_t writer;
    open_cluster(path, stores);
    int leader = find_leader(stores);
    CHECK_OK(almadia_cq_new(&cq, &error));
    written_to = stores[leader];
    CHECK(pthread_create(&writer, NULL, write_on, NULL) == 0);
    for (; __atomic_load_n(&written, __ATOMIC_SEQ_CST) < WRITES && count < EACH_MAX; count++)
        for (int kind = 0; kind < KINDS; kind++) {
            almadia_store *store = stores[kind % 2 == 0 ? leader : (leader + 1) % MEMBERS];
            int32_t level = kind / 2 % 2 == 0 ? ALMADIA_LEVEL_LINEARIZABLE : ALMADIA_LEVEL_LOCAL;
            seen[kind][count] = kind < 4 ? see(store, level) : see_async(store, level, cq);
        }
    CHECK(pthread_join(writer, NULL) == 0);

    CHECK(count > 0);
    for (int kind = 0; kind < KINDS; kind++)
        for (int at = 0; at < count; at++) {
            struct sighting one = seen[kind][at];
            CHECK(one.number < 0 || one.at.index >= places[one.number].index);
            CHECK(one.number < 0 || one.at.term >= places[one.number].term);
            CHECK(one.number + 1 >= WRITES || one.at.index < places[one.number + 1].index);
        }
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    almadia_cq_free(cq);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char path[4096];
    almadia_cq *cq = NULL;
    CHECK_CODE(ALMADIA_OK, almadia_cq_new(&cq, NULL));
    almadia_store *store = open_single(argv[1]);
    options_of_zeros_are_the_defaults(store);
    what_a_get_has_not_is_refused(store);
    an_index_beyond_the_log_is_waited_for_in_vain(store, cq);
    a_read_that_waits_for_an_index_can_be_cancelled(store, cq);
    a_local_read_shows_what_its_program_has_just_written(store, cq);
    almadia_store_free(store);
    almadia_cq_free(cq);

    an_index_is_one_of_its_region(argv[1]);
    a_local_read_needs_nobody(argv[1]);
    snprintf(path, sizeof path, "%s-lagging", argv[1]);
    a_read_on_a_member_that_lags_waits_for_a_write(path);
    snprintf(path, sizeof path, "%s-exact", argv[1]);
    the_position_of_a_read_is_exactly_that_of_its_value(path);
    return 0;
}
