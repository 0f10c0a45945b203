/*
 * structs.c - every struct that begins with struct_size, as an older, a newer and a broken program passes it: smaller
 * than it ever was, older, newer with and without values in fields that this library does not know, and far too large.
 * The library must never touch a byte beyond struct_size.
 */
#include "check.h"

enum { LATER = 24, GUARD = 0x5a };

/* Room for the largest struct, the fields of a later version, and bytes that must not change. */
union room {
    size_t struct_size;
    unsigned char bytes[512];
};

/* Passes the struct at `room` to a function of the library; returns its code. */
typedef almadia_code (*pass_function)(void *room);

static almadia_store *store;
static almadia_batch *batch;
static almadia_snapshot *snapshot;
static almadia_cq *cq;

/* Input: the library reads it. `first` is its size in the first version of the header, `now` in this one. */
static void check_input(pass_function pass, const void *initial, size_t first, size_t now)
{
    union room room;
    CHECK(now + LATER <= sizeof room);
    memset(&room, GUARD, sizeof room);
    memcpy(&room, initial, now);

    const size_t broken[] = {0, 1, sizeof(size_t), first - 1, 4097, SIZE_MAX};
    for (size_t at = 0; at < sizeof broken / sizeof *broken; at++) {
        room.struct_size = broken[at];
        CHECK_CODE(ALMADIA_INVALID_ARGUMENT, pass(&room));
    }

    /* An older program: the bytes after its struct are something else, and are not read. */
    memset(room.bytes + first, GUARD, sizeof room - first);
    room.struct_size = first;
    CHECK_CODE(ALMADIA_OK, pass(&room));

    /* A newer program that uses none of the later fields, and one that uses their last byte. */
    memcpy(&room, initial, now);
    memset(room.bytes + now, 0, LATER);
    room.struct_size = now + LATER;
    CHECK_CODE(ALMADIA_OK, pass(&room));
    room.bytes[now + LATER - 1] = 1;
    CHECK_CODE(ALMADIA_UNSUPPORTED, pass(&room));
    room.struct_size = now + LATER - 1;
    CHECK_CODE(ALMADIA_OK, pass(&room));
    room.bytes[now] = 1;
    CHECK_CODE(ALMADIA_UNSUPPORTED, pass(&room));
}

/* Output: the library writes it, keeps the caller's size, and clears what it does not know. */
static void check_output(pass_function pass, size_t first, size_t now)
{
    union room room;
    const size_t broken[] = {0, 1, sizeof(size_t), first - 1, 4097, SIZE_MAX};
    for (size_t at = 0; at < sizeof broken / sizeof *broken; at++) {
        memset(&room, GUARD, sizeof room);
        room.struct_size = broken[at];
        CHECK_CODE(ALMADIA_INVALID_ARGUMENT, pass(&room));
        CHECK(room.bytes[sizeof(size_t)] == GUARD);
    }
    const size_t sizes[] = {first, now, now + LATER};
    for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
        memset(&room, GUARD, sizeof room);
        room.struct_size = sizes[at];
        CHECK_CODE(ALMADIA_OK, pass(&room));
        CHECK(room.struct_size == sizes[at]);
        for (size_t byte = now; byte < sizes[at]; byte++)
            CHECK(room.bytes[byte] == 0);
        for (size_t byte = sizes[at]; byte < sizeof room; byte++)
            CHECK(room.bytes[byte] == GUARD);
    }
}

/* As many come, and no more. */
static void pop_completions(size_t wanted)
{
    for (size_t number = 0; number <= wanted; number++) {
        almadia_completion *completion = NULL;
        size_t count = 9;
        int64_t timeout_ms = number < wanted ? 10000 : 0;
        CHECK_CODE(ALMADIA_OK, almadia_cq_pop(cq, &completion, 1, &count, timeout_ms, NULL));
        CHECK(count == (number < wanted ? 1u : 0u));
        almadia_completion_free(completion);
    }
}

static almadia_code pass_option(void *room)
{
    return almadia_config_option_at(0, room);
}

static almadia_code pass_status(void *room)
{
    return almadia_store_status(store, room, NULL);
}

static almadia_code pass_region(void *room)
{
    return almadia_store_region_at(store, 0, room, NULL);
}

/* There is none. */
static almadia_code pass_raft_snapshot(void *room)
{
    almadia_code code = almadia_store_raft_snapshot_at(store, 0, room, NULL);
    CHECK(code != ALMADIA_OK);
    return code == ALMADIA_END ? ALMADIA_OK : code;
}

static almadia_code pass_member(void *room)
{
    almadia_members *members = NULL;
    CHECK_CODE(ALMADIA_OK, almadia_members_list(store, &members, NULL));
    almadia_code code = almadia_members_at(members, 0, room);
    almadia_members_free(members);
    return code;
}

/* The only member stays one that is no more preferred than others. */
static almadia_code pass_member_change(void *room)
{
    return almadia_members_change(store, room, 1, 10000, NULL);
}

static almadia_code pass_member_change_async(void *room)
{
    almadia_done done = ALMADIA_DONE_INIT;
    done.cq = cq;
    almadia_code code = almadia_members_change_async(store, room, 1, 10000, &done, NULL);
    pop_completions(code == ALMADIA_OK ? 1 : 0);
    return code;
}

static almadia_code pass_write_options(void *room)
{
    CHECK_CODE(ALMADIA_OK, almadia_batch_put(batch, "k", 1, "v", 1, NULL));
    almadia_code code = almadia_write(store, batch, room, NULL, NULL);
    CHECK((almadia_batch_count(batch) == 0) == (code == ALMADIA_OK));
    almadia_batch_clear(batch);
    return code;
}

static almadia_code pass_options_of_one_write(void *room)
{
    almadia_code put = almadia_put_with(store, "k", 1, "v", 1, room, NULL, NULL);
    almadia_code removed = almadia_delete_with(store, "k", 1, room, NULL, NULL);
    CHECK(put == removed);
    return put;
}

/* A refused call completes never; an accepted one once. */
static almadia_code pass_options_of_an_async_write(void *room)
{
    almadia_done done = ALMADIA_DONE_INIT;
    done.cq = cq;
    almadia_code put = almadia_put_with_async(store, "k", 1, "v", 1, room, &done, NULL);
    almadia_code removed = almadia_delete_with_async(store, "k", 1, room, &done, NULL);
    CHECK(put == removed);
    pop_completions(put == ALMADIA_OK ? 2 : 0);
    return put;
}

static almadia_code pass_options_of_a_get(void *room)
{
    almadia_value *value = NULL;
    CHECK_CODE(ALMADIA_OK, almadia_put(store, "k", 1, "v", 1, NULL));
    almadia_code code = almadia_get_with(store, "k", 1, room, &value, NULL, NULL);
    CHECK((value != NULL) == (code == ALMADIA_OK));
    almadia_value_free(value);
    return code;
}

static almadia_code pass_options_of_an_async_get(void *room)
{
    almadia_done done = ALMADIA_DONE_INIT;
    done.cq = cq;
    almadia_code code = almadia_get_with_async(store, "k", 1, room, &done, NULL);
    pop_completions(code == ALMADIA_OK ? 1 : 0);
    return code;
}

static almadia_code pass_snapshot_options(void *room)
{
    almadia_snapshot *made = NULL;
    almadia_code code = almadia_snapshot_open(store, room, &made, NULL);
    CHECK((made != NULL) == (code == ALMADIA_OK));
    almadia_snapshot_free(made);
    return code;
}

static almadia_code pass_iter_options(void *room)
{
    almadia_iter *iter = NULL;
    almadia_code code = almadia_iter_new(snapshot, room, &iter, NULL);
    CHECK((iter != NULL) == (code == ALMADIA_OK));
    almadia_iter_free(iter);
    return code;
}

static almadia_code pass_txn_options(void *room)
{
    almadia_txn *txn = NULL;
    almadia_code code = almadia_txn_begin(store, room, &txn, NULL);
    CHECK((txn != NULL) == (code == ALMADIA_OK));
    almadia_txn_free(txn);
    return code;
}

static almadia_code pass_conflict(void *room)
{
    almadia_error *error = NULL;
    almadia_txn *txn = NULL;
    almadia_value *value = NULL;
    CHECK_CODE(ALMADIA_OK, almadia_txn_begin(store, NULL, &txn, NULL));
    CHECK_CODE(ALMADIA_NOT_FOUND, almadia_txn_get(txn, "c", 1, &value, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_txn_put(txn, "c", 1, "", 0, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_put(store, "c", 1, "", 0, NULL));
    CHECK_CODE(ALMADIA_CONFLICT, almadia_txn_commit(txn, NULL, &error));
    CHECK_CODE(ALMADIA_OK, almadia_delete(store, "c", 1, NULL));
    almadia_txn_free(txn);
    almadia_code code = almadia_error_conflict(error, room);
    almadia_error_free(error);
    return code;
}

/* The target leads already. */
static almadia_code pass_transfer_options(void *room)
{
    return almadia_leader_transfer(store, room, NULL);
}

static almadia_code pass_precondition(void *room)
{
    almadia_error *error = NULL;
    CHECK_CODE(ALMADIA_PRECONDITION_FAILED, almadia_compare_and_set(store, "k", 1, 1, "v", 1, NULL, NULL, &error));
    almadia_code code = almadia_error_precondition(error, room);
    almadia_error_free(error);
    return code;
}

static almadia_code pass_op_result(void *room)
{
    almadia_written *written = NULL;
    almadia_write_options options = ALMADIA_WRITE_OPTIONS_INIT;
    options.written = &written;
    CHECK_CODE(ALMADIA_OK, almadia_add(store, "sum", 3, 1, &options, NULL, NULL));
    almadia_code code = almadia_written_at(written, 0, room);
    almadia_written_free(written);
    return code;
}

static almadia_code pass_digest_out(void *room)
{
    return almadia_snapshot_digest(snapshot, "a", 1, "b", 1, room, NULL);
}

static almadia_code pass_digest_in(void *room)
{
    almadia_code code = almadia_batch_if_range(batch, "a", 1, "b", 1, room, NULL);
    CHECK(almadia_batch_count(batch) == (code == ALMADIA_OK ? 1u : 0u));
    almadia_batch_clear(batch);
    return code;
}

/* A refused call never completes; an accepted one completes once. */
static almadia_code pass_done(void *room)
{
    almadia_completion *completion = NULL;
    size_t count = 9;
    almadia_code code = almadia_put_async(store, "k", 1, "v", 1, room, NULL);
    CHECK_CODE(ALMADIA_OK, almadia_cq_pop(cq, &completion, 1, &count, code == ALMADIA_OK ? 10000 : 0, NULL));
    CHECK(count == (code == ALMADIA_OK ? 1u : 0u));
    almadia_completion_free(completion);
    return code;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    almadia_write_options write = ALMADIA_WRITE_OPTIONS_INIT;
    almadia_snapshot_options read = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    almadia_iter_options iterate = ALMADIA_ITER_OPTIONS_INIT;
    almadia_txn_options begin = ALMADIA_TXN_OPTIONS_INIT;
    almadia_conflict conflict = ALMADIA_CONFLICT_INIT;
    almadia_leader_transfer_options transfer = ALMADIA_LEADER_TRANSFER_OPTIONS_INIT;
    almadia_done done = ALMADIA_DONE_INIT;
    almadia_option option = ALMADIA_OPTION_INIT;
    almadia_precondition failed = ALMADIA_PRECONDITION_INIT;
    almadia_op_result result = ALMADIA_OP_RESULT_INIT;
    almadia_range_digest seen = ALMADIA_RANGE_DIGEST_INIT;
    almadia_status status = ALMADIA_STATUS_INIT;
    almadia_region_status region = ALMADIA_REGION_STATUS_INIT;
    almadia_raft_snapshot_status moving = ALMADIA_RAFT_SNAPSHOT_STATUS_INIT;
    almadia_member member = ALMADIA_MEMBER_INIT;
    almadia_member_change change = ALMADIA_MEMBER_CHANGE_INIT;
    store = open_single(argv[1]);
    CHECK_CODE(ALMADIA_OK, almadia_batch_new(&batch, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_snapshot_open(store, NULL, &snapshot, NULL));
    CHECK_CODE(ALMADIA_OK, almadia_cq_new(&cq, NULL));
    done.cq = cq;
    transfer.target = 1;
    change.kind = ALMADIA_MEMBER_CHANGE_PREFER;
    change.node_id = 1;

    /* Sizes in the first version of the header: later fields are at the end. */
    check_input(pass_write_options, &write, offsetof(almadia_write_options, events), sizeof write);
    check_input(pass_options_of_one_write, &write, offsetof(almadia_write_options, events), sizeof write);
    check_input(pass_options_of_an_async_write, &write, offsetof(almadia_write_options, events), sizeof write);
    check_input(pass_snapshot_options, &read, offsetof(almadia_snapshot_options, start), sizeof read);
    check_input(pass_options_of_a_get, &read, offsetof(almadia_snapshot_options, start), sizeof read);
    check_input(pass_options_of_an_async_get, &read, offsetof(almadia_snapshot_options, start), sizeof read);
    check_input(pass_iter_options, &iterate, sizeof iterate, sizeof iterate);
    check_input(pass_transfer_options, &transfer, sizeof transfer, sizeof transfer);
    check_input(pass_txn_options, &begin, sizeof begin, sizeof begin);
    check_input(pass_done, &done, offsetof(almadia_done, op), sizeof done);
    check_output(pass_option, option.struct_size, sizeof option);
    check_output(pass_status, offsetof(almadia_status, log_bytes), sizeof status);
    check_output(pass_region, offsetof(almadia_region_status, feature_level), sizeof region);
    check_output(pass_raft_snapshot, moving.struct_size, sizeof moving);
    check_output(pass_member, member.struct_size, sizeof member);
    check_input(pass_member_change, &change, sizeof change, sizeof change);
    check_input(pass_member_change_async, &change, sizeof change, sizeof change);
    check_input(pass_digest_in, &seen, sizeof seen, sizeof seen);
    check_output(pass_digest_out, seen.struct_size, sizeof seen);
    check_output(pass_precondition, failed.struct_size, sizeof failed);
    check_output(pass_op_result, result.struct_size, sizeof result);
    check_output(pass_conflict, conflict.struct_size, sizeof conflict);

    almadia_cq_free(cq);
    almadia_snapshot_free(snapshot);
    almadia_batch_free(batch);
    almadia_store_free(store);
    return 0;
}
