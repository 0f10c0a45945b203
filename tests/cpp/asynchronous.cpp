// asynchronous.cpp - callables and futures: where they run, that each is called once, and what happens to exceptions.
#include "check.hpp"

#include <thread>

static void a_callable_runs_once_on_its_own_thread(const almadia::store &store) {
    counter done;
    auto moved_only = std::make_unique<int>(7);
    MUST(store.put_async("k", "v", [&, moved_only = std::move(moved_only)](almadia::result<almadia::position> written) {
        CHECK(on_callback_thread() && *moved_only == 7);
        CHECK(MUST(std::move(written)).index > 0);
        done.add();
    }));
    done.wait_for(1);
    CHECK(holds(store, "k", "v"));
}

static void callables_are_freed_and_called_in_order(const almadia::store &store) {
    const auto shared = std::make_shared<int>(0);
    counter done;
    for (int number = 0; number < 1000; number++) {
        auto in_order = [&done, shared, number](almadia::result<almadia::position> written) {
            MUST(std::move(written));
            CHECK(*shared == number);
            ++*shared;
            done.add();
        };
        MUST(store.put_async("counted", std::to_string(number), in_order));
    }
    done.wait_for(1000);
    // There is one callback thread: when the last callable runs, those before it have been destroyed.
    MUST(store.put_future("k", "v").get());
    CHECK(shared.use_count() == 1);
}

static void a_refused_call_never_runs_its_callable(const std::string &path) {
    almadia::store store = open_single(path + "-refused");
    const auto shared = std::make_shared<int>(0);
    MUST(store.shutdown(std::chrono::seconds(60)));
    almadia::batch batch;
    MUST(batch.put("kept", ""));
    const auto never = [shared](const auto &) { UNREACHED("a refused call completed"); };
    CHECK(code_of(store.put_async("k", "v", never)) == almadia::code::closed);
    CHECK(code_of(store.write_async(batch, never)) == almadia::code::closed && batch.count() == 1);
    CHECK(code_of(store.erase_async("k", never)) == almadia::code::closed);
    CHECK(code_of(store.put_async("k", "v", never, {})) == almadia::code::closed);
    CHECK(code_of(store.erase_async("k", never, {})) == almadia::code::closed);
    CHECK(code_of(store.get_async("k", never)) == almadia::code::closed);
    CHECK(code_of(store.get_async("k", {}, never)) == almadia::code::closed);
    CHECK(code_of(store.get_with_position_async("k", {}, never)) == almadia::code::closed);
    CHECK(code_of(store.multi_get_async({"k"}, {}, never)) == almadia::code::closed);
    CHECK(code_of(store.open_snapshot_async({}, never)) == almadia::code::closed);
    CHECK(code_of(store.transfer_leader_async({}, never)) == almadia::code::closed);
    CHECK(code_of(store.put_future("k", "v").get()) == almadia::code::closed);
    CHECK(shared.use_count() == 2);
}

static void callables_read_and_submit_more(const almadia::store &store) {
    counter done;
    MUST(store.put_async("chain", "link", [&](almadia::result<almadia::position> written) {
        MUST(std::move(written));
        CHECK(code_of(store.put("k", "v")) == almadia::code::would_deadlock);
        MUST(store.open_snapshot_async({}, [&](almadia::result<almadia::snapshot> opened) {
            const almadia::snapshot snapshot = MUST(std::move(opened));
            CHECK(MUST(snapshot.get("chain"))->view() == "link");
            done.add();
        }));
    }));
    done.wait_for(1);
}

static void errors_name_what_they_are_about(const almadia::store &store) {
    counter done;
    almadia::transfer_options to_unknown;
    to_unknown.target = 9;
    MUST(store.transfer_leader_async(to_unknown, [&](const almadia::result<void> &transferred) {
        CHECK(code_of(transferred) == almadia::code::invalid_argument);
        CHECK(std::string_view(transferred.error().message()).find('9') != std::string_view::npos);
        done.add();
    }));
    done.wait_for(1);
    CHECK(code_of(store.transfer_leader_future(to_unknown).get()) == almadia::code::invalid_argument);
}

static void futures_deliver_results(const almadia::store &store) {
    almadia::batch batch;
    MUST(batch.put("future", "1"));
    std::future<almadia::result<almadia::position>> writing = store.write_future(batch);
    CHECK(batch.count() == 0 && MUST(writing.get()).index > 0);
    const almadia::snapshot snapshot = MUST(store.open_snapshot_future().get());
    CHECK(MUST(snapshot.get("future"))->view() == "1");
    CHECK(MUST(store.get_future("future").get())->view() == "1");
    CHECK(MUST(store.multi_get_future({"none", "future"}).get())[1] == "1");
    MUST(store.erase_future("future").get());
    CHECK(!MUST(store.get_future("future").get()).has_value());
}

static void one_call_has_options_and_a_position(const almadia::store &store) {
    almadia::write_options options;
    options.timeout = std::chrono::seconds(60);
    almadia::snapshot_options local;
    local.level = almadia::level::local;
    const almadia::position put = MUST(store.put_future("with", "1", options).get());
    local.min_index = put.index;
    CHECK(MUST(store.get_future("with", local).get())->view() == "1");
    const almadia::positioned_value found = MUST(store.get_with_position_future("with", local).get());
    CHECK(found.value->view() == "1" && found.position.index >= put.index && found.position.term >= put.term);
    CHECK(put.version > 0 && found.value->version() == put.version && found.position.version == 0);
    const almadia::position erased = MUST(store.erase_future("with", options).get());
    CHECK(!MUST(store.get_with_position_future("with").get()).value && erased.version > put.version);

    counter done;
    MUST(store.put_async("with", "2", [&](const almadia::result<almadia::position> &) { done.add(); }, options));
    MUST(store.erase_async("other", [&](const almadia::result<almadia::position> &) { done.add(); }, options));
    done.wait_for(2);
    local.min_index = erased.index + 1;
    MUST(store.get_async("with", local, [&](almadia::result<std::optional<almadia::value>> read) {
        CHECK(MUST(std::move(read))->view() == "2");
        done.add();
    }));
    MUST(store.get_with_position_async("none", local, [&](almadia::result<almadia::positioned_value> read) {
        const almadia::positioned_value none = MUST(std::move(read));
        CHECK(!none.value && none.position.index >= local.min_index);
        done.add();
    }));
    done.wait_for(4);
}

static void a_write_reports_its_progress(const almadia::store &store) {
    almadia::batch batch;
    counter done;
    std::string progress;
    const auto shared = std::make_shared<int>(0);
    MUST(batch.put("events", ""));
    MUST(store.write_async_with_events(
        batch, almadia::event::proposed | almadia::event::committed,
        [&progress, shared](almadia::event event, almadia::position at) {
            CHECK(on_callback_thread() && at.index > 0);
            progress += event == almadia::event::proposed ? "proposed " : "committed ";
        },
        [&progress, &done, shared](almadia::result<almadia::position> written) {
            MUST(std::move(written));
            progress += "applied";
            done.add();
        }));
    done.wait_for(1);
    MUST(store.put_future("k", "v").get());
    CHECK(progress == "proposed committed applied" && shared.use_count() == 1);
}

static void reads_deliver_values_and_missing_keys(const almadia::store &store) {
    counter done;
    MUST(store.put("read", "it"));
    MUST(store.get_async("read", [&](almadia::result<std::optional<almadia::value>> found) {
        CHECK(MUST(std::move(found))->view() == "it");
        done.add();
    }));
    MUST(store.get_async("none", [&](almadia::result<std::optional<almadia::value>> found) {
        CHECK(!MUST(std::move(found)).has_value());
        done.add();
    }));
    const std::vector<std::string> keys = {"read", "none"};
    MUST(store.multi_get_async(keys, {}, [&](almadia::result<almadia::values> found) {
        const almadia::values values = MUST(std::move(found));
        CHECK(values.size() == 2 && values[0] == "it" && !values[1]);
        done.add();
    }));
    done.wait_for(3);
}

// However far a call is when it is cancelled, its callable runs once, and the code says what is known.
static void a_call_can_be_cancelled(const almadia::store &store) {
    counter done;
    int cancelled = 0;
    std::vector<almadia::call_id> calls;
    for (int number = 0; number < 100; number++)
        calls.push_back(MUST(store.put_async("cancelled", "v", [&](const almadia::result<almadia::position> &written) {
            if (!written) {
                CHECK(code_of(written) == almadia::code::cancelled ||
                      code_of(written) == almadia::code::cancelled_in_flight);
                CHECK(written.error().maybe_applied() == (code_of(written) == almadia::code::cancelled_in_flight));
                cancelled++;
            }
            done.add();
        })));
    int cancels = 0;
    for (const almadia::call_id call : calls) cancels += MUST(store.cancel(call));
    done.wait_for(100);
    MUST(store.put_future("k", "v").get());
    CHECK(cancelled == cancels);
    for (const almadia::call_id call : calls) CHECK(!MUST(store.cancel(call)));
}

static void a_callable_may_destroy_the_store(const std::string &path) {
    counter done;
    auto store = std::make_unique<almadia::store>(open_single(path + "-destroyed"));
    MUST(store->put_async("k", "v", [&](const auto &) {
        store.reset();
        done.add();
    }));
    done.wait_for(1);
    // A thread of the library closes it; once its directory can be opened again, it has left nothing behind.
    for (;;) {
        const auto again = almadia::store::open(path + "-destroyed");
        if (again) break;
        CHECK(code_of(again) == almadia::code::locked);
        std::this_thread::yield();
    }
}

#ifdef __cpp_exceptions
static counter uncaught_seen;

static void an_exception_goes_to_the_function_of_set_uncaught(const almadia::store &store) {
    const auto previous = almadia::set_uncaught([](std::exception_ptr thrown) {
        try {
            std::rethrow_exception(thrown);
        } catch (const std::string &text) {
            if (text == "out of a callable") uncaught_seen.add();
        }
    });
    MUST(store.put_async("k", "v", [](const auto &) { throw std::string("out of a callable"); }));
    uncaught_seen.wait_for(1);
    almadia::set_uncaught(previous);
    MUST(store.put_future("k", "v").get());
}
#endif

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const almadia::store store = open_single(argv[1]);
    a_callable_runs_once_on_its_own_thread(store);
    callables_are_freed_and_called_in_order(store);
    a_refused_call_never_runs_its_callable(argv[1]);
    callables_read_and_submit_more(store);
    errors_name_what_they_are_about(store);
    one_call_has_options_and_a_position(store);
    futures_deliver_results(store);
    a_write_reports_its_progress(store);
    reads_deliver_values_and_missing_keys(store);
    a_call_can_be_cancelled(store);
    a_callable_may_destroy_the_store(argv[1]);
#ifdef __cpp_exceptions
    an_exception_goes_to_the_function_of_set_uncaught(store);
#endif
}
