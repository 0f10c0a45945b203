/*
 * forked.c - in a forked child, calls with a handle of the parent return ALMADIA_FORKED. The child neither hangs nor
 * harms the store, which the parent uses meanwhile, whether the child ends with exit, _exit or exec.
 * tests/it/coverage.rs finds each function of the header that is missing here.
 */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATUS = 7, CHILDREN = 20 };

/* One of each kind. */
struct handles {
    const char *path;
    almadia_store *store;
    almadia_snapshot *snapshot;
    almadia_txn *txn;
    almadia_iter *iter;
    almadia_value *value;
    almadia_values *values;
    almadia_cq *cq;
    almadia_members *members;
    almadia_completion *completion;
    almadia_batch *batch;
    almadia_config *config;
};

static void never(void *user, almadia_completion *completion)
{
    (void)user;
    (void)completion;
    CHECK(!"a refused call never completes");
}

static void never_log(void *user, almadia_log_level level, const char *target, const char *message)
{
    (void)user;
    (void)level;
    (void)target;
    (void)message;
    CHECK(!"a refused callback hears nothing");
}

static void check_store_calls(const struct handles *all)
{
    almadia_store *store = all->store, *own = NULL;
    almadia_error *error = NULL;
    almadia_value *value = NULL;
    almadia_status status = ALMADIA_STATUS_INIT;
    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    almadia_raft_snapshot_status moving = ALMADIA_RAFT_SNAPSHOT_STATUS_INIT;
    almadia_members *members = NULL;
    almadia_member member = ALMADIA_MEMBER_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = never;

    CHECK_CODE(ALMADIA_FORKED, almadia_put(store, "k", 1, "child", 5, &error));
    CHECK(strlen(almadia_error_message(error)) > 0);
    almadia_error_free(error);
    CHECK_CODE(ALMADIA_FORKED, almadia_delete(store, "k", 1, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_write(store, all->batch, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_put_async(store, "k", 1, "child", 5, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_delete_async(store, "k", 1, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_write_async(store, all->batch, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_put_with(store, "k", 1, "child", 5, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_put_with_async(store, "k", 1, "child", 5, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_delete_with(store, "k", 1, NULL, NULL, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_delete_with_async(store, "k", 1, NULL, &done, NULL));
    CHECK(almadia_batch_count(all->batch) == 1);
    CHECK_CODE(ALMADIA_FORKED, almadia_cancel(store, 1, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_status(store, &status, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_region_at(store, 0, &region, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_raft_snapshot_at(store, 0, &moving, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_metrics(store, &value, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_wait_leader(store, 1000, NULL, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_leader_transfer(store, NULL, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_leader_transfer_async(store, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_wait_ready(store, 1000, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_members_list(store, &members, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_members_change(store, NULL, 0, 1000, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_members_change_async(store, NULL, 0, 1000, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_shutdown(store, 1000, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_open(all->path, all->config, &own, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_log_set_callback(never_log, NULL, ALMADIA_LOG_INFO, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_log_set_callback(NULL, NULL, ALMADIA_LOG_INFO, NULL));
    CHECK(value == NULL && own == NULL && members == NULL);
    /* A list is memory and nothing else. */
    CHECK_CODE(ALMADIA_OK, almadia_members_at(all->members, 0, &member));
    CHECK(member.node_id == 1 && almadia_members_count(all->members) == 1);
}

static void check_reads(const struct handles *all)
{
    almadia_store *store = all->store;
    almadia_snapshot *snapshot = NULL;
    almadia_value *value = NULL;
    almadia_values *values = NULL;
    almadia_iter *iter = NULL;
    almadia_slice key = {"k", 1};
    almadia_kv pair;
    uint64_t version = 7;
    char buffer[8];
    size_t size = 0;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = never;

    CHECK_CODE(ALMADIA_FORKED, almadia_get(store, "k", 1, &value, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_get_async(store, "k", 1, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_get_with(store, "k", 1, NULL, &value, NULL, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_get_with_async(store, "k", 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_multi_get(store, &key, 1, NULL, &values, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_multi_get_async(store, &key, 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_snapshot_open(store, NULL, &snapshot, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_snapshot_open_async(store, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_snapshot_clone(all->snapshot, &snapshot, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_snapshot_get(all->snapshot, "k", 1, &value, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_snapshot_get_into(all->snapshot, "k", 1, buffer, 8, &size, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_snapshot_multi_get(all->snapshot, &key, 1, &values, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_iter_new(all->snapshot, NULL, &iter, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_iter_next_n(all->iter, &pair, 1, &size, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_iter_next_n_versions(all->iter, &pair, &version, 1, &size, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_iter_code(all->iter, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_values_at(all->values, 0, &key));
    CHECK(snapshot == NULL && value == NULL && values == NULL && iter == NULL);
    CHECK(!almadia_iter_valid(all->iter) && !almadia_iter_next(all->iter) && !almadia_iter_first(all->iter));
    CHECK(version == 7 && almadia_iter_version(all->iter) == 0);
    CHECK(!almadia_iter_seek(all->iter, "k", 1) && almadia_iter_key(all->iter).size == 0);
}

static void check_conditional_writes(const struct handles *all)
{
    almadia_store *store = all->store;
    almadia_value *key = NULL, *value = NULL;
    almadia_range_digest seen = ALMADIA_RANGE_DIGEST_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    uint64_t version = 7;
    int64_t sum = 7;
    done.callback = never;

    CHECK_CODE(ALMADIA_FORKED, almadia_put_if_absent(store, "k", 1, "v", 1, NULL, &version, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_put_if_absent_async(store, "k", 1, "v", 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_compare_and_set(store, "k", 1, 7, "v", 1, NULL, &version, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_compare_and_set_async(store, "k", 1, 7, "v", 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_compare_value_and_set(store, "k", 1, "o", 1, "v", 1, NULL, &version, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_compare_value_and_set_async(store, "k", 1, "o", 1, "v", 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_compare_and_delete(store, "k", 1, 7, NULL, &version, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_compare_and_delete_async(store, "k", 1, 7, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_compare_value_and_delete(store, "k", 1, "o", 1, NULL, &version, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_compare_value_and_delete_async(store, "k", 1, "o", 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_pop(store, "k", 1, NULL, &value, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_pop_async(store, "k", 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_take_first(store, "a", 1, "b", 1, NULL, &key, &value, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_take_first_async(store, "a", 1, "b", 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_add(store, "k", 1, 1, NULL, &sum, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_add_async(store, "k", 1, 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_put_versioned(store, "p", 1, "v", 1, NULL, &key, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_put_versioned_async(store, "p", 1, "v", 1, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_snapshot_digest(all->snapshot, "a", 1, "b", 1, &seen, NULL));
    CHECK(key == NULL && value == NULL && version == 7 && sum == 7 && seen.keys == 0);
}

static almadia_code never_run(void *user, almadia_txn *txn)
{
    (void)user;
    (void)txn;
    CHECK(!"a refused call runs no body");
    return ALMADIA_OK;
}

static void check_transactions(const struct handles *all)
{
    almadia_txn *own = NULL;
    almadia_value *value = NULL;
    almadia_iter *iter = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = never;

    CHECK_CODE(ALMADIA_FORKED, almadia_txn_begin(all->store, NULL, &own, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_begin_async(all->store, NULL, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_transact(all->store, NULL, never_run, NULL, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_get(all->txn, "k", 1, &value, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_get_exempt(all->txn, "k", 1, &value, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_iter(all->txn, NULL, &iter, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_iter_exempt(all->txn, NULL, &iter, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_put(all->txn, "k", 1, "child", 5, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_delete(all->txn, "k", 1, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_delete_range(all->txn, "k", 1, "l", 1, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_commit(all->txn, NULL, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_txn_commit_async(all->store, all->txn, NULL, &done, NULL));
    CHECK(own == NULL && value == NULL && iter == NULL);
}

static void check_queue_calls(const struct handles *all)
{
    almadia_completion *completion = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    size_t count = 0;
    done.cq = all->cq;

    CHECK_CODE(ALMADIA_FORKED, almadia_cq_pop(all->cq, &completion, 1, &count, 0, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_put_async(all->store, "k", 1, "v", 1, &done, NULL));
    almadia_cq_interrupt(all->cq);
    almadia_cq_shutdown(all->cq);
}

static void free_all(const struct handles *all)
{
    almadia_completion_free(all->completion);
    almadia_members_free(all->members);
    almadia_values_free(all->values);
    almadia_value_free(all->value);
    almadia_iter_free(all->iter);
    almadia_txn_free(all->txn);
    almadia_snapshot_free(all->snapshot);
    almadia_cq_free(all->cq);
    almadia_store_free(all->store);
    almadia_batch_free(all->batch);
    almadia_config_free(all->config);
}

static struct handles make_all(const char *path)
{
    almadia_error *error = NULL;
    almadia_slice key = {"k", 1};
    almadia_done done = ALMADIA_DONE_INIT;
    struct handles all;
    size_t count = 0;
    memset(&all, 0, sizeof all);
    all.path = path;
    all.store = open_single(path);
    put_text(all.store, "k", "parent");
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &all.config, &error));
    CHECK_OK(almadia_batch_new(&all.batch, &error));
    CHECK_OK(almadia_batch_put(all.batch, "b", 1, "v", 1, &error));
    CHECK_OK(almadia_snapshot_open(all.store, NULL, &all.snapshot, &error));
    CHECK_OK(almadia_iter_new(all.snapshot, NULL, &all.iter, &error));
    CHECK(almadia_iter_first(all.iter));
    CHECK_OK(almadia_txn_begin(all.store, NULL, &all.txn, &error));
    CHECK_OK(almadia_snapshot_get(all.snapshot, "k", 1, &all.value, &error));
    CHECK_OK(almadia_multi_get(all.store, &key, 1, NULL, &all.values, &error));
    CHECK_OK(almadia_members_list(all.store, &all.members, &error));
    CHECK_OK(almadia_cq_new(&all.cq, &error));
    done.cq = all.cq;
    CHECK_OK(almadia_snapshot_open_async(all.store, NULL, &done, &error));
    CHECK_OK(almadia_cq_pop(all.cq, &all.completion, 1, &count, 10000, &error));
    CHECK(count == 1);
    return all;
}

/* For the parent's writer thread, which must not be disturbed. */
static almadia_store *written;
static int stopped, rounds;

static void *keep_writing(void *argument)
{
    (void)argument;
    while (!__atomic_load_n(&stopped, __ATOMIC_SEQ_CST)) {
        put_text(written, "busy", "parent");
        __atomic_add_fetch(&rounds, 1, __ATOMIC_SEQ_CST);
    }
    return NULL;
}

static void run_child(const struct handles *all, int child, const char *program)
{
    check_store_calls(all);
    check_reads(all);
    check_transactions(all);
    check_conditional_writes(all);
    check_queue_calls(all);
    switch (child % 4) {
    case 0:
        free_all(all);
        exit(STATUS);
    case 1:
        exit(STATUS);
    case 2:
        free_all(all);
        _exit(STATUS);
    default:
        /* Descriptors are close-on-exec: only the parent has the directory open. */
        execl(program, program, all->path, "locked", (char *)NULL);
        _exit(1);
    }
}

/* Another program has no descriptor of the store, and cannot open it while the parent has it open. */
static int is_locked(const char *path)
{
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    for (int fd = 0; fd < 256; fd++) {
        char link[32], target[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(link, target, sizeof target);
        CHECK(length < 0 || (size_t)length < strlen(path) || memcmp(target, path, strlen(path)) != 0);
    }
    CHECK_CODE(ALMADIA_OK, almadia_config_new(ALMADIA_ABI_VERSION, &config, NULL));
    CHECK_CODE(ALMADIA_LOCKED, almadia_store_open(path, config, &store, NULL));
    almadia_config_free(config);
    return STATUS;
}

int main(int argc, char **argv)
{
    if (argc == 3)
        return is_locked(argv[1]);
    CHECK(argc == 2);
    pthread_t writer;
    struct handles all = make_all(argv[1]);
    written = all.store;
    CHECK(pthread_create(&writer, NULL, keep_writing, NULL) == 0);
    for (int number = 0; number < CHILDREN; number++) {
        int before = __atomic_load_n(&rounds, __ATOMIC_SEQ_CST), status = -1;
        pid_t child = fork();
        if (child == 0)
            run_child(&all, number, argv[0]);
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS) {
            fprintf(stderr, "child %d ended with status %#x\n", number, (unsigned)status);
            _Exit(1);
        }
        while (__atomic_load_n(&rounds, __ATOMIC_SEQ_CST) <= before)
            sched_yield();
    }
    __atomic_store_n(&stopped, 1, __ATOMIC_SEQ_CST);
    CHECK(pthread_join(writer, NULL) == 0);

    almadia_snapshot *snapshot = almadia_completion_take_snapshot(all.completion);
    CHECK(snapshot != NULL && almadia_values_count(all.values) == 1);
    almadia_snapshot_free(snapshot);
    CHECK(holds(all.store, "k", "parent") && almadia_iter_valid(all.iter));
    CHECK(is_text(almadia_value_data(all.value), almadia_value_size(all.value), "parent"));
    put_text(all.store, "k", "goes on");
    CHECK(holds(all.store, "k", "goes on"));
    free_all(&all);
    return 0;
}
