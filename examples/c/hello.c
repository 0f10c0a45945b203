/* hello.c - open a store of one member, put, get, close.   cc hello.c $(pkg-config --cflags --libs almadia) */
#include <almadia.h>
#include <stdio.h>

static int fail(const char *what, almadia_error *error)
{
    fprintf(stderr, "%s: %s\n", what, almadia_error_message(error));
    almadia_error_free(error);
    return 1;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "hello-store";
    almadia_error *error = NULL;
    almadia_config *config = NULL;
    almadia_store *store = NULL;
    almadia_value *value = NULL;

    if (almadia_config_new(ALMADIA_ABI_VERSION, &config, &error) != ALMADIA_OK)
        return fail("config", error);
    if (almadia_store_open(path, config, &store, &error) != ALMADIA_OK)
        return fail("open", error);
    almadia_config_free(config);

    if (almadia_put(store, "greeting", 8, "hello, world", 12, &error) != ALMADIA_OK)
        return fail("put", error);
    if (almadia_get(store, "greeting", 8, &value, &error) != ALMADIA_OK)
        return fail("get", error);
    printf("%.*s\n", (int)almadia_value_size(value), (const char *)almadia_value_data(value));

    almadia_value_free(value);
    almadia_store_free(store);
    return 0;
}
