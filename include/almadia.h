/*
 * almadia.h - a replicated, ordered key-value store that you link into your program.
 *
 * A CLUSTER is three programs that open directories of their own with the same "cluster.initial_members", such as
 *   "1=host:port,2=host:port,3=host:port", and each with its own "cluster.node_id" (almadia_config_set). You need not
 *   wait for a leader: each call does so itself, until its deadline. almadia_config_option_at lists every option.
 *   Members are added, replaced and removed while the cluster serves: see almadia_members_change.
 * OWNERSHIP. Handles (almadia_config, _store, _batch, _cq, _snapshot, _value, _values, _iter, _written, _members, _error,
 *   and a _completion that you popped) are yours; each has its own _free, which accepts NULL. Never free() anything that you
 *   got from the library; it frees nothing of yours. What you pass in is copied before the call returns. A handle may
 *   outlive the one it came from: snapshots, iterators and values keep what they read alive (and the directory locked)
 *   after the store is freed. After its _free a handle must not be used.
 * BYTES are (pointer, length): any bytes, NULs too; a NULL pointer only with length 0. Strings end with a NUL. Keys
 *   are ordered as unsigned bytes. A range includes its start and excludes its end; an empty end means no end.
 * RETURN VALUES. A function that can fail returns an almadia_code. Outputs are written only on ALMADIA_OK, except where
 *   stated; a handle output is NULL after a failure. The last parameter, error, may be NULL; otherwise it receives
 *   NULL, or after a failure an error, which you free. NOT_FOUND and END are results without an error. Any function
 *   may return ALMADIA_NULL_POINTER (a pointer that must not be NULL is NULL) and ALMADIA_PANIC (a bug).
 * WAS IT APPLIED? The category, code / 100, tells:    1 wrong call, not applied    2 normal negative result
 *   3 certainly NOT applied: try again               4 outcome UNKNOWN, see below
 *   5 life cycle, not applied                        6 environment    7 data    9 a bug
 *   almadia_code_maybe_applied and almadia_code_is_retryable tell for every code, also for later ones.
 *   UNKNOWN means: applied, or not, or not yet - it may take effect at any later time. A read that shows the write
 *   settles the question; a read that does not settles nothing. So make it harmless to repeat a write. A change of
 *   leader leaves no outcome unknown: only a deadline, a cancellation, a shutdown or failure of the store does, and a
 *   transfer of state to a member that is far behind, which skips the log entries that would have told.
 * CONDITIONS. A batch can be applied only if its keys are as you saw them (almadia_batch_if_absent and what follows it),
 *   and compute where it is applied (almadia_batch_add, _pop, _take_first, _put_versioned). almadia_put_if_absent,
 *   _compare_and_set, _compare_and_delete, _pop, _take_first, _add and _put_versioned do that in one call. docs/conditions.md
 *   says what each promises and what a retry may assume. While a cluster is upgraded from a release that knows no
 *   conditions, they and transactions fail with ALMADIA_UNSUPPORTED until its last member is upgraded.
 * TRANSACTIONS read and write in turn (almadia_txn_begin), and take effect as if nothing else happened in between, or not
 *   at all; almadia_transact runs a function of yours until its transaction commits.
 * THREADS. Stores, snapshots, values and queues may be used by any number of threads at once; a batch, iterator,
 *   transaction, config, completion or error by one at a time, any one. The library's own threads are named almadia-*.
 * BLOCKING. A function with "Blocks: yes" waits for threads, disks or members, always with a deadline, and returns
 *   ALMADIA_WOULD_DEADLOCK inside a callback. The _async form of a function does not block.
 * DEADLINES are kept by a thread that waits for nothing else: while a disk hangs or there is no leader, a call
 *   completes at most 10 milliseconds after its deadline, plus the time that the machine takes to schedule a thread.
 *   Completions that go to callbacks then wait for the callbacks before them. Where a function says that it reads the
 *   disk on your thread, add that time.
 * ASYNC. An _async call that returned ALMADIA_OK completes exactly once; after any other code it never does. Its
 *   almadia_done names a callback, or an almadia_cq from which a thread of yours pops completions (then only your
 *   threads run your code; almadia_cq_fd is for poll and epoll). almadia_cancel cancels a call.
 * CALLBACKS run on the thread "almadia-cb", never on the stack of your call, and hold no lock of the library. They may
 *   call every function that does not block, submit more, free handles (even the store) and free user. They must return
 *   soon: the completions behind them wait. They must not throw, longjmp or fork. The completion is valid until the
 *   callback returns. Writes of one thread that succeed complete in the order in which it submitted them; nothing else
 *   is ordered.
 * AFTER SHUTDOWN no callback of the store runs, the completion of every call that had returned is in its queue, and
 *   calls return ALMADIA_CLOSED. Callbacks may still run only if the shutdown returned ALMADIA_SHUTTING_DOWN, because a
 *   disk or a callback hangs. exit() without a shutdown is fine at any moment, also inside a callback, and loses
 *   nothing that was acknowledged.
 * FORK. In a child process, stores, queues, snapshots, transactions, iterators and values return ALMADIA_FORKED, and
 *   freeing them does nothing. Opening a store there, or setting a log callback, returns it too if the parent had a store
 *   open when it forked, or a snapshot, transaction, iterator or value of one: all stores of a process share threads of the
 *   engine, which a child does not have. Fork first or close everything first. A log callback that was ever set in the
 *   parent also keeps the child from setting one. The child may exit() as it likes; fork and exec is fine too: descriptors
 *   are close-on-exec.
 * SIGNALS. The library installs no handler, blocks every signal on the threads that it starts, those of its engine
 *   included, and prints nothing. A call that a signal interrupts goes on waiting. A file that would exceed the limit of
 *   the process (ulimit -f) is an error with errno EFBIG, not SIGXFSZ. Call nothing from a signal handler. A failed
 *   memory allocation, or a C++ exception that leaves a callback, ends the process.
 * ABI. Later versions add functions, codes, and fields at the end of structs, and neither change nor reuse any. Structs
 *   carry struct_size for that, so begin with their ALMADIA_..._INIT. ALMADIA_ABI_VERSION changes if that promise is
 *   ever broken. While the major version is 0, each minor version has its own SONAME, libalmadia.so.0.MINOR.
 */


#ifndef ALMADIA_H
#define ALMADIA_H

/* Generated by cbindgen from src/capi; do not edit. ALMADIA_UPDATE_HEADER=1 cargo test --release header writes it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "almadia_platform.h"

/** Success */
#define ALMADIA_OK 0

/** An argument is outside its documented range */
#define ALMADIA_INVALID_ARGUMENT 101

/** A pointer that must not be NULL is NULL */
#define ALMADIA_NULL_POINTER 102

/** A configuration option is unknown, malformed or contradicts another */
#define ALMADIA_INVALID_CONFIG 103

/** The program was compiled against a header of another ABI version */
#define ALMADIA_ABI_MISMATCH 104

/** The buffer is smaller than the value; the needed length was written */
#define ALMADIA_BUFFER_TOO_SMALL 105

/** A blocking call inside a completion callback; use the _async form */
#define ALMADIA_WOULD_DEADLOCK 106

/** This version does not offer what was asked */
#define ALMADIA_UNSUPPORTED 107

/** A key, value or batch is larger than its limit */
#define ALMADIA_TOO_LARGE 108

/** The batch touches keys of more than one region; split it at the region boundary */
#define ALMADIA_BATCH_ACROSS_REGIONS 110

/** The key does not exist */
#define ALMADIA_NOT_FOUND 201

/** A condition of the batch was false; it was not applied */
#define ALMADIA_PRECONDITION_FAILED 202

/** What the transaction had read was changed before its commit; it was not applied, begin it again */
#define ALMADIA_CONFLICT 203

/** The iteration is at its end */
#define ALMADIA_END 204

/** Add: the value is not a number of 8 bytes, or the sum does not fit into one; the batch was not applied */
#define ALMADIA_NOT_A_NUMBER 205

/** This member does not lead the region; ask the leader */
#define ALMADIA_NOT_LEADER 301

/** No leader before the deadline, nothing was done; retry when a majority of the members is up and reachable */
#define ALMADIA_NO_LEADER 302

/** A local queue is full; retry after some completions */
#define ALMADIA_OVERLOADED 303

/** A leader transfer is under way; retry when it has ended */
#define ALMADIA_TRANSFER_IN_PROGRESS 304

/** The target of the transfer is too far behind; retry when it has caught up */
#define ALMADIA_LAGGING 306

/** The deadline passed before the write entered the log; it was not applied, retry */
#define ALMADIA_DEADLINE_BEFORE_START 307

/** The region's key range changed meanwhile; it was not applied, retry */
#define ALMADIA_REGION_CHANGED 309

/** The deadline passed while the write was in flight; it may be applied, now or later */
#define ALMADIA_TIMEOUT 401

/** The write was cancelled while it was in flight; it may be applied, now or later */
#define ALMADIA_CANCELLED_IN_FLIGHT 403

/** The store was shut down while the write was in flight; it may be applied, now or later */
#define ALMADIA_SHUTDOWN_IN_FLIGHT 404

/** The store failed while the write was in flight; it may be applied, now or later */
#define ALMADIA_FAILED_IN_FLIGHT 405

/** This member was far behind and took over another one's data while the write was in flight; it may be applied, or not */
#define ALMADIA_SKIPPED_IN_FLIGHT 406

/** The store, or the completion queue, is shut down */
#define ALMADIA_CLOSED 501

/** The call was cancelled before it had any effect */
#define ALMADIA_CANCELLED 502

/** The store accepts no more calls, but its threads have not ended in time; shut it down again to wait for them */
#define ALMADIA_SHUTTING_DOWN 503

/** A parent process had a store open when it forked; close it before, fork first, or exec */
#define ALMADIA_FORKED 504

/** This member was removed from its cluster; its number is not used again: start another member under a new number */
#define ALMADIA_REMOVED 505

/** The deadline passed before the read was confirmed; retry */
#define ALMADIA_READ_TIMEOUT 507

/** The operating system reported an error */
#define ALMADIA_IO 601

/** The disk is full */
#define ALMADIA_NO_SPACE 602

/** Another process or store has the directory open */
#define ALMADIA_LOCKED 603

/** The operating system refused access */
#define ALMADIA_PERMISSION 604

/** The network address cannot be used */
#define ALMADIA_NETWORK 605

/** Stored data is damaged */
#define ALMADIA_CORRUPTION 701

/** The directory was written by a newer version */
#define ALMADIA_INCOMPATIBLE_FORMAT 703

/** The directory belongs to another cluster or member */
#define ALMADIA_WRONG_CLUSTER 704

/** A bug in Almadia */
#define ALMADIA_INTERNAL 901

/** A bug in Almadia: a panic was caught */
#define ALMADIA_PANIC 902

/** The store stopped after an earlier error; close it and open it again */
#define ALMADIA_POISONED 903


/** The version of the binary interface that this header describes; the first argument of almadia_config_new. */
#define ALMADIA_ABI_VERSION 1

/** The longest key, in bytes. */
#define ALMADIA_KEY_BYTES_MAX 16384

/** The longest value, in bytes. */
#define ALMADIA_VALUE_BYTES_MAX 8323072

/** The largest batch, in bytes as almadia_batch_bytes counts them. The last ten bytes may not be usable. */
#define ALMADIA_BATCH_BYTES_MAX 8388608

/**
 * The most operations in a batch, as almadia_batch_count counts them. They take effect in one step, and everything
 * else waits for it: with this many operations, some tens of milliseconds.
 */
#define ALMADIA_BATCH_OPERATIONS_MAX 65536

/**
 * A list of operations that are applied together, in the order in which they were added, or not at all. One thread
 * at a time may use it.
 */
typedef struct almadia_batch almadia_batch;

/**
 * The completion of one _async call. In a callback it belongs to the library, and is valid only until the callback
 * returns; popped from a queue it is yours, until almadia_completion_free. One thread at a time may use it.
 */
typedef struct almadia_completion almadia_completion;

/** The options of a store that is still to be opened. One thread at a time may use it. */
typedef struct almadia_config almadia_config;

/**
 * A queue of completions, for programs that handle them on threads of their own instead of in callbacks. Any
 * number of threads may use it at once. It may serve several stores, and outlive them.
 */
typedef struct almadia_cq almadia_cq;

/**
 * Why a call failed: a code, a message that says what it was about, and the leader or the errno where there is
 * one.
 */
typedef struct almadia_error almadia_error;

/**
 * Iterates over the pairs of a snapshot or a transaction. One thread at a time may use it. It may outlive its snapshot and its
 * store; it pins memory and files until it is freed.
 */
typedef struct almadia_iter almadia_iter;

/**
 * The members of a cluster, as one of them saw them at one moment. It does not change, and may outlive its store. Any
 * number of threads may use it at once.
 */
typedef struct almadia_members almadia_members;

/**
 * The data of a store at one point in time. Any number of threads may use it at once. It may outlive the store; it
 * pins memory and files until it is freed.
 */
typedef struct almadia_snapshot almadia_snapshot;

/** An open store: one member of a cluster. Any number of threads may use it at once. */
typedef struct almadia_store almadia_store;

/**
 * Reads and writes that take effect together, as if nothing else happened in between, or not at all. It sees the data as
 * they were when it began, and its own writes over them; nothing of it can be seen before it is committed. It is about one
 * region.
 *
 * When it is committed all that it has read must be unchanged, else it is refused with ALMADIA_CONFLICT and certainly not
 * applied: begin it again, which almadia_transact does. Read is a key that was asked for, whether or not it exists, and
 * all that was really walked over by an iterator, gaps too. What is read by the _exempt calls may be changed.
 *
 * Limits, beyond which its calls answer ALMADIA_TOO_LARGE: 2,048 keys and separate ranges read, 65,536 keys or 64 MiB
 * iterated over, 32,768 keys and ranges written, and what a batch may have, 8 MiB.
 *
 * One thread at a time may use it, and its iterators with it. It keeps what a snapshot keeps until it is committed or
 * freed, so it should be short. It may outlive the store.
 */
typedef struct almadia_txn almadia_txn;

/**
 * A value that was read. Any number of threads may use it at once. It may outlive its snapshot and its store; it
 * pins memory until it is freed.
 */
typedef struct almadia_value almadia_value;

/**
 * The values of several keys, in the order of the keys. Any number of threads may use it at once. It may outlive
 * its snapshot and its store; it pins memory until it is freed.
 */
typedef struct almadia_values almadia_values;

/**
 * What a write tells that was applied: where, which condition was false if its other list was applied, and the results
 * of its operations. It belongs to no store. Any number of threads may use it at once.
 */
typedef struct almadia_written almadia_written;

/**
 * What every function that can fail returns: ALMADIA_OK or one of the ALMADIA_... codes above. It is an integer,
 * not an enum, because later versions add codes. Judge a code that you do not know by its category, code / 100.
 */
typedef int32_t almadia_code;

/** How serious a log record is: one of the ALMADIA_LOG_... constants. */
typedef int32_t almadia_log_level;

/**
 * Called for each log record, on the library's thread "almadia-log". `target` names the part of the library,
 * `message` is one or more lines of English; both end with a NUL and are valid until the callback returns. The
 * callback may block, at the cost of records: when 4096 are waiting, newer ones are dropped, and a record says how
 * many.
 */
typedef void (*almadia_log_callback)(void *user,
                                     almadia_log_level level,
                                     const char *target,
                                     const char *message);

/** One option, as almadia_config_option_at describes it. Begin with ALMADIA_OPTION_INIT. All texts are static. */
typedef struct almadia_option {
    /** sizeof(almadia_option). */
    size_t struct_size;
    /** The name that almadia_config_set takes. */
    const char *name;
    /** The values that it takes: "text", "true or false", or a range such as "5 to 10000". */
    const char *type_text;
    /** The value that it has unless it is set. */
    const char *default_value;
    /** What it does, and its unit. */
    const char *doc;
} almadia_option;

/**
 * What happened to a store: one of the ALMADIA_STORE_EVENT_... constants. Later versions add some: ignore those
 * that you do not know.
 */
typedef int32_t almadia_store_event_kind;

/** One event of a store. It belongs to the library and is valid until the callback returns. */
typedef struct almadia_store_event {
    /** sizeof(almadia_store_event) as the library knows it; fields beyond it do not exist. */
    size_t struct_size;
    /** What happened. */
    almadia_store_event_kind kind;
    /** Why, for ALMADIA_STORE_EVENT_POISONED; otherwise ALMADIA_OK. */
    almadia_code code;
    /** The region; 0 for ALMADIA_STORE_EVENT_POISONED and ALMADIA_STORE_EVENT_REMOVED. */
    uint64_t region_id;
    /** The number of the leading member, for ALMADIA_STORE_EVENT_LEADER_CHANGED; 0 while no leader is known. */
    uint64_t leader_id;
    /** The raft term, for ALMADIA_STORE_EVENT_LEADER_CHANGED. */
    uint64_t term;
    /**
     * The other member, for a raft snapshot; 0 when one was installed that came before the store was opened. This member,
     * for ALMADIA_STORE_EVENT_REMOVED.
     */
    uint64_t node_id;
    /** Up to here the region's log is in the raft snapshot. */
    uint64_t index;
    /** 1 when the other member has all of it, for ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_SENT; otherwise 0. */
    int32_t is_delivered;
    /** Always 0. */
    int32_t reserved;
} almadia_store_event;

/**
 * Called for an event of a store, on that store's thread "almadia-cb" and by the rules of its callbacks. It
 * reports the newest state: of several changes while the thread is busy, it may report only the last.
 */
typedef void (*almadia_store_event_callback)(void *user,
                                             const struct almadia_store_event *event);

/** The role of a member: one of the ALMADIA_ROLE_... constants. */
typedef int32_t almadia_role;

/**
 * The state of one member, as almadia_store_status reports it. Begin with ALMADIA_STATUS_INIT. Leader, term,
 * indices and role are those of the first region; almadia_store_region_at reports each region.
 */
typedef struct almadia_status {
    /** sizeof(almadia_status). */
    size_t struct_size;
    /** The number of this member. */
    uint64_t node_id;
    /** The number of the leading member, as far as this one knows; 0 when it knows none. */
    uint64_t leader_id;
    /** The raft term. */
    uint64_t term;
    /** Entries up to this index are committed. */
    uint64_t commit_index;
    /** Entries up to this index are applied here; a local snapshot shows them. */
    uint64_t applied_index;
    /** The index of the last entry in this member's log. */
    uint64_t last_index;
    /** Snapshots and iterators that are not freed yet; each pins memory and files. */
    uint64_t live_snapshots;
    /**
     * Accepted calls that are not completed yet, or whose completion waits in a queue, or that were cancelled and
     * still occupy the library.
     */
    uint64_t in_flight;
    /** The role of this member. */
    almadia_role role;
    /** Why the store stopped working (an I/O error, damage, a bug); ALMADIA_OK while it works. */
    almadia_code poisoned;
    /** The length of the raft log's files, of all regions, in bytes. */
    uint64_t log_bytes;
    /** How many files those are. */
    uint64_t log_segments;
    /**
     * The member for which this one, as a leader, keeps more log than log.retain_bytes, because it lags or is away; 0
     * for none, the first one when there are several.
     */
    uint64_t log_holder_id;
    /** Raft snapshots that this member sends at this moment; almadia_store_raft_snapshot_at reports each. */
    uint64_t snapshots_sending;
    /** Raft snapshots that this member receives at this moment. */
    uint64_t snapshots_receiving;
} almadia_status;

/**
 * Bytes. Those that the library returns belong to it: NULL and 0 when there are none, and never NUL-terminated.
 * Those that you pass are yours, and are copied.
 */
typedef struct almadia_slice {
    /** The first byte. */
    const void *data;
    /** The number of bytes. */
    size_t size;
} almadia_slice;

/**
 * The state of one region on this member, as almadia_store_region_at reports it. Begin with
 * ALMADIA_REGION_STATUS_INIT.
 */
typedef struct almadia_region_status {
    /** sizeof(almadia_region_status). */
    size_t struct_size;
    /** The number of the region, the same on every member. */
    uint64_t region_id;
    /** The number of the leading member, as far as this one knows; 0 when it knows none. */
    uint64_t leader_id;
    /** The raft term of the region. */
    uint64_t term;
    /** Entries of the region's log up to this index are committed. */
    uint64_t commit_index;
    /** Entries of the region's log up to this index are applied here; a local snapshot shows them. */
    uint64_t applied_index;
    /** The index of the region's last entry in this member's log. */
    uint64_t last_index;
    /**
     * The first key of the region; of size 0 when the region begins at the first key of all. It belongs to the
     * store and is valid until almadia_store_free.
     */
    struct almadia_slice start_key;
    /** The first key after the region; of size 0 when there is none. It belongs to the store as well. */
    struct almadia_slice end_key;
    /** The role of this member in the region. */
    almadia_role role;
    /** Always 0. */
    int32_t reserved;
    /**
     * What the region's log may hold, because the libraries of all members know it. 0: a member runs a release that
     * knows no conditions, or did a moment ago. 1: conditions, but no changes of members. 2: everything that this release
     * offers.
     */
    uint64_t feature_level;
    /** 1 while this member takes in a raft snapshot of the region: nothing is read here until that is done. Otherwise 0. */
    uint64_t installing;
    /**
     * How many members this one, as the region's leader, helps with a raft snapshot: from when it is made until they have
     * caught up.
     */
    uint64_t helped;
} almadia_region_status;

/** How far a raft snapshot has come: one of the ALMADIA_RAFT_SNAPSHOT_... constants. Later versions add some. */
typedef int32_t almadia_raft_snapshot_stage;

/**
 * A raft snapshot: the data of a region on their way to a member that needs entries that the log of its leader has no
 * more, as almadia_store_raft_snapshot_at reports it. Begin with ALMADIA_RAFT_SNAPSHOT_STATUS_INIT.
 */
typedef struct almadia_raft_snapshot_status {
    /** sizeof(almadia_raft_snapshot_status). */
    size_t struct_size;
    /** The number of the region. */
    uint64_t region_id;
    /** The member that sends it; 0 when it came before the store was opened. */
    uint64_t from_id;
    /** The member that gets it. */
    uint64_t to_id;
    /** Up to here the region's log is in it; 0 while it is made. */
    uint64_t index;
    /** How many bytes of it the receiver has taken. */
    uint64_t bytes;
    /** About how many there will be; 0 while that is unknown. */
    uint64_t bytes_estimate;
    /** How far it has come. */
    almadia_raft_snapshot_stage stage;
    /** Always 0. */
    int32_t reserved;
} almadia_raft_snapshot_status;

/** What a member of a cluster is to do: ALMADIA_MEMBER_VOTER or ALMADIA_MEMBER_LEARNER. Later versions may add some. */
typedef int32_t almadia_member_role;

/** A member of a cluster, as almadia_members_at reports it. Begin with ALMADIA_MEMBER_INIT. */
typedef struct almadia_member {
    /** sizeof(almadia_member). */
    size_t struct_size;
    /** Its number: from 1, never UINT64_MAX. */
    uint64_t node_id;
    /**
     * Where its peers reach it, as "host:port", NUL-terminated; "" if that is not known. It belongs to the
     * almadia_members and is valid as long as that.
     */
    const char *address;
    /** What it is to do. */
    almadia_member_role role;
    /** 1 when it is to lead rather than others; otherwise 0. */
    int32_t is_preferred;
    /**
     * In how many regions, of almadia_store_region_count(), it does what it is to do, as far as the asked member has
     * applied.
     */
    uint64_t settled_regions;
    /**
     * How many regions the asked member leads, and of which it so knows how far this member has come: is_live and
     * lag_entries are about these. 0 says that the asked member knows nothing of the kind: ask those that lead.
     */
    uint64_t seen_regions;
    /** Entries of the logs of these regions that it lacks, of all together. */
    uint64_t lag_entries;
    /** How many regions it leads, as far as the asked member knows. */
    uint64_t led_regions;
    /**
     * 1 when it was heard of lately in each of these regions, of which there is one at least, and for the asked member
     * itself; otherwise 0.
     */
    int32_t is_live;
    /** 1 when it is not to lead as long as others can; otherwise 0. */
    int32_t is_drained;
    /**
     * For how many milliseconds the asked member has heard nothing of it, on any connection; 0 of itself, and
     * UINT64_MAX if it never has since it was opened, or is shut down. A leader and those that follow it hear each other
     * all the time; members of which neither leads may have nothing to say to each other for long.
     */
    uint64_t last_heard_ms;
    /**
     * The version of the library that it runs, as almadia_version_string() gives it there, as it said when it connected last,
     * NUL-terminated; "" if it has not since the asked member was opened, if that is shut down, and if it runs a release
     * that does not say. It belongs to the almadia_members and is valid as long as that.
     */
    const char *version;
} almadia_member;

/** What an almadia_op does: one of the ALMADIA_OP_... constants. */
typedef int32_t almadia_op_kind;

/** One operation for almadia_batch_append_ops. An element of an array, so its size never changes. */
typedef struct almadia_op {
    /** What it does. */
    almadia_op_kind kind;
    /** Must be 0. */
    int32_t reserved;
    /** The key, or the first key of a range. */
    struct almadia_slice key;
    /** The value, or the first key after a range; empty when the range has no end. */
    struct almadia_slice value;
} almadia_op;

/**
 * What a range of keys looked like in a snapshot: which keys there were, each with its version. For
 * almadia_batch_if_range. Begin with ALMADIA_RANGE_DIGEST_INIT.
 */
typedef struct almadia_range_digest {
    /** sizeof(almadia_range_digest). */
    size_t struct_size;
    /** Of the keys and their versions; the same everywhere. */
    uint8_t digest[16];
    /** How many keys there were. */
    uint64_t keys;
    /** Bytes of the keys and values together. */
    uint64_t bytes;
} almadia_range_digest;

/** What can be reported of a write before its completion: one of the ALMADIA_EVENT_... constants, or several added. */
typedef uint32_t almadia_event;

/** A position in the log of a region. Positions of one region are ordered by index. */
typedef struct almadia_position {
    /** The log index. */
    uint64_t index;
    /** The raft term of the entry at that index. */
    uint64_t term;
} almadia_position;

/**
 * Called for an event of a write, where its completion is delivered too: on the thread "almadia-cb" by the rules
 * of callbacks, or inside almadia_cq_pop. ALMADIA_EVENT_PROPOSED, ALMADIA_EVENT_COMMITTED and the completion of
 * one write come in this order, each event at most once and none after the completion, which comes in any case. An
 * event that was not asked for, did not happen or was not seen by this member is left out. Each returns before the next one
 * begins, and before the completion can be popped, also when several threads pop one queue. The position of
 * ALMADIA_EVENT_PROPOSED is provisional: after a change of leader the write may have another one, which the
 * completion gives. `user` is the event_user of the options.
 */
typedef void (*almadia_event_callback)(void *user,
                                       almadia_event event,
                                       struct almadia_position position);

/** How to write a batch, or one put or delete. Begin with ALMADIA_WRITE_OPTIONS_INIT; NULL means the same. */
typedef struct almadia_write_options {
    /** sizeof(almadia_write_options). */
    size_t struct_size;
    /** Milliseconds after which the call completes in any case; 0 means the option write.timeout_ms. */
    uint64_t timeout_ms;
    /**
     * The events to report, added; 0 for none. For the _async functions only. They happen while this member leads
     * the region: a write that it forwards to the leader has none.
     */
    almadia_event events;
    /** Must be 0. */
    uint32_t reserved;
    /** Called for each of them; must not be NULL unless `events` is 0. */
    almadia_event_callback on_event;
    /**
     * Passed to on_event as it is. The library never dereferences it; it must be valid until the write completes,
     * and what it points to may be freed then.
     */
    void *event_user;
    /**
     * Receives, on ALMADIA_OK, the version that the write gave to all keys that it set, as almadia_value_version
     * describes it; 0 for a batch without operations. NULL if unwanted. For the calls that wait only: an _async call
     * says it with almadia_completion_version.
     */
    uint64_t *version;
    /**
     * Receives, on ALMADIA_OK and when almadia_pop or almadia_take_first found nothing, what the write tells: its version and position, the condition that was false if the
     * other list of the batch was applied, and the results of its operations; free it with almadia_written_free. NULL
     * after any failure. NULL if unwanted. For the calls that wait only: an _async call has
     * almadia_completion_take_written.
     */
    struct almadia_written **written;
} almadia_write_options;

/**
 * Called when an _async call completes: exactly once, on the library's thread "almadia-cb". `user` is the pointer
 * of almadia_done, which the library never dereferences; the callback may free what it points to.
 */
typedef void (*almadia_callback)(void *user,
                                 struct almadia_completion *completion);

/**
 * Where the completion of an _async call goes: to a callback or to a completion queue. Set exactly one of them
 * (neither is ALMADIA_NULL_POINTER, both are ALMADIA_INVALID_ARGUMENT). An accepted call completes exactly once:
 * the callback is called, or the queue has a completion to pop; a call that is not accepted never completes. Begin
 * with ALMADIA_DONE_INIT. The struct is copied.
 */
typedef struct almadia_done {
    /** sizeof(almadia_done). */
    size_t struct_size;
    /** Called with the completion; NULL when there is a cq. */
    almadia_callback callback;
    /** Passed to the callback as it is; with a cq, what almadia_completion_user returns. */
    void *user;
    /**
     * The queue that receives the completion; NULL when there is a callback. It must stay valid until the call
     * returns.
     */
    struct almadia_cq *cq;
    /** Receives the number of the call, for almadia_cancel, before the completion can arrive; NULL if unwanted. */
    uint64_t *op;
} almadia_done;

/**
 * A condition that was false, or an operation that could not be done, and what its key was like where the write was
 * judged. Begin with ALMADIA_PRECONDITION_INIT.
 */
typedef struct almadia_precondition {
    /** sizeof(almadia_precondition). */
    size_t struct_size;
    /**
     * The number of the operation in its batch, from 0. Conditions, almadia_batch_otherwise and the operations of both
     * lists count.
     */
    uint64_t operation;
    /** The version that its key had; 0 when it did not exist, and for a condition on a range. */
    uint64_t version;
    /** 1 when its key existed, else 0. */
    int32_t exists;
    /** 0. */
    int32_t reserved;
} almadia_precondition;

/** What the result of an operation is: one of the ALMADIA_RESULT_... constants. */
typedef int32_t almadia_result_kind;

/** The result of an operation. Begin with ALMADIA_OP_RESULT_INIT. */
typedef struct almadia_op_result {
    /** sizeof(almadia_op_result). */
    size_t struct_size;
    /**
     * The number of the operation in its batch, from 0. Conditions, almadia_batch_otherwise and the operations of both
     * lists count.
     */
    uint64_t operation;
    /** What it is, and so which of the next fields say something. */
    almadia_result_kind kind;
    /** 0. */
    int32_t reserved;
    /** The sum. */
    int64_t sum;
    /** The key. It belongs to the almadia_written. */
    struct almadia_slice key;
    /** The value. It belongs to the almadia_written. */
    struct almadia_slice value;
    /** The version. */
    uint64_t version;
} almadia_op_result;

/** The guarantee of a snapshot: one of the ALMADIA_LEVEL_... constants. */
typedef int32_t almadia_level;

/**
 * How to take a snapshot, or to read keys without one. Begin with ALMADIA_SNAPSHOT_OPTIONS_INIT; NULL means the
 * same. The bytes are copied.
 */
typedef struct almadia_snapshot_options {
    /** sizeof(almadia_snapshot_options). */
    size_t struct_size;
    /** Milliseconds after which the call completes in any case; 0 means the option read.timeout_ms. */
    uint64_t timeout_ms;
    /** Its guarantee; 0 is ALMADIA_LEVEL_LINEARIZABLE. */
    almadia_level level;
    /** Must be 0. */
    int32_t reserved;
    /**
     * The first key that the snapshot shows. Every region that owns a key of the range must confirm the snapshot,
     * so with several regions a narrow range is cheaper than all keys.
     */
    const void *start;
    /** Its length in bytes; 0 means the first key of all. */
    size_t start_length;
    /** The first key after the range, which the snapshot does not show. */
    const void *end;
    /** Its length in bytes; 0 means no end. */
    size_t end_length;
    /**
     * With ALMADIA_LEVEL_LOCAL: wait until this member has applied its region at least up to this index, such as
     * that of a write acknowledged by another member; 0 does not wait. ALMADIA_READ_TIMEOUT when it has not in time,
     * also for an index beyond the end of the log. Each region has a log of its own: the index must be one of the
     * region that is read, and the keys must lie within one region. ALMADIA_LEVEL_LINEARIZABLE shows every
     * acknowledged write anyway and ignores it.
     */
    uint64_t min_index;
} almadia_snapshot_options;

/**
 * What to iterate over. Begin with ALMADIA_ITER_OPTIONS_INIT; NULL means the same: all keys, ascending. Bounds of
 * length 0 are no bounds. The bytes are copied.
 */
typedef struct almadia_iter_options {
    /** sizeof(almadia_iter_options). */
    size_t struct_size;
    /** The smallest key shown. */
    const void *lower;
    /** Its length in bytes. */
    size_t lower_length;
    /** The first key after the range, which is not shown. */
    const void *upper;
    /** Its length in bytes. */
    size_t upper_length;
    /** Only keys that begin with this are shown. If there are bounds too, both apply. */
    const void *prefix;
    /** Its length in bytes. */
    size_t prefix_length;
    /** 1: descending, so that first is the largest key and next goes to the next smaller one. 0: ascending. */
    int32_t reverse;
    /** Must be 0. */
    int32_t reserved;
} almadia_iter_options;

/** A key and its value. */
typedef struct almadia_kv {
    /** The key. */
    struct almadia_slice key;
    /** The value. */
    struct almadia_slice value;
} almadia_kv;

/** How to begin a transaction. Begin with ALMADIA_TXN_OPTIONS_INIT; NULL means the same. The bytes are copied. */
typedef struct almadia_txn_options {
    /** sizeof(almadia_txn_options). */
    size_t struct_size;
    /**
     * Milliseconds after which its beginning completes in any case; 0 means the option read.timeout_ms. For
     * almadia_transact the time for everything; 0 means the option write.timeout_ms.
     */
    uint64_t timeout_ms;
    /**
     * What it sees: 0 is ALMADIA_LEVEL_LINEARIZABLE. ALMADIA_LEVEL_LOCAL saves the question whether this member is up to
     * date, so it is more likely to be refused; what it commits is no weaker. Of almadia_transact only the first try sees
     * so.
     */
    almadia_level level;
    /** Must be 0. */
    int32_t reserved;
    /** Any key of the region in which all its keys are. */
    const void *key;
    /** Its length in bytes; 0 means the first region, in most stores the only one. */
    size_t key_length;
} almadia_txn_options;

/**
 * What almadia_transact runs, on its caller's thread, perhaps more than once: it reads and writes through `txn`, which it
 * neither commits nor frees, and returns ALMADIA_OK to have it committed. With any other number nothing is applied. What
 * it does beside the transaction happens each time. It must return, not jump or throw.
 */
typedef almadia_code (*almadia_txn_body)(void *user,
                                         struct almadia_txn *txn);

/** What a transaction had read, and another write changed before its commit. Begin with ALMADIA_CONFLICT_INIT. */
typedef struct almadia_conflict {
    /** sizeof(almadia_conflict). */
    size_t struct_size;
    /**
     * 0: it is `key`, which was set or removed. 1: it is one of the keys from `key` up to but not including `end`, over
     * which the transaction had iterated: one was set or removed, or there is another one.
     */
    int32_t is_range;
    /** 0. */
    int32_t reserved;
    /** The key, or the first one of the range. It belongs to the error. */
    struct almadia_slice key;
    /** The end of the range; of length 0 when it is that of all keys. It belongs to the error. */
    struct almadia_slice end;
} almadia_conflict;

/**
 * How to hand over leadership. Begin with ALMADIA_LEADER_TRANSFER_OPTIONS_INIT; NULL means the same. The bytes are
 * copied.
 */
typedef struct almadia_leader_transfer_options {
    /** sizeof(almadia_leader_transfer_options). */
    size_t struct_size;
    /** Milliseconds after which the call completes in any case; 0 means the option write.timeout_ms. */
    uint64_t timeout_ms;
    /**
     * The number of the member that is to lead; 0 leaves the choice to the leader, which takes the voter that has
     * the least to catch up.
     */
    uint64_t target;
    /** Any key of the region whose leadership is handed over. With one region it does not matter. */
    const void *key;
    /** Its length in bytes; 0 means the first region. */
    size_t key_length;
} almadia_leader_transfer_options;

/** What is to happen to a member: one of the ALMADIA_MEMBER_CHANGE_... constants. Later versions add some. */
typedef int32_t almadia_member_change_kind;

/**
 * A change of the members of a cluster, for almadia_members_change. Begin with ALMADIA_MEMBER_CHANGE_INIT, and set kind and
 * what that kind uses; the other fields must be 0 and NULL. The text is copied.
 */
typedef struct almadia_member_change {
    /** sizeof(almadia_member_change). */
    size_t struct_size;
    /** What is to happen. */
    almadia_member_change_kind kind;
    /** ALMADIA_MEMBER_CHANGE_ADD: what the new member is to do. Without ALMADIA_MEMBER_LEARNER it votes. */
    almadia_member_role role;
    /**
     * The number of the member that is changed, added, removed or replaced. That of a new member is higher than any that
     * there ever was in this cluster, and below UINT64_MAX.
     */
    uint64_t node_id;
    /** ALMADIA_MEMBER_CHANGE_REPLACE: the number of the new member. */
    uint64_t by_id;
    /**
     * ALMADIA_MEMBER_CHANGE_ADD, _REPLACE and _MOVE: where others reach the member, as `host:port` or `[address]:port` in
     * UTF-8, NUL-terminated, at most 300 bytes; the port is not 0, and no other member has the same address.
     */
    const char *address;
    /** ALMADIA_MEMBER_CHANGE_PREFER: 1 or 0. */
    int32_t is_preferred;
    /** ALMADIA_MEMBER_CHANGE_DRAIN: 1 or 0. */
    int32_t is_drained;
} almadia_member_change;

/** Something failed. A store that stops says why. */
#define ALMADIA_LOG_ERROR 1

/** Something is wrong, and the library deals with it by itself. */
#define ALMADIA_LOG_WARN 2

/** What an operator wants to know. */
#define ALMADIA_LOG_INFO 3

/** What helps to debug a cluster: elections, connections. */
#define ALMADIA_LOG_DEBUG 4

/** Everything. */
#define ALMADIA_LOG_TRACE 5

/**
 * The leader of region_id has changed, as far as this member knows: it is leader_id now, or 0 while no leader is
 * known.
 */
#define ALMADIA_STORE_EVENT_LEADER_CHANGED 1

/** The store stopped working, for the reason `code`, and returns ALMADIA_POISONED from now on. */
#define ALMADIA_STORE_EVENT_POISONED 2

/**
 * This member, as a leader, has sent node_id the data of region_id as a raft snapshot, up to `index` of the region's log:
 * is_delivered says whether node_id has all of it. If not, it is tried again.
 */
#define ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_SENT 3

/** The data of a raft snapshot from node_id, up to `index` of the log of region_id, have become those of this member. */
#define ALMADIA_STORE_EVENT_RAFT_SNAPSHOT_INSTALLED 4

/**
 * This member, node_id, was removed from its cluster, for good, and its store returns ALMADIA_REMOVED from now on. Shut it
 * down; its directory is of no more use.
 */
#define ALMADIA_STORE_EVENT_REMOVED 5

/** Follows a leader. */
#define ALMADIA_ROLE_FOLLOWER 0

/** Asks for votes. */
#define ALMADIA_ROLE_CANDIDATE 1

/** Leads. */
#define ALMADIA_ROLE_LEADER 2

/** This member, which leads, makes it for another one, or it waits for its turn. */
#define ALMADIA_RAFT_SNAPSHOT_MAKING 1

/** This member sends it. */
#define ALMADIA_RAFT_SNAPSHOT_SENDING 2

/** This member receives it. */
#define ALMADIA_RAFT_SNAPSHOT_RECEIVING 3

/** This member has all of it, and puts it in the place of what it had of the region. */
#define ALMADIA_RAFT_SNAPSHOT_INSTALLING 4

/** It votes: its copy counts towards the majority that a write needs, and it may lead. */
#define ALMADIA_MEMBER_VOTER 0

/** It has all data and serves its program, and counts towards no majority. */
#define ALMADIA_MEMBER_LEARNER 1

/** Set `key` to `value`. */
#define ALMADIA_OP_PUT 1

/** Remove `key`; `value` must be empty. */
#define ALMADIA_OP_DELETE 2

/** Remove every key from `key` (included) to `value` (not included); an empty `value` means the end of all keys. */
#define ALMADIA_OP_DELETE_RANGE 3

/** The leader has the write in its log, in memory. It may still be lost, or overwritten by another leader's entry. */
#define ALMADIA_EVENT_PROPOSED 1

/**
 * The write is on the disks of a majority and its outcome is settled: it is applied, or refused for a reason that
 * its completion gives. Reads need not show it before its completion.
 */
#define ALMADIA_EVENT_COMMITTED 2

/** There was nothing to pop or take. */
#define ALMADIA_RESULT_NOTHING 0

/** The `sum` of an addition. */
#define ALMADIA_RESULT_SUM 1

/** The `key` that was made, with its `version`. */
#define ALMADIA_RESULT_KEY 2

/** The `key` that was popped or taken, with the `value` and `version` that it had. */
#define ALMADIA_RESULT_VALUE 3

/**
 * It shows every write that any member acknowledged before the snapshot was asked for, and the writes of a region
 * in one order. Over several regions there is no such order: see almadia_snapshot_open.
 */
#define ALMADIA_LEVEL_LINEARIZABLE 0

/**
 * It shows what this member has applied. It needs no other member, may lag behind, and may go back in time across
 * a restart.
 */
#define ALMADIA_LEVEL_LOCAL 1

/**
 * A new member, node_id, which others reach at `address`, and which is to be a `role`. Its program opens an empty
 * directory with the option cluster.join, before or after this call.
 */
#define ALMADIA_MEMBER_CHANGE_ADD 1

/**
 * node_id goes, for good: its number never comes back. It may be down. If it is up, its store returns ALMADIA_REMOVED
 * once it knows.
 */
#define ALMADIA_MEMBER_CHANGE_REMOVE 2

/**
 * node_id goes, for good, and a new member, by_id, which others reach at `address`, takes its place and its role; as
 * ALMADIA_MEMBER_CHANGE_ADD and _REMOVE in one step. For a member whose directory is lost.
 */
#define ALMADIA_MEMBER_CHANGE_REPLACE 3

/** node_id, a learner, is to vote. */
#define ALMADIA_MEMBER_CHANGE_PROMOTE 4

/** node_id, a voter, is to be a learner, and no longer preferred. */
#define ALMADIA_MEMBER_CHANGE_DEMOTE 5

/** Others reach node_id at `address` from now on. A member that is opened with another transport.announce says so itself. */
#define ALMADIA_MEMBER_CHANGE_MOVE 6

/** node_id, a voter, is to lead rather than others (is_preferred is 1), or no more than others (0). */
#define ALMADIA_MEMBER_CHANGE_PREFER 7

/**
 * node_id is not to lead as long as others can (is_drained is 1), as before it is taken down for long, or may lead again
 * (0).
 */
#define ALMADIA_MEMBER_CHANGE_DRAIN 8

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the running library, such as "0.1.0"; ALMADIA_VERSION_STRING is that of the header.
 *
 * Static; never free it. Blocks: no. Threads: any.
 */
ALMADIA_API
const char *almadia_version_string(void);

/**
 * The version of the running library as major * 1000000 + minor * 1000 + patch.
 *
 * Blocks: no. Threads: any.
 */
ALMADIA_API
uint32_t almadia_version_number(void);

/**
 * The ALMADIA_ABI_VERSION of the running library.
 *
 * Blocks: no. Threads: any.
 */
ALMADIA_API
uint32_t almadia_abi_version(void);

/**
 * The name of a code, such as "ALMADIA_NOT_FOUND"; "ALMADIA_?" for a number that is no code.
 *
 * Static; never free it. Blocks: no. Threads: any.
 */
ALMADIA_API
const char *almadia_code_name(almadia_code code);

/**
 * What a code means and what to do about it; "unknown code" for a number that is no code.
 *
 * Static; never free it. Blocks: no. Threads: any.
 */
ALMADIA_API
const char *almadia_code_message(almadia_code code);

/**
 * True when the call was certainly not applied and the same call, unchanged, can succeed later or on another
 * member.
 *
 * Blocks: no. Threads: any.
 */
ALMADIA_API
bool almadia_code_is_retryable(almadia_code code);

/**
 * True when a write that failed with this code may have been applied, or may still be applied at any later time: a
 * read that shows the write settles the question, a read that does not settles nothing. False when the write
 * certainly was not and never will be applied (or, for ALMADIA_OK, when it was).
 *
 * Blocks: no. Threads: any.
 */
ALMADIA_API
bool almadia_code_maybe_applied(almadia_code code);

/**
 * The code of an error, the same that the failed call returned. ALMADIA_OK for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
almadia_code almadia_error_code(const struct almadia_error *error);

/**
 * What happened, to what, and what to do about it, in English. "" for NULL. It belongs to the error.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
const char *almadia_error_message(const struct almadia_error *error);

/**
 * The number of the leading member, when the error knows it (ALMADIA_NOT_LEADER); otherwise 0, also for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
uint64_t almadia_error_leader(const struct almadia_error *error);

/**
 * The errno of the operating system's error behind this one; 0 when there is none, also for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
int32_t almadia_error_errno(const struct almadia_error *error);

/**
 * True when the write that failed with this error may have been applied, or may still be; see
 * almadia_code_maybe_applied. False for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
bool almadia_error_maybe_applied(const struct almadia_error *error);

/**
 * Frees an error. NULL is fine. Not for the error of a completion, which belongs to the completion.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
void almadia_error_free(struct almadia_error *error);

/**
 * Sends the log records of the whole library, in this process, to `callback` from now on; NULL ends that. `user`
 * is passed to each call. `level` is the least serious level that you want, ALMADIA_LOG_INFO for most programs. A
 * second call replaces the first. When it returns, the previous callback is not running and will not be called
 * again.
 *
 * Blocks: yes, while a callback is running; inside a log callback it returns ALMADIA_WOULD_DEADLOCK too. Threads:
 * any number at once. Codes: ALMADIA_INVALID_ARGUMENT (level), ALMADIA_WOULD_DEADLOCK, ALMADIA_FORKED, ALMADIA_IO
 * (no thread can be started), ALMADIA_UNSUPPORTED (another logger is installed, in a Rust program).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_log_set_callback(almadia_log_callback callback,
                                      void *user,
                                      almadia_log_level level,
                                      struct almadia_error **error);

/**
 * Makes a configuration in which every option has its default: a cluster of this member alone. Pass
 * ALMADIA_ABI_VERSION as `abi_version`, so that the library can refuse a program that was compiled against an
 * incompatible header.
 *
 * `config` receives the handle; free it with almadia_config_free. Blocks: no. Threads: any. Codes:
 * ALMADIA_ABI_MISMATCH.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_config_new(uint32_t abi_version,
                                struct almadia_config **config,
                                struct almadia_error **error);

/**
 * Sets one option. Both strings are UTF-8 and are copied. almadia_config_option_at lists all options.
 *
 * A value is checked here as far as that is possible without the other options; whether they agree is checked when a
 * store is opened.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_INVALID_CONFIG (an unknown option, or a value that is malformed
 * or out of range: the message names the option and shows the right form), ALMADIA_INVALID_ARGUMENT (not UTF-8).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_config_set(struct almadia_config *config,
                                const char *name,
                                const char *value,
                                struct almadia_error **error);

/**
 * Copies the value of one option into `buffer` as a NUL-terminated string. `length` receives its length without
 * the NUL, also when the call returns ALMADIA_BUFFER_TOO_SMALL. To ask for the length alone, pass a `capacity` of
 * 0; `buffer` may then be NULL.
 *
 * Blocks: no. Threads: any number at once while none sets an option. Codes: ALMADIA_INVALID_CONFIG (unknown
 * option), ALMADIA_BUFFER_TOO_SMALL (capacity < length + 1), ALMADIA_INVALID_ARGUMENT (not UTF-8).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_config_get(const struct almadia_config *config,
                                const char *name,
                                char *buffer,
                                size_t capacity,
                                size_t *length,
                                struct almadia_error **error);

/**
 * The number of options.
 *
 * Blocks: no. Threads: any.
 */
ALMADIA_API
size_t almadia_config_option_count(void);

/**
 * Describes the option at `index`, from 0 to almadia_config_option_count() - 1. Begin `option` with
 * ALMADIA_OPTION_INIT. The texts that it receives are static; never free them.
 *
 * Blocks: no. Threads: any. Codes: ALMADIA_END (no option has this index), ALMADIA_INVALID_ARGUMENT (struct_size).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_config_option_at(size_t index,
                                      struct almadia_option *option);

/**
 * Frees a configuration. NULL is fine. Stores opened with it are not affected.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
void almadia_config_free(struct almadia_config *config);

/**
 * Sets the callback for the events of every store that is opened with this configuration from now on. It runs on
 * the thread "almadia-cb" of the store in question, until that store's shutdown returns; NULL ends that for stores
 * opened later. `user` is passed to each call.
 *
 * Blocks: no. Threads: one at a time. Codes: none but ALMADIA_NULL_POINTER.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_config_set_event_callback(struct almadia_config *config,
                                               almadia_store_event_callback callback,
                                               void *user,
                                               struct almadia_error **error);

/**
 * Opens the directory `path`, creating it at the first start (its parent must exist), and starts this member's
 * threads. `config` is read and not kept. The call returns when the member's own files are checked and open. It
 * does not wait for the other members (see almadia_store_wait_leader). Writes that were not flushed before the
 * last exit are applied again in the background; the first reads wait for that, within their timeouts.
 *
 * With the option cluster.join the first start asks those members to let this one in and waits for it, for
 * cluster.join_timeout_ms at most: they do once almadia_members_change has added it. Then the data come in the
 * background: see almadia_store_wait_ready.
 *
 * A relative `path` is resolved against the current working directory, which may change afterwards; the directory
 * itself must keep its path while the store is open. Each of the descriptors 0, 1 and 2 that is closed is opened
 * as /dev/null and stays open, in child processes too: otherwise a program that writes to a closed standard error
 * would write into the store. So close none of them while a store is open; redirect them to /dev/null instead.
 *
 * `store` receives the handle; free it with almadia_store_free. Blocks: yes, on the disk, and until a member is let
 * in. Threads: any. Codes:
 * ALMADIA_INVALID_CONFIG (options that contradict each other), ALMADIA_INVALID_ARGUMENT (`path` is empty, a file,
 * or a directory that holds other files), ALMADIA_LOCKED (already open, here or in another process),
 * ALMADIA_WRONG_CLUSTER, ALMADIA_INCOMPATIBLE_FORMAT, ALMADIA_CORRUPTION, ALMADIA_IO (also when the system refuses a
 * thread: the errno is EAGAIN), ALMADIA_NO_SPACE, ALMADIA_PERMISSION, ALMADIA_NETWORK (the listen address; no
 * member has let this one in within the time), ALMADIA_REMOVED (it was removed before it was let in),
 * ALMADIA_WOULD_DEADLOCK, ALMADIA_FORKED (the parent process had a store open when it forked, or a snapshot, iterator
 * or value of one).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_store_open(const char *path,
                                const struct almadia_config *config,
                                struct almadia_store **store,
                                struct almadia_error **error);

/**
 * Stops a store within `timeout_ms` milliseconds. New calls return ALMADIA_CLOSED from now on. Calls in flight may
 * finish, except in the last second of that time (or in its last half, if that is shorter), which is reserved for
 * ending threads: then they fail with ALMADIA_SHUTDOWN_IN_FLIGHT (may have been applied) or ALMADIA_CLOSED (not
 * applied). In the time that they leave, an election timeout at most, the store hands over what it leads, as
 * almadia_leader_transfer does. With a timeout of 0, calls in flight are cut off at once, the other members must
 * first notice that this one is gone, and the threads have five seconds to end, of which they need very little
 * while the disk works.
 *
 * On ALMADIA_OK every callback has returned, no callback will run again, and all threads have ended.
 * ALMADIA_SHUTTING_DOWN means that they have not: a disk that hangs, or a callback that does not return, keeps one
 * of them; the error says which. Every call is completed all the same. But until that thread ends, callbacks may
 * still run, so keep what they use, and the directory stays locked; a thread of the library waits for that end and
 * does the rest.
 *
 * The handle stays valid until almadia_store_free; snapshots and iterators stay usable, and keep the directory
 * locked until they are freed. The function may be called again, also after ALMADIA_SHUTTING_DOWN, and by several
 * threads at once: every caller waits for the end, up to its own timeout. Blocks: yes, for the timeout at most.
 * Threads: any number at once. Codes: ALMADIA_SHUTTING_DOWN, ALMADIA_WOULD_DEADLOCK, ALMADIA_FORKED.
 */
ALMADIA_API
almadia_code almadia_store_shutdown(struct almadia_store *store,
                                    uint64_t timeout_ms,
                                    struct almadia_error **error);

/**
 * Frees a store, after almadia_store_shutdown with a timeout of 0 if no shutdown has returned ALMADIA_OK. NULL is
 * fine. Callbacks that run meanwhile may still use the handle; no other thread may. If the threads do not end
 * within those five seconds, the handle is gone all the same, and the remaining callbacks run as after
 * ALMADIA_SHUTTING_DOWN: to be sure that there are none, shut the store down first. Inside a callback the function
 * does not wait: the handle is gone when it returns, a thread of the library does the rest, and calls in flight
 * are still completed. In a child process it does nothing.
 *
 * Blocks: yes, for five seconds at most; inside a callback no. Threads: one.
 */
ALMADIA_API
void almadia_store_free(struct almadia_store *store);

/**
 * Reports the state of this member. Begin `status` with ALMADIA_STATUS_INIT. It also works on a store that is
 * poisoned or shut down.
 *
 * Blocks: no. Threads: any number at once. Codes: ALMADIA_INVALID_ARGUMENT (struct_size), ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_store_status(struct almadia_store *store,
                                  struct almadia_status *status,
                                  struct almadia_error **error);

/**
 * Waits up to `timeout_ms` milliseconds until this member knows a leader of every region. `leader` receives the
 * number of the first region's leader; it may be NULL.
 *
 * Blocks: yes. Threads: any number at once. Codes: ALMADIA_NO_LEADER (none in time), ALMADIA_CLOSED,
 * ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK, ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_store_wait_leader(struct almadia_store *store,
                                       uint64_t timeout_ms,
                                       uint64_t *leader,
                                       struct almadia_error **error);

/**
 * Waits up to `timeout_ms` milliseconds until this member, which was opened with the option cluster.join, has the data of
 * every region. Before that reads here wait for it, within their own timeouts. A member that is no new one is ready once
 * it has applied what it had, usually at once.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_READ_TIMEOUT (not in time; the error
 * names a region, and waiting again is fine), ALMADIA_REMOVED, ALMADIA_CLOSED, ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK,
 * ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_store_wait_ready(struct almadia_store *store,
                                      uint64_t timeout_ms,
                                      struct almadia_error **error);

/**
 * The metrics of this member since it was opened, as text in the Prometheus format (0.0.4): gauges of its state,
 * and histograms, in seconds, of each stage of writes and reads. Names and buckets do not change within a major
 * version.
 *
 * `text` receives the handle; free it with almadia_value_free. Blocks: no. Threads: any number at once. Codes:
 * ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_store_metrics(struct almadia_store *store,
                                   struct almadia_value **text,
                                   struct almadia_error **error);

/**
 * The number of regions of the store; 1 unless the option bootstrap.split_keys says otherwise. 0 for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
size_t almadia_store_region_count(struct almadia_store *store);

/**
 * Reports the state of the region at `index`, from 0 to almadia_store_region_count() - 1, in the order of their
 * keys. Begin `status` with ALMADIA_REGION_STATUS_INIT. It also works on a store that is poisoned or shut down.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_END (no region has this index; without an
 * error object), ALMADIA_INVALID_ARGUMENT (struct_size), ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_store_region_at(struct almadia_store *store,
                                     size_t index,
                                     struct almadia_region_status *status,
                                     struct almadia_error **error);

/**
 * Reports the raft snapshot at `index`, from 0 until ALMADIA_END, of those that this member makes, sends, receives and
 * installs at this moment. Usually there is none. Each call looks anew: when one begins or ends meanwhile, a walk over the
 * indices may miss another or see it twice. Begin `status` with ALMADIA_RAFT_SNAPSHOT_STATUS_INIT; at the
 * end it is cleared.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_END (there are no more; without an error object),
 * ALMADIA_INVALID_ARGUMENT (struct_size), ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_store_raft_snapshot_at(struct almadia_store *store,
                                            size_t index,
                                            struct almadia_raft_snapshot_status *status,
                                            struct almadia_error **error);

/**
 * The members of the cluster as this one knows them now; other members may know of a change earlier or later. It also works
 * on a store that is poisoned, removed or shut down.
 *
 * `members` receives the handle; free it with almadia_members_free. Blocks: no. Threads: any number at once; callbacks
 * too. Codes: ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_members_list(struct almadia_store *store,
                                  struct almadia_members **members,
                                  struct almadia_error **error);

/**
 * Counts the changes of the members of the cluster, those of members that joined included; 0 as long as there was none,
 * and for NULL. Lists with the same version that is not 0, also of different members, have the same members with the same
 * addresses and roles.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
uint64_t almadia_members_version(const struct almadia_members *members);

/**
 * The number of members. 0 for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
size_t almadia_members_count(const struct almadia_members *members);

/**
 * Reports the member at `index`, from 0 to almadia_members_count() - 1, in the order of their numbers. Begin `member` with
 * ALMADIA_MEMBER_INIT.
 *
 * Blocks: no. Threads: any number at once. Codes: ALMADIA_END (there are fewer), ALMADIA_INVALID_ARGUMENT (struct_size).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_members_at(const struct almadia_members *members,
                                size_t index,
                                struct almadia_member *member);

/**
 * What the regions wait for that had not followed the last change yet, as far as the asked member knew: sentences in
 * English for an operator, one a line, NUL-terminated. "" when all had followed, and for NULL. It belongs to the
 * almadia_members and is valid as long as that.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
const char *almadia_members_unsettled(const struct almadia_members *members);

/**
 * Frees a list, with the texts that it lent. NULL is fine.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
void almadia_members_free(struct almadia_members *members);

/**
 * Makes an empty batch. It belongs to no store and may be written to any.
 *
 * `batch` receives the handle; free it with almadia_batch_free. Blocks: no. Threads: any. Codes: none but
 * ALMADIA_NULL_POINTER.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_new(struct almadia_batch **batch,
                               struct almadia_error **error);

/**
 * Adds an operation that sets `key` to `value`. Both are copied; both may be empty and may contain NULs.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE (the key, the value, or the batch in bytes or
 * operations; the message says which).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_put(struct almadia_batch *batch,
                               const void *key,
                               size_t key_length,
                               const void *value,
                               size_t value_length,
                               struct almadia_error **error);

/**
 * Adds an operation that removes `key`. It is no error if the key does not exist.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_delete(struct almadia_batch *batch,
                                  const void *key,
                                  size_t key_length,
                                  struct almadia_error **error);

/**
 * Adds an operation that removes every key from `begin` (included) to `end` (not included). An empty `end` means
 * the end of all keys, and takes 16 KiB of the batch; if `begin` is empty too, all keys are removed.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (begin is after an end
 * that is not empty).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_delete_range(struct almadia_batch *batch,
                                        const void *begin,
                                        size_t begin_length,
                                        const void *end,
                                        size_t end_length,
                                        struct almadia_error **error);

/**
 * Adds `count` operations in one call, all or none. Keys and values are copied.
 *
 * Blocks: no. Threads: one at a time. Codes: those of almadia_batch_put and almadia_batch_delete_range;
 * ALMADIA_UNSUPPORTED (a kind that this version does not know, or reserved is not 0), ALMADIA_INVALID_ARGUMENT (a
 * delete with a value). The message names the operation.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_append_ops(struct almadia_batch *batch,
                                      const struct almadia_op *ops,
                                      size_t count,
                                      struct almadia_error **error);

/**
 * Removes all operations. NULL is fine.
 *
 * Blocks: no. Threads: one at a time.
 */
ALMADIA_API
void almadia_batch_clear(struct almadia_batch *batch);

/**
 * The number of operations in a batch, ALMADIA_BATCH_OPERATIONS_MAX at most. 0 for NULL.
 *
 * Blocks: no. Threads: any number at once while none adds.
 */
ALMADIA_API
size_t almadia_batch_count(const struct almadia_batch *batch);

/**
 * The size of a batch in bytes: its keys, its values and a few bytes for each operation. ALMADIA_BATCH_BYTES_MAX
 * at most. 0 for NULL.
 *
 * Blocks: no. Threads: any number at once while none adds.
 */
ALMADIA_API
size_t almadia_batch_bytes(const struct almadia_batch *batch);

/**
 * Frees a batch. NULL is fine.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
void almadia_batch_free(struct almadia_batch *batch);

/**
 * Adds a condition: the batch is applied only if `key` does not exist.
 *
 * All conditions of a batch are judged on the state before it, wherever they stand in it, where the write is
 * applied: in the order of the log, on every member alike. If one is false, nothing of the batch is applied but
 * what stands behind almadia_batch_otherwise; without that the write fails with ALMADIA_PRECONDITION_FAILED,
 * certainly not applied, and almadia_error_precondition tells which condition it was. A condition counts as an
 * operation. A batch may look at 4,096 keys: its conditions, additions and keys to take.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (behind
 * almadia_batch_otherwise).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_if_absent(struct almadia_batch *batch,
                                     const void *key,
                                     size_t key_length,
                                     struct almadia_error **error);

/**
 * Adds a condition: the batch is applied only if `key` exists. See almadia_batch_if_absent.
 *
 * Blocks: no. Threads: one at a time. Codes: as almadia_batch_if_absent.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_if_present(struct almadia_batch *batch,
                                      const void *key,
                                      size_t key_length,
                                      struct almadia_error **error);

/**
 * Adds a condition: the batch is applied only if `key` has this version, so that nobody has written it since it was
 * seen; with `version` 0, only if it does not exist. See almadia_value_version and almadia_batch_if_absent.
 *
 * Blocks: no. Threads: one at a time. Codes: as almadia_batch_if_absent.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_if_version(struct almadia_batch *batch,
                                      const void *key,
                                      size_t key_length,
                                      uint64_t version,
                                      struct almadia_error **error);

/**
 * Adds a condition: the batch is applied only if `key` has this value, which somebody may have written again. See
 * almadia_batch_if_absent.
 *
 * Blocks: no. Threads: one at a time. Codes: as almadia_batch_if_absent.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_if_value(struct almadia_batch *batch,
                                    const void *key,
                                    size_t key_length,
                                    const void *value,
                                    size_t value_length,
                                    struct almadia_error **error);

/**
 * Adds a condition: the batch is applied only if the keys from `begin` (included) to `end` (not included) are those
 * that `seen` is the digest of, each with the version it had then. An empty `end` means the end of all keys. `seen`
 * comes from almadia_snapshot_digest with the same range. See almadia_batch_if_absent.
 *
 * Blocks: no. Threads: one at a time. Codes: as almadia_batch_if_absent, and ALMADIA_TOO_LARGE (the ranges of the
 * batch have more than 65,536 keys or 64 MiB together), ALMADIA_INVALID_ARGUMENT (begin is after an end that is not
 * empty; struct_size), ALMADIA_UNSUPPORTED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_if_range(struct almadia_batch *batch,
                                    const void *begin,
                                    size_t begin_length,
                                    const void *end,
                                    size_t end_length,
                                    const struct almadia_range_digest *seen,
                                    struct almadia_error **error);

/**
 * What is added from here on is applied instead, if a condition is false. The write succeeds then, and
 * almadia_written_failed tells the condition.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (the second time).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_otherwise(struct almadia_batch *batch,
                                     struct almadia_error **error);

/**
 * Adds an operation that adds `delta` to the value of `key`, a number of 8 bytes, little-endian; a key that does
 * not exist counts as 0. Its result is the sum. With a value of another length, or a sum that does not fit, the
 * write fails with ALMADIA_NOT_A_NUMBER, certainly not applied.
 *
 * A write whose outcome is unknown must not be repeated when it adds: it may add twice.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_add(struct almadia_batch *batch,
                               const void *key,
                               size_t key_length,
                               int64_t delta,
                               struct almadia_error **error);

/**
 * Adds an operation that sets a new key to `value`: `prefix`, then the version of the write (8 bytes), then the
 * number of this operation in the batch (2 bytes), both big-endian. So the keys under a prefix are in the order of
 * their writes, and writers do not meet. Its result is the key.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE (the prefix: 10 bytes less than the longest key).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_put_versioned(struct almadia_batch *batch,
                                         const void *prefix,
                                         size_t prefix_length,
                                         const void *value,
                                         size_t value_length,
                                         struct almadia_error **error);

/**
 * Adds an operation that removes `key`. Its result is the value and the version that the key had, or that it did
 * not exist.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_pop(struct almadia_batch *batch,
                               const void *key,
                               size_t key_length,
                               struct almadia_error **error);

/**
 * Adds an operation that removes the first key from `begin` (included) to `end` (not included). An empty `end`
 * means the end of all keys. Its result is that key with its value and version, or that there is none. The whole
 * range must belong to the region of the batch.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (begin is after an end
 * that is not empty).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_batch_take_first(struct almadia_batch *batch,
                                      const void *begin,
                                      size_t begin_length,
                                      const void *end,
                                      size_t end_length,
                                      struct almadia_error **error);

/**
 * Writes `batch`, whose keys must all belong to one region, and waits until it is durable on a majority of the
 * members and readable. On ALMADIA_OK the batch was applied and is empty, ready for the next operations, and
 * `position` (NULL if unwanted) receives its position in the log. After a failure the batch is unchanged, and the
 * code says whether it was applied: certainly not, or unknown (category 4; see almadia_code_maybe_applied). A
 * change of leader is no failure: the batch is applied exactly once, and waits for the next leader until its
 * deadline.
 *
 * A batch without operations costs no entry of the log: it is answered as a linearizable read of the first region
 * is, and `position` covers every write that was acknowledged before the call.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once, each with its own batch. Codes:
 * ALMADIA_PRECONDITION_FAILED, ALMADIA_NOT_A_NUMBER (see almadia_batch_if_absent and almadia_batch_add),
 * ALMADIA_BATCH_ACROSS_REGIONS, ALMADIA_OVERLOADED, ALMADIA_NO_LEADER, ALMADIA_DEADLINE_BEFORE_START,
 * ALMADIA_REGION_CHANGED (none of them applied), ALMADIA_TIMEOUT, ALMADIA_SHUTDOWN_IN_FLIGHT, ALMADIA_FAILED_IN_FLIGHT
 * (outcome unknown), ALMADIA_READ_TIMEOUT (a batch without operations), ALMADIA_CLOSED, ALMADIA_FORKED,
 * ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK, ALMADIA_UNSUPPORTED (a field of `options` that this version does not
 * know), ALMADIA_INVALID_ARGUMENT (struct_size, or options->events, which need almadia_write_async).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_write(struct almadia_store *store,
                           struct almadia_batch *batch,
                           const struct almadia_write_options *options,
                           struct almadia_position *position,
                           struct almadia_error **error);

/**
 * Starts writing `batch` and returns. On ALMADIA_OK the operations were taken, the batch is empty and ready for
 * the next ones, and the call will complete exactly once. After a failure the batch is unchanged, nothing was
 * written, and there will be no completion. The writes of one thread that succeed complete in the order in which
 * they were submitted; a failure may overtake them, and so may a batch without operations, which is a read (see
 * almadia_write). With options->events the write also reports its progress before it completes, a read none.
 *
 * Blocks: no. Threads: any number at once, each with its own batch; callbacks too. Codes:
 * ALMADIA_BATCH_ACROSS_REGIONS, ALMADIA_OVERLOADED (too many calls in flight: retry after some completions),
 * ALMADIA_CLOSED, ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_UNSUPPORTED (an event or field of `options` that this
 * version does not know), ALMADIA_INVALID_ARGUMENT (struct_size, or options->version or written, which need a call that waits).
 * The completion has the other codes: those of almadia_write, ALMADIA_CANCELLED and ALMADIA_CANCELLED_IN_FLIGHT.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_write_async(struct almadia_store *store,
                                 struct almadia_batch *batch,
                                 const struct almadia_write_options *options,
                                 const struct almadia_done *done,
                                 struct almadia_error **error);

/**
 * Sets `key` to `value` and waits: almadia_write with a batch of one operation and default options.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: as almadia_write, and
 * ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_put(struct almadia_store *store,
                         const void *key,
                         size_t key_length,
                         const void *value,
                         size_t value_length,
                         struct almadia_error **error);

/**
 * Removes `key` and waits: almadia_write with a batch of one operation and default options. It is no error if the
 * key does not exist.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: as almadia_write, and
 * ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_delete(struct almadia_store *store,
                            const void *key,
                            size_t key_length,
                            struct almadia_error **error);

/**
 * Starts setting `key` to `value` and returns: almadia_write_async with a batch of one operation and default
 * options. Both are copied before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_put_async(struct almadia_store *store,
                               const void *key,
                               size_t key_length,
                               const void *value,
                               size_t value_length,
                               const struct almadia_done *done,
                               struct almadia_error **error);

/**
 * Starts removing `key` and returns: almadia_write_async with a batch of one operation and default options. The
 * key is copied before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_delete_async(struct almadia_store *store,
                                  const void *key,
                                  size_t key_length,
                                  const struct almadia_done *done,
                                  struct almadia_error **error);

/**
 * Sets `key` to `value` and waits: almadia_write with a batch of one operation. `options` may be NULL; `position`
 * (NULL if unwanted) receives the position of the write in the log of the key's region.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: as almadia_write, and
 * ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_put_with(struct almadia_store *store,
                              const void *key,
                              size_t key_length,
                              const void *value,
                              size_t value_length,
                              const struct almadia_write_options *options,
                              struct almadia_position *position,
                              struct almadia_error **error);

/**
 * Removes `key` and waits: almadia_write with a batch of one operation. It is no error if the key does not exist.
 * `options` may be NULL; `position` (NULL if unwanted) receives the position of the write in the log of the key's
 * region.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: as almadia_write, and
 * ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_delete_with(struct almadia_store *store,
                                 const void *key,
                                 size_t key_length,
                                 const struct almadia_write_options *options,
                                 struct almadia_position *position,
                                 struct almadia_error **error);

/**
 * Starts setting `key` to `value` and returns: almadia_write_async with a batch of one operation. Both are copied
 * before it returns. `options` may be NULL.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_put_with_async(struct almadia_store *store,
                                    const void *key,
                                    size_t key_length,
                                    const void *value,
                                    size_t value_length,
                                    const struct almadia_write_options *options,
                                    const struct almadia_done *done,
                                    struct almadia_error **error);

/**
 * Starts removing `key` and returns: almadia_write_async with a batch of one operation. The key is copied before it
 * returns. `options` may be NULL.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_delete_with_async(struct almadia_store *store,
                                       const void *key,
                                       size_t key_length,
                                       const struct almadia_write_options *options,
                                       const struct almadia_done *done,
                                       struct almadia_error **error);

/**
 * The version that the write gave to all keys that it set, as almadia_value_version describes it. 0 for a batch without
 * operations, and for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
uint64_t almadia_written_version(const struct almadia_written *written);

/**
 * The position of the write in the log of its region. Index and term are 0 for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
struct almadia_position almadia_written_position(const struct almadia_written *written);

/**
 * True when all conditions were true; false when one was not, so that what stands behind almadia_batch_otherwise was
 * applied instead, and for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
bool almadia_written_succeeded(const struct almadia_written *written);

/**
 * The condition that was false, so that what stands behind almadia_batch_otherwise was applied instead.
 *
 * Blocks: no. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (all were true), ALMADIA_INVALID_ARGUMENT
 * (struct_size).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_written_failed(const struct almadia_written *written,
                                    struct almadia_precondition *precondition);

/**
 * The number of results: of the operations that were applied, those that add, put a versioned key, pop or take have one
 * each. 0 for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
size_t almadia_written_count(const struct almadia_written *written);

/**
 * The result at `index`, from 0 to almadia_written_count() - 1, in the order of the operations; `operation` says whose
 * it is.
 *
 * Blocks: no. Threads: any number at once. Codes: ALMADIA_END (there are fewer), ALMADIA_INVALID_ARGUMENT
 * (struct_size).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_written_at(const struct almadia_written *written,
                                size_t index,
                                struct almadia_op_result *result);

/**
 * Frees what a write told, with the keys and values of its results. NULL is fine.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
void almadia_written_free(struct almadia_written *written);

/**
 * The condition that was false (ALMADIA_PRECONDITION_FAILED), or the addition that could not be done
 * (ALMADIA_NOT_A_NUMBER). Also for the error of a completion.
 *
 * Blocks: no. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (the error is about something else),
 * ALMADIA_INVALID_ARGUMENT (struct_size).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_error_precondition(const struct almadia_error *error,
                                        struct almadia_precondition *precondition);

/**
 * Sets `key` to `value` if it does not exist, and waits. `version` (NULL if unwanted) receives the version of the
 * write on ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version that the key has now, 0 if it does not exist. It
 * may be repeated after an unknown outcome when the value tells who wrote it: whoever finds its own value there has
 * won. `options` may be NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
 * not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_put_if_absent(struct almadia_store *store,
                                   const void *key,
                                   size_t key_length,
                                   const void *value,
                                   size_t value_length,
                                   const struct almadia_write_options *options,
                                   uint64_t *version,
                                   struct almadia_error **error);

/**
 * Starts almadia_put_if_absent and returns. The completion has its code, the version of the write, and with
 * ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are copied
 * before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_put_if_absent_async(struct almadia_store *store,
                                         const void *key,
                                         size_t key_length,
                                         const void *value,
                                         size_t value_length,
                                         const struct almadia_write_options *options,
                                         const struct almadia_done *done,
                                         struct almadia_error **error);

/**
 * Sets `key` to `value` if it has the version `expected`, so that nobody has written it since it was seen, and
 * waits; with `expected` 0, if it does not exist. `version` (NULL if unwanted) receives the version of the write on
 * ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version that the key has now, 0 if it does not exist. `options`
 * may be NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
 * not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_compare_and_set(struct almadia_store *store,
                                     const void *key,
                                     size_t key_length,
                                     uint64_t expected,
                                     const void *value,
                                     size_t value_length,
                                     const struct almadia_write_options *options,
                                     uint64_t *version,
                                     struct almadia_error **error);

/**
 * Starts almadia_compare_and_set and returns. The completion has its code, the version of the write, and with
 * ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are copied
 * before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_compare_and_set_async(struct almadia_store *store,
                                           const void *key,
                                           size_t key_length,
                                           uint64_t expected,
                                           const void *value,
                                           size_t value_length,
                                           const struct almadia_write_options *options,
                                           const struct almadia_done *done,
                                           struct almadia_error **error);

/**
 * Sets `key` to `value` if it has the value `expected`, which somebody may have written again, and waits. `version`
 * (NULL if unwanted) receives the version of the write on ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version
 * that the key has now, 0 if it does not exist. `options` may be NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
 * not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_compare_value_and_set(struct almadia_store *store,
                                           const void *key,
                                           size_t key_length,
                                           const void *expected,
                                           size_t expected_length,
                                           const void *value,
                                           size_t value_length,
                                           const struct almadia_write_options *options,
                                           uint64_t *version,
                                           struct almadia_error **error);

/**
 * Starts almadia_compare_value_and_set and returns. The completion has its code, the version of the write, and with
 * ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are copied
 * before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_compare_value_and_set_async(struct almadia_store *store,
                                                 const void *key,
                                                 size_t key_length,
                                                 const void *expected,
                                                 size_t expected_length,
                                                 const void *value,
                                                 size_t value_length,
                                                 const struct almadia_write_options *options,
                                                 const struct almadia_done *done,
                                                 struct almadia_error **error);

/**
 * Removes `key` if it has the version `expected`, so that nobody has written it since it was seen, and waits; with
 * `expected` 0 it does nothing but find that it does not exist. `version` (NULL if unwanted) receives the version
 * of the write on ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version that the key has now, 0 if it does not
 * exist. `options` may be NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
 * not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_compare_and_delete(struct almadia_store *store,
                                        const void *key,
                                        size_t key_length,
                                        uint64_t expected,
                                        const struct almadia_write_options *options,
                                        uint64_t *version,
                                        struct almadia_error **error);

/**
 * Starts almadia_compare_and_delete and returns. The completion has its code, the version of the write, and with
 * ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are copied
 * before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_compare_and_delete_async(struct almadia_store *store,
                                              const void *key,
                                              size_t key_length,
                                              uint64_t expected,
                                              const struct almadia_write_options *options,
                                              const struct almadia_done *done,
                                              struct almadia_error **error);

/**
 * Removes `key` if it has the value `expected`, and waits. `version` (NULL if unwanted) receives the version of the
 * write on ALMADIA_OK; on ALMADIA_PRECONDITION_FAILED the version that the key has now, 0 if it does not exist.
 * `options` may be NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_PRECONDITION_FAILED (certainly
 * not applied; almadia_error_precondition tells the rest), those of almadia_write, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_compare_value_and_delete(struct almadia_store *store,
                                              const void *key,
                                              size_t key_length,
                                              const void *expected,
                                              size_t expected_length,
                                              const struct almadia_write_options *options,
                                              uint64_t *version,
                                              struct almadia_error **error);

/**
 * Starts almadia_compare_value_and_delete and returns. The completion has its code, the version of the write, and
 * with ALMADIA_PRECONDITION_FAILED an error for almadia_error_precondition. `options` may be NULL. All bytes are
 * copied before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_compare_value_and_delete_async(struct almadia_store *store,
                                                    const void *key,
                                                    size_t key_length,
                                                    const void *expected,
                                                    size_t expected_length,
                                                    const struct almadia_write_options *options,
                                                    const struct almadia_done *done,
                                                    struct almadia_error **error);

/**
 * Removes `key` and waits. `value` receives the value that it had, with its version; free it with
 * almadia_value_free. Whoever asks for a key and ends before it has the answer loses the value. `options` may be
 * NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (it did not exist),
 * those of almadia_write, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_pop(struct almadia_store *store,
                         const void *key,
                         size_t key_length,
                         const struct almadia_write_options *options,
                         struct almadia_value **value,
                         struct almadia_error **error);

/**
 * Starts almadia_pop and returns. The completion has its code, and almadia_completion_take_value gives the value.
 * `options` may be NULL. All bytes are copied before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_pop_async(struct almadia_store *store,
                               const void *key,
                               size_t key_length,
                               const struct almadia_write_options *options,
                               const struct almadia_done *done,
                               struct almadia_error **error);

/**
 * Removes the first key from `begin` (included) to `end` (not included) and waits; an empty `end` means the end of
 * all keys. `key` and `value` receive what it was, both with its version; free them with almadia_value_free. The
 * whole range must belong to one region. Whoever takes a task so and ends before it is done loses it: a queue whose
 * takers may fail moves it to another key instead, with a batch of a condition, a delete and a put. `options` may
 * be NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (there is no key),
 * ALMADIA_INVALID_ARGUMENT (begin is after an end that is not empty), those of almadia_write, and
 * ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_take_first(struct almadia_store *store,
                                const void *begin,
                                size_t begin_length,
                                const void *end,
                                size_t end_length,
                                const struct almadia_write_options *options,
                                struct almadia_value **key,
                                struct almadia_value **value,
                                struct almadia_error **error);

/**
 * Starts almadia_take_first and returns. The completion has its code; almadia_completion_take_value gives the
 * value, and almadia_completion_take_written the key as well. `options` may be NULL. All bytes are copied before it
 * returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE,
 * ALMADIA_INVALID_ARGUMENT (begin is after an end that is not empty).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_take_first_async(struct almadia_store *store,
                                      const void *begin,
                                      size_t begin_length,
                                      const void *end,
                                      size_t end_length,
                                      const struct almadia_write_options *options,
                                      const struct almadia_done *done,
                                      struct almadia_error **error);

/**
 * Adds `delta` to the value of `key`, a number of 8 bytes, little-endian, and waits; a key that does not exist
 * counts as 0. `sum` (NULL if unwanted) receives the sum. An addition whose outcome is unknown must not be
 * repeated: it may be added twice. `options` may be NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: ALMADIA_NOT_A_NUMBER (the value has
 * another length than 8 bytes, or the sum does not fit; certainly not applied), those of almadia_write, and
 * ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_add(struct almadia_store *store,
                         const void *key,
                         size_t key_length,
                         int64_t delta,
                         const struct almadia_write_options *options,
                         int64_t *sum,
                         struct almadia_error **error);

/**
 * Starts almadia_add and returns. The completion has its code, and almadia_completion_take_written gives the sum.
 * `options` may be NULL. All bytes are copied before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_add_async(struct almadia_store *store,
                               const void *key,
                               size_t key_length,
                               int64_t delta,
                               const struct almadia_write_options *options,
                               const struct almadia_done *done,
                               struct almadia_error **error);

/**
 * Sets a new key that begins with `prefix` to `value`, as almadia_batch_put_versioned describes it, and waits.
 * `key` (NULL if unwanted) receives the key, with its version; free it with almadia_value_free. `options` may be
 * NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once. Codes: those of almadia_write, and
 * ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_put_versioned(struct almadia_store *store,
                                   const void *prefix,
                                   size_t prefix_length,
                                   const void *value,
                                   size_t value_length,
                                   const struct almadia_write_options *options,
                                   struct almadia_value **key,
                                   struct almadia_error **error);

/**
 * Starts almadia_put_versioned and returns. The completion has its code, and almadia_completion_take_written gives
 * the key. `options` may be NULL. All bytes are copied before it returns.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_write_async, and ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_put_versioned_async(struct almadia_store *store,
                                         const void *prefix,
                                         size_t prefix_length,
                                         const void *value,
                                         size_t value_length,
                                         const struct almadia_write_options *options,
                                         const struct almadia_done *done,
                                         struct almadia_error **error);

/**
 * Cancels a call that has not completed. It completes now: with ALMADIA_CANCELLED when it certainly has no effect,
 * or with ALMADIA_CANCELLED_IN_FLIGHT when a write may be applied, leadership handed over or the members changed, now
 * or later. `op` is the number that almadia_done.op received. The code may be ignored: the completion tells in any case
 * what became of the call.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_NOT_FOUND (the call has completed, and
 * its completion was delivered or is about to be; without an error object), ALMADIA_FORKED.
 */
ALMADIA_API
almadia_code almadia_cancel(struct almadia_store *store,
                            uint64_t op,
                            struct almadia_error **error);

/**
 * ALMADIA_OK, or why the call failed; almadia_code_maybe_applied tells from it whether a write may have been
 * applied. For almadia_get_async, almadia_get_with_async, almadia_pop_async and
 * almadia_take_first_async ALMADIA_NOT_FOUND when there is no key. ALMADIA_NULL_POINTER for NULL.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
almadia_code almadia_completion_code(const struct almadia_completion *completion);

/**
 * The log index of the write, the index up to which the snapshot shows the log, or that of the position that
 * almadia_get_with describes, also when its key does not exist. 0 after a failure, for a snapshot over several
 * regions, for almadia_get_async, almadia_multi_get_async, a leader transfer and a change of members, and for NULL.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
uint64_t almadia_completion_index(const struct almadia_completion *completion);

/**
 * The raft term of the entry at almadia_completion_index. 0 where that is 0.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
uint64_t almadia_completion_term(const struct almadia_completion *completion);

/**
 * The version that the write gave to all keys that it set, as almadia_value_version describes it. 0 after a failure,
 * for every other call, for a batch without operations, and for NULL.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
uint64_t almadia_completion_version(const struct almadia_completion *completion);

/**
 * The details of the failure; NULL after success, after ALMADIA_NOT_FOUND and for NULL. It belongs to the
 * completion and is valid as long as that; never free it.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
const struct almadia_error *almadia_completion_error(const struct almadia_completion *completion);

/**
 * Takes the snapshot out of the completion of almadia_snapshot_open_async; free it with almadia_snapshot_free.
 * NULL after a failure, for every other call, the second time, and for NULL. A snapshot that nobody takes is freed
 * with the completion.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
ALMADIA_NODISCARD
struct almadia_snapshot *almadia_completion_take_snapshot(struct almadia_completion *completion);

/**
 * Takes the value out of the completion of almadia_get_async, almadia_get_with_async, almadia_pop_async or
 * almadia_take_first_async; free it with almadia_value_free. NULL after a failure, for every other call, the second time, and for NULL. A value that nobody
 * takes is freed with the completion.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
ALMADIA_NODISCARD
struct almadia_value *almadia_completion_take_value(struct almadia_completion *completion);

/**
 * Takes the values out of the completion of almadia_multi_get_async; free them with almadia_values_free. NULL
 * after a failure, for every other call, the second time, and for NULL. Values that nobody takes are freed with
 * the completion.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
ALMADIA_NODISCARD
struct almadia_values *almadia_completion_take_values(struct almadia_completion *completion);

/**
 * Takes what a write tells out of its completion, as almadia_write_options.written; free it with
 * almadia_written_free. NULL after a failure but ALMADIA_NOT_FOUND, for every other call, the second time, and for NULL.
 * What nobody takes is freed with the completion.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
ALMADIA_NODISCARD
struct almadia_written *almadia_completion_take_written(struct almadia_completion *completion);

/**
 * Takes the transaction out of the completion of almadia_txn_begin_async; free it with almadia_txn_free. NULL after a
 * failure, for every other call, the second time, and for NULL. A transaction that nobody takes is freed with the
 * completion.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
ALMADIA_NODISCARD
struct almadia_txn *almadia_completion_take_txn(struct almadia_completion *completion);

/**
 * The `user` of the call's almadia_done. NULL for NULL.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
void *almadia_completion_user(const struct almadia_completion *completion);

/**
 * The number that the call's almadia_done.op received; 0 when that was NULL, and for NULL.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
uint64_t almadia_completion_op(const struct almadia_completion *completion);

/**
 * Frees a completion that almadia_cq_pop returned, with whatever was not taken out of it. NULL is fine. Never free
 * the completion of a callback. In a child process it does nothing.
 *
 * Blocks: no. Threads: one.
 */
ALMADIA_API
void almadia_completion_free(struct almadia_completion *completion);

/**
 * Makes a completion queue.
 *
 * `cq` receives the handle; free it with almadia_cq_free. Blocks: no. Threads: any. Codes: ALMADIA_IO (no file
 * descriptor is left).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_cq_new(struct almadia_cq **cq,
                            struct almadia_error **error);

/**
 * The descriptor of the queue, for poll, epoll and event loops: readable while a completion or an event waits, an
 * interrupt is pending, or the queue is shut down. When it is readable, call almadia_cq_pop with a timeout of 0
 * until it finds none; never read, write or close the descriptor. It belongs to the queue. -1 for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
int32_t almadia_cq_fd(const struct almadia_cq *cq);

/**
 * Takes up to `capacity` completions, in the order in which they arrived, after waiting up to `timeout_ms`
 * milliseconds for the first: 0 does not wait, -1 waits without limit. `completions` receives them and `count`
 * their number; free each with almadia_completion_free. ALMADIA_OK with a count of 0 means that the time is up, or
 * that the wait was interrupted. A completion that is not popped counts as a call in flight and keeps its snapshot
 * or values alive, so pop them all.
 *
 * Events of writes (almadia_write_options.on_event) whose completion goes to a queue are called inside this
 * function.
 *
 * Blocks: yes, for the timeout at most; with 0 no. Threads: any number at once; with a timeout of 0 callbacks too.
 * Codes: ALMADIA_CLOSED (the queue is shut down and nothing will come any more; without an error object),
 * ALMADIA_WOULD_DEADLOCK, ALMADIA_INVALID_ARGUMENT (capacity is 0, timeout_ms is less than -1), ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_cq_pop(struct almadia_cq *cq,
                            struct almadia_completion **completions,
                            size_t capacity,
                            size_t *count,
                            int64_t timeout_ms,
                            struct almadia_error **error);

/**
 * Makes one waiting almadia_cq_pop, or else the next one, return at once with a count of 0. NULL is fine.
 *
 * Blocks: no. Threads: any number at once; callbacks too.
 */
ALMADIA_API
void almadia_cq_interrupt(struct almadia_cq *cq);

/**
 * Makes the queue accept no more calls: those that name it return ALMADIA_CLOSED. The completions of accepted
 * calls still arrive; once the last one was popped, almadia_cq_pop returns ALMADIA_CLOSED, to every thread. NULL
 * is fine.
 *
 * Blocks: no. Threads: any number at once; callbacks too.
 */
ALMADIA_API
void almadia_cq_shutdown(struct almadia_cq *cq);

/**
 * Frees a queue and closes its descriptor. NULL is fine. Completions that were not popped, or are still to come,
 * are dropped: to lose none, shut the queue down and pop until ALMADIA_CLOSED. In a child process it does nothing.
 *
 * Blocks: no. Threads: one, while no other uses it.
 */
ALMADIA_API
void almadia_cq_free(struct almadia_cq *cq);

/**
 * Takes a snapshot, of all keys unless `options`, which may be NULL, has a range. It works on any member: the
 * leader asks a majority whether it still leads, a follower asks the leader. With several regions each one in the
 * range is asked, and the snapshot is one picture of this member's data, taken after all have answered.
 *
 * Over several regions it is linearizable for each of them, not for all together. It shows everything that was
 * acknowledged before the call; of writes to different regions that are made during the call it may show a later
 * one and not an earlier one. So two snapshots that are taken on different members at the same time may show two
 * such writes in opposite orders. Data that must be seen in one order belongs in one region.
 *
 * `snapshot` receives the handle; free it with almadia_snapshot_free. Blocks: yes, for the timeout at most.
 * Threads: any number at once. Codes: ALMADIA_READ_TIMEOUT, ALMADIA_OVERLOADED, ALMADIA_NO_LEADER, ALMADIA_CLOSED,
 * ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK, ALMADIA_UNSUPPORTED (a level or field that this
 * version does not know), ALMADIA_INVALID_ARGUMENT (struct_size, a range that ends before it starts, min_index for
 * several regions).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_snapshot_open(struct almadia_store *store,
                                   const struct almadia_snapshot_options *options,
                                   struct almadia_snapshot **snapshot,
                                   struct almadia_error **error);

/**
 * Starts taking a snapshot and returns. On ALMADIA_OK the call will complete exactly once, on the callback thread
 * or through the queue even when the snapshot is ready at once; the completion holds the snapshot
 * (almadia_completion_take_snapshot). After a failure there will be no completion.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_OVERLOADED, ALMADIA_CLOSED,
 * ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_UNSUPPORTED (a level or field that this version does not know),
 * ALMADIA_INVALID_ARGUMENT (struct_size, range or min_index as in almadia_snapshot_open). The completion has the
 * other codes: those of almadia_snapshot_open.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_snapshot_open_async(struct almadia_store *store,
                                         const struct almadia_snapshot_options *options,
                                         const struct almadia_done *done,
                                         struct almadia_error **error);

/**
 * The log index up to which the snapshot shows the log. 0 for NULL, and for a snapshot over several regions, each
 * of which has its own log.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
uint64_t almadia_snapshot_index(const struct almadia_snapshot *snapshot);

/**
 * The raft term of the entry at almadia_snapshot_index. 0 for NULL and for a snapshot over several regions.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
uint64_t almadia_snapshot_term(const struct almadia_snapshot *snapshot);

/**
 * Makes a second handle to the same snapshot, to be freed by itself. Cheap: nothing is copied.
 *
 * `clone` receives the handle; free it with almadia_snapshot_free. Blocks: no. Threads: any number at once. Codes:
 * ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_snapshot_clone(const struct almadia_snapshot *snapshot,
                                    struct almadia_snapshot **clone,
                                    struct almadia_error **error);

/**
 * Frees a snapshot. NULL is fine. Its values and iterators stay valid. In a child process it does nothing.
 *
 * Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
 */
ALMADIA_API
void almadia_snapshot_free(struct almadia_snapshot *snapshot);

/**
 * What the keys from `begin` (included) to `end` (not included) look like in a snapshot; an empty `end` means the end of
 * all keys. The snapshot's range must contain this one.
 *
 * Blocks: no, but it reads every key and value of the range, from the disk if need be, on your thread. Threads: any
 * number at once. Codes: ALMADIA_TOO_LARGE (more than 65,536 keys or 64 MiB), ALMADIA_INVALID_ARGUMENT (begin is after
 * an end that is not empty; a range beyond that of the snapshot; struct_size), ALMADIA_IO, ALMADIA_CORRUPTION,
 * ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_snapshot_digest(const struct almadia_snapshot *snapshot,
                                     const void *begin,
                                     size_t begin_length,
                                     const void *end,
                                     size_t end_length,
                                     struct almadia_range_digest *seen,
                                     struct almadia_error **error);

/**
 * Reads the newest value of `key`, linearizable: almadia_snapshot_open over the region of `key` and
 * almadia_snapshot_get in one call.
 *
 * `value` receives the handle; free it with almadia_value_free. When the key does not exist, the function returns
 * ALMADIA_NOT_FOUND, without an error object. Blocks: yes, for the timeout at most, and while it reads the disk on
 * your thread, which almadia_get_async does not. Threads: any number at once. Codes: ALMADIA_NOT_FOUND, those of
 * almadia_snapshot_open, and those of almadia_snapshot_get.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_get(struct almadia_store *store,
                         const void *key,
                         size_t key_length,
                         struct almadia_value **value,
                         struct almadia_error **error);

/**
 * Reads the value of `key` in a snapshot, without copying it.
 *
 * `value` receives the handle; free it with almadia_value_free. When the key does not exist, the function returns
 * ALMADIA_NOT_FOUND, without an error object. Blocks: no (it may read from the disk). Threads: any number at once;
 * callbacks too. Codes: ALMADIA_NOT_FOUND, ALMADIA_INVALID_ARGUMENT (the key is outside the snapshot's range),
 * ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_snapshot_get(const struct almadia_snapshot *snapshot,
                                  const void *key,
                                  size_t key_length,
                                  struct almadia_value **value,
                                  struct almadia_error **error);

/**
 * Copies the value of `key` in a snapshot into `buffer`, which has `capacity` bytes. `length` receives the length
 * of the value, also when the call returns ALMADIA_BUFFER_TOO_SMALL (the buffer is then untouched). To ask for the
 * length alone, pass a `capacity` of 0; `buffer` may then be NULL.
 *
 * Blocks: no (it may read from the disk). Threads: any number at once; callbacks too. Codes: ALMADIA_NOT_FOUND
 * (without an error object), ALMADIA_INVALID_ARGUMENT (the key is outside the snapshot's range),
 * ALMADIA_BUFFER_TOO_SMALL, ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_snapshot_get_into(const struct almadia_snapshot *snapshot,
                                       const void *key,
                                       size_t key_length,
                                       void *buffer,
                                       size_t capacity,
                                       size_t *length,
                                       struct almadia_error **error);

/**
 * Reads the value of `key` as `options`, which may be NULL and must have no range, say: how recent it must be, and
 * how long to wait. With ALMADIA_LEVEL_LOCAL and min_index it is read on this member, without asking another, but
 * not before a write that the program knows of is applied here.
 *
 * `value` receives the handle; free it with almadia_value_free. When the key does not exist, the function returns
 * ALMADIA_NOT_FOUND, without an error object. `position` (NULL if unwanted) is written on ALMADIA_OK and on
 * ALMADIA_NOT_FOUND. It is the position of the state that was read: the last entry in the log of the key's region
 * that the answer reflects. As min_index of a later read, on any member, it makes sure that this shows no older
 * state.
 *
 * Blocks: yes, for the timeout at most, and while it reads the disk on your thread, which almadia_get_with_async
 * does not. Threads: any number at once. Codes: ALMADIA_NOT_FOUND, those of almadia_snapshot_open
 * (ALMADIA_READ_TIMEOUT too when this member has not applied min_index in time, with a message that says how far it
 * is), and those of almadia_snapshot_get; ALMADIA_INVALID_ARGUMENT (a range) too.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_get_with(struct almadia_store *store,
                              const void *key,
                              size_t key_length,
                              const struct almadia_snapshot_options *options,
                              struct almadia_value **value,
                              struct almadia_position *position,
                              struct almadia_error **error);

/**
 * Starts reading the newest value of `key`, linearizable, and returns. On ALMADIA_OK the call will complete
 * exactly once, with the value (almadia_completion_take_value) or ALMADIA_NOT_FOUND. The key is copied. Values
 * that are not in memory are read on threads of the library.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_OVERLOADED, ALMADIA_CLOSED,
 * ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_IO (no thread can be started), ALMADIA_INVALID_ARGUMENT (struct_size,
 * done). The completion has the other codes: those of almadia_get, and ALMADIA_CANCELLED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_get_async(struct almadia_store *store,
                               const void *key,
                               size_t key_length,
                               const struct almadia_done *done,
                               struct almadia_error **error);

/**
 * Starts reading the value of `key` as `options` say and returns. On ALMADIA_OK the call will complete exactly once,
 * with the value (almadia_completion_take_value) or ALMADIA_NOT_FOUND, and with either of them the position of
 * almadia_get_with (almadia_completion_index and almadia_completion_term). The key is copied. `options` as for
 * almadia_get_with. A local read may be ready at once; it completes on the callback thread or through the queue
 * nevertheless.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: those of almadia_get_async, ALMADIA_UNSUPPORTED (a
 * level or field of `options` that this version does not know), ALMADIA_INVALID_ARGUMENT (a range) too. The
 * completion has the other codes: those of almadia_get_with, and ALMADIA_CANCELLED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_get_with_async(struct almadia_store *store,
                                    const void *key,
                                    size_t key_length,
                                    const struct almadia_snapshot_options *options,
                                    const struct almadia_done *done,
                                    struct almadia_error **error);

/**
 * Reads the values of `count` keys at one point in time: almadia_snapshot_open over their regions and
 * almadia_snapshot_multi_get in one call. What almadia_snapshot_open says about several regions holds here too.
 * `options`, which may be NULL, must have no range.
 *
 * `values` receives the handle; free it with almadia_values_free. Blocks: yes, for the timeout at most, and while
 * it reads the disk on your thread, which almadia_multi_get_async does not. Threads: any number at once. Codes:
 * those of almadia_snapshot_open and almadia_snapshot_multi_get; ALMADIA_INVALID_ARGUMENT (a range) too.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_multi_get(struct almadia_store *store,
                               const struct almadia_slice *keys,
                               size_t count,
                               const struct almadia_snapshot_options *options,
                               struct almadia_values **values,
                               struct almadia_error **error);

/**
 * Starts reading the values of `count` keys and returns. On ALMADIA_OK the call will complete exactly once, with
 * the values (almadia_completion_take_values). The keys are copied. `options` as for almadia_multi_get.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: those of almadia_get_async, and
 * ALMADIA_UNSUPPORTED (a level or field of `options` that this version does not know). The completion has the
 * other codes: those of almadia_multi_get, and ALMADIA_CANCELLED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_multi_get_async(struct almadia_store *store,
                                     const struct almadia_slice *keys,
                                     size_t count,
                                     const struct almadia_snapshot_options *options,
                                     const struct almadia_done *done,
                                     struct almadia_error **error);

/**
 * Reads the values of `count` keys in a snapshot, without copying them.
 *
 * `values` receives the handle; free it with almadia_values_free. Blocks: no (it may read from the disk). Threads:
 * any number at once; callbacks too. Codes: ALMADIA_INVALID_ARGUMENT (a key is outside the snapshot's range),
 * ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_snapshot_multi_get(const struct almadia_snapshot *snapshot,
                                        const struct almadia_slice *keys,
                                        size_t count,
                                        struct almadia_values **values,
                                        struct almadia_error **error);

/**
 * The bytes of a value, not NUL-terminated. They belong to the value. NULL for NULL. For an empty value the
 * pointer is not NULL, but must not be read.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
const void *almadia_value_data(const struct almadia_value *value);

/**
 * The size of a value in bytes. 0 for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
size_t almadia_value_size(const struct almadia_value *value);

/**
 * The version of the key that was read: the place, in the log of its region, of the write that set it. Versions of a
 * key only grow, also when it is deleted in between and set again; those of keys of different regions have nothing to
 * do with each other. They are never 0. 0 for NULL, for what a transaction has written itself, and for a text of this
 * library.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
uint64_t almadia_value_version(const struct almadia_value *value);

/**
 * Frees a value. NULL is fine. In a child process it does nothing.
 *
 * Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
 */
ALMADIA_API
void almadia_value_free(struct almadia_value *value);

/**
 * The number of values, which is the number of keys. 0 for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
size_t almadia_values_count(const struct almadia_values *values);

/**
 * The value of the key at `index`, from 0 to almadia_values_count() - 1. `value` receives its bytes, which belong
 * to the values.
 *
 * Blocks: no. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (this key does not exist), ALMADIA_END (there
 * are fewer keys), ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_values_at(const struct almadia_values *values,
                               size_t index,
                               struct almadia_slice *value);

/**
 * The version of the key at `index`, as almadia_value_version describes it. 0 when this key does not exist, when there
 * are fewer keys, and for NULL.
 *
 * Blocks: no. Threads: any number at once.
 */
ALMADIA_API
uint64_t almadia_values_version_at(const struct almadia_values *values,
                                   size_t index);

/**
 * Frees values. NULL is fine. In a child process it does nothing.
 *
 * Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
 */
ALMADIA_API
void almadia_values_free(struct almadia_values *values);

/**
 * Makes an iterator over a snapshot; it shows no key outside the snapshot's range. `options` may be NULL. At first
 * it is at no pair: move it with _first, _last, _seek or _seek_for_prev, or let _next begin at the first pair.
 * This loop visits all pairs: for (bool on = almadia_iter_first(it); on; on = almadia_iter_next(it)). Check
 * almadia_iter_code after it.
 *
 * `iter` receives the handle; free it with almadia_iter_free. Blocks: no. Threads: any number at once; callbacks
 * too. Codes: ALMADIA_FORKED, ALMADIA_UNSUPPORTED (a field that this version does not know),
 * ALMADIA_INVALID_ARGUMENT (struct_size).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_iter_new(const struct almadia_snapshot *snapshot,
                              const struct almadia_iter_options *options,
                              struct almadia_iter **iter,
                              struct almadia_error **error);

/**
 * Moves to the first pair; with `reverse` that is the one with the largest key. True when there is one; false at
 * the end, after an error (see almadia_iter_code) and for NULL.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time.
 */
ALMADIA_API
bool almadia_iter_first(struct almadia_iter *iter);

/**
 * Moves to the last pair; with `reverse` that is the one with the smallest key. Returns what almadia_iter_first
 * does.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time.
 */
ALMADIA_API
bool almadia_iter_last(struct almadia_iter *iter);

/**
 * Moves to `key` or, when it does not exist, to the next pair in the direction of the iteration. Returns what
 * almadia_iter_first does.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time.
 */
ALMADIA_API
bool almadia_iter_seek(struct almadia_iter *iter,
                       const void *key,
                       size_t key_length);

/**
 * Moves to `key` or, when it does not exist, to the pair before it in the direction of the iteration. Returns what
 * almadia_iter_first does.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time.
 */
ALMADIA_API
bool almadia_iter_seek_for_prev(struct almadia_iter *iter,
                                const void *key,
                                size_t key_length);

/**
 * Moves to the next pair, or to the first when the iterator was never moved. At an end it stays there. Returns
 * what almadia_iter_first does.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time.
 */
ALMADIA_API
bool almadia_iter_next(struct almadia_iter *iter);

/**
 * Moves to the previous pair, or to the last when the iterator was never moved. At an end it stays there. Returns
 * what almadia_iter_first does.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time.
 */
ALMADIA_API
bool almadia_iter_prev(struct almadia_iter *iter);

/**
 * True when the iterator is at a pair. False for NULL.
 *
 * Blocks: no. Threads: one at a time.
 */
ALMADIA_API
bool almadia_iter_valid(const struct almadia_iter *iter);

/**
 * The key of the pair that the iterator is at, valid until the iterator is moved or freed; {NULL, 0} when it is at
 * none.
 *
 * Blocks: no. Threads: one at a time.
 */
ALMADIA_API
struct almadia_slice almadia_iter_key(const struct almadia_iter *iter);

/**
 * The value of the pair that the iterator is at, valid until the iterator is moved or freed; {NULL, 0} when it is
 * at none.
 *
 * Blocks: no. Threads: one at a time.
 */
ALMADIA_API
struct almadia_slice almadia_iter_value(const struct almadia_iter *iter);

/**
 * The version of the key of the pair that the iterator is at, as almadia_value_version describes it; 0 when it is at
 * none, and for what a transaction has written itself.
 *
 * Blocks: no. Threads: one at a time.
 */
ALMADIA_API
uint64_t almadia_iter_version(const struct almadia_iter *iter);

/**
 * Why the iterator is at no pair: ALMADIA_OK when it is at an end, otherwise the error that stopped it. Check it
 * after every loop.
 *
 * Blocks: no. Threads: one at a time. Codes: ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_iter_code(const struct almadia_iter *iter,
                               struct almadia_error **error);

/**
 * Copies up to `capacity` pairs, beginning with the one that the iterator is at (the first, when it was never
 * moved), and moves past them: one call for many pairs. `count` receives their number; fewer than `capacity` does
 * not mean the end, only ALMADIA_END does. The pairs belong to the iterator and are valid until its next
 * almadia_iter_next_n or until it is freed.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time. Codes: ALMADIA_END (no pair is left; count is 0,
 * no error object), ALMADIA_INVALID_ARGUMENT (capacity is 0), ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_iter_next_n(struct almadia_iter *iter,
                                 struct almadia_kv *pairs,
                                 size_t capacity,
                                 size_t *count,
                                 struct almadia_error **error);

/**
 * As almadia_iter_next_n, with the version of the key of each pair, as almadia_value_version describes it.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time. Codes: as almadia_iter_next_n.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_iter_next_n_versions(struct almadia_iter *iter,
                                          struct almadia_kv *pairs,
                                          uint64_t *versions,
                                          size_t capacity,
                                          size_t *count,
                                          struct almadia_error **error);

/**
 * Frees an iterator. NULL is fine. In a child process it does nothing.
 *
 * Blocks: no (the last handle of a closed store closes its files). Threads: one.
 */
ALMADIA_API
void almadia_iter_free(struct almadia_iter *iter);

/**
 * Begins a transaction, and waits until it has its view of the data: as almadia_snapshot_open takes one. `options` may be
 * NULL.
 *
 * `txn` receives the handle; free it with almadia_txn_free. Blocks: yes, for the timeout at most. Threads: any number at
 * once. Codes: those of almadia_snapshot_open.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_begin(struct almadia_store *store,
                               const struct almadia_txn_options *options,
                               struct almadia_txn **txn,
                               struct almadia_error **error);

/**
 * Starts almadia_txn_begin and returns. The completion holds the transaction (almadia_completion_take_txn). `options` may
 * be NULL.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: as almadia_snapshot_open_async.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_begin_async(struct almadia_store *store,
                                     const struct almadia_txn_options *options,
                                     const struct almadia_done *done,
                                     struct almadia_error **error);

/**
 * Reads one key, and it must be unchanged when the transaction is committed. `value` receives the handle; free it with
 * almadia_value_free. It stays valid after the transaction.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time; callbacks too. Codes: ALMADIA_NOT_FOUND (the key does
 * not exist; without an error object), ALMADIA_BATCH_ACROSS_REGIONS (it is in another region), ALMADIA_TOO_LARGE,
 * ALMADIA_INVALID_ARGUMENT (the transaction was committed), ALMADIA_IO, ALMADIA_CORRUPTION, ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_get(struct almadia_txn *txn,
                             const void *key,
                             size_t key_length,
                             struct almadia_value **value,
                             struct almadia_error **error);

/**
 * As almadia_txn_get, and the key may be changed before the commit.
 *
 * Blocks: no (it may read from the disk). Threads: one at a time; callbacks too. Codes: as almadia_txn_get.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_get_exempt(struct almadia_txn *txn,
                                    const void *key,
                                    size_t key_length,
                                    struct almadia_value **value,
                                    struct almadia_error **error);

/**
 * Makes an iterator over what the transaction sees between the bounds of `options` (NULL: all keys), used as one of a
 * snapshot is (almadia_iter_first and so on). It also shows writes that are made while it iterates, where it has not been
 * yet; the pair it is at stays as it was, so the current key may be deleted. What it walks over must be unchanged when
 * the transaction is committed. It ends with the transaction: almadia_iter_code is ALMADIA_INVALID_ARGUMENT then.
 *
 * `iter` receives the handle; free it with almadia_iter_free. Blocks: no. Threads: one at a time; callbacks too. Codes:
 * ALMADIA_BATCH_ACROSS_REGIONS (a bound is in another region, or there is none where the region has a border),
 * ALMADIA_INVALID_ARGUMENT (struct_size, the transaction was committed), ALMADIA_UNSUPPORTED (a field that this version
 * does not know), ALMADIA_FORKED. almadia_iter_code may be ALMADIA_TOO_LARGE.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_iter(struct almadia_txn *txn,
                              const struct almadia_iter_options *options,
                              struct almadia_iter **iter,
                              struct almadia_error **error);

/**
 * As almadia_txn_iter, and what it walks over may be changed before the commit.
 *
 * `iter` receives the handle; free it with almadia_iter_free. Blocks: no. Threads: one at a time; callbacks too. Codes:
 * as almadia_txn_iter.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_iter_exempt(struct almadia_txn *txn,
                                     const struct almadia_iter_options *options,
                                     struct almadia_iter **iter,
                                     struct almadia_error **error);

/**
 * Sets `key` to `value` when the transaction is committed; the transaction sees it from now on. All bytes are copied.
 *
 * Blocks: no. Threads: one at a time; callbacks too. Codes: ALMADIA_BATCH_ACROSS_REGIONS (the key is in another region),
 * ALMADIA_TOO_LARGE, ALMADIA_INVALID_ARGUMENT (the transaction was committed), ALMADIA_FORKED.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_put(struct almadia_txn *txn,
                             const void *key,
                             size_t key_length,
                             const void *value,
                             size_t value_length,
                             struct almadia_error **error);

/**
 * Removes `key` when the transaction is committed, if it exists then; the transaction does not see it any more.
 *
 * Blocks: no. Threads: one at a time; callbacks too. Codes: as almadia_txn_put.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_delete(struct almadia_txn *txn,
                                const void *key,
                                size_t key_length,
                                struct almadia_error **error);

/**
 * Removes every key from `begin` up to but not including `end` when the transaction is committed, also those that it does
 * not see. An `end` of length 0 is the end of all keys.
 *
 * Blocks: no. Threads: one at a time; callbacks too. Codes: as almadia_txn_put; ALMADIA_INVALID_ARGUMENT too when `begin`
 * is after `end`.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_delete_range(struct almadia_txn *txn,
                                      const void *begin,
                                      size_t begin_length,
                                      const void *end,
                                      size_t end_length,
                                      struct almadia_error **error);

/**
 * Frees a transaction; one that was not committed has no effect. NULL is fine. Its values stay valid, its iterators are
 * freed by themselves. It does nothing in a child process, and to the transaction of an almadia_txn_body.
 *
 * Blocks: no (the last handle of a closed store closes its files). Threads: one, callbacks too.
 */
ALMADIA_API
void almadia_txn_free(struct almadia_txn *txn);

/**
 * Commits a transaction and waits: all that it wrote takes effect, at one place in the log of its region, provided that
 * all that it had read is still so. One that wrote nothing costs no entry of the log when it began linearizable: what it
 * read was so then. The transaction is over, whatever came of it, unless an argument was wrong or the call was refused in a
 * callback; free it. `options` may be NULL.
 *
 * Blocks: yes, for the timeout at most. Threads: one at a time. Codes: ALMADIA_CONFLICT (certainly not applied;
 * almadia_error_conflict tells what was changed), ALMADIA_TOO_LARGE (also when an iterator of it ended so), those of
 * almadia_write, ALMADIA_INVALID_ARGUMENT (it was committed before), ALMADIA_IO, ALMADIA_CORRUPTION.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_commit(struct almadia_txn *txn,
                                const struct almadia_write_options *options,
                                struct almadia_error **error);

/**
 * Starts almadia_txn_commit and returns. The completion has its code, the version and position of the write, and with
 * ALMADIA_CONFLICT an error for almadia_error_conflict. The transaction is over when this returns, also after a failure,
 * unless an argument was wrong; free it at any time. `options` may be NULL, and has no events.
 *
 * Blocks: no (it may read from the disk again what the transaction has iterated over). Threads: one at a time; callbacks
 * too. Codes: as almadia_write_async; ALMADIA_TOO_LARGE, ALMADIA_IO and ALMADIA_CORRUPTION as almadia_txn_commit,
 * ALMADIA_INVALID_ARGUMENT (it was committed before, or began in another store).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_txn_commit_async(struct almadia_store *store,
                                      struct almadia_txn *txn,
                                      const struct almadia_write_options *options,
                                      const struct almadia_done *done,
                                      struct almadia_error **error);

/**
 * Runs `body` in a transaction and commits it, again and again until nothing that it has read was changed meanwhile, with
 * random pauses of up to 100 ms that grow. `options` may be NULL. `user` is passed to the body as it is.
 *
 * Blocks: yes, for the timeout at most, and as long as the body does. Threads: any number at once. Codes: what the body
 * returned, if that was not ALMADIA_OK (without an error object); ALMADIA_CONFLICT (the time is up; certainly not
 * applied); those of almadia_txn_begin and almadia_txn_commit. An unknown outcome (category 4) is not tried again.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_transact(struct almadia_store *store,
                              const struct almadia_txn_options *options,
                              almadia_txn_body body,
                              void *user,
                              struct almadia_error **error);

/**
 * What the transaction had read, and another write changed (ALMADIA_CONFLICT). Also for the error of a completion.
 *
 * Blocks: no. Threads: any number at once. Codes: ALMADIA_NOT_FOUND (the error is about something else),
 * ALMADIA_INVALID_ARGUMENT (struct_size).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_error_conflict(const struct almadia_error *error,
                                    struct almadia_conflict *conflict);

/**
 * Hands the leadership of a region over to another member and waits until that member leads. Only the member that
 * leads the region can do it, so call it there (see almadia_status.role, or almadia_store_region_at for each
 * region). Nothing is lost and nobody needs to be told: writes that come meanwhile, on any member, wait and go to
 * the new leader. When the target leads already, the call succeeds. A shutdown with enough time hands over by
 * itself.
 *
 * Blocks: yes, for the timeout at most. Threads: any number at once; one transfer of a region at a time. Codes:
 * ALMADIA_NOT_LEADER (this member does not lead the region, or another member than the target took over;
 * almadia_error_leader has the leader), ALMADIA_NO_LEADER, ALMADIA_TRANSFER_IN_PROGRESS (another transfer is in
 * progress), ALMADIA_LAGGING (the target is too far behind; without a target: every other member is),
 * ALMADIA_INVALID_ARGUMENT (the target is no voter of the region; without a target: there is no other voter;
 * struct_size), ALMADIA_TIMEOUT (the target did not take over within the timeout or an election timeout, whichever is
 * shorter; it may still do so), ALMADIA_OVERLOADED, ALMADIA_CLOSED, ALMADIA_SHUTDOWN_IN_FLIGHT,
 * ALMADIA_FAILED_IN_FLIGHT, ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_WOULD_DEADLOCK, ALMADIA_UNSUPPORTED (a field
 * of `options` that this version does not know).
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_leader_transfer(struct almadia_store *store,
                                     const struct almadia_leader_transfer_options *options,
                                     struct almadia_error **error);

/**
 * Starts handing leadership over and returns. On ALMADIA_OK the call will complete exactly once, with index and
 * term 0; after a failure there will be no completion.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_OVERLOADED, ALMADIA_CLOSED,
 * ALMADIA_FORKED, ALMADIA_POISONED, ALMADIA_UNSUPPORTED (a field of `options` that this version does not know),
 * ALMADIA_INVALID_ARGUMENT (struct_size). The completion has the other codes: those of almadia_leader_transfer.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_leader_transfer_async(struct almadia_store *store,
                                           const struct almadia_leader_transfer_options *options,
                                           const struct almadia_done *done,
                                           struct almadia_error **error);

/**
 * Changes the members of the cluster, all `count` changes at once or none, and waits until every region has followed: those
 * who come have the data, and those who go are needed no more. The changes are taken in their order. Any member may be
 * asked, also one that is to go. With a count of 0 (`changes` may be NULL then) nothing is changed, and the call waits for
 * the changes before it.
 *
 * The cluster goes on serving meanwhile. A region waits, for as long as it takes, for a new member to be opened and to catch
 * up, and for a majority of live voters: almadia_members_unsettled says for whom. A timeout does not take a change back;
 * another change does. To see whether one that failed with an unknown outcome was made, look at almadia_members_list.
 * Repeated, a change that was made does no harm: who was added, replaced or removed is refused with
 * ALMADIA_INVALID_ARGUMENT, everything else stays as it is.
 *
 * `timeout_ms` is in milliseconds; 0 means the option write.timeout_ms, which is short for members that have much data to
 * get. Blocks: yes, for the timeout at most. Threads: any number at once; changes that meet are made one after the other.
 * Codes: ALMADIA_INVALID_ARGUMENT (the changes contradict the list of members or each other, a field has no such value or
 * is not used by its kind, struct_size; the error says which), ALMADIA_UNSUPPORTED (a member runs a release that knows no
 * such changes; a field that this version does not know), ALMADIA_OVERLOADED, ALMADIA_NO_LEADER (the list was not changed,
 * because nobody led in time), ALMADIA_DEADLINE_BEFORE_START (the list was not changed; with a count of 0: a region has not
 * followed in time, and the error says what it waits for), ALMADIA_TIMEOUT (the list was or may be changed, and a region
 * has not followed in time; it goes on, and the error says what it waits for), ALMADIA_SHUTDOWN_IN_FLIGHT, ALMADIA_FAILED_IN_FLIGHT, ALMADIA_SKIPPED_IN_FLIGHT (outcome unknown),
 * ALMADIA_REMOVED (this member was removed, perhaps by this change), ALMADIA_CLOSED, ALMADIA_FORKED, ALMADIA_POISONED,
 * ALMADIA_WOULD_DEADLOCK.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_members_change(struct almadia_store *store,
                                    const struct almadia_member_change *changes,
                                    size_t count,
                                    uint64_t timeout_ms,
                                    struct almadia_error **error);

/**
 * Starts changing the members of the cluster and returns: the way to add members from the thread that opens them. On
 * ALMADIA_OK the call will complete exactly once, with index and term 0, when every region has followed; after a failure
 * there will be no completion.
 *
 * Blocks: no. Threads: any number at once; callbacks too. Codes: ALMADIA_INVALID_ARGUMENT (a field has no such value or is
 * not used by its kind, struct_size), ALMADIA_UNSUPPORTED (a field that this version does not know), ALMADIA_OVERLOADED,
 * ALMADIA_REMOVED, ALMADIA_CLOSED, ALMADIA_FORKED, ALMADIA_POISONED. The completion has the other codes: those of
 * almadia_members_change, so ALMADIA_INVALID_ARGUMENT too, with the same words, ALMADIA_CANCELLED and
 * ALMADIA_CANCELLED_IN_FLIGHT.
 */
ALMADIA_API
ALMADIA_NODISCARD
almadia_code almadia_members_change_async(struct almadia_store *store,
                                          const struct almadia_member_change *changes,
                                          size_t count,
                                          uint64_t timeout_ms,
                                          const struct almadia_done *done,
                                          struct almadia_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* ALMADIA_H */
