/*
 * chaos_member.c - one member of a cluster that tests/chaos starts, kills and queries. It writes all the time through
 * callbacks and records each outcome outside the store, so that the test can compare the data with the records.
 *
 *   chaos_member DIRECTORY NODE MEMBERS RECORDS RUN [name=value ...]
 *
 * Prints "ready", or "error CODE MESSAGE" and exits with 1. Each command line gets one line as its reply:
 *
 *   write WRITERS           starts threads that write, whichever member leads            writing
 *   overwrite KEYS          starts threads that put the same keys again and again, as fast as they are answered, and
 *                           record nothing                                               writing
 *   pause                   stops them and waits until every call has completed          paused
 *   status                  status ROLE LEADER TERM COMMIT APPLIED POISONED IN_FLIGHT ACKNOWLEDGED
 *   dump FILE PREFIX        writes to FILE the pairs of a linearizable snapshot whose keys begin with PREFIX, one per
 *                           line as "KEY ok", "KEY bad", or "KEY VALUE" for registers      dumped COUNT
 *   show FILE MIN_INDEX     the same of all that this member has by itself once it has applied MIN_INDEX, with the
 *                           version of each key at the end of its line                     dumped COUNT
 *   put TIMEOUT_MS          one blocking put                                    result CODE MS MESSAGE
 *   absent TIMEOUT_MS KEY   one blocking put of a key that must not be there    result CODE MS MESSAGE
 *   snapshot TIMEOUT_MS     one blocking linearizable snapshot                  result CODE MS MESSAGE
 *   level                   the feature level of the region                     level NUMBER
 *   leader TIMEOUT_MS       waits for a leader                                  result CODE MS MESSAGE
 *   transfer TIMEOUT_MS     hands the leadership over to another member         result CODE MS MESSAGE
 *   change TIMEOUT_MS [+NODE=ADDRESS] [-NODE] ...   adds and removes members, all at once, and waits until every region has
 *                           followed                                            result CODE MS MESSAGE
 *   ready TIMEOUT_MS        waits until this member, which has joined, has the data     result CODE MS MESSAGE
 *   members                 the members of the list, and for what the regions wait      members NODE,... TEXT
 *   reopen                  opens the same directory a second time              result CODE MS MESSAGE
 *   stop                    closes the store and exits                                   stopped
 *
 * RECORDS is appended to with write(2), so it survives SIGKILL: "B writer n" before a write is submitted, then one
 * of "A writer n" (applied), "N writer n CODE" (certainly not applied), "U writer n CODE" (unknown). Write n of a
 * writer is one batch: it puts k/RUN/NODE/WRITER/n and d/RUN/NODE/WRITER/n, deletes d/.../(n - DELETE_DISTANCE) and
 * puts n into the register r/RUN/NODE/WRITER. A writer has fewer than DELETE_DISTANCE writes in flight, so a key is
 * acknowledged before its deletion is submitted.
 *
 * CHAOS_LOG in the environment names a file to which the library's log goes.
 */
#define _POSIX_C_SOURCE 200809L
#include <almadia.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WRITERS_MAX 16
#define BURST_WRITES 16
#define DELETE_DISTANCE 32
/* Between two bursts; keeps the history of a run small enough to check every write. */
#define BURST_PAUSE_US 15000
/* After a burst whose last write to complete failed. */
#define FAILED_PAUSE_US 3000
#define VALUE_BYTES_MAX 70000
#define KEY_CHARS 64
#define CHANGES_MAX 8
#define OVERWRITERS 4

struct member;

struct writer {
    struct member *member;
    unsigned number;
    pthread_t thread;
    unsigned next;
    unsigned in_flight;  /* under the member's lock */
    bool failed, ended;  /* under the member's lock */
};

struct write {
    struct writer *writer;
    unsigned number;
};

struct member {
    almadia_store *store;
    almadia_config *config;
    const char *directory;
    unsigned node, run;
    int records;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    bool pausing; /* under `lock`, like `applied` */
    unsigned long applied;
    unsigned long long keys; /* > 0: all that the writers put */
    struct writer writers[WRITERS_MAX];
    unsigned writer_count;
};

static void pause_us(long us) {
    struct timespec pause = {0, us * 1000};
    nanosleep(&pause, NULL);
}

static long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void fail(const char *what, const char *on) {
    printf("error %s %s: %s\n", what, on, strerror(errno));
    fflush(stdout);
    _exit(1);
}

/* ------------------------------------------------------------------------------------------------------- values */

static unsigned long long hash_of(const char *key, size_t bytes) {
    unsigned long long hash = 1469598103934665603ULL;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ (unsigned char)key[i]) * 1099511628211ULL;
    return hash ^ hash >> 29;
}

/* The expected value of a key: mostly short, sometimes longer than a page, now and then tens of kilobytes. */
static size_t value_of(const char *key, size_t key_bytes, char *value) {
    unsigned long long state = hash_of(key, key_bytes);
    size_t bytes = 16 + state % 300;
    if (state % 64 == 1) bytes += 5000;
    if (state % 512 == 2) bytes += 60000;
    for (size_t i = 0; i < bytes; i++) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        value[i] = (char)(state >> 56);
    }
    return bytes;
}

/* ------------------------------------------------------------------------------------------------------ writing */

static void record(struct member *member, char what, const struct write *write_, almadia_code code) {
    char line[96];
    if (member->keys > 0) return;
    int bytes = what == 'A' || what == 'B'
                    ? snprintf(line, sizeof line, "%c %u %u\n", what, write_->writer->number, write_->number)
                    : snprintf(line, sizeof line, "%c %u %u %s\n", what, write_->writer->number, write_->number,
                               almadia_code_name(code));
    if (write(member->records, line, (size_t)bytes) != bytes) fail("cannot write", "the records");
}

static char outcome_of(almadia_code code) {
    return code == ALMADIA_OK ? 'A' : almadia_code_maybe_applied(code) ? 'U' : 'N';
}

/* Records the outcome of a write, from the callback, or from the call itself if it was not accepted. */
static void finish(struct write *write_, almadia_code code) {
    struct writer *writer = write_->writer;
    struct member *member = writer->member;
    record(member, outcome_of(code), write_, code);
    pthread_mutex_lock(&member->lock);
    writer->in_flight--;
    writer->failed = code != ALMADIA_OK;
    writer->ended |= code == ALMADIA_POISONED || code == ALMADIA_CLOSED || code == ALMADIA_FAILED_IN_FLIGHT;
    member->applied += code == ALMADIA_OK;
    pthread_cond_broadcast(&member->answered);
    pthread_mutex_unlock(&member->lock);
    free(write_);
}

static void on_written(void *user, almadia_completion *completion) {
    finish(user, almadia_completion_code(completion));
}

static void put(almadia_batch *batch, const char *key, const char *value, size_t bytes) {
    if (almadia_batch_put(batch, key, strlen(key), value, bytes, NULL) != ALMADIA_OK) fail("cannot put", key);
}

static void fill(almadia_batch *batch, const struct writer *writer, unsigned n) {
    const struct member *member = writer->member;
    char key[KEY_CHARS], value[VALUE_BYTES_MAX];
    if (member->keys > 0) {
        snprintf(key, sizeof key, "o/%02u/%08llu", writer->number, n % member->keys);
        put(batch, key, value, value_of(key, strlen(key), value));
        return;
    }
    for (const char *kind = "kd"; *kind != '\0'; kind++) {
        snprintf(key, sizeof key, "%c/%03u/%u/%02u/%08u", *kind, member->run, member->node, writer->number, n);
        put(batch, key, value, value_of(key, strlen(key), value));
    }
    if (n >= DELETE_DISTANCE) {
        snprintf(key, sizeof key, "d/%03u/%u/%02u/%08u", member->run, member->node, writer->number,
                 n - DELETE_DISTANCE);
        if (almadia_batch_delete(batch, key, strlen(key), NULL) != ALMADIA_OK) fail("cannot delete", key);
    }
    snprintf(key, sizeof key, "r/%03u/%u/%02u", member->run, member->node, writer->number);
    snprintf(value, sizeof value, "%08u", n);
    put(batch, key, value, 8);
}

static void submit(struct writer *writer, almadia_batch *batch) {
    struct member *member = writer->member;
    struct write *write_ = malloc(sizeof *write_);
    if (write_ == NULL) fail("no memory for", "a write");
    write_->writer = writer;
    write_->number = writer->next++;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = on_written;
    done.user = write_;
    almadia_batch_clear(batch);
    fill(batch, writer, write_->number);
    pthread_mutex_lock(&member->lock);
    writer->in_flight++;
    pthread_mutex_unlock(&member->lock);
    record(member, 'B', write_, ALMADIA_OK);
    almadia_code code = almadia_write_async(member->store, batch, NULL, &done, NULL);
    if (code != ALMADIA_OK) finish(write_, code);
}

/* True if the writer may submit the next write; waits for a completion while too many are in flight. */
static bool has_room(struct writer *writer) {
    struct member *member = writer->member;
    pthread_mutex_lock(&member->lock);
    while (writer->in_flight >= BURST_WRITES && !writer->ended && !member->pausing)
        pthread_cond_wait(&member->answered, &member->lock);
    bool room = !writer->ended && !member->pausing;
    pthread_mutex_unlock(&member->lock);
    return room;
}

static bool has_failed(struct writer *writer) {
    pthread_mutex_lock(&writer->member->lock);
    bool failed = writer->failed;
    writer->failed = false;
    pthread_mutex_unlock(&writer->member->lock);
    return failed;
}

static void *write_bursts(void *argument) {
    struct writer *writer = argument;
    almadia_batch *batch = NULL;
    if (almadia_batch_new(&batch, NULL) != ALMADIA_OK) fail("cannot make", "a batch");
    while (has_room(writer)) {
        for (int i = 0; i < BURST_WRITES && has_room(writer); i++) submit(writer, batch);
        if (has_failed(writer))
            pause_us(FAILED_PAUSE_US);
        else if (writer->member->keys == 0)
            pause_us(BURST_PAUSE_US);
    }
    almadia_batch_free(batch);
    return NULL;
}

/* With `keys` > 0 they overwrite so many each, and record nothing. */
static void start_writers(struct member *member, unsigned count, unsigned long long keys) {
    member->pausing = false;
    member->keys = keys;
    member->writer_count = count < WRITERS_MAX ? count : WRITERS_MAX;
    for (unsigned i = 0; i < member->writer_count; i++) {
        struct writer *writer = &member->writers[i];
        writer->member = member;
        writer->number = i;
        if (pthread_create(&writer->thread, NULL, write_bursts, writer) != 0) fail("cannot start", "a thread");
    }
    printf("writing\n");
}

static void stop_writers(struct member *member) {
    pthread_mutex_lock(&member->lock);
    member->pausing = true;
    pthread_cond_broadcast(&member->answered);
    pthread_mutex_unlock(&member->lock);
    for (unsigned i = 0; i < member->writer_count; i++) pthread_join(member->writers[i].thread, NULL);
    pthread_mutex_lock(&member->lock);
    for (unsigned i = 0; i < member->writer_count; i++)
        while (member->writers[i].in_flight > 0) pthread_cond_wait(&member->answered, &member->lock);
    pthread_mutex_unlock(&member->lock);
    member->writer_count = 0;
}

/* ------------------------------------------------------------------------------------------------------ replies */

static void print_result(almadia_code code, almadia_error *error, long long start_us) {
    printf("result %s %lld %s\n", almadia_code_name(code), (now_us() - start_us) / 1000,
           error ? almadia_error_message(error) : "");
    almadia_error_free(error);
}

static void print_status(struct member *member) {
    static const char *roles[] = {"follower", "candidate", "leader", "learner"};
    almadia_status status = ALMADIA_STATUS_INIT;
    almadia_error *error = NULL;
    almadia_code code = almadia_store_status(member->store, &status, &error);
    if (code != ALMADIA_OK) {
        print_result(code, error, now_us());
        return;
    }
    pthread_mutex_lock(&member->lock);
    unsigned long applied = member->applied;
    pthread_mutex_unlock(&member->lock);
    printf("status %s %llu %llu %llu %llu %s %llu %lu\n", roles[status.role], (unsigned long long)status.leader_id,
           (unsigned long long)status.term, (unsigned long long)status.commit_index,
           (unsigned long long)status.applied_index, almadia_code_name(status.poisoned),
           (unsigned long long)status.in_flight, applied);
}

static void dump_pair(FILE *file, almadia_slice key, almadia_slice value) {
    char expected[VALUE_BYTES_MAX];
    if (key.size > 0 && *(const char *)key.data == 'r') {
        fprintf(file, "%.*s %.*s", (int)key.size, (const char *)key.data, (int)value.size, (const char *)value.data);
        return;
    }
    size_t bytes = value_of(key.data, key.size, expected);
    bool same = bytes == value.size && memcmp(expected, value.data, bytes) == 0;
    fprintf(file, "%.*s %s", (int)key.size, (const char *)key.data, same ? "ok" : "bad");
}

enum versions { WITHOUT_VERSIONS, WITH_VERSIONS };

static almadia_code dump_snapshot(const almadia_snapshot *snapshot, const char *prefix, enum versions versions,
                                  FILE *file, size_t *count, almadia_error **error) {
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    options.prefix = prefix;
    options.prefix_length = strlen(prefix);
    almadia_iter *iter = NULL;
    almadia_code code = almadia_iter_new(snapshot, &options, &iter, error);
    if (code != ALMADIA_OK) return code;
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter), ++*count) {
        dump_pair(file, almadia_iter_key(iter), almadia_iter_value(iter));
        if (versions == WITH_VERSIONS) fprintf(file, " %llu", (unsigned long long)almadia_iter_version(iter));
        fputc('\n', file);
    }
    code = almadia_iter_code(iter, error);
    almadia_iter_free(iter);
    return code;
}

static void dump(struct member *member, const char *path, const char *prefix, enum versions versions,
                 const almadia_snapshot_options *options) {
    long long start = now_us();
    size_t count = 0;
    FILE *file = fopen(path, "w");
    if (file == NULL) fail("cannot open", path);
    almadia_snapshot *snapshot = NULL;
    almadia_error *error = NULL;
    almadia_code code = almadia_snapshot_open(member->store, options, &snapshot, &error);
    if (code == ALMADIA_OK) code = dump_snapshot(snapshot, prefix, versions, file, &count, &error);
    almadia_snapshot_free(snapshot);
    if (fclose(file) != 0) fail("cannot write", path);
    if (code == ALMADIA_OK)
        printf("dumped %zu\n", count);
    else
        print_result(code, error, start);
}

static void show(struct member *member, const char *path, unsigned long long min_index) {
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    options.level = ALMADIA_LEVEL_LOCAL;
    options.min_index = min_index;
    options.timeout_ms = 30000; /* it ends a hang */
    dump(member, path, "", WITH_VERSIONS, &options);
}

static void put_once(struct member *member, unsigned long long timeout_ms) {
    long long start = now_us();
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    almadia_batch *batch = NULL;
    almadia_error *error = NULL;
    if (almadia_batch_new(&batch, NULL) != ALMADIA_OK) fail("cannot make", "a batch");
    put(batch, "p", "1", 1);
    almadia_code code = almadia_write(member->store, batch, &options, NULL, &error);
    almadia_batch_free(batch);
    print_result(code, error, start);
}

static void put_if_absent_once(struct member *member, unsigned long long timeout_ms, const char *key) {
    long long start = now_us();
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    almadia_error *error = NULL;
    almadia_code code = almadia_put_if_absent(member->store, key, strlen(key), "1", 1, &options, NULL, &error);
    print_result(code, error, start);
}

static void print_level(struct member *member) {
    almadia_region_status status = ALMADIA_REGION_STATUS_INIT;
    almadia_error *error = NULL;
    almadia_code code = almadia_store_region_at(member->store, 0, &status, &error);
    if (code == ALMADIA_OK)
        printf("level %llu\n", (unsigned long long)status.feature_level);
    else
        print_result(code, error, now_us());
}

static void snapshot_once(struct member *member, unsigned long long timeout_ms) {
    long long start = now_us();
    almadia_snapshot_options options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    options.timeout_ms = timeout_ms;
    almadia_snapshot *snapshot = NULL;
    almadia_error *error = NULL;
    almadia_code code = almadia_snapshot_open(member->store, &options, &snapshot, &error);
    almadia_snapshot_free(snapshot);
    print_result(code, error, start);
}

static void wait_leader(struct member *member, unsigned long long timeout_ms) {
    long long start = now_us();
    almadia_error *error = NULL;
    uint64_t leader = 0;
    almadia_code code = almadia_store_wait_leader(member->store, timeout_ms, &leader, &error);
    print_result(code, error, start);
}

static void transfer(struct member *member, unsigned long long timeout_ms) {
    long long start = now_us();
    almadia_error *error = NULL;
    almadia_leader_transfer_options options = {.struct_size = sizeof options, .timeout_ms = timeout_ms};
    almadia_code code = almadia_leader_transfer(member->store, &options, &error);
    print_result(code, error, start);
}

/* The changes that the words ask for, which must outlive them; returns how many. */
static size_t parse_changes(char *words, almadia_member_change *changes) {
    size_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word != NULL && count < CHANGES_MAX; word = strtok_r(NULL, " ", &rest)) {
        almadia_member_change change = ALMADIA_MEMBER_CHANGE_INIT;
        char *address = NULL;
        change.kind = *word == '+' ? ALMADIA_MEMBER_CHANGE_ADD : ALMADIA_MEMBER_CHANGE_REMOVE;
        change.node_id = strtoull(word + 1, &address, 10);
        if (*word == '+') change.address = address + 1;
        changes[count++] = change;
    }
    return count;
}

static void change_members(struct member *member, unsigned long long timeout_ms, const char *words) {
    long long start = now_us();
    almadia_member_change changes[CHANGES_MAX];
    almadia_error *error = NULL;
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", words);
    size_t count = parse_changes(copy, changes);
    almadia_code code = almadia_members_change(member->store, changes, count, timeout_ms, &error);
    print_result(code, error, start);
}

static void wait_ready(struct member *member, unsigned long long timeout_ms) {
    long long start = now_us();
    almadia_error *error = NULL;
    almadia_code code = almadia_store_wait_ready(member->store, timeout_ms, &error);
    print_result(code, error, start);
}

static void print_members(struct member *member) {
    long long start = now_us();
    almadia_members *members = NULL;
    almadia_member found = ALMADIA_MEMBER_INIT;
    almadia_error *error = NULL;
    almadia_code code = almadia_members_list(member->store, &members, &error);
    if (code != ALMADIA_OK) {
        print_result(code, error, start);
        return;
    }
    printf("members ");
    for (size_t at = 0; almadia_members_at(members, at, &found) == ALMADIA_OK; at++)
        printf("%s%llu", at ? "," : "", (unsigned long long)found.node_id);
    printf(" %s\n", almadia_members_unsettled(members));
    almadia_members_free(members);
}

static void reopen(struct member *member) {
    long long start = now_us();
    almadia_error *error = NULL;
    almadia_store *second = NULL;
    almadia_code code = almadia_store_open(member->directory, member->config, &second, &error);
    almadia_store_free(second);
    print_result(code, error, start);
}

/* ----------------------------------------------------------------------------------------------------- commands */

static bool run_command(struct member *member, const char *line) {
    char path[4096] = "", prefix[KEY_CHARS] = "";
    unsigned long long number = 0;
    int used = 0;
    if (sscanf(line, "write %llu", &number) == 1)
        start_writers(member, (unsigned)number, 0);
    else if (sscanf(line, "overwrite %llu", &number) == 1 && number > 0)
        start_writers(member, OVERWRITERS, number);
    else if (strcmp(line, "pause") == 0)
        stop_writers(member), printf("paused\n");
    else if (strcmp(line, "status") == 0)
        print_status(member);
    else if (sscanf(line, "dump %4095s %63s", path, prefix) >= 1)
        dump(member, path, prefix, WITHOUT_VERSIONS, NULL);
    else if (sscanf(line, "show %4095s %llu", path, &number) == 2)
        show(member, path, number);
    else if (sscanf(line, "put %llu", &number) == 1)
        put_once(member, number);
    else if (sscanf(line, "absent %llu %63s", &number, prefix) == 2)
        put_if_absent_once(member, number, prefix);
    else if (strcmp(line, "level") == 0)
        print_level(member);
    else if (sscanf(line, "snapshot %llu", &number) == 1)
        snapshot_once(member, number);
    else if (sscanf(line, "leader %llu", &number) == 1)
        wait_leader(member, number);
    else if (sscanf(line, "transfer %llu", &number) == 1)
        transfer(member, number);
    else if (sscanf(line, "change %llu%n", &number, &used) == 1)
        change_members(member, number, line + used);
    else if (sscanf(line, "ready %llu", &number) == 1)
        wait_ready(member, number);
    else if (strcmp(line, "members") == 0)
        print_members(member);
    else if (strcmp(line, "reopen") == 0)
        reopen(member);
    else if (strcmp(line, "stop") == 0)
        return false;
    else
        printf("error unknown command: %s\n", line);
    return true;
}

static void write_log(void *user, almadia_log_level level, const char *target, const char *message) {
    fprintf(user, "%d %s %s\n", (int)level, target, message);
}

static void start_log(void) {
    const char *path = getenv("CHAOS_LOG");
    if (path == NULL) return;
    FILE *file = fopen(path, "ae");
    if (file == NULL) fail("cannot open", path);
    setvbuf(file, NULL, _IOLBF, 1 << 16);
    if (almadia_log_set_callback(write_log, file, ALMADIA_LOG_INFO, NULL) != ALMADIA_OK) fail("cannot log to", path);
}

static almadia_code set_option(almadia_config *config, char *option, almadia_error **error) {
    char *equals = strchr(option, '=');
    if (equals == NULL) return almadia_config_set(config, option, "", error);
    *equals = '\0';
    return almadia_config_set(config, option, equals + 1, error);
}

static almadia_code open_store(struct member *member, char **arguments, almadia_error **error) {
    almadia_code code = almadia_config_new(ALMADIA_ABI_VERSION, &member->config, error);
    if (code == ALMADIA_OK) code = almadia_config_set(member->config, "cluster.node_id", arguments[2], error);
    if (code == ALMADIA_OK) code = almadia_config_set(member->config, "cluster.initial_members", arguments[3], error);
    for (char **option = arguments + 6; code == ALMADIA_OK && *option != NULL; option++)
        code = set_option(member->config, *option, error);
    if (code == ALMADIA_OK) code = almadia_store_open(member->directory, member->config, &member->store, error);
    return code;
}

int main(int count, char **arguments) {
    static struct member member = {.lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER};
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    if (count < 6) return 2;
    member.directory = arguments[1];
    member.node = (unsigned)strtoul(arguments[2], NULL, 10);
    member.run = (unsigned)strtoul(arguments[5], NULL, 10);
    member.records = open(arguments[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (member.records < 0) fail("cannot open", arguments[4]);
    start_log();
    almadia_error *error = NULL;
    almadia_code code = open_store(&member, arguments, &error);
    if (code != ALMADIA_OK) {
        printf("error %s %s\n", almadia_code_name(code), error ? almadia_error_message(error) : "");
        return 1;
    }
    printf("ready\n");
    char line[8192];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (!run_command(&member, line)) break;
    }
    stop_writers(&member);
    almadia_store_free(member.store);
    almadia_config_free(member.config);
    printf("stopped\n");
    return 0;
}
