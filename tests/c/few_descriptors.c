/*
 * few_descriptors.c - a process that may open few files.
 *
 * Two of three members write while the third is away, so their logs keep everything for it, in many small files. A log
 * must not hold a descriptor for each of them: the members would fail one after the other, and could not even be opened
 * again. A store that would not have enough says so when it is opened, and a program that takes the last descriptors
 * for a while does not end the stores beside it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "cluster.h"

enum { LIMIT = 256, VALUE_BYTES = 60000, VALUES = 300, TAKEN_MAX = 4096 };

static void limit_descriptors(rlim_t limit)
{
    struct rlimit limits;
    CHECK(getrlimit(RLIMIT_NOFILE, &limits) == 0);
    limits.rlim_cur = limit;
    CHECK(setrlimit(RLIMIT_NOFILE, &limits) == 0);
}

static almadia_store *open_with_small_segments(const char *path, int node, const char *members)
{
    almadia_config *config = member_config(node, members);
    set_option(config, "log.segment_bytes", "65536");
    set_option(config, "raft.election_timeout_ms", "3000");
    return open_configured(path, node, config);
}

static void put_large(almadia_store *store, int number)
{
    static char value[VALUE_BYTES];
    almadia_error *error = NULL;
    char key[16];
    snprintf(key, sizeof key, "%d", number % 4);
    if (almadia_put(store, key, strlen(key), value, sizeof value, &error) != ALMADIA_OK) {
        fprintf(stderr, "put %d: %s\n", number, almadia_error_message(error));
        exit(1);
    }
}

static uint64_t log_segments(almadia_store *store)
{
    almadia_status status = ALMADIA_STATUS_INIT;
    CHECK_CODE(ALMADIA_OK, almadia_store_status(store, &status, NULL));
    CHECK(status.poisoned == ALMADIA_OK);
    return status.log_segments;
}

static void a_store_without_enough_is_refused(const char *path)
{
    almadia_config *config = member_config(1, NULL);
    almadia_error *error = NULL;
    almadia_store *store = NULL;
    limit_descriptors(60);
    CHECK_CODE(ALMADIA_IO, almadia_store_open(path, config, &store, &error));
    CHECK(almadia_error_errno(error) == EMFILE);
    CHECK(strstr(almadia_error_message(error), "ulimit -n") != NULL);
    almadia_error_free(error);
    almadia_config_free(config);
    limit_descriptors(LIMIT);
}

static void a_queue_without_a_descriptor_is_refused(void)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    CHECK_CODE(ALMADIA_IO, almadia_cq_new(&cq, &error));
    CHECK(cq == NULL && almadia_error_errno(error) == EMFILE);
    almadia_error_free(error);
}

/* More than the bytes left in the newest file, less than those of another. */
static void writes_go_on_while_the_program_has_all_descriptors(almadia_store *store)
{
    static int taken[TAKEN_MAX];
    int count = 0;
    /* The file that comes next is prepared with the second half of the newest one. */
    put_large(store, 0);
    put_large(store, 1);
    while (count < TAKEN_MAX && (taken[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        count++;
    CHECK(errno == EMFILE);
    a_queue_without_a_descriptor_is_refused();
    put_large(store, 2);
    while (count > 0)
        CHECK(close(taken[--count]) == 0);
    put_large(store, 3);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    int ports[MEMBERS];
    char members[128];
    almadia_error *error = NULL;
    almadia_store *stores[2];

    a_store_without_enough_is_refused(argv[1]);
    reserve_ports(ports);
    list_members(members, ports);
    for (int at = 0; at < 2; at++)
        stores[at] = open_with_small_segments(argv[1], at + 1, members);
    CHECK_OK(almadia_store_wait_leader(stores[0], 30000, NULL, &error));
    for (int number = 0; number < VALUES; number++)
        put_large(stores[0], number);
    for (int at = 0; at < 2; at++)
        CHECK(log_segments(stores[at]) > LIMIT);
    writes_go_on_while_the_program_has_all_descriptors(stores[0]);
    for (int at = 0; at < 2; at++) {
        shut_down_at_once(stores[at]);
        almadia_store_free(stores[at]);
        stores[at] = open_with_small_segments(argv[1], at + 1, members);
    }

    /* The third member reads all of it from those files. */
    almadia_store *third = open_with_small_segments(argv[1], 3, members);
    CHECK_OK(almadia_store_wait_leader(third, 30000, NULL, &error));
    put_with_retries(third, "last", "write");
    CHECK(holds(third, "last", "write"));
    for (int at = 0; at < 2; at++)
        almadia_store_free(stores[at]);
    almadia_store_free(third);
    return 0;
}
