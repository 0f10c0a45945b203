/*
 * cancelled.c - cancelled calls: before a call has started it certainly has no effect; once a leader has it in its log,
 * its outcome is unknown. A second cancel changes nothing, and each call still completes exactly once.
 */
#include "cluster.h"

/* Waits for a completion and pops it; returns its code, and its call number in `op`. */
static almadia_code pop_code(almadia_cq *cq, uint64_t *op)
{
    almadia_error *error = NULL;
    almadia_completion *completion = NULL;
    size_t count = 0;
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, 30000, &error));
    CHECK(count == 1);
    almadia_code code = almadia_completion_code(completion);
    CHECK(almadia_error_code(almadia_completion_error(completion)) == code);
    *op = almadia_completion_op(completion);
    almadia_completion_free(completion);
    return code;
}

static void check_empty(almadia_cq *cq)
{
    almadia_completion *completion = NULL;
    size_t count = 9;
    CHECK_CODE(ALMADIA_OK, almadia_cq_pop(cq, &completion, 1, &count, 0, NULL));
    CHECK(count == 0);
}

/* A member of three, of which the others do not exist: no call can ever start. */
static almadia_store *open_without_others(const char *path)
{
    char directory[4096];
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    int ports[MEMBERS];
    char members[128];
    reserve_ports(ports);
    list_members(members, ports);
    snprintf(directory, sizeof directory, "%s-lonely", path);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "cluster.initial_members", members, &error));
    CHECK_OK(almadia_config_set(config, "write.timeout_ms", "600000", &error));
    CHECK_OK(almadia_config_set(config, "read.timeout_ms", "600000", &error));
    CHECK_OK(almadia_store_open(directory, config, &store, &error));
    almadia_config_free(config);
    return store;
}

enum { KINDS = 9 };

/* Starts a call of this kind. */
static almadia_code start(almadia_store *store, int kind, almadia_batch *batch, const almadia_done *done)
{
    almadia_slice key = {"k", 1};
    switch (kind) {
    case 0:
        return almadia_put_async(store, "k", 1, "v", 1, done, NULL);
    case 1:
        return almadia_delete_async(store, "k", 1, done, NULL);
    case 2:
        CHECK_CODE(ALMADIA_OK, almadia_batch_put(batch, "k", 1, "v", 1, NULL));
        return almadia_write_async(store, batch, NULL, done, NULL);
    case 3:
        return almadia_snapshot_open_async(store, NULL, done, NULL);
    case 4:
        return almadia_get_async(store, "k", 1, done, NULL);
    case 5:
        return almadia_put_with_async(store, "k", 1, "v", 1, NULL, done, NULL);
    case 6:
        return almadia_delete_with_async(store, "k", 1, NULL, done, NULL);
    case 7:
        return almadia_get_with_async(store, "k", 1, NULL, done, NULL);
    default:
        return almadia_multi_get_async(store, &key, 1, NULL, done, NULL);
    }
}

static void a_call_that_never_started_certainly_has_no_effect(const char *path)
{
    almadia_error *error = NULL;
    almadia_store *store = open_without_others(path);
    almadia_batch *batch = NULL;
    almadia_cq *cq = NULL;
    uint64_t ops[KINDS], op = 0;
    CHECK_OK(almadia_batch_new(&batch, &error));
    CHECK_OK(almadia_cq_new(&cq, &error));
    for (int kind = 0; kind < KINDS; kind++) {
        almadia_done done = ALMADIA_DONE_INIT;
        done.cq = cq;
        done.op = &ops[kind];
        CHECK_CODE(ALMADIA_OK, start(store, kind, batch, &done));
        CHECK(ops[kind] != 0 && (kind == 0 || ops[kind] != ops[kind - 1]));
    }
    check_empty(cq);
    for (int kind = KINDS - 1; kind >= 0; kind--) {
        CHECK_OK(almadia_cancel(store, ops[kind], &error));
        CHECK_CODE(ALMADIA_CANCELLED, pop_code(cq, &op));
        CHECK(op == ops[kind]);
        CHECK_CODE(ALMADIA_NOT_FOUND, almadia_cancel(store, ops[kind], &error));
        CHECK(error == NULL);
        check_empty(cq);
    }
    CHECK(!almadia_code_maybe_applied(ALMADIA_CANCELLED));
    /* Cancelled twice before it is popped, and then a shutdown: still one completion. */
    almadia_done done = ALMADIA_DONE_INIT;
    done.cq = cq;
    done.op = &op;
    uint64_t popped_op = 0;
    CHECK_CODE(ALMADIA_OK, start(store, 0, batch, &done));
    CHECK_CODE(ALMADIA_OK, almadia_cancel(store, op, NULL));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_cancel(store, op, NULL));
    shut_down_at_once(store);
    CHECK_CODE(ALMADIA_CANCELLED, pop_code(cq, &popped_op));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_cancel(store, op, NULL));
    /* Whoever gives a call up need not look at the code: this compiles without a warning. */
    almadia_cancel(store, op, NULL);
    check_empty(cq);
    almadia_store_free(store);
    almadia_cq_free(cq);
    almadia_batch_free(batch);
}

/* The leader has the write in its log, but no majority to commit it. */
static void the_outcome_of_a_write_in_a_log_is_unknown(const char *path)
{
    almadia_error *error = NULL;
    almadia_store *stores[MEMBERS];
    almadia_cq *cq = NULL;
    almadia_status before = ALMADIA_STATUS_INIT, status = ALMADIA_STATUS_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    uint64_t op = 0, popped_op = 0;
    open_cluster(path, stores);
    int leader = find_leader(stores);
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;
    done.op = &op;
    for (int at = 0; at < MEMBERS; at++)
        if (at != leader)
            almadia_store_free(stores[at]);

    /* It leads until it notices that it has lost the majority; by then the write may be in its log or not. */
    CHECK_OK(almadia_store_status(stores[leader], &before, &error));
    CHECK_OK(almadia_put_async(stores[leader], "k", 1, "v", 1, &done, &error));
    do
        CHECK_OK(almadia_store_status(stores[leader], &status, &error));
    while (status.last_index == before.last_index && status.role == ALMADIA_ROLE_LEADER);
    CHECK_OK(almadia_cancel(stores[leader], op, &error));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_cancel(stores[leader], op, NULL));
    almadia_code code = pop_code(cq, &popped_op);
    CHECK(popped_op == op && code == (status.last_index > before.last_index ? ALMADIA_CANCELLED_IN_FLIGHT
                                                                           : ALMADIA_CANCELLED));
    CHECK(almadia_code_maybe_applied(ALMADIA_CANCELLED_IN_FLIGHT));
    shut_down_at_once(stores[leader]);
    check_empty(cq);
    almadia_store_free(stores[leader]);
    almadia_cq_free(cq);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    a_call_that_never_started_certainly_has_no_effect(argv[1]);
    the_outcome_of_a_write_in_a_log_is_unknown(argv[1]);
    return 0;
}
