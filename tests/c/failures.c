/*
 * failures.c - the errors of calls that cannot succeed: two of the three members do not exist, so there is no leader.
 */
#include "check.h"
#include "cluster.h"

#include <pthread.h>
#include <sched.h>

enum { IN_FLIGHT_MAX = 3 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int completed;

static almadia_store *open_without_others(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    int ports[MEMBERS];
    char members[128];
    reserve_ports(ports);
    list_members(members, ports);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "cluster.initial_members", members, &error));
    CHECK_OK(almadia_config_set(config, "limits.in_flight_ops", "3", &error));
    CHECK_OK(almadia_config_set(config, "write.timeout_ms", "50", &error));
    CHECK_OK(almadia_config_set(config, "read.timeout_ms", "50", &error));
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    return store;
}

/* A cluster of one, which such a list once made, would acknowledge writes that the other members never get. */
static void a_malformed_list_of_members_is_refused_when_it_is_set(void)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    const char *lists[] = {
        "1=127.0.0.1:7001;2=127.0.0.1:7002", "1=127.0.0.1:7001 2=127.0.0.1:7002", "1=127.0.0.1:7001\n2=127.0.0.1:7002",
        "1=127.0.0.1:7001,2=127.0.0.1:7001", "1=127.0.0.1:0",
    };
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    for (size_t at = 0; at < sizeof lists / sizeof *lists; at++) {
        CHECK_CODE(ALMADIA_INVALID_CONFIG, almadia_config_set(config, "cluster.initial_members", lists[at], &error));
        CHECK(strstr(almadia_error_message(error), "cluster.initial_members") != NULL);
        CHECK(strstr(almadia_error_message(error), "'1=host:port,2=host:port'") != NULL);
        almadia_error_free(error);
    }
    almadia_config_free(config);
}

static void a_directory_is_opened_once(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_CODE(ALMADIA_LOCKED, almadia_store_open(path, config, &store, &error));
    CHECK(store == NULL && strstr(almadia_error_message(error), path) != NULL);
    almadia_error_free(error);
    almadia_config_free(config);
}

static void a_path_that_cannot_be_made_is_an_error_with_errno(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    char below[4096];
    snprintf(below, sizeof below, "%s/missing/store", path);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_CODE(ALMADIA_IO, almadia_store_open(below, config, &store, &error));
    CHECK(store == NULL && almadia_error_errno(error) != 0);
    CHECK(strstr(almadia_error_message(error), below) != NULL && !almadia_error_maybe_applied(error));
    almadia_error_free(error);
    almadia_config_free(config);
}

static void blocking_calls_return_at_their_deadline(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_value *value = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    uint64_t leader = 7;
    options.timeout_ms = 20;

    CHECK_CODE(ALMADIA_NO_LEADER, almadia_store_wait_leader(store, 20, &leader, &error));
    CHECK(leader == 7 && strlen(almadia_error_message(error)) > 0);
    almadia_error_free(error);
    CHECK_CODE(ALMADIA_NO_LEADER, almadia_put(store, "k", 1, "v", 1, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_batch_new(&batch, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_batch_put(batch, "k", 1, "v", 1, NULL));
    CHECK_CODE(ALMADIA_NO_LEADER, almadia_write(store, batch, &options, NULL, NULL));
    CHECK(almadia_batch_count(batch) == 1);
    almadia_batch_free(batch);
    almadia_code code = almadia_snapshot_open(store, NULL, &snapshot, NULL);
    CHECK(almadia_code_is_retryable(code) && snapshot == NULL);
    code = almadia_get(store, "k", 1, &value, NULL);
    CHECK(almadia_code_is_retryable(code) && value == NULL);
}

static void on_done(void *user, almadia_completion *completion)
{
    const almadia_error *error = almadia_completion_error(completion);
    almadia_code code = almadia_completion_code(completion);
    CHECK(user == &completed && code != ALMADIA_OK && !almadia_code_maybe_applied(code));
    CHECK(almadia_error_code(error) == code && strlen(almadia_error_message(error)) > 0);
    CHECK(almadia_completion_index(completion) == 0 && almadia_completion_take_snapshot(completion) == NULL);
    pthread_mutex_lock(&lock);
    completed++;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void a_full_store_refuses_calls_at_once(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_status status = ALMADIA_STATUS_INIT;
    almadia_write_options long_timeout = ALMADIA_WRITE_OPTIONS_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = on_done;
    done.user = &completed;
    long_timeout.timeout_ms = 60 * 1000;

    CHECK_OK(almadia_batch_new(&batch, &error));
    for (int i = 0; i < IN_FLIGHT_MAX; i++) {
        CHECK_OK(almadia_batch_put(batch, "k", 1, "v", 1, &error));
        /* The calls before were answered at their deadlines, and count until the library's threads let go of them. */
        while (almadia_write_async(store, batch, &long_timeout, &done, &error) == ALMADIA_OVERLOADED) {
            almadia_error_free(error);
            error = NULL;
            sched_yield();
        }
        CHECK(error == NULL && almadia_batch_count(batch) == 0);
    }
    CHECK_OK(almadia_batch_put(batch, "k", 1, "v", 1, &error));
    CHECK_CODE(ALMADIA_OVERLOADED, almadia_write_async(store, batch, &long_timeout, &done, &error));
    CHECK(almadia_batch_count(batch) == 1 && !almadia_error_maybe_applied(error));
    almadia_error_free(error);
    CHECK_CODE(ALMADIA_OVERLOADED, almadia_snapshot_open_async(store, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_store_status(store, &status, NULL));
    CHECK(status.in_flight == IN_FLIGHT_MAX && status.leader_id == 0 && status.role != ALMADIA_ROLE_LEADER);
    almadia_batch_free(batch);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_store *store = open_without_others(argv[1]);
    done.callback = on_done;
    done.user = &completed;

    a_malformed_list_of_members_is_refused_when_it_is_set();
    a_directory_is_opened_once(argv[1]);
    a_path_that_cannot_be_made_is_an_error_with_errno(argv[1]);
    blocking_calls_return_at_their_deadline(store);
    CHECK_OK(almadia_put_async(store, "k", 1, "v", 1, &done, &error));
    CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    pthread_mutex_lock(&lock);
    while (completed < 2)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    a_full_store_refuses_calls_at_once(store);

    /* A shutdown completes the writes that would have waited for a minute: they were certainly not applied. */
    shut_down_at_once(store);
    CHECK(completed == 2 + IN_FLIGHT_MAX);
    CHECK_CODE(ALMADIA_CLOSED, almadia_put_async(store, "k", 1, "v", 1, &done, NULL));
    CHECK_CODE(ALMADIA_CLOSED, almadia_store_wait_leader(store, 0, NULL, NULL));
    almadia_store_free(store);
    return 0;
}
