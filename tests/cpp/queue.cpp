// queue.cpp - completions on the program's own threads: an event loop, many threads, interruption and shutdown.
#include "check.hpp"

#include <poll.h>

#include <atomic>
#include <thread>

using namespace std::literals;

static almadia::completion_queue make_queue() { return MUST(almadia::completion_queue::make()); }

// True when the descriptor is readable now, or within `timeout_ms`.
static bool is_readable(const almadia::completion_queue &queue, int timeout_ms) {
    pollfd watched = {queue.fd(), POLLIN, 0};
    return poll(&watched, 1, timeout_ms) == 1;
}

static void a_loop_on_one_thread_runs_everything(const almadia::store &store) {
    const almadia::completion_queue queue = make_queue();
    const almadia::queued_store queued = store.on(queue);
    const pthread_t own = pthread_self();
    int answered = 0;
    CHECK(MUST(queue.run_some()) == 0 && !is_readable(queue, 0));
    for (int number = 0; number < 1000; number++)
        MUST(queued.put_async("loop", std::to_string(number), [&](almadia::result<almadia::position> written) {
            MUST(std::move(written));
            CHECK(pthread_equal(own, pthread_self()));
            answered++;
        }));
    MUST(queued.get_async("loop", [&](almadia::result<std::optional<almadia::value>> found) {
        MUST(std::move(found));
        answered++;
    }));
    while (answered < 1001) {
        CHECK(is_readable(queue, 10000));
        while (MUST(queue.run_some()) > 0) {}
    }
    CHECK(!is_readable(queue, 0));
}

static void many_threads_run_one_queue(const almadia::store &store) {
    const almadia::completion_queue queue = make_queue();
    std::atomic<int> answered = 0;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; thread++)
        threads.emplace_back([&] {
            almadia::result<std::size_t> ran = 0;
            while ((ran = queue.run_some(10s))) {}
            CHECK(code_of(ran) == almadia::code::closed);
        });
    for (int number = 0; number < 1000; number++)
        MUST(store.on(queue).put_async("threads", "", [&](const auto &) { answered++; }));
    queue.shutdown();
    for (std::thread &thread : threads) thread.join();
    CHECK(answered == 1000);
    CHECK(code_of(store.on(queue).put_async("k", "v", [](const auto &) {})) == almadia::code::closed);
}

static void a_wait_is_interrupted(const almadia::store &store) {
    const almadia::completion_queue queue = make_queue();
    std::thread interrupter([&] { queue.interrupt(); });
    CHECK(MUST(queue.run_some(std::chrono::hours(1))) == 0);
    interrupter.join();

    counter done;
    MUST(store.put_async("k", "v", [&](const auto &) {
        CHECK(code_of(queue.run_some(1s)) == almadia::code::would_deadlock);
        CHECK(MUST(queue.run_some()) == 0);
        done.add();
    }));
    done.wait_for(1);
}

static void futures_and_events_come_through_the_queue(const almadia::store &store) {
    const almadia::completion_queue queue = make_queue();
    const pthread_t own = pthread_self();
    std::future<almadia::result<almadia::position>> written = store.on(queue).put_future("future", "v");
    while (written.wait_for(0s) != std::future_status::ready) MUST(queue.run_some(10s));
    MUST(written.get());

    almadia::batch batch;
    std::string progress;
    MUST(batch.put("events", ""));
    MUST(store.on(queue).write_async_with_events(
        batch, almadia::event::proposed | almadia::event::committed,
        [&](almadia::event event, almadia::position) {
            CHECK(pthread_equal(own, pthread_self()));
            progress += event == almadia::event::proposed ? "proposed " : "committed ";
        },
        [&](almadia::result<almadia::position> done) {
            MUST(std::move(done));
            progress += "applied";
        }));
    while (progress.find("applied") == std::string::npos) MUST(queue.run_some(10s));
    CHECK(progress == "proposed committed applied");
}

// Callables that were not run are destroyed with the queue, and never called.
static void callables_that_were_not_run_are_dropped(const std::string &path) {
    const auto shared = std::make_shared<int>(0);
    {
        const almadia::store store = open_single(path + "-dropped");
        almadia::completion_queue queue = make_queue();
        const auto never = [shared](const auto &) { UNREACHED("a dropped completion was called"); };
        for (int number = 0; number < 200; number++) MUST(store.on(queue).put_async("k", "v", never));
        almadia::batch batch;
        MUST(batch.put("k", "v"));
        MUST(store.on(queue).write_async_with_events(
            batch, almadia::event::committed,
            [shared](almadia::event, almadia::position) { UNREACHED("a dropped write had an event"); }, never));
#ifdef __cpp_exceptions
        std::future<almadia::result<almadia::position>> future = store.on(queue).put_future("k", "v");
#endif
        queue = almadia::completion_queue();
        CHECK(queue.fd() == -1);
#ifdef __cpp_exceptions
        try {
            static_cast<void>(future.get());
            UNREACHED("a dropped future had a value");
        } catch (const std::future_error &broken) {
            CHECK(broken.code() == std::future_errc::broken_promise);
        }
#endif
    }
    CHECK(shared.use_count() == 1);
}

static void a_queue_outlives_its_stores(const std::string &path) {
    const almadia::completion_queue queue = make_queue();
    int answered = 0;
    {
        const almadia::store one = open_single(path + "-one"), other = open_single(path + "-other");
        MUST(one.on(queue).put_async("k", "v", [&](const auto &) { answered++; }));
        MUST(other.on(queue).put_async("k", "v", [&](const auto &) { answered++; }));
    }
    queue.shutdown();
    while (queue.run_some(10s)) {}
    CHECK(answered == 2);
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const almadia::store store = open_single(argv[1]);
    a_loop_on_one_thread_runs_everything(store);
    many_threads_run_one_queue(store);
    a_wait_is_interrupted(store);
    futures_and_events_come_through_the_queue(store);
    callables_that_were_not_run_are_dropped(argv[1]);
    a_queue_outlives_its_stores(argv[1]);
}
