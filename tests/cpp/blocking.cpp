// blocking.cpp - the blocking calls and the types of almadia.hpp, on a cluster of one member.
#include "check.hpp"

#include <algorithm>
#include <array>

using namespace std::literals;

static void the_library_reports_its_version() {
    CHECK(almadia::version_string() == std::string(ALMADIA_VERSION_STRING));
    CHECK(almadia::version_number() == ALMADIA_VERSION_NUMBER);
    CHECK(almadia::code_name(almadia::code::not_found) == "ALMADIA_NOT_FOUND"sv);
    CHECK(almadia::code_message(almadia::code::locked) != ""sv);
}

static void options_are_listed_set_and_read() {
    const std::vector<almadia::option> options = almadia::options();
    CHECK(options.size() > 10);
    almadia::config config;
    for (const almadia::option &option : options) {
        CHECK(!option.name.empty() && !option.type_text.empty() && !option.doc.empty());
        CHECK(MUST(config.get(std::string(option.name))) == option.default_value);
        MUST(config.set(std::string(option.name), std::string(option.default_value)));
    }
    MUST(config.set("cluster.node_id", 7));
    CHECK(MUST(config.get("cluster.node_id")) == "7");
    MUST(config.set("read.lease", false));
    CHECK(MUST(config.get("read.lease")) == "false");
    MUST(config.set("cluster.node_id", "8"));
    CHECK(MUST(config.get("cluster.node_id")) == "8");
}

static void errors_name_what_they_are_about() {
    almadia::config config;
    const almadia::result<void> unknown = config.set("raft.tick_msec", 5);
    CHECK(!unknown && unknown.error().code() == almadia::code::invalid_config);
    CHECK(std::string_view(unknown.error().message()).find("raft.tick_msec") != std::string_view::npos);
    CHECK(unknown.error().name() == "ALMADIA_INVALID_CONFIG"sv);
    CHECK(unknown.error().leader() == 0 && unknown.error().system_errno() == 0);
    CHECK(!unknown.error().maybe_applied() && !unknown.error().is_retryable());
    CHECK(almadia::error(almadia::code::timeout).maybe_applied());
    CHECK(almadia::error(almadia::code::overloaded).is_retryable());

    CHECK(code_of(config.set("cluster.node_id", "1\0002"s)) == almadia::code::invalid_argument);
    CHECK(code_of(almadia::store::open("with\0nul"s)) == almadia::code::invalid_argument);
    const almadia::result<almadia::store> nowhere = almadia::store::open("/nonexistent/for/a/store");
    CHECK(!nowhere && nowhere.error().system_errno() == ENOENT);
    CHECK(code_of(almadia::store::open("/tmp", {{"no.such.option", "1"}})) == almadia::code::invalid_config);
}

static void bytes_are_made_from_every_kind_of_buffer(const almadia::store &store) {
    const std::string text = "string";
    const std::vector<std::byte> vector = {std::byte{0}, std::byte{255}};
    const std::array<unsigned char, 3> array = {1, 0, 2};
    MUST(store.put("literal", "one"));
    MUST(store.put(text, text));
    MUST(store.put("view\0nul"sv, ""));
    MUST(store.put(vector, array));
    MUST(store.put(almadia::bytes("pointer and size", 7), almadia::bytes(nullptr, 0)));
    CHECK(holds(store, "literal", "one") && holds(store, "string", "string") && holds(store, "view\0nul"sv, ""));
    CHECK(holds(store, "\0\xff"sv, "\1\0\2"sv) && holds(store, "pointer", ""));
    CHECK(!MUST(store.get("view")).has_value());
#ifdef __cpp_lib_span
    const std::span<const std::byte> span = vector;
    std::span<std::byte> none;
    MUST(store.put(span, none));
    CHECK(holds(store, span, ""));
    const std::optional<almadia::value> found = MUST(store.get("literal"));
    CHECK(found->span().size() == 3 && found->span()[2] == std::byte{'e'});
#endif
}

static void batches_collect_operations_and_are_written(const almadia::store &store) {
    almadia::batch batch;
    CHECK(batch.count() == 0 && batch.size_bytes() == 0);
    CHECK(code_of(batch.put(std::string(ALMADIA_KEY_BYTES_MAX + 1, 'k'), "v")) == almadia::code::too_large);
    MUST(batch.put("a", "1"));
    MUST(batch.put("b", "2"));
    MUST(batch.put("c", "3"));
    CHECK(batch.count() == 3 && batch.size_bytes() > 6);
    const almadia::position first = MUST(store.write(batch, {std::chrono::seconds(10)}));
    CHECK(batch.count() == 0 && first.index > 0 && first.term > 0);

    MUST(batch.put("d", "4"));
    batch.clear();
    MUST(batch.erase("a"));
    MUST(batch.erase_range("b", "c"));
    CHECK(code_of(batch.erase_range("c", "b")) == almadia::code::invalid_argument);
    CHECK(MUST(store.write(batch)).index > first.index);
    CHECK(!MUST(store.get("a")) && !MUST(store.get("b")) && holds(store, "c", "3") && !MUST(store.get("d")));
    MUST(store.erase("c"));
    CHECK(!MUST(store.get("c")));
}

static void operations_are_appended_all_or_none(const almadia::store &store) {
    almadia::batch batch;
    const std::string value = "1";
    MUST(batch.append({{almadia::operation_kind::put, "op/a", value},
                       {almadia::operation_kind::put, "op/b", "2"},
                       {almadia::operation_kind::put, "op/c", "3"},
                       {almadia::operation_kind::erase, "op/b"},
                       {almadia::operation_kind::erase_range, "op/c", "op/d"}}));
    CHECK(batch.count() == 5);
    CHECK(code_of(batch.append({{almadia::operation_kind::put, "x", ""},
                                {almadia::operation_kind::erase, "y", "no value here"}})) ==
          almadia::code::invalid_argument);
    CHECK(batch.count() == 5);
    MUST(store.write(batch));
    CHECK(holds(store, "op/a", "1") && !MUST(store.get("op/b")) && !MUST(store.get("op/c")));
}

static void many_keys_are_read_at_once(const almadia::store &store) {
    MUST(store.put("many/1", "one"));
    MUST(store.put("many/2", ""));
    almadia::values found = MUST(store.multi_get({"many/1", "none", "many/2"}));
    CHECK(found.size() == 3 && found[0] == "one" && !found[1].has_value() && found[2] == "" && !found[3]);

    const std::vector<std::string> keys = {"many/2", "many/1"};
    const almadia::snapshot snapshot = MUST(store.open_snapshot());
    found = MUST(snapshot.multi_get(keys));
    CHECK(found.size() == 2 && found[0] == "" && found[1] == "one");
    almadia::snapshot_options local;
    local.level = almadia::level::local;
    CHECK(MUST(store.multi_get(keys, local))[1] == "one");
    CHECK(MUST(store.multi_get(std::vector<std::string_view>())).size() == 0);
}

static void one_call_has_options_and_a_position(const almadia::store &store) {
    const almadia::position put = MUST(store.put("with", "1", {std::chrono::seconds(10)}));
    CHECK(put.index > 0 && put.term > 0);
    almadia::snapshot_options local;
    local.level = almadia::level::local;
    local.min_index = put.index;
    CHECK(MUST(store.get("with", local))->view() == "1");
    almadia::positioned_value found = MUST(store.get_with_position("with", local));
    CHECK(found.value->view() == "1" && found.position.index >= put.index && found.position.term >= put.term);
    const almadia::position erased = MUST(store.erase("with", almadia::write_options()));
    CHECK(erased.index > found.position.index && !MUST(store.get("with", {})));
    found = MUST(store.get_with_position("with"));
    CHECK(!found.value && found.position.index >= erased.index);

    local.min_index = erased.index + 1000;
    local.timeout = std::chrono::milliseconds(20);
    const almadia::result<almadia::positioned_value> in_vain = store.get_with_position("with", local);
    CHECK(code_of(in_vain) == almadia::code::read_timeout && in_vain.error().is_retryable());
    CHECK(std::string_view(in_vain.error().message()).find("min_index is") != std::string_view::npos);
    local.end = "z";
    CHECK(code_of(store.get("with", local)) == almadia::code::invalid_argument);
}

static void versions_grow_and_are_the_same_by_every_way(const almadia::store &store) {
    const almadia::position first = MUST(store.put("version/a", "1", almadia::write_options()));
    CHECK(first.version > 0 && MUST(store.get("version/a"))->version() == first.version);
    const almadia::position erased = MUST(store.erase("version/a", almadia::write_options()));
    almadia::batch batch;
    MUST(batch.put("version/a", "2"));
    MUST(batch.put("version/b", "2"));
    const almadia::position second = MUST(store.write(batch));
    CHECK(erased.version > first.version && second.version > erased.version);

    const almadia::values found = MUST(store.multi_get({"version/b", "version/none", "version/a"}));
    CHECK(found.version(0) == second.version && found.version(2) == second.version);
    CHECK(found.version(1) == 0 && found.version(3) == 0);
    almadia::scan_options options;
    options.prefix = "version/";
    almadia::iter iter = MUST(MUST(store.open_snapshot()).iterate(options));
    CHECK(iter.version() == 0);
    int seen = 0;
    for (bool on = iter.first(); on; on = iter.next(), seen++) CHECK(iter.version() == second.version);
    CHECK(seen == 2 && iter.version() == 0);
    MUST(iter.check());

    // A batch without operations is a read; reads have no version, and neither has a text of the library.
    CHECK(MUST(store.write(batch)).version == 0);
    CHECK(MUST(store.get_with_position("version/a")).position.version == 0);
    CHECK(MUST(store.metrics()).version() == 0 && almadia::value().version() == 0);
    const almadia::position of_two_fields{7, 3};
    CHECK(of_two_fields.index == 7 && of_two_fields.term == 3 && of_two_fields.version == 0);
}

static void snapshots_do_not_change(const almadia::store &store) {
    MUST(store.put("key", "before"));
    const almadia::snapshot snapshot = MUST(store.open_snapshot());
    const almadia::snapshot clone = MUST(snapshot.clone());
    MUST(store.put("key", "after"));
    CHECK(MUST(clone.get("key"))->view() == "before" && !MUST(clone.get("none")));
    CHECK(clone.index() == snapshot.index() && clone.index() > 0 && clone.term() > 0);
    CHECK(MUST(store.status()).live_snapshots == 1);

    almadia::snapshot_options local;
    local.level = almadia::level::local;
    local.min_index = snapshot.index() + 1;
    local.start = "k";
    local.end = "l";
    const almadia::snapshot later = MUST(store.open_snapshot(local));
    CHECK(MUST(later.get("key"))->str() == "after");
    CHECK(code_of(later.get("z")) == almadia::code::invalid_argument);
    local.end = "a";
    CHECK(code_of(store.open_snapshot(local)) == almadia::code::invalid_argument);
}

static std::string keys_of(almadia::scan_range pairs) {
    std::string keys;
    for (auto [key, value] : pairs) keys += std::string(key) + "=" + std::string(value) + " ";
    MUST(pairs.check());
    return keys;
}

static void scans_show_the_right_pairs(const almadia::store &store) {
    almadia::batch batch;
    for (int number = 100; number < 300; number++) MUST(batch.put("scan/" + std::to_string(number), "x"));
    MUST(store.write(batch));
    const almadia::snapshot snapshot = MUST(store.open_snapshot());

    int next = 100;
    auto pairs = snapshot.scan("scan/");
    for (auto [key, value] : pairs) CHECK(key == "scan/" + std::to_string(next++) && value == "x");
    MUST(pairs.check());
    CHECK(next == 300 && pairs.begin() == pairs.end());

    almadia::scan_options options;
    options.lower = "scan/101";
    options.upper = "scan/104";
    CHECK(keys_of(snapshot.scan(options)) == "scan/101=x scan/102=x scan/103=x ");
    options.order = almadia::order::descending;
    CHECK(keys_of(snapshot.scan(options)) == "scan/103=x scan/102=x scan/101=x ");
    options.prefix = "scan/102";
    CHECK(keys_of(snapshot.scan(options)) == "scan/102=x ");
    CHECK(keys_of(snapshot.scan("nothing")).empty());

    auto counted = snapshot.scan("scan/");
    CHECK(std::count_if(counted.begin(), counted.end(), [](almadia::pair one) { return one.key < "scan/110"; }) == 10);
    int seen = 0;
    auto stopped_early = snapshot.scan("scan/");
    for (auto [key, value] : stopped_early)
        if (++seen == 50 || key.empty()) break;
    CHECK(seen == 50 && (*stopped_early.begin()).key == "scan/149");
#ifdef __cpp_lib_ranges
    static_assert(std::ranges::input_range<almadia::scan_range>);
#endif
}

static void iterators_move_both_ways(const almadia::store &store) {
    MUST(store.put("it1", "one"));
    MUST(store.put("it2", "two"));
    almadia::scan_options options;
    options.prefix = "it";
    almadia::iter iter = MUST(MUST(store.open_snapshot()).iterate(options));
    CHECK(!iter.valid() && iter.key().empty());
    CHECK(iter.first() && iter.key() == "it1" && iter.next() && iter.value() == "two" && iter.prev());
    CHECK(iter.last() && iter.valid() && !iter.next());
    MUST(iter.check());
    CHECK(iter.seek("it15") && iter.key() == "it2" && iter.seek_for_prev("it15") && iter.key() == "it1");
}

static void a_scan_of_an_empty_snapshot_reports_an_error() {
    auto pairs = almadia::snapshot().scan();
    for (auto [key, value] : pairs) CHECK(key != key);
    CHECK(code_of(pairs.check()) == almadia::code::null_pointer);
    auto moved = std::move(pairs);
    CHECK(code_of(moved.check()) == almadia::code::null_pointer);
}

static void a_moved_from_object_is_empty(const std::string &path) {
    almadia::store store = MUST(almadia::store::open(path + "-moved"));
    almadia::store other = std::move(store);
    CHECK(store.c_handle() == nullptr && other.c_handle() != nullptr);
    CHECK(code_of(store.put("k", "v")) == almadia::code::null_pointer);
    CHECK(code_of(store.shutdown({})) == almadia::code::null_pointer);
    CHECK(MUST(store.regions()).empty());
    MUST(other.wait_leader(std::chrono::seconds(10)));
    MUST(other.put("k", "v"));

    almadia::value value = *MUST(other.get("k"));
    const almadia::snapshot snapshot = MUST(other.open_snapshot());
    almadia_store *c = other.release();
    CHECK(other.c_handle() == nullptr);
    store = almadia::store::from_c(c);
    MUST(store.shutdown(std::chrono::seconds(60)));
    CHECK(code_of(store.put("k", "v")) == almadia::code::closed);
    store = almadia::store();
    CHECK(value.view() == "v" && MUST(snapshot.get("k"))->view() == "v");
    value = almadia::value();
    CHECK(value.size() == 0);
}

static void the_status_is_reported(const almadia::store &store) {
    const almadia::status status = MUST(store.status());
    CHECK(status.node_id == 1 && status.leader_id == 1 && status.role == almadia::role::leader);
    CHECK(status.poisoned == almadia::code::ok && status.term > 0 && status.in_flight == 0);
    CHECK(status.commit_index >= status.applied_index && status.last_index >= status.commit_index);
    const std::vector<almadia::region_status> regions = MUST(store.regions());
    CHECK(regions.size() == 1 && regions[0].role == almadia::role::leader && regions[0].leader_id == 1);
    CHECK(regions[0].start_key.empty() && regions[0].end_key.empty() && regions[0].feature_level == 2);

    CHECK(MUST(store.metrics()).view().find("# TYPE almadia_") != std::string_view::npos);
    CHECK(code_of(store.transfer_leader({9})) == almadia::code::invalid_argument);
    almadia::transfer_options to_itself;
    to_itself.target = 1;
    MUST(store.transfer_leader(to_itself));
}

static void several_regions_are_reported(const std::string &path) {
    const almadia::store store =
        MUST(almadia::store::open(path + "-regions", {{"bootstrap.split_keys", "m"}, {"cluster.node_id", "1"}}));
    MUST(store.wait_leader(std::chrono::seconds(10)));
    const std::vector<almadia::region_status> regions = MUST(store.regions());
    CHECK(regions.size() == 2 && regions[0].end_key == "m" && regions[1].start_key == "m");
    almadia::batch across;
    MUST(across.put("a", ""));
    MUST(across.put("z", ""));
    CHECK(code_of(store.write(across)) == almadia::code::batch_across_regions && across.count() == 2);
}

static void events_and_logs_are_reported(const std::string &path) {
    counter leaders, records;
    bool wrong = false;
    const auto on_event = [&](const almadia::store_event &event) {
        wrong = wrong || !on_callback_thread() || event.kind != almadia::store_event_kind::leader_changed;
        if (event.leader_id == 1 && event.region_id > 0 && event.term > 0) leaders.add();
    };
    MUST(almadia::set_log(almadia::log_level::trace,
                          [&](almadia::log_level, std::string_view target, std::string_view message) {
                              CHECK(!target.empty() && !message.empty());
                              CHECK(code_of(almadia::stop_log()) == almadia::code::would_deadlock);
                              records.add();
                          }));
    almadia::config config;
    MUST(config.set_event_callback(on_event));
    almadia::store store = MUST(almadia::store::open(path + "-told", config));
    leaders.wait_for(1);
    records.wait_for(1);
    MUST(almadia::stop_log());
    MUST(almadia::stop_log());
    store = almadia::store();
    CHECK(!wrong);
}

static void results_are_tested_and_taken() {
    almadia::result<std::string> good = std::string("good");
    almadia::result<std::string> bad = almadia::error(almadia::code::locked, "taken");
    CHECK(good && good.has_value() && *good == "good" && good->size() == 4 && good.value() == "good");
    CHECK(good.error().code() == almadia::code::ok && !bad && bad.error().message() == "taken"sv);
    CHECK(std::move(bad).value_or("other") == "other" && std::move(good).value_or("other") == "good");
#ifdef __cpp_exceptions
    bool thrown = false;
    try {
        almadia::result<void>(almadia::error(almadia::code::locked, "taken")).or_throw();
    } catch (const almadia::exception &failure) {
        const almadia::exception copy = failure;
        thrown = copy.what() == "ALMADIA_LOCKED: taken"sv && copy.code() == almadia::code::locked;
        thrown = thrown && copy.error().message() == "taken"sv;
    }
    CHECK(thrown);
    try {
        for (auto [key, value] : almadia::snapshot().scan().checked()) CHECK(key != key);
        UNREACHED("an empty snapshot was scanned");
    } catch (const almadia::exception &failure) {
        CHECK(failure.code() == almadia::code::null_pointer);
    }
#endif
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    the_library_reports_its_version();
    options_are_listed_set_and_read();
    errors_name_what_they_are_about();
    results_are_tested_and_taken();
    a_scan_of_an_empty_snapshot_reports_an_error();
    const almadia::store store = open_single(argv[1]);
    bytes_are_made_from_every_kind_of_buffer(store);
    batches_collect_operations_and_are_written(store);
    operations_are_appended_all_or_none(store);
    many_keys_are_read_at_once(store);
    one_call_has_options_and_a_position(store);
    versions_grow_and_are_the_same_by_every_way(store);
    snapshots_do_not_change(store);
    scans_show_the_right_pairs(store);
    iterators_move_both_ways(store);
    the_status_is_reported(store);
    a_moved_from_object_is_empty(argv[1]);
    several_regions_are_reported(argv[1]);
    events_and_logs_are_reported(argv[1]);
}
