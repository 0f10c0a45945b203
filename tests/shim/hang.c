/*
 * hang.c - a preload library that makes syncs hang.
 *
 *   HANG_FILES=<part of a path>   fsync and fdatasync of these files do not return ...
 *   HANG_WHILE=<path>             ... while this file exists
 *
 * This is a disk that does not answer: nothing fails and nothing is lost, but whether a sync succeeds is not known.
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
    const char *files = getenv("HANG_FILES"), *while_file = getenv("HANG_WHILE");
    char link[64], path[PATH_MAX + 1];
    if (files == NULL || while_file == NULL || access(while_file, F_OK) != 0) return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0) return false;
    path[length] = '\0';
    return strstr(path, files) != NULL;
}

static void wait_for_disk(int fd) {
    int before = errno;
    const struct timespec pause = {0, 5000000}; /* between two checks of HANG_WHILE */
    while (hangs(fd)) nanosleep(&pause, NULL);
    errno = before;
}

static int real_sync(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) {
    wait_for_disk(fd);
    return real_sync("fsync", fd);
}

int fdatasync(int fd) {
    wait_for_disk(fd);
    return real_sync("fdatasync", fd);
}
