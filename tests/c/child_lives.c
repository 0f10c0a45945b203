/*
 * child_lives.c - a child process that stays alive, with all descriptors of its parent, holds neither directories nor
 * ports: the parent closes its stores and opens them again, in the same directories and on the same ports.
 */
#include "cluster.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { ROUNDS = 5 };

static void open_all(const char *path, const int ports[MEMBERS], almadia_store *stores[MEMBERS])
{
    almadia_error *error = NULL;
    char members[128];
    list_members(members, ports);
    for (int at = 0; at < MEMBERS; at++)
        stores[at] = open_member(path, at + 1, members);
    for (int at = 0; at < MEMBERS; at++)
        CHECK_OK(almadia_store_wait_leader(stores[at], 30000, NULL, &error));
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_store *stores[MEMBERS];
    pid_t children[ROUNDS];
    int ports[MEMBERS];
    char value[16];
    reserve_ports(ports);
    open_all(argv[1], ports, stores);
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(value, sizeof value, "%d", round);
        put_with_retries(stores[0], "round", value);
        children[round] = fork();
        if (children[round] == 0) {
            CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* also if a check in the parent fails */
            for (;;)
                pause();
        }
        CHECK(children[round] > 0);
        for (int at = 0; at < MEMBERS; at++)
            almadia_store_free(stores[at]);
        open_all(argv[1], ports, stores);
        CHECK(holds(stores[round % MEMBERS], "round", value));
    }
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(kill(children[round], SIGKILL) == 0);
        CHECK(waitpid(children[round], NULL, 0) == children[round]);
    }
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    return 0;
}
