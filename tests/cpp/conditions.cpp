// conditions.cpp - writes with conditions: every call in its three forms, and a counter and a queue on three members.
#include "check.hpp"

#include <set>
#include <thread>

using namespace std::literals;

template <class T> static almadia::precondition refusal_of(const almadia::result<T> &answer) {
    CHECK(code_of(answer) == almadia::code::precondition_failed && !answer.error().maybe_applied());
    return answer.error().precondition().value_or(almadia::precondition{99, false, 0});
}

static void a_key_is_set_only_as_it_was_expected(const almadia::store &store) {
    const almadia::position first = MUST(store.put_if_absent("k", "1"));
    const almadia::precondition found = refusal_of(store.put_if_absent("k", "2"));
    CHECK(found.operation == 0 && found.exists && found.version == first.version && first.index > 0);
    const almadia::position second = MUST(store.compare_and_set("k", first.version, "2", {30s}));
    CHECK(refusal_of(store.compare_and_set("k", first.version, "3")).version == second.version);
    const almadia::position third = MUST(store.compare_value_and_set("k", "2", "3"));
    CHECK(refusal_of(store.compare_and_erase("k", second.version)).version == third.version);
    MUST(store.compare_value_and_erase("k", "3"));
    CHECK(!refusal_of(store.compare_value_and_erase("k", "3")).exists);
    const almadia::position again = MUST(store.compare_and_set("k", 0, "4"));
    MUST(store.compare_and_erase("k", again.version));
}

static void what_is_computed_is_returned(const almadia::store &store) {
    CHECK(MUST(store.add("n", 5)) == 5 && MUST(store.add("n", -7)) == -2);
    CHECK(code_of(store.add("n", INT64_MIN)) == almadia::code::not_a_number);
    MUST(store.erase("n"));
    const std::string key = MUST(store.put_versioned("q/", "one"));
    CHECK(key.size() == 12 && key.substr(0, 2) == "q/");
    const std::optional<almadia::taken> taken = MUST(store.take_first("q/", "q0"));
    CHECK(taken->key == key && taken->value == "one" && taken->version > 0);
    CHECK(!MUST(store.take_first("q/", "q0")));
    CHECK(code_of(store.take_first("b", "a")) == almadia::code::invalid_argument);
    MUST(store.put("popped", "v"));
    CHECK(MUST(store.pop("popped"))->view() == "v" && !MUST(store.pop("popped")));
}

static void a_batch_tells_what_it_found(const almadia::store &store) {
    almadia::batch batch;
    for (const bool there : {false, true}) {
        MUST(batch.if_present("other"));
        MUST(batch.pop("other"));
        MUST(batch.take_first("none/", "none0"));
        MUST(batch.otherwise());
        MUST(batch.put("other", "v"));
        MUST(batch.add("n", 3));
        MUST(batch.put_versioned("log/", "x"));
        const almadia::written written = MUST(store.apply(batch));
        CHECK(written.succeeded() == there && written.position().version > 0 && written.size() == 2);
        if (there) {
            CHECK(!written.failed() && written[0].kind == almadia::result_kind::value);
            CHECK(written[0].key == "other" && written[0].value == "v" && written[0].operation == 1);
            CHECK(written[1].kind == almadia::result_kind::nothing);
        } else {
            CHECK(written.failed()->operation == 0 && written[0].sum == 3 && written[0].operation == 5);
            CHECK(written[1].kind == almadia::result_kind::key && written[1].key.size() == 14);
        }
    }
    MUST(batch.if_absent("n"));
    MUST(batch.if_version("other", 0));
    MUST(batch.if_value("other", "v"));
    CHECK(refusal_of(store.apply(batch)).operation == 0 && batch.count() == 3);
    CHECK(refusal_of(store.write(batch)).operation == 0);
    MUST(store.erase("n"));
}

static void a_range_is_judged_as_a_snapshot_saw_it(const almadia::store &store) {
    MUST(store.put("r/a", "1"));
    const almadia::range_digest seen = MUST(MUST(store.open_snapshot()).digest("r/", "r0"));
    CHECK(seen.keys == 1 && seen.bytes == 4);
    almadia::batch batch;
    MUST(batch.if_range("r/", "r0", seen));
    MUST(batch.put("r/b", "2"));
    CHECK(code_of(batch.if_range("b", "a", seen)) == almadia::code::invalid_argument);
    MUST(store.write(batch));
    MUST(batch.if_range("r/", "r0", seen));
    MUST(batch.erase("r/a"));
    CHECK(refusal_of(store.write(batch)).operation == 0 && holds(store, "r/a", "1"));
    MUST(store.erase("r/b"));
}

static void futures_and_callables_get_the_same(const almadia::store &store) {
    const almadia::position first = MUST(store.put_if_absent_future("k", "1").get());
    refusal_of(store.put_if_absent_future("k", "2").get());
    const almadia::position second = MUST(store.compare_and_set_future("k", first.version, "2").get());
    MUST(store.compare_value_and_set_future("k", "2", "3").get());
    refusal_of(store.compare_and_erase_future("k", second.version).get());
    MUST(store.compare_value_and_erase_future("k", "3").get());
    CHECK(MUST(store.add_future("n", 4).get()) == 4);
    const std::string key = MUST(store.put_versioned_future("q/", "v").get());
    CHECK(MUST(store.take_first_future("q/", "q0").get())->key == key);
    CHECK(!MUST(store.pop_future("q/").get()));
    almadia::batch batch;
    MUST(batch.add("n", 1));
    CHECK(MUST(store.apply_future(batch).get())[0].sum == 5);

    counter done;
    MUST(store.put_if_absent_async("k", "1", [&](almadia::result<almadia::position> answer) {
        CHECK(MUST(std::move(answer)).version > 0);
        done.add();
    }));
    done.wait_for(1);
    MUST(store.pop_async("k", [&](almadia::result<std::optional<almadia::value>> answer) {
        CHECK(MUST(std::move(answer))->view() == "1");
        done.add();
    }));
    MUST(store.take_first_async("q/", "q0", [&](almadia::result<std::optional<almadia::taken>> answer) {
        CHECK(!MUST(std::move(answer)));
        done.add();
    }, {30s}));
    MUST(store.add_async("n", -5, [&](almadia::result<std::int64_t> answer) {
        CHECK(MUST(std::move(answer)) == 0);
        done.add();
    }));
    MUST(batch.if_absent("k"));
    MUST(batch.otherwise());
    MUST(store.apply_async(batch, [&](almadia::result<almadia::written> answer) {
        MUST(std::move(answer));
        done.add();
    }));
    done.wait_for(5);
    MUST(store.erase("n"));
}

// Threads of the three members add, compare, and take tasks at once; nothing is lost or done twice.
static void members_count_and_queue_without_a_lock(const members &stores) {
    constexpr int rounds = 30;
    std::mutex lock;
    std::multiset<std::string> tasks;
    std::vector<std::thread> threads;
    for (const almadia::store &store : stores)
        threads.emplace_back([&] {
            for (int round = 0; round < rounds; round++) {
                MUST(store.add("added", 1));
                MUST(store.put_versioned("queue/", "task"));
                almadia::result<almadia::position> set = almadia::error(almadia::code::precondition_failed);
                while (code_of(set) == almadia::code::precondition_failed) {
                    const std::optional<almadia::value> now = MUST(store.get("compared"));
                    const int next = now ? std::atoi(now->str().c_str()) + 1 : 1;
                    set = store.compare_and_set("compared", now ? now->version() : 0, std::to_string(next));
                }
                MUST(std::move(set));
            }
            while (const std::optional<almadia::taken> task = MUST(store.take_first("queue/", "queue0"))) {
                const std::lock_guard<std::mutex> held(lock);
                tasks.insert(task->key);
            }
        });
    for (std::thread &thread : threads) thread.join();
    const std::set<std::string> distinct(tasks.begin(), tasks.end());
    CHECK(MUST(stores[0].add("added", 0)) == 3 * rounds && holds(stores[1], "compared", std::to_string(3 * rounds)));
    CHECK(tasks.size() == 3 * rounds && distinct.size() == tasks.size());
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const members stores = open_members(argv[1]);
    for (const almadia::store &store : stores) {
        a_key_is_set_only_as_it_was_expected(store);
        what_is_computed_is_returned(store);
        a_batch_tells_what_it_found(store);
        a_range_is_judged_as_a_snapshot_saw_it(store);
        futures_and_callables_get_the_same(store);
    }
    members_count_and_queue_without_a_lock(stores);
}
