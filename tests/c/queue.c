/* queue.c - completion queues, cancellation, reads of many keys, store events, metrics and the log callback. */
#include "check.h"

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

enum { CALLS = 1000 };

static bool is_readable(almadia_cq *cq, int timeout_ms)
{
    struct pollfd polled = {almadia_cq_fd(cq), POLLIN, 0};
    return poll(&polled, 1, timeout_ms) == 1;
}

/* Waits for a completion and pops it. */
static almadia_completion *pop_one(almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_completion *completion = NULL;
    size_t count = 0;
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, 30000, &error));
    CHECK(count == 1);
    return completion;
}

static void many_completions_come_in_order_through_one_descriptor(almadia_store *store, almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_completion *popped[64];
    uint64_t last = 0;
    int taken = 0;
    static char users[CALLS];

    CHECK(!is_readable(cq, 0));
    for (int call = 0; call < CALLS; call++) {
        almadia_done done = ALMADIA_DONE_INIT;
        done.cq = cq;
        done.user = &users[call];
        CHECK_OK(almadia_put_async(store, &call, sizeof call, "v", 1, &done, &error));
    }
    while (taken < CALLS) {
        size_t count = 0;
        CHECK(is_readable(cq, 30000));
        CHECK_OK(almadia_cq_pop(cq, popped, 64, &count, 0, &error));
        for (size_t at = 0; at < count; at++, taken++) {
            CHECK_CODE(ALMADIA_OK, almadia_completion_code(popped[at]));
            CHECK(almadia_completion_user(popped[at]) == &users[taken]);
            CHECK(almadia_completion_op(popped[at]) == 0);
            CHECK(almadia_completion_index(popped[at]) >= last && almadia_completion_term(popped[at]) > 0);
            last = almadia_completion_index(popped[at]);
            almadia_completion_free(popped[at]);
        }
    }
    CHECK(!is_readable(cq, 0));
}

static void reads_come_through_the_queue(almadia_store *store, almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_slice keys[3] = {{"a", 1}, {"missing", 7}, {"", 0}};
    almadia_slice found;
    uint64_t op = 0;
    done.cq = cq;
    done.op = &op;
    put_text(store, "a", "1");
    put_text(store, "", "empty key");

    CHECK_OK(almadia_get_async(store, "a", 1, &done, &error));
    almadia_completion *completion = pop_one(cq);
    CHECK(op > 0 && almadia_completion_op(completion) == op);
    almadia_value *value = almadia_completion_take_value(completion);
    CHECK(almadia_completion_take_value(completion) == NULL);
    almadia_completion_free(completion);
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "1"));
    almadia_value_free(value);

    CHECK_OK(almadia_get_async(store, "missing", 7, &done, &error));
    completion = pop_one(cq);
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_completion_code(completion));
    CHECK(almadia_completion_error(completion) == NULL && almadia_completion_take_value(completion) == NULL);
    almadia_completion_free(completion);

    CHECK_OK(almadia_multi_get_async(store, keys, 3, NULL, &done, &error));
    completion = pop_one(cq);
    almadia_values *values = almadia_completion_take_values(completion);
    almadia_completion_free(completion);
    CHECK(almadia_values_count(values) == 3);
    CHECK_CODE(ALMADIA_OK, almadia_values_at(values, 0, &found));
    CHECK(is_text(found.data, found.size, "1"));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_values_at(values, 1, &found));
    CHECK_CODE(ALMADIA_OK, almadia_values_at(values, 2, &found));
    CHECK(is_text(found.data, found.size, "empty key"));
    CHECK_CODE(ALMADIA_END, almadia_values_at(values, 3, &found));
    almadia_values_free(values);

    CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    completion = pop_one(cq);
    almadia_snapshot *snapshot = almadia_completion_take_snapshot(completion);
    almadia_completion_free(completion);
    CHECK_OK(almadia_delete_async(store, "a", 1, &done, &error));
    almadia_completion_free(pop_one(cq));
    CHECK(holds(store, "a", NULL));
    CHECK_OK(almadia_snapshot_multi_get(snapshot, keys, 2, &values, &error));
    CHECK_CODE(ALMADIA_OK, almadia_values_at(values, 0, &found));
    CHECK(is_text(found.data, found.size, "1"));
    almadia_values_free(values);
    almadia_snapshot_free(snapshot);

    CHECK_OK(almadia_multi_get(store, keys, 3, NULL, &values, &error));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_values_at(values, 0, &found));
    almadia_values_free(values);
    CHECK_OK(almadia_multi_get(store, NULL, 0, NULL, &values, &error));
    CHECK(almadia_values_count(values) == 0);
    almadia_values_free(values);
}

static void a_completed_call_cannot_be_cancelled(almadia_store *store, almadia_cq *cq)
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    uint64_t op = 0;
    done.cq = cq;
    done.op = &op;

    CHECK_OK(almadia_put_async(store, "c", 1, "v", 1, &done, &error));
    almadia_completion_free(pop_one(cq));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_cancel(store, op, &error));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_cancel(store, 0, &error));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_cancel(store, UINT64_MAX, &error));
    CHECK(error == NULL);
}

/* However the race ends, there is one completion, and its code is true. */
static void a_cancelled_call_completes_once_with_a_true_code(almadia_store *store, almadia_cq *cq)
{
    almadia_error *error = NULL;
    for (int round = 0; round < 500; round++) {
        char key[16];
        uint64_t op = 0;
        almadia_done done = ALMADIA_DONE_INIT;
        done.cq = cq;
        done.op = &op;
        snprintf(key, sizeof key, "r%d", round);
        CHECK_OK(almadia_put_async(store, key, strlen(key), "v", 1, &done, &error));
        almadia_code cancelled = almadia_cancel(store, op, NULL);
        almadia_completion *completion = pop_one(cq);
        almadia_code code = almadia_completion_code(completion);
        CHECK(almadia_completion_op(completion) == op);
        almadia_completion_free(completion);
        CHECK_CODE(ALMADIA_NOT_FOUND, almadia_cancel(store, op, NULL));
        if (code == ALMADIA_OK)
            CHECK(cancelled == ALMADIA_NOT_FOUND && holds(store, key, "v"));
        else if (code == ALMADIA_CANCELLED)
            CHECK(cancelled == ALMADIA_OK && holds(store, key, NULL));
        else
            CHECK(cancelled == ALMADIA_OK && code == ALMADIA_CANCELLED_IN_FLIGHT);
    }
}

static void *interrupt(void *cq)
{
    almadia_cq_interrupt(cq);
    return NULL;
}

static void a_pop_ends_on_timeout_interruption_and_shutdown(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    almadia_completion *completion = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    pthread_t thread;
    size_t count = 9;
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;

    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, 1, &error));
    CHECK(count == 0);
    CHECK(pthread_create(&thread, NULL, interrupt, cq) == 0);
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, -1, &error));
    CHECK(count == 0 && pthread_join(thread, NULL) == 0);
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_cq_pop(cq, &completion, 0, &count, 0, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_cq_pop(cq, &completion, 1, &count, -2, NULL));

    CHECK_OK(almadia_put_async(store, "s", 1, "v", 1, &done, &error));
    almadia_cq_shutdown(cq);
    CHECK_CODE(ALMADIA_CLOSED, almadia_put_async(store, "t", 1, "v", 1, &done, NULL));
    almadia_completion_free(pop_one(cq));
    CHECK_CODE(ALMADIA_CLOSED, almadia_cq_pop(cq, &completion, 1, &count, -1, &error));
    CHECK(error == NULL && is_readable(cq, 0));
    almadia_cq_free(cq);
}

static void completions_that_are_not_popped_are_dropped_with_the_queue(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;
    for (int call = 0; call < 100; call++)
        CHECK_OK(almadia_snapshot_open_async(store, NULL, &done, &error));
    CHECK(is_readable(cq, 30000));
    almadia_cq_free(cq);
    put_text(store, "after", "all");
}

static void a_done_names_either_a_callback_or_a_queue(almadia_store *store, almadia_cq *cq, almadia_callback callback)
{
    almadia_done done = ALMADIA_DONE_INIT;
    CHECK_CODE(ALMADIA_NULL_POINTER, almadia_put_async(store, "k", 1, "v", 1, &done, NULL));
    done.cq = cq;
    done.callback = callback;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_put_async(store, "k", 1, "v", 1, &done, NULL));
}

static void never_called(void *user, almadia_completion *completion)
{
    (void)user, (void)completion;
    CHECK(false);
}

static void operations_are_appended_all_or_none(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    almadia_op ops[4] = {
        {ALMADIA_OP_PUT, 0, {"o1", 2}, {"1", 1}},
        {ALMADIA_OP_PUT, 0, {"o2", 2}, {"2", 1}},
        {ALMADIA_OP_DELETE, 0, {"o1", 2}, {NULL, 0}},
        {ALMADIA_OP_DELETE_RANGE, 0, {"p", 1}, {"q", 1}},
    };
    put_text(store, "p1", "in the range");
    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_batch_append_ops(batch, ops, 4, &error));
    CHECK(almadia_batch_count(batch) == 4);
    ops[3].kind = 99;
    CHECK_CODE(ALMADIA_UNSUPPORTED, almadia_batch_append_ops(batch, ops, 4, &error));
    CHECK(strstr(almadia_error_message(error), "ops[3]") != NULL);
    almadia_error_free(error);
    error = NULL;
    ops[2].value.data = "x";
    ops[2].value.size = 1;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_batch_append_ops(batch, ops, 3, NULL));
    CHECK_CODE(ALMADIA_NULL_POINTER, almadia_batch_append_ops(batch, NULL, 1, NULL));
    CHECK_OK(almadia_batch_append_ops(batch, NULL, 0, &error));
    CHECK(almadia_batch_count(batch) == 4);
    CHECK_OK(almadia_write(store, batch, NULL, NULL, &error));
    CHECK(holds(store, "o1", NULL) && holds(store, "o2", "2") && holds(store, "p1", NULL));
    almadia_batch_free(batch);
}

static void metrics_count_calls(almadia_store *store)
{
    almadia_error *error = NULL;
    almadia_value *text = NULL;
    CHECK_OK(almadia_store_metrics(store, &text, &error));
    size_t size = almadia_value_size(text);
    char *copy = malloc(size + 1);
    CHECK(copy != NULL);
    memcpy(copy, almadia_value_data(text), size);
    copy[size] = '\0';
    almadia_value_free(text);
    const char *names[] = {"propose", "sync", "commit", "apply", "write", "read_index", "callback_delay", "callback"};
    for (size_t at = 0; at < sizeof names / sizeof *names; at++) {
        char line[96];
        snprintf(line, sizeof line, "# TYPE almadia_%s_seconds histogram\n", names[at]);
        CHECK(strstr(copy, line) != NULL);
    }
    unsigned long long writes = 0;
    const char *count = strstr(copy, "\nalmadia_write_seconds_count ");
    CHECK(count != NULL && sscanf(count, "\nalmadia_write_seconds_count %llu", &writes) == 1);
    CHECK(writes > CALLS);
    unsigned long long written = 0;
    count = strstr(copy, "\nalmadia_calls_total{call=\"write\",code=\"OK\"} ");
    CHECK(count != NULL && sscanf(count, "\nalmadia_calls_total{call=\"write\",code=\"OK\"} %llu", &written) == 1);
    CHECK(written > CALLS && written <= writes);
    CHECK(strstr(copy, "\nalmadia_leader_id 1\n") != NULL);
    free(copy);
}

struct received {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t leader;
    int records;
};

static void on_store_event(void *user, const almadia_store_event *event)
{
    struct received *received = user;
    CHECK(event->struct_size == sizeof *event && event->kind == ALMADIA_STORE_EVENT_LEADER_CHANGED);
    CHECK(event->region_id == 1 && event->code == ALMADIA_OK);
    pthread_mutex_lock(&received->lock);
    received->leader = event->leader_id;
    pthread_cond_signal(&received->changed);
    pthread_mutex_unlock(&received->lock);
}

static void on_log(void *user, almadia_log_level level, const char *target, const char *message)
{
    struct received *received = user;
    CHECK(level >= ALMADIA_LOG_ERROR && level <= ALMADIA_LOG_DEBUG);
    CHECK(strncmp(target, "almadia", 7) == 0 && strlen(message) > 0);
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, NULL));
    pthread_mutex_lock(&received->lock);
    received->records++;
    pthread_cond_signal(&received->changed);
    pthread_mutex_unlock(&received->lock);
}

static void leader_changes_and_log_records_are_reported(const char *path)
{
    struct received received = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    char other[4096];
    snprintf(other, sizeof other, "%s-other", path);

    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_log_set_callback(on_log, &received, 0, NULL));
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_log_set_callback(on_log, &received, 6, NULL));
    CHECK_OK(almadia_log_set_callback(on_log, &received, ALMADIA_LOG_TRACE, &error));
    CHECK_OK(almadia_log_set_callback(on_log, &received, ALMADIA_LOG_DEBUG, &error));
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set_event_callback(config, on_store_event, &received, &error));
    CHECK_OK(almadia_store_open(other, config, &store, &error));
    pthread_mutex_lock(&received.lock);
    while (received.leader != 1 || received.records == 0)
        pthread_cond_wait(&received.changed, &received.lock);
    pthread_mutex_unlock(&received.lock);
    almadia_store_free(store);
    CHECK_OK(almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, &error));
    int records = received.records;
    CHECK_OK(almadia_config_set_event_callback(config, NULL, NULL, &error));
    CHECK_OK(almadia_store_open(other, config, &store, &error));
    almadia_store_free(store);
    CHECK(received.records == records);
    almadia_config_free(config);
}

int main(int count, char **arguments)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    CHECK(count == 2);
    almadia_store *store = open_single(arguments[1]);
    CHECK_OK(almadia_cq_new(&cq, &error));
    CHECK(almadia_cq_fd(cq) >= 0 && almadia_cq_fd(NULL) == -1);

    many_completions_come_in_order_through_one_descriptor(store, cq);
    reads_come_through_the_queue(store, cq);
    a_completed_call_cannot_be_cancelled(store, cq);
    a_cancelled_call_completes_once_with_a_true_code(store, cq);
    a_pop_ends_on_timeout_interruption_and_shutdown(store);
    completions_that_are_not_popped_are_dropped_with_the_queue(store);
    a_done_names_either_a_callback_or_a_queue(store, cq, never_called);
    operations_are_appended_all_or_none(store);
    metrics_count_calls(store);
    leader_changes_and_log_records_are_reported(arguments[1]);

    /* A completion stays in its queue after the store is freed. */
    almadia_done done = ALMADIA_DONE_INIT;
    done.cq = cq;
    CHECK_OK(almadia_put_async(store, "last", 4, "v", 1, &done, &error));
    CHECK_OK(almadia_store_shutdown(store, 10000, &error));
    almadia_store_free(store);
    almadia_completion *completion = pop_one(cq);
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    almadia_completion_free(completion);
    almadia_cq_free(cq);
    return 0;
}
