/*
 * loaded.c - the library as a plug-in: dlopen, open and close a store, dlclose, over and over. dlclose is safe even
 * while a thread of the library is still closing a store that was freed inside a callback.
 *
 * Usage: loaded DIRECTORY LIBRARY. Not linked with the library.
 */
#include "almadia.h"

#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 20 };

#define CHECK(condition)                                                                                    \
    do {                                                                                                    \
        if (!(condition)) {                                                                                 \
            fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition);                   \
            _Exit(1);                                                                                       \
        }                                                                                                   \
    } while (0)

/* The functions that this program uses, as the header declares them. */
struct library {
    void *handle;
    almadia_code (*config_new)(uint32_t, almadia_config **, almadia_error **);
    void (*config_free)(almadia_config *);
    almadia_code (*store_open)(const char *, const almadia_config *, almadia_store **, almadia_error **);
    almadia_code (*store_wait_leader)(almadia_store *, uint64_t, uint64_t *, almadia_error **);
    almadia_code (*store_shutdown)(almadia_store *, uint64_t, almadia_error **);
    void (*store_free)(almadia_store *);
    almadia_code (*put)(almadia_store *, const void *, size_t, const void *, size_t, almadia_error **);
    almadia_code (*put_async)(almadia_store *, const void *, size_t, const void *, size_t, const almadia_done *,
                              almadia_error **);
    almadia_code (*get)(almadia_store *, const void *, size_t, almadia_value **, almadia_error **);
    size_t (*value_size)(const almadia_value *);
    void (*value_free)(almadia_value *);
};

/* ISO C has no conversion from object to function pointers; POSIX promises that they have the same representation. */
#define FIND(library, name)                                                                                 \
    do {                                                                                                    \
        void *symbol_ = dlsym((library)->handle, "almadia_" #name);                                         \
        CHECK(symbol_ != NULL);                                                                             \
        memcpy(&(library)->name, &symbol_, sizeof symbol_);                                                 \
    } while (0)

static struct library load(const char *path)
{
    struct library library;
    memset(&library, 0, sizeof library);
    library.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library.handle == NULL)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(library.handle != NULL);
    FIND(&library, config_new);
    FIND(&library, config_free);
    FIND(&library, store_open);
    FIND(&library, store_wait_leader);
    FIND(&library, store_shutdown);
    FIND(&library, store_free);
    FIND(&library, put);
    FIND(&library, put_async);
    FIND(&library, get);
    FIND(&library, value_size);
    FIND(&library, value_free);
    return library;
}

/* While the previous store is still closing, the directory is locked; waits for that. */
static almadia_store *open_store(const struct library *library, const char *path)
{
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    almadia_code code;
    CHECK(library->config_new(ALMADIA_ABI_VERSION, &config, NULL) == ALMADIA_OK);
    while ((code = library->store_open(path, config, &store, NULL)) == ALMADIA_LOCKED)
        sched_yield();
    CHECK(code == ALMADIA_OK);
    library->config_free(config);
    CHECK(library->store_wait_leader(store, 10000, NULL, NULL) == ALMADIA_OK);
    return store;
}

/* The store to free inside a callback, and the library that has it. */
struct last_call {
    const struct library *library;
    almadia_store *store;
    int freed;
};

static void free_inside(void *user, almadia_completion *completion)
{
    struct last_call *last = user;
    (void)completion;
    last->library->store_free(last->store);
    __atomic_store_n(&last->freed, 1, __ATOMIC_SEQ_CST);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    for (int round = 0; round < ROUNDS; round++) {
        struct library library = load(argv[2]);
        almadia_store *store = open_store(&library, argv[1]);
        almadia_value *value = NULL;
        CHECK(library.put(store, "key", 3, "value", 5, NULL) == ALMADIA_OK);
        CHECK(library.get(store, "key", 3, &value, NULL) == ALMADIA_OK);
        CHECK(library.value_size(value) == 5);
        library.value_free(value);
        if (round % 2 == 0) {
            CHECK(library.store_shutdown(store, 60000, NULL) == ALMADIA_OK);
            library.store_free(store);
        } else {
            struct last_call last = {&library, store, 0};
            almadia_done done = ALMADIA_DONE_INIT;
            done.callback = free_inside;
            done.user = &last;
            CHECK(library.put_async(store, "key", 3, "last", 4, &done, NULL) == ALMADIA_OK);
            while (__atomic_load_n(&last.freed, __ATOMIC_SEQ_CST) == 0)
                sched_yield();
        }
        CHECK(dlclose(library.handle) == 0);
    }

    /* The last store was freed inside a callback; once it can be opened again, it has been closed. */
    struct library library = load(argv[2]);
    library.store_free(open_store(&library, argv[1]));
    CHECK(dlclose(library.handle) == 0);
    return 0;
}
