/*
 * relative.c - a store that was opened by a relative path stays where it is when the program changes its working
 * directory, and touches nothing that has the same relative path there.
 */
#include "filled.h"

#include <sys/stat.h>

/* Enough for several tables of 1 MiB. */
enum { OTHERS = 600, FIRST = 100, ALL = 1500 };

static void enter(const char *base, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", base, name);
    CHECK(chdir(path) == 0);
}

static void check_at(const char *base, const char *name, int end)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/store", base, name);
    check_closed_store(path, name, end);
}

/* Messages have the absolute path of the directory, so that a reader can find it. */
static void check_message(const char *base)
{
    almadia_error *error = NULL;
    almadia_store *first, *second = NULL;
    almadia_config *config = member_config(1, NULL);
    char path[4096];
    snprintf(path, sizeof path, "%s/a/store", base);
    enter(base, "a");
    first = open_small("store", "1048576");
    CHECK_CODE(ALMADIA_LOCKED, almadia_store_open("store", config, &second, &error));
    CHECK(strstr(almadia_error_message(error), path) != NULL);
    almadia_error_free(error);
    almadia_store_free(first);
    almadia_config_free(config);
}

/* In a working directory that no longer exists, a relative path cannot be opened. */
static void check_removed_directory(const char *base)
{
    almadia_error *error = NULL;
    almadia_store *store = NULL;
    almadia_config *config = member_config(1, NULL);
    CHECK(mkdir("gone", 0700) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0);
    CHECK_CODE(ALMADIA_IO, almadia_store_open("store", config, &store, &error));
    CHECK(strstr(almadia_error_message(error), "working directory") != NULL);
    almadia_error_free(error);
    error = NULL;
    CHECK_CODE(ALMADIA_INVALID_ARGUMENT, almadia_store_open("", config, &store, NULL));
    almadia_config_free(config);
    check_at(base, "a", ALL);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    const char *base = argv[1];
    CHECK(mkdir(base, 0700) == 0 && chdir(base) == 0 && mkdir("a", 0700) == 0 && mkdir("b", 0700) == 0);
    enter(base, "b");
    almadia_store *store = open_small("store", "1048576");
    fill(store, "b", 0, OTHERS);
    almadia_store_free(store);

    enter(base, "a");
    store = open_small("store", "1048576");
    fill(store, "a", 0, FIRST);
    enter(base, "b");
    fill(store, "a", FIRST, ALL);
    check_filled(store, "a", ALL);
    almadia_store_free(store);

    check_at(base, "a", ALL);
    check_at(base, "b", OTHERS);
    check_message(base);
    check_removed_directory(base);
    return 0;
}
