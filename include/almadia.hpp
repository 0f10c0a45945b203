/*
 * almadia.hpp - Almadia for C++17 and later: a replicated, ordered key-value store that you link into your program.
 * Header only, over almadia.h. All you need is here; examples/cpp/hello.cpp and member.cpp are whole programs.
 *
 *   almadia::store store = almadia::store::open("/var/lib/demo", {{"cluster.node_id", "1"}}).or_throw();
 *   store.wait_leader(std::chrono::seconds(10)).or_throw();
 *   store.put("greeting", "hello").or_throw();
 *   std::optional<almadia::value> greeting = store.get("greeting").or_throw();
 *
 * A CLUSTER is three programs (or three stores of one) that open directories of their own with the same
 *   "cluster.initial_members", "1=host:port,2=host:port,3=host:port", and each its own "cluster.node_id". Every member
 *   accepts writes and serves reads that show all that any member acknowledged. options() lists every other option.
 *   Members are added, replaced and removed while the cluster serves: store::members and store::change_members.
 * RESULTS. A function that can fail returns a result<T>, which must be checked: test it, then use *r or r.error(); or
 *   append .or_throw() to the call, which gives the T or throws almadia::exception (not with -fno-exceptions). Nothing
 *   else here throws except std::bad_alloc. A missing key is no error: std::optional<value> is empty.
 * WAS IT APPLIED? error().maybe_applied() is true when a write that failed may have been applied, or may still be, at
 *   any later time: a read that shows the write settles the question, a read that does not settles nothing. So make it
 *   harmless to repeat a write. Only a deadline, a cancellation, a shutdown or failure of the store, or a transfer of
 *   state to a member that is far behind leaves that open; a change of leader does not. Otherwise it certainly was not applied, and error().is_retryable() says whether to try
 *   again.
 * OWNERSHIP. config, batch, store, snapshot, transaction, value, values, iter and completion_queue are move-only handles,
 *   each the size of a pointer; their destructors free and never throw. What you pass in is copied before the call returns. A
 *   handle may outlive the one it came from; values, iterators and snapshots pin memory, and keep the directory
 *   locked, until they are gone. A moved-from handle may be destroyed and assigned to; a call on it returns
 *   code::null_pointer. A string_view of a value, of a pair or of a region belongs to it: keep that alive.
 * BYTES are passed as `bytes`, made from string_view, std::string, const char * (up to its NUL), span or vector of
 *   std::byte, char or unsigned char. They may contain NULs and may be empty.
 * TOGETHER. store.transact(f) runs f(transaction &), which reads and writes as if nothing else happened in between, and
 *   commits, again until nothing that f has read was changed meanwhile.
 * THREADS. store, snapshot, value, values and completion_queue may be used by any number of threads at once; config,
 *   batch, transaction, iter and scan_range by one at a time. "Blocks: yes" waits, always with a deadline, and returns
 *   code::would_deadlock inside a callable. Where nothing is said, a function does not block.
 * ASYNC. put_async(key, value, f) calls f(result<position>) exactly once if it returned success, and never otherwise.
 *   f runs on the library's thread "almadia-cb", must return soon, and may call what does not block and destroy
 *   handles, even the store. put_future gives a std::future. co_await store.put_async(key, value) (C++20) resumes on
 *   "almadia-cb", where the rules of f apply to the coroutine, unless .resume_on(executor) moves it elsewhere.
 *   store.on(queue).put_async(...) does the same on your own threads, in completion_queue::run_some; the queue has a
 *   descriptor for your event loop. store.cancel cancels a call.
 *   An exception that leaves f goes to the function of set_uncaught, which ends the program unless you set another.
 * AFTER store::shutdown no callable runs and calls return code::closed, unless it failed with code::shutting_down.
 *   ~store does not wait for calls in flight: they fail with code::shutdown_in_flight or code::closed. ~store blocks
 *   until threads have ended, for five seconds at most; inside a callable it does not.
 * FORK. In a child process handles return code::forked and their destructors do nothing. Fork first or close all first.
 * COMPILING. Works with -fno-exceptions -fno-rtti; then value() of a failure calls std::abort. The inline namespace
 *   carries the version and the mode, so that objects compiled against two of them can be linked into one program.
 */
#ifndef ALMADIA_HPP
#define ALMADIA_HPP

#include <algorithm>
#include <array>
#include <atomic>
#include <cassert>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <future>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__has_include) && __has_include(<version>)
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif
#ifdef __cpp_impl_coroutine
#include <coroutine>
#endif

#include "almadia.h"

namespace almadia {
#ifdef __cpp_exceptions
inline namespace v0_1 {
#else
inline namespace v0_1_noexceptions {
#endif
static_assert(ALMADIA_VERSION_MAJOR == 0 && ALMADIA_VERSION_MINOR == 1, "the namespace above names the version");

/* ------------------------------------------------------------------------------------------------------- answers */

/** Why a call failed. Later versions add codes; judge one that you do not know by its category, the number / 100. */
enum class code : almadia_code {
    /** Success. */
    ok = ALMADIA_OK,
    /** An argument is outside its documented range. */
    invalid_argument = ALMADIA_INVALID_ARGUMENT,
    /** A pointer that must not be NULL is NULL. */
    null_pointer = ALMADIA_NULL_POINTER,
    /** A configuration option is unknown, malformed or contradicts another. */
    invalid_config = ALMADIA_INVALID_CONFIG,
    /** The program was compiled against a header of another ABI version. */
    abi_mismatch = ALMADIA_ABI_MISMATCH,
    /** The buffer is smaller than the value; the needed length was written. */
    buffer_too_small = ALMADIA_BUFFER_TOO_SMALL,
    /** A blocking call inside a completion callback; use the _async form. */
    would_deadlock = ALMADIA_WOULD_DEADLOCK,
    /** This version does not offer what was asked. */
    unsupported = ALMADIA_UNSUPPORTED,
    /** A key, value or batch is larger than its limit. */
    too_large = ALMADIA_TOO_LARGE,
    /** The batch touches keys of more than one region; split it at the region boundary. */
    batch_across_regions = ALMADIA_BATCH_ACROSS_REGIONS,
    /** The key does not exist. */
    not_found = ALMADIA_NOT_FOUND,
    /** A condition of the batch was false; it was not applied. */
    precondition_failed = ALMADIA_PRECONDITION_FAILED,
    /** What the transaction had read was changed before its commit; it was not applied, begin it again. */
    conflict = ALMADIA_CONFLICT,
    /** The iteration is at its end. */
    end = ALMADIA_END,
    /** Add: the value is not a number of 8 bytes, or the sum does not fit into one; the batch was not applied. */
    not_a_number = ALMADIA_NOT_A_NUMBER,
    /** This member does not lead the region; ask the leader. */
    not_leader = ALMADIA_NOT_LEADER,
    /** No leader before the deadline, nothing was done; retry when a majority of the members is up and reachable. */
    no_leader = ALMADIA_NO_LEADER,
    /** A local queue is full; retry after some completions. */
    overloaded = ALMADIA_OVERLOADED,
    /** A leader transfer is under way; retry when it has ended. */
    transfer_in_progress = ALMADIA_TRANSFER_IN_PROGRESS,
    /** The target of the transfer is too far behind; retry when it has caught up. */
    lagging = ALMADIA_LAGGING,
    /** The deadline passed before the write entered the log; it was not applied, retry. */
    deadline_before_start = ALMADIA_DEADLINE_BEFORE_START,
    /** The region's key range changed meanwhile; it was not applied, retry. */
    region_changed = ALMADIA_REGION_CHANGED,
    /** The deadline passed while the write was in flight; it may be applied, now or later. */
    timeout = ALMADIA_TIMEOUT,
    /** The write was cancelled while it was in flight; it may be applied, now or later. */
    cancelled_in_flight = ALMADIA_CANCELLED_IN_FLIGHT,
    /** The store was shut down while the write was in flight; it may be applied, now or later. */
    shutdown_in_flight = ALMADIA_SHUTDOWN_IN_FLIGHT,
    /** The store failed while the write was in flight; it may be applied, now or later. */
    failed_in_flight = ALMADIA_FAILED_IN_FLIGHT,
    /** This member was far behind and took over another one's data while the write was in flight; it may be applied, or not. */
    skipped_in_flight = ALMADIA_SKIPPED_IN_FLIGHT,
    /** The store, or the completion queue, is shut down. */
    closed = ALMADIA_CLOSED,
    /** The call was cancelled before it had any effect. */
    cancelled = ALMADIA_CANCELLED,
    /** The store accepts no more calls, but its threads have not ended in time; shut it down again to wait for them. */
    shutting_down = ALMADIA_SHUTTING_DOWN,
    /** A parent process had a store open when it forked; close it before, fork first, or exec. */
    forked = ALMADIA_FORKED,
    /** This member was removed from its cluster; its number is not used again: start another member under a new number. */
    removed = ALMADIA_REMOVED,
    /** The deadline passed before the read was confirmed; retry. */
    read_timeout = ALMADIA_READ_TIMEOUT,
    /** The operating system reported an error. */
    io = ALMADIA_IO,
    /** The disk is full. */
    no_space = ALMADIA_NO_SPACE,
    /** Another process or store has the directory open. */
    locked = ALMADIA_LOCKED,
    /** The operating system refused access. */
    permission = ALMADIA_PERMISSION,
    /** The network address cannot be used. */
    network = ALMADIA_NETWORK,
    /** Stored data is damaged. */
    corruption = ALMADIA_CORRUPTION,
    /** The directory was written by a newer version. */
    incompatible_format = ALMADIA_INCOMPATIBLE_FORMAT,
    /** The directory belongs to another cluster or member. */
    wrong_cluster = ALMADIA_WRONG_CLUSTER,
    /** A bug in Almadia. */
    internal = ALMADIA_INTERNAL,
    /** A bug in Almadia: a panic was caught. */
    panic = ALMADIA_PANIC,
    /** The store stopped after an earlier error; close it and open it again. */
    poisoned = ALMADIA_POISONED,
};

/** The name of a code in C, such as "ALMADIA_NOT_FOUND". Static. */
inline const char *code_name(code of) noexcept { return almadia_code_name(static_cast<almadia_code>(of)); }

/** What a code means and what to do about it. Static. */
inline const char *code_message(code of) noexcept { return almadia_code_message(static_cast<almadia_code>(of)); }

/** A condition that was false, and what its key was like where the write was judged. */
struct precondition {
    /** The number of the operation in its batch, from 0; conditions count. */
    std::uint64_t operation = 0;
    /** True when its key existed. */
    bool exists = false;
    /** The version that its key had; 0 when it did not exist. */
    std::uint64_t version = 0;
};

/** What a transaction had read, and another write changed before its commit. */
struct conflict {
    /** False: it is `key`. True: it is one of the keys from `key` to `end`, over which the transaction had iterated. */
    bool is_range = false;
    /** The key, which was set or removed, or the first one of the range. */
    std::string key = {};
    /** The first key after the range, in which a key was set, removed or added; empty for the end of all keys. */
    std::string end = {};
};

/**
 * Why a call failed: a code, and a message that says what it was about and what to do. A value type: copy it, keep it.
 * A default-constructed one, and the error of a result that succeeded, has code::ok.
 */
class error {
  public:
    error() noexcept = default;

    /** An error of your own, such as a callable may want to pass on; without a text it says what the code means. */
    explicit error(almadia::code code, std::string message = {}) noexcept : code_(code), message_(std::move(message)) {}

    /** What failed; code::ok when nothing did. */
    almadia::code code() const noexcept { return code_; }

    /** The name of the code, such as "ALMADIA_LOCKED". Static. */
    const char *name() const noexcept { return code_name(code_); }

    /** What happened, to what, and what to do about it, in English. It belongs to the error. */
    const char *message() const noexcept { return message_.empty() ? code_message(code_) : message_.c_str(); }

    /** The number of the leading member, when the error knows it (code::not_leader); otherwise 0. */
    std::uint64_t leader() const noexcept { return leader_; }

    /** The errno of the operating system's error behind this one; 0 when there is none. */
    int system_errno() const noexcept { return system_errno_; }

    /** The condition that was false (code::precondition_failed), or the addition that could not be done. */
    std::optional<almadia::precondition> precondition() const noexcept { return precondition_; }

    /** What was changed that the transaction had read (code::conflict). It belongs to the error. */
    const std::optional<almadia::conflict> &conflict() const noexcept { return conflict_; }

    /** True when the call was certainly not applied and can succeed later or on another member. */
    bool is_retryable() const noexcept { return almadia_code_is_retryable(static_cast<almadia_code>(code_)); }

    /** True when the write may have been applied, or may still be, at any later time. */
    bool maybe_applied() const noexcept { return almadia_code_maybe_applied(static_cast<almadia_code>(code_)); }

    /**
     * What the C function returned: its code, and the details of `detail`, which stays the caller's and may be NULL.
     */
    static error from_c(almadia_code code, const almadia_error *detail) {
        error made(static_cast<almadia::code>(code));
        if (detail != nullptr) {
            made.message_ = almadia_error_message(detail);
            made.leader_ = almadia_error_leader(detail);
            made.system_errno_ = almadia_error_errno(detail);
            almadia_precondition found = ALMADIA_PRECONDITION_INIT;
            if (almadia_error_precondition(detail, &found) == ALMADIA_OK)
                made.precondition_ = almadia::precondition{found.operation, found.exists != 0, found.version};
            almadia_conflict changed = ALMADIA_CONFLICT_INIT;
            if (almadia_error_conflict(detail, &changed) == ALMADIA_OK)
                made.conflict_ = almadia::conflict{changed.is_range != 0, text_of(changed.key), text_of(changed.end)};
        }
        return made;
    }

  private:
    static std::string text_of(almadia_slice slice) {
        return slice.size == 0 ? std::string() : std::string(static_cast<const char *>(slice.data), slice.size);
    }

    almadia::code code_ = almadia::code::ok;
    int system_errno_ = 0;
    std::uint64_t leader_ = 0;
    std::string message_{};
    std::optional<almadia::precondition> precondition_{};
    std::optional<almadia::conflict> conflict_{};
};

#ifdef __cpp_exceptions
/** What or_throw() and value() throw. Cheap to copy. */
class exception : public std::exception {
  public:
    /** Wraps an error. */
    explicit exception(almadia::error why)
        : error_(std::make_shared<const almadia::error>(std::move(why))),
          what_(std::make_shared<const std::string>(std::string(error_->name()) + ": " + error_->message())) {}

    /** Name and message, such as "ALMADIA_LOCKED: ...". */
    const char *what() const noexcept override { return what_->c_str(); }

    /** What failed. */
    almadia::code code() const noexcept { return error_->code(); }

    /** The whole error. It belongs to the exception. */
    const almadia::error &error() const noexcept { return *error_; }

  private:
    std::shared_ptr<const almadia::error> error_;
    std::shared_ptr<const std::string> what_;
};
#endif

namespace detail {

/* Ends a call of value() on a failure: with exceptions as an exception, otherwise with the program. */
[[noreturn]] inline void fail([[maybe_unused]] error why) {
#ifdef __cpp_exceptions
    throw exception(std::move(why));
#else
    std::abort();
#endif
}

} // namespace detail

/**
 * A T, or the error that explains why there is none; like std::expected<T, error>. Must not be ignored. One thread at a
 * time.
 */
template <class T> class [[nodiscard]] result {
  public:
    /** A success. */
    result(T value) : value_(std::move(value)) {}

    /** A failure; `why` must not have code::ok. */
    result(almadia::error why) noexcept : error_(std::move(why)) { assert(error_.code() != code::ok); }

    /** True when there is a T. */
    bool has_value() const noexcept { return value_.has_value(); }

    /** True when there is a T. */
    explicit operator bool() const noexcept { return value_.has_value(); }

    /** The T. There must be one: test first. */
    T &operator*() & noexcept { return *value_; }
    /** The T. There must be one: test first. */
    const T &operator*() const & noexcept { return *value_; }
    /** The T. There must be one: test first. */
    T &&operator*() && noexcept { return *std::move(value_); }

    /** A member of the T. There must be one: test first. */
    T *operator->() noexcept { return &*value_; }
    /** A member of the T. There must be one: test first. */
    const T *operator->() const noexcept { return &*value_; }

    /** The T; a failure is thrown as almadia::exception, or ends the program where exceptions are off. */
    T &value() & { return has_value() ? *value_ : (detail::fail(error_), *value_); }
    /** The T; a failure is thrown as almadia::exception, or ends the program where exceptions are off. */
    const T &value() const & { return has_value() ? *value_ : (detail::fail(error_), *value_); }
    /** The T; a failure is thrown as almadia::exception, or ends the program where exceptions are off. */
    T value() && {
        if (!has_value()) detail::fail(std::move(error_));
        return *std::move(value_);
    }

    /** The T, or `other` after a failure. */
    T value_or(T other) && { return has_value() ? *std::move(value_) : std::move(other); }

    /** Why there is no T; an error with code::ok when there is one. */
    const almadia::error &error() const & noexcept { return error_; }
    /** Why there is no T; an error with code::ok when there is one. */
    almadia::error error() && noexcept { return std::move(error_); }

#ifdef __cpp_exceptions
    /** The T, or the failure thrown as almadia::exception: the throwing form of every call here. */
    T or_throw() && { return std::move(*this).value(); }
#endif

  private:
    std::optional<T> value_{};
    almadia::error error_{};
};

/** Success, or the error. Must not be ignored. One thread at a time. */
template <> class [[nodiscard]] result<void> {
  public:
    /** A success. */
    result() noexcept = default;

    /** A failure; `why` must not have code::ok. */
    result(almadia::error why) noexcept : error_(std::move(why)) { assert(error_.code() != code::ok); }

    /** True when it succeeded. */
    bool has_value() const noexcept { return error_.code() == code::ok; }

    /** True when it succeeded. */
    explicit operator bool() const noexcept { return has_value(); }

    /** Nothing; a failure is thrown as almadia::exception, or ends the program where exceptions are off. */
    void value() const {
        if (!has_value()) detail::fail(error_);
    }

    /** Why it failed; an error with code::ok when it succeeded. */
    const almadia::error &error() const & noexcept { return error_; }
    /** Why it failed; an error with code::ok when it succeeded. */
    almadia::error error() && noexcept { return std::move(error_); }

#ifdef __cpp_exceptions
    /** Nothing, or the failure thrown as almadia::exception: the throwing form of every call here. */
    void or_throw() && { value(); }
#endif

  private:
    almadia::error error_{};
};

/** What set_uncaught takes. `thrown` is the exception; empty where exceptions are off, which is never. */
using uncaught_function = void (*)(std::exception_ptr thrown);

namespace detail {

[[noreturn]] inline void terminate_on_uncaught(std::exception_ptr) { std::terminate(); }

inline std::atomic<uncaught_function> &uncaught() noexcept {
    static std::atomic<uncaught_function> function{terminate_on_uncaught};
    return function;
}

/* Runs what the user gave us. Nothing may be thrown through the library's frames, so an exception ends here. */
template <class Run> void contain(Run &&run) noexcept {
#ifdef __cpp_exceptions
    try {
        run();
    } catch (...) {
        uncaught().load()(std::current_exception());
    }
#else
    run();
#endif
}

} // namespace detail

/**
 * Sets what happens to an exception that leaves a callable or a coroutine called by the library: `function` is called
 * with it on the same thread, and must not throw. By default, and with nullptr, that is std::terminate, because an
 * exception that nobody sees is a completion that nobody handled. It applies to the whole program; returns the previous
 * function. Threads: any.
 */
inline uncaught_function set_uncaught(uncaught_function function) noexcept {
    return detail::uncaught().exchange(function == nullptr ? detail::terminate_on_uncaught : function);
}

/* --------------------------------------------------------------------------------------------------------- bytes */

namespace detail {

template <class Byte>
inline constexpr bool is_byte = std::is_same_v<Byte, std::byte> || std::is_same_v<Byte, unsigned char> ||
                                std::is_same_v<Byte, char>;

template <class T, class = void> inline constexpr bool is_byte_range = false;
template <class T>
inline constexpr bool is_byte_range<T, std::void_t<decltype(std::declval<const T &>().data()),
                                                   decltype(std::declval<const T &>().size())>> =
    is_byte<std::remove_cv_t<std::remove_pointer_t<decltype(std::declval<const T &>().data())>>>;

template <class T> inline constexpr bool is_text = std::is_convertible_v<const T &, std::string_view>;

} // namespace detail

/**
 * Bytes that somebody else owns: what keys and values are passed as. For parameters only. A const char * ends at its
 * NUL; for literals with NULs write "a\0b"sv.
 */
class bytes {
  public:
    /** No bytes. */
    constexpr bytes() noexcept = default;

    /** `size` bytes from `data`; `data` may be nullptr when `size` is 0. */
    constexpr bytes(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}

    /** From a text: std::string_view, std::string, const char *. */
    template <class T, std::enable_if_t<detail::is_text<T>, int> = 0> constexpr bytes(const T &text) noexcept {
        const std::string_view view = text;
        data_ = view.data();
        size_ = view.size();
    }

    /**
     * From what has data() and size() of std::byte, char or unsigned char: std::span, std::vector, std::array, value.
     */
    template <class T, std::enable_if_t<!detail::is_text<T> && detail::is_byte_range<T>, int> = 0>
    constexpr bytes(const T &range) noexcept : data_(range.data()), size_(range.size()) {}

    /** The first byte. */
    constexpr const void *data() const noexcept { return data_; }

    /** The number of bytes. */
    constexpr std::size_t size() const noexcept { return size_; }

  private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

/**
 * The keys of a multi_get: {"a", "b"}, or any range of what `bytes` is made from. For parameters only; it borrows the
 * keys.
 */
class keys {
  public:
    /** From a list. */
    keys(std::initializer_list<bytes> list) { add(list); }

    /** From a range, such as std::vector<std::string>. */
    template <class Range, class = decltype(std::begin(std::declval<const Range &>())),
              std::enable_if_t<!detail::is_text<Range> && !detail::is_byte_range<Range>, int> = 0>
    keys(const Range &range) {
        add(range);
    }

    /** As the C interface takes them. */
    const almadia_slice *data() const noexcept { return slices_.data(); }

    /** The number of keys. */
    std::size_t size() const noexcept { return slices_.size(); }

  private:
    template <class Range> void add(const Range &range) {
        for (const auto &key : range) {
            const bytes one(key);
            slices_.push_back({one.data(), one.size()});
        }
    }

    std::vector<almadia_slice> slices_{};
};

namespace detail {

inline std::string_view view_of(almadia_slice slice) noexcept {
    return {static_cast<const char *>(slice.data), slice.size};
}

/* Takes the error of a C call, which is ours to free. */
inline error take_error(almadia_code code, almadia_error *detail) {
    const std::unique_ptr<almadia_error, decltype(&almadia_error_free)> owned(detail, almadia_error_free);
    return error::from_c(code, owned.get());
}

/* Calls a C function that only succeeds or fails; `call` gets where the error goes. */
template <class Call> result<void> attempt(Call &&call) {
    almadia_error *detail = nullptr;
    const almadia_code code = call(&detail);
    if (code == ALMADIA_OK) return {};
    return take_error(code, detail);
}

/* Calls a C function that makes a handle; `call` gets where it goes and where the error goes. */
template <class Handle, class Call> result<Handle> make(Call &&call) {
    typename Handle::c_type *made = nullptr;
    almadia_error *detail = nullptr;
    const almadia_code code = call(&made, &detail);
    if (code == ALMADIA_OK) return Handle::from_c(made);
    return take_error(code, detail);
}

/* Calls a C function that makes a handle, or answers that the key does not exist. */
template <class Handle, class Call> result<std::optional<Handle>> find(Call &&call) {
    typename Handle::c_type *made = nullptr;
    almadia_error *detail = nullptr;
    const almadia_code code = call(&made, &detail);
    if (code == ALMADIA_OK) return std::optional<Handle>(Handle::from_c(made));
    if (code == ALMADIA_NOT_FOUND) return std::optional<Handle>();
    return take_error(code, detail);
}

/* In C the default is 0; what is already past still has to be answered, so it becomes the shortest time there is. */
inline std::uint64_t timeout_ms(std::chrono::milliseconds timeout) noexcept {
    return timeout.count() < 0 ? 1 : static_cast<std::uint64_t>(timeout.count());
}

} // namespace detail

/**
 * What every handle is: one pointer to an object of the library, which the destructor frees. Moves, does not copy.
 * Empty after a move and by default.
 */
template <class T, void (*Free)(T *)> class handle {
  public:
    /** Its type in C. */
    using c_type = T;

    /** Empty. */
    constexpr handle() noexcept = default;
    handle(handle &&other) noexcept : pointer_(std::exchange(other.pointer_, nullptr)) {}
    handle &operator=(handle &&other) noexcept {
        if (this != &other) Free(std::exchange(pointer_, std::exchange(other.pointer_, nullptr)));
        return *this;
    }
    handle(const handle &) = delete;
    handle &operator=(const handle &) = delete;
    ~handle() { Free(pointer_); }

    /** The handle of the C interface; it still belongs to this object. nullptr when empty. */
    T *c_handle() const noexcept { return pointer_; }

    /** Releases the handle of the C interface; free it with its _free. Empty afterwards. */
    [[nodiscard]] T *release() noexcept { return std::exchange(pointer_, nullptr); }

  protected:
    explicit handle(T *pointer) noexcept : pointer_(pointer) {}
    T *pointer_ = nullptr;
};

/* --------------------------------------------------------------------------------------------------- configuration */

/** One option of a store. All texts are static. */
struct option {
    /** The name that config::set takes. */
    std::string_view name;
    /** The values that it takes: "text", "true or false", or a range such as "5 to 10000". */
    std::string_view type_text;
    /** The value that it has unless it is set. */
    std::string_view default_value;
    /** What it does, and its unit. */
    std::string_view doc;
};

/** All options. Threads: any. */
inline std::vector<option> options() {
    std::vector<option> all;
    almadia_option one = ALMADIA_OPTION_INIT;
    for (std::size_t index = 0; almadia_config_option_at(index, &one) == ALMADIA_OK; index++)
        all.push_back({one.name, one.type_text, one.default_value, one.doc});
    return all;
}

/** The version of the running library, such as "0.1.0"; ALMADIA_VERSION_STRING is that of the header. Static. */
inline const char *version_string() noexcept { return almadia_version_string(); }

/** The version of the running library as major * 1000000 + minor * 1000 + patch; see ALMADIA_VERSION_NUMBER. */
inline std::uint32_t version_number() noexcept { return almadia_version_number(); }

/** How serious a log record is. */
enum class log_level : almadia_log_level {
    /** Something failed. A store that stops says why. */
    error = ALMADIA_LOG_ERROR,
    /** Something is wrong, and the library deals with it by itself. */
    warn = ALMADIA_LOG_WARN,
    /** What an operator wants to know. */
    info = ALMADIA_LOG_INFO,
    /** What helps to debug a cluster: elections, connections. */
    debug = ALMADIA_LOG_DEBUG,
    /** Everything. */
    trace = ALMADIA_LOG_TRACE,
};

namespace detail {

/* The callable of set_log; the one in use is reachable here and never freed at exit, when the library may still log. */
struct log_sink {
    virtual void write(log_level level, std::string_view target, std::string_view message) = 0;
    virtual ~log_sink() = default;
};

template <class F> struct log_to final : log_sink {
    explicit log_to(F &&f) : function(std::move(f)) {}
    void write(log_level level, std::string_view target, std::string_view message) override {
        function(level, target, message);
    }
    F function;
};

struct log_state {
    std::mutex lock{};
    log_sink *sink = nullptr;
};

inline log_state &logging() {
    static log_state *const state = new log_state;
    return *state;
}

inline bool &inside_log() noexcept {
    static thread_local bool inside = false;
    return inside;
}

inline void log(void *user, almadia_log_level level, const char *target, const char *message) {
    inside_log() = true;
    contain([&] { static_cast<log_sink *>(user)->write(static_cast<log_level>(level), target, message); });
    inside_log() = false;
}

inline result<void> replace_log(std::unique_ptr<log_sink> sink, log_level level) {
    if (inside_log()) return error(code::would_deadlock, "the log cannot be set by a function that is called for a record");
    const std::lock_guard<std::mutex> locked(logging().lock);
    result<void> set = attempt([&](almadia_error **e) {
        return almadia_log_set_callback(sink == nullptr ? nullptr : log, sink.get(), static_cast<almadia_log_level>(level),
                                        e);
    });
    if (set) {
        delete logging().sink;
        logging().sink = sink.release();
    }
    return set;
}

} // namespace detail

/**
 * Sends the log records of the whole library, in this process, to f(log_level, std::string_view target,
 * std::string_view message) from now on, on the thread "almadia-log". It replaces the previous function, which is not
 * running when this returns. `level` is the least serious level that you want. f may block, at the cost of records.
 * Blocks: yes, for a record that is being written. Threads: any. Codes: would_deadlock (inside f), io, unsupported.
 */
template <class F> result<void> set_log(log_level level, F &&f) {
    return detail::replace_log(std::make_unique<detail::log_to<std::decay_t<F>>>(std::decay_t<F>(std::forward<F>(f))),
                               level);
}

/** Undoes set_log. Blocks, threads and codes: as set_log. */
inline result<void> stop_log() { return detail::replace_log(nullptr, log_level::error); }

/** What happened to a store. Later versions add some: ignore those that you do not know. */
enum class store_event_kind : almadia_store_event_kind {
    /** The leader of the region has changed, as far as this member knows. */
    leader_changed = ALMADIA_STORE_EVENT_LEADER_CHANGED,
    /** The store stopped working, for the reason `code`. */
    poisoned = ALMADIA_STORE_EVENT_POISONED,
    /** This member, as a leader, has sent node_id a raft snapshot, or failed to: see is_delivered. */
    raft_snapshot_sent = ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_SENT,
    /** The data of a raft snapshot from node_id have become those of the region on this member. */
    raft_snapshot_installed = ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_INSTALLED,
    /** This member, node_id, was removed from its cluster, for good: its store returns code::removed from now on. */
    removed = ALMADIA_STORE_EVENT_REMOVED,
};

/**
 * One event of a store: the newest state. Of several changes while the function is busy, it may report only the last.
 */
struct store_event {
    /** What happened. */
    store_event_kind kind;
    /** Why, for poisoned; otherwise code::ok. */
    almadia::code code;
    /** The region; 0 for poisoned and removed. */
    std::uint64_t region_id;
    /** The number of the leading member, for leader_changed; 0 while no leader is known. */
    std::uint64_t leader_id;
    /** The raft term, for leader_changed. */
    std::uint64_t term;
    /**
     * The other member, for a raft snapshot; 0 when one was installed that came before the store was opened. This member,
     * for removed.
     */
    std::uint64_t node_id;
    /** Up to here the region's log is in the raft snapshot. */
    std::uint64_t index;
    /** Whether the other member has all of it, for raft_snapshot_sent. If not, it is tried again. */
    bool is_delivered;
};

/**
 * The options of a store that is still to be opened. By default each has its default: a cluster of this member alone.
 * Threads: one at a time.
 */
class config : public handle<almadia_config, almadia_config_free> {
  public:
    config() noexcept = default;

    /** Takes over a handle of the C interface. */
    static config from_c(almadia_config *pointer) noexcept { return config(pointer); }

    /**
     * Sets one option; options() lists them. Whether options agree with each other is checked by open(). Codes:
     * invalid_config (unknown, malformed or out of range: the message names the option and shows the right form),
     * invalid_argument (not UTF-8, or with a NUL), abi_mismatch (another version of the library runs).
     */
    result<void> set(const std::string &name, const std::string &value) {
        if (name.find('\0') != std::string::npos || value.find('\0') != std::string::npos)
            return error(code::invalid_argument, "the name or value of an option contains a NUL: " + name);
        if (result<void> made = materialize(); !made) return made;
        return detail::attempt([&](almadia_error **e) {
            return almadia_config_set(pointer_, name.c_str(), value.c_str(), e);
        });
    }

    /** Sets one option to a number or to true or false. Codes: as above. */
    template <class T, std::enable_if_t<std::is_arithmetic_v<T> && !std::is_same_v<T, char>, int> = 0>
    result<void> set(const std::string &name, T value) {
        if constexpr (std::is_same_v<T, bool>)
            return set(name, std::string(value ? "true" : "false"));
        else
            return set(name, std::to_string(value));
    }

    /** The value of one option. Codes: invalid_config (unknown), abi_mismatch. */
    result<std::string> get(const std::string &name) const {
        if (pointer_ == nullptr) {
            const result<config> made = make_default();
            return made ? made->get(name) : result<std::string>(made.error());
        }
        std::size_t length = 0;
        const result<void> asked = detail::attempt([&](almadia_error **e) {
            return almadia_config_get(pointer_, name.c_str(), nullptr, 0, &length, e);
        });
        if (!asked && asked.error().code() != code::buffer_too_small) return asked.error();
        std::string value(length + 1, '\0');
        const result<void> copied = detail::attempt([&](almadia_error **e) {
            return almadia_config_get(pointer_, name.c_str(), value.data(), value.size(), &length, e);
        });
        if (!copied) return copied.error();
        value.resize(length);
        return value;
    }

    /**
     * Calls `function(const store_event &)` for the events of every store opened with this configuration from now on,
     * on the store's thread "almadia-cb" and by the rules of callables. It is borrowed: it must live until the shutdown
     * of those stores has returned. Codes: abi_mismatch.
     */
    template <class F> result<void> set_event_callback(F &function) {
        if (result<void> made = materialize(); !made) return made;
        const almadia_store_event_callback tell = [](void *user, const almadia_store_event *c) {
            const store_event event{static_cast<store_event_kind>(c->kind), static_cast<almadia::code>(c->code),
                                    c->region_id, c->leader_id, c->term, c->node_id, c->index,
                                    c->is_delivered != 0};
            detail::contain([&] { (*static_cast<F *>(user))(event); });
        };
        return detail::attempt([&](almadia_error **e) {
            void *const user = const_cast<void *>(static_cast<const void *>(std::addressof(function)));
            return almadia_config_set_event_callback(pointer_, tell, user, e);
        });
    }

    /** One with every default, made now instead of with the first option. Codes: abi_mismatch. */
    static result<config> make_default() {
        return detail::make<config>([](almadia_config **made, almadia_error **e) {
            return almadia_config_new(ALMADIA_ABI_VERSION, made, e);
        });
    }

  private:
    explicit config(almadia_config *pointer) noexcept : handle(pointer) {}

    result<void> materialize() {
        if (pointer_ != nullptr) return {};
        result<config> made = make_default();
        if (!made) return std::move(made).error();
        *this = *std::move(made);
        return {};
    }
};
static_assert(sizeof(config) == sizeof(void *));

/* ---------------------------------------------------------------------------------------------------------- batch */

/** What an operation does. */
enum class operation_kind : almadia_op_kind {
    /** Set `key` to `value`. */
    put = ALMADIA_OP_PUT,
    /** Remove `key`; `value` must be empty. */
    erase = ALMADIA_OP_DELETE,
    /** Remove every key from `key` (included) to `value` (not included). */
    erase_range = ALMADIA_OP_DELETE_RANGE,
};

/** What a range of keys looked like in a snapshot: which keys there were, each with its version. For batch::if_range. */
struct range_digest {
    /** Of the keys and their versions; the same everywhere. */
    std::array<unsigned char, 16> digest = {};
    /** How many keys there were. */
    std::uint64_t keys = 0;
    /** Bytes of the keys and values together. */
    std::uint64_t bytes = 0;
};

/** One operation for batch::append. Only borrowed for the call. */
struct operation {
    /** What it does. */
    operation_kind kind;
    /** The key, or the first key of a range. */
    bytes key;
    /** The value, or the first key after a range. */
    bytes value = {};
};

/**
 * A list of operations that are applied together, in the order in which they were added, or not at all. It belongs to
 * no store and may be written to any. All its keys must belong to one region. Threads: one at a time.
 */
class batch : public handle<almadia_batch, almadia_batch_free> {
  public:
    batch() noexcept = default;

    /** Takes over a handle of the C interface. */
    static batch from_c(almadia_batch *pointer) noexcept { return batch(pointer); }

    /** Adds an operation that sets `key` to `value`; both may be empty. Codes: too_large (the message says which). */
    result<void> put(bytes key, bytes value) {
        return add([&](almadia_error **e) {
            return almadia_batch_put(pointer_, key.data(), key.size(), value.data(), value.size(), e);
        });
    }

    /** Adds an operation that removes `key`. It is no error if it does not exist. Codes: too_large. */
    result<void> erase(bytes key) {
        return add([&](almadia_error **e) { return almadia_batch_delete(pointer_, key.data(), key.size(), e); });
    }

    /**
     * Adds an operation that removes every key from `begin` (included) to `end` (not included). An empty `end` means
     * the end of all keys, and takes 16 KiB of the batch. Codes: too_large, invalid_argument (out of order).
     */
    result<void> erase_range(bytes begin, bytes end) {
        return add([&](almadia_error **e) {
            return almadia_batch_delete_range(pointer_, begin.data(), begin.size(), end.data(), end.size(), e);
        });
    }

    /**
     * Adds `count` operations in one call, all or none. Codes: too_large, invalid_argument (a range out of order, an
     * erase with a value); the message names the operation.
     */
    result<void> append(const operation *operations, std::size_t count) {
        std::vector<almadia_op> c;
        c.reserve(count);
        for (const operation *one = operations; one != operations + count; ++one)
            c.push_back({static_cast<almadia_op_kind>(one->kind), 0, {one->key.data(), one->key.size()},
                         {one->value.data(), one->value.size()}});
        return add([&](almadia_error **e) { return almadia_batch_append_ops(pointer_, c.data(), c.size(), e); });
    }
    /** The same from a list: append({{operation_kind::put, "a", "1"}, {operation_kind::erase, "b"}}). */
    result<void> append(std::initializer_list<operation> operations) {
        return append(operations.begin(), operations.size());
    }

    /**
     * Adds a condition: the batch is applied only if `key` does not exist. All conditions are judged on the state before
     * the batch, wherever they stand in it, where it is applied. If one is false, nothing is applied but what stands
     * behind otherwise(); without that the write fails with precondition_failed, and error::precondition() tells which
     * condition it was. A condition counts as an operation. Codes: too_large, invalid_argument (behind otherwise()).
     */
    result<void> if_absent(bytes key) {
        return add([&](almadia_error **e) { return almadia_batch_if_absent(pointer_, key.data(), key.size(), e); });
    }

    /** Adds a condition: the batch is applied only if `key` exists. Codes: as if_absent. */
    result<void> if_present(bytes key) {
        return add([&](almadia_error **e) { return almadia_batch_if_present(pointer_, key.data(), key.size(), e); });
    }

    /**
     * Adds a condition: the batch is applied only if `key` has this version; with 0, only if it does not exist. Codes: as
     * if_absent.
     */
    result<void> if_version(bytes key, std::uint64_t version) {
        return add([&](almadia_error **e) {
            return almadia_batch_if_version(pointer_, key.data(), key.size(), version, e);
        });
    }

    /** Adds a condition: the batch is applied only if `key` has this value. Codes: as if_absent. */
    result<void> if_value(bytes key, bytes value) {
        return add([&](almadia_error **e) {
            return almadia_batch_if_value(pointer_, key.data(), key.size(), value.data(), value.size(), e);
        });
    }

    /**
     * Adds a condition: the batch is applied only if the keys from `begin` (included) to `end` (not included; empty: the
     * end of all keys) are those that snapshot::digest saw, each with the version it had then. Codes: as if_absent,
     * too_large (the ranges of the batch have more than 65,536 keys or 64 MiB together), invalid_argument (out of order).
     */
    result<void> if_range(bytes begin, bytes end, const range_digest &seen) {
        almadia_range_digest c = ALMADIA_RANGE_DIGEST_INIT;
        std::copy(seen.digest.begin(), seen.digest.end(), c.digest);
        c.keys = seen.keys;
        c.bytes = seen.bytes;
        return add([&](almadia_error **e) {
            return almadia_batch_if_range(pointer_, begin.data(), begin.size(), end.data(), end.size(), &c, e);
        });
    }

    /**
     * What is added from here on is applied instead, if a condition is false; written::failed() tells the condition.
     * Codes: too_large, invalid_argument (the second time).
     */
    result<void> otherwise() {
        return add([&](almadia_error **e) { return almadia_batch_otherwise(pointer_, e); });
    }

    /**
     * Adds an operation that adds `delta` to the number at `key`, 8 bytes, little-endian; one that does not exist counts
     * as 0. Its result is the sum. With another value, or a sum that does not fit, the write fails with not_a_number.
     * Codes: too_large.
     */
    result<void> add(bytes key, std::int64_t delta) {
        return add([&](almadia_error **e) { return almadia_batch_add(pointer_, key.data(), key.size(), delta, e); });
    }

    /**
     * Adds an operation that sets a new key to `value`: `prefix`, the version of the write (8 bytes) and the number of
     * the operation (2 bytes), both big-endian, so that the keys are in the order of their writes. Its result is the key.
     * Codes: too_large.
     */
    result<void> put_versioned(bytes prefix, bytes value) {
        return add([&](almadia_error **e) {
            return almadia_batch_put_versioned(pointer_, prefix.data(), prefix.size(), value.data(), value.size(), e);
        });
    }

    /** Adds an operation that removes `key`. Its result is what it was, or nothing. Codes: too_large. */
    result<void> pop(bytes key) {
        return add([&](almadia_error **e) { return almadia_batch_pop(pointer_, key.data(), key.size(), e); });
    }

    /**
     * Adds an operation that removes the first key from `begin` (included) to `end` (not included; empty: the end of all
     * keys). Its result is what it was, or nothing. Codes: too_large, invalid_argument (out of order).
     */
    result<void> take_first(bytes begin, bytes end) {
        return add([&](almadia_error **e) {
            return almadia_batch_take_first(pointer_, begin.data(), begin.size(), end.data(), end.size(), e);
        });
    }

    /** Removes all operations. */
    void clear() noexcept { almadia_batch_clear(pointer_); }

    /** The number of operations; ALMADIA_BATCH_OPERATIONS_MAX at most. */
    std::size_t count() const noexcept { return almadia_batch_count(pointer_); }

    /** Its size in bytes: keys, values and a few bytes for each operation; ALMADIA_BATCH_BYTES_MAX at most. */
    std::size_t size_bytes() const noexcept { return almadia_batch_bytes(pointer_); }

    /**
     * Makes the library's object now instead of with the first operation. Only for passing c_handle() to C functions.
     */
    result<void> materialize() {
        if (pointer_ != nullptr) return {};
        return detail::attempt([&](almadia_error **e) { return almadia_batch_new(&pointer_, e); });
    }

  private:
    explicit batch(almadia_batch *pointer) noexcept : handle(pointer) {}

    template <class Call> result<void> add(Call &&call) {
        if (result<void> made = materialize(); !made) return made;
        return detail::attempt(std::forward<Call>(call));
    }
};
static_assert(sizeof(batch) == sizeof(void *));

/* -------------------------------------------------------------------------------------------------------- reading */

/**
 * A value that was read; it pins the library's memory and copies nothing. May outlive its snapshot and its store.
 * Threads: any number at once.
 */
class value : public handle<almadia_value, almadia_value_free> {
  public:
    /** Empty, as after a move. */
    value() noexcept = default;

    /** Takes over a handle of the C interface. */
    static value from_c(almadia_value *pointer) noexcept { return value(pointer); }

    /** The first byte. Belongs to the value. */
    const char *data() const noexcept { return static_cast<const char *>(almadia_value_data(pointer_)); }

    /** The number of bytes. */
    std::size_t size() const noexcept { return almadia_value_size(pointer_); }

    /** The bytes as text, not NUL-terminated. They belong to the value. */
    std::string_view view() const noexcept { return {data(), size()}; }

    /** As view(); not from a temporary. */
    operator std::string_view() const & noexcept { return view(); }
    operator std::string_view() const && = delete;

    /** A copy. */
    std::string str() const { return std::string(view()); }

    /**
     * The version of the key that was read: the place, in the log of its region, of the write that set it. Versions of
     * a key only grow, also when it is erased in between and set again; those of keys of different regions have nothing
     * to do with each other. 0 only of an empty handle, of store::metrics, and of what a transaction has written itself.
     */
    std::uint64_t version() const noexcept { return almadia_value_version(pointer_); }

#ifdef __cpp_lib_span
    /** The bytes. They belong to the value. */
    std::span<const std::byte> span() const noexcept {
        return {static_cast<const std::byte *>(almadia_value_data(pointer_)), size()};
    }
#endif

  private:
    explicit value(almadia_value *pointer) noexcept : handle(pointer) {}
};
static_assert(sizeof(value) == sizeof(void *));

/**
 * The values of several keys, in the order of the keys; it pins the library's memory. May outlive its snapshot and its
 * store. Threads: any number at once.
 */
class values : public handle<almadia_values, almadia_values_free> {
  public:
    /** Empty, as after a move. */
    values() noexcept = default;

    /** Takes over a handle of the C interface. */
    static values from_c(almadia_values *pointer) noexcept { return values(pointer); }

    /** The number of values, which is the number of keys. */
    std::size_t size() const noexcept { return almadia_values_count(pointer_); }

    /** The value of the key at `index`, from 0 to size() - 1; empty when it does not exist. Belongs to the values. */
    std::optional<std::string_view> operator[](std::size_t index) const noexcept {
        almadia_slice found = {nullptr, 0};
        if (almadia_values_at(pointer_, index, &found) != ALMADIA_OK) return std::nullopt;
        return detail::view_of(found);
    }

    /** The version of the key at `index`, as value::version(); 0 when it does not exist. */
    std::uint64_t version(std::size_t index) const noexcept { return almadia_values_version_at(pointer_, index); }

  private:
    explicit values(almadia_values *pointer) noexcept : handle(pointer) {}
};
static_assert(sizeof(values) == sizeof(void *));

/** A key and its value; both belong to what returned them, which says how long they are valid. */
struct pair {
    /** The key. */
    std::string_view key;
    /** The value. */
    std::string_view value;
};

/** The direction of an iteration. */
enum class order : std::int32_t {
    /** From the smallest key to the largest. */
    ascending = 0,
    /** From the largest key to the smallest. */
    descending = 1,
};

/** What to iterate over; by default all pairs, ascending. Only borrowed for the call. */
struct scan_options {
    /** Only keys that begin with this. If there are bounds too, both apply. */
    bytes prefix = {};
    /** The smallest key shown; empty for none. */
    bytes lower = {};
    /** The first key after the range, which is not shown; empty for none. */
    bytes upper = {};
    /** The direction. */
    almadia::order order = almadia::order::ascending;
};

namespace detail {

inline almadia_iter_options to_c(const scan_options &options) noexcept {
    almadia_iter_options c = ALMADIA_ITER_OPTIONS_INIT;
    c.prefix = options.prefix.data();
    c.prefix_length = options.prefix.size();
    c.lower = options.lower.data();
    c.lower_length = options.lower.size();
    c.upper = options.upper.data();
    c.upper_length = options.upper.size();
    c.reverse = static_cast<std::int32_t>(options.order);
    return c;
}

} // namespace detail

/**
 * Iterates over the pairs of a snapshot or a transaction, in both directions and by key; for a plain loop their scan is
 * simpler. That of a transaction ends with it.
 * Moves return true when the iterator is at a pair then; false means the end or an error: see check(). May outlive its
 * snapshot and its store. May read from the disk. Threads: one at a time.
 */
class iter : public handle<almadia_iter, almadia_iter_free> {
  public:
    /** Empty, as after a move. */
    iter() noexcept = default;

    /** Takes over a handle of the C interface. */
    static iter from_c(almadia_iter *pointer) noexcept { return iter(pointer); }

    /** Moves to the first pair in the direction of the iteration. */
    bool first() noexcept { return almadia_iter_first(pointer_); }
    /** Moves to the last pair in the direction of the iteration. */
    bool last() noexcept { return almadia_iter_last(pointer_); }
    /** Moves to `key`, or to the pair after it in the direction of the iteration. */
    bool seek(bytes key) noexcept { return almadia_iter_seek(pointer_, key.data(), key.size()); }
    /** Moves to `key`, or to the pair before it in the direction of the iteration. */
    bool seek_for_prev(bytes key) noexcept { return almadia_iter_seek_for_prev(pointer_, key.data(), key.size()); }
    /** Moves to the next pair, or to the first when it was never moved. */
    bool next() noexcept { return almadia_iter_next(pointer_); }
    /** Moves to the previous pair, or to the last when it was never moved. */
    bool prev() noexcept { return almadia_iter_prev(pointer_); }
    /** True when it is at a pair. */
    bool valid() const noexcept { return almadia_iter_valid(pointer_); }
    /** The key that it is at, valid until it is moved; empty when it is at none. */
    std::string_view key() const noexcept { return detail::view_of(almadia_iter_key(pointer_)); }
    /** The value that it is at, valid until it is moved; empty when it is at none. */
    std::string_view value() const noexcept { return detail::view_of(almadia_iter_value(pointer_)); }
    /** The version of the key that it is at, as value::version(); 0 when it is at none, or the transaction's own. */
    std::uint64_t version() const noexcept { return almadia_iter_version(pointer_); }

    /** Success when it is at no pair because it is at an end, otherwise what stopped it. Call it after every loop. */
    result<void> check() const {
        return detail::attempt([&](almadia_error **e) { return almadia_iter_code(pointer_, e); });
    }

  private:
    explicit iter(almadia_iter *pointer) noexcept : handle(pointer) {}
};
static_assert(sizeof(iter) == sizeof(void *));

/**
 * The pairs of snapshot::scan or transaction::scan, to be iterated over once, as an input range:
 *
 *   auto pairs = snapshot.scan("user/");
 *   for (auto [key, value] : pairs) ...
 *   if (!pairs.check()) ...
 *
 * An error ends the loop just as the end does, so call check() after it; in debug builds the destructor asserts that an
 * error was looked at. Or let the loop throw it: for (auto [key, value] : snapshot.scan("user/").checked()).
 * A pair is valid until the next one. May outlive its snapshot and its store. Must not be moved inside the loop.
 * May read from the disk. Threads: one at a time.
 */
class scan_range {
  public:
    /** A position at one pair. */
    class iterator;

    /** Fetches the first pairs; when it was called before, goes on where the iteration is. */
    iterator begin();
    /** What the iterator is equal to at the end. */
    iterator end() noexcept;

    /** Success when the iteration has ended or is still going on, otherwise what stopped it. */
    result<void> check() const {
        examined_ = true;
        if (error_.code() == code::ok) return {};
        return error_;
    }

#ifdef __cpp_exceptions
    /** The same range; an error is thrown by the loop as almadia::exception. */
    scan_range checked() && noexcept {
        throws_ = true;
        return std::move(*this);
    }
#endif

    scan_range(scan_range &&other) noexcept
        : iter_(std::move(other.iter_)), pairs_(std::move(other.pairs_)), at_(std::exchange(other.at_, 0)),
          count_(std::exchange(other.count_, 0)), steps_(other.steps_), throws_(other.throws_), examined_(std::exchange(other.examined_, true)),
          error_(std::exchange(other.error_, {})) {}
    scan_range &operator=(scan_range &&) = delete;
    ~scan_range() { assert((examined_ || error_.code() == code::ok) && "a scan failed and nobody asked check()"); }

  private:
    friend class snapshot;
    friend class transaction;
    /* One call into the library brings so many pairs: enough to make it cheap, few enough for a short loop. */
    static constexpr std::size_t pairs_at_once = 32;

    /* With `steps`, it goes no further than the loop does. */
    explicit scan_range(result<iter> made, bool steps = false) : steps_(steps) {
        if (made)
            iter_ = *std::move(made);
        else
            error_ = std::move(made).error();
    }

    void fetch() {
        if (error_.code() != code::ok) return fail();
        if (steps_) return step();
        if (pairs_ == nullptr) pairs_ = std::make_unique<almadia_kv[]>(pairs_at_once);
        almadia_error *detail = nullptr;
        at_ = count_ = 0;
        const almadia_code code = almadia_iter_next_n(iter_.c_handle(), pairs_.get(), pairs_at_once, &count_, &detail);
        if (code == ALMADIA_OK || code == ALMADIA_END) return;
        error_ = detail::take_error(code, detail);
        fail();
    }

    void step() {
        if (pairs_ == nullptr) pairs_ = std::make_unique<almadia_kv[]>(1);
        at_ = count_ = 0;
        if (iter_.next()) {
            const std::string_view key = iter_.key(), value = iter_.value();
            pairs_[0].key = {key.data(), key.size()};
            pairs_[0].value = {value.data(), value.size()};
            count_ = 1;
        } else if (result<void> ended = iter_.check(); !ended) {
            error_ = std::move(ended).error();
            fail();
        }
    }

    void fail() {
        examined_ = throws_;
        if (throws_) detail::fail(error_);
    }

    iter iter_{};
    std::unique_ptr<almadia_kv[]> pairs_{};
    std::size_t at_ = 0;
    std::size_t count_ = 0;
    bool steps_ = false;
    bool throws_ = false;
    mutable bool examined_ = false;
    almadia::error error_{};
};

/** An input iterator over the pairs of a scan_range. */
class scan_range::iterator {
  public:
    using iterator_category = std::input_iterator_tag;
    using value_type = pair;
    using difference_type = std::ptrdiff_t;
    using pointer = const pair *;
    using reference = pair;

    iterator() noexcept = default;

    /** The pair; valid until the iterator is moved. */
    pair operator*() const noexcept {
        const almadia_kv &one = range_->pairs_[range_->at_];
        return {detail::view_of(one.key), detail::view_of(one.value)};
    }

    /** Moves to the next pair. */
    iterator &operator++() {
        if (++range_->at_ >= range_->count_) range_->fetch();
        return *this;
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Weffc++" /* A copy would show the next pair too, so there is none to return. */
    /** Moves to the next pair. */
    void operator++(int) { ++*this; }
#pragma GCC diagnostic pop

    /** True when both are at the end or neither is. */
    friend bool operator==(const iterator &one, const iterator &other) noexcept {
        return one.at_end() == other.at_end();
    }
    /** The opposite. */
    friend bool operator!=(const iterator &one, const iterator &other) noexcept { return !(one == other); }

  private:
    friend class scan_range;
    explicit iterator(scan_range *range) noexcept : range_(range) {}
    bool at_end() const noexcept { return range_ == nullptr || range_->at_ >= range_->count_; }

    scan_range *range_ = nullptr;
};

inline scan_range::iterator scan_range::begin() {
    if (at_ >= count_) fetch();
    return iterator(this);
}

inline scan_range::iterator scan_range::end() noexcept { return {}; }

/** The guarantee of a snapshot. */
enum class level : almadia_level {
    /**
     * It shows every write that any member acknowledged before the snapshot was asked for, and the writes of a region
     * in one order. Over several regions there is no such order: see store::open_snapshot.
     */
    linearizable = ALMADIA_LEVEL_LINEARIZABLE,
    /**
     * It shows what this member has applied; needs no other member, may lag, and may go back in time across a restart.
     */
    local = ALMADIA_LEVEL_LOCAL,
};

/** How to take a snapshot, or to read keys without one. Only borrowed for the call. */
struct snapshot_options {
    /** Its guarantee. */
    almadia::level level = almadia::level::linearizable;
    /** After this the call completes in any case; 0 means the option read.timeout_ms. */
    std::chrono::milliseconds timeout = {};
    /** The first key that it shows; empty means the first of all. With several regions a narrow range is cheaper. */
    bytes start = {};
    /** The first key after the range, which it does not show; empty for no end. */
    bytes end = {};
    /**
     * With level::local: wait until this member has applied its region at least up to this index, such as that of a
     * write acknowledged by another member; 0 does not wait. read_timeout when it has not in time, also for an index
     * beyond the end of the log. The index must be one of the region that is read, and the keys must lie within one
     * region. level::linearizable shows every acknowledged write anyway and ignores it.
     */
    std::uint64_t min_index = 0;
};

/**
 * The data of a store at one point in time. May outlive the store; pins memory and files until it is destroyed. Reads
 * may come from the disk but wait for no other member, so they are fine in callables. Threads: any number at once.
 */
class snapshot : public handle<almadia_snapshot, almadia_snapshot_free> {
  public:
    /** Empty, as after a move. */
    snapshot() noexcept = default;

    /** Takes over a handle of the C interface. */
    static snapshot from_c(almadia_snapshot *pointer) noexcept { return snapshot(pointer); }

    /**
     * The value of `key`; empty when it does not exist. Codes: invalid_argument (outside the range), io, corruption.
     */
    result<std::optional<value>> get(bytes key) const {
        return detail::find<value>([&](almadia_value **found, almadia_error **e) {
            return almadia_snapshot_get(pointer_, key.data(), key.size(), found, e);
        });
    }

    /** The values of `keys`. Codes: as get. */
    result<values> multi_get(const keys &keys) const {
        return detail::make<values>([&](almadia_values **found, almadia_error **e) {
            return almadia_snapshot_multi_get(pointer_, keys.data(), keys.size(), found, e);
        });
    }

    /** The pairs whose keys begin with `prefix`, ascending; see scan_range for the loop and its errors. */
    scan_range scan(bytes prefix = {}) const {
        scan_options options;
        options.prefix = prefix;
        return scan(options);
    }

    /** The pairs that `options` selects; see scan_range for the loop and its errors. */
    scan_range scan(const scan_options &options) const { return scan_range(iterate(options)); }

    /**
     * What the keys from `begin` (included) to `end` (not included; empty: the end of all keys) look like, for
     * batch::if_range; the snapshot's range must contain them. Reads every key and value of them, from the disk if need
     * be, on your thread. Codes: too_large (more than 65,536 keys or 64 MiB), invalid_argument, io, corruption, forked.
     */
    result<range_digest> digest(bytes begin, bytes end) const {
        almadia_range_digest c = ALMADIA_RANGE_DIGEST_INIT;
        result<void> seen = detail::attempt([&](almadia_error **e) {
            return almadia_snapshot_digest(pointer_, begin.data(), begin.size(), end.data(), end.size(), &c, e);
        });
        if (!seen) return std::move(seen).error();
        range_digest made;
        std::copy(std::begin(c.digest), std::end(c.digest), made.digest.begin());
        made.keys = c.keys;
        made.bytes = c.bytes;
        return made;
    }

    /** An iterator that is at no pair yet; next() begins at the first. */
    result<iter> iterate(const scan_options &options = {}) const {
        const almadia_iter_options c = detail::to_c(options);
        return detail::make<iter>([&](almadia_iter **made, almadia_error **e) {
            return almadia_iter_new(pointer_, &c, made, e);
        });
    }

    /** The log index up to which it shows the log; 0 when it covers several regions, each with a log of its own. */
    std::uint64_t index() const noexcept { return almadia_snapshot_index(pointer_); }

    /** The raft term of the entry at index(); 0 where that is 0. */
    std::uint64_t term() const noexcept { return almadia_snapshot_term(pointer_); }

    /** A second handle to the same snapshot. Cheap: nothing is copied. */
    result<snapshot> clone() const {
        return detail::make<snapshot>([&](almadia_snapshot **made, almadia_error **e) {
            return almadia_snapshot_clone(pointer_, made, e);
        });
    }

  private:
    explicit snapshot(almadia_snapshot *pointer) noexcept : handle(pointer) {}
};
static_assert(sizeof(snapshot) == sizeof(void *));

/* --------------------------------------------------------------------------------------------------- asynchronous */

/** The position of a write in the log of its region. Positions of one region are ordered by index. */
struct position {
    /** The log index. */
    std::uint64_t index = 0;
    /** The raft term of the entry at that index. */
    std::uint64_t term = 0;
    /**
     * Of a write, the version that it gave to all keys that it set, as value::version(). 0 for a batch without
     * operations, of a read and in an event.
     */
    std::uint64_t version = 0;
};

/** What the result of an operation is. */
enum class result_kind : almadia_result_kind {
    /** There was nothing to pop or take. */
    nothing = ALMADIA_RESULT_NOTHING,
    /** The `sum` of an addition. */
    sum = ALMADIA_RESULT_SUM,
    /** The `key` that was made, with its `version`. */
    key = ALMADIA_RESULT_KEY,
    /** The `key` that was popped or taken, with the `value` and `version` that it had. */
    value = ALMADIA_RESULT_VALUE,
};

/** The result of an operation of a batch. */
struct operation_result {
    /** The number of the operation in its batch; conditions, otherwise() and both lists count. */
    std::uint64_t operation = 0;
    /** What it is, and so which of the next fields say something. */
    result_kind kind = result_kind::nothing;
    /** The sum. */
    std::int64_t sum = 0;
    /** The key. Belongs to the written. */
    std::string_view key = {};
    /** The value. Belongs to the written. */
    std::string_view value = {};
    /** The version. */
    std::uint64_t version = 0;
};

/** A key that was taken. */
struct taken {
    /** The key. */
    std::string key;
    /** The value that it had. */
    std::string value;
    /** The version that it had. */
    std::uint64_t version = 0;
};

/**
 * What a write tells that was applied: where, which condition was false if its other list was applied, and the results
 * of its operations. It belongs to no store. Threads: any number at once.
 */
class written : public handle<almadia_written, almadia_written_free> {
  public:
    /** Empty, as after a move. */
    written() noexcept = default;

    /** Takes over a handle of the C interface. */
    static written from_c(almadia_written *pointer) noexcept { return written(pointer); }

    /** The position of the write, with its version. */
    almadia::position position() const noexcept {
        const almadia_position at = almadia_written_position(pointer_);
        return {at.index, at.term, almadia_written_version(pointer_)};
    }

    /** True when all conditions were true; false when what stands behind batch::otherwise() was applied instead. */
    bool succeeded() const noexcept { return almadia_written_succeeded(pointer_); }

    /** The condition that was false. */
    std::optional<precondition> failed() const noexcept {
        almadia_precondition found = ALMADIA_PRECONDITION_INIT;
        if (almadia_written_failed(pointer_, &found) != ALMADIA_OK) return std::nullopt;
        return precondition{found.operation, found.exists != 0, found.version};
    }

    /** The number of results: each operation that was applied and adds, makes, pops or takes has one. */
    std::size_t size() const noexcept { return almadia_written_count(pointer_); }

    /** The result at `index`, from 0 to size() - 1, in the order of the operations. */
    operation_result operator[](std::size_t index) const noexcept {
        almadia_op_result found = ALMADIA_OP_RESULT_INIT;
        if (almadia_written_at(pointer_, index, &found) != ALMADIA_OK) return {};
        return {found.operation, static_cast<result_kind>(found.kind), found.sum, detail::view_of(found.key),
                detail::view_of(found.value), found.version};
    }

  private:
    explicit written(almadia_written *pointer) noexcept : handle(pointer) {}
};
static_assert(sizeof(written) == sizeof(void *));

/** What get_with_position found. */
struct positioned_value {
    /** The value; empty when the key does not exist. */
    std::optional<almadia::value> value;
    /**
     * The position of the state that was read: the last entry in the log of the key's region that the value, or its
     * absence, reflects. As min_index of a later read, on any member, it makes sure that this shows no older state.
     */
    almadia::position position;
};

/** What can be reported of a write before its completion; combine them with | to get both. */
enum class event : almadia_event {
    /** The leader has the write in its log, in memory. It may still be lost. */
    proposed = ALMADIA_EVENT_PROPOSED,
    /**
     * The write is on the disks of a majority, its outcome is settled. Reads need not show it before its completion.
     */
    committed = ALMADIA_EVENT_COMMITTED,
};

/** Both events. */
constexpr event operator|(event one, event other) noexcept {
    return static_cast<event>(static_cast<almadia_event>(one) | static_cast<almadia_event>(other));
}

/** How to write a batch, or one put or erase. */
struct write_options {
    /** After this the call completes in any case; 0 means the option write.timeout_ms. */
    std::chrono::milliseconds timeout = {};
};

/** How to begin a transaction. Only borrowed for the call. */
struct transaction_options {
    /**
     * What it sees. level::local saves the question whether this member is up to date, so it is more likely to be
     * refused; what it commits is no weaker.
     */
    almadia::level level = almadia::level::linearizable;
    /**
     * After this its beginning completes in any case; 0 means the option read.timeout_ms. For store::transact the time
     * for everything; 0 means the option write.timeout_ms.
     */
    std::chrono::milliseconds timeout = {};
    /** Any key of the region in which all its keys are; empty means the first region, in most stores the only one. */
    bytes key = {};
};

/** How to hand over leadership. Only borrowed for the call. */
struct transfer_options {
    /** The number of the member that is to lead; 0 leaves the choice to the leader. */
    std::uint64_t target = 0;
    /** After this the call completes in any case; 0 means the option write.timeout_ms. */
    std::chrono::milliseconds timeout = {};
    /** Any key of the region; empty means the first region, and with one region it does not matter. */
    bytes key = {};
};

/** What a member of a cluster is to do. Later versions may add some. */
enum class member_role : almadia_member_role {
    /** It votes: its copy counts towards the majority that a write needs, and it may lead. */
    voter = ALMADIA_MEMBER_VOTER,
    /** It has all data and serves its program, and counts towards no majority. */
    learner = ALMADIA_MEMBER_LEARNER,
};

/** A change of the members of a cluster, for store::change_members. A value type: copy it, keep it. */
class member_change {
  public:
    /**
     * A new member, whose number is higher than any that there ever was, and which others reach at `address`
     * ("host:port"). Its program opens an empty directory with the option cluster.join, before or after the call.
     */
    static member_change add(std::uint64_t node_id, std::string address, member_role role = member_role::voter) {
        member_change made(ALMADIA_MEMBER_CHANGE_ADD, node_id, std::move(address));
        made.role_ = role;
        return made;
    }

    /** A member goes, for good: its number never comes back. It may be down. */
    static member_change remove(std::uint64_t node_id) { return member_change(ALMADIA_MEMBER_CHANGE_REMOVE, node_id); }

    /** A member goes, for good, and a new one, as of add, takes its place and its role. */
    static member_change replace(std::uint64_t node_id, std::uint64_t by_id, std::string address) {
        member_change made(ALMADIA_MEMBER_CHANGE_REPLACE, node_id, std::move(address));
        made.by_id_ = by_id;
        return made;
    }

    /** A learner is to vote. */
    static member_change promote(std::uint64_t node_id) {
        return member_change(ALMADIA_MEMBER_CHANGE_PROMOTE, node_id);
    }

    /** A voter is to be a learner, and no longer preferred. */
    static member_change demote(std::uint64_t node_id) { return member_change(ALMADIA_MEMBER_CHANGE_DEMOTE, node_id); }

    /** Others reach a member at `address` from now on. One that announces another address says so itself. */
    static member_change move(std::uint64_t node_id, std::string address) {
        return member_change(ALMADIA_MEMBER_CHANGE_MOVE, node_id, std::move(address));
    }

    /** A voter is to lead rather than others; or no more than others, when `is_preferred` is false. */
    static member_change prefer(std::uint64_t node_id, bool is_preferred = true) {
        member_change made(ALMADIA_MEMBER_CHANGE_PREFER, node_id);
        made.is_preferred_ = is_preferred;
        return made;
    }

    /**
     * A member is not to lead as long as others can, as before it is taken down for long; or may lead again, when
     * `is_drained` is false.
     */
    static member_change drain(std::uint64_t node_id, bool is_drained = true) {
        member_change made(ALMADIA_MEMBER_CHANGE_DRAIN, node_id);
        made.is_drained_ = is_drained;
        return made;
    }

    /** As the C interface takes it; it borrows the address. */
    almadia_member_change to_c() const noexcept {
        almadia_member_change c = ALMADIA_MEMBER_CHANGE_INIT;
        c.kind = kind_;
        c.role = static_cast<almadia_member_role>(role_);
        c.node_id = node_id_;
        c.by_id = by_id_;
        c.address = has_address_ ? address_.c_str() : nullptr;
        c.is_preferred = is_preferred_ ? 1 : 0;
        c.is_drained = is_drained_ ? 1 : 0;
        return c;
    }

  private:
    member_change(almadia_member_change_kind kind, std::uint64_t node_id) : kind_(kind), node_id_(node_id) {}

    member_change(almadia_member_change_kind kind, std::uint64_t node_id, std::string address)
        : kind_(kind), node_id_(node_id), address_(std::move(address)), has_address_(true) {
        /* A NUL would end the text before its end; a blank is refused, with a message that shows the address. */
        std::replace(address_.begin(), address_.end(), '\0', ' ');
    }

    almadia_member_change_kind kind_;
    std::uint64_t node_id_;
    std::uint64_t by_id_ = 0;
    std::string address_{};
    member_role role_ = member_role::voter;
    bool has_address_ = false;
    bool is_preferred_ = false;
    bool is_drained_ = false;
};

namespace detail {

/* They borrow the addresses. */
inline std::vector<almadia_member_change> to_c(const std::vector<member_change> &changes) {
    std::vector<almadia_member_change> all;
    all.reserve(changes.size());
    for (const member_change &change : changes) all.push_back(change.to_c());
    return all;
}

inline almadia_write_options to_c(const write_options &options) noexcept {
    almadia_write_options c = ALMADIA_WRITE_OPTIONS_INIT;
    c.timeout_ms = timeout_ms(options.timeout);
    return c;
}

inline almadia_snapshot_options to_c(const snapshot_options &options) noexcept {
    almadia_snapshot_options c = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    c.timeout_ms = timeout_ms(options.timeout);
    c.level = static_cast<almadia_level>(options.level);
    c.start = options.start.data();
    c.start_length = options.start.size();
    c.end = options.end.data();
    c.end_length = options.end.size();
    c.min_index = options.min_index;
    return c;
}

inline almadia_leader_transfer_options to_c(const transfer_options &options) noexcept {
    almadia_leader_transfer_options c = ALMADIA_LEADER_TRANSFER_OPTIONS_INIT;
    c.timeout_ms = timeout_ms(options.timeout);
    c.target = options.target;
    c.key = options.key.data();
    c.key_length = options.key.size();
    return c;
}

inline almadia_txn_options to_c(const transaction_options &options) noexcept {
    almadia_txn_options c = ALMADIA_TXN_OPTIONS_INIT;
    c.timeout_ms = timeout_ms(options.timeout);
    c.level = static_cast<almadia_level>(options.level);
    c.key = options.key.data();
    c.key_length = options.key.size();
    return c;
}

/* What a write tells, as the T of the call that made it. */
template <class T> T of_written(written tells) {
    if constexpr (std::is_same_v<T, written>) {
        return tells;
    } else if constexpr (std::is_same_v<T, position>) {
        return tells.position();
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
        return tells[0].sum;
    } else if constexpr (std::is_same_v<T, std::string>) {
        return std::string(tells[0].key);
    } else {
        const operation_result found = tells[0];
        if (found.kind != result_kind::value) return std::nullopt;
        return taken{std::string(found.key), std::string(found.value), found.version};
    }
}

/* Calls a C function that writes, for what it tells. */
template <class T, class Call> result<T> told(const write_options &options, Call &&call) {
    almadia_write_options c = to_c(options);
    almadia_written *tells = nullptr;
    c.written = &tells;
    almadia_error *e = nullptr;
    const almadia_code code = call(&c, &e);
    written owned = written::from_c(tells);
    if (std::is_same_v<T, std::optional<taken>> && code == ALMADIA_NOT_FOUND) return of_written<T>(std::move(owned));
    if (code != ALMADIA_OK) return take_error(code, e);
    return of_written<T>(std::move(owned));
}

} // namespace detail

/**
 * Reads and writes that take effect together, as if nothing else happened in between, or not at all. It sees the data as
 * they were when it began, and its own writes over them; nothing of it can be seen before it is committed. It is about
 * one region: all its keys are in that of transaction_options::key.
 *
 * When it is committed all that it has read must be unchanged, else it is refused with code::conflict and certainly not
 * applied: begin it again, which store::transact does. Read is a key that was asked for, whether or not it exists, and all
 * that was really walked over by an iteration, gaps too. What is read by the _exempt calls may be changed.
 *
 * Limits, beyond which its calls answer too_large: 2,048 keys and separate ranges read, 65,536 keys or 64 MiB iterated
 * over, 32,768 keys and ranges written, and what a batch may have, 8 MiB.
 *
 * The destructor ends it without effect if it was not committed. It keeps what a snapshot keeps until then, so it should
 * be short. Its values stay valid, and it may outlive the store. All its calls but the commit wait for no other member,
 * so they are fine in callables. Threads: one at a time, its iterators with it.
 */
class transaction : public handle<almadia_txn, almadia_txn_free> {
  public:
    /** Empty, as after a move. */
    transaction() noexcept = default;

    /** Takes over a handle of the C interface. */
    static transaction from_c(almadia_txn *pointer) noexcept { return transaction(pointer); }

    /**
     * The value of `key`; empty when it does not exist. It must be unchanged at the commit. Codes: batch_across_regions,
     * too_large, invalid_argument (it was committed), io, corruption, forked.
     */
    result<std::optional<value>> get(bytes key) const {
        return detail::find<value>([&](almadia_value **found, almadia_error **e) {
            return almadia_txn_get(pointer_, key.data(), key.size(), found, e);
        });
    }

    /** The same, and the key may be changed before the commit. Codes: as get. */
    result<std::optional<value>> get_exempt(bytes key) const {
        return detail::find<value>([&](almadia_value **found, almadia_error **e) {
            return almadia_txn_get_exempt(pointer_, key.data(), key.size(), found, e);
        });
    }

    /**
     * The pairs whose keys begin with `prefix`, ascending; see iterate for what it shows, and scan_range for the loop and
     * its errors. It goes no further than the loop does.
     */
    scan_range scan(bytes prefix = {}) const {
        scan_options options;
        options.prefix = prefix;
        return scan(options);
    }

    /** The pairs that `options` selects; see scan_range for the loop and its errors. */
    scan_range scan(const scan_options &options) const { return scan_range(iterate(options), true); }

    /** The same, and what it walks over may be changed before the commit. */
    scan_range scan_exempt(const scan_options &options) const { return scan_range(iterate_exempt(options), true); }

    /**
     * An iterator that is at no pair yet; next() begins at the first. It also shows what is written while it iterates,
     * where it has not been yet; the pair it is at stays as it was, so its key may be erased. What it walks over must be
     * unchanged at the commit. Codes: batch_across_regions (a bound is in another region, or there is none where the
     * region has a border), invalid_argument (it was committed), forked; of iter::check too_large, invalid_argument.
     */
    result<iter> iterate(const scan_options &options = {}) const {
        const almadia_iter_options c = detail::to_c(options);
        return detail::make<iter>([&](almadia_iter **made, almadia_error **e) {
            return almadia_txn_iter(pointer_, &c, made, e);
        });
    }

    /** The same, and what it walks over may be changed before the commit. Codes: as iterate. */
    result<iter> iterate_exempt(const scan_options &options = {}) const {
        const almadia_iter_options c = detail::to_c(options);
        return detail::make<iter>([&](almadia_iter **made, almadia_error **e) {
            return almadia_txn_iter_exempt(pointer_, &c, made, e);
        });
    }

    /**
     * Sets `key` to `value` at the commit; the transaction sees it from now on. Codes: batch_across_regions, too_large,
     * invalid_argument (it was committed), forked.
     */
    result<void> put(bytes key, bytes value) {
        return detail::attempt([&](almadia_error **e) {
            return almadia_txn_put(pointer_, key.data(), key.size(), value.data(), value.size(), e);
        });
    }

    /** Removes `key` at the commit, if it exists then. Codes: as put. */
    result<void> erase(bytes key) {
        return detail::attempt([&](almadia_error **e) {
            return almadia_txn_delete(pointer_, key.data(), key.size(), e);
        });
    }

    /**
     * Removes every key from `begin` (included) to `end` (not included; empty: the end of all keys) at the commit, also
     * those that it does not see. Codes: as put, and invalid_argument (out of order).
     */
    result<void> erase_range(bytes begin, bytes end) {
        return detail::attempt([&](almadia_error **e) {
            return almadia_txn_delete_range(pointer_, begin.data(), begin.size(), end.data(), end.size(), e);
        });
    }

    /**
     * Makes its writes take effect, waits for it, and returns their position. One that wrote nothing costs no entry of
     * the log when it began linearizable. It is over, whatever comes of it. Blocks: yes, for the timeout at most. Codes:
     * conflict (certainly not applied; error::conflict() tells what was changed), too_large, those of store::write,
     * invalid_argument (it was committed before), io, corruption.
     */
    result<position> commit(const write_options &options = {}) {
        return detail::told<position>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_txn_commit(pointer_, c, e);
        });
    }

  private:
    explicit transaction(almadia_txn *pointer) noexcept : handle(pointer) {}
};
static_assert(sizeof(transaction) == sizeof(void *));

namespace detail {

/* What a body of store::transact returns is a T or a result<T>, and store::transact returns a result<T>. */
template <class Returned> struct unwrapped {
    using type = Returned;
};
template <class T> struct unwrapped<result<T>> {
    using type = T;
};
template <class F>
using transacted = typename unwrapped<std::decay_t<std::invoke_result_t<std::remove_reference_t<F> &, transaction &>>>::type;

/* A body of store::transact, and what came of its last run. */
template <class T, class F> struct body {
    explicit body(F &f) noexcept : function(f) {}

    /* Nothing may be thrown through the library's frames, so an exception waits here until they are left. */
    static almadia_code run(void *user, almadia_txn *txn) noexcept {
        body &self = *static_cast<body *>(user);
        self.outcome.reset();
        transaction lent = transaction::from_c(txn);
#ifdef __cpp_exceptions
        try {
            self.call(lent);
        } catch (...) {
            self.thrown = std::current_exception();
        }
#else
        self.call(lent);
#endif
        static_cast<void>(lent.release());
        if (!self.outcome) return ALMADIA_CANCELLED;
        return static_cast<almadia_code>(self.outcome->error().code());
    }

    void call(transaction &lent) {
        if constexpr (std::is_void_v<std::invoke_result_t<F &, transaction &>>) {
            function(lent);
            outcome.emplace();
        } else {
            outcome.emplace(function(lent));
        }
    }

    F &function;
    std::optional<result<T>> outcome{};
    std::exception_ptr thrown{};
};

/* What a completion brings, as the T of the call that it answers. */
template <class T> struct answer;

template <> struct answer<void> {
    static result<void> take(almadia_completion *) { return {}; }
};

template <> struct answer<position> {
    static result<position> take(almadia_completion *completion) {
        return position{almadia_completion_index(completion), almadia_completion_term(completion),
                        almadia_completion_version(completion)};
    }
};

template <> struct answer<snapshot> {
    static result<snapshot> take(almadia_completion *completion) {
        return snapshot::from_c(almadia_completion_take_snapshot(completion));
    }
};

template <> struct answer<transaction> {
    static result<transaction> take(almadia_completion *completion) {
        return transaction::from_c(almadia_completion_take_txn(completion));
    }
};

template <class T> result<T> take_written(almadia_completion *completion) {
    return of_written<T>(written::from_c(almadia_completion_take_written(completion)));
}

template <> struct answer<written> {
    static result<written> take(almadia_completion *completion) { return take_written<written>(completion); }
};

template <> struct answer<std::int64_t> {
    static result<std::int64_t> take(almadia_completion *completion) { return take_written<std::int64_t>(completion); }
};

template <> struct answer<std::string> {
    static result<std::string> take(almadia_completion *completion) { return take_written<std::string>(completion); }
};

template <> struct answer<std::optional<taken>> {
    static result<std::optional<taken>> take(almadia_completion *completion) {
        return take_written<std::optional<taken>>(completion);
    }
};

/* None when the key does not exist. */
inline std::optional<value> take_value(almadia_completion *completion) noexcept {
    almadia_value *const found = almadia_completion_take_value(completion);
    return found == nullptr ? std::nullopt : std::optional<value>(value::from_c(found));
}

template <> struct answer<std::optional<value>> {
    static result<std::optional<value>> take(almadia_completion *completion) { return take_value(completion); }
};

template <> struct answer<positioned_value> {
    static result<positioned_value> take(almadia_completion *completion) {
        return positioned_value{take_value(completion),
                                {almadia_completion_index(completion), almadia_completion_term(completion), 0}};
    }
};

template <> struct answer<values> {
    static result<values> take(almadia_completion *completion) {
        return values::from_c(almadia_completion_take_values(completion));
    }
};

/* Whether code::not_found is an answer, and no failure. */
template <class T>
inline constexpr bool may_be_missing = std::is_same_v<T, std::optional<value>> || std::is_same_v<T, positioned_value> ||
                                       std::is_same_v<T, std::optional<taken>>;

template <class T> result<T> take_answer(almadia_completion *completion) {
    const almadia_code code = almadia_completion_code(completion);
    if (code == ALMADIA_OK || (may_be_missing<T> && code == ALMADIA_NOT_FOUND)) return answer<T>::take(completion);
    return error::from_c(code, almadia_completion_error(completion));
}

/* Keeps options from being taken for a callable where either may be the last argument. */
template <class F>
using if_callable = std::enable_if_t<
    !std::is_same_v<std::decay_t<F>, write_options> && !std::is_same_v<std::decay_t<F>, snapshot_options>, int>;

/*
 * What `user` points to in every call: what to do with its completion, or with NULL when the queue it would have come
 * through is gone. Whoever finishes it must not touch it again.
 */
struct pending {
    void (*finish)(pending *self, almadia_completion *completion) noexcept;
};

inline void call_back(void *user, almadia_completion *completion) {
    pending *const self = static_cast<pending *>(user);
    self->finish(self, completion);
}

/* Where completions go: to the thread "almadia-cb", or to a queue. */
struct sink {
    almadia_store *store;
    almadia_cq *queue;
};

/* Submits what ends in `call`; once it is accepted, `call` may be finished and gone. */
template <class Submit> almadia_code submit(const Submit &submission, pending *call, std::uint64_t *op, almadia_error **e) {
    almadia_done done = ALMADIA_DONE_INIT;
    done.callback = submission.to.queue == nullptr ? call_back : nullptr;
    done.cq = submission.to.queue;
    done.user = call;
    done.op = op;
    return submission.function(submission.to.store, done, e);
}

/* A call that is ready to be submitted: `function` is the C function with all its arguments but these. */
template <class Function> struct submission {
    sink to;
    Function function;
};

/* A call that ends in a callable: the one allocation of its submission. */
template <class T, class F> struct call : pending {
    explicit call(F &&f) : pending{run}, function(std::move(f)) {}

    static void run(pending *self, almadia_completion *completion) noexcept {
        const std::unique_ptr<call> owned(static_cast<call *>(self));
        if (completion != nullptr) contain([&] { owned->function(take_answer<T>(completion)); });
    }

    F function;
};

/* True on a thread that only throws completions away. */
inline bool &dropping() noexcept {
    static thread_local bool is = false;
    return is;
}

/* A write that also tells of events; they come before the completion, which frees both callables. */
template <class E, class F> struct call_with_events : call<position, F> {
    call_with_events(E &&e, F &&f) : call<position, F>(std::move(f)), on_event(std::move(e)) { this->finish = run; }

    static void run(pending *self, almadia_completion *completion) noexcept {
        const std::unique_ptr<call_with_events> owned(static_cast<call_with_events *>(self));
        if (completion != nullptr) contain([&] { owned->function(take_answer<position>(completion)); });
    }

    static void tell(void *user, almadia_event event, almadia_position at) {
        call_with_events *const self = static_cast<call_with_events *>(user);
        if (dropping()) return;
        contain([&] { self->on_event(static_cast<almadia::event>(event), position{at.index, at.term, 0}); });
    }

    E on_event;
};

} // namespace detail

/** The number of an accepted call, for store::cancel. */
enum class call_id : std::uint64_t {};

namespace detail {

/* Starts `submission`; `owned` goes with it when it is accepted, and stays when it is refused. */
template <class Call, class Submission>
result<call_id> start_owned(std::unique_ptr<Call> &owned, const Submission &submission) {
    std::uint64_t op = 0;
    result<void> accepted = attempt([&](almadia_error **e) { return submit(submission, owned.get(), &op, e); });
    if (!accepted) return std::move(accepted).error();
    static_cast<void>(owned.release());
    return static_cast<call_id>(op);
}

/* Starts `submission` with `f` as its end. */
template <class T, class F, class Submission> result<call_id> start(F &&f, const Submission &submission) {
    using callable = std::decay_t<F>;
    static_assert(std::is_invocable_v<callable &, result<T>>, "the callable takes the result of the call");
    auto owned = std::make_unique<call<T, callable>>(callable(std::forward<F>(f)));
    return start_owned(owned, submission);
}

/* The same with a future as its end; what is refused is in the future too. */
template <class T, class Submission> std::future<result<T>> start_future(const Submission &submission) {
    std::promise<result<T>> promise;
    std::future<result<T>> future = promise.get_future();
    auto fulfil = [promise = std::move(promise)](result<T> answer) mutable { promise.set_value(std::move(answer)); };
    auto owned = std::make_unique<call<T, decltype(fulfil)>>(std::move(fulfil));
    if (result<call_id> accepted = start_owned(owned, submission); !accepted)
        owned->function(std::move(accepted).error());
    return future;
}

/* Takes up to `capacity` completions, waiting for the first; finishes each with itself, or with NULL to drop it. */
inline result<std::size_t> finish_some(almadia_cq *queue, std::size_t capacity, std::int64_t timeout_ms) {
    constexpr std::size_t at_once = 64;
    almadia_completion *completions[at_once];
    std::size_t count = 0;
    result<void> popped = attempt([&](almadia_error **e) {
        return almadia_cq_pop(queue, completions, capacity < at_once ? capacity : at_once, &count, timeout_ms, e);
    });
    if (!popped) return std::move(popped).error();
    for (std::size_t at = 0; at < count; at++) {
        pending *const call = static_cast<pending *>(almadia_completion_user(completions[at]));
        call->finish(call, dropping() ? nullptr : completions[at]);
        almadia_completion_free(completions[at]);
    }
    return count;
}

/* Frees a queue. What is still to come through it belongs to calls of ours, so it is waited for, and dropped. */
inline void drop_queue(almadia_cq *queue) noexcept {
    if (queue == nullptr) return;
    const bool before = std::exchange(dropping(), true);
    almadia_cq_shutdown(queue);
    while (finish_some(queue, 64, -1)) {}
    /* Inside a callback nothing can be waited for. */
    while (finish_some(queue, 64, 0).value_or(0) > 0) {}
    dropping() = before;
    almadia_cq_free(queue);
}

} // namespace detail

/**
 * A queue of completions, for programs that want their callables, futures and coroutines finished on threads of their
 * own: store.on(queue).put_async(...). Any number of threads may use it at once. It may serve several stores.
 *
 * The destructor shuts it down, waits for the calls in flight and drops them: their callables are destroyed and not
 * called, their futures get std::future_errc::broken_promise, their coroutines are not resumed. So destroy the stores
 * first; and to drop none, call shutdown(), and run_some() until code::closed. Blocks: yes, for these calls.
 */
class completion_queue : public handle<almadia_cq, detail::drop_queue> {
  public:
    /** Empty, as after a move. */
    completion_queue() noexcept = default;

    /** Takes over a handle of the C interface, to which C has submitted nothing. */
    static completion_queue from_c(almadia_cq *pointer) noexcept { return completion_queue(pointer); }

    /** Makes one. Codes: io (no file descriptor is left). */
    static result<completion_queue> make() {
        return detail::make<completion_queue>([](almadia_cq **made, almadia_error **e) { return almadia_cq_new(made, e); });
    }

    /**
     * The descriptor, for poll, epoll and event loops: readable while something waits. When it is readable, call
     * run_some() until it returns 0; never read, write or close it. It belongs to the queue. -1 when empty.
     */
    int fd() const noexcept { return almadia_cq_fd(pointer_); }

    /**
     * Runs up to 64 completions on this thread, in the order in which they arrived, and returns their number; waits up
     * to `timeout` for the first. 0: none came, or interrupt() was called. Blocks: for the timeout at most; never with
     * 0. Codes: closed (shut down, and nothing will come any more), would_deadlock, forked.
     */
    result<std::size_t> run_some(std::chrono::milliseconds timeout = {}) const {
        return detail::finish_some(pointer_, 64, timeout.count() < 0 ? 0 : timeout.count());
    }

    /** Makes one waiting run_some, or else the next one, return at once. */
    void interrupt() const noexcept { almadia_cq_interrupt(pointer_); }

    /** Makes the queue accept no more calls; those accepted still complete. */
    void shutdown() const noexcept { almadia_cq_shutdown(pointer_); }

  private:
    explicit completion_queue(almadia_cq *pointer) noexcept : handle(pointer) {}
};
static_assert(sizeof(completion_queue) == sizeof(void *));

#ifdef __cpp_impl_coroutine
/** The executor of co_await when no other is given: resumes on the completion's thread, "almadia-cb" or the queue's. */
struct resume_here {
    /** Resumes. */
    void operator()(std::coroutine_handle<> suspended) const { suspended.resume(); }
};

/**
 * What an _async call without a callable returns: co_await it for its result<T>. Nothing is submitted before that, and
 * nothing is allocated. Await it in the expression that made it, because it borrows the arguments until then. A
 * suspended coroutine must not be destroyed before it is resumed.
 */
template <class T, class Submission, class Executor = resume_here> class [[nodiscard]] awaitable {
  public:
    /** For co_await; do not call it. */
    class awaiter : detail::pending {
      public:
        awaiter(Submission submission, Executor executor)
            : pending{run}, submission_(std::move(submission)), executor_(std::move(executor)) {}
        bool await_ready() const noexcept { return false; }

        bool await_suspend(std::coroutine_handle<> suspended) {
            suspended_ = suspended;
            almadia_error *detail = nullptr;
            const almadia_code code = detail::submit(submission_, this, nullptr, &detail);
            /* Once it is accepted the coroutine may have gone on and ended on another thread: nothing here is touched. */
            if (code == ALMADIA_OK) return true;
            answer_.emplace(detail::take_error(code, detail));
            return false;
        }

        result<T> await_resume() { return *std::move(answer_); }

      private:
        static void run(pending *self, almadia_completion *completion) noexcept {
            if (completion == nullptr) return;
            awaiter *const waiting = static_cast<awaiter *>(self);
            detail::contain([&] {
                waiting->answer_.emplace(detail::take_answer<T>(completion));
                /* The executor lies in the coroutine, which may end before the executor returns. */
                Executor executor = std::move(waiting->executor_);
                executor(waiting->suspended_);
            });
        }

        Submission submission_;
        Executor executor_;
        std::coroutine_handle<> suspended_{};
        std::optional<result<T>> answer_{};
    };

    /** For the _async calls; do not call it. */
    explicit awaitable(Submission submission, Executor executor = {})
        : submission_(std::move(submission)), executor_(std::move(executor)) {}

    /**
     * Where to resume: `executor` is called on the completion's thread with the std::coroutine_handle<>, and must see
     * to it that it is called once; it may convert it to std::function<void()>. By default the coroutine resumes right
     * there.
     */
    template <class Other> awaitable<T, Submission, std::decay_t<Other>> resume_on(Other &&executor) && {
        return awaitable<T, Submission, std::decay_t<Other>>(std::move(submission_), std::forward<Other>(executor));
    }

    /** For co_await; do not call it. */
    awaiter operator co_await() && { return awaiter(std::move(submission_), std::move(executor_)); }

  private:
    Submission submission_;
    Executor executor_;
};
#endif

/**
 * All asynchronous calls. Each comes in three forms: with a callable as its last argument, which gets the result; as a
 * future; and in C++20 with neither, to be awaited. None blocks, and all may be called by any number of threads at
 * once, and in callables. The form with a callable returns at once whether the call was accepted, with its number for
 * store::cancel: overloaded (too many calls in flight: retry after some completions), closed, forked, poisoned,
 * too_large, invalid_argument. The other two report this in their result. Writes of one thread that succeed complete in
 * the order in which it submitted them.
 */
template <class Self> class asynchronous {
  public:
    /** Sets `key` to `value`. Codes of the result: those of store::write. */
    template <class F, detail::if_callable<F> = 0> result<call_id> put_async(bytes key, bytes value, F &&f) const {
        return detail::start<position>(std::forward<F>(f), putting(key, value));
    }
    /** The same with options. */
    template <class F> result<call_id> put_async(bytes key, bytes value, F &&f, const write_options &options) const {
        return detail::start<position>(std::forward<F>(f), putting(key, value, options));
    }
    /** Sets `key` to `value`. */
    std::future<result<position>> put_future(bytes key, bytes value) const {
        return detail::start_future<position>(putting(key, value));
    }
    /** The same with options. */
    std::future<result<position>> put_future(bytes key, bytes value, const write_options &options) const {
        return detail::start_future<position>(putting(key, value, options));
    }

    /** Removes `key`; it is no error if it does not exist. Codes of the result: those of store::write. */
    template <class F, detail::if_callable<F> = 0> result<call_id> erase_async(bytes key, F &&f) const {
        return detail::start<position>(std::forward<F>(f), erasing(key));
    }
    /** The same with options. */
    template <class F> result<call_id> erase_async(bytes key, F &&f, const write_options &options) const {
        return detail::start<position>(std::forward<F>(f), erasing(key, options));
    }
    /** Removes `key`. */
    std::future<result<position>> erase_future(bytes key) const { return detail::start_future<position>(erasing(key)); }
    /** The same with options. */
    std::future<result<position>> erase_future(bytes key, const write_options &options) const {
        return detail::start_future<position>(erasing(key, options));
    }

    /**
     * Writes `batch`. If the call was accepted, the batch is empty and ready for the next operations; otherwise it is
     * unchanged. Without operations it is a read (see store::write), whose answer may overtake those of earlier writes.
     * Codes of the result: those of store::write.
     */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> write_async(batch &batch, F &&f, const write_options &options = {}) const {
        if (result<void> made = batch.materialize(); !made) return std::move(made).error();
        return detail::start<position>(std::forward<F>(f), writing(batch, options));
    }
    /** Writes `batch`, and empties it as above. */
    std::future<result<position>> write_future(batch &batch, const write_options &options = {}) const {
        static_cast<void>(batch.materialize().has_value());
        return detail::start_future<position>(writing(batch, options));
    }
    /**
     * The same, and calls on_event(event, position) for those of `events` that happen while this member leads: each at
     * most once, in their order, before `f`, and by the rules of `f`.
     */
    template <class E, class F>
    result<call_id> write_async_with_events(batch &batch, event events, E &&on_event, F &&f,
                                            const write_options &options = {}) const {
        using state = detail::call_with_events<std::decay_t<E>, std::decay_t<F>>;
        if (result<void> made = batch.materialize(); !made) return std::move(made).error();
        auto owned = std::make_unique<state>(std::decay_t<E>(std::forward<E>(on_event)),
                                             std::decay_t<F>(std::forward<F>(f)));
        almadia_write_options c = detail::to_c(options);
        c.events = static_cast<almadia_event>(events);
        c.on_event = state::tell;
        c.event_user = owned.get();
        return detail::start_owned(owned, writing(batch, c));
    }

    /** As store::put_if_absent, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> put_if_absent_async(bytes key, bytes value, F &&f, const write_options &options = {}) const {
        return detail::start<position>(std::forward<F>(f), calling_put_if_absent(key, value, options));
    }
    /** As store::put_if_absent, as a future. */
    std::future<result<position>> put_if_absent_future(bytes key, bytes value, const write_options &options = {}) const {
        return detail::start_future<position>(calling_put_if_absent(key, value, options));
    }
    /** As store::compare_and_set, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> compare_and_set_async(bytes key, std::uint64_t expected, bytes value, F &&f, const write_options &options = {}) const {
        return detail::start<position>(std::forward<F>(f), calling_compare_and_set(key, expected, value, options));
    }
    /** As store::compare_and_set, as a future. */
    std::future<result<position>> compare_and_set_future(bytes key, std::uint64_t expected, bytes value, const write_options &options = {}) const {
        return detail::start_future<position>(calling_compare_and_set(key, expected, value, options));
    }
    /** As store::compare_value_and_set, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> compare_value_and_set_async(bytes key, bytes expected, bytes value, F &&f, const write_options &options = {}) const {
        return detail::start<position>(std::forward<F>(f), calling_compare_value_and_set(key, expected, value, options));
    }
    /** As store::compare_value_and_set, as a future. */
    std::future<result<position>> compare_value_and_set_future(bytes key, bytes expected, bytes value, const write_options &options = {}) const {
        return detail::start_future<position>(calling_compare_value_and_set(key, expected, value, options));
    }
    /** As store::compare_and_erase, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> compare_and_erase_async(bytes key, std::uint64_t expected, F &&f, const write_options &options = {}) const {
        return detail::start<position>(std::forward<F>(f), calling_compare_and_erase(key, expected, options));
    }
    /** As store::compare_and_erase, as a future. */
    std::future<result<position>> compare_and_erase_future(bytes key, std::uint64_t expected, const write_options &options = {}) const {
        return detail::start_future<position>(calling_compare_and_erase(key, expected, options));
    }
    /** As store::compare_value_and_erase, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> compare_value_and_erase_async(bytes key, bytes expected, F &&f, const write_options &options = {}) const {
        return detail::start<position>(std::forward<F>(f), calling_compare_value_and_erase(key, expected, options));
    }
    /** As store::compare_value_and_erase, as a future. */
    std::future<result<position>> compare_value_and_erase_future(bytes key, bytes expected, const write_options &options = {}) const {
        return detail::start_future<position>(calling_compare_value_and_erase(key, expected, options));
    }
    /** As store::pop, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> pop_async(bytes key, F &&f, const write_options &options = {}) const {
        return detail::start<std::optional<value>>(std::forward<F>(f), calling_pop(key, options));
    }
    /** As store::pop, as a future. */
    std::future<result<std::optional<value>>> pop_future(bytes key, const write_options &options = {}) const {
        return detail::start_future<std::optional<value>>(calling_pop(key, options));
    }
    /** As store::take_first, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> take_first_async(bytes begin, bytes end, F &&f, const write_options &options = {}) const {
        return detail::start<std::optional<taken>>(std::forward<F>(f), calling_take_first(begin, end, options));
    }
    /** As store::take_first, as a future. */
    std::future<result<std::optional<taken>>> take_first_future(bytes begin, bytes end, const write_options &options = {}) const {
        return detail::start_future<std::optional<taken>>(calling_take_first(begin, end, options));
    }
    /** As store::add, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> add_async(bytes key, std::int64_t delta, F &&f, const write_options &options = {}) const {
        return detail::start<std::int64_t>(std::forward<F>(f), calling_add(key, delta, options));
    }
    /** As store::add, as a future. */
    std::future<result<std::int64_t>> add_future(bytes key, std::int64_t delta, const write_options &options = {}) const {
        return detail::start_future<std::int64_t>(calling_add(key, delta, options));
    }
    /** As store::put_versioned, asynchronously. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> put_versioned_async(bytes prefix, bytes value, F &&f, const write_options &options = {}) const {
        return detail::start<std::string>(std::forward<F>(f), calling_put_versioned(prefix, value, options));
    }
    /** As store::put_versioned, as a future. */
    std::future<result<std::string>> put_versioned_future(bytes prefix, bytes value, const write_options &options = {}) const {
        return detail::start_future<std::string>(calling_put_versioned(prefix, value, options));
    }
    /** As store::apply, asynchronously. If the call was accepted, the batch is empty; otherwise it is unchanged. */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> apply_async(batch &batch, F &&f, const write_options &options = {}) const {
        if (result<void> made = batch.materialize(); !made) return std::move(made).error();
        return detail::start<written>(std::forward<F>(f), writing(batch, options));
    }
    /** As store::apply, as a future. */
    std::future<result<written>> apply_future(batch &batch, const write_options &options = {}) const {
        static_cast<void>(batch.materialize().has_value());
        return detail::start_future<written>(writing(batch, options));
    }

    /**
     * The newest value of `key`, linearizable; empty when it does not exist. Codes of the result: those of store::get.
     */
    template <class F, detail::if_callable<F> = 0> result<call_id> get_async(bytes key, F &&f) const {
        return detail::start<std::optional<value>>(std::forward<F>(f), getting(key));
    }
    /** The value of `key` as `options` say; they must have no range. */
    template <class F> result<call_id> get_async(bytes key, const snapshot_options &options, F &&f) const {
        return detail::start<std::optional<value>>(std::forward<F>(f), getting(key, options));
    }
    /** The newest value of `key`. */
    std::future<result<std::optional<value>>> get_future(bytes key) const {
        return detail::start_future<std::optional<value>>(getting(key));
    }
    /** The value of `key` as `options` say. */
    std::future<result<std::optional<value>>> get_future(bytes key, const snapshot_options &options) const {
        return detail::start_future<std::optional<value>>(getting(key, options));
    }

    /** As get_async with options, and the position of the state that was read. */
    template <class F>
    result<call_id> get_with_position_async(bytes key, const snapshot_options &options, F &&f) const {
        return detail::start<positioned_value>(std::forward<F>(f), getting(key, options));
    }
    /** The value of `key`, and the position of the state that was read. */
    std::future<result<positioned_value>> get_with_position_future(bytes key,
                                                                   const snapshot_options &options = {}) const {
        return detail::start_future<positioned_value>(getting(key, options));
    }

    /** The values of `keys` at one point in time. Codes of the result: those of store::multi_get. */
    template <class F> result<call_id> multi_get_async(const keys &keys, const snapshot_options &options, F &&f) const {
        return detail::start<values>(std::forward<F>(f), getting(keys, options));
    }
    /** The values of `keys`. */
    std::future<result<values>> multi_get_future(const keys &keys, const snapshot_options &options = {}) const {
        return detail::start_future<values>(getting(keys, options));
    }

    /** Takes a snapshot. Codes of the result: those of store::open_snapshot. */
    template <class F> result<call_id> open_snapshot_async(const snapshot_options &options, F &&f) const {
        return detail::start<snapshot>(std::forward<F>(f), opening(options));
    }
    /** Takes a snapshot. */
    std::future<result<snapshot>> open_snapshot_future(const snapshot_options &options = {}) const {
        return detail::start_future<snapshot>(opening(options));
    }

    /** Begins a transaction. Codes of the result: those of store::begin. */
    template <class F> result<call_id> begin_async(const transaction_options &options, F &&f) const {
        return detail::start<transaction>(std::forward<F>(f), beginning(options));
    }
    /** Begins a transaction. */
    std::future<result<transaction>> begin_future(const transaction_options &options = {}) const {
        return detail::start_future<transaction>(beginning(options));
    }

    /**
     * Commits a transaction of this store, which is over then, also if the call was not accepted. It may read from the
     * disk again what the transaction has iterated over, before it returns. Codes of the result: those of
     * transaction::commit, of which too_large, invalid_argument, io and corruption may be returned at once.
     */
    template <class F, detail::if_callable<F> = 0>
    result<call_id> commit_async(transaction &transaction, F &&f, const write_options &options = {}) const {
        return detail::start<position>(std::forward<F>(f), committing(transaction, options));
    }
    /** Commits a transaction, as above. */
    std::future<result<position>> commit_future(transaction &transaction, const write_options &options = {}) const {
        return detail::start_future<position>(committing(transaction, options));
    }

    /** Hands over leadership. Codes of the result: those of store::transfer_leader. */
    template <class F> result<call_id> transfer_leader_async(const transfer_options &options, F &&f) const {
        return detail::start<void>(std::forward<F>(f), transferring(options));
    }
    /** Hands over leadership. */
    std::future<result<void>> transfer_leader_future(const transfer_options &options = {}) const {
        return detail::start_future<void>(transferring(options));
    }

    /**
     * Changes the members of the cluster: the way to add members from the thread that opens them. A timeout of 0 means the
     * option write.timeout_ms. Codes of the result: those of store::change_members.
     */
    template <class F>
    result<call_id> change_members_async(const std::vector<member_change> &changes, std::chrono::milliseconds timeout,
                                         F &&f) const {
        return detail::start<void>(std::forward<F>(f), changing(changes, timeout));
    }
    /** Changes the members of the cluster, as above. */
    std::future<result<void>> change_members_future(const std::vector<member_change> &changes,
                                                    std::chrono::milliseconds timeout = {}) const {
        return detail::start_future<void>(changing(changes, timeout));
    }

#ifdef __cpp_impl_coroutine
    /** co_await gives the result<position>. */
    auto put_async(bytes key, bytes value) const { return awaiting<position>(putting(key, value)); }
    /** co_await gives the result<position>. */
    auto put_async(bytes key, bytes value, const write_options &options) const {
        return awaiting<position>(putting(key, value, options));
    }
    /** co_await gives the result<position>. */
    auto erase_async(bytes key) const { return awaiting<position>(erasing(key)); }
    /** co_await gives the result<position>. */
    auto erase_async(bytes key, const write_options &options) const {
        return awaiting<position>(erasing(key, options));
    }
    /** co_await gives the result<position>; the batch must stay until then. */
    auto write_async(batch &batch, const write_options &options = {}) const {
        static_cast<void>(batch.materialize().has_value());
        return awaiting<position>(writing(batch, options));
    }
    /** co_await gives the result<position>. */
    auto put_if_absent_async(bytes key, bytes value, const write_options &options = {}) const {
        return awaiting<position>(calling_put_if_absent(key, value, options));
    }
    /** co_await gives the result<position>. */
    auto compare_and_set_async(bytes key, std::uint64_t expected, bytes value, const write_options &options = {}) const {
        return awaiting<position>(calling_compare_and_set(key, expected, value, options));
    }
    /** co_await gives the result<position>. */
    auto compare_value_and_set_async(bytes key, bytes expected, bytes value, const write_options &options = {}) const {
        return awaiting<position>(calling_compare_value_and_set(key, expected, value, options));
    }
    /** co_await gives the result<position>. */
    auto compare_and_erase_async(bytes key, std::uint64_t expected, const write_options &options = {}) const {
        return awaiting<position>(calling_compare_and_erase(key, expected, options));
    }
    /** co_await gives the result<position>. */
    auto compare_value_and_erase_async(bytes key, bytes expected, const write_options &options = {}) const {
        return awaiting<position>(calling_compare_value_and_erase(key, expected, options));
    }
    /** co_await gives the result<std::optional<value>>. */
    auto pop_async(bytes key, const write_options &options = {}) const {
        return awaiting<std::optional<value>>(calling_pop(key, options));
    }
    /** co_await gives the result<std::optional<taken>>. */
    auto take_first_async(bytes begin, bytes end, const write_options &options = {}) const {
        return awaiting<std::optional<taken>>(calling_take_first(begin, end, options));
    }
    /** co_await gives the result<std::int64_t>. */
    auto add_async(bytes key, std::int64_t delta, const write_options &options = {}) const {
        return awaiting<std::int64_t>(calling_add(key, delta, options));
    }
    /** co_await gives the result<std::string>. */
    auto put_versioned_async(bytes prefix, bytes value, const write_options &options = {}) const {
        return awaiting<std::string>(calling_put_versioned(prefix, value, options));
    }
    /** co_await gives the result<written>; the batch must stay until then. */
    auto apply_async(batch &batch, const write_options &options = {}) const {
        static_cast<void>(batch.materialize().has_value());
        return awaiting<written>(writing(batch, options));
    }
    /** co_await gives the result<std::optional<value>>. */
    auto get_async(bytes key) const { return awaiting<std::optional<value>>(getting(key)); }
    /** co_await gives the result<std::optional<value>>. */
    auto get_async(bytes key, const snapshot_options &options) const {
        return awaiting<std::optional<value>>(getting(key, options));
    }
    /** co_await gives the result<positioned_value>. */
    auto get_with_position_async(bytes key, const snapshot_options &options = {}) const {
        return awaiting<positioned_value>(getting(key, options));
    }
    /** co_await gives the result<values>. Name the keys first: g++ 12 takes no {...} list in a co_await expression. */
    auto multi_get_async(const keys &keys, const snapshot_options &options = {}) const {
        return awaiting<values>(getting(keys, options));
    }
    /** co_await gives the result<snapshot>. */
    auto open_snapshot_async(const snapshot_options &options = {}) const { return awaiting<snapshot>(opening(options)); }
    /** co_await gives the result<transaction>. */
    auto begin_async(const transaction_options &options = {}) const { return awaiting<transaction>(beginning(options)); }
    /** co_await gives the result<position>; the transaction must stay until then. */
    auto commit_async(transaction &transaction, const write_options &options = {}) const {
        return awaiting<position>(committing(transaction, options));
    }
    /** co_await gives the result<void>. */
    auto transfer_leader_async(const transfer_options &options = {}) const {
        return awaiting<void>(transferring(options));
    }
    /** co_await gives the result<void>. Name the changes first: g++ 12 takes no {...} list in a co_await expression. */
    auto change_members_async(const std::vector<member_change> &changes, std::chrono::milliseconds timeout = {}) const {
        return awaiting<void>(changing(changes, timeout));
    }
#endif

  protected:
    asynchronous() = default;

  private:
    /* The C functions with their arguments but the last; each is copied into the call, or into the awaiting coroutine. */
    template <class Function> auto submission(Function function) const {
        return detail::submission<Function>{static_cast<const Self *>(this)->sink(), std::move(function)};
    }
    auto putting(bytes key, bytes value) const {
        return submission([key, value](almadia_store *store, const almadia_done &done, almadia_error **e) {
            return almadia_put_async(store, key.data(), key.size(), value.data(), value.size(), &done, e);
        });
    }
    auto putting(bytes key, bytes value, const write_options &options) const {
        return submission([key, value, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                  almadia_error **e) {
            return almadia_put_with_async(store, key.data(), key.size(), value.data(), value.size(), &c, &done, e);
        });
    }
    auto erasing(bytes key, const write_options &options) const {
        return submission([key, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                           almadia_error **e) {
            return almadia_delete_with_async(store, key.data(), key.size(), &c, &done, e);
        });
    }
    auto erasing(bytes key) const {
        return submission([key](almadia_store *store, const almadia_done &done, almadia_error **e) {
            return almadia_delete_async(store, key.data(), key.size(), &done, e);
        });
    }
    auto writing(const batch &batch, const almadia_write_options &c) const {
        return submission([batch = batch.c_handle(), c](almadia_store *store, const almadia_done &done, almadia_error **e) {
            return almadia_write_async(store, batch, &c, &done, e);
        });
    }
    auto writing(const batch &batch, const write_options &options) const { return writing(batch, detail::to_c(options)); }
    auto calling_put_if_absent(bytes key, bytes value, const write_options &options) const {
        return submission([key, value, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_put_if_absent_async(store, key.data(), key.size(), value.data(), value.size(), &c, &done, e);
        });
    }
    auto calling_compare_and_set(bytes key, std::uint64_t expected, bytes value, const write_options &options) const {
        return submission([key, expected, value, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_compare_and_set_async(store, key.data(), key.size(), expected, value.data(), value.size(), &c, &done, e);
        });
    }
    auto calling_compare_value_and_set(bytes key, bytes expected, bytes value, const write_options &options) const {
        return submission([key, expected, value, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_compare_value_and_set_async(store, key.data(), key.size(), expected.data(), expected.size(), value.data(), value.size(), &c, &done, e);
        });
    }
    auto calling_compare_and_erase(bytes key, std::uint64_t expected, const write_options &options) const {
        return submission([key, expected, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_compare_and_delete_async(store, key.data(), key.size(), expected, &c, &done, e);
        });
    }
    auto calling_compare_value_and_erase(bytes key, bytes expected, const write_options &options) const {
        return submission([key, expected, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_compare_value_and_delete_async(store, key.data(), key.size(), expected.data(), expected.size(), &c, &done, e);
        });
    }
    auto calling_pop(bytes key, const write_options &options) const {
        return submission([key, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_pop_async(store, key.data(), key.size(), &c, &done, e);
        });
    }
    auto calling_take_first(bytes begin, bytes end, const write_options &options) const {
        return submission([begin, end, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_take_first_async(store, begin.data(), begin.size(), end.data(), end.size(), &c, &done, e);
        });
    }
    auto calling_add(bytes key, std::int64_t delta, const write_options &options) const {
        return submission([key, delta, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_add_async(store, key.data(), key.size(), delta, &c, &done, e);
        });
    }
    auto calling_put_versioned(bytes prefix, bytes value, const write_options &options) const {
        return submission([prefix, value, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                                   almadia_error **e) {
            return almadia_put_versioned_async(store, prefix.data(), prefix.size(), value.data(), value.size(), &c, &done, e);
        });
    }
    auto getting(bytes key) const {
        return submission([key](almadia_store *store, const almadia_done &done, almadia_error **e) {
            return almadia_get_async(store, key.data(), key.size(), &done, e);
        });
    }
    auto getting(bytes key, const snapshot_options &options) const {
        return submission([key, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                           almadia_error **e) {
            return almadia_get_with_async(store, key.data(), key.size(), &c, &done, e);
        });
    }
    auto getting(const keys &keys, const snapshot_options &options) const {
        return submission([keys, c = detail::to_c(options)](almadia_store *store, const almadia_done &done,
                                                            almadia_error **e) {
            return almadia_multi_get_async(store, keys.data(), keys.size(), &c, &done, e);
        });
    }
    auto opening(const snapshot_options &options) const {
        return submission([c = detail::to_c(options)](almadia_store *store, const almadia_done &done, almadia_error **e) {
            return almadia_snapshot_open_async(store, &c, &done, e);
        });
    }
    auto beginning(const transaction_options &options) const {
        return submission([c = detail::to_c(options)](almadia_store *store, const almadia_done &done, almadia_error **e) {
            return almadia_txn_begin_async(store, &c, &done, e);
        });
    }
    auto committing(const transaction &transaction, const write_options &options) const {
        return submission([txn = transaction.c_handle(), c = detail::to_c(options)](
                              almadia_store *store, const almadia_done &done, almadia_error **e) {
            return almadia_txn_commit_async(store, txn, &c, &done, e);
        });
    }
    auto transferring(const transfer_options &options) const {
        return submission([c = detail::to_c(options)](almadia_store *store, const almadia_done &done, almadia_error **e) {
            return almadia_leader_transfer_async(store, &c, &done, e);
        });
    }
    auto changing(const std::vector<member_change> &changes, std::chrono::milliseconds timeout) const {
        return submission([changes, ms = detail::timeout_ms(timeout)](almadia_store *store, const almadia_done &done,
                                                                      almadia_error **e) {
            const std::vector<almadia_member_change> c = detail::to_c(changes);
            return almadia_members_change_async(store, c.data(), c.size(), ms, &done, e);
        });
    }
#ifdef __cpp_impl_coroutine
    template <class T, class Submission> static awaitable<T, Submission> awaiting(Submission submission) {
        return awaitable<T, Submission>(std::move(submission));
    }
#endif
};

/** The asynchronous calls of a store, completed through a queue: what store::on returns. Must not outlive either. */
class queued_store : public asynchronous<queued_store> {
  private:
    friend class store;
    friend class asynchronous<queued_store>;
    explicit queued_store(detail::sink sink) noexcept : sink_(sink) {}
    detail::sink sink() const noexcept { return sink_; }

    detail::sink sink_;
};

/* ---------------------------------------------------------------------------------------------------------- store */

/** The role of a member. */
enum class role : almadia_role {
    /** Follows a leader. */
    follower = ALMADIA_ROLE_FOLLOWER,
    /** Asks for votes. */
    candidate = ALMADIA_ROLE_CANDIDATE,
    /** Leads. */
    leader = ALMADIA_ROLE_LEADER,
};

/** The state of one member. Leader, term, indices and role are those of the first region. */
struct status {
    /** The number of this member. */
    std::uint64_t node_id;
    /** The number of the leading member, as far as this one knows; 0 when it knows none. */
    std::uint64_t leader_id;
    /** The raft term. */
    std::uint64_t term;
    /** Entries up to this index are committed. */
    std::uint64_t commit_index;
    /** Entries up to this index are applied here; a local snapshot shows them. */
    std::uint64_t applied_index;
    /** The index of the last entry in this member's log. */
    std::uint64_t last_index;
    /** Snapshots and iterators that are not freed yet; each pins memory and files. */
    std::uint64_t live_snapshots;
    /** Accepted calls that are not completed yet. */
    std::uint64_t in_flight;
    /** The role of this member. */
    almadia::role role;
    /** Why the store stopped working (an I/O error, damage, a bug); code::ok while it works. */
    almadia::code poisoned;
    /** The length of the raft log's files, of all regions, in bytes. */
    std::uint64_t log_bytes;
    /** How many files those are. */
    std::uint64_t log_segments;
    /** The member for which this one, as a leader, keeps more log than log.retain_bytes; 0 for none. */
    std::uint64_t log_holder_id;
    /** Raft snapshots that this member sends at this moment; store::raft_snapshots() has more. */
    std::uint64_t snapshots_sending;
    /** Raft snapshots that this member receives at this moment. */
    std::uint64_t snapshots_receiving;
};

/** The state of one region on this member. */
struct region_status {
    /** The number of the region, the same on every member. */
    std::uint64_t region_id;
    /** The number of the leading member, as far as this one knows; 0 when it knows none. */
    std::uint64_t leader_id;
    /** The raft term of the region. */
    std::uint64_t term;
    /** Entries of the region's log up to this index are committed. */
    std::uint64_t commit_index;
    /** Entries of the region's log up to this index are applied here. */
    std::uint64_t applied_index;
    /** The index of the region's last entry in this member's log. */
    std::uint64_t last_index;
    /** The first key of the region; empty when it begins at the first of all. It belongs to the store. */
    std::string_view start_key;
    /** The first key after the region; empty when there is none. It belongs to the store. */
    std::string_view end_key;
    /** The role of this member in the region. */
    almadia::role role;
    /**
     * What the region's log may hold, because the libraries of all members know it. 0: a member runs a release that
     * knows no conditions, or did a moment ago. 1: conditions, but no changes of members. 2: everything that this
     * release offers.
     */
    std::uint64_t feature_level;
    /** Whether this member takes in a raft snapshot of the region: nothing is read here until that is done. */
    bool installing;
    /** How many members this one, as the region's leader, helps with a raft snapshot until they have caught up. */
    std::uint64_t helped;
};

/** How far a raft snapshot has come. Later versions add some. */
enum class raft_snapshot_stage : almadia_raft_snapshot_stage {
    /** This member, which leads, makes it for another one, or it waits for its turn. */
    making = ALMADIA_RAFT_SNAPSHOT_MAKING,
    /** This member sends it. */
    sending = ALMADIA_RAFT_SNAPSHOT_SENDING,
    /** This member receives it. */
    receiving = ALMADIA_RAFT_SNAPSHOT_RECEIVING,
    /** This member has all of it, and puts it in the place of what it had of the region. */
    installing = ALMADIA_RAFT_SNAPSHOT_INSTALLING,
};

/**
 * A raft snapshot: the data of a region on their way to a member that needs entries that the log of its leader has no
 * more.
 */
struct raft_snapshot_status {
    /** The number of the region. */
    std::uint64_t region_id;
    /** The member that sends it; 0 when it came before the store was opened. */
    std::uint64_t from_id;
    /** The member that gets it. */
    std::uint64_t to_id;
    /** Up to here the region's log is in it; 0 while it is made. */
    std::uint64_t index;
    /** How many bytes of it the receiver has taken. */
    std::uint64_t bytes;
    /** About how many there will be; 0 while that is unknown. */
    std::uint64_t bytes_estimate;
    /** How far it has come. */
    raft_snapshot_stage stage;
};

/** A member of the cluster, as another one sees it, or the same. */
struct member {
    /** Its number. */
    std::uint64_t node_id;
    /** Where its peers reach it, as "host:port"; empty if that is not known. */
    std::string address;
    /** What it is to do. */
    member_role role;
    /** Whether it is to lead rather than others. */
    bool is_preferred;
    /** Whether it is not to lead as long as others can. */
    bool is_drained;
    /** In how many regions it does what it is to do, as far as the asked member has applied. */
    std::uint64_t settled_regions;
    /**
     * How many regions the asked member leads, and of which it so knows how far this member has come: is_live and
     * lag_entries are about these. 0 says that the asked member knows nothing of the kind.
     */
    std::uint64_t seen_regions;
    /** Entries of the logs of these regions that it lacks, of all together. */
    std::uint64_t lag_entries;
    /** How many regions it leads, as far as the asked member knows. */
    std::uint64_t led_regions;
    /** Whether it was heard of lately in each of these regions, of which there is one at least; true for the asked member. */
    bool is_live;
    /**
     * For how long the asked member has heard nothing of it, on any connection; 0 of itself, and nothing if it never has since
     * it was opened, or is shut down. Members of which neither leads may have nothing to say to each other for long.
     */
    std::optional<std::chrono::milliseconds> last_heard;
    /**
     * The version of the library that it runs, as it said when it connected last; empty if it has not since the asked member
     * was opened, if that is shut down, and if it runs a release that does not say.
     */
    std::string version;
};

/** The members of a cluster, as one of them saw them at one moment. */
struct member_list {
    /** Counts the changes; 0 as long as there was none. Lists with the same version that is not 0 have the same members. */
    std::uint64_t version = 0;
    /** In the order of their numbers. */
    std::vector<member> members = {};
    /** What the regions wait for that had not followed the last change, as sentences in English; empty when all had. */
    std::vector<std::string> unsettled = {};
};

/**
 * An open store: one member of a cluster. Its asynchronous calls are those of `asynchronous`.
 * The destructor frees it as shutdown(0) does, without handing over what it leads: for that, shut it down first.
 * Threads: any number at once.
 */
class store : public handle<almadia_store, almadia_store_free>, public asynchronous<store> {
  public:
    /** Empty, as after a move. */
    store() noexcept = default;

    /** Takes over a handle of the C interface. */
    static store from_c(almadia_store *pointer) noexcept { return store(pointer); }

    /**
     * Opens the directory `path`, creating it at the first start (its parent must exist), and starts this member's
     * threads. It does not wait for the other members: see wait_leader. With the option cluster.join the first start waits
     * to be let in, for cluster.join_timeout_ms at most; then see wait_ready. Blocks: yes, on the disk. Codes:
     * invalid_config, locked (already open, here or in another process), wrong_cluster, incompatible_format,
     * corruption, io (also when the system refuses a thread: errno EAGAIN), no_space, permission, network (the listen
     * address; not let in within the time), removed (before it was let in), would_deadlock, forked (the parent process had a
     * store open when it forked), abi_mismatch.
     */
    static result<store> open(const std::string &path, const almadia::config &config = {}) {
        if (config.c_handle() == nullptr) {
            const result<almadia::config> made = almadia::config::make_default();
            return made ? open(path, *made) : result<store>(made.error());
        }
        if (path.find('\0') != std::string::npos) return error(code::invalid_argument, "the path contains a NUL");
        return detail::make<store>([&](almadia_store **made, almadia_error **e) {
            return almadia_store_open(path.c_str(), config.c_handle(), made, e);
        });
    }

    /** The same with the options in place: open(path, {{"cluster.node_id", "1"}, ...}). */
    static result<store> open(const std::string &path,
                              std::initializer_list<std::pair<std::string, std::string>> options) {
        almadia::config config;
        for (const auto &[name, value] : options)
            if (result<void> set = config.set(name, value); !set) return std::move(set).error();
        return open(path, config);
    }

    /**
     * Stops the store within `timeout`. New calls return closed; calls in flight may finish, and otherwise fail with
     * shutdown_in_flight or closed; in the time that they leave, what this member leads is handed over. The last
     * second, or the last half if that is shorter, is reserved for ending threads; with 0 they have five seconds. On
     * success no callable runs any more; on shutting_down, because a disk hangs or a callable does not return, one may.
     * Snapshots stay usable. It may be called again, also after shutting_down, and by several threads at once. Blocks:
     * yes, for the timeout at most. Codes: shutting_down, would_deadlock, forked.
     */
    result<void> shutdown(std::chrono::milliseconds timeout) {
        const std::uint64_t ms = timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
        return detail::attempt([&](almadia_error **e) { return almadia_store_shutdown(pointer_, ms, e); });
    }

    /**
     * Waits until this member knows a leader of every region, and returns the number of the first region's leader.
     * Blocks: yes. Codes: no_leader (none in time), closed, poisoned, would_deadlock, forked.
     */
    result<std::uint64_t> wait_leader(std::chrono::milliseconds timeout) const {
        const std::uint64_t ms = timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
        std::uint64_t leader = 0;
        result<void> waited = detail::attempt([&](almadia_error **e) {
            return almadia_store_wait_leader(pointer_, ms, &leader, e);
        });
        if (!waited) return std::move(waited).error();
        return leader;
    }

    /**
     * Waits until this member, which was opened with the option cluster.join, has the data of every region. A member that is
     * no new one is ready once it has applied what it had. Blocks: yes, for the timeout at most. Codes: read_timeout (not in
     * time: waiting again is fine), removed, closed, poisoned, would_deadlock, forked.
     */
    result<void> wait_ready(std::chrono::milliseconds timeout) const {
        const std::uint64_t ms = timeout.count() < 0 ? 0 : static_cast<std::uint64_t>(timeout.count());
        return detail::attempt([&](almadia_error **e) { return almadia_store_wait_ready(pointer_, ms, e); });
    }

    /** Sets `key` to `value` and waits until it is durable on a majority and readable. Blocks: yes. Codes: as write. */
    result<void> put(bytes key, bytes value) const {
        return detail::attempt([&](almadia_error **e) {
            return almadia_put(pointer_, key.data(), key.size(), value.data(), value.size(), e);
        });
    }

    /** The same with options; returns the position of the write. */
    result<position> put(bytes key, bytes value, const write_options &options) const {
        return positioned(options, [&](const almadia_write_options *c, almadia_position *at, almadia_error **e) {
            return almadia_put_with(pointer_, key.data(), key.size(), value.data(), value.size(), c, at, e);
        });
    }

    /** Removes `key` and waits. It is no error if it does not exist. Blocks: yes. Codes: as write. */
    result<void> erase(bytes key) const {
        return detail::attempt([&](almadia_error **e) { return almadia_delete(pointer_, key.data(), key.size(), e); });
    }

    /** The same with options; returns the position of the write. */
    result<position> erase(bytes key, const write_options &options) const {
        return positioned(options, [&](const almadia_write_options *c, almadia_position *at, almadia_error **e) {
            return almadia_delete_with(pointer_, key.data(), key.size(), c, at, e);
        });
    }

    /**
     * Writes `batch` and waits until it is durable on a majority of the members and readable. After that the batch is
     * empty, ready for the next operations; after a failure it is unchanged. A batch without operations costs no entry
     * of the log: it is answered as a linearizable read of the first region is (codes: those of snapshot), and its
     * position covers every write that was acknowledged before. Blocks: yes, for the timeout at most.
     * Codes, certainly not applied: batch_across_regions, overloaded, no_leader, deadline_before_start,
     * region_changed, closed, forked, poisoned, would_deadlock. Outcome unknown: timeout,
     * shutdown_in_flight, failed_in_flight.
     */
    result<position> write(batch &batch, const write_options &options = {}) const {
        if (result<void> made = batch.materialize(); !made) return std::move(made).error();
        return positioned(options, [&](const almadia_write_options *c, almadia_position *at, almadia_error **e) {
            return almadia_write(pointer_, batch.c_handle(), c, at, e);
        });
    }

    /**
     * Sets `key` to `value` if it does not exist, and waits. Blocks: yes. Codes: as write, and precondition_failed
     * (error::precondition() tells its version).
     */
    result<position> put_if_absent(bytes key, bytes value, const write_options &options = {}) const {
        return detail::told<position>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_put_if_absent(pointer_, key.data(), key.size(), value.data(), value.size(), c, nullptr, e);
        });
    }

    /**
     * Sets `key` to `value` if it has the version `expected`, or with 0 if it does not exist, and waits. Blocks: yes.
     * Codes: as write, and precondition_failed.
     */
    result<position> compare_and_set(bytes key, std::uint64_t expected, bytes value, const write_options &options = {}) const {
        return detail::told<position>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_compare_and_set(pointer_, key.data(), key.size(), expected, value.data(), value.size(), c, nullptr, e);
        });
    }

    /**
     * Sets `key` to `value` if it has the value `expected`, which somebody may have written again, and waits. Blocks:
     * yes. Codes: as write, and precondition_failed.
     */
    result<position> compare_value_and_set(bytes key, bytes expected, bytes value, const write_options &options = {}) const {
        return detail::told<position>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_compare_value_and_set(pointer_, key.data(), key.size(), expected.data(), expected.size(), value.data(), value.size(), c, nullptr, e);
        });
    }

    /**
     * Removes `key` if it has the version `expected`, and waits. Blocks: yes. Codes: as write, and precondition_failed.
     */
    result<position> compare_and_erase(bytes key, std::uint64_t expected, const write_options &options = {}) const {
        return detail::told<position>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_compare_and_delete(pointer_, key.data(), key.size(), expected, c, nullptr, e);
        });
    }

    /**
     * Removes `key` if it has the value `expected`, and waits. Blocks: yes. Codes: as write, and precondition_failed.
     */
    result<position> compare_value_and_erase(bytes key, bytes expected, const write_options &options = {}) const {
        return detail::told<position>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_compare_value_and_delete(pointer_, key.data(), key.size(), expected.data(), expected.size(), c, nullptr, e);
        });
    }

    /**
     * Removes `key`, waits, and returns the value that it had; none if it did not exist. Blocks: yes. Codes: as write.
     */
    result<std::optional<value>> pop(bytes key, const write_options &options = {}) const {
        const almadia_write_options c = detail::to_c(options);
        return detail::find<value>([&](almadia_value **found, almadia_error **e) {
            return almadia_pop(pointer_, key.data(), key.size(), &c, found, e);
        });
    }

    /**
     * Removes the first key from `begin` (included) to `end` (not included; empty: the end of all keys), waits, and
     * returns what it was; none if there is no key. Whoever takes a task so and ends before it is done loses it.
     * Blocks: yes. Codes: as write, and invalid_argument (out of order).
     */
    result<std::optional<taken>> take_first(bytes begin, bytes end, const write_options &options = {}) const {
        return detail::told<std::optional<taken>>(options, [&](const almadia_write_options *c, almadia_error **e) {
            almadia_value *key = nullptr, *found = nullptr;
            const almadia_code code = almadia_take_first(pointer_, begin.data(), begin.size(), end.data(), end.size(), c, &key, &found, e);
            almadia_value_free(key);
            almadia_value_free(found);
            return code;
        });
    }

    /**
     * Adds `delta` to the number at `key`, 8 bytes, little-endian, or to 0 if it does not exist, waits, and returns the
     * sum. An addition whose outcome is unknown must not be repeated: it may be added twice. Blocks: yes. Codes: as
     * write, and not_a_number (another length, or the sum does not fit).
     */
    result<std::int64_t> add(bytes key, std::int64_t delta, const write_options &options = {}) const {
        return detail::told<std::int64_t>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_add(pointer_, key.data(), key.size(), delta, c, nullptr, e);
        });
    }

    /**
     * Sets a new key to `value`, as batch::put_versioned describes it, waits, and returns the key. Blocks: yes. Codes:
     * as write.
     */
    result<std::string> put_versioned(bytes prefix, bytes value, const write_options &options = {}) const {
        return detail::told<std::string>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_put_versioned(pointer_, prefix.data(), prefix.size(), value.data(), value.size(), c, nullptr, e);
        });
    }

    /**
     * As write, and returns what the write tells: the condition that was false if the other list of the batch was
     * applied, and the results of its operations. Blocks: yes. Codes: as write.
     */
    result<written> apply(batch &batch, const write_options &options = {}) const {
        if (result<void> made = batch.materialize(); !made) return std::move(made).error();
        return detail::told<written>(options, [&](const almadia_write_options *c, almadia_error **e) {
            return almadia_write(pointer_, batch.c_handle(), c, nullptr, e);
        });
    }

    /**
     * Begins a transaction, and waits until it has its view of the data, on any member. Blocks: yes, for the timeout at
     * most. Codes: as open_snapshot.
     */
    result<transaction> begin(const transaction_options &options = {}) const {
        const almadia_txn_options c = detail::to_c(options);
        return detail::make<transaction>([&](almadia_txn **made, almadia_error **e) {
            return almadia_txn_begin(pointer_, &c, made, e);
        });
    }

    /**
     * Runs body(transaction &) in a transaction and commits it, again until nothing that the body has read was changed
     * meanwhile, with random pauses of up to 100 ms that grow. Returns what the body returned the last time: a T, void, or
     * a result<T>. With an error in that, or an exception, which comes out of this call, nothing is applied.
     *
     *   store.transact([&](almadia::transaction &txn) -> almadia::result<void> { ... return txn.put("a", "1"); })
     *
     * What the body does beside the transaction happens each time. It runs on this thread, and neither moves the
     * transaction away nor commits it. Blocks: yes, for the timeout at most, and as long as the body does. Codes: those
     * that the body returned; conflict (the time is up; certainly not applied); as begin and transaction::commit. An
     * unknown outcome is not tried again.
     */
    template <class F>
    result<detail::transacted<F>> transact(F &&body, const transaction_options &options = {}) const {
        detail::body<detail::transacted<F>, std::remove_reference_t<F>> running(body);
        const almadia_txn_options c = detail::to_c(options);
        almadia_error *detail = nullptr;
        const almadia_code code = almadia_transact(pointer_, &c, running.run, &running, &detail);
#ifdef __cpp_exceptions
        if (running.thrown != nullptr) std::rethrow_exception(running.thrown);
#endif
        const bool ended = code == ALMADIA_OK || (running.outcome && !running.outcome->has_value());
        if (ended) return *std::move(running.outcome);
        return detail::take_error(code, detail);
    }

    /** The asynchronous calls of this store, completed through `queue` on the threads that run it. */
    queued_store on(const completion_queue &queue) const noexcept {
        return queued_store(detail::sink{pointer_, queue.c_handle()});
    }

    /**
     * Cancels a call that has not completed: its result comes now, with code::cancelled when it certainly has no
     * effect, or with code::cancelled_in_flight when a write may be applied, now or later. False when it has completed
     * already. Codes: forked.
     */
    result<bool> cancel(call_id call) const {
        almadia_error *detail = nullptr;
        const almadia_code code = almadia_cancel(pointer_, static_cast<std::uint64_t>(call), &detail);
        if (code == ALMADIA_OK || code == ALMADIA_NOT_FOUND) return code == ALMADIA_OK;
        return detail::take_error(code, detail);
    }

    /**
     * The values of `keys` at one point in time; `options` must have no range. Blocks: yes, for the timeout at most.
     * Codes: as open_snapshot, and io, corruption.
     */
    result<values> multi_get(const keys &keys, const snapshot_options &options = {}) const {
        const almadia_snapshot_options c = detail::to_c(options);
        return detail::make<values>([&](almadia_values **found, almadia_error **e) {
            return almadia_multi_get(pointer_, keys.data(), keys.size(), &c, found, e);
        });
    }

    /**
     * The metrics of this member since it was opened, in the Prometheus text format: gauges of its state, and
     * histograms, in seconds, of each stage of writes and reads. Codes: forked.
     */
    result<value> metrics() const {
        return detail::make<value>([&](almadia_value **text, almadia_error **e) {
            return almadia_store_metrics(pointer_, text, e);
        });
    }

    /** The newest value of `key`, linearizable; empty when it does not exist. Blocks: yes. Codes: as open_snapshot. */
    result<std::optional<value>> get(bytes key) const {
        return detail::find<value>([&](almadia_value **found, almadia_error **e) {
            return almadia_get(pointer_, key.data(), key.size(), found, e);
        });
    }

    /**
     * The value of `key` as `options` say, which must have no range; empty when it does not exist. With level::local
     * and min_index it is read on this member, but not before a write that the program knows of is applied here.
     * Blocks: yes, for the timeout at most. Codes: as open_snapshot, and io, corruption.
     */
    result<std::optional<value>> get(bytes key, const snapshot_options &options) const {
        const almadia_snapshot_options c = detail::to_c(options);
        return detail::find<value>([&](almadia_value **found, almadia_error **e) {
            return almadia_get_with(pointer_, key.data(), key.size(), &c, found, nullptr, e);
        });
    }

    /** The same, with the position of the state that was read. */
    result<positioned_value> get_with_position(bytes key, const snapshot_options &options = {}) const {
        const almadia_snapshot_options c = detail::to_c(options);
        almadia_position at = {0, 0};
        result<std::optional<value>> read = detail::find<value>([&](almadia_value **found, almadia_error **e) {
            return almadia_get_with(pointer_, key.data(), key.size(), &c, found, &at, e);
        });
        if (!read) return std::move(read).error();
        return positioned_value{*std::move(read), {at.index, at.term, 0}};
    }

    /**
     * Takes a snapshot, on any member. Over several regions it is linearizable for each of them, not for all together:
     * of writes to different regions that are made during the call it may show a later one and not an earlier one, and
     * one that is taken on another member at the same time may show two such writes in the opposite order. Blocks: yes,
     * for the timeout at most. Codes: read_timeout, overloaded, no_leader, closed, forked, poisoned, would_deadlock,
     * invalid_argument (a range that ends before it starts, min_index for several regions).
     */
    result<snapshot> open_snapshot(const snapshot_options &options = {}) const {
        const almadia_snapshot_options c = detail::to_c(options);
        return detail::make<snapshot>([&](almadia_snapshot **made, almadia_error **e) {
            return almadia_snapshot_open(pointer_, &c, made, e);
        });
    }

    /**
     * Hands the leadership of a region over and waits until the other member leads. Only the member that leads can do
     * it. Writes that come meanwhile, on any member, wait and go to the new leader. Blocks: yes, for the timeout at
     * most. Codes: not_leader (error().leader() has the leader), no_leader, transfer_in_progress, lagging,
     * invalid_argument (the target is no voter; without a target: there is no other voter), timeout (it may still
     * take over), overloaded, closed, forked, poisoned, would_deadlock.
     */
    result<void> transfer_leader(const transfer_options &options = {}) const {
        const almadia_leader_transfer_options c = detail::to_c(options);
        return detail::attempt([&](almadia_error **e) { return almadia_leader_transfer(pointer_, &c, e); });
    }

    /**
     * Changes the members of the cluster, all at once or none, and waits until every region has followed: those who come
     * have the data, and those who go are needed no more. Any member may be asked. Without changes it waits for those before.
     * A timeout of 0 means the option write.timeout_ms, which is short for members that have much data to get; it does not
     * take a change back, another change does. The cluster goes on serving meanwhile, and members().unsettled says what is
     * waited for. To see whether a change with an unknown outcome was made, look at members(); repeated, it does no harm.
     * Blocks: yes, for the timeout at most. Codes: invalid_argument (the changes contradict the list of members
     * or each other), unsupported (a member runs a release that knows no such changes), overloaded, no_leader,
     * deadline_before_start (the list was not changed; without changes: a region has not followed in time), timeout (the list
     * was or may be changed, and a region has not followed in time; it goes on), shutdown_in_flight, failed_in_flight,
     * skipped_in_flight, removed (this member was removed, perhaps by this change), closed, forked, poisoned,
     * would_deadlock.
     */
    result<void> change_members(const std::vector<member_change> &changes, std::chrono::milliseconds timeout = {}) const {
        const std::vector<almadia_member_change> c = detail::to_c(changes);
        const std::uint64_t ms = detail::timeout_ms(timeout);
        return detail::attempt([&](almadia_error **e) {
            return almadia_members_change(pointer_, c.data(), c.size(), ms, e);
        });
    }

    /**
     * The members of the cluster as this one knows them now, also of a store that is poisoned, removed or shut down. Others
     * may know of a change earlier or later. Codes: forked.
     */
    result<member_list> members() const {
        struct freeing {
            void operator()(almadia_members *listed) const noexcept { almadia_members_free(listed); }
        };
        almadia_members *made = nullptr;
        result<void> asked = detail::attempt([&](almadia_error **e) { return almadia_members_list(pointer_, &made, e); });
        if (!asked) return std::move(asked).error();
        const std::unique_ptr<almadia_members, freeing> listed(made);
        const auto ago = [](std::uint64_t ms) {
            std::optional<std::chrono::milliseconds> heard;
            if (ms != UINT64_MAX) heard = std::chrono::milliseconds(static_cast<std::int64_t>(ms));
            return heard;
        };
        member_list all;
        all.version = almadia_members_version(made);
        almadia_member c = ALMADIA_MEMBER_INIT;
        for (std::size_t index = 0; almadia_members_at(made, index, &c) == ALMADIA_OK; index++)
            all.members.push_back({c.node_id, c.address, static_cast<member_role>(c.role), c.is_preferred != 0,
                                   c.is_drained != 0, c.settled_regions, c.seen_regions, c.lag_entries, c.led_regions,
                                   c.is_live != 0, ago(c.last_heard_ms), c.version ? c.version : ""});
        std::string_view left = almadia_members_unsettled(made);
        while (!left.empty()) {
            const std::size_t end = std::min(left.find('\n'), left.size());
            all.unsettled.emplace_back(left.substr(0, end));
            left.remove_prefix(std::min(end + 1, left.size()));
        }
        return all;
    }

    /** The state of this member, also of a store that is poisoned or shut down. Codes: forked. */
    result<almadia::status> status() const {
        almadia_status c = ALMADIA_STATUS_INIT;
        result<void> asked = detail::attempt([&](almadia_error **e) { return almadia_store_status(pointer_, &c, e); });
        if (!asked) return std::move(asked).error();
        return almadia::status{c.node_id,       c.leader_id,  c.term,           c.commit_index,
                               c.applied_index, c.last_index, c.live_snapshots, c.in_flight,
                               static_cast<almadia::role>(c.role), static_cast<almadia::code>(c.poisoned),
                               c.log_bytes,     c.log_segments, c.log_holder_id,  c.snapshots_sending,
                               c.snapshots_receiving};
    }

    /** The state of every region on this member, in the order of their keys. Codes: forked. */
    result<std::vector<region_status>> regions() const {
        std::vector<region_status> all;
        const std::size_t count = almadia_store_region_count(pointer_);
        for (std::size_t index = 0; index < count; index++) {
            almadia_region_status c = ALMADIA_REGION_STATUS_INIT;
            result<void> asked = detail::attempt([&](almadia_error **e) {
                return almadia_store_region_at(pointer_, index, &c, e);
            });
            if (!asked) return std::move(asked).error();
            all.push_back({c.region_id, c.leader_id, c.term, c.commit_index, c.applied_index, c.last_index,
                           detail::view_of(c.start_key), detail::view_of(c.end_key),
                           static_cast<almadia::role>(c.role), c.feature_level, c.installing != 0, c.helped});
        }
        return all;
    }

    /**
     * The raft snapshots that this member makes, sends, receives and installs; usually none. One that begins or ends
     * meanwhile may hide another or show it twice. Codes: forked.
     */
    result<std::vector<raft_snapshot_status>> raft_snapshots() const {
        std::vector<raft_snapshot_status> all;
        for (std::size_t index = 0;; index++) {
            almadia_raft_snapshot_status c = ALMADIA_RAFT_SNAPSHOT_STATUS_INIT;
            result<void> asked = detail::attempt([&](almadia_error **e) {
                return almadia_store_raft_snapshot_at(pointer_, index, &c, e);
            });
            if (!asked && asked.error().code() == code::end) return all;
            if (!asked) return std::move(asked).error();
            all.push_back({c.region_id, c.from_id, c.to_id, c.index, c.bytes, c.bytes_estimate,
                           static_cast<raft_snapshot_stage>(c.stage)});
        }
    }

  private:
    friend class asynchronous<store>;
    explicit store(almadia_store *pointer) noexcept : handle(pointer) {}
    detail::sink sink() const noexcept { return {pointer_, nullptr}; }

    /* Calls a C function that writes. */
    template <class Call> static result<position> positioned(const write_options &options, Call &&call) {
        almadia_write_options c = detail::to_c(options);
        almadia_position at = {0, 0};
        std::uint64_t version = 0;
        c.version = &version;
        result<void> answered = detail::attempt([&](almadia_error **e) { return call(&c, &at, e); });
        if (!answered) return std::move(answered).error();
        return position{at.index, at.term, version};
    }
};
static_assert(sizeof(store) == sizeof(void *));

} // namespace v0_1 or v0_1_noexceptions
} // namespace almadia

#endif /* ALMADIA_HPP */
