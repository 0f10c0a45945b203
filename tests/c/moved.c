/*
 * moved.c - the directory of an open store is moved away and another store is created in its place: the log of the
 * first stays in its directory and touches nothing of the second.
 */
#include "filled.h"

/* Many log segments. The engine's data stays in memory, because it opens files by path; see docs/cluster.md. */
enum { FIRST = 20, ALL = 400, SECOND = 300 };

int main(int argc, char **argv)
{
    char aside[4096];
    if (argc == 3) {
        almadia_store *second = open_small(argv[1], "67108864");
        fill(second, "second", 0, SECOND);
        almadia_store_free(second);
        return 0;
    }
    CHECK(argc == 2);
    snprintf(aside, sizeof aside, "%s-aside", argv[1]);
    almadia_store *store = open_small(argv[1], "67108864");
    fill(store, "first", 0, FIRST);
    CHECK(rename(argv[1], aside) == 0);
    CHECK(run_itself(argv, "second") == 0);
    fill(store, "first", FIRST, ALL);
    almadia_store_free(store);

    check_closed_store(aside, "first", ALL);
    check_closed_store(argv[1], "second", SECOND);
    return 0;
}
