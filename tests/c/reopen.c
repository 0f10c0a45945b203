/*
 * reopen.c - one store is opened, used and closed over and over: it must leak no threads, descriptors or memory.
 *
 * Usage: reopen DIRECTORY ROUNDS KIB, where KIB is how much resident memory may grow after the warm-up; with 0 memory
 * is not checked, for builds whose allocator keeps freed memory.
 */
#include "check.h"

#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

/* Longer than any delay of a busy machine. */
enum { TIMEOUT_S = 60 };

/* Rounds after which pools, caches and the allocator's arenas have their final size. */
enum { WARM_UP = 100 };

static int count_entries(const char *path)
{
    DIR *directory = opendir(path);
    int count = 0;
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* Waits until this process has at most `max_threads` threads, and returns their number. A thread that was joined leaves
 * the list only a moment later. */
static int wait_for_threads(int max_threads)
{
    time_t deadline = time(NULL) + TIMEOUT_S;
    int threads;
    while ((threads = count_entries("/proc/self/task")) > max_threads) {
        CHECK(time(NULL) < deadline);
        sched_yield();
    }
    return threads;
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%*d %ld", &pages) == 1);
    fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void on_done(void *user, almadia_completion *completion)
{
    (void)user;
    CHECK(almadia_completion_code(completion) != ALMADIA_PANIC);
}

/* Uses a bit of everything, and leaves calls in flight when it frees the store. */
static void use(const char *path, int round)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_iter *iter = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    char text[16];
    done.callback = on_done;
    snprintf(text, sizeof text, "%d", round);

    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    /* Opening a store reads a segment of the log in full; with small ones a round takes milliseconds. */
    CHECK_OK(almadia_config_set(config, "log.segment_bytes", "1048576", &error));
    CHECK_OK(almadia_config_set(config, "log.retain_bytes", "65536", &error));
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    CHECK_OK(almadia_store_wait_leader(store, 10000, NULL, &error));
    put_text(store, "round", text);
    CHECK(holds(store, "round", text));
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_OK(almadia_iter_new(snapshot, NULL, &iter, &error));
    CHECK(almadia_iter_first(iter));
    for (int i = 0; i < 20; i++)
        CHECK_OK(almadia_put_async(store, "under way", 9, text, strlen(text), &done, &error));
    almadia_iter_free(iter);
    almadia_snapshot_free(snapshot);
    almadia_store_free(store);
}

int main(int argc, char **argv)
{
    CHECK(argc == 4);
    int rounds = atoi(argv[2]), threads = 0, descriptors = 0;
    long growth_kib = atol(argv[3]), warm_kib = 0;
    CHECK(rounds > WARM_UP);
    for (int round = 0; round < rounds; round++) {
        use(argv[1], round);
        /* The engine's thread pool belongs to the process and is created with the first store. */
        threads = wait_for_threads(round == 0 ? INT_MAX : threads);
        if (round == 0)
            descriptors = count_entries("/proc/self/fd");
        if (round == WARM_UP)
            warm_kib = resident_kib();
        CHECK(count_entries("/proc/self/fd") == descriptors);
    }
    printf("%d rounds, %d threads, %d descriptors, %ld KiB after %d rounds, %ld KiB at the end\n", rounds, threads - 2,
           descriptors - 3, warm_kib, WARM_UP, resident_kib());
    CHECK(growth_kib == 0 || resident_kib() <= warm_kib + growth_kib);
    return 0;
}
