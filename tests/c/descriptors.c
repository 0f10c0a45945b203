/*
 * descriptors.c - a program closes standard input, output and error and writes to them anyway. The library must never
 * have a file or socket at descriptor 0, 1 or 2, or such a write would damage it.
 */
#include "filled.h"

#include <errno.h>
#include <fcntl.h>

enum { FIRST = 300, ALL = 900 };

/* Keeps stderr for failed checks, whatever happens to descriptor 2. */
static void keep_stderr(void)
{
    int kept = fcntl(2, F_DUPFD_CLOEXEC, 100);
    CHECK(kept >= 100 && (stderr = fdopen(kept, "w")) != NULL);
    setbuf(stderr, NULL);
}

static void close_standard(void)
{
    for (int fd = 0; fd < 3; fd++)
        CHECK(close(fd) == 0 || errno == EBADF);
}

/* True if `fd` is open and what it refers to has a name that begins with `prefix`. */
static int refers_to(int fd, const char *prefix)
{
    char link[32], target[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, target, sizeof target);
    return length >= (ssize_t)strlen(prefix) && memcmp(target, prefix, strlen(prefix)) == 0;
}

static void write_to_all(void)
{
    static const char text[] = "a stray line of a program that believes it has these descriptors\n";
    for (int fd = 0; fd < 3; fd++)
        for (int round = 0; round < 500; round++)
            if (write(fd, text, sizeof text) < 0)
                CHECK(errno == EBADF);
}

static void check_cq(void)
{
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    CHECK_OK(almadia_cq_new(&cq, &error));
    CHECK(almadia_cq_fd(cq) > 2);
    almadia_cq_free(cq);
}

/* Closed before the store is opened: the open puts /dev/null there, which keeps the engine's files away too. */
static void check_closed_before_open(const char *path)
{
    close_standard();
    check_cq();
    almadia_store *store = open_small(path, "1048576");
    for (int fd = 0; fd < 3; fd++)
        CHECK(refers_to(fd, "/dev/null") && fcntl(fd, F_GETFD) == 0);
    write_to_all();
    fill(store, "it", 0, FIRST);
    write_to_all();
    almadia_store_free(store);
    check_closed_store(path, "it", FIRST);
}

/*
 * Closed after the store is opened: the library moves each descriptor that it opens to a higher number. The engine does
 * not, but opens no file here: its memtable has room for all of this, and a new store has no tables to compact.
 */
static void check_closed_after_open(const char *beside)
{
    char path[2048], log[4096];
    snprintf(path, sizeof path, "%s-later", beside);
    snprintf(log, sizeof log, "%s/log", path);
    almadia_store *store = open_small(path, "67108864");
    fill(store, "it", 0, FIRST);
    close_standard();
    check_cq();
    for (int number = FIRST; number < ALL; number++) {
        fill(store, "it", number, number + 1);
        for (int fd = 0; fd < 3; fd++)
            CHECK(!refers_to(fd, log));
        write_to_all();
    }
    almadia_store_free(store);
    check_closed_store(path, "it", ALL);
}

/* Runs members 2 and 3 in another process: opens them at a byte from `go`, and writes a byte to `done` after a put. */
static void run_others(const char *path, const char *members, int go, int done)
{
    almadia_error *error = NULL;
    char byte = 0;
    CHECK(read(go, &byte, 1) == 1);
    almadia_store *second = open_member(path, 2, members), *third = open_member(path, 3, members);
    CHECK_OK(almadia_store_wait_leader(second, 30000, NULL, &error));
    put_text(second, "k", "v");
    CHECK(write(done, &byte, 1) == 1 && read(go, &byte, 1) == 1);
    almadia_store_free(third);
    almadia_store_free(second);
    _Exit(0);
}

static void check_sockets(const char *path)
{
    almadia_error *error = NULL;
    int ports[MEMBERS], go[2], done[2], status = -1;
    char members[128], byte = 1;
    reserve_ports(ports);
    list_members(members, ports);
    CHECK(pipe(go) == 0 && pipe(done) == 0);
    pid_t child = fork();
    if (child == 0)
        run_others(path, members, go[0], done[1]);
    CHECK(child > 0);
    almadia_store *first = open_member(path, 1, members);
    close_standard();
    CHECK(write(go[1], &byte, 1) == 1 && read(done[0], &byte, 1) == 1);
    /* There are connections in both directions: this member sends requests to the others, and they answer. */
    CHECK_OK(almadia_store_wait_leader(first, 30000, NULL, &error));
    CHECK(holds(first, "k", "v"));
    for (int fd = 0; fd < 3; fd++)
        CHECK(!refers_to(fd, "socket:"));
    CHECK(write(go[1], &byte, 1) == 1 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    almadia_store_free(first);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    keep_stderr();
    /* First, because it forks: a process that has opened a store must not. */
    check_sockets(argv[1]);
    check_closed_before_open(argv[1]);
    check_closed_after_open(argv[1]);
    return 0;
}
