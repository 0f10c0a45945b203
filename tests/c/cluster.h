/*
 * cluster.h - three members of one cluster in one process, for the C tests that need more than one.
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

/* Ports of loopback on which nobody listens. */
static inline void find_free_ports(int ports[MEMBERS])
{
    int sockets[MEMBERS];
    for (int at = 0; at < MEMBERS; at++) {
        struct sockaddr_in address;
        socklen_t length = sizeof address;
        memset(&address, 0, sizeof address);
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        sockets[at] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(bind(sockets[at], (struct sockaddr *)&address, length) == 0);
        CHECK(getsockname(sockets[at], (struct sockaddr *)&address, &length) == 0);
        ports[at] = ntohs(address.sin_port);
    }
    for (int at = 0; at < MEMBERS; at++)
        close(sockets[at]);
}

static inline almadia_store *open_member(const char *path, int node, const char *members)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    char directory[4096], number[16];
    snprintf(directory, sizeof directory, "%s-%d", path, node);
    snprintf(number, sizeof number, "%d", node);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "cluster.node_id", number, &error));
    CHECK_OK(almadia_config_set(config, "cluster.initial_members", members, &error));
    CHECK_OK(almadia_store_open(directory, config, &store, &error));
    almadia_config_free(config);
    return store;
}

/* Opens members 1, 2 and 3 in directories beside `path` and waits until all know a leader. */
static inline void open_cluster(const char *path, almadia_store *stores[MEMBERS])
{
    almadia_error *error = NULL;
    int ports[MEMBERS];
    char members[128];
    find_free_ports(ports);
    snprintf(members, sizeof members, "1=127.0.0.1:%d,2=127.0.0.1:%d,3=127.0.0.1:%d", ports[0], ports[1], ports[2]);
    for (int at = 0; at < MEMBERS; at++)
        stores[at] = open_member(path, at + 1, members);
    for (int at = 0; at < MEMBERS; at++)
        CHECK_OK(almadia_store_wait_leader(stores[at], 30000, NULL, &error));
}

/* The place in `stores` of the member that leads and knows it. */
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
