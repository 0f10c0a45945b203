/*
 * steps.c - a preload library that ends or suspends a process at a chosen step of its work with files, and fills a disk.
 *
 *   STEPS=<step>,<step>,...   the steps, one after another: what happens before a step's turn does not count
 *   STEPS_THEN=kill|stop      what the process does to itself at the last of them: SIGKILL or SIGSTOP
 *   STEPS_FULL=<pattern>      files that match cannot be made and take no bytes (ENOSPC) ...
 *   STEPS_FULL_WHILE=<path>   ... while this file exists; the file <path>.hit is made when that is met
 *
 * A step is before-<operation>:<pattern> or after-<operation>:<pattern>. Operations are open (of a file that may be
 * made), write, sync, rename, link, unlink, mkdir and rmdir; the pattern is one of fnmatch(3) and must match the whole
 * path, the new one where there are two; "*" matches slashes too. After means that the operation has succeeded.
 *
 * The signal is sent by the thread that is at the step, so the process does nothing else there. It may be preloaded
 * before powerloss.so, whose functions it calls.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define STEPS_MAX 8

struct step {
    char *what;    /* such as "after-rename" */
    char *pattern;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct step steps[STEPS_MAX];
static int step_count;
static volatile int reached; /* steps; written under `lock` */
static int signal_at_last;
static const char *full, *full_while;

static void refuse(const char *what) {
    fprintf(stderr, "steps shim: %s makes no sense\n", what);
    abort();
}

__attribute__((constructor)) static void start(void) {
    const char *then = getenv("STEPS_THEN"), *texts = getenv("STEPS");
    full = getenv("STEPS_FULL");
    full_while = getenv("STEPS_FULL_WHILE");
    if ((full == NULL) != (full_while == NULL)) refuse("STEPS_FULL without STEPS_FULL_WHILE");
    if (texts == NULL) return;
    if (then == NULL || (strcmp(then, "kill") != 0 && strcmp(then, "stop") != 0)) refuse("STEPS_THEN");
    signal_at_last = strcmp(then, "kill") == 0 ? SIGKILL : SIGSTOP;
    char *rest = strdup(texts);
    for (char *text; (text = strsep(&rest, ",")) != NULL; step_count++) {
        char *colon = strchr(text, ':');
        if (colon == NULL || step_count == STEPS_MAX) refuse("STEPS");
        *colon = '\0';
        steps[step_count] = (struct step){text, colon + 1};
    }
}

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) refuse(name);
    return found;
}

/* ---------------------------------------------------------------------------------------------------- which file */

static bool fd_path(int fd, char *path, size_t capacity) {
    char link[64] = "/proc/self/cwd";
    if (fd != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, capacity - 1);
    if (bytes < 0) return false;
    path[bytes] = '\0';
    return true;
}

/* `path` with its directory in front. */
static void full_path(int dirfd, const char *path, char *out) {
    char dir[PATH_MAX];
    if (path[0] == '/' || !fd_path(dirfd, dir, sizeof dir))
        snprintf(out, PATH_MAX, "%s", path);
    else
        snprintf(out, PATH_MAX, "%.*s/%.*s", PATH_MAX / 2 - 1, dir, PATH_MAX / 2 - 1, path);
}

/* ------------------------------------------------------------------------------------------------ what is done */

static bool is_pending(void) { return reached < step_count; }

/* A step of `when` ("before" or "after") and `operation` on the file. */
static void meet(const char *when, const char *operation, const char *path) {
    int error = errno;
    char what[32];
    snprintf(what, sizeof what, "%s-%s", when, operation);
    pthread_mutex_lock(&lock);
    bool is_met = is_pending() && strcmp(steps[reached].what, what) == 0 &&
                  fnmatch(steps[reached].pattern, path, 0) == 0;
    /* To this thread: one to the process may be taken by another thread, and this one goes on meanwhile. */
    if (is_met && ++reached == step_count) raise(signal_at_last);
    pthread_mutex_unlock(&lock);
    errno = error;
}

static void meet_at(const char *when, const char *operation, int dirfd, const char *path) {
    char absolute[PATH_MAX];
    if (!is_pending()) return;
    full_path(dirfd, path, absolute);
    meet(when, operation, absolute);
}

static void meet_fd(const char *when, const char *operation, int fd) {
    char path[PATH_MAX];
    if (is_pending() && fd_path(fd, path, sizeof path)) meet(when, operation, path);
}

static bool is_full(const char *path) {
    if (fnmatch(full, path, 0) != 0 || access(full_while, F_OK) != 0) return false;
    char hit[PATH_MAX];
    snprintf(hit, sizeof hit, "%s.hit", full_while);
    int (*real)(const char *, int, ...) = next("open");
    int fd = real(hit, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) close(fd);
    return true;
}

static bool is_full_at(int dirfd, const char *path) {
    char absolute[PATH_MAX];
    if (full == NULL) return false;
    full_path(dirfd, path, absolute);
    return is_full(absolute);
}

static bool is_full_fd(int fd) {
    char path[PATH_MAX];
    return full != NULL && fd_path(fd, path, sizeof path) && is_full(path);
}

/* ------------------------------------------------------------------------------------------------ descriptors */

#define ON_FD(fd, operation, call)                             \
    do {                                                       \
        meet_fd("before", operation, fd);                      \
        __typeof__(call) result = call;                        \
        if (result >= 0) meet_fd("after", operation, fd);      \
        return result;                                         \
    } while (0)

#define WRITE(fd, call)                                        \
    do {                                                       \
        if (is_full_fd(fd)) return errno = ENOSPC, -1;         \
        ON_FD(fd, "write", call);                              \
    } while (0)

EXPORT ssize_t write(int fd, const void *data, size_t bytes) {
    ssize_t (*real)(int, const void *, size_t) = next("write");
    WRITE(fd, real(fd, data, bytes));
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
    ssize_t (*real)(int, const struct iovec *, int) = next("writev");
    WRITE(fd, real(fd, parts, count));
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    ssize_t (*real)(int, const void *, size_t, off_t) = next("pwrite");
    WRITE(fd, real(fd, data, bytes, offset));
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) {
    ssize_t (*real)(int, const void *, size_t, off64_t) = next("pwrite64");
    WRITE(fd, real(fd, data, bytes, offset));
}

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    ssize_t (*real)(int, const struct iovec *, int, off_t) = next("pwritev");
    WRITE(fd, real(fd, parts, count, offset));
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    ssize_t (*real)(int, const struct iovec *, int, off64_t) = next("pwritev64");
    WRITE(fd, real(fd, parts, count, offset));
}

EXPORT int fsync(int fd) {
    int (*real)(int) = next("fsync");
    ON_FD(fd, "sync", real(fd));
}

EXPORT int fdatasync(int fd) {
    int (*real)(int) = next("fdatasync");
    ON_FD(fd, "sync", real(fd));
}

/* -------------------------------------------------------------------------------------------------------- names */

#define ON_PATH(dirfd, path, operation, call)                        \
    do {                                                             \
        meet_at("before", operation, dirfd, path);                   \
        int result = call;                                           \
        if (result == 0) meet_at("after", operation, dirfd, path);   \
        return result;                                               \
    } while (0)

EXPORT int renameat(int old_dirfd, const char *old, int new_dirfd, const char *new) {
    int (*real)(int, const char *, int, const char *) = next("renameat");
    ON_PATH(new_dirfd, new, "rename", real(old_dirfd, old, new_dirfd, new));
}

EXPORT int renameat2(int old_dirfd, const char *old, int new_dirfd, const char *new, unsigned flags) {
    int (*real)(int, const char *, int, const char *, unsigned) = next("renameat2");
    ON_PATH(new_dirfd, new, "rename", real(old_dirfd, old, new_dirfd, new, flags));
}

EXPORT int rename(const char *old, const char *new) {
    int (*real)(const char *, const char *) = next("rename");
    ON_PATH(AT_FDCWD, new, "rename", real(old, new));
}

EXPORT int linkat(int old_dirfd, const char *old, int new_dirfd, const char *new, int flags) {
    int (*real)(int, const char *, int, const char *, int) = next("linkat");
    ON_PATH(new_dirfd, new, "link", real(old_dirfd, old, new_dirfd, new, flags));
}

EXPORT int link(const char *old, const char *new) {
    int (*real)(const char *, const char *) = next("link");
    ON_PATH(AT_FDCWD, new, "link", real(old, new));
}

EXPORT int unlinkat(int dirfd, const char *path, int flags) {
    int (*real)(int, const char *, int) = next("unlinkat");
    ON_PATH(dirfd, path, flags & AT_REMOVEDIR ? "rmdir" : "unlink", real(dirfd, path, flags));
}

EXPORT int unlink(const char *path) {
    int (*real)(const char *) = next("unlink");
    ON_PATH(AT_FDCWD, path, "unlink", real(path));
}

EXPORT int rmdir(const char *path) {
    int (*real)(const char *) = next("rmdir");
    ON_PATH(AT_FDCWD, path, "rmdir", real(path));
}

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode) {
    int (*real)(int, const char *, mode_t) = next("mkdirat");
    ON_PATH(dirfd, path, "mkdir", real(dirfd, path, mode));
}

EXPORT int mkdir(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = next("mkdir");
    ON_PATH(AT_FDCWD, path, "mkdir", real(path, mode));
}

static int opened(int (*real)(int, const char *, int, ...), int dirfd, const char *path, int flags, mode_t mode) {
    if ((flags & O_CREAT) == 0) return real(dirfd, path, flags, mode);
    if (is_full_at(dirfd, path)) return errno = ENOSPC, -1;
    meet_at("before", "open", dirfd, path);
    int fd = real(dirfd, path, flags, mode);
    if (fd >= 0) meet_at("after", "open", dirfd, path);
    return fd;
}

#define OPEN(name, dirfd)                                                                  \
    va_list rest;                                                                          \
    va_start(rest, flags);                                                                 \
    bool has_mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;            \
    mode_t mode = has_mode ? va_arg(rest, mode_t) : 0;                                     \
    va_end(rest);                                                                          \
    return opened(next(name), dirfd, path, flags, mode)

EXPORT int open(const char *path, int flags, ...) { OPEN("openat", AT_FDCWD); }
EXPORT int open64(const char *path, int flags, ...) { OPEN("openat64", AT_FDCWD); }
EXPORT int openat(int dirfd, const char *path, int flags, ...) { OPEN("openat", dirfd); }
EXPORT int openat64(int dirfd, const char *path, int flags, ...) { OPEN("openat64", dirfd); }
