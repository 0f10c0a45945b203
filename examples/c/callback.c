/*
 * callback.c - a thousand concurrent puts; the library calls back with the answer of each.
 *
 *   cc callback.c $(pkg-config --cflags --libs almadia) -o callback && ./callback DIRECTORY
 */
#include <almadia.h>
#include <pthread.h>
#include <stdio.h>

#define PUTS 1000

/* The callbacks' results for main; they run on the library's thread, so there is a lock. */
struct tally {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    int applied, not_applied, unknown;
};

/* Called once for every put that was accepted. It must not block for long, because the next answer waits for it. */
static void on_put(void *user, almadia_completion *completion)
{
    struct tally *tally = user;
    almadia_code code = almadia_completion_code(completion);
    pthread_mutex_lock(&tally->lock);
    if (code == ALMADIA_OK)
        tally->applied++;
    else if (almadia_code_maybe_applied(code))
        tally->unknown++;
    else
        tally->not_applied++;
    pthread_cond_signal(&tally->answered);
    pthread_mutex_unlock(&tally->lock);
}

static int fail(const char *what, almadia_error *error)
{
    fprintf(stderr, "%s: %s\n", what, almadia_error_message(error));
    almadia_error_free(error);
    return 1;
}

int main(int argc, char **argv)
{
    struct tally tally = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, 0};
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = on_put;
    done.user = &tally;

    if (almadia_config_new(ALMADIA_ABI_VERSION, &config, &error) != ALMADIA_OK)
        return fail("config", error);
    if (almadia_store_open(argc > 1 ? argv[1] : "callback-store", config, &store, &error) != ALMADIA_OK)
        return fail("open", error);
    almadia_config_free(config);
    if (almadia_store_wait_leader(store, 10000, NULL, &error) != ALMADIA_OK)
        return fail("no leader", error);

    for (int number = 0; number < PUTS; number++) {
        char key[16];
        int length = snprintf(key, sizeof key, "key %d", number);
        /* A put that is refused gets no callback: it counts as answered immediately. */
        if (almadia_put_async(store, key, (size_t)length, "value", 5, &done, NULL) != ALMADIA_OK) {
            pthread_mutex_lock(&tally.lock);
            tally.not_applied++;
            pthread_mutex_unlock(&tally.lock);
        }
    }

    pthread_mutex_lock(&tally.lock);
    while (tally.applied + tally.not_applied + tally.unknown < PUTS)
        pthread_cond_wait(&tally.answered, &tally.lock);
    pthread_mutex_unlock(&tally.lock);
    printf("%d applied, %d not applied, %d unknown\n", tally.applied, tally.not_applied, tally.unknown);

    almadia_store_free(store);
    return 0;
}
