/*
 * hung_disk.c - what a program can rely on while the disk hangs: every call completes by its deadline, and a shutdown
 * returns by its timeout.
 *
 * The disk hangs until the completions have arrived, so nothing here depends on how fast the machine is. If one never
 * arrives, an alarm ends the program.
 */
#define _GNU_SOURCE
#include "../shim/hung_disk.c"
#include "check.h"

#include <dirent.h>
#include <sched.h>

enum { ALARM_S = 100 };

/* The files that ../shim/hung_disk.c looks for. */
static char hung_syncs[4096], hung_reads[4096];

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

/* From now on, the operations that `file` controls hang. */
static void hang(const char *file)
{
    char inside[4200];
    snprintf(inside, sizeof inside, "%s.inside", file);
    unlink(inside);
    int made = open(file, O_CREAT | O_WRONLY, 0600);
    CHECK(made >= 0 && close(made) == 0);
}

/* Waits until a thread hangs. */
static void wait_until_hung(const char *file)
{
    char inside[4200];
    snprintf(inside, sizeof inside, "%s.inside", file);
    while (!exists(inside))
        sched_yield();
}

static void release(const char *file)
{
    CHECK(unlink(file) == 0);
}

/* A single-member store without leases, so that every read goes through its raft thread. */
static almadia_store *open_with_timeouts(const char *path, const char *timeout_ms)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "read.lease", "false", &error));
    CHECK_OK(almadia_config_set(config, "write.timeout_ms", timeout_ms, &error));
    CHECK_OK(almadia_config_set(config, "read.timeout_ms", timeout_ms, &error));
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    CHECK_OK(almadia_store_wait_leader(store, 60000, NULL, &error));
    return store;
}

enum { KINDS = 7 };

/* Starts a call of this kind. */
static almadia_code start(almadia_store *store, int kind, const almadia_done *done)
{
    almadia_slice key = {"absent", 6};
    switch (kind) {
    case 0:
        return almadia_put_async(store, "absent", 6, "v", 1, done, NULL);
    case 1:
        return almadia_delete_async(store, "present", 7, done, NULL);
    case 2:
        return almadia_leader_transfer_async(store, NULL, done, NULL);
    case 3:
        return almadia_snapshot_open_async(store, NULL, done, NULL);
    case 4:
        return almadia_get_async(store, "absent", 6, done, NULL);
    case 5:
        return almadia_multi_get_async(store, &key, 1, NULL, done, NULL);
    default:
        return almadia_put_async(store, "absent", 6, "v", 1, done, NULL);
    }
}

/* Waits for the next completion and pops it; returns its code, and its user data in `user`. */
static almadia_code pop_code(almadia_cq *cq, void **user)
{
    almadia_error *error = NULL;
    almadia_completion *completion = NULL;
    size_t count = 0;
    CHECK_OK(almadia_cq_pop(cq, &completion, 1, &count, 30000, &error));
    CHECK(count == 1);
    almadia_code code = almadia_completion_code(completion);
    *user = almadia_completion_user(completion);
    almadia_completion_free(completion);
    return code;
}

static void every_call_completes_by_its_deadline(const char *path)
{
    almadia_error *error = NULL;
    almadia_store *store = open_with_timeouts(path, "200");
    almadia_cq *cq = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    int kinds[KINDS + 1], answered = 0;
    put_text(store, "present", "v");
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;

    hang(hung_syncs);
    kinds[KINDS] = KINDS;
    done.user = &kinds[KINDS];
    CHECK_OK(almadia_put_async(store, "under way", 9, "v", 1, &done, &error));
    wait_until_hung(hung_syncs);
    for (int kind = 0; kind < KINDS; kind++) {
        kinds[kind] = kind;
        done.user = &kinds[kind];
        CHECK_CODE(ALMADIA_OK, start(store, kind, &done));
    }

    while (answered < KINDS + 1) {
        void *user = NULL;
        almadia_code code = pop_code(cq, &user);
        int kind = *(int *)user;
        if (kind == KINDS)
            CHECK_CODE(ALMADIA_TIMEOUT, code);
        else if (kind >= 3 && kind <= 5)
            CHECK_CODE(ALMADIA_READ_TIMEOUT, code);
        else
            CHECK_CODE(ALMADIA_DEADLINE_BEFORE_START, code);
        answered++;
    }
    CHECK_CODE(ALMADIA_DEADLINE_BEFORE_START, almadia_put(store, "absent", 6, "v", 1, NULL));
    almadia_value *value = NULL;
    CHECK_CODE(ALMADIA_READ_TIMEOUT, almadia_get(store, "present", 7, &value, NULL));
    CHECK(exists(hung_syncs));

    release(hung_syncs);
    while (almadia_put(store, "afterwards", 10, "v", 1, NULL) != ALMADIA_OK)
        sched_yield();
    CHECK(holds(store, "absent", NULL));
    CHECK(holds(store, "present", "v"));
    almadia_store_free(store);
    almadia_cq_free(cq);
}

/* What a callback received. */
struct outcome {
    int completions;
    almadia_code code;
};

static void on_done(void *user, almadia_completion *completion)
{
    struct outcome *outcome = user;
    outcome->code = almadia_completion_code(completion);
    __atomic_add_fetch(&outcome->completions, 1, __ATOMIC_SEQ_CST);
}

static void wait_for_outcome(struct outcome *outcome)
{
    while (__atomic_load_n(&outcome->completions, __ATOMIC_SEQ_CST) == 0)
        sched_yield();
    CHECK(__atomic_load_n(&outcome->completions, __ATOMIC_SEQ_CST) == 1);
}

static void a_shutdown_returns_by_its_timeout(const char *path)
{
    almadia_error *error = NULL;
    almadia_store *store = open_with_timeouts(path, "600000"), *again = NULL;
    almadia_config *config = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    struct outcome in_flight = {0, 0}, waiting = {0, 0};
    done.callback = on_done;

    hang(hung_syncs);
    done.user = &in_flight;
    CHECK_OK(almadia_put_async(store, "under way", 9, "v", 1, &done, &error));
    wait_until_hung(hung_syncs);
    done.user = &waiting;
    CHECK_OK(almadia_put_async(store, "waiting", 7, "v", 1, &done, &error));

    CHECK_CODE(ALMADIA_SHUTTING_DOWN, almadia_store_shutdown(store, 400, &error));
    CHECK(exists(hung_syncs));
    CHECK(strstr(almadia_error_message(error), "sync of the raft log") != NULL);
    almadia_error_free(error);
    error = NULL;
    wait_for_outcome(&in_flight);
    wait_for_outcome(&waiting);
    CHECK_CODE(ALMADIA_SHUTDOWN_IN_FLIGHT, in_flight.code);
    CHECK_CODE(ALMADIA_CLOSED, waiting.code);
    CHECK_CODE(ALMADIA_CLOSED, almadia_put(store, "k", 1, "v", 1, NULL));
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_CODE(ALMADIA_LOCKED, almadia_store_open(path, config, &again, &error));
    CHECK(strstr(almadia_error_message(error), "still closing") != NULL);
    almadia_error_free(error);
    error = NULL;

    release(hung_syncs);
    CHECK_OK(almadia_store_shutdown(store, 60000, &error));
    CHECK_OK(almadia_store_open(path, config, &again, &error));
    CHECK_OK(almadia_store_wait_leader(again, 60000, NULL, &error));
    CHECK(holds(again, "waiting", NULL));
    almadia_store_free(again);
    almadia_store_free(store);
    almadia_config_free(config);
}

/* A freed store finishes closing as soon as the disk answers. */
static void a_free_does_not_wait_forever(const char *path)
{
    almadia_error *error = NULL;
    almadia_store *store = open_with_timeouts(path, "600000"), *again = NULL;
    almadia_config *config = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    struct outcome in_flight = {0, 0};
    done.callback = on_done;
    done.user = &in_flight;

    hang(hung_syncs);
    CHECK_OK(almadia_put_async(store, "under way", 9, "v", 1, &done, &error));
    wait_until_hung(hung_syncs);
    almadia_store_free(store);
    CHECK(exists(hung_syncs));
    wait_for_outcome(&in_flight);
    CHECK_CODE(ALMADIA_SHUTDOWN_IN_FLIGHT, in_flight.code);

    release(hung_syncs);
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    while (almadia_store_open(path, config, &again, NULL) == ALMADIA_LOCKED)
        sched_yield();
    CHECK_OK(almadia_store_wait_leader(again, 60000, NULL, &error));
    CHECK(holds(again, "under way", "v"));
    almadia_store_free(again);
    almadia_config_free(config);
}

/* How many tables the engine in `path` has. */
static int count_tables(const char *path)
{
    char data[4300];
    snprintf(data, sizeof data, "%s/data", path);
    DIR *directory = opendir(data);
    CHECK(directory != NULL);
    int tables = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        tables += strstr(entry->d_name, ".sst") != NULL;
    closedir(directory);
    return tables;
}

static almadia_store *open_with_small_memtable(const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "read.timeout_ms", "200", &error));
    CHECK_OK(almadia_config_set(config, "engine.memtable_bytes", "1048576", &error));
    CHECK_OK(almadia_store_open(path, config, &store, &error));
    almadia_config_free(config);
    CHECK_OK(almadia_store_wait_leader(store, 60000, NULL, &error));
    return store;
}

static void a_read_that_waits_for_the_disk_times_out(const char *path)
{
    static char value[1 << 20];
    char other[4200];
    snprintf(other, sizeof other, "%s-tables", path);
    almadia_error *error = NULL;
    almadia_store *store = open_with_small_memtable(other);
    almadia_cq *cq = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    void *user = NULL;
    CHECK_OK(almadia_cq_new(&cq, &error));
    done.cq = cq;
    int tables = count_tables(other);
    put_text(store, "old", "v");
    while (count_tables(other) <= tables)
        CHECK_OK(almadia_put(store, "new", 3, value, sizeof value, &error));
    CHECK_OK(almadia_store_shutdown(store, 60000, &error));
    almadia_store_free(store);
    store = open_with_small_memtable(other);

    hang(hung_reads);
    CHECK_OK(almadia_get_async(store, "old", 3, &done, &error));
    wait_until_hung(hung_reads);
    CHECK_CODE(ALMADIA_READ_TIMEOUT, pop_code(cq, &user));
    CHECK_CODE(ALMADIA_SHUTTING_DOWN, almadia_store_shutdown(store, 200, NULL));
    CHECK(exists(hung_reads));

    release(hung_reads);
    CHECK_OK(almadia_store_shutdown(store, 60000, &error));
    almadia_store_free(store);
    store = open_with_small_memtable(other);
    CHECK(holds(store, "old", "v"));
    almadia_store_free(store);
    almadia_cq_free(cq);
}

static int blocked;

static void block(void *user, almadia_completion *completion)
{
    (void)user;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    __atomic_store_n(&blocked, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&blocked, __ATOMIC_SEQ_CST) == 1)
        sched_yield();
}

static void a_callback_that_does_not_return_does_not_block_a_shutdown(const char *path)
{
    almadia_error *error = NULL;
    almadia_store *store = open_with_timeouts(path, "600000");
    almadia_done done = ALMADIA_DONE_INIT;
    struct outcome behind = {0, 0};
    done.callback = block;
    CHECK_OK(almadia_put_async(store, "k", 1, "v", 1, &done, &error));
    done.callback = on_done;
    done.user = &behind;
    CHECK_OK(almadia_put_async(store, "k", 1, "w", 1, &done, &error));
    while (__atomic_load_n(&blocked, __ATOMIC_SEQ_CST) == 0)
        sched_yield();

    CHECK_CODE(ALMADIA_SHUTTING_DOWN, almadia_store_shutdown(store, 200, &error));
    CHECK(strstr(almadia_error_message(error), "a callback") != NULL);
    almadia_error_free(error);
    error = NULL;
    CHECK(behind.completions == 0);

    __atomic_store_n(&blocked, 2, __ATOMIC_SEQ_CST);
    CHECK_OK(almadia_store_shutdown(store, 60000, &error));
    CHECK(behind.completions == 1);
    almadia_store_free(store);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    snprintf(hung_syncs, sizeof hung_syncs, "%s-syncs", argv[1]);
    snprintf(hung_reads, sizeof hung_reads, "%s-reads", argv[1]);
    CHECK(setenv("HUNG_SYNCS", hung_syncs, 1) == 0 && setenv("HUNG_READS", hung_reads, 1) == 0);
    alarm(ALARM_S);
    every_call_completes_by_its_deadline(argv[1]);
    a_shutdown_returns_by_its_timeout(argv[1]);
    a_free_does_not_wait_forever(argv[1]);
    a_read_that_waits_for_the_disk_times_out(argv[1]);
    a_callback_that_does_not_return_does_not_block_a_shutdown(argv[1]);
    return 0;
}
