/*
 * A preload library that lets syncs hang.
 *
 *   HANG_FILES=<part of a path>   fsync and fdatasync of such files do not return ...
 *   HANG_WHILE=<path>             ... while this file exists
 *
 * A sync that hangs is a disk that does not answer: nothing fails, nothing is lost, and nothing is known.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool hangs(int fd) {
    const char *files = getenv("HANG_FILES"), *while_ = getenv("HANG_WHILE");
    char link[64], path[PATH_MAX + 1];
    if (files == NULL || while_ == NULL || access(while_, F_OK) != 0) return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0) return false;
    path[length] = '\0';
    return strstr(path, files) != NULL;
}

static void wait_for_disk(int fd) {
    int before = errno;
    const struct timespec pause = {0, 5000000}; /* between two looks at a file system */
    while (hangs(fd)) nanosleep(&pause, NULL);
    errno = before;
}

static int sync_for_real(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) {
    wait_for_disk(fd);
    return sync_for_real("fsync", fd);
}

int fdatasync(int fd) {
    wait_for_disk(fd);
    return sync_for_real("fdatasync", fd);
}
