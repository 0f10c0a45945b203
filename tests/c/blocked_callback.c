/*
 * blocked_callback.c - callbacks that block for a long time, on the leader and on a follower of a cluster of three: the
 * heartbeats must continue, so that no other member is elected, and every member must still read and write.
 *
 * Usage: blocked_callback DIRECTORY MILLISECONDS.
 */
#include "cluster.h"

#include <pthread.h>
#include <time.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool released;
static int started, ended, ran_behind;

static void block(void *user, almadia_completion *completion)
{
    (void)user;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    pthread_mutex_lock(&lock);
    started++;
    pthread_cond_broadcast(&changed);
    while (!released)
        pthread_cond_wait(&changed, &lock);
    ended++;
    pthread_mutex_unlock(&lock);
}

/* Queued behind a blocked callback of the same member: runs only once that is released. */
static void count_behind(void *user, almadia_completion *completion)
{
    (void)user;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    pthread_mutex_lock(&lock);
    CHECK(released);
    ran_behind++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static long now_ms(void)
{
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void submit(almadia_store *store, almadia_callback callback)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = callback;
    CHECK_OK(almadia_put_async(store, "async", 5, "v", 1, &done, &error));
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    long blocked_ms = atol(argv[2]);
    almadia_error *error = NULL;
    almadia_store *stores[MEMBERS];
    almadia_status before = ALMADIA_STATUS_INIT, after = ALMADIA_STATUS_INIT;
    open_cluster(argv[1], stores);
    int leader = find_leader(stores), follower = (leader + 1) % MEMBERS, rounds = 0;
    CHECK_OK(almadia_store_status(stores[leader], &before, &error));

    submit(stores[leader], block);
    submit(stores[follower], block);
    pthread_mutex_lock(&lock);
    while (started < 2)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);

    for (long until = now_ms() + blocked_ms; now_ms() < until; rounds++)
        for (int at = 0; at < MEMBERS; at++) {
            char key[32];
            snprintf(key, sizeof key, "%d/%d", at, rounds);
            put_text(stores[at], key, "written meanwhile");
            CHECK(holds(stores[(at + 1) % MEMBERS], key, "written meanwhile"));
            CHECK_OK(almadia_store_status(stores[at], &after, &error));
            CHECK(after.leader_id == (uint64_t)leader + 1 && after.term == before.term);
            if (rounds < 10 && at != (leader + 2) % MEMBERS)
                submit(stores[at], count_behind);
        }

    pthread_mutex_lock(&lock);
    CHECK(rounds >= 10 && ended == 0 && ran_behind == 0);
    released = true;
    pthread_cond_broadcast(&changed);
    while (ran_behind < 20)
        pthread_cond_wait(&changed, &lock);
    CHECK(ended == 2);
    pthread_mutex_unlock(&lock);
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    printf("%d writes and reads on each member while two callbacks blocked for %ld ms\n", rounds, blocked_ms);
    return 0;
}
