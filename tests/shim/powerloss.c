/*
 * powerloss.c - a preload library with which a test can simulate a power loss.
 *
 * kill -9 cannot find a missing fsync: the kernel keeps what a killed process wrote. This shim keeps an undo
 * log: for every modification of a file or directory under POWERLOSS_DIR a record of how to undo it, which it
 * drops once the modification is synced. A power loss is then: kill -9 every process, and let
 * tests/chaos/powerloss.py undo all or some of the records. The logs are in POWERLOSS_UNDO, a directory on the
 * same file system and outside POWERLOSS_DIR, made by the caller; one process at a time writes there.
 *
 *   <inode>.data   undo records of a regular file; its own fsync or fdatasync drops them
 *   <inode>.dir    undo records of a directory's entries; the directory's fsync drops them
 *   limbo/<seq>    hard links that keep unlinked and replaced files until the directory is synced
 *
 * A record is written before the modification it undoes, both under one lock, so a process killed between
 * the two leaves a record whose undoing changes nothing. Files are identified by inode, so duplicated
 * descriptors need no special care. sync_file_range and msync promise nothing after a power loss, so they drop
 * no records. A shared writable mapping of a guarded file, whose writes the shim cannot see, aborts the
 * process. Output through stdio is not seen either, so it survives; RocksDB writes only its info log that way.
 *
 *   POWERLOSS_FAIL_SYNC=<part of a path>:<n>   the n-th sync of matching files fails once with EIO
 *   POWERLOSS_FAIL_AFTER=<path>                counting starts once this file exists
 *
 * After the failed sync the file's records are never dropped: as on Linux, a later sync that reports success
 * has not written what the failed one lost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define DATA_MAGIC 0x61746164u
#define DIR_MAGIC 0x72726964u
#define HEADER_BYTES 8
#define BUCKETS 1024

/* Undoes one modification of a file's bytes or size; `old_bytes` bytes follow. */
struct data_record {
    uint32_t magic, old_bytes;
    uint64_t seq, offset, new_bytes, old_size;
};

enum change { CREATED = 1, UNLINKED = 2, RENAMED = 3, REMOVED_DIRECTORY = 4 };

/* Undoes one change of a directory; directory and name follow, for RENAMED then the old ones. */
struct dir_record {
    uint32_t magic, change;
    uint64_t seq, limbo, inode;
    uint32_t dir_bytes, name_bytes, old_dir_bytes, old_name_bytes;
};

/* The undo log of one inode. Positions count all bytes ever appended, so that of two concurrent syncs neither
 * drops records that were appended after it began; `base` is the position of the log file's first byte, and the
 * records from `dropped` to `end` are kept. Never freed. */
struct undo_log {
    dev_t dev;
    ino_t ino;
    bool is_dir, sync_failed;
    int fd;
    uint64_t base, dropped, end;
    struct undo_log *next;
};

/* An entry of a directory, resolved. */
struct entry {
    struct stat dir_stat;
    char dir[PATH_MAX];
    char name[NAME_MAX + 1];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct undo_log *buckets[BUCKETS];
static char guarded[PATH_MAX];
static char undo[PATH_MAX];
static size_t guarded_bytes;
static bool active;
static uint64_t last_seq;
static char fail_part[256];
static const char *fail_after;
static long fail_countdown;

static void die(const char *what, const char *path) {
    fprintf(stderr, "powerloss shim: %s %s: %s\n", what, path, strerror(errno));
    abort();
}

/* ---------------------------------------------------------------- system calls, below the interposed names */

static int sys_open(int dirfd, const char *path, int flags, mode_t mode) {
    return (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

static ssize_t sys_pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    return syscall(SYS_pwrite64, fd, data, bytes, offset);
}

static int sys_ftruncate(int fd, off_t size) {
    return (int)syscall(SYS_ftruncate, fd, size);
}

static int sys_unlink(int dirfd, const char *path, int flags) {
    return (int)syscall(SYS_unlinkat, dirfd, path, flags);
}

/* ------------------------------------------------------------------------------------------- what is guarded */

__attribute__((constructor)) static void start(void) {
    const char *dir = getenv("POWERLOSS_DIR"), *undo_dir = getenv("POWERLOSS_UNDO");
    if (dir == NULL || undo_dir == NULL) return;
    if (realpath(dir, guarded) == NULL) die("POWERLOSS_DIR", dir);
    if (realpath(undo_dir, undo) == NULL) die("POWERLOSS_UNDO", undo_dir);
    guarded_bytes = strlen(guarded);
    char limbo[PATH_MAX + 16];
    snprintf(limbo, sizeof limbo, "%s/limbo", undo);
    if (syscall(SYS_mkdirat, AT_FDCWD, limbo, 0700) != 0 && errno != EEXIST) die("mkdir", limbo);
    const char *fail = getenv("POWERLOSS_FAIL_SYNC"), *colon = fail ? strrchr(fail, ':') : NULL;
    if (colon != NULL) {
        snprintf(fail_part, sizeof fail_part, "%.*s", (int)(colon - fail), fail);
        fail_countdown = atol(colon + 1);
    }
    fail_after = getenv("POWERLOSS_FAIL_AFTER");
    active = true;
}

static bool is_guarded(const char *path) {
    return strncmp(path, guarded, guarded_bytes) == 0 &&
           (path[guarded_bytes] == '/' || path[guarded_bytes] == '\0');
}

static bool fd_path(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, path, PATH_MAX - 1);
    if (bytes < 0) return false;
    path[bytes] = '\0';
    return true;
}

/* Grows over restarts too, because it starts from the wall clock. */
static uint64_t next_seq(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t seq = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    last_seq = seq > last_seq ? seq : last_seq + 1;
    return last_seq;
}

/* --------------------------------------------------------------------------------------------- the undo logs */

static bool belongs_to(const struct undo_log *log, const struct stat *st) {
    return log->ino == st->st_ino && log->dev == st->st_dev && log->is_dir == S_ISDIR(st->st_mode);
}

static struct undo_log *find_log(const struct stat *st) {
    struct undo_log *log = buckets[st->st_ino % BUCKETS];
    while (log != NULL && !belongs_to(log, st)) log = log->next;
    return log;
}

static struct undo_log *find_log_of_fd(int fd, struct stat *st) {
    if (!active || fstat(fd, st) != 0) return NULL;
    return S_ISREG(st->st_mode) || S_ISDIR(st->st_mode) ? find_log(st) : NULL;
}

static size_t record_bytes(const char *record, bool is_dir) {
    if (!is_dir) return sizeof(struct data_record) + ((const struct data_record *)record)->old_bytes;
    const struct dir_record *r = (const struct dir_record *)record;
    return sizeof *r + r->dir_bytes + r->name_bytes + r->old_dir_bytes + r->old_name_bytes;
}

/* The end of the last complete record; a process killed while appending leaves a partial one after it. */
static uint64_t complete_records_end(struct undo_log *log, uint64_t from) {
    char record[sizeof(struct dir_record)];
    size_t min_bytes = log->is_dir ? sizeof(struct dir_record) : sizeof(struct data_record);
    struct stat st;
    if (fstat(log->fd, &st) != 0) die("fstat", undo);
    while (pread(log->fd, record, min_bytes, (off_t)from) == (ssize_t)min_bytes) {
        uint64_t end = from + record_bytes(record, log->is_dir);
        if (end > (uint64_t)st.st_size) break;
        from = end;
    }
    return from;
}

/* Opens the log file of an inode; one left by an earlier process of the same member is continued. */
static void open_log(struct undo_log *log) {
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%ju.%s", undo, (uintmax_t)log->ino, log->is_dir ? "dir" : "data");
    log->fd = sys_open(AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (log->fd < 0) die("open", path);
    uint64_t start = HEADER_BYTES;
    if (pread(log->fd, &start, sizeof start, 0) != sizeof start) {
        start = HEADER_BYTES;
        if (sys_pwrite(log->fd, &start, sizeof start, 0) != sizeof start) die("write", path);
    }
    log->dropped = start;
    log->end = complete_records_end(log, start);
    if (sys_ftruncate(log->fd, (off_t)log->end) != 0) die("truncate", path);
}

static struct undo_log *track(const struct stat *st) {
    struct undo_log *log = find_log(st);
    if (log != NULL) return log;
    log = calloc(1, sizeof *log);
    if (log == NULL) die("no memory for", undo);
    log->dev = st->st_dev;
    log->ino = st->st_ino;
    log->is_dir = S_ISDIR(st->st_mode);
    open_log(log);
    log->next = buckets[st->st_ino % BUCKETS];
    buckets[st->st_ino % BUCKETS] = log;
    return log;
}

static void append(struct undo_log *log, const void *data, size_t bytes) {
    ssize_t written = sys_pwrite(log->fd, data, bytes, (off_t)(log->end - log->base));
    if (written != (ssize_t)bytes) die("cannot record a modification in", undo);
    log->end += bytes;
}

static void limbo_path(uint64_t seq, char *path, size_t capacity) {
    snprintf(path, capacity, "%s/limbo/%ju", undo, (uintmax_t)seq);
}

/* Removes the links that only the dropped records of a directory would restore. */
static void release_limbo(struct undo_log *log, uint64_t to) {
    struct dir_record record;
    char path[PATH_MAX + 64];
    for (uint64_t at = log->dropped; at < to; at += record_bytes((char *)&record, true)) {
        if (pread(log->fd, &record, sizeof record, (off_t)(at - log->base)) != sizeof record)
            die("cannot read the records in", undo);
        if (record.limbo == 0) continue;
        limbo_path(record.limbo, path, sizeof path);
        sys_unlink(AT_FDCWD, path, 0);
    }
}

/* Forgets every record before `to`: what they undo is on the disk now. */
static void drop(struct undo_log *log, uint64_t to) {
    if (log->sync_failed || to <= log->dropped) return;
    if (log->is_dir) release_limbo(log, to);
    log->dropped = to;
    uint64_t start = to - log->base;
    if (to == log->end) {
        if (sys_ftruncate(log->fd, HEADER_BYTES) != 0) die("truncate", undo);
        start = HEADER_BYTES;
        log->base = to - HEADER_BYTES;
    }
    if (sys_pwrite(log->fd, &start, sizeof start, 0) != sizeof start) die("write", undo);
}

/* Starts the log of a file or directory that was just made. An earlier file may have had its inode number, and
 * left records that are useless now. */
static void start_log(const struct stat *st) {
    struct undo_log *log = track(st);
    log->sync_failed = false;
    drop(log, log->end);
}

/* ------------------------------------------------------------------------------------------- file contents */

/* Copies bytes of a file that may be open for writing only. */
static void read_old(int fd, char *buffer, size_t bytes, off_t offset) {
    ssize_t got = pread(fd, buffer, bytes, offset);
    if (got < 0 && errno == EBADF) {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int again = sys_open(AT_FDCWD, link, O_RDONLY | O_CLOEXEC, 0);
        if (again < 0) die("open", link);
        got = pread(again, buffer, bytes, offset);
        close(again);
    }
    if (got != (ssize_t)bytes) die("cannot read what is about to be overwritten in", guarded);
}

/* Records that [offset, offset + bytes) is about to change, in a file of `size` bytes. */
static void record_write(struct undo_log *log, int fd, off_t size, off_t offset, size_t bytes) {
    size_t old = offset < size ? (size_t)(size - offset) : 0;
    if (old > bytes) old = bytes;
    char *record = malloc(sizeof(struct data_record) + old);
    if (record == NULL) die("no memory for", undo);
    struct data_record head = {DATA_MAGIC, (uint32_t)old, next_seq(), (uint64_t)offset, bytes, (uint64_t)size};
    memcpy(record, &head, sizeof head);
    if (old > 0) read_old(fd, record + sizeof head, old, offset);
    append(log, record, sizeof head + old);
    free(record);
}

static off_t write_offset(int fd, const struct stat *st) {
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_APPEND) ? st->st_size : lseek(fd, 0, SEEK_CUR);
}

static size_t total_bytes(const struct iovec *parts, int count) {
    size_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += parts[i].iov_len;
    return bytes;
}

/* Records the bytes that `call` will change, then runs it. A negative offset means the descriptor's own. */
#define RECORDED(fd, offset, bytes, call)                                                              \
    do {                                                                                               \
        struct stat st;                                                                                \
        pthread_mutex_lock(&lock);                                                                     \
        struct undo_log *log = find_log_of_fd(fd, &st);                                                \
        if (log == NULL) pthread_mutex_unlock(&lock);                                                  \
        if (log != NULL)                                                                               \
            record_write(log, fd, st.st_size, (offset) < 0 ? write_offset(fd, &st) : (offset), bytes); \
        ssize_t result = call;                                                                         \
        int error = errno;                                                                             \
        if (log != NULL) pthread_mutex_unlock(&lock);                                                  \
        errno = error;                                                                                 \
        return result;                                                                                 \
    } while (0)

EXPORT ssize_t write(int fd, const void *data, size_t bytes) {
    RECORDED(fd, (off_t)-1, bytes, syscall(SYS_write, fd, data, bytes));
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
    RECORDED(fd, (off_t)-1, total_bytes(parts, count), syscall(SYS_writev, fd, parts, count));
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    RECORDED(fd, offset, bytes, sys_pwrite(fd, data, bytes, offset));
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t bytes, off64_t offset) {
    RECORDED(fd, offset, bytes, sys_pwrite(fd, data, bytes, offset));
}

EXPORT ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    RECORDED(fd, offset, total_bytes(parts, count), syscall(SYS_pwritev, fd, parts, count, offset, 0));
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    RECORDED(fd, offset, total_bytes(parts, count), syscall(SYS_pwritev, fd, parts, count, offset, 0));
}

static int recorded_truncate(int fd, off_t size) {
    struct stat st;
    pthread_mutex_lock(&lock);
    struct undo_log *log = find_log_of_fd(fd, &st);
    off_t cut = log != NULL && st.st_size > size ? st.st_size - size : 0;
    if (log != NULL) record_write(log, fd, st.st_size, size, (size_t)cut);
    int result = sys_ftruncate(fd, size), error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

EXPORT int ftruncate(int fd, off_t size) { return recorded_truncate(fd, size); }
EXPORT int ftruncate64(int fd, off64_t size) { return recorded_truncate(fd, size); }

static int recorded_truncate_path(const char *path, off_t size) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    int result = recorded_truncate(fd, size), error = errno;
    close(fd);
    errno = error;
    return result;
}

EXPORT int truncate(const char *path, off_t size) { return recorded_truncate_path(path, size); }
EXPORT int truncate64(const char *path, off64_t size) { return recorded_truncate_path(path, size); }

/* Plain allocation changes no byte but may change the size; punching and zeroing change bytes. */
static int recorded_fallocate(int fd, int mode, off_t offset, off_t bytes) {
    size_t changed = mode == 0 || mode == FALLOC_FL_KEEP_SIZE ? 0 : (size_t)bytes;
    RECORDED(fd, offset, changed, syscall(SYS_fallocate, fd, mode, offset, bytes));
}

EXPORT int fallocate(int fd, int mode, off_t offset, off_t bytes) {
    return recorded_fallocate(fd, mode, offset, bytes);
}

EXPORT int fallocate64(int fd, int mode, off64_t offset, off64_t bytes) {
    return recorded_fallocate(fd, mode, offset, bytes);
}

EXPORT int posix_fallocate(int fd, off_t offset, off_t bytes) {
    return recorded_fallocate(fd, 0, offset, bytes) == 0 ? 0 : errno;
}

EXPORT int posix_fallocate64(int fd, off64_t offset, off64_t bytes) {
    return recorded_fallocate(fd, 0, offset, bytes) == 0 ? 0 : errno;
}

/* Copies inside the kernel are refused for guarded files; callers fall back to reading and writing. */
static bool is_tracked(int fd) {
    struct stat st;
    pthread_mutex_lock(&lock);
    bool tracked = find_log_of_fd(fd, &st) != NULL;
    pthread_mutex_unlock(&lock);
    return tracked;
}

EXPORT ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t bytes, unsigned flags) {
    if (is_tracked(out)) return errno = ENOSYS, -1;
    return syscall(SYS_copy_file_range, in, in_at, out, out_at, bytes, flags);
}

EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t bytes) {
    if (is_tracked(out)) return errno = EINVAL, -1;
    return syscall(SYS_sendfile, out, in, offset, bytes);
}

EXPORT ssize_t sendfile64(int out, int in, off64_t *offset, size_t bytes) {
    return sendfile(out, in, offset, bytes);
}

static void refuse_shared_writes(int protection, int flags, int fd) {
    if ((protection & PROT_WRITE) == 0 || (flags & MAP_SHARED) == 0 || fd < 0 || !is_tracked(fd)) return;
    errno = ENOTSUP;
    die("a shared writable mapping hides writes under", guarded);
}

EXPORT void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t offset) {
    refuse_shared_writes(protection, flags, fd);
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

EXPORT void *mmap64(void *at, size_t bytes, int protection, int flags, int fd, off64_t offset) {
    refuse_shared_writes(protection, flags, fd);
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, offset);
}

/* --------------------------------------------------------------------------------------------- directories */

/* Resolves `path` to a guarded directory and a name in it. */
static bool resolve(int dirfd, const char *path, struct entry *entry) {
    if (!active) return false;
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    size_t bytes = strlen(parent);
    while (bytes > 1 && parent[bytes - 1] == '/') parent[--bytes] = '\0';
    char *slash = strrchr(parent, '/');
    snprintf(entry->name, sizeof entry->name, "%s", slash ? slash + 1 : parent);
    if (slash != NULL) slash[slash == parent ? 1 : 0] = '\0';
    int fd = sys_open(dirfd, slash ? parent : ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) return false;
    bool found = fstat(fd, &entry->dir_stat) == 0 && fd_path(fd, entry->dir) && is_guarded(entry->dir);
    close(fd);
    return found;
}

static void record_change(const struct entry *entry, const struct entry *old, enum change change, uint64_t limbo,
                        ino_t inode) {
    struct dir_record head = {DIR_MAGIC, change, next_seq(), limbo, inode, 0, 0, 0, 0};
    head.dir_bytes = (uint32_t)strlen(entry->dir);
    head.name_bytes = (uint32_t)strlen(entry->name);
    head.old_dir_bytes = old ? (uint32_t)strlen(old->dir) : 0;
    head.old_name_bytes = old ? (uint32_t)strlen(old->name) : 0;
    char record[sizeof head + 2 * PATH_MAX + 2 * NAME_MAX];
    int bytes = snprintf(record + sizeof head, sizeof record - sizeof head, "%s%s%s%s", entry->dir, entry->name,
                         old ? old->dir : "", old ? old->name : "");
    memcpy(record, &head, sizeof head);
    append(track(&entry->dir_stat), record, sizeof head + (size_t)bytes);
}

/* Removes the record of a change that failed. */
static void remove_record(const struct entry *entry, uint64_t end_before) {
    struct undo_log *log = track(&entry->dir_stat);
    if (sys_ftruncate(log->fd, (off_t)(end_before - log->base)) != 0) die("truncate", undo);
    log->end = end_before;
}

/* Keeps the file at `path` reachable until its removal is durable; returns 0 if there is no file. */
static uint64_t keep_in_limbo(int dirfd, const char *path) {
    struct stat st;
    if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) return 0;
    char limbo[PATH_MAX + 64];
    uint64_t seq = next_seq();
    limbo_path(seq, limbo, sizeof limbo);
    if (syscall(SYS_linkat, dirfd, path, AT_FDCWD, limbo, 0) != 0) die("link", limbo);
    return seq;
}

static void release_from_limbo(uint64_t seq) {
    char limbo[PATH_MAX + 64];
    limbo_path(seq, limbo, sizeof limbo);
    if (seq != 0) sys_unlink(AT_FDCWD, limbo, 0);
}

static int recorded_unlink(int dirfd, const char *path, int flags) {
    struct entry entry;
    pthread_mutex_lock(&lock);
    bool guard = resolve(dirfd, path, &entry);
    uint64_t before = guard ? track(&entry.dir_stat)->end : 0;
    uint64_t limbo = guard && (flags & AT_REMOVEDIR) == 0 ? keep_in_limbo(dirfd, path) : 0;
    struct stat st;
    ino_t inode = guard && (flags & AT_REMOVEDIR) && fstatat(dirfd, path, &st, 0) == 0 ? st.st_ino : 0;
    if (guard) record_change(&entry, NULL, flags & AT_REMOVEDIR ? REMOVED_DIRECTORY : UNLINKED, limbo, inode);
    int result = sys_unlink(dirfd, path, flags), error = errno;
    if (guard && result != 0) {
        remove_record(&entry, before);
        release_from_limbo(limbo);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

EXPORT int unlink(const char *path) { return recorded_unlink(AT_FDCWD, path, 0); }
EXPORT int unlinkat(int dirfd, const char *path, int flags) { return recorded_unlink(dirfd, path, flags); }
EXPORT int rmdir(const char *path) { return recorded_unlink(AT_FDCWD, path, AT_REMOVEDIR); }

static int recorded_rename(int old_dirfd, const char *old, int new_dirfd, const char *new, unsigned flags) {
    struct entry from, to;
    struct stat moved;
    pthread_mutex_lock(&lock);
    bool guard = resolve(new_dirfd, new, &to) && resolve(old_dirfd, old, &from) &&
                 fstatat(old_dirfd, old, &moved, AT_SYMLINK_NOFOLLOW) == 0;
    uint64_t before = guard ? track(&to.dir_stat)->end : 0;
    uint64_t limbo = guard ? keep_in_limbo(new_dirfd, new) : 0;
    if (guard) record_change(&to, &from, RENAMED, limbo, moved.st_ino);
    int result = (int)syscall(SYS_renameat2, old_dirfd, old, new_dirfd, new, flags), error = errno;
    if (guard && result != 0) {
        remove_record(&to, before);
        release_from_limbo(limbo);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

EXPORT int rename(const char *old, const char *new) { return recorded_rename(AT_FDCWD, old, AT_FDCWD, new, 0); }

EXPORT int renameat(int old_dirfd, const char *old, int new_dirfd, const char *new) {
    return recorded_rename(old_dirfd, old, new_dirfd, new, 0);
}

EXPORT int renameat2(int old_dirfd, const char *old, int new_dirfd, const char *new, unsigned flags) {
    return recorded_rename(old_dirfd, old, new_dirfd, new, flags);
}

static int recorded_mkdir(int dirfd, const char *path, mode_t mode) {
    struct entry entry;
    struct stat st;
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_mkdirat, dirfd, path, mode), error = errno;
    if (result == 0 && resolve(dirfd, path, &entry) && fstatat(dirfd, path, &st, 0) == 0) {
        start_log(&st);
        record_change(&entry, NULL, CREATED, 0, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

EXPORT int mkdir(const char *path, mode_t mode) { return recorded_mkdir(AT_FDCWD, path, mode); }
EXPORT int mkdirat(int dirfd, const char *path, mode_t mode) { return recorded_mkdir(dirfd, path, mode); }

EXPORT int linkat(int old_dirfd, const char *old, int new_dirfd, const char *new, int flags) {
    struct entry entry;
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_linkat, old_dirfd, old, new_dirfd, new, flags), error = errno;
    if (result == 0 && resolve(new_dirfd, new, &entry)) record_change(&entry, NULL, CREATED, 0, 0);
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

EXPORT int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

/* ------------------------------------------------------------------------------------------------- opening */

/* Starts tracking a file that was just opened for writing. */
static void watch(const struct stat *st, const struct entry *entry, bool created) {
    if (created) {
        start_log(st);
        record_change(entry, NULL, CREATED, 0, 0);
    } else {
        track(st);
    }
}

static int recorded_open(int dirfd, const char *path, int flags, mode_t mode) {
    bool writes = ((flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT)) && (flags & O_TMPFILE) != O_TMPFILE;
    if (!active || !writes) return sys_open(dirfd, path, flags, mode);
    struct entry entry;
    struct stat st;
    pthread_mutex_lock(&lock);
    bool created = (flags & O_CREAT) != 0 && fstatat(dirfd, path, &st, 0) != 0;
    int fd = sys_open(dirfd, path, flags & ~O_TRUNC, mode), error = errno;
    bool regular = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    if (regular && resolve(dirfd, path, &entry)) watch(&st, &entry, created);
    pthread_mutex_unlock(&lock);
    if (regular && (flags & O_TRUNC) != 0 && st.st_size > 0 && recorded_truncate(fd, 0) != 0) {
        error = errno;
        close(fd);
        fd = -1;
    }
    errno = error;
    return fd;
}

static mode_t mode_argument(int flags, va_list rest) {
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPEN(dirfd)                                  \
    va_list rest;                                    \
    va_start(rest, flags);                           \
    mode_t mode = mode_argument(flags, rest);        \
    va_end(rest);                                    \
    return recorded_open(dirfd, path, flags, mode)

EXPORT int open(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
EXPORT int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
EXPORT int openat(int dirfd, const char *path, int flags, ...) { OPEN(dirfd); }
EXPORT int openat64(int dirfd, const char *path, int flags, ...) { OPEN(dirfd); }

EXPORT int creat(const char *path, mode_t mode) {
    return recorded_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int creat64(const char *path, mode_t mode) { return creat(path, mode); }

/* ------------------------------------------------------------------------------------------------- syncing */

/* True for the one sync that is to fail, see POWERLOSS_FAIL_SYNC. */
static bool must_fail(int fd) {
    char path[PATH_MAX];
    if (fail_countdown <= 0 || !fd_path(fd, path) || strstr(path, fail_part) == NULL) return false;
    if (fail_after != NULL && access(fail_after, F_OK) != 0) return false;
    return --fail_countdown == 0;
}

static int recorded_sync(int fd, long call) {
    struct stat st;
    pthread_mutex_lock(&lock);
    struct undo_log *log = find_log_of_fd(fd, &st);
    uint64_t end = log ? log->end : 0;
    bool fail = log != NULL && must_fail(fd);
    if (fail) log->sync_failed = true;
    pthread_mutex_unlock(&lock);
    if (fail) return errno = EIO, -1;
    int result = (int)syscall(call, fd), error = errno;
    if (log != NULL && result == 0) {
        pthread_mutex_lock(&lock);
        drop(log, end);
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return result;
}

EXPORT int fsync(int fd) { return recorded_sync(fd, SYS_fsync); }
EXPORT int fdatasync(int fd) { return recorded_sync(fd, SYS_fdatasync); }
