"""Damaged disks: one member refuses to start, or stops, with a reason, and the others continue."""

import re
import struct

from bench import Bench, case, require
from cluster import Cluster, Member, error_of, wait_for
from records import Records

SEGMENT_HEADER = struct.Struct("<8sIIQQQQ")
SEGMENT_HEADER_BYTES = 4096
FRAME_HEADER = struct.Struct("<IIQ")
WRITES = 1500


@case
def a_bit_flipped_in_a_synced_frame_is_refused_with_file_and_offset(bench: Bench):
    cluster = Cluster(bench)
    cluster.start()
    cluster.write()
    cluster.wait_for_writes(WRITES)
    victim = bench.rng.choice(cluster.members)
    victim.kill()
    segment, begin, end = choose_frame(victim, bench.rng)
    at = bench.rng.randrange(begin, end)
    flip_bit(segment, at, bench.rng.randrange(8))
    code, message = error_of(victim.try_start())
    victim.kill()
    require(code == "ALMADIA_CORRUPTION", f"a flipped bit at {at} of {segment}: {code} {message}")
    require(str(segment) in message, f"the message does not name the file: {message}")
    offsets = [int(number) for number in re.findall(r"offset (\d+)", message)]
    require(any(begin <= offset < end for offset in offsets), f"frame {begin}-{end}, but the message says: {message}")
    cluster.wait_for_writes(WRITES)
    cluster.pause()
    for member in cluster.alive():
        Records(cluster.records).check(cluster.dump(member), f"beside the damaged member, {member}")
    bench.note(message)


@case
def a_failed_sync_poisons_its_store_and_answers_everyone(bench: Bench):
    cluster = cluster_whose_syncs_can_fail(bench)
    victim = cluster.leader()
    # Only the victim writes, so that the sync that fails is one of its own writes.
    victim.write()
    cluster.wait_for_writes(WRITES)
    fail_next_sync(bench, victim)
    wait_for(lambda: victim.status()["poisoned"] != "ALMADIA_OK", f"{victim} to notice that its sync failed")
    check_poisoned(victim)
    cluster_goes_on(cluster, victim)
    outcomes = check_all_answered(cluster, victim)
    bench.note(f"that member: {outcomes.count('A')} applied, {outcomes.count('U')} unknown, {outcomes.count('N')} refused")


@case
def a_leader_whose_sync_fails_leaves_no_forwarded_write_waiting(bench: Bench):
    cluster = cluster_whose_syncs_can_fail(bench)
    victim = cluster.leader()
    follower = next(member for member in cluster.members if member is not victim)
    follower.result("put 60000")
    fail_next_sync(bench, victim)
    code, _, message = follower.result("put 60000")
    require(code == "ALMADIA_OK", f"the write in flight: {code} {message}")
    require(victim.status()["poisoned"] != "ALMADIA_OK", f"{victim} did not notice that its sync failed")
    code, _, message = follower.result("put 60000")
    require(code == "ALMADIA_OK", f"a write after the next election: {code} {message}")


def cluster_whose_syncs_can_fail(bench: Bench) -> Cluster:
    # No truncation and no election, which sync the log too, and only syncs of segments fail, not those of marks: so the
    # sync that fails is that of a write.
    cluster = Cluster(bench, shim=True, log__retain_bytes=64 << 20, raft__election_timeout_ms=1000)
    trigger = bench.directory / "fail-now"
    for member in cluster.members:
        member.launch({"POWERLOSS_FAIL_SYNC": "/log/0000:1", "POWERLOSS_FAIL_AFTER": str(trigger / str(member.node))})
    for member in cluster.members:
        require(member.receive() == "ready", f"{member} did not start")
    return cluster


def fail_next_sync(bench: Bench, victim: Member):
    trigger = bench.directory / "fail-now"
    trigger.mkdir()
    (trigger / str(victim.node)).touch()


def check_poisoned(victim: Member):
    require(victim.is_alive(), "the process of the poisoned store died")
    require(victim.ask("pause") == "paused", "calls of the poisoned store stay unanswered")
    require(victim.status()["in_flight"] == 0, f"calls are in flight: {victim.status()}")
    code, _, message = victim.result("put 1000")
    require(code == "ALMADIA_POISONED", f"a new write on a poisoned store: {code} {message}")
    code, _, message = victim.result("snapshot 1000")
    require(code == "ALMADIA_POISONED", f"a new snapshot of a poisoned store: {code} {message}")


def cluster_goes_on(cluster: Cluster, victim: Member):
    others = [member for member in cluster.members if member is not victim]
    wait_for(lambda: any(member.status()["role"] == "leader" for member in others), "another leader")
    for member in others:
        member.write()
    before = sum(member.status()["acknowledged"] for member in others)
    wait_for(lambda: sum(member.status()["acknowledged"] for member in others) > before + WRITES, "writes elsewhere")


def check_all_answered(cluster: Cluster, victim: Member) -> list:
    """Checks all members, the victim after a restart; returns the outcomes that the victim reported before."""
    cluster.pause()
    outcomes = Records(cluster.records).of_run(victim.run)
    require(outcomes.count("B") == 0, f"{outcomes.count('B')} writes of the poisoned store were never answered")
    require(outcomes.count("U") > 0, "the writes in flight when the sync failed have a known outcome")
    for member in cluster.members:
        if member is not victim:
            Records(cluster.records).check(cluster.dump(member), f"after a failed sync, {member}")
    victim.kill()
    victim.start()
    cluster.wait_until_caught_up(victim)
    Records(cluster.records).check(cluster.dump(victim), "after the restart of the member whose sync failed")
    return outcomes


def choose_frame(member: Member, rng):
    """The segment and the extent of a synced frame other than the last of the log."""
    frames = []
    for segment in sorted((member.directory / "log").iterdir()):
        frames += [(segment, begin, end) for begin, end in frames_of(segment)]
    require(len(frames) > 20, f"{member} has only {len(frames)} frames; did the format change?")
    return rng.choice(frames[: len(frames) - 2])


def frames_of(segment):
    """The frames of a log segment (src/storage/log_store/frame.rs), by the lengths they claim."""
    content = segment.read_bytes()
    if segment.suffix != ".log" or content[:8] != b"ALMADLOG":
        return
    _, _, _, _, salt, counter, _ = SEGMENT_HEADER.unpack_from(content)
    at = SEGMENT_HEADER_BYTES
    while at + FRAME_HEADER.size <= len(content):
        _, body_bytes, sealed_counter = FRAME_HEADER.unpack_from(content, at)
        if sealed_counter ^ salt != counter or at + FRAME_HEADER.size + body_bytes > len(content):
            return
        yield at, at + FRAME_HEADER.size + body_bytes
        at += FRAME_HEADER.size + body_bytes
        counter += 1


def flip_bit(path, at: int, bit: int):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
