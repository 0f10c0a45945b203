/* transfer.c - leader transfers among three members: on request, refused, and by a shutdown. */
#include "cluster.h"

#include <pthread.h>

static uint64_t known_leader(almadia_store *store)
{
    almadia_status status = ALMADIA_STATUS_INIT;
    CHECK_CODE(ALMADIA_OK, almadia_store_status(store, &status, NULL));
    return status.leader_id;
}

/* The status of a member may be a moment older than its answers. */
static void wait_until_known(almadia_store *store, uint64_t leader)
{
    while (known_leader(store) != leader)
        sched_yield();
}

/* Retries until the leader has a connection to the target, which it may make only after its election. */
static void hand_over(almadia_store *leader, const almadia_leader_transfer_options *options)
{
    almadia_code code;
    while ((code = almadia_leader_transfer(leader, options, NULL)) != ALMADIA_OK) {
        CHECK_CODE(ALMADIA_LAGGING, code);
        sched_yield();
    }
}

static void leadership_goes_to_the_target(almadia_store *stores[MEMBERS])
{
    almadia_leader_transfer_options options = ALMADIA_LEADER_TRANSFER_OPTIONS_INIT;
    int leader = find_leader(stores), target = (leader + 1) % MEMBERS;
    options.target = (uint64_t)target + 1;
    options.timeout_ms = 10000;
    options.key = "any";
    options.key_length = 3;
    put_text(stores[leader], "written", "before");

    hand_over(stores[leader], &options);
    wait_until_known(stores[leader], options.target);
    hand_over(stores[target], &options);
    CHECK(find_leader(stores) == target);
    put_text(stores[leader], "written", "after");
    CHECK(holds(stores[target], "written", "after"));
}

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int answered;
} seen = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

static void on_done(void *user, almadia_completion *completion)
{
    CHECK(user == &seen);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK(almadia_completion_index(completion) == 0 && almadia_completion_take_snapshot(completion) == NULL);
    pthread_mutex_lock(&seen.lock);
    seen.answered++;
    pthread_cond_signal(&seen.changed);
    pthread_mutex_unlock(&seen.lock);
}

static void without_a_target_the_leader_chooses(almadia_store *stores[MEMBERS])
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    int leader = find_leader(stores);
    done.callback = on_done;
    done.user = &seen;

    CHECK_OK(almadia_leader_transfer_async(stores[leader], NULL, &done, &error));
    pthread_mutex_lock(&seen.lock);
    while (seen.answered == 0)
        pthread_cond_wait(&seen.changed, &seen.lock);
    pthread_mutex_unlock(&seen.lock);
    while (known_leader(stores[leader]) == (uint64_t)leader + 1)
        sched_yield();
}

static void an_impossible_transfer_is_refused(almadia_store *stores[MEMBERS])
{
    almadia_error *error = NULL;
    almadia_leader_transfer_options options = ALMADIA_LEADER_TRANSFER_OPTIONS_INIT;
    int leader = find_leader(stores), follower = (leader + 1) % MEMBERS;
    wait_until_known(stores[follower], (uint64_t)leader + 1);

    options.target = (uint64_t)leader + 1;
    CHECK_CODE(ALMADIA_NOT_LEADER, almadia_leader_transfer(stores[follower], &options, &error));
    CHECK(almadia_error_leader(error) == (uint64_t)leader + 1 && !almadia_error_maybe_applied(error));
    almadia_error_free(error);
    options.target = 9;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_leader_transfer(stores[leader], &options, &error));
    CHECK(strstr(almadia_error_message(error), "node 9") != NULL);
    almadia_error_free(error);
    options.struct_size = 8;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_leader_transfer(stores[leader], &options, NULL));
    CHECK(find_leader(stores) == leader);
}

static void a_member_that_shuts_down_hands_over_first(almadia_store *stores[MEMBERS])
{
    almadia_error *error = NULL;
    int leader = find_leader(stores), other = (leader + 1) % MEMBERS;

    CHECK_OK(almadia_store_shutdown(stores[leader], 10000, &error));

    /* It has seen another leader, so the others did not have to notice first that it was gone. */
    CHECK(known_leader(stores[leader]) != 0 && known_leader(stores[leader]) != (uint64_t)leader + 1);
    CHECK_CODE(ALMADIA_CLOSED, almadia_leader_transfer(stores[leader], NULL, NULL));
    put_text(stores[other], "written", "without it");
    CHECK(holds(stores[other], "written", "without it"));
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_store *stores[MEMBERS];
    open_cluster(argv[1], stores);
    leadership_goes_to_the_target(stores);
    without_a_target_the_leader_chooses(stores);
    an_impossible_transfer_is_refused(stores);
    a_member_that_shuts_down_hands_over_first(stores);
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
    return 0;
}
