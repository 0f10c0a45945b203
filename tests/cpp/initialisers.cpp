/* initialisers.cpp - the initialisers of the C header in C++; compiled only, for the warnings of the headers. */
#include <almadia.hpp>

int main() {
    const almadia_option option = ALMADIA_OPTION_INIT;
    const almadia_status status = ALMADIA_STATUS_INIT;
    const almadia_region_status region_status = ALMADIA_REGION_STATUS_INIT;
    const almadia_raft_snapshot_status raft_snapshot = ALMADIA_RAFT_SNAPSHOT_STATUS_INIT;
    const almadia_done done = ALMADIA_DONE_INIT;
    const almadia_write_options write_options = ALMADIA_WRITE_OPTIONS_INIT;
    const almadia_snapshot_options snapshot_options = ALMADIA_SNAPSHOT_OPTIONS_INIT;
    const almadia_leader_transfer_options transfer_options = ALMADIA_LEADER_TRANSFER_OPTIONS_INIT;
    const almadia_iter_options iter_options = ALMADIA_ITER_OPTIONS_INIT;
    const almadia_precondition precondition = ALMADIA_PRECONDITION_INIT;
    const almadia_op_result op_result = ALMADIA_OP_RESULT_INIT;
    const almadia_range_digest range_digest = ALMADIA_RANGE_DIGEST_INIT;
    const almadia_member member = ALMADIA_MEMBER_INIT;
    const almadia_member_change member_change = ALMADIA_MEMBER_CHANGE_INIT;
    return option.name != nullptr || status.node_id != 0 || region_status.start_key.data != nullptr ||
           raft_snapshot.to_id != 0 ||
           done.callback != nullptr || write_options.event_user != nullptr || snapshot_options.start != nullptr ||
           transfer_options.key != nullptr || iter_options.prefix != nullptr ||
           precondition.exists != 0 || op_result.key.data != nullptr || range_digest.keys != 0 ||
           member.address != nullptr || member_change.address != nullptr;
}
