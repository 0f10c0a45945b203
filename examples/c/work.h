/*
 * work.h - a counter and a work queue that any member may use at any time, for examples/c/member.c.
 *
 * Counting is exactly once: each increment has a number of its own, and is one batch with a key that says that this number
 * was counted. So whoever does not know whether an increment took effect simply makes it again, on any member.
 *
 * Taking a task is a transaction: it finds one, and moves it. Two members that find the same one cannot both commit; the
 * other runs again. So that they seldom meet, each chooses among the first few, which it looks at without being bound to
 * them (_exempt), and reads the one that it has chosen. A task is either not taken or done, also when its member is killed
 * meanwhile.
 */
#ifndef WORK_H
#define WORK_H

#include <almadia.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_KEY "work/count"
#define COUNTED_PREFIX "work/counted/"
#define TODO_PREFIX "work/todo/"
#define DONE_PREFIX "work/done/"
#define TASK_BYTES_MAX 64
#define CHOICES 8

static almadia_code increment(almadia_store *store, const char *node, size_t number, almadia_error **error) {
    char counted[64];
    size_t length = (size_t)snprintf(counted, sizeof counted, COUNTED_PREFIX "%06zu", number);
    almadia_batch *batch = NULL;
    almadia_code code = almadia_batch_new(&batch, error);
    if (code == ALMADIA_OK) code = almadia_batch_if_absent(batch, counted, length, error);
    if (code == ALMADIA_OK) code = almadia_batch_put(batch, counted, length, node, strlen(node), error);
    if (code == ALMADIA_OK) code = almadia_batch_add(batch, COUNT_KEY, strlen(COUNT_KEY), 1, error);
    if (code == ALMADIA_OK) code = almadia_write(store, batch, NULL, NULL, error);
    almadia_batch_free(batch);
    return code;
}

/* Counts one; it has no effect the second time. */
static almadia_code count_once(almadia_store *store, const char *node, size_t number, almadia_error **error) {
    almadia_code code;
    for (;;) {
        code = increment(store, node, number, error);
        if (!almadia_code_maybe_applied(code) && !almadia_code_is_retryable(code)) break;
        almadia_error_free(*error);
    }
    if (code != ALMADIA_PRECONDITION_FAILED) return code;
    almadia_error_free(*error); /* it was counted before */
    *error = NULL;
    return ALMADIA_OK;
}

struct task {
    const char *node;
    char name[TASK_BYTES_MAX];
    almadia_error *error;
};

/* The name of one of the first tasks: ALMADIA_NOT_FOUND when there is none. */
static almadia_code choose_task(almadia_txn *txn, struct task *task) {
    almadia_iter *iter = NULL;
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    int left = rand() % CHOICES;
    options.prefix = TODO_PREFIX;
    options.prefix_length = strlen(TODO_PREFIX);
    task->name[0] = '\0';
    almadia_code code = almadia_txn_iter_exempt(txn, &options, &iter, &task->error);
    if (code != ALMADIA_OK) return code;
    for (bool on = almadia_iter_first(iter); on && left >= 0; on = almadia_iter_next(iter), left--) {
        almadia_slice key = almadia_iter_key(iter);
        snprintf(task->name, sizeof task->name, "%.*s", (int)(key.size - strlen(TODO_PREFIX)),
                 (const char *)key.data + strlen(TODO_PREFIX));
    }
    code = almadia_iter_code(iter, &task->error);
    almadia_iter_free(iter);
    return code == ALMADIA_OK && task->name[0] == '\0' ? ALMADIA_NOT_FOUND : code;
}

/* Run in a transaction, again until nobody else was at the same task. */
static almadia_code move_task(void *user, almadia_txn *txn) {
    struct task *task = user;
    char key[TASK_BYTES_MAX + 32];
    almadia_value *payload = NULL;
    almadia_code code = choose_task(txn, task);
    if (code != ALMADIA_OK) return code;
    size_t length = (size_t)snprintf(key, sizeof key, TODO_PREFIX "%s", task->name);
    code = almadia_txn_get(txn, key, length, &payload, &task->error); /* must be there still at the commit */
    almadia_value_free(payload);
    if (code == ALMADIA_OK) code = almadia_txn_delete(txn, key, length, &task->error);
    if (code != ALMADIA_OK) return code;
    length = (size_t)snprintf(key, sizeof key, DONE_PREFIX "%s", task->name);
    return almadia_txn_put(txn, key, length, task->node, strlen(task->node), &task->error);
}

/* Takes a task and writes its name to `name`: ALMADIA_NOT_FOUND when there is none. After an unknown outcome
 * (category 4) the task that is named was taken by this call, or by nobody yet. */
static almadia_code take_task(almadia_store *store, const char *node, char name[TASK_BYTES_MAX],
                              almadia_error **error) {
    struct task task = {node, "", NULL};
    almadia_error *own = NULL;
    almadia_code code = almadia_transact(store, NULL, move_task, &task, &own);
    snprintf(name, TASK_BYTES_MAX, "%s", task.name);
    *error = own != NULL ? own : task.error;
    return code;
}

#endif /* WORK_H */
