/*
 * log_storm.c - the log callback is set, replaced and removed while several stores log. Once the call has returned, the
 * previous callback never runs again, so its user data can be freed. A callback that blocks does not block any store.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>

enum { STORES = 2, CHANGES = 300 };

/* The user data of a callback; freed as soon as the callback is replaced. */
struct listener {
    int records;
    bool gone;
};

static const char *directory;
static int stopped;
static bool is_blocked, released;

static void listen(void *user, almadia_log_level level, const char *target, const char *message)
{
    struct listener *listener = user;
    char name[17] = {0};
    CHECK(!__atomic_load_n(&listener->gone, __ATOMIC_SEQ_CST));
    /* Also while another thread waits for this callback to return. */
    CHECK_CODE(ALMADIA_WOULD_DEADLOCK, almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, NULL));
    CHECK(level >= ALMADIA_LOG_ERROR && level <= ALMADIA_LOG_TRACE && strlen(target) + strlen(message) > 0);
    CHECK(prctl(PR_GET_NAME, name, 0, 0, 0) == 0 && strcmp(name, "almadia-log") == 0);
    __atomic_add_fetch(&listener->records, 1, __ATOMIC_SEQ_CST);
}

static void block(void *user, almadia_log_level level, const char *target, const char *message)
{
    (void)user, (void)level, (void)target, (void)message;
    __atomic_store_n(&is_blocked, true, __ATOMIC_SEQ_CST);
    while (!__atomic_load_n(&released, __ATOMIC_SEQ_CST))
        sched_yield();
}

/* Opens and closes a store again and again, which logs. */
static void *reopen(void *argument)
{
    char path[4096];
    snprintf(path, sizeof path, "%s-%d", directory, *(int *)argument);
    while (!__atomic_load_n(&stopped, __ATOMIC_SEQ_CST)) {
        almadia_store *store = open_single(path);
        put_text(store, "k", "v");
        almadia_store_free(store);
    }
    return NULL;
}

static struct listener *begin_listening(void)
{
    almadia_error *error = NULL;
    struct listener *listener = calloc(1, sizeof *listener);
    CHECK(listener != NULL);
    CHECK_OK(almadia_log_set_callback(listen, listener, ALMADIA_LOG_TRACE, &error));
    return listener;
}

static void free_listener(struct listener *listener)
{
    __atomic_store_n(&listener->gone, true, __ATOMIC_SEQ_CST);
    free(listener);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    pthread_t threads[STORES];
    int numbers[STORES];
    directory = argv[1];
    for (int i = 0; i < STORES; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, reopen, &numbers[i]) == 0);
    }
    struct listener *listener = begin_listening();
    for (int change = 0; change < CHANGES; change++) {
        /* Every hundredth has received a record, so that it is removed while records flow. */
        while (change % 100 == 0 && __atomic_load_n(&listener->records, __ATOMIC_SEQ_CST) == 0)
            sched_yield();
        struct listener *before = listener;
        if (change % 2 == 0)
            CHECK_OK(almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, &error));
        listener = begin_listening();
        free_listener(before);
    }

    /* A callback that blocks costs records and nothing else. */
    CHECK_OK(almadia_log_set_callback(block, NULL, ALMADIA_LOG_TRACE, &error));
    free_listener(listener);
    while (!__atomic_load_n(&is_blocked, __ATOMIC_SEQ_CST))
        sched_yield();
    char path[4096];
    snprintf(path, sizeof path, "%s-meanwhile", directory);
    for (int round = 0; round < 20; round++) {
        almadia_store *store = open_single(path);
        put_text(store, "works", "meanwhile");
        almadia_store_free(store);
    }
    __atomic_store_n(&stopped, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < STORES; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    __atomic_store_n(&released, true, __ATOMIC_SEQ_CST);
    CHECK_OK(almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, &error));
    return 0;
}
