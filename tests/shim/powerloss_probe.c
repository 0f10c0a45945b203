/*
 * powerloss_probe.c - runs file operations from standard input, one per line, so that a test can compare what
 * survives according to the power-loss shim with what survives in a model. Files have names of one letter and
 * are in the working directory; a file stays open under its name from `open` to the end. Any unexpected error
 * ends the program with 1; the line `die` kills it as kill -9 would.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int files[128];

static void check(int ok, const char *line) {
    if (ok) return;
    perror(line);
    exit(1);
}

static void open_file(char name, int flags, const char *line) {
    char path[] = {name, '\0'};
    int fd = open(path, flags | O_CLOEXEC, 0600);
    check(fd >= 0, line);
    if (files[(int)name] > 0) close(files[(int)name]);
    files[(int)name] = fd;
}

/* Writes `letter` `bytes` times, by one of the methods a program has. */
static void write_bytes(const char *method, int fd, long offset, long bytes, char letter, const char *line) {
    char *data = malloc((size_t)bytes);
    check(data != NULL, line);
    memset(data, letter, (size_t)bytes);
    struct iovec parts[2] = {{data, (size_t)bytes / 2}, {data + bytes / 2, (size_t)(bytes - bytes / 2)}};
    int copy = dup(fd);
    check(copy >= 0, line);
    check(lseek(fd, offset, SEEK_SET) == offset, line);
    ssize_t written = -1;
    if (strcmp(method, "pwrite") == 0) written = pwrite(fd, data, (size_t)bytes, offset);
    if (strcmp(method, "pwritev") == 0) written = pwritev(fd, parts, 2, offset);
    if (strcmp(method, "write") == 0) written = write(fd, data, (size_t)bytes);
    if (strcmp(method, "writev") == 0) written = writev(fd, parts, 2);
    if (strcmp(method, "duplicate") == 0) written = write(copy, data, (size_t)bytes);
    check(written == bytes, line);
    close(copy);
    free(data);
}

static void sync_directory(const char *line) {
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(fd >= 0 && fsync(fd) == 0, line);
    close(fd);
}

static void run(const char *line) {
    char verb[16] = "", name = 0, letter = 0;
    long first = 0, second = 0;
    sscanf(line, "%15s %c %ld %ld %c", verb, &name, &first, &second, &letter);
    char path[] = {name, '\0'}, other[] = {(char)first, '\0'};
    int fd = name ? files[(int)name & 127] : -1;
    if (strcmp(verb, "open") == 0) open_file(name, O_RDWR | O_CREAT, line);
    else if (strcmp(verb, "openw") == 0) open_file(name, O_WRONLY | O_CREAT, line);
    else if (strcmp(verb, "renew") == 0) open_file(name, O_RDWR | O_CREAT | O_TRUNC, line);
    else if (strcmp(verb, "truncate") == 0) check(ftruncate(fd, first) == 0, line);
    else if (strcmp(verb, "allocate") == 0) check(posix_fallocate(fd, 0, first) == 0, line);
    else if (strcmp(verb, "fsync") == 0) check(fsync(fd) == 0, line);
    else if (strcmp(verb, "fdatasync") == 0) check(fdatasync(fd) == 0, line);
    else if (strcmp(verb, "badsync") == 0) check(fdatasync(fd) != 0, line);
    else if (strcmp(verb, "syncdir") == 0) sync_directory(line);
    else if (strcmp(verb, "rename") == 0) check(rename(path, other) == 0, line);
    else if (strcmp(verb, "unlink") == 0) check(unlink(path) == 0, line);
    else if (strcmp(verb, "mkdir") == 0) check(mkdir(path, 0700) == 0, line);
    else if (strcmp(verb, "rmdir") == 0) check(rmdir(path) == 0, line);
    else if (strcmp(verb, "die") == 0) raise(SIGKILL);
    else write_bytes(verb, fd, first, second, letter, line);
}

int main(void) {
    char line[128];
    while (fgets(line, sizeof line, stdin) != NULL) run(line);
    return 0;
}
