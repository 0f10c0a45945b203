/*
 * recipes.h - a counter, unique names, documents and a work queue, built from conditional writes and transactions.
 *
 * Keys and values are those of examples/cpp/recipes.cpp and of almadia.recipes in Python, so that programs in C, C++ and
 * Python share a counter, names, documents and a queue. All keys of one of these belong to one region.
 *
 * After an unknown outcome each recipe makes the same conditional write again, until it is answered. It cannot be applied
 * twice; so when it is refused, all that is left to find out is whether this call has had its effect, or another one.
 * Here codes are enough. A program that wants messages passes its almadia_error ** along.
 */
#ifndef RECIPES_H
#define RECIPES_H

#include <almadia.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TEXT(text) (text), strlen(text)
#define KEY(key) (key).bytes, (key).size

struct key {
    size_t size;
    unsigned char bytes[256];
};

static struct key key_of(const char *prefix, const char *part, const void *tail, size_t tail_size) {
    struct key key;
    size_t size = (size_t)snprintf((char *)key.bytes, sizeof key.bytes, "%s%s", prefix, part);
    assert(size + tail_size < sizeof key.bytes);
    memcpy(key.bytes + size, tail, tail_size);
    key.size = size + tail_size;
    return key;
}

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* Whether to make a call again, after a pause: it was not applied, or nobody knows, which sets `doubt`. */
static bool again(almadia_code code, bool *doubt) {
    *doubt |= almadia_code_maybe_applied(code);
    if (!almadia_code_maybe_applied(code) && !almadia_code_is_retryable(code)) return false;
    pause_ms(10);
    return true;
}

/* Writes a batch until it is known whether it was applied, and frees it. `code` says whether all of it was added. */
static almadia_code write_until_known(almadia_store *store, almadia_batch *batch, almadia_code code, bool *doubt) {
    if (code == ALMADIA_OK)
        do code = almadia_write(store, batch, NULL, NULL, NULL);
        while (again(code, doubt));
    almadia_batch_free(batch);
    return code;
}

/* -------------------------------------------------------------------------------------------------- the counter */

/* Adds to a counter, once for each id of a request, however often and wherever it is called with it. */
static almadia_code add_once(almadia_store *store, const char *counter, const char *request, int64_t delta) {
    struct key once = key_of(counter, "/once/", TEXT(request));
    almadia_batch *batch = NULL;
    bool doubt = false;
    almadia_code code = almadia_batch_new(&batch, NULL);
    if (code == ALMADIA_OK) code = almadia_batch_if_absent(batch, KEY(once), NULL);
    if (code == ALMADIA_OK) code = almadia_batch_put(batch, KEY(once), "", 0, NULL);
    if (code == ALMADIA_OK) code = almadia_batch_add(batch, TEXT(counter), delta, NULL);
    code = write_until_known(store, batch, code, &doubt);
    return code == ALMADIA_PRECONDITION_FAILED ? ALMADIA_OK : code; /* it was counted before, or just now */
}

/* ---------------------------------------------------------------------------------------------------- the names */

static bool is_text(const almadia_value *value, const char *text) {
    return almadia_value_size(value) == strlen(text) && memcmp(almadia_value_data(value), TEXT(text)) == 0;
}

/* Reserves a name for the id of what has it, also when that has it already: else ALMADIA_PRECONDITION_FAILED. */
static almadia_code reserve(almadia_store *store, const char *names, const char *name, const char *owner) {
    struct key key = key_of(names, "", TEXT(name));
    for (;;) {
        almadia_value *found = NULL;
        bool doubt = false;
        almadia_code code;
        do code = almadia_put_if_absent(store, KEY(key), TEXT(owner), NULL, NULL, NULL);
        while (again(code, &doubt));
        if (code != ALMADIA_PRECONDITION_FAILED) return code;
        code = almadia_get(store, KEY(key), &found, NULL);
        if (code == ALMADIA_NOT_FOUND) continue; /* it was released in between */
        if (code == ALMADIA_OK && !is_text(found, owner)) code = ALMADIA_PRECONDITION_FAILED;
        almadia_value_free(found);
        return code;
    }
}

/* Frees a name if this owner has it. An attempt that is applied late does not free one that was reserved again since. */
static almadia_code release(almadia_store *store, const char *names, const char *name, const char *owner) {
    struct key key = key_of(names, "", TEXT(name));
    almadia_value *found = NULL;
    bool doubt = false;
    almadia_code code = almadia_get(store, KEY(key), &found, NULL);
    if (code == ALMADIA_OK && is_text(found, owner))
        do code = almadia_compare_and_delete(store, KEY(key), almadia_value_version(found), NULL, NULL, NULL);
        while (again(code, &doubt));
    almadia_value_free(found);
    return code == ALMADIA_NOT_FOUND || code == ALMADIA_PRECONDITION_FAILED ? ALMADIA_OK : code;
}

/* ------------------------------------------------------------------------------------------------ the documents */

#define DOCUMENT_BYTES_MAX 4096

struct update {
    const char *key, *once;
    void (*change)(char text[DOCUMENT_BYTES_MAX]); /* writes the new text over the old one, "" for none */
};

/* Run again, when somebody else has changed meanwhile what it had read. */
static almadia_code change_document(void *user, almadia_txn *txn) {
    const struct update *update = user;
    char text[DOCUMENT_BYTES_MAX] = "";
    almadia_value *value = NULL;
    almadia_code code = almadia_txn_get(txn, TEXT(update->once), &value, NULL);
    almadia_value_free(value);
    if (code == ALMADIA_OK) return ALMADIA_END; /* the change was made before */
    if (code == ALMADIA_NOT_FOUND) code = almadia_txn_get(txn, TEXT(update->key), &value, NULL);
    if (code != ALMADIA_OK && code != ALMADIA_NOT_FOUND) return code;
    bool fits = almadia_value_size(value) < sizeof text;
    if (fits && code == ALMADIA_OK) memcpy(text, almadia_value_data(value), almadia_value_size(value));
    almadia_value_free(value);
    if (!fits) return ALMADIA_TOO_LARGE;
    update->change(text);
    code = almadia_txn_put(txn, TEXT(update->once), "", 0, NULL);
    return code == ALMADIA_OK ? almadia_txn_put(txn, TEXT(update->key), TEXT(text), NULL) : code;
}

/* Changes a document, once for the key `once`, which the same transaction sets: so it may be called again. */
static almadia_code update_once(almadia_store *store, struct update update) {
    almadia_txn_options options = ALMADIA_TXN_OPTIONS_INIT;
    almadia_code code;
    bool doubt = false;
    options.key = update.key;
    options.key_length = strlen(update.key);
    do code = almadia_transact(store, &options, change_document, &update, NULL);
    while (code == ALMADIA_CONFLICT || again(code, &doubt));
    return code == ALMADIA_END ? ALMADIA_OK : code;
}

/* ----------------------------------------------------------------------------------------------- the work queue
 *
 * PREFIX waiting/ID    a task that nobody has: nothing, or how often it was taken before (4 bytes, big-endian)
 * PREFIX claimed/ID    a task that is taken: the taker's token (16 bytes), the claim's timeout in ms (8), how often (4)
 * PREFIX task/(ID+1)   what was put, until the task is completed
 * PREFIX once/REQUEST  requests that have put a task
 *
 * No clocks are compared. A claim whose version has not changed for its timeout, by the clock of another taker, is taken
 * over on condition that it has this version still. Whoever works for longer writes the claim again before that. */

#define ID_BYTES 10 /* the version of the write that put the task, and the number of its operation */
#define CLAIM_BYTES 28
#define CLAIMS_MAX 256 /* how many claims are watched at a time; later ones when earlier tasks are completed */
#define HEADS 16       /* how many waiting tasks a taker chooses from that has met another one at the first */

struct claims {
    size_t count;
    uint64_t versions[CLAIMS_MAX]; /* each is of one claim only */
    long long since_ms[CLAIMS_MAX];
};

/* For one thread at a time, which keeps it from task to task: it remembers the claims that it has seen. */
struct queue {
    almadia_store *store;
    const char *prefix;
    struct claims seen, seeing;
    bool met;
};

struct task {
    unsigned char id[ID_BYTES], claim[CLAIM_BYTES];
    almadia_value *payload; /* to be freed */
    uint64_t timeout_ms, attempts, version;
    const char *part;        /* where it may be taken, if its key there still has that version */
    long long mine_until_ms; /* by the clock of this process: nobody else can have it before */
};

static uint64_t number_at(const unsigned char *bytes, size_t size) {
    uint64_t number = 0;
    for (size_t at = 0; at < size; at++) number = number << 8 | bytes[at];
    return number;
}

static void set_number(unsigned char *bytes, size_t size, uint64_t number) {
    for (size_t at = size; at-- > 0; number >>= 8) bytes[at] = (unsigned char)number;
}

/* Where the payload is: it was put by the operation behind that of the id. */
static struct key record_of(const struct queue *queue, const struct task *task) {
    struct key key = key_of(queue->prefix, "task/", task->id, ID_BYTES);
    for (size_t at = key.size; ++key.bytes[--at] == 0;) {}
    return key;
}

/* Puts a task at the end, once for each id of a request. */
static almadia_code put_once(struct queue *queue, const char *request, const char *payload) {
    struct key once = key_of(queue->prefix, "once/", TEXT(request));
    struct key waiting = key_of(queue->prefix, "waiting/", "", 0), record = key_of(queue->prefix, "task/", "", 0);
    almadia_batch *batch = NULL;
    bool doubt = false;
    almadia_code code = almadia_batch_new(&batch, NULL);
    if (code == ALMADIA_OK) code = almadia_batch_if_absent(batch, KEY(once), NULL);
    if (code == ALMADIA_OK) code = almadia_batch_put(batch, KEY(once), "", 0, NULL);
    if (code == ALMADIA_OK) code = almadia_batch_put_versioned(batch, KEY(waiting), "", 0, NULL);
    if (code == ALMADIA_OK) code = almadia_batch_put_versioned(batch, KEY(record), TEXT(payload), NULL);
    code = write_until_known(queue->store, batch, code, &doubt);
    return code == ALMADIA_PRECONDITION_FAILED ? ALMADIA_OK : code;
}

/* Whether a claim was the same for its timeout: from after it was first read until before it was last read. */
static bool is_abandoned(struct queue *queue, uint64_t version, uint64_t timeout_ms, long long before_ms) {
    struct claims *seen = &queue->seen, *seeing = &queue->seeing;
    long long since_ms = now_ms();
    for (size_t at = 0; at < seen->count; at++)
        if (seen->versions[at] == version) since_ms = seen->since_ms[at];
    seeing->versions[seeing->count] = version;
    seeing->since_ms[seeing->count++] = since_ms;
    return before_ms >= since_ms && (uint64_t)(before_ms - since_ms) >= timeout_ms;
}

/* Finds the first task under `part` that may be taken, or one of the first: ALMADIA_NOT_FOUND if there is none. */
static almadia_code find(struct queue *queue, const almadia_snapshot *snapshot, const char *part, long long before_ms,
                         struct task *task) {
    struct key prefix = key_of(queue->prefix, part, "", 0);
    bool claimed = strcmp(part, "claimed/") == 0;
    unsigned found = 0;
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    almadia_iter *iter = NULL;
    options.prefix = prefix.bytes;
    options.prefix_length = prefix.size;
    almadia_code code = almadia_iter_new(snapshot, &options, &iter, NULL);
    bool on = code == ALMADIA_OK && almadia_iter_first(iter);
    for (size_t at = 0; on && at < (claimed ? CLAIMS_MAX : HEADS); at++, on = almadia_iter_next(iter)) {
        almadia_slice key = almadia_iter_key(iter), value = almadia_iter_value(iter);
        const unsigned char *id = (const unsigned char *)key.data + prefix.size, *stored = value.data;
        uint64_t version = almadia_iter_version(iter);
        if (key.size != prefix.size + ID_BYTES || (claimed && value.size != CLAIM_BYTES)) continue; /* of no queue */
        if (claimed && !is_abandoned(queue, version, number_at(stored + 16, 8), before_ms)) continue;
        if (found++ > 0 && (!queue->met || task->claim[found % 16] % found != 0)) continue; /* its token is random */
        memcpy(task->id, id, ID_BYTES);
        task->part = part;
        task->version = version;
        task->attempts = value.size < 4 ? 1 : number_at(stored + value.size - 4, 4) + 1;
    }
    if (code == ALMADIA_OK) code = almadia_iter_code(iter, NULL);
    almadia_iter_free(iter);
    return code == ALMADIA_OK && found == 0 ? ALMADIA_NOT_FOUND : code;
}

/* Finds a task that was abandoned, since these are the oldest, or else one that waits. */
static almadia_code look(struct queue *queue, struct task *task) {
    struct key prefix = key_of(queue->prefix, "", "", 0), end = prefix;
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    almadia_snapshot *snapshot = NULL;
    long long before_ms = now_ms();
    end.bytes[end.size - 1]++;
    options.start = prefix.bytes, options.start_length = prefix.size;
    options.end = end.bytes, options.end_length = end.size;
    almadia_code code = almadia_snapshot_open(queue->store, &options, &snapshot, NULL);
    if (code != ALMADIA_OK) return code;
    queue->seeing.count = 0;
    code = find(queue, snapshot, "claimed/", before_ms, task);
    queue->seen = queue->seeing;
    if (code == ALMADIA_NOT_FOUND) code = find(queue, snapshot, "waiting/", before_ms, task);
    if (code == ALMADIA_OK) {
        struct key record = record_of(queue, task);
        code = almadia_snapshot_get(snapshot, KEY(record), &task->payload, NULL);
        if (code == ALMADIA_NOT_FOUND) code = ALMADIA_CORRUPTION; /* others have written to the keys of the queue */
    }
    almadia_snapshot_free(snapshot);
    return code;
}

/* Keeps a task for its timeout from now on: ALMADIA_PRECONDITION_FAILED if it is lost. To be called well before. */
static almadia_code extend(struct queue *queue, struct task *task) {
    struct key claimed = key_of(queue->prefix, "claimed/", task->id, ID_BYTES);
    long long began_ms = now_ms();
    almadia_code code;
    bool doubt = false;
    do code = almadia_compare_value_and_set(queue->store, KEY(claimed), task->claim, CLAIM_BYTES, task->claim, CLAIM_BYTES,
                                            NULL, NULL, NULL);
    while (again(code, &doubt));
    if (code == ALMADIA_OK) task->mine_until_ms = began_ms + (long long)task->timeout_ms;
    return code;
}

static almadia_code claim(struct queue *queue, struct task *task) {
    struct key seen = key_of(queue->prefix, task->part, task->id, ID_BYTES);
    struct key claimed = key_of(queue->prefix, "claimed/", task->id, ID_BYTES);
    almadia_batch *batch = NULL;
    bool doubt = false, waits = strcmp(task->part, "waiting/") == 0;
    task->mine_until_ms = now_ms() + (long long)task->timeout_ms;
    almadia_code code = almadia_batch_new(&batch, NULL);
    if (code == ALMADIA_OK) code = almadia_batch_if_version(batch, KEY(seen), task->version, NULL);
    if (code == ALMADIA_OK && waits) code = almadia_batch_delete(batch, KEY(seen), NULL);
    if (code == ALMADIA_OK) code = almadia_batch_put(batch, KEY(claimed), task->claim, CLAIM_BYTES, NULL);
    code = write_until_known(queue->store, batch, code, &doubt);
    /* Refused after a doubt: either it was claimed by this call, and then its claim can be extended, or by another. */
    return doubt && code == ALMADIA_PRECONDITION_FAILED ? extend(queue, task) : code;
}

/* Takes a task for `timeout_ms`: ALMADIA_NOT_FOUND if there is none to be had now. Whoever calls it again and again, with
 * the same queue, also finds those whose takers have died. After a failure a task may be claimed until its time is over. */
static almadia_code take(struct queue *queue, uint64_t timeout_ms, struct task *task) {
    FILE *random = fopen("/dev/urandom", "rb");
    *task = (struct task){.timeout_ms = timeout_ms};
    if (random == NULL || fread(task->claim, 1, 16, random) != 16) abort();
    fclose(random);
    almadia_code code = look(queue, task);
    if (code != ALMADIA_OK) return code;
    set_number(task->claim + 16, 8, timeout_ms);
    set_number(task->claim + 24, 4, task->attempts);
    code = claim(queue, task);
    queue->met = code == ALMADIA_PRECONDITION_FAILED;
    if (code == ALMADIA_OK) return code;
    almadia_value_free(task->payload);
    return queue->met ? ALMADIA_NOT_FOUND : code;
}

/* Completes a task together with what `also` writes, which it frees: once for the task. ALMADIA_PRECONDITION_FAILED if it
 * is lost, or after an unknown outcome if this call has completed it: what `also` wrote tells. */
static almadia_code done(struct queue *queue, struct task *task, almadia_batch *also) {
    struct key claimed = key_of(queue->prefix, "claimed/", task->id, ID_BYTES), record = record_of(queue, task);
    bool doubt = false;
    almadia_code code = almadia_batch_if_value(also, KEY(claimed), task->claim, CLAIM_BYTES, NULL);
    if (code == ALMADIA_OK) code = almadia_batch_delete(also, KEY(claimed), NULL);
    if (code == ALMADIA_OK) code = almadia_batch_delete(also, KEY(record), NULL);
    return write_until_known(queue->store, also, code, &doubt);
}

#endif /* RECIPES_H */
