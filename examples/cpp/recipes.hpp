// recipes.hpp - a counter, unique names, documents and a work queue, built from conditional writes and transactions.
//
// Keys and values are those of examples/c/recipes.h and of almadia.recipes in Python, so that programs in C++, C and
// Python share a counter, names, documents and a queue. All keys of one of these belong to one region.
//
// After an unknown outcome each recipe makes the same conditional write again, until it is answered. It cannot be
// applied twice; so when it is refused, all that is left to find out is whether this call has had its effect, or
// another one.
#ifndef RECIPES_HPP
#define RECIPES_HPP

#include <almadia.hpp>
#include <chrono>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

namespace recipes {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using steady = std::chrono::steady_clock;

// Makes a call until its outcome is known; `doubt` tells whether it was not, once. A batch is unchanged after a
// failure.
template <class Call> auto until_known(Call call, bool &doubt) {
    for (;;) {
        auto answer = call();
        if (answer || !(answer.error().maybe_applied() || answer.error().is_retryable())) return answer;
        doubt = doubt || answer.error().maybe_applied();
        std::this_thread::sleep_for(10ms);
    }
}

// Whether a conditional write was applied: false when a condition was false. All other failures are thrown.
template <class Call> bool applied(Call call, bool &doubt) {
    auto answer = until_known(call, doubt);
    if (!answer && answer.error().code() == almadia::code::precondition_failed) return false;
    std::move(answer).or_throw();
    return true;
}

template <class Call> bool applied(Call call) {
    bool doubt = false;
    return applied(call, doubt);
}

// The bytes of a number, the most significant first.
inline std::string big_endian(std::uint64_t number, std::size_t size) {
    std::string bytes(size, '\0');
    for (; size-- > 0; number >>= 8) bytes[size] = static_cast<char>(number & 0xff);
    return bytes;
}

inline std::uint64_t number_of(std::string_view bytes) {
    std::uint64_t number = 0;
    for (char byte : bytes) number = number << 8 | static_cast<unsigned char>(byte);
    return number;
}

// ---------------------------------------------------------------------------------------------------------- the counter

// A number that any member and thread adds to, without a lock.
class counter {
  public:
    counter(const almadia::store &store, std::string key) : store_(store), key_(std::move(key)) {}

    // Adds once for each id of a request, however often and wherever it is called with it.
    void add_once(const std::string &request, std::int64_t delta = 1) const {
        const std::string once = key_ + "/once/" + request;
        almadia::batch batch;
        batch.if_absent(once).or_throw();
        batch.put(once, "").or_throw();
        batch.add(key_, delta).or_throw();
        applied([&] { return store_.write(batch); }); // or else it was counted before
    }

    std::int64_t value() const {
        const std::optional<almadia::value> found = store_.get(key_).or_throw();
        const std::string_view bytes = found ? found->view() : std::string_view();
        return static_cast<std::int64_t>(number_of(std::string(bytes.rbegin(), bytes.rend())));
    }

  private:
    const almadia::store &store_;
    const std::string key_;
};

// ------------------------------------------------------------------------------------------------------------ the names

// Names of which each belongs to one owner: the id of whatever has the name.
class names {
  public:
    names(const almadia::store &store, std::string prefix) : store_(store), prefix_(std::move(prefix)) {}

    // Whether `owner` has the name now; false if another one has it.
    bool reserve(const std::string &name, const std::string &owner) const {
        for (;;) {
            if (applied([&] { return store_.put_if_absent(prefix_ + name, owner); })) return true;
            if (const auto found = store_.get(prefix_ + name).or_throw()) return found->view() == owner;
            // It was released in between.
        }
    }

    // Frees a name if this owner has it. An attempt that is applied late does not free one that was reserved again
    // since.
    bool release(const std::string &name, const std::string &owner) const {
        const auto found = store_.get(prefix_ + name).or_throw();
        if (!found || found->view() != owner) return false;
        return applied([&] { return store_.compare_and_erase(prefix_ + name, found->version()); });
    }

  private:
    const almadia::store &store_;
    const std::string prefix_;
};

// -------------------------------------------------------------------------------------------------------- the documents

// Sets a document to what `change` makes of its text, which is "" for none, and again if somebody else changed it
// meanwhile. It does so once for the key `once`, which the same transaction sets: so the call may be repeated.
template <class Change>
void update_once(const almadia::store &store, const std::string &key, const std::string &once, Change change) {
    almadia::transaction_options options;
    options.key = key;
    bool doubt = false;
    const auto attempt = [&] {
        return store.transact([&](almadia::transaction &transaction) {
            if (transaction.get(once).or_throw()) return;
            const auto text = transaction.get(key).or_throw();
            transaction.put(once, "").or_throw();
            transaction.put(key, change(text ? text->str() : std::string())).or_throw();
        }, options);
    };
    for (;;) {
        almadia::result<void> answer = until_known(attempt, doubt);
        if (answer || answer.error().code() != almadia::code::conflict) return std::move(answer).or_throw();
    }
}

// ------------------------------------------------------------------------------------------------------- the work queue

// A task that a taker has claimed.
struct task {
    std::string id;
    std::string claim; // its token (16 bytes), its timeout in milliseconds (8), how often it was taken (4, big-endian)
    almadia::value payload;
    std::uint64_t attempts = 1;
    milliseconds timeout{};
    steady::time_point mine_until{}; // by the clock of this process: nobody else can have it before
};

// Tasks at waiting/ID or claimed/ID, with what was put at task/(ID+1). No clocks are compared: a claim whose version
// has not changed for its timeout, by the clock of another taker, is taken over on condition that it has this version
// still. Whoever works for longer extends its claim before that. One thread at a time uses a queue, which remembers the
// claims it has seen.
class work_queue {
  public:
    work_queue(const almadia::store &store, std::string prefix) : store_(store), prefix_(std::move(prefix)) {}

    // Puts a task at the end, once for each id of a request.
    void put_once(const std::string &request, almadia::bytes payload) const {
        almadia::batch batch;
        batch.if_absent(prefix_ + "once/" + request).or_throw();
        batch.put(prefix_ + "once/" + request, "").or_throw();
        batch.put_versioned(prefix_ + "waiting/", "").or_throw();
        batch.put_versioned(prefix_ + "task/", payload).or_throw();
        applied([&] { return store_.write(batch); });
    }

    // Claims a task for `timeout`, or nothing if there is none to be had now. Whoever calls it again and again, with
    // the same queue, also finds those whose takers have died. After an exception a task may be claimed until its time
    // is over.
    std::optional<task> take(milliseconds timeout) {
        const steady::time_point before = steady::now();
        std::string end = prefix_;
        end.back()++;
        almadia::snapshot_options options;
        options.start = prefix_;
        options.end = end;
        const almadia::snapshot snapshot = store_.open_snapshot(options).or_throw();
        std::optional<offer> found = abandoned(snapshot, before);
        if (!found) found = waiting(snapshot);
        if (!found) return std::nullopt;
        auto payload = snapshot.get(record(found->id)).or_throw();
        if (!payload) throw almadia::exception(almadia::error(almadia::code::corruption, "a task without a payload"));
        const auto ms = static_cast<std::uint64_t>(timeout.count());
        std::string claimed = token() + big_endian(ms, 8) + big_endian(found->attempts, 4);
        task taken{found->id, std::move(claimed), *std::move(payload), found->attempts, timeout};
        met_ = !claim(*found, taken);
        return met_ ? std::nullopt : std::optional<task>(std::move(taken));
    }

    // Keeps a task for its timeout from now on; false if it is lost. To be called well before it is over.
    bool extend(task &task) const {
        const steady::time_point began = steady::now();
        const std::string key = prefix_ + "claimed/" + task.id;
        if (!applied([&] { return store_.compare_value_and_set(key, task.claim, task.claim); })) return false;
        task.mine_until = began + task.timeout;
        return true;
    }

    // Completes a task together with what `also` writes: once for the task. False if it is lost, or after an unknown
    // outcome if this call has completed it: what `also` wrote tells.
    bool done(const task &task, almadia::batch &also) const {
        also.if_value(prefix_ + "claimed/" + task.id, task.claim).or_throw();
        also.erase(prefix_ + "claimed/" + task.id).or_throw();
        also.erase(record(task.id)).or_throw();
        return applied([&] { return store_.write(also); });
    }

  private:
    // A task that may be taken, if its key still has this version.
    struct offer {
        std::string id, key;
        std::uint64_t version, attempts;
    };

    static constexpr std::size_t heads = 16; // those who met at the first waiting task choose from so many

    // What was put, by the operation behind that of the id.
    std::string record(std::string id) const {
        for (std::size_t at = id.size(); ++id[--at] == '\0';) {}
        return prefix_ + "task/" + id;
    }

    std::string token() {
        std::string bytes;
        for (int part = 0; part < 4; part++) bytes += big_endian(random_(), 4);
        return bytes;
    }

    static std::uint64_t taken(std::string_view value) {
        return value.empty() ? 0 : number_of(value.substr(value.size() - 4));
    }

    // A claim that was the same for its timeout: from after it was first read until before it was last read.
    std::optional<offer> abandoned(const almadia::snapshot &snapshot, steady::time_point before) {
        const std::string prefix = prefix_ + "claimed/";
        std::unordered_map<std::uint64_t, steady::time_point> seen;
        std::optional<offer> found;
        almadia::iter claims = snapshot.iterate({prefix}).or_throw();
        for (bool on = claims.first(); on; on = claims.next()) {
            const auto known = seen_.find(claims.version()); // each version is of one claim only
            const steady::time_point since = known == seen_.end() ? steady::now() : known->second;
            seen[claims.version()] = since;
            const auto timeout = milliseconds(number_of(claims.value().substr(16, 8)));
            if (!found && std::chrono::duration_cast<milliseconds>(before - since) >= timeout)
                found = offer{std::string(claims.key().substr(prefix.size())), std::string(claims.key()), claims.version(),
                              taken(claims.value()) + 1};
        }
        claims.check().or_throw();
        seen_ = std::move(seen);
        return found;
    }

    // The first task that waits, or one of the first if another taker was faster.
    std::optional<offer> waiting(const almadia::snapshot &snapshot) {
        const std::string prefix = prefix_ + "waiting/";
        std::vector<offer> first;
        almadia::iter tasks = snapshot.iterate({prefix}).or_throw();
        for (bool on = tasks.first(); on && first.size() < (met_ ? heads : 1); on = tasks.next())
            first.push_back({std::string(tasks.key().substr(prefix.size())), std::string(tasks.key()), tasks.version(),
                             taken(tasks.value()) + 1});
        tasks.check().or_throw();
        if (first.empty()) return std::nullopt;
        return first[random_() % first.size()];
    }

    bool claim(const offer &seen, task &task) const {
        const std::string key = prefix_ + "claimed/" + task.id;
        almadia::batch batch;
        batch.if_version(seen.key, seen.version).or_throw();
        if (seen.key != key) batch.erase(seen.key).or_throw();
        batch.put(key, task.claim).or_throw();
        task.mine_until = steady::now() + task.timeout;
        bool doubt = false;
        if (applied([&] { return store_.write(batch); }, doubt)) return true;
        return doubt && extend(task); // if this call has claimed it, and nobody since, its claim can be extended
    }

    const almadia::store &store_;
    const std::string prefix_;
    std::unordered_map<std::uint64_t, steady::time_point> seen_{};
    std::random_device random_{};
    bool met_ = false;
};

} // namespace recipes

#endif
