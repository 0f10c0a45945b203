/*
 * epoll.c - a store in an epoll loop: one thread reads commands, submits them and prints their answers.
 *
 *   cc epoll.c $(pkg-config --cflags --libs almadia) -o epoll && printf 'put a 1\nput b 2\n' | ./epoll DIRECTORY
 *
 * Commands come from standard input, which must be a pipe or a terminal, one per line: "put KEY VALUE" or "get KEY".
 * Any number of them may be in flight; an answer names its command, because answers may come in any order. The
 * completion queue's descriptor is readable while it holds completions, so the loop needs no callback, lock or second
 * thread.
 */
#include <almadia.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LINE_BYTES_MAX 4096
#define BATCH_MAX 64

struct loop {
    almadia_store *store;
    almadia_cq *queue;
    size_t in_flight;
    bool input_ended;
    size_t buffered;
    char input[LINE_BYTES_MAX];
};

static void print_failure(const char *command, almadia_code code, const almadia_error *error)
{
    const char *outcome = almadia_code_maybe_applied(code) ? "unknown" : "not applied";
    printf("%s: %s: %s\n", command, outcome, error ? almadia_error_message(error) : almadia_code_message(code));
}

/* Submits one command. Its text is passed as `user` and returned with the answer. */
static void submit(struct loop *loop, const char *line)
{
    almadia_error *error = NULL;
    almadia_code code = ALMADIA_INVALID_ARGUMENT;
    almadia_done done = ALMADIA_DONE_INIT;
    char *command = malloc(strlen(line) + 1);
    char key[LINE_BYTES_MAX];
    int value_at = 0;
    if (command == NULL)
        abort();
    strcpy(command, line);
    done.cq = loop->queue;
    done.user = command;

    if (sscanf(command, "put %s %n", key, &value_at) == 1 && value_at > 0)
        code = almadia_put_async(loop->store, key, strlen(key), command + value_at, strlen(command + value_at), &done,
                                 &error);
    else if (sscanf(command, "get %s", key) == 1)
        code = almadia_get_async(loop->store, key, strlen(key), &done, &error);

    if (code == ALMADIA_OK) {
        loop->in_flight++;
    } else { /* Refused: there will be no completion. */
        print_failure(command, code, error);
        almadia_error_free(error);
        free(command);
    }
}

static void answer(struct loop *loop, almadia_completion *completion)
{
    char *command = almadia_completion_user(completion);
    almadia_code code = almadia_completion_code(completion);
    almadia_value *value = almadia_completion_take_value(completion);
    if (code == ALMADIA_OK && value != NULL)
        printf("%s: %.*s\n", command, (int)almadia_value_size(value), (const char *)almadia_value_data(value));
    else if (code == ALMADIA_OK)
        printf("%s: ok\n", command);
    else if (code == ALMADIA_NOT_FOUND)
        printf("%s: no such key\n", command);
    else
        print_failure(command, code, almadia_completion_error(completion));
    almadia_value_free(value);
    almadia_completion_free(completion);
    free(command);
    loop->in_flight--;
}

/* Takes all completions in the queue, in batches, without waiting. */
static void drain(struct loop *loop)
{
    almadia_completion *completions[BATCH_MAX];
    size_t count = BATCH_MAX;
    while (count == BATCH_MAX && almadia_cq_pop(loop->queue, completions, BATCH_MAX, &count, 0, NULL) == ALMADIA_OK)
        for (size_t at = 0; at < count; at++)
            answer(loop, completions[at]);
    fflush(stdout);
}

/* Reads the available input and submits its complete lines. A line that fills the buffer ends the input. */
static void read_commands(struct loop *loop)
{
    ssize_t got = read(STDIN_FILENO, loop->input + loop->buffered, sizeof loop->input - 1 - loop->buffered);
    if (got <= 0) {
        loop->input_ended = true;
        return;
    }
    loop->buffered += (size_t)got;
    loop->input[loop->buffered] = '\0';

    char *line = loop->input, *end;
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        submit(loop, line);
        line = end + 1;
    }
    loop->buffered -= (size_t)(line - loop->input);
    memmove(loop->input, line, loop->buffered);
}

static int watch(int epoll, int descriptor)
{
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    event.events = EPOLLIN;
    event.data.fd = descriptor;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

static int run(struct loop *loop)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0 || watch(epoll, STDIN_FILENO) != 0 || watch(epoll, almadia_cq_fd(loop->queue)) != 0) {
        perror("epoll");
        return 1;
    }
    while (!loop->input_ended || loop->in_flight > 0) {
        struct epoll_event ready[2];
        int count = epoll_wait(epoll, ready, 2, -1);
        for (int at = 0; at < count; at++) {
            if (ready[at].data.fd != STDIN_FILENO)
                drain(loop);
            else
                read_commands(loop);
        }
        if (loop->input_ended)
            epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    }
    close(epoll);
    return 0;
}

static int fail(const char *what, almadia_error *error)
{
    fprintf(stderr, "%s: %s\n", what, almadia_error_message(error));
    almadia_error_free(error);
    return 1;
}

int main(int argc, char **argv)
{
    static struct loop loop;
    almadia_error *error = NULL;
    almadia_config *config = NULL;

    if (almadia_config_new(ALMADIA_ABI_VERSION, &config, &error) != ALMADIA_OK)
        return fail("config", error);
    if (almadia_store_open(argc > 1 ? argv[1] : "epoll-store", config, &loop.store, &error) != ALMADIA_OK)
        return fail("open", error);
    almadia_config_free(config);
    if (almadia_cq_new(&loop.queue, &error) != ALMADIA_OK)
        return fail("queue", error);

    int status = run(&loop);
    almadia_store_free(loop.store);
    almadia_cq_free(loop.queue);
    return status;
}
