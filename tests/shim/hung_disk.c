/*
 * hung_disk.c - a disk that hangs for as long as a test wants.
 *
 * While the file that HUNG_SYNCS names exists, no sync of a raft log returns; while that of HUNG_READS exists, no read
 * of a table of the engine does. Before a thread hangs, it makes a file of the same name with ".inside" appended, so
 * that the test knows. To be compiled into a C program, or preloaded:
 *
 *   HUNG_SYNCS=/tmp/hung LD_PRELOAD=hung_disk.so python3 program.py
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static bool hung_disk_ends_with(int fd, const char *end)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < (ssize_t)strlen(end))
        return false;
    path[length] = '\0';
    return strcmp(path + length - strlen(end), end) == 0;
}

/* Waits until the file that the environment variable `variable` names does not exist. */
static void hung_disk_wait(const char *variable)
{
    const struct timespec pause = {0, 2000000};
    const char *file = getenv(variable);
    if (file == NULL || access(file, F_OK) != 0)
        return;
    char inside[PATH_MAX];
    snprintf(inside, sizeof inside, "%s.inside", file);
    int made = open(inside, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (made >= 0)
        close(made);
    while (access(file, F_OK) == 0)
        nanosleep(&pause, NULL);
}

int fdatasync(int fd)
{
    if (hung_disk_ends_with(fd, ".log"))
        hung_disk_wait("HUNG_SYNCS");
    return (int)syscall(SYS_fdatasync, fd);
}

static ssize_t hung_disk_pread(int fd, void *data, size_t bytes, off_t offset)
{
    if (hung_disk_ends_with(fd, ".sst"))
        hung_disk_wait("HUNG_READS");
    return syscall(SYS_pread64, fd, data, bytes, offset);
}

ssize_t pread(int fd, void *data, size_t bytes, off_t offset)
{
    return hung_disk_pread(fd, data, bytes, offset);
}

ssize_t pread64(int fd, void *data, size_t bytes, off_t offset)
{
    return hung_disk_pread(fd, data, bytes, offset);
}
