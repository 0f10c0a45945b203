/*
 * small_stacks.c - what needs most of a stack on the library's threads: asynchronous reads of many keys at once, from
 * files and from memory, while the engine flushes. A test runs it with RUST_MIN_STACK set to the least there is, which
 * must not matter.
 */
#include "check.h"

#include <sched.h>

enum { KEYS = 512, VALUE_BYTES = 16 << 10, ROUNDS = 20 };

static int open_calls;

static void count_down(void *user, almadia_completion *completion)
{
    almadia_values *values = almadia_completion_take_values(completion);
    almadia_slice value;
    (void)user;
    CHECK_CODE(ALMADIA_OK, almadia_completion_code(completion));
    CHECK(almadia_values_count(values) == KEYS);
    for (size_t at = 0; at < KEYS; at++)
        CHECK(almadia_values_at(values, at, &value) == ALMADIA_OK && value.size == VALUE_BYTES);
    almadia_values_free(values);
    __atomic_sub_fetch(&open_calls, 1, __ATOMIC_SEQ_CST);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    static char value[VALUE_BYTES], texts[KEYS][8];
    static almadia_slice keys[KEYS];
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = count_down;
    CHECK_OK(almadia_config_new(ALMADIA_ABI_VERSION, &config, &error));
    CHECK_OK(almadia_config_set(config, "log.segment_bytes", "1048576", &error));
    CHECK_OK(almadia_config_set(config, "engine.memtable_bytes", "1048576", &error));
    CHECK_OK(almadia_config_set(config, "engine.block_cache_bytes", "1048576", &error));
    /* Longer than any disk stalls. */
    CHECK_OK(almadia_config_set(config, "write.timeout_ms", "60000", &error));
    CHECK_OK(almadia_config_set(config, "read.timeout_ms", "60000", &error));
    CHECK_OK(almadia_store_open(argv[1], config, &store, &error));
    almadia_config_free(config);
    for (int at = 0; at < KEYS; at++) {
        keys[at].data = texts[at];
        keys[at].size = (size_t)snprintf(texts[at], sizeof texts[at], "%d", at);
        CHECK_OK(almadia_put(store, keys[at].data, keys[at].size, value, sizeof value, &error));
    }
    for (int round = 0; round < ROUNDS; round++) {
        __atomic_add_fetch(&open_calls, 1, __ATOMIC_SEQ_CST);
        CHECK_OK(almadia_multi_get_async(store, keys, KEYS, NULL, &done, &error));
        for (int at = round; at < KEYS; at += ROUNDS)
            CHECK_OK(almadia_put(store, keys[at].data, keys[at].size, value, sizeof value, &error));
    }
    while (__atomic_load_n(&open_calls, __ATOMIC_SEQ_CST) > 0)
        sched_yield();
    almadia_store_free(store);
    return 0;
}
