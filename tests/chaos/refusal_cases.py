"""Refusals of a member, whose messages name what is wrong and what to do."""

import socket
import struct
import time

from bench import Bench, case, require
from cluster import Cluster, Member, error_of, wait_for

# In at least one of ATTEMPTS a call must answer within this time after its deadline: the machine may be busy in others.
LATE_MS = 500
ATTEMPTS = 20
FORMAT_AT = 8  # after the magic, in the ident file and in a log segment


@case
def unreachable_peers_mean_no_leader_at_the_deadline(bench: Bench):
    cluster = Cluster(bench)
    alone = cluster.members[0]
    alone.start()
    for timeout_ms in (50, 400):
        for command in ("put", "leader"):
            check_lateness(alone, command, timeout_ms, ("ALMADIA_NO_LEADER",))
        check_lateness(alone, "snapshot", timeout_ms, ("ALMADIA_NO_LEADER", "ALMADIA_READ_TIMEOUT"))
    cluster.members[1].start()
    code, _, message = alone.result("leader 25000")
    require(code == "ALMADIA_OK", f"a second member makes a majority, but: {code} {message}")
    for member in cluster.alive():
        member.stop()


def check_lateness(member: Member, command: str, timeout_ms: int, codes: tuple):
    took_ms = []
    while not took_ms or min(took_ms) > timeout_ms + LATE_MS:
        answered = f"{command} with a deadline of {timeout_ms} ms answered after {took_ms} ms"
        require(len(took_ms) < ATTEMPTS, answered)
        code, elapsed_ms, message = member.result(f"{command} {timeout_ms}")
        require(code in codes, f"{command}: {code} {message}")
        require(elapsed_ms >= timeout_ms - 1, f"{answered} and {elapsed_ms} ms")
        took_ms.append(elapsed_ms)


@case
def a_directory_in_use_is_refused_by_name_in_this_and_another_process(bench: Bench):
    cluster = Cluster(bench, count=1)
    member = cluster.members[0]
    member.start()
    first = member.process.pid
    code, _, message = member.result("reopen")
    check_refusal(code, message, "ALMADIA_LOCKED", [str(member.directory)])
    other = Cluster(bench, count=1).members[0]  # another port, the same directory
    other.directory = member.directory
    code, message = error_of(other.try_start())
    check_refusal(code, message, "ALMADIA_LOCKED", [str(member.directory), str(first)])
    require(member.result("put 5000")[0] == "ALMADIA_OK", "the holder of the directory was disturbed")
    member.stop()


@case
def a_directory_of_another_cluster_or_node_is_refused_by_name(bench: Bench):
    cluster = Cluster(bench, count=1)
    member = cluster.members[0]
    member.start()
    member.stop()
    addresses = cluster.addresses

    cluster.options.append("cluster.name=other")
    refuse(member, "ALMADIA_WRONG_CLUSTER", [str(member.directory), "almadia", "other"])
    cluster.options.pop()
    cluster.addresses = f"{addresses},2=127.0.0.1:9"
    refuse(member, "ALMADIA_WRONG_CLUSTER", [str(member.directory)])
    three = Cluster(bench)
    three.start()
    for started in three.members:
        started.stop()
    swapped = three.members[0]
    swapped.node = 2
    refuse(swapped, "ALMADIA_WRONG_CLUSTER", [str(swapped.directory), "1", "2"])


@case
def a_directory_of_a_newer_version_is_refused_and_left_alone(bench: Bench):
    for name in ("ident", "log"):
        cluster = Cluster(bench, count=1)
        member = cluster.members[0]
        member.start()
        member.stop()
        path = member.directory / name
        if path.is_dir():
            path = sorted(path.glob("*.log"))[-1]
        content = make_newer(path)
        refuse(member, "ALMADIA_INCOMPATIBLE_FORMAT", [str(path)])
        require(path.read_bytes() == content, f"{path} was changed by a version that cannot read it")


def make_newer(path) -> bytes:
    """Increments the format version of an ident file or a log segment; both begin with magic and version."""
    content = bytearray(path.read_bytes())
    is_segment = path.suffix == ".log"
    struct.pack_into("<I", content, FORMAT_AT, struct.unpack_from("<I", content, FORMAT_AT)[0] + 1)
    if is_segment:
        struct.pack_into("<I", content, 48, crc32c(content[:48]))
    else:
        struct.pack_into("<I", content, 16, crc32c(content[:16] + content[20:]))
    path.write_bytes(content)
    return bytes(content)


@case
def a_port_in_use_is_refused_by_name(bench: Bench):
    cluster = Cluster(bench)
    member = cluster.members[0]
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", cluster.ports[0]))
        squatter.listen()
        refuse(member, "ALMADIA_NETWORK", [str(cluster.ports[0])])
    member.start()
    member.stop()


@case
def malformed_and_unknown_options_are_refused_by_name(bench: Bench):
    cluster = Cluster(bench, count=1)
    member = cluster.members[0]
    for option in ("raft.tick_ms=fast", "raft.tick_ms=-1", "raft.tick_ms=99999999999999999999", "transport.insecure=1",
                   "raft.tick=50", "no such option", "raft.heartbeat_ms=35", "raft.election_timeout_ms=40",
                   "limits.in_flight_bytes=0"):
        cluster.options.append(option)
        refuse(member, "ALMADIA_INVALID_CONFIG", [option.split("=")[0]])
        cluster.options.pop()
    require(not member.directory.exists(), "a refused configuration left something in the directory")
    for addresses in ("1", "1=localhost", "2=127.0.0.1:1", "1=127.0.0.1:1,1=127.0.0.1:2",
                      "1=127.0.0.1:1;2=127.0.0.1:2", "1=127.0.0.1:1 2=127.0.0.1:2", "1=127.0.0.1:1\n2=127.0.0.1:2",
                      "1=127.0.0.1:0", "1=127.0.0.1:1,2=127.0.0.1:1"):
        cluster.addresses = addresses
        refuse(member, "ALMADIA_INVALID_CONFIG", ["cluster.initial_members"])


def refuse(member, code: str, words: list):
    """Starts a member that must not start."""
    started = time.monotonic()
    answer = member.try_start()
    found, message = error_of(answer)
    wait_for(lambda: not member.is_alive(), f"{member} to end after a refusal")
    require(member.process.returncode == 1, f"{member} ended with {member.process.returncode}; {member.errors()}")
    require(time.monotonic() - started < 10, f"{member} took {time.monotonic() - started} s to refuse")
    member.kill()
    check_refusal(found, message, code, words)


def check_refusal(found: str, message: str, code: str, words: list):
    require(found == code, f"expected {code}, got {found}: {message}")
    for word in words:
        require(word in message, f"{found} does not name '{word}': {message}")


def crc32c(content: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
