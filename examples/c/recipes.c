/*
 * recipes.c - the recipes of recipes.h at work: four threads count, want one name, change one document and work one
 * queue.
 *
 *   recipes DIRECTORY [put] [NAME=VALUE ...]      the options are those of a store
 *
 * With "put" it only puts the tasks, takes one of them, and ends without completing it: another run takes it over.
 *
 * However often it is run on one directory, and examples/cpp/recipes.cpp in between, it tells the same.
 */
#define _POSIX_C_SOURCE 200809L
#include "recipes.h"
#include <pthread.h>

#define THREADS 4
#define REQUESTS 20
#define TASKS 12
#define TIMEOUT_MS 1000
#define COUNTER "recipes/requests"
#define COMPLETED "recipes/completed"
#define NAMES "recipes/names/"
#define DOCUMENT "recipes/document"
#define MAIL "recipes/mail/"

struct worker {
    pthread_t thread;
    almadia_store *store;
    int number, got;
};

static void must(almadia_code code) {
    if (code == ALMADIA_OK) return;
    fprintf(stderr, "%s: %s\n", almadia_code_name(code), almadia_code_message(code));
    exit(1);
}

static const char *numbered(char text[64], const char *what, int number) {
    snprintf(text, 64, "%s%d", what, number);
    return text;
}

/* All threads make the same requests. */
static void *count(void *argument) {
    const struct worker *worker = argument;
    char request[64];
    for (int at = 0; at < REQUESTS; at++) must(add_once(worker->store, COUNTER, numbered(request, "", at), 1));
    return NULL;
}

static void *want_name(void *argument) {
    struct worker *worker = argument;
    char owner[64];
    almadia_code code = reserve(worker->store, NAMES, "ada", numbered(owner, "user/", worker->number));
    if (code != ALMADIA_PRECONDITION_FAILED) must(code);
    worker->got = code == ALMADIA_OK;
    if (!worker->got) must(release(worker->store, NAMES, "ada", owner)); /* no effect: it is not the owner */
    return NULL;
}

static void add_one(char text[DOCUMENT_BYTES_MAX]) {
    snprintf(text, DOCUMENT_BYTES_MAX, "%d", atoi(text) + 1);
}

static void *change(void *argument) {
    const struct worker *worker = argument;
    char once[64];
    for (int at = 0; at < 10; at++) {
        numbered(once, DOCUMENT "/once/", 10 * worker->number + at);
        must(update_once(worker->store, (struct update){DOCUMENT, once, add_one}));
    }
    return NULL;
}

/* The number at a counter, 8 bytes, little-endian. */
static int counted(almadia_store *store, const char *counter) {
    almadia_value *value = NULL;
    uint64_t number = 0;
    almadia_code code = almadia_get(store, TEXT(counter), &value, NULL);
    if (code != ALMADIA_NOT_FOUND) must(code);
    const unsigned char *bytes = almadia_value_data(value);
    for (size_t at = almadia_value_size(value); at-- > 0;) number = number << 8 | bytes[at];
    almadia_value_free(value);
    return (int)number;
}

/* Works for three times the timeout on the last task, and extends its claim in time. */
static bool keep(struct queue *queue, struct task *task) {
    almadia_code code = ALMADIA_OK;
    for (int third = 0; third < 9 && code == ALMADIA_OK && is_text(task->payload, "letter 11"); third++) {
        pause_ms(TIMEOUT_MS / 3);
        code = extend(queue, task);
    }
    if (code != ALMADIA_PRECONDITION_FAILED) must(code);
    return code == ALMADIA_OK;
}

/* Completes a task, with a key that says how often it was taken, and a number that would count it twice. */
static void finish(struct queue *queue, struct task *task) {
    struct key done_key = key_of("recipes/done/", "", almadia_value_data(task->payload), almadia_value_size(task->payload));
    char taken[64];
    almadia_batch *also = NULL;
    almadia_value *found = NULL;
    bool kept = keep(queue, task);
    must(almadia_batch_new(&also, NULL));
    must(almadia_batch_put(also, KEY(done_key), TEXT(numbered(taken, "", (int)task->attempts)), NULL));
    must(almadia_batch_add(also, TEXT(COMPLETED), 1, NULL));
    almadia_code code = done(queue, task, also);
    bool lost = code == ALMADIA_PRECONDITION_FAILED, early = now_ms() < task->mine_until_ms;
    if (!lost) must(code);
    if (lost && almadia_get(queue->store, KEY(done_key), &found, NULL) == ALMADIA_OK)
        lost = !is_text(found, taken); /* an attempt whose outcome was unknown has completed it */
    almadia_value_free(found);
    if (lost ? early : !kept) {
        fputs(lost ? "a task was lost before its time\n" : "a lost task was completed\n", stderr);
        exit(1);
    }
}

static void *work(void *argument) {
    const struct worker *worker = argument;
    struct queue queue = {.store = worker->store, .prefix = MAIL};
    while (counted(worker->store, COMPLETED) < TASKS) {
        struct task task;
        almadia_code code = take(&queue, TIMEOUT_MS, &task);
        if (code == ALMADIA_NOT_FOUND) {
            pause_ms(20);
            continue;
        }
        must(code);
        finish(&queue, &task);
        almadia_value_free(task.payload);
    }
    return NULL;
}

/* Runs a function on all threads and returns how many of them got something. */
static int run(almadia_store *store, void *(*function)(void *)) {
    struct worker workers[THREADS];
    int got = 0;
    for (int at = 0; at < THREADS; at++) {
        workers[at] = (struct worker){.store = store, .number = at};
        if (pthread_create(&workers[at].thread, NULL, function, &workers[at]) != 0) abort();
    }
    for (int at = 0; at < THREADS; at++) {
        pthread_join(workers[at].thread, NULL);
        got += workers[at].got;
    }
    return got;
}

/* Puts the tasks, unless that was done before, and takes one as a taker does that dies. */
static void put_tasks(almadia_store *store) {
    struct queue queue = {.store = store, .prefix = MAIL};
    struct task task;
    char request[64], payload[64];
    for (int at = 0; at < TASKS; at++) must(put_once(&queue, numbered(request, "", at), numbered(payload, "letter ", at)));
    almadia_code code = take(&queue, TIMEOUT_MS, &task);
    if (code == ALMADIA_OK) almadia_value_free(task.payload);
    else if (code != ALMADIA_NOT_FOUND) must(code);
}

/* How many tasks were completed by one who was not the first to take them. */
static int taken_over(almadia_store *store) {
    char key[64];
    int count = 0;
    for (int at = 0; at < TASKS; at++) {
        almadia_value *value = NULL;
        must(almadia_get(store, TEXT(numbered(key, "recipes/done/letter ", at)), &value, NULL));
        count += !is_text(value, "1");
        almadia_value_free(value);
    }
    return count;
}

int main(int arguments, char **argument) {
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    almadia_value *document = NULL;
    bool only_put = false;
    if (arguments < 2) return 2;
    must(almadia_config_new(ALMADIA_ABI_VERSION, &config, NULL));
    for (int at = 2; at < arguments; at++) {
        char *equals = strchr(argument[at], '=');
        only_put |= equals == NULL;
        if (equals == NULL) continue;
        *equals = '\0';
        must(almadia_config_set(config, argument[at], equals + 1, NULL));
    }
    must(almadia_store_open(argument[1], config, &store, NULL));
    almadia_config_free(config);
    put_tasks(store);
    if (!only_put) {
        run(store, count);
        printf("counter: %d\n", counted(store, COUNTER));
        printf("names: %d of %d got the name\n", run(store, want_name), THREADS);
        for (int owner = 0; owner < 2; owner++) {
            must(reserve(store, NAMES, "grace", owner == 0 ? "user/0" : "user/1"));
            must(release(store, NAMES, "grace", owner == 0 ? "user/0" : "user/1"));
        }
        run(store, change);
        must(almadia_get(store, TEXT(DOCUMENT), &document, NULL));
        printf("document: %.*s\n", (int)almadia_value_size(document), (const char *)almadia_value_data(document));
        almadia_value_free(document);
        run(store, work);
        printf("queue: %d completed, %s taken over\n", counted(store, COMPLETED), taken_over(store) > 0 ? "some" : "none");
    }
    almadia_store_free(store);
    return 0;
}
