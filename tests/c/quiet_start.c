/*
 * quiet_start.c - three members that start one after the other log no warning: a member that is not there yet is no
 * news. One that stays away is.
 */
#include "cluster.h"

#include <pthread.h>

/* Longer than any start takes, so that "not there yet" does not depend on the speed of the machine. */
#define PATIENT_MS "600000"
/* The shortest that fits the other options. */
#define IMPATIENT_MS "300"

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int failed_dials, connected, warnings, away;
} seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0, 0};

static void listen_to_log(void *user, almadia_log_level level, const char *target, const char *message)
{
    (void)user;
    if (strstr(target, "almadia") == NULL)
        return;
    pthread_mutex_lock(&seen.lock);
    if (strstr(message, "cannot connect to node") != NULL) {
        seen.failed_dials++;
        seen.away += level <= ALMADIA_LOG_WARN;
    }
    seen.connected += strncmp(message, "connected to node", 17) == 0;
    if (level <= ALMADIA_LOG_WARN && seen.warnings++ == 0)
        fprintf(stderr, "%s: %s\n", target, message);
    pthread_cond_broadcast(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void wait_until(const int *count, int least)
{
    pthread_mutex_lock(&seen.lock);
    while (*count < least)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
}

static almadia_store *open_with_timeout(const char *path, int node, const char *members, const char *election_timeout_ms)
{
    almadia_config *config = member_config(node, members);
    set_option(config, "raft.election_timeout_ms", election_timeout_ms);
    return open_configured(path, node, config);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    almadia_store *stores[MEMBERS];
    int ports[MEMBERS];
    char members[128];
    reserve_ports(ports);
    list_members(members, ports);
    CHECK_OK(almadia_log_set_callback(listen_to_log, NULL, ALMADIA_LOG_DEBUG, &error));

    for (int at = 0; at < MEMBERS; at++) {
        stores[at] = open_with_timeout(argv[1], at + 1, members, PATIENT_MS);
        /* Each finds somebody missing, except the last. */
        if (at + 1 < MEMBERS)
            wait_until(&seen.failed_dials, at + 1);
    }
    wait_until(&seen.connected, MEMBERS * (MEMBERS - 1));
    for (int at = 0; at < MEMBERS; at++) {
        shut_down_at_once(stores[at]);
        almadia_store_free(stores[at]);
    }
    CHECK(seen.warnings == 0);

    stores[0] = open_with_timeout(argv[1], 1, members, IMPATIENT_MS);
    wait_until(&seen.away, MEMBERS - 1);
    almadia_store_free(stores[0]);
    CHECK_OK(almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, &error));
    return 0;
}
