/*
 * process_limit.c - the limit on the processes of an ordinary user (ulimit -u) as the system enforces it: however many
 * threads there are, opening a store works or says that there are too few, and the process lives.
 */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REFUSED = 10, OPENED = 11, LIMIT_MAX = 40 };

/* Root has no limit: a user who runs nothing else takes its place, and gets the directory around `path`. */
static void become_ordinary(const char *path)
{
    uid_t user = (uid_t)(60000 + getpid() % 5000);
    char around[4300];
    if (geteuid() != 0)
        return;
    snprintf(around, sizeof around, "%s", path);
    CHECK(strrchr(around, '/') != NULL);
    *strrchr(around, '/') = 0;
    CHECK(chown(around, user, (gid_t)-1) == 0);
    CHECK(setresuid(user, user, user) == 0);
}

static int open_within(const char *path, rlim_t threads)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NPROC, &limit) == 0);
    limit.rlim_cur = threads < limit.rlim_max ? threads : limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NPROC, &limit) == 0);
    become_ordinary(path);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "log.segment_bytes", "1048576", &error));
    for (int round = 0; round < 3; round++) {
        almadia_code code = almadia_store_open(path, config, &store, &error);
        if (code != ALMADIA_OK) {
            CHECK_CODE(ALMADIA_IO, code);
            CHECK(almadia_error_errno(error) == EAGAIN);
            CHECK(strstr(almadia_error_message(error), "cannot start a thread") != NULL);
            return REFUSED;
        }
        put_text(store, "k", "v");
        CHECK(holds(store, "k", "v"));
        almadia_store_free(store);
    }
    return OPENED;
}

static int try_within(const char *path, rlim_t threads)
{
    int status = -1;
    char own[4200];
    snprintf(own, sizeof own, "%s-%d", path, (int)threads);
    pid_t child = fork();
    if (child == 0)
        exit(open_within(own, threads));
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != REFUSED && WEXITSTATUS(status) != OPENED)) {
        fprintf(stderr, "with a limit of %d: ended with status %#x\n", (int)threads, (unsigned)status);
        _Exit(1);
    }
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    CHECK(try_within(argv[1], 1) == REFUSED);
    /* Of an ordinary user who runs other things, each of these may be too few. */
    for (int threads = 2; threads < LIMIT_MAX; threads++)
        try_within(argv[1], (rlim_t)threads);
    CHECK(try_within(argv[1], RLIM_INFINITY) == OPENED);
    return 0;
}
