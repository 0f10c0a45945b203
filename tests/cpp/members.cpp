// members.cpp - a cluster whose members come and go: one becomes three, one of them only learns, and one is removed.
#include "check.hpp"

#include <thread>

static constexpr std::chrono::milliseconds hang(60000);

// The addresses of three members, from "1=host:port,2=...".
static std::array<std::string, 3> addresses_of(std::string_view listed) {
    std::array<std::string, 3> found;
    for (std::string &address : found) {
        const std::size_t end = std::min(listed.find(','), listed.size());
        address = std::string(listed.substr(2, end - 2));
        listed.remove_prefix(std::min(end + 1, listed.size()));
    }
    return found;
}

static almadia::store open_member(const std::string &path, std::uint64_t node, const std::string &address,
                                  const std::string &join, almadia::config config = {}) {
    MUST(config.set("cluster.node_id", node));
    MUST(config.set("transport.announce", address));
    MUST(config.set("cluster.join", join));
    MUST(config.set("raft.election_timeout_ms", "3000"));
    return MUST(almadia::store::open(path + "-" + std::to_string(node), config));
}

static void one_member_lists_itself(const almadia::store &store, const std::string &address) {
    const almadia::member_list list = MUST(store.members());
    CHECK(list.version == 0 && list.unsettled.empty() && list.members.size() == 1);
    const almadia::member &member = list.members[0];
    CHECK(member.node_id == 1 && member.address == address && member.role == almadia::member_role::voter);
    CHECK(member.last_heard == std::chrono::milliseconds(0) && member.version == almadia_version_string());
    CHECK(member.is_live && !member.is_preferred && !member.is_drained && member.settled_regions == 1 && member.led_regions == 1);
    MUST(store.wait_ready(hang));
    MUST(store.change_members({}));
    MUST(store.change_members_future({}, hang).get());
}

static void a_change_that_contradicts_the_list_is_refused(const almadia::store &store) {
    using change = almadia::member_change;
    const std::string with_nul("127.0.0.1:7000\0more", 19);
    const std::pair<change, std::string_view> refused[] = {
        {change::add(1, "127.0.0.1:7000"), "is a member already"},
        {change::add(2, "nowhere"), "nowhere"},
        {change::add(2, with_nul), "7000 more"},
        {change::add(2, "127.0.0.1:7000", static_cast<almadia::member_role>(7)), "role is 7"},
        {change::remove(7), "no member"},
        {change::remove(1), "left to vote"},
        {change::replace(7, 8, "127.0.0.1:7000"), "node 7"},
        {change::promote(7), "node 7"},
        {change::demote(1), "left to vote"},
        {change::move(1, "127.0.0.1:0"), "port 0"},
        {change::prefer(7), "node 7"},
        {change::drain(7), "node 7"},
    };
    for (const auto &[made, reason] : refused) {
        const almadia::result<void> answer = store.change_members({made}, hang);
        CHECK(code_of(answer) == almadia::code::invalid_argument);
        CHECK(std::string_view(answer.error().message()).find(reason) != std::string_view::npos);
    }
    CHECK(MUST(store.members()).version == 0);
}

static void one_becomes_three(const std::string &path, const std::array<std::string, 3> &addresses, members &stores,
                              almadia::config telling) {
    counter done;
    const std::vector<almadia::member_change> changes = {
        almadia::member_change::add(2, addresses[1]),
        almadia::member_change::add(3, addresses[2], almadia::member_role::learner)};
    MUST(stores[0].change_members_async(changes, hang, [&](const almadia::result<void> &changed) {
        CHECK(on_callback_thread() && changed.has_value());
        CHECK(code_of(stores[0].change_members({}, hang)) == almadia::code::would_deadlock);
        CHECK(code_of(stores[0].wait_ready(hang)) == almadia::code::would_deadlock);
        done.add();
    }));
    while (MUST(stores[0].members()).version == 0) std::this_thread::yield();
    for (;;) {
        const std::vector<std::string> waits = MUST(stores[0].members()).unsettled;
        CHECK(waits.size() == 1);
        if (waits[0].find("region 1: node ") == 0) break;
    }
    stores[1] = open_member(path, 2, addresses[1], addresses[0]);
    stores[2] = open_member(path, 3, addresses[2], addresses[0] + "," + addresses[1], std::move(telling));
    for (const almadia::store &store : stores) MUST(store.wait_ready(hang));
    done.wait_for(1);

    MUST(stores[0].put("k", "v", {hang}));
    CHECK(holds(stores[2], "k", "v"));
    const almadia::member_list list = MUST(stores[2].members());
    CHECK(list.version > 0 && list.members.size() == 3 && list.members[2].address == addresses[2]);
    CHECK(list.members[1].role == almadia::member_role::voter);
    while (MUST(stores[2].members()).members[0].version != almadia_version_string()) std::this_thread::yield();
    CHECK(MUST(stores[2].members()).members[0].last_heard < hang);
    CHECK(list.members[2].role == almadia::member_role::learner);
}

// Asked through a queue, and told by an event.
static void one_is_removed(const members &stores, counter &removed) {
    almadia::completion_queue queue = MUST(almadia::completion_queue::make());
    bool is_done = false;
    MUST(stores[1].on(queue).change_members_async({almadia::member_change::remove(3)}, hang,
                                                  [&](const almadia::result<void> &changed) {
                                                      MUST(changed);
                                                      is_done = true;
                                                  }));
    while (!is_done) MUST(queue.run_some(std::chrono::seconds(1)));
    removed.wait_for(1);

    CHECK(MUST(stores[0].members()).members.size() == 2);
    CHECK(code_of(stores[2].put("k", "v")) == almadia::code::removed);
    CHECK(code_of(stores[2].wait_ready(hang)) == almadia::code::removed);
    CHECK(code_of(stores[2].change_members_future({}).get()) == almadia::code::removed);
    MUST(stores[1].put("k", "w", {hang}));
    CHECK(holds(stores[0], "k", "w"));
}

int main(int argc, char **argv) {
    CHECK(argc == 2);
    const std::array<std::string, 3> addresses = addresses_of(reserve_members());
    counter removed;
    const auto on_event = [&](const almadia::store_event &event) {
        if (event.kind != almadia::store_event_kind::removed) return;
        CHECK(event.node_id == 3 && event.code == almadia::code::ok && event.region_id == 0);
        removed.add();
    };
    almadia::config telling;
    MUST(telling.set_event_callback(on_event));
    members stores;
    stores[0] = open_member(argv[1], 1, addresses[0], "");
    MUST(stores[0].wait_leader(hang));
    one_member_lists_itself(stores[0], addresses[0]);
    a_change_that_contradicts_the_list_is_refused(stores[0]);
    one_becomes_three(argv[1], addresses, stores, std::move(telling));
    one_is_removed(stores, removed);
    for (almadia::store &store : stores) MUST(store.shutdown(hang));
}
