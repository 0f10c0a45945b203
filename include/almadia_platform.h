/*
 * almadia_platform.h - what a generator cannot write: attributes, version macros and initialisers.
 * Included by almadia.h; do not include it by itself.
 */
#ifndef ALMADIA_PLATFORM_H
#define ALMADIA_PLATFORM_H

/* The version of this header. The library that runs answers almadia_version_number(). */
#define ALMADIA_VERSION_MAJOR 0
#define ALMADIA_VERSION_MINOR 1
#define ALMADIA_VERSION_PATCH 0
#define ALMADIA_VERSION_STRING "0.1.0"
#define ALMADIA_VERSION_NUMBER \
    (ALMADIA_VERSION_MAJOR * 1000000 + ALMADIA_VERSION_MINOR * 1000 + ALMADIA_VERSION_PATCH)

/* ALMADIA_API: an exported function. ALMADIA_NODISCARD: the compiler warns when the answer is ignored. */
#if defined(__GNUC__) || defined(__clang__)
#define ALMADIA_API __attribute__((visibility("default")))
#define ALMADIA_NODISCARD __attribute__((warn_unused_result))
#else
#define ALMADIA_API
#define ALMADIA_NODISCARD
#endif

/* A null pointer as the language wants it, without a warning about a zero. */
#if defined(__cplusplus) && __cplusplus >= 201103L
#define ALMADIA_NULL nullptr
#else
#define ALMADIA_NULL NULL
#endif

/*
 * Initialisers of the structs that begin with struct_size: every field has its default. Always begin with these, so
 * that a program keeps working when a later version adds fields.
 */
#define ALMADIA_OPTION_INIT {sizeof(almadia_option), ALMADIA_NULL, ALMADIA_NULL, ALMADIA_NULL, ALMADIA_NULL}
#define ALMADIA_STATUS_INIT {sizeof(almadia_status), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
#define ALMADIA_REGION_STATUS_INIT {sizeof(almadia_region_status), 0, 0, 0, 0, 0, 0, \
                                    {ALMADIA_NULL, 0}, {ALMADIA_NULL, 0}, 0, 0, 0, 0, 0}
#define ALMADIA_RAFT_SNAPSHOT_STATUS_INIT {sizeof(almadia_raft_snapshot_status), 0, 0, 0, 0, 0, 0, 0, 0}
#define ALMADIA_DONE_INIT {sizeof(almadia_done), ALMADIA_NULL, ALMADIA_NULL, ALMADIA_NULL, ALMADIA_NULL}
#define ALMADIA_WRITE_OPTIONS_INIT {sizeof(almadia_write_options), 0, 0, 0, ALMADIA_NULL, ALMADIA_NULL, \
                                    ALMADIA_NULL, ALMADIA_NULL}
#define ALMADIA_PRECONDITION_INIT {sizeof(almadia_precondition), 0, 0, 0, 0}
#define ALMADIA_OP_RESULT_INIT {sizeof(almadia_op_result), 0, 0, 0, 0, {ALMADIA_NULL, 0}, {ALMADIA_NULL, 0}, 0}
#define ALMADIA_RANGE_DIGEST_INIT {sizeof(almadia_range_digest), {0}, 0, 0}
#define ALMADIA_SNAPSHOT_OPTIONS_INIT {sizeof(almadia_snapshot_options), 0, 0, 0, ALMADIA_NULL, 0, ALMADIA_NULL, 0, 0}
#define ALMADIA_LEADER_TRANSFER_OPTIONS_INIT {sizeof(almadia_leader_transfer_options), 0, 0, ALMADIA_NULL, 0}
#define ALMADIA_MEMBER_INIT {sizeof(almadia_member), 0, ALMADIA_NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, ALMADIA_NULL}
#define ALMADIA_MEMBER_CHANGE_INIT {sizeof(almadia_member_change), 0, 0, 0, 0, ALMADIA_NULL, 0, 0}
#define ALMADIA_ITER_OPTIONS_INIT {sizeof(almadia_iter_options), ALMADIA_NULL, 0, ALMADIA_NULL, 0, ALMADIA_NULL, 0, \
                                   0, 0}
#define ALMADIA_TXN_OPTIONS_INIT {sizeof(almadia_txn_options), 0, 0, 0, ALMADIA_NULL, 0}
#define ALMADIA_CONFLICT_INIT {sizeof(almadia_conflict), 0, 0, {ALMADIA_NULL, 0}, {ALMADIA_NULL, 0}}

#endif /* ALMADIA_PLATFORM_H */
