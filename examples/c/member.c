/*
 * One member of a cluster, as a program controlled by lines of text: `make demo` starts three of these.
 *
 *   member DIRECTORY NODE MEMBERS LIST [name=value ...]
 *
 * DIRECTORY, NODE and MEMBERS ("1=host:port,2=host:port,...", or "" for a member alone or one that joins) open the store; name=value sets further options.
 * LIST names the items to keep in it: NUL-terminated records "SHA256 OFFSET LENGTH KEY_LENGTH KEY FILE", sorted by
 * key; an item's value is LENGTH bytes of FILE from OFFSET. It answers "ready", or "error CODE MESSAGE" and exits 1.
 * Then it reads commands from standard input and answers on standard output:
 *
 *   load A-B,C,...   puts these items; for each "ok ITEM LATENCY_US AT_US" or "failed ITEM OUTCOME CODE" when its
 *                    answer arrives (OUTCOME: not-applied or unknown), "loaded" at the end
 *   status           "status ROLE LEADER TERM COMMIT APPLIED POISONED"
 *   read MS          gets random items, each linearizably, with a few threads for MS milliseconds and compares their
 *                    lengths: "read COUNT US", or "error CODE MESSAGE"
 *   verify           takes a linearizable snapshot and compares every key and the SHA-256 of every value with LIST:
 *                    "verified IDENTICAL MISSING DIFFERENT EXTRA SNAPSHOT_US TOTAL_US", or "error CODE MESSAGE"
 *   count A-B        counts the numbers from A to B in a counter that all members share, each exactly once, however often
 *                    and wherever it is asked for: "counted NUMBER" for each, then "counting ended"
 *   plan A-B         puts the tasks from A to B into a queue that all members share: "planned"
 *   work             takes tasks from that queue until none is left: "took TASK" for each, or
 *                    "unsure TASK" when the outcome is unknown; then "working ended"
 *   ... moving       count and work with this word behind them hand leadership over now and then, while this member has it
 *   tally            "tally COUNT COUNTED TODO DONE": the counter, the numbers that were counted, and the tasks
 *   change +N=A -N   adds member N at the address A, or removes member N; several words are one change. It goes on by
 *                    itself, beside other commands, and then answers "changed", or "error CODE MESSAGE"
 *   stop             closes the store and exits, as does the end of the input
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

#include "sha256.h"
#include "work.h"

/* Two loading members keep the disks of three busy with this many; further puts wait here and not in the store. */
#define IN_FLIGHT_MAX 128
#define PAIRS_AT_ONCE 64
#define READERS 4
#define CHANGES_MAX 8
#define CHANGE_TIMEOUT_MS 60000

struct member;

struct item {
    struct member *member;
    const char *sha256, *key, *file;
    size_t key_bytes, offset, bytes;
    long long submitted_us;
};

struct member {
    almadia_store *store;
    const char *node;
    struct item *items;
    size_t item_count;
    pthread_mutex_t lock;
    pthread_cond_t answered;
    size_t in_flight; /* under `lock` */
};

static long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void fail(const char *what, const char *on) {
    printf("error %s %s: %s\n", what, on, strerror(errno));
    exit(1);
}

static void print_error(almadia_code code, almadia_error *error) {
    printf("error %s %s\n", almadia_code_name(code), error ? almadia_error_message(error) : almadia_code_message(code));
    almadia_error_free(error);
}

/* ------------------------------------------------------------------------------------------------------ opening */

static char *read_all(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) fail("cannot open", path);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(*bytes + 1);
    if (text == NULL || fread(text, 1, *bytes, file) != *bytes) fail("cannot read", path);
    fclose(file);
    return text;
}

/* Parses one record of the list in place; returns the next record. A key may hold any byte, so its length precedes it;
 * the file's name ends with the record. */
static char *parse_item(char *record, struct item *item) {
    char *at = record;
    item->sha256 = at;
    at[SHA256_HEX_CHARS] = '\0';
    item->offset = strtoull(at + SHA256_HEX_CHARS + 1, &at, 10);
    item->bytes = strtoull(at, &at, 10);
    item->key_bytes = strtoull(at, &at, 10);
    item->key = at + 1;
    item->file = item->key + item->key_bytes + 1;
    return (char *)item->file + strlen(item->file) + 1;
}

static void read_list(struct member *member, const char *path) {
    size_t bytes, capacity = 0;
    char *at = read_all(path, &bytes), *end = at + bytes;
    while (at < end) {
        if (member->item_count == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            member->items = realloc(member->items, capacity * sizeof *member->items);
            if (member->items == NULL) fail("no memory for", path);
        }
        struct item *item = &member->items[member->item_count++];
        item->member = member;
        at = parse_item(at, item);
    }
}

static almadia_code set_option(almadia_config *config, char *option, almadia_error **error) {
    char *equals = strchr(option, '=');
    if (equals == NULL) return almadia_config_set(config, option, "", error);
    *equals = '\0';
    return almadia_config_set(config, option, equals + 1, error);
}

static almadia_code configure(almadia_config *config, char **arguments, almadia_error **error) {
    almadia_code code = almadia_config_set(config, "cluster.node_id", arguments[2], error);
    if (code == ALMADIA_OK) code = almadia_config_set(config, "cluster.initial_members", arguments[3], error);
    for (char **option = arguments + 5; code == ALMADIA_OK && *option != NULL; option++)
        code = set_option(config, *option, error);
    return code;
}

static almadia_code open_store(struct member *member, char **arguments, almadia_error **error) {
    almadia_config *config = NULL;
    almadia_code code = almadia_config_new(ALMADIA_ABI_VERSION, &config, error);
    if (code == ALMADIA_OK) code = configure(config, arguments, error);
    if (code == ALMADIA_OK) code = almadia_store_open(arguments[1], config, &member->store, error);
    almadia_config_free(config);
    return code;
}

/* ------------------------------------------------------------------------------------------------------ loading */

static void print_failure(const struct item *item, almadia_code code) {
    /* A put never fails because of a change of leader, only because of a deadline, a shutdown or a failed store. If it
     * was not applied it can be retried; if its outcome is unknown, only where a second put is harmless. */
    const char *outcome = almadia_code_maybe_applied(code) ? "unknown" : "not-applied";
    printf("failed %zu %s %s\n", (size_t)(item - item->member->items), outcome, almadia_code_name(code));
}

static void finish_put(struct member *member) {
    pthread_mutex_lock(&member->lock);
    member->in_flight--;
    pthread_cond_signal(&member->answered);
    pthread_mutex_unlock(&member->lock);
}

/* Runs on the library's thread, once for every put that was accepted. */
static void on_put(void *user, almadia_completion *completion) {
    struct item *item = user;
    almadia_code code = almadia_completion_code(completion);
    long long now = now_us();
    if (code == ALMADIA_OK)
        printf("ok %zu %lld %lld\n", (size_t)(item - item->member->items), now - item->submitted_us, now);
    else
        print_failure(item, code);
    finish_put(item->member);
}

static void wait_until_in_flight(struct member *member, size_t most) {
    pthread_mutex_lock(&member->lock);
    while (member->in_flight > most) pthread_cond_wait(&member->answered, &member->lock);
    pthread_mutex_unlock(&member->lock);
}

static void read_value(const struct item *item, char *value) {
    int file = open(item->file, O_RDONLY);
    if (file < 0) fail("cannot open", item->file);
    for (size_t done = 0; done < item->bytes;) {
        ssize_t got = pread(file, value + done, item->bytes - done, (off_t)(item->offset + done));
        if (got <= 0) fail("cannot read", item->file);
        done += (size_t)got;
    }
    close(file);
}

/* Submits one put. A full store (OVERLOADED) accepts again when some of the calls in flight have been answered. */
static void put(struct member *member, struct item *item) {
    char *value = malloc(item->bytes + 1);
    if (value == NULL) fail("no memory for", item->file);
    read_value(item, value);
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = on_put;
    done.user = item;
    wait_until_in_flight(member, IN_FLIGHT_MAX - 1);
    for (almadia_code code = ALMADIA_OVERLOADED; code == ALMADIA_OVERLOADED;) {
        pthread_mutex_lock(&member->lock);
        size_t before = member->in_flight++;
        pthread_mutex_unlock(&member->lock);
        item->submitted_us = now_us();
        code = almadia_put_async(member->store, item->key, item->key_bytes, value, item->bytes, &done, NULL);
        if (code == ALMADIA_OK) break;
        finish_put(member); /* not accepted: no callback will come */
        if (code != ALMADIA_OVERLOADED || before == 0)
            print_failure(item, code), code = ALMADIA_OK;
        else
            wait_until_in_flight(member, before - 1);
    }
    free(value);
}

static void load(struct member *member, char *ranges) {
    for (char *range = strtok(ranges, ","); range != NULL; range = strtok(NULL, ",")) {
        char *rest;
        size_t first = strtoull(range, &rest, 10), last = *rest == '-' ? strtoull(rest + 1, NULL, 10) : first;
        for (size_t i = first; i <= last && i < member->item_count; i++) put(member, &member->items[i]);
    }
    wait_until_in_flight(member, 0);
    printf("loaded\n");
}

/* ----------------------------------------------------------------------------------------------------- reading */

struct reader {
    const struct member *member;
    pthread_t thread;
    long long until_us;
    unsigned seed;
    size_t count;
    almadia_code code;
    almadia_error *error;
};

/* The leader answers on this thread, under its lease; a follower asks the leader for the index it must have applied. */
static void *read_values(void *argument) {
    struct reader *reader = argument;
    const struct member *member = reader->member;
    for (; reader->code == ALMADIA_OK && now_us() < reader->until_us; reader->count++) {
        const struct item *item = &member->items[(size_t)rand_r(&reader->seed) % member->item_count];
        almadia_value *value = NULL;
        reader->code = almadia_get(member->store, item->key, item->key_bytes, &value, &reader->error);
        if (reader->code == ALMADIA_OK && almadia_value_size(value) != item->bytes) reader->code = ALMADIA_CORRUPTION;
        almadia_value_free(value);
    }
    return NULL;
}

static void read_for(const struct member *member, long long ms) {
    struct reader readers[READERS], *failed = NULL;
    long long started = now_us();
    size_t count = 0;
    for (unsigned i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.member = member, .until_us = started + 1000 * ms, .seed = i};
        errno = pthread_create(&readers[i].thread, NULL, read_values, &readers[i]);
        if (errno != 0) fail("cannot start", "a thread");
    }
    for (unsigned i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        count += readers[i].count;
        if (readers[i].code == ALMADIA_OK) continue;
        if (failed != NULL) almadia_error_free(failed->error);
        failed = &readers[i];
    }
    if (failed != NULL)
        print_error(failed->code, failed->error);
    else
        printf("read %zu %lld\n", count, now_us() - started);
}

/* --------------------------------------------------------------------------------------------------- comparing */

struct comparison {
    size_t next, identical, missing, different, extra;
};

static int compare_keys(almadia_slice key, const struct item *item) {
    size_t common = key.size < item->key_bytes ? key.size : item->key_bytes;
    int order = memcmp(key.data, item->key, common);
    return order != 0 ? order : (key.size > item->key_bytes) - (key.size < item->key_bytes);
}

/* Both the store and the list are sorted by key, so one pass finds missing and extra keys. */
static void compare_pair(const struct member *member, const almadia_kv *pair, struct comparison *found) {
    while (found->next < member->item_count && compare_keys(pair->key, &member->items[found->next]) > 0) {
        found->missing++;
        found->next++;
    }
    if (found->next == member->item_count || compare_keys(pair->key, &member->items[found->next]) != 0) {
        found->extra++;
        return;
    }
    char sha256[SHA256_HEX_CHARS + 1];
    sha256_hex(pair->value.data, pair->value.size, sha256);
    bool same = strcmp(sha256, member->items[found->next++].sha256) == 0;
    found->identical += same;
    found->different += !same;
}

static almadia_code compare_all(const struct member *member, const almadia_snapshot *snapshot,
                                struct comparison *found, almadia_error **error) {
    almadia_iter *iter = NULL;
    almadia_kv pairs[PAIRS_AT_ONCE];
    size_t count;
    almadia_code code = almadia_iter_new(snapshot, NULL, &iter, error);
    while (code == ALMADIA_OK) {
        code = almadia_iter_next_n(iter, pairs, PAIRS_AT_ONCE, &count, error);
        for (size_t i = 0; code == ALMADIA_OK && i < count; i++) compare_pair(member, &pairs[i], found);
    }
    found->missing += member->item_count - found->next;
    almadia_iter_free(iter);
    return code == ALMADIA_END ? ALMADIA_OK : code;
}

static void verify(const struct member *member) {
    long long started = now_us();
    almadia_snapshot *snapshot = NULL;
    almadia_error *error = NULL;
    struct comparison found = {0, 0, 0, 0, 0};
    almadia_code code = almadia_snapshot_open(member->store, NULL, &snapshot, &error);
    long long taken = now_us();
    if (code == ALMADIA_OK) code = compare_all(member, snapshot, &found, &error);
    almadia_snapshot_free(snapshot);
    if (code != ALMADIA_OK) {
        print_error(code, error);
        return;
    }
    printf("verified %zu %zu %zu %zu %lld %lld\n", found.identical, found.missing, found.different, found.extra,
           taken - started, now_us() - started);
}

static void print_status(const struct member *member) {
    static const char *roles[] = {"follower", "candidate", "leader", "learner"};
    almadia_status status = ALMADIA_STATUS_INIT;
    almadia_error *error = NULL;
    almadia_code code = almadia_store_status(member->store, &status, &error);
    if (code != ALMADIA_OK) {
        print_error(code, error);
        return;
    }
    printf("status %s %llu %llu %llu %llu %s\n", roles[status.role], (unsigned long long)status.leader_id,
           (unsigned long long)status.term, (unsigned long long)status.commit_index,
           (unsigned long long)status.applied_index, almadia_code_name(status.poisoned));
}

/* --------------------------------------------------------------------------------------- the counter and the queue */

/* Every tenth time a member that leads hands over, if it is asked to; calls under way are answered all the same. */
static void move_on(const struct member *member, size_t *done, bool moving) {
    if (!moving || ++*done % 10 != 0) return;
    /* Anything else: another member leads, or is about to. */
    if (almadia_leader_transfer(member->store, NULL, NULL) == ALMADIA_OK) printf("moved\n");
}

static void count(const struct member *member, const char *range, bool moving) {
    char *rest;
    almadia_error *error = NULL;
    size_t done = 0, first = strtoull(range, &rest, 10), last = strtoull(rest + 1, NULL, 10);
    for (size_t number = first; number <= last; number++) {
        almadia_code code = count_once(member->store, member->node, number, &error);
        if (code != ALMADIA_OK) {
            print_error(code, error);
            return;
        }
        printf("counted %zu\n", number);
        move_on(member, &done, moving);
    }
    printf("counting ended\n");
}

static void plan(const struct member *member, const char *range) {
    char key[TASK_BYTES_MAX];
    almadia_error *error = NULL;
    almadia_batch *batch = NULL;
    char *rest;
    size_t first = strtoull(range, &rest, 10), last = strtoull(rest + 1, NULL, 10);
    almadia_code code = almadia_batch_new(&batch, &error);
    for (size_t task = first; code == ALMADIA_OK && task <= last; task++) {
        size_t length = (size_t)snprintf(key, sizeof key, TODO_PREFIX "%06zu", task);
        code = almadia_batch_put(batch, key, length, "", 0, &error);
    }
    if (code == ALMADIA_OK) code = almadia_write(member->store, batch, NULL, NULL, &error);
    almadia_batch_free(batch);
    if (code == ALMADIA_OK)
        printf("planned\n");
    else
        print_error(code, error);
}

static void work(const struct member *member, bool moving) {
    char task[TASK_BYTES_MAX];
    size_t done = 0;
    almadia_error *error = NULL;
    for (;;) {
        almadia_code code = take_task(member->store, member->node, task, &error);
        if (code == ALMADIA_OK)
            printf("took %s\n", task);
        else if (almadia_code_maybe_applied(code))
            printf("unsure %s\n", task);
        else if (code == ALMADIA_NOT_FOUND)
            break;
        else if (!almadia_code_is_retryable(code) && code != ALMADIA_CONFLICT) {
            print_error(code, error);
            return;
        }
        almadia_error_free(error);
        error = NULL;
        move_on(member, &done, moving);
    }
    printf("working ended\n");
}

static size_t count_keys(const almadia_snapshot *snapshot, const char *prefix) {
    almadia_iter *iter = NULL;
    almadia_iter_options options = ALMADIA_ITER_OPTIONS_INIT;
    size_t keys = 0;
    options.prefix = prefix;
    options.prefix_length = strlen(prefix);
    if (almadia_iter_new(snapshot, &options, &iter, NULL) != ALMADIA_OK) return 0;
    for (bool on = almadia_iter_first(iter); on; on = almadia_iter_next(iter)) keys++;
    if (almadia_iter_code(iter, NULL) != ALMADIA_OK) keys = 0;
    almadia_iter_free(iter);
    return keys;
}

static void tally(const struct member *member) {
    almadia_snapshot *snapshot = NULL;
    almadia_value *value = NULL;
    almadia_error *error = NULL;
    unsigned long long sum = 0;
    almadia_code code = almadia_snapshot_open(member->store, NULL, &snapshot, &error);
    if (code == ALMADIA_OK) code = almadia_snapshot_get(snapshot, COUNT_KEY, strlen(COUNT_KEY), &value, &error);
    if (code != ALMADIA_OK) {
        print_error(code, error);
        almadia_snapshot_free(snapshot);
        return;
    }
    const unsigned char *bytes = almadia_value_data(value); /* 8 bytes, little-endian */
    for (int at = 7; at >= 0; at--) sum = sum << 8 | bytes[at];
    printf("tally %llu %zu %zu %zu\n", sum, count_keys(snapshot, COUNTED_PREFIX), count_keys(snapshot, TODO_PREFIX),
           count_keys(snapshot, DONE_PREFIX));
    almadia_value_free(value);
    almadia_snapshot_free(snapshot);
}

/* ---------------------------------------------------------------------------------------------------- commands */

static void on_changed(void *user, almadia_completion *completion) {
    (void)user;
    almadia_code code = almadia_completion_code(completion);
    if (code == ALMADIA_OK)
        printf("changed\n");
    else
        printf("error %s %s\n", almadia_code_name(code), almadia_code_message(code));
}

/* The store copies the changes, with their addresses, before almadia_members_change_async returns. */
static void change_members(struct member *member, char *words) {
    almadia_member_change changes[CHANGES_MAX];
    size_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(words, " ", &rest); word && count < CHANGES_MAX; word = strtok_r(NULL, " ", &rest)) {
        almadia_member_change change = ALMADIA_MEMBER_CHANGE_INIT;
        char *behind = NULL;
        change.kind = *word == '+' ? ALMADIA_MEMBER_CHANGE_ADD : ALMADIA_MEMBER_CHANGE_REMOVE;
        change.node_id = strtoull(word + 1, &behind, 10);
        if (change.kind == ALMADIA_MEMBER_CHANGE_ADD) change.address = behind + 1;
        changes[count++] = change;
    }
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = on_changed;
    almadia_code code =
        almadia_members_change_async(member->store, changes, count, CHANGE_TIMEOUT_MS, &done, &error);
    if (code != ALMADIA_OK) print_error(code, error);
}

static void run_commands(struct member *member) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t bytes;
    while ((bytes = getline(&line, &capacity, stdin)) > 0) {
        if (line[bytes - 1] == '\n') line[bytes - 1] = '\0';
        if (strncmp(line, "load ", 5) == 0)
            load(member, line + 5);
        else if (strcmp(line, "status") == 0)
            print_status(member);
        else if (strncmp(line, "read ", 5) == 0)
            read_for(member, strtoll(line + 5, NULL, 10));
        else if (strcmp(line, "verify") == 0)
            verify(member);
        else if (strncmp(line, "count ", 6) == 0)
            count(member, line + 6, strstr(line, " moving") != NULL);
        else if (strncmp(line, "plan ", 5) == 0)
            plan(member, line + 5);
        else if (strncmp(line, "work", 4) == 0)
            work(member, strstr(line, " moving") != NULL);
        else if (strncmp(line, "change ", 7) == 0)
            change_members(member, line + 7);
        else if (strcmp(line, "tally") == 0)
            tally(member);
        else if (strcmp(line, "stop") == 0)
            break;
        else
            printf("error unknown command: %s\n", line);
    }
    free(line);
}

int main(int count, char **arguments) {
    static struct member member = {.lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER};
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    if (count < 5) {
        fprintf(stderr, "usage: %s DIRECTORY NODE MEMBERS LIST [name=value ...]\n", arguments[0]);
        return 2;
    }
    member.node = arguments[2];
    srand((unsigned)getpid()); /* whoever looks for a task should not choose as the others do */
    read_list(&member, arguments[4]);
    almadia_error *error = NULL;
    almadia_code code = open_store(&member, arguments, &error);
    if (code != ALMADIA_OK) {
        print_error(code, error);
        return 1;
    }
    printf("ready\n");
    run_commands(&member);
    almadia_store_free(member.store);
    printf("stopped\n");
    return 0;
}
