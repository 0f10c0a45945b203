/*
 * cluster.h - three members of one cluster in one process, for the C tests that need more than one member.
 */
#ifndef CLUSTER_H
#define CLUSTER_H

#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MEMBERS = 3 };

static inline struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)port);
    return address;
}

/*
 * Reserves loopback ports until this process ends, also while their members are down, by sockets that are bound and
 * never listen. The system does not choose such a port for another socket, but a member can listen on it any number of
 * times.
 */
static inline void reserve_ports(int ports[MEMBERS])
{
    for (int at = 0; at < MEMBERS; at++) {
        struct sockaddr_in address = loopback(0);
        socklen_t length = sizeof address;
        int reserved = socket(AF_INET, SOCK_STREAM, 0), on = 1;
        /* The members' sockets set this too; they can share the port only if both do. */
        CHECK(setsockopt(reserved, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
        CHECK(bind(reserved, (struct sockaddr *)&address, length) == 0);
        CHECK(getsockname(reserved, (struct sockaddr *)&address, &length) == 0);
        ports[at] = ntohs(address.sin_port);
    }
}

static inline void set_option(almadia_config *config, const char *name, const char *value)
{
    almadia_error *error = NULL;
    CHECK_OK(almadia_config_set(config, name, value, &error));
}

/* The configuration of member `node` of `members`, or of a single-member store if `members` is NULL. */
static inline almadia_config *member_config(int node, const char *members)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    char number[16];
    snprintf(number, sizeof number, "%d", node);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    if (members != NULL) {
        set_option(config, "cluster.node_id", number);
        set_option(config, "cluster.initial_members", members);
    }
    return config;
}

/* Opens member `node` in a directory of its own beside `path`, and frees the configuration. */
static inline almadia_store *open_configured(const char *path, int node, almadia_config *config)
{
    almadia_error *error = NULL;
    almadia_store *store = NULL;
    char directory[4096];
    snprintf(directory, sizeof directory, "%s-%d", path, node);
    CHECK_OK(almadia_store_open(directory, config, &store, &error));
    almadia_config_free(config);
    return store;
}

static inline almadia_store *open_member(const char *path, int node, const char *members)
{
    return open_configured(path, node, member_config(node, members));
}

/* Puts a key and a value that are C strings; retries while the leader changes, as it may when a disk stalls. */
static inline void put_with_retries(almadia_store *store, const char *key, const char *value)
{
    almadia_code code;
    while ((code = almadia_put(store, key, strlen(key), value, strlen(value), NULL)) != ALMADIA_OK)
        CHECK(almadia_code_maybe_applied(code) || almadia_code_is_retryable(code));
}

/* The value of "cluster.initial_members", the same for all members. */
static inline void list_members(char list[128], const int ports[MEMBERS])
{
    snprintf(list, 128, "1=127.0.0.1:%d,2=127.0.0.1:%d,3=127.0.0.1:%d", ports[0], ports[1], ports[2]);
}

/*
 * Opens members 1, 2 and 3 in directories beside `path` and waits until all know a leader. The election timeout is long
 * enough that the leader stays while the disk stalls for a second or two, as a shared disk does.
 */
static inline void open_cluster(const char *path, almadia_store *stores[MEMBERS])
{
    almadia_error *error = NULL;
    int ports[MEMBERS];
    char members[128];
    reserve_ports(ports);
    list_members(members, ports);
    for (int at = 0; at < MEMBERS; at++) {
        almadia_config *config = member_config(at + 1, members);
        set_option(config, "raft.election_timeout_ms", "3000");
        stores[at] = open_configured(path, at + 1, config);
    }
    for (int at = 0; at < MEMBERS; at++)
        CHECK_OK(almadia_store_wait_leader(stores[at], 30000, NULL, &error));
}

/* Waits until a member reports that it leads; returns its index in `stores`. */
static inline int find_leader(almadia_store *stores[MEMBERS])
{
    for (int at = 0;; at = (at + 1) % MEMBERS) {
        almadia_status status = ALMADIA_STATUS_INIT;
        CHECK_CODE(ALMADIA_OK, almadia_store_status(stores[at], &status, NULL));
        if (status.role == ALMADIA_ROLE_LEADER)
            return at;
        sched_yield();
    }
}

#endif /* CLUSTER_H */
