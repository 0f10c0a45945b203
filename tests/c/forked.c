/* forked.c - a child process is told so; it neither hangs nor harms its parent's store. */
#include "check.h"

#include <sys/wait.h>
#include <unistd.h>

static void never(void *user, almadia_completion *completion)
{
    (void)user;
    (void)completion;
    CHECK(!"a refused call completes never");
}

static void in_the_child(almadia_store *store, almadia_snapshot *snapshot, almadia_iter *iter,
                         almadia_value *value, const char *path)
{
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *own = NULL;
    almadia_value *none = NULL;
    almadia_status status = ALMADIA_STATUS_INIT;
    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = never;

    CHECK_CODE(ALMADIA_FORKED, almadia_put(store, "k", 1, "child", 5, &error));
    CHECK(strlen(almadia_error_message(error)) > 0);
    almadia_error_free(error);
    CHECK_CODE(ALMADIA_FORKED, almadia_put_async(store, "k", 1, "child", 5, &done, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_get(store, "k", 1, &none, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_status(store, &status, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_region_at(store, 0, &region, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_shutdown(store, 1000, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_snapshot_get(snapshot, "k", 1, &none, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_iter_code(iter, NULL));
    CHECK(!almadia_iter_valid(iter) && !almadia_iter_next(iter));
    CHECK_CODE(ALMADIA_OK, almadia_config_new(ALMADIA_ABI_VERSION, &config, NULL));
    CHECK_CODE(ALMADIA_FORKED, almadia_store_open(path, config, &own, NULL));
    almadia_value_free(value);
    almadia_iter_free(iter);
    almadia_snapshot_free(snapshot);
    almadia_store_free(store);
    _exit(0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_error *error = NULL;
    almadia_snapshot *snapshot = NULL;
    almadia_iter *iter = NULL;
    almadia_value *value = NULL;
    int status = -1;

    almadia_store *store = open_single(argv[1]);
    put_text(store, "k", "parent");
    CHECK_OK(almadia_snapshot_open(store, NULL, &snapshot, &error));
    CHECK_OK(almadia_iter_new(snapshot, NULL, &iter, &error));
    CHECK(almadia_iter_first(iter));
    CHECK_OK(almadia_snapshot_get(snapshot, "k", 1, &value, &error));

    pid_t child = fork();
    if (child == 0)
        in_the_child(store, snapshot, iter, value, argv[1]);
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    CHECK(holds(store, "k", "parent") && almadia_iter_valid(iter));
    CHECK(is_text(almadia_value_data(value), almadia_value_size(value), "parent"));
    put_text(store, "k", "goes on");
    CHECK(holds(store, "k", "goes on"));
    almadia_value_free(value);
    almadia_iter_free(iter);
    almadia_snapshot_free(snapshot);
    almadia_store_free(store);
    return 0;
}
