// coroutines.cpp - co_await of every call: where the coroutine resumes, and an executor that resumes it elsewhere.
#include "check.hpp"

#ifndef __cpp_impl_coroutine
#error "this test is for compilers with coroutines"
#endif

#include <deque>
#include <functional>

// The smallest coroutine type: starts at once and destroys itself at its end. A counter or a flag says that it ended.
struct task {
    struct promise_type {
        task get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept { std::terminate(); }
    };
};

// An event loop of the program: runs what was posted to it, on the thread that calls run_until.
class event_loop {
  public:
    void post(std::function<void()> work) {
        const std::lock_guard<std::mutex> lock(lock_);
        work_.push_back(std::move(work));
        changed_.notify_one();
    }

    void run_until(const bool &ended) {
        while (!ended) {
            std::unique_lock<std::mutex> lock(lock_);
            changed_.wait(lock, [&] { return !work_.empty(); });
            const std::function<void()> next = std::move(work_.front());
            work_.pop_front();
            lock.unlock();
            next();
        }
    }

  private:
    std::mutex lock_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> work_;
};

// Many of these run at once, each with a key of its own.
static task await_every_call(const almadia::store &store, const std::string key, counter &done) {
    const almadia::position first = MUST(co_await store.put_async(key, std::string("1")));
    CHECK(on_callback_thread() && first.index > 0);
    almadia::batch batch;
    MUST(batch.put(key, "2"));
    CHECK(MUST(co_await store.write_async(batch)).index > first.index && batch.count() == 0);
    const std::string own = key + "/";
    const almadia::position once = MUST(co_await store.put_if_absent_async(own + "once", "1"));
    CHECK(code_of(co_await store.put_if_absent_async(own + "once", "2")) == almadia::code::precondition_failed);
    MUST(co_await store.compare_and_set_async(own + "once", once.version, "3"));
    MUST(co_await store.compare_value_and_set_async(own + "once", "3", "4"));
    CHECK(code_of(co_await store.compare_and_erase_async(own + "once", once.version)) == almadia::code::precondition_failed);
    CHECK(MUST(co_await store.pop_async(own + "once"))->view() == "4");
    CHECK(code_of(co_await store.compare_value_and_erase_async(own + "once", "4")) == almadia::code::precondition_failed);
    CHECK(MUST(co_await store.add_async(own + "sum", 3)) == 3);
    const std::string made = MUST(co_await store.put_versioned_async(own + "made/", "v"));
    CHECK(MUST(co_await store.take_first_async(own + "made/", own + "made0"))->key == made);
    MUST(batch.pop(own + "sum"));
    CHECK(MUST(co_await store.apply_async(batch))[0].key == own + "sum");
    const almadia::snapshot snapshot = MUST(co_await store.open_snapshot_async());
    CHECK(MUST(snapshot.get(key))->view() == "2");
    CHECK(MUST(co_await store.get_async(key))->view() == "2");
    const std::vector<std::string> keys = {"none", key};
    CHECK(MUST(co_await store.multi_get_async(keys))[1] == "2");
    MUST(co_await store.erase_async(key));
    CHECK(!MUST(co_await store.get_async(key)).has_value());
    almadia::write_options writing;
    writing.timeout = std::chrono::seconds(60);
    MUST(batch.put(key, "3"));
    MUST(co_await store.write_async(batch, writing));
    const almadia::position put = MUST(co_await store.put_async(key, std::string("4"), writing));
    almadia::snapshot_options reading;
    reading.level = almadia::level::local;
    reading.min_index = put.index;
    CHECK(MUST(co_await store.get_async(key, reading))->view() == "4");
    const almadia::position erased = MUST(co_await store.erase_async(key, writing));
    reading.min_index = erased.index;
    const almadia::positioned_value none = MUST(co_await store.get_with_position_async(key, reading));
    CHECK(!none.value && none.position.index >= erased.index);
    almadia::transaction txn = MUST(co_await store.begin_async());
    CHECK(!MUST(txn.get(key)));
    MUST(txn.put(key, "in a transaction"));
    MUST(co_await store.commit_async(txn));
    CHECK(MUST(co_await store.get_async(key))->view() == "in a transaction");
    CHECK(code_of(co_await store.commit_async(txn)) == almadia::code::invalid_argument);
    almadia::transfer_options to_unknown;
    to_unknown.target = 9;
    CHECK(code_of(co_await store.transfer_leader_async(to_unknown)) == almadia::code::invalid_argument);
    const std::vector<almadia::member_change> of_unknown = {almadia::member_change::promote(9)};
    CHECK(code_of(co_await store.change_members_async(of_unknown)) == almadia::code::invalid_argument);
    MUST(co_await store.change_members_async({}, std::chrono::seconds(30)));
    done.add();
}

static task resume_on_the_loop(const almadia::store &store, event_loop &loop, bool &ended) {
    const pthread_t own = pthread_self();
    const auto here = [&loop](std::coroutine_handle<> suspended) { loop.post(suspended); };
    for (int number = 0; number < 100; number++) {
        MUST(co_await store.put_async("looped", std::to_string(number)).resume_on(here));
        CHECK(pthread_equal(own, pthread_self()));
    }
    ended = true;
}

// The program's own thread runs the queue, so no executor is needed.
static task resume_on_the_queue(almadia::queued_store queued, bool &ended) {
    const pthread_t own = pthread_self();
    for (int number = 0; number < 100; number++) {
        MUST(co_await queued.put_async("queued", std::to_string(number)));
        CHECK(MUST(co_await queued.get_async("queued"))->view() == std::to_string(number));
        CHECK(pthread_equal(own, pthread_self()));
    }
    ended = true;
}

static task await_a_refused_call(const almadia::store &closed, bool &ended) {
    CHECK(code_of(co_await closed.put_async("k", "v")) == almadia::code::closed);
    ended = true;
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    almadia::store store = open_single(argv[1]);
    counter done;
    for (int at = 0; at < 100; at++) await_every_call(store, "awaited/" + std::to_string(at), done);
    done.wait_for(100);

    bool ended = false;
    event_loop loop;
    resume_on_the_loop(store, loop, ended);
    loop.run_until(ended);
    CHECK(holds(store, "looped", "99"));

    const almadia::completion_queue queue = MUST(almadia::completion_queue::make());
    bool queue_ended = false;
    resume_on_the_queue(store.on(queue), queue_ended);
    while (!queue_ended) MUST(queue.run_some(std::chrono::seconds(10)));

    MUST(store.shutdown(std::chrono::seconds(60)));
    bool refused = false;
    await_a_refused_call(store, refused);
    CHECK(refused);
}
