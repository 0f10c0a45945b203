/*
 * reopen.c - one directory is opened, used and closed over and over: threads, descriptors and memory stay what they were.
 *
 * Usage: reopen DIRECTORY ROUNDS KIB, with the KiB by which resident memory may grow after the warm-up; 0 leaves memory
 * out, for builds whose allocator keeps what is freed.
 */
#include "check.h"

#include <dirent.h>
#include <limits.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

/* Longer than any machine is busy. */
enum { PATIENCE_S = 60 };

/* Rounds after which pools, caches and the allocator's arenas have their size. */
enum { WARM_UP = 100 };

static int entries_of(const char *path)
{
    DIR *directory = opendir(path);
    int count = 0;
    CHECK(directory != NULL);
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* The threads of this process, once there are no more than `most`: one that was joined leaves the list a moment after its end. */
static int threads_of_at_most(int most)
{
    time_t end = time(NULL) + PATIENCE_S;
    int threads;
    while ((threads = entries_of("/proc/self/task")) > most) {
        CHECK(time(NULL) < end);
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

static void note(void *user, almadia_completion *completion)
{
    (void)user;
    CHECK(almadia_completion_code(completion) != ALMADIA_PANIC);
}

/* A bit of everything, and what is left to the shutdown. */
static void use(const char *path, int round)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_iter *iter = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    char text[16];
    done.callback = note;
    snprintf(text, sizeof text, "%d", round);

    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    /* A segment is read whole when a store is opened; small ones make a round a matter of milliseconds. */
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
        /* The engine's own pool of threads belongs to the process and comes with the first store. */
        threads = threads_of_at_most(round == 0 ? INT_MAX : threads);
        if (round == 0)
            descriptors = entries_of("/proc/self/fd");
        if (round == WARM_UP)
            warm_kib = resident_kib();
        CHECK(entries_of("/proc/self/fd") == descriptors);
    }
    printf("%d rounds, %d threads, %d descriptors, %ld KiB after %d rounds, %ld KiB at the end\n", rounds, threads - 2,
           descriptors - 3, warm_kib, WARM_UP, resident_kib());
    CHECK(growth_kib == 0 || resident_kib() <= warm_kib + growth_kib);
    return 0;
}
