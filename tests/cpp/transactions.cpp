// transactions.cpp - transactions: what they see, what refuses them, running a body until it commits, and counting on
// three members.
#include "check.hpp"

#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::literals;

template <class T> static almadia::conflict conflict_of(const almadia::result<T> &answer) {
    CHECK(code_of(answer) == almadia::code::conflict && !answer.error().maybe_applied());
    CHECK(answer.error().conflict().has_value());
    return *answer.error().conflict();
}

static void a_lost_update_is_refused(const almadia::store &store) {
    MUST(store.put("k", "1"));
    almadia::transaction txn = MUST(store.begin());
    CHECK(MUST(txn.get("k"))->view() == "1" && MUST(txn.get("k"))->version() > 0);
    MUST(store.put("k", "2"));
    CHECK(MUST(txn.get("k"))->view() == "1");
    MUST(txn.put("k", "3"));
    CHECK(MUST(txn.get("k"))->view() == "3" && MUST(txn.get("k"))->version() == 0);
    const almadia::conflict changed = conflict_of(txn.commit());
    CHECK(!changed.is_range && changed.key == "k" && changed.end.empty());
    CHECK(holds(store, "k", "2"));

    almadia::transaction again = MUST(store.begin({almadia::level::local, 30s, "k"}));
    MUST(again.get_exempt("k"));
    MUST(store.put("k", "4"));
    MUST(again.put("k", "5"));
    CHECK(MUST(again.commit({30s})).version > 0 && holds(store, "k", "5"));
}

static void a_transaction_ends_once(const almadia::store &store) {
    almadia::transaction txn = MUST(store.begin());
    MUST(txn.put("ended", "1"));
    almadia::iter iter = MUST(txn.iterate());
    CHECK(iter.first());
    MUST(txn.commit());
    CHECK(code_of(txn.get("ended")) == almadia::code::invalid_argument);
    CHECK(code_of(txn.put("ended", "2")) == almadia::code::invalid_argument);
    CHECK(code_of(txn.commit()) == almadia::code::invalid_argument);
    CHECK(!iter.next() && code_of(iter.check()) == almadia::code::invalid_argument);

    almadia::transaction moved = std::move(txn);
    CHECK(code_of(txn.get("ended")) == almadia::code::null_pointer); // NOLINT: what a moved-from handle says is the test
    moved = MUST(store.begin());
    MUST(moved.erase("ended"));
    moved = almadia::transaction();
    CHECK(holds(store, "ended", "1"));
    MUST(store.erase("ended"));
}

static std::string keys_of(almadia::iter &iter, bool forwards) {
    std::string found;
    for (bool there = forwards ? iter.first() : iter.last(); there; there = forwards ? iter.next() : iter.prev())
        found += std::string(iter.key().substr(2)) + "=" + std::string(iter.value()) + " ";
    MUST(iter.check());
    return found;
}

static void iterations_show_own_writes(const almadia::store &store) {
    for (const char *const key : {"i/a", "i/c", "i/e", "i/g"}) MUST(store.put(key, "old"));
    almadia::transaction txn = MUST(store.begin());
    MUST(txn.put("i/b", "new"));
    MUST(txn.erase("i/c"));
    MUST(txn.put("i/e", "new"));
    MUST(txn.erase_range("i/f", "i/h"));
    MUST(txn.put("i/h", "new"));
    CHECK(code_of(txn.erase_range("b", "a")) == almadia::code::invalid_argument);
    almadia::scan_options options;
    options.prefix = "i/";
    for (const almadia::order order : {almadia::order::ascending, almadia::order::descending}) {
        options.order = order;
        almadia::iter iter = MUST(txn.iterate(options));
        const bool ascends = order == almadia::order::ascending;
        CHECK(keys_of(iter, ascends) == "a=old b=new e=new h=new ");
        CHECK(keys_of(iter, !ascends) == "h=new e=new b=new a=old ");
        CHECK(iter.seek("i/c") && iter.key() == (ascends ? "i/e" : "i/b") && iter.version() == 0);
        CHECK(iter.seek_for_prev("i/a") && iter.version() > 0);
    }
    int seen = 0;
    auto pairs = txn.scan("i/");
    for (auto [key, value] : pairs) {
        if (seen++ == 0) {
            MUST(txn.put("i/aa", "while iterating"));
            MUST(txn.erase("i/b"));
        } else if (seen == 2) {
            CHECK(key == "i/aa" && value == "while iterating");
        }
        MUST(txn.erase(key));
    }
    MUST(pairs.check());
    CHECK(seen == 4);
    MUST(txn.commit());
    auto left = MUST(store.open_snapshot()).scan("i/");
    CHECK(left.begin() == left.end());
    MUST(left.check());
}

static void a_range_that_was_walked_may_not_change(const almadia::store &store) {
    for (const char *const key : {"r/1", "r/2", "r/3"}) MUST(store.put(key, "v"));
    const auto first_of = [](almadia::scan_range pairs) {
        const std::string key((*pairs.begin()).key);
        MUST(pairs.check());
        return key;
    };
    almadia::transaction whole = MUST(store.begin()), first = MUST(store.begin()), exempt = MUST(store.begin());
    almadia::scan_options options;
    options.lower = "r/";
    options.upper = "r0";
    int count = 0;
    auto pairs = whole.scan(options);
    for (auto [key, value] : pairs) count += key.size() == 3 && value == "v";
    MUST(pairs.check());
    CHECK(count == 3 && first_of(first.scan("r/")) == "r/1" && first_of(exempt.scan_exempt(options)) == "r/1");
    CHECK(MUST(exempt.iterate_exempt(options)).first());
    MUST(store.put("r/11", "a key between the first two"));
    for (almadia::transaction *const txn : {&whole, &first, &exempt}) MUST(txn->put("r/4", "v"));

    const almadia::conflict changed = conflict_of(whole.commit());
    CHECK(changed.is_range && changed.key == "r/" && changed.end == "r0");
    MUST(first.commit());
    MUST(exempt.commit());
    almadia::transaction removal = MUST(store.begin());
    MUST(removal.erase_range("r/", "r0"));
    MUST(removal.commit());
}

static void what_reads_only_commits_without_a_write(const almadia::store &store) {
    const std::uint64_t before = MUST(store.put("read", "v", {30s})).index;
    almadia::transaction txn = MUST(store.begin());
    CHECK(MUST(txn.get("read"))->view() == "v" && !MUST(txn.get("none")));
    const almadia::position at = MUST(txn.commit());
    CHECK(at.index >= before && at.version == 0);
}

static void a_body_returns_what_it_likes(const almadia::store &store) {
    MUST(store.transact([](almadia::transaction &txn) { MUST(txn.put("t", "1")); }));
    const auto next = [](almadia::transaction &txn) {
        const int now = std::atoi(MUST(txn.get("t"))->str().c_str()) + 1;
        MUST(txn.put("t", std::to_string(now)));
        return now;
    };
    CHECK(MUST(store.transact(next)) == 2);
    CHECK(MUST(store.transact(next, {almadia::level::linearizable, 30s, "t"})) == 3);
    const auto counted = [](almadia::transaction &txn) -> almadia::result<std::unique_ptr<int>> {
        if (almadia::result<void> put = txn.put("t", "4"); !put) return std::move(put).error();
        return std::make_unique<int>(4);
    };
    CHECK(*MUST(store.transact(counted)) == 4 && holds(store, "t", "4"));
}

static void a_body_that_fails_has_no_effect(const almadia::store &store) {
    int runs = 0;
    const auto refuse = [&](almadia::transaction &txn) -> almadia::result<void> {
        runs++;
        MUST(txn.put("t", "refused"));
        return almadia::error(almadia::code::unsupported, "of the body");
    };
    const almadia::result<void> refused = store.transact(refuse);
    CHECK(code_of(refused) == almadia::code::unsupported && refused.error().message() == "of the body"sv && runs == 1);
    const auto large = [](almadia::transaction &txn) { return txn.put(std::string(20'000, 'k'), "v"); };
    CHECK(code_of(store.transact(large)) == almadia::code::too_large);
    /* One that passes the conflict of another transaction on is not run again. */
    const auto conflicting = [&](almadia::transaction &) -> almadia::result<almadia::position> {
        runs++;
        almadia::transaction other = MUST(store.begin());
        MUST(other.get("t"));
        MUST(store.put("t", "5"));
        MUST(other.put("t", "6"));
        return other.commit();
    };
    CHECK(conflict_of(store.transact(conflicting)).key == "t" && runs == 2);
    CHECK(code_of(store.transact([](almadia::transaction &txn) { return txn.commit(); })) ==
          almadia::code::invalid_argument);
#ifdef __cpp_exceptions
    struct thrown : std::runtime_error {
        thrown() : std::runtime_error("of the body") {}
        std::string more = "kept";
    };
    try {
        const auto fail = [&](almadia::transaction &txn) -> int {
            txn.put("t", "thrown").or_throw();
            throw thrown();
        };
        static_cast<void>(store.transact(fail).has_value());
        UNREACHED("nothing was thrown");
    } catch (const thrown &caught) {
        CHECK(caught.what() == "of the body"sv && caught.more == "kept");
    }
#endif
    CHECK(holds(store, "t", "5"));
}

static void a_body_is_run_again_until_the_time_is_up(const almadia::store &store) {
    int runs = 0;
    const auto once = [&](almadia::transaction &txn) {
        MUST(txn.get("t"));
        if (++runs < 3) MUST(store.put("t", "meanwhile"));
        MUST(txn.put("t", "at last"));
        return runs;
    };
    CHECK(MUST(store.transact(once)) == 3 && holds(store, "t", "at last"));

    const auto never = [&](almadia::transaction &txn) {
        runs++;
        MUST(txn.get("t"));
        MUST(store.put("t", "meanwhile"));
        MUST(txn.put("t", "never"));
    };
    almadia::transaction_options soon;
    soon.timeout = 200ms;
    almadia::result<void> refused;
    /* The time may also be up while a transaction begins or commits, which is another error. */
    for (int tries = 0; tries < 20 && code_of(refused) != almadia::code::conflict; tries++) {
        runs = 0;
        refused = store.transact(never, soon);
        CHECK(!refused);
    }
    CHECK(conflict_of(refused).key == "t" && runs > 1 && holds(store, "t", "meanwhile"));
    CHECK(std::string_view(refused.error().message()).find("tried") != std::string_view::npos);
}

static void futures_and_callables_get_the_same(const almadia::store &store) {
    MUST(store.put("f", "1"));
    almadia::transaction txn = MUST(store.begin_future().get());
    almadia::transaction late = MUST(store.begin_future({almadia::level::local, 30s, {}}).get());
    CHECK(MUST(txn.get("f"))->view() == "1" && MUST(late.get("f"))->view() == "1");
    MUST(txn.put("f", "2"));
    MUST(late.put("f", "3"));
    CHECK(MUST(store.commit_future(txn).get()).version > 0);
    CHECK(conflict_of(store.commit_future(late, {30s}).get()).key == "f");
    CHECK(code_of(store.commit_future(txn).get()) == almadia::code::invalid_argument);

    counter done;
    MUST(store.begin_async({}, [&](almadia::result<almadia::transaction> begun) {
        CHECK(on_callback_thread());
        almadia::transaction own = MUST(std::move(begun));
        CHECK(MUST(own.get("f"))->view() == "2" && MUST(own.iterate()).first());
        CHECK(code_of(own.commit()) == almadia::code::would_deadlock);
        MUST(own.put("f", "4"));
        MUST(store.commit_async(own, [&](almadia::result<almadia::position> committed) {
            CHECK(MUST(std::move(committed)).version > 0);
            done.add();
        }));
    }));
    done.wait_for(1);
    CHECK(holds(store, "f", "4"));
    CHECK(code_of(store.commit_async(txn, [](almadia::result<almadia::position>) { UNREACHED("it was accepted"); })) ==
          almadia::code::invalid_argument);
}

// Two threads for each of the members count in one key and move a token between two others.
static void members_count_together(const members &stores) {
    constexpr int rounds = 20, threads_each = 2;
    MUST(stores[0].put("token/a", "there"));
    std::vector<std::thread> threads;
    for (const almadia::store &store : stores)
        for (int at = 0; at < threads_each; at++)
            threads.emplace_back([&] {
                for (int round = 0; round < rounds; round++) {
                    const auto count = [](almadia::transaction &txn) {
                        const std::optional<almadia::value> now = MUST(txn.get("count"));
                        MUST(txn.put("count", std::to_string(now ? std::atoi(now->str().c_str()) + 1 : 1)));
                        std::string token;
                        auto pairs = txn.scan("token/");
                        for (auto [key, value] : pairs) {
                            CHECK(token.empty() && value == "there");
                            token = key;
                        }
                        MUST(pairs.check());
                        MUST(txn.erase(token));
                        MUST(txn.put(token == "token/a" ? "token/b" : "token/a", "there"));
                    };
                    MUST(store.transact(count, {almadia::level::linearizable, 60s, {}}));
                }
            });
    for (std::thread &thread : threads) thread.join();
    CHECK(holds(stores[1], "count", std::to_string(rounds * threads_each * 3)));
    CHECK(holds(stores[2], "token/a", "there") && !MUST(stores[2].get("token/b")));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    members stores = open_members(argv[1]);
    for (const almadia::store &store : stores) {
        a_lost_update_is_refused(store);
        a_transaction_ends_once(store);
        iterations_show_own_writes(store);
        a_range_that_was_walked_may_not_change(store);
        what_reads_only_commits_without_a_write(store);
        a_body_returns_what_it_likes(store);
        a_body_that_fails_has_no_effect(store);
        a_body_is_run_again_until_the_time_is_up(store);
        futures_and_callables_get_the_same(store);
    }
    members_count_together(stores);
    MUST(stores[0].shutdown(60s));
    CHECK(code_of(stores[0].begin()) == almadia::code::closed);
    CHECK(code_of(stores[0].transact([](almadia::transaction &) { UNREACHED("the store is closed"); })) ==
          almadia::code::closed);
}
