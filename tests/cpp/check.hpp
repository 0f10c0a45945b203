/*
 * check.hpp - shared by all C++ tests: checks that print what failed and where, functions to open a store, and a
 * counter to wait for. It works with and without exceptions, as almadia.hpp does.
 *
 * Each program takes one argument, a path that does not exist yet, where it makes its store. It exits with 0, or prints
 * what was wrong to stderr and exits with 1.
 */
#ifndef CHECK_HPP
#define CHECK_HPP

#include <almadia.hpp>

#include <array>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(...)                                                                                          \
    do {                                                                                                    \
        if (!(__VA_ARGS__)) {                                                                               \
            std::fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #__VA_ARGS__);            \
            std::_Exit(1);                                                                                  \
        }                                                                                                   \
    } while (false)

/* For places that must not be reached. */
#define UNREACHED(happened)                                                                                 \
    do {                                                                                                    \
        std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, happened);                                  \
        std::_Exit(1);                                                                                      \
    } while (false)

/* Checks that a call succeeds, and evaluates to its value. */
#define MUST(...) take((__VA_ARGS__), #__VA_ARGS__, __FILE__, __LINE__)

template <class T> T take(almadia::result<T> answer, const char *call, const char *file, int line) {
    if (!answer) {
        std::fprintf(stderr, "%s:%d: %s: %s: %s\n", file, line, call, answer.error().name(), answer.error().message());
        std::_Exit(1);
    }
    if constexpr (!std::is_void_v<T>) return *std::move(answer);
}

/* The code of a result; code::ok if the call succeeded. */
template <class T> almadia::code code_of(const almadia::result<T> &answer) { return answer.error().code(); }

/* True when a linearizable get of `key` finds `text`. */
inline bool holds(const almadia::store &store, almadia::bytes key, std::string_view text) {
    const std::optional<almadia::value> found = MUST(store.get(key));
    return found.has_value() && found->view() == text;
}

/* Counts what happens on other threads. */
class counter {
  public:
    void add() {
        const std::lock_guard<std::mutex> lock(lock_);
        count_++;
        changed_.notify_all();
    }

    void wait_for(int count) {
        std::unique_lock<std::mutex> lock(lock_);
        changed_.wait(lock, [&] { return count_ >= count; });
    }

  private:
    std::mutex lock_;
    std::condition_variable changed_;
    int count_ = 0;
};

/* True on the thread of the library that runs callables. */
inline bool on_callback_thread() {
    char name[16] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    return std::string_view(name) == "almadia-cb";
}

/* Opens a cluster of one member and waits until it leads. */
inline almadia::store open_single(const std::string &path) {
    almadia::store store = MUST(almadia::store::open(path));
    CHECK(MUST(store.wait_leader(std::chrono::seconds(10))) == 1);
    return store;
}

/*
 * Returns "1=127.0.0.1:...,2=...,3=..." with loopback ports that are reserved until this process ends, by sockets that
 * are bound and never listen. The system does not choose such a port for another socket, but a member can listen on it.
 */
inline std::string reserve_members() {
    std::string members;
    for (int at = 0; at < 3; at++) {
        sockaddr_in address = {};
        socklen_t length = sizeof address;
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        const int reserved = socket(AF_INET, SOCK_STREAM, 0);
        const int on = 1; // the members' sockets set this too; they can share the port only if both do
        CHECK(setsockopt(reserved, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
        CHECK(bind(reserved, reinterpret_cast<sockaddr *>(&address), length) == 0);
        CHECK(getsockname(reserved, reinterpret_cast<sockaddr *>(&address), &length) == 0);
        members += std::to_string(at + 1) + "=127.0.0.1:" + std::to_string(ntohs(address.sin_port));
        if (at < 2) members += ",";
    }
    return members;
}

using members = std::array<almadia::store, 3>;

/* Opens three members of one cluster in this process, and waits until each knows a leader. */
inline members open_members(const std::string &path) {
    const std::string addresses = reserve_members();
    members stores;
    for (std::size_t at = 0; at < stores.size(); at++) {
        const std::string number = std::to_string(at + 1);
        stores[at] = MUST(almadia::store::open(path + "-" + number, {{"cluster.node_id", number},
                                                                     {"cluster.initial_members", addresses},
                                                                     {"raft.election_timeout_ms", "3000"}}));
    }
    for (const almadia::store &store : stores) MUST(store.wait_leader(std::chrono::seconds(30)));
    return stores;
}

#endif // CHECK_HPP
