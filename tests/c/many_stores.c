/*
 * many_stores.c - several stores in one process at the same time: the members of a cluster of two and of a cluster of
 * three, and a single one. Each has its own data, and closing one does not affect those of other clusters.
 */
#include "cluster.h"

/* Opens member `node` of the cluster of two. */
static almadia_store *open_of_two(const char *path, int node, const int ports[MEMBERS])
{
    char members[64];
    snprintf(members, sizeof members, "1=127.0.0.1:%d,2=127.0.0.1:%d", ports[0], ports[1]);
    almadia_config *config = member_config(node, members);
    set_option(config, "raft.election_timeout_ms", "3000"); /* as in open_cluster */
    return open_configured(path, node, config);
}

static almadia_store *open_alone(const char *path)
{
    char directory[4096];
    snprintf(directory, sizeof directory, "%s-alone", path);
    return open_single(directory);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    almadia_store *three[MEMBERS], *two[2], *alone;
    char path_of_two[4096];
    int ports[MEMBERS];
    uint64_t leaders[2] = {0, 0};

    open_cluster(argv[1], three);
    snprintf(path_of_two, sizeof path_of_two, "%s-two", argv[1]);
    reserve_ports(ports);
    for (int at = 0; at < 2; at++)
        two[at] = open_of_two(path_of_two, at + 1, ports);
    alone = open_alone(argv[1]);
    for (int at = 0; at < 2; at++)
        CHECK_OK(almadia_store_wait_leader(two[at], 30000, &leaders[at], &error));
    CHECK(leaders[0] == leaders[1]);

    for (int round = 0; round < 100; round++) {
        char key[16];
        snprintf(key, sizeof key, "%d", round);
        put_text(three[round % 3], key, "of three");
        put_with_retries(two[round % 2], key, "of two");
        put_text(alone, key, "alone");
        CHECK(holds(three[(round + 1) % 3], key, "of three"));
        CHECK(holds(two[(round + 1) % 2], key, "of two"));
        CHECK(holds(alone, key, "alone"));
    }

    /* One of three is closed: two are a majority. One of two is closed: one is not. */
    int closed = find_leader(three), remaining = (closed + 1) % MEMBERS;
    almadia_store_free(three[closed]);
    put_with_retries(three[remaining], "k", "of the rest");
    almadia_store_free(two[0]);
    almadia_batch *batch = NULL;
    almadia_write_options short_timeout = ALMADIA_WRITE_OPTIONS_INIT;
    short_timeout.timeout_ms = 300;
    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_put(batch, "k", 1, "lost", 4, &error));
    almadia_code code = almadia_write(two[1], batch, &short_timeout, NULL, &error);
    CHECK(code != ALMADIA_OK && code / 100 <= 4);
    /* The message says which member reports it, this one or the leader that it knew, and what it knows of a leader. */
    const char *message = almadia_error_message(error);
    CHECK(strstr(message, "node 2 ") != NULL || strstr(message, "at the leader, node 1") != NULL);
    almadia_error_free(error);
    error = NULL;
    almadia_batch_free(batch);
    put_text(alone, "k", "untouched");
    CHECK(holds(alone, "k", "untouched"));

    /* The member comes back, and its cluster works again. */
    two[0] = open_of_two(path_of_two, 1, ports);
    CHECK_OK(almadia_store_wait_leader(two[0], 30000, NULL, &error));
    put_with_retries(two[0], "k", "back");
    CHECK(holds(two[1], "k", "back") && holds(two[0], "99", "of two"));
    almadia_store_free(two[0]);
    almadia_store_free(two[1]);
    almadia_store_free(alone);
    CHECK(holds(three[(closed + 2) % MEMBERS], "k", "of the rest"));
    almadia_store_free(three[remaining]);
    almadia_store_free(three[(closed + 2) % MEMBERS]);
    return 0;
}
