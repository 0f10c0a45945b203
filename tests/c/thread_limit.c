/*
 * thread_limit.c - the system refuses a thread, the first that is asked for, the second and so on: opening a store says
 * so, in a process of its own, beside a healthy store, and again; nothing dies, and as soon as there are threads it
 * works. An open store works on, and closes, without a single further one.
 */
#define _GNU_SOURCE
#include "refused_threads.h"

#include "cluster.h"

#include <sys/wait.h>

/* More than a store of one member takes. */
enum { THREADS_MAX = 40 };

static almadia_store *try_open(const char *path, bool *refusing)
{
    almadia_error *error = NULL;
    almadia_config *config = member_config(1, NULL);
    almadia_store *store = NULL;
    set_option(config, "log.segment_bytes", "1048576");
    almadia_code code = almadia_store_open(path, config, &store, &error);
    *refusing = code != ALMADIA_OK;
    if (*refusing) {
        CHECK_CODE(ALMADIA_IO, code);
        CHECK(almadia_error_errno(error) == EAGAIN && store == NULL);
        CHECK(strstr(almadia_error_message(error), "cannot start a thread") != NULL);
        CHECK(strstr(almadia_error_message(error), "ulimit -u") != NULL);
    }
    almadia_error_free(error);
    almadia_config_free(config);
    return store;
}

static almadia_store *open_alone(const char *path)
{
    bool refusing;
    almadia_store *store = try_open(path, &refusing);
    CHECK(store != NULL);
    return store;
}

/* Opens a store at each number of threads from 0 on until that works. Returns that number. */
static int open_with_ever_more(const char *path, almadia_store **store)
{
    bool refusing = true;
    int threads = -1;
    while (refusing) {
        int before = refused_threads();
        CHECK(++threads < THREADS_MAX);
        give_threads(threads);
        *store = try_open(path, &refusing);
        give_threads(ALL);
        CHECK(refusing == (refused_threads() > before));
    }
    return threads;
}

static void use(almadia_store *store, const char *value)
{
    put_text(store, "k", value);
    CHECK(holds(store, "k", value));
}

/* The first store of its process. True when it was opened. */
static bool open_first(const char *path, int threads)
{
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        bool refusing;
        give_threads(threads);
        almadia_store *store = try_open(path, &refusing);
        give_threads(ALL);
        if (refusing)
            store = open_alone(path);
        use(store, "v");
        almadia_store_free(store);
        exit(refusing ? 10 : 11);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != 10 && WEXITSTATUS(status) != 11)) {
        fprintf(stderr, "with %d threads: ended with status %#x\n", threads, (unsigned)status);
        _Exit(1);
    }
    return WEXITSTATUS(status) == 11;
}

static void first_of_a_process(const char *path)
{
    int threads = 0;
    while (!open_first(path, threads))
        CHECK(++threads < THREADS_MAX);
    printf("the first store of a process needs %d threads\n", threads);
}

static void beside_another(const char *path)
{
    char second[4200];
    almadia_store *healthy = open_alone(path), *store = NULL;
    snprintf(second, sizeof second, "%s-second", path);
    int threads = open_with_ever_more(second, &store);
    printf("a second store needs %d threads\n", threads);
    give_threads(0);
    for (int round = 0; round < 100; round++) {
        use(healthy, "first");
        use(store, "second");
    }
    almadia_store_free(healthy);
    almadia_store_free(store);
    give_threads(ALL);
    threads = open_with_ever_more(second, &store);
    printf("a store that is opened again needs %d threads\n", threads);
    CHECK(holds(store, "k", "second"));
    almadia_store_free(store);
}

/* Connections need threads: a member that gets none has no leader, and one as soon as it gets them. */
static void among_three(const char *path)
{
    almadia_store *stores[MEMBERS];
    almadia_error *error = NULL;
    char members[128];
    int ports[MEMBERS];
    reserve_ports(ports);
    list_members(members, ports);
    for (int at = 0; at < MEMBERS; at++)
        stores[at] = open_member(path, at + 1, members);
    CHECK_OK(almadia_store_wait_leader(stores[0], 30000, NULL, &error));
    put_with_retries(stores[0], "k", "v");
    almadia_store_free(stores[2]);
    int before = refused_threads();
    give_threads(0);
    /* The two who are left are connected, and see the third go; then somebody else asks to be let in. */
    put_with_retries(stores[0], "k", "of two");
    int stranger = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(ports[0]);
    CHECK(connect(stranger, (struct sockaddr *)&address, sizeof address) == 0);
    while (refused_threads() == before)
        sched_yield();
    put_with_retries(stores[1], "k", "still");
    give_threads(ALL);
    CHECK(close(stranger) == 0);
    stores[2] = open_member(path, 3, members);
    CHECK_OK(almadia_store_wait_leader(stores[2], 30000, NULL, &error));
    CHECK(holds(stores[2], "k", "still"));
    for (int at = 0; at < MEMBERS; at++)
        almadia_store_free(stores[at]);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    char path[4096];
    snprintf(path, sizeof path, "%s-first", argv[1]);
    first_of_a_process(path);
    snprintf(path, sizeof path, "%s-beside", argv[1]);
    beside_another(path);
    snprintf(path, sizeof path, "%s-three", argv[1]);
    among_three(path);
    return 0;
}
