/*
 * pop_panics.c - a panic inside almadia_cq_pop, on the program's own thread: the pop returns ALMADIA_PANIC or what it
 * has already taken, and no completion is lost or popped twice.
 */
#define _GNU_SOURCE
#include "failing_clock.h"

#include "check.h"

enum { CALLS = 10, READINGS = 30 };

static void submit_all(almadia_store *store, almadia_cq *cq, int popped[CALLS])
{
    almadia_error *error = NULL;
    almadia_done done = ALMADIA_DONE_INIT;
    done.cq = cq;
    for (int i = 0; i < CALLS; i++) {
        done.user = &popped[i];
        popped[i] = 0;
        CHECK_OK(almadia_put_async(store, "k", 1, "v", 1, &done, &error));
    }
}

/* Pops until all completions were popped; returns how many pops failed. */
static int pop_all(almadia_cq *cq)
{
    almadia_completion *completions[CALLS];
    int failed = 0;
    for (size_t all = 0, count = 0; all < CALLS; all += count) {
        count = 0;
        almadia_code code = almadia_cq_pop(cq, completions, CALLS, &count, 10000, NULL);
        CHECK(code == ALMADIA_OK || (code == ALMADIA_PANIC && count == 0));
        failed += code == ALMADIA_PANIC;
        for (size_t at = 0; at < count; at++) {
            CHECK_CODE(ALMADIA_OK, almadia_completion_code(completions[at]));
            ++*(int *)almadia_completion_user(completions[at]);
            almadia_completion_free(completions[at]);
        }
    }
    return failed;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    int failed = 0, popped[CALLS];
    almadia_error *error = NULL;
    almadia_cq *cq = NULL;
    almadia_store *store = open_single(argv[1]);
    CHECK_OK(almadia_cq_new(&cq, &error));
    CHECK(prctl(PR_SET_NAME, "popper", 0, 0, 0) == 0);
    for (int reading = 1; reading <= READINGS; reading++) {
        submit_all(store, cq, popped);
        fail_clock("popper", reading);
        failed += pop_all(cq);
        for (int i = 0; i < CALLS; i++)
            CHECK(popped[i] == 1);
        fail_clock("popper", 0);
    }
    CHECK(failed > 0);
    CHECK(holds(store, "k", "v"));
    almadia_cq_free(cq);
    almadia_store_free(store);
    return 0;
}
