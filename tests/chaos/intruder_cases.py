"""Strangers on the peer port: the member's memory and threads stay bounded and the cluster keeps working."""

import random
import socket
import struct

from bench import Bench, case, require
from cluster import Cluster, Member, wait_for
from records import Records
from refusal_cases import crc32c

MAGIC = b"almadia\n"
PROTOCOL_VERSION = 5
EARLIER_VERSION = 4
HELLO, REFUSAL = 1, 2
HELLO_BYTES, EARLIER_HELLO_BYTES = 80, 72
FRAME_MESSAGES = 1
TICK_MS, ELECTION_TIMEOUT_MS = 10, 200

CONNECTIONS = 300
# A member may have this many more threads and this much more memory than before. The acceptor allows 4 handshakes per
# member and 16 more; each connection has a read buffer of 128 KiB.
THREADS_MORE_MAX = 48
MEMORY_MORE_KIB_MAX = 48 << 10


@case
def garbage_half_frames_huge_lengths_and_silence_leave_the_members_healthy(bench: Bench):
    cluster = Cluster(bench)
    cluster.start()
    cluster.write()
    cluster.wait_for_writes(300)
    victims = cluster.members
    before = {member.node: usage(member) for member in victims}
    most = dict.fromkeys(before, (0, 0))
    sockets = []
    for number in range(CONNECTIONS):
        member = victims[number % len(victims)]
        sockets.append(attack(member, cluster, bench.rng))
        sockets = sockets[-200:]
        if number % 10 == 0:
            most = {member.node: maximum(most[member.node], usage(member)) for member in victims}
    cluster.wait_for_writes(300)
    for member in victims:
        threads, memory_kib = maximum(most[member.node], usage(member))
        check_usage(member, before[member.node], threads, memory_kib)
    for intruder in sockets:
        intruder.close()
    for member in victims:
        wait_for(lambda: usage(member)[0] <= before[member.node][0] + 4, f"{member} to end the strangers' threads")
    cluster.wait_for_writes(300)
    for member in victims:
        code, _, message = member.result("put 10000")
        require(code == "ALMADIA_OK", f"{member} does not write any more: {code} {message}")
    check_members(cluster)
    grown = max(most[node][0] - before[node][0] for node in before)
    bench.note(f"{CONNECTIONS} strangers, at most {grown} threads more in a member")


def check_usage(member: Member, before, threads: int, memory_kib: int):
    require(threads <= before[0] + THREADS_MORE_MAX, f"{member} went from {before[0]} to {threads} threads")
    more = memory_kib - before[1]
    require(more <= MEMORY_MORE_KIB_MAX, f"{member} went from {before[1]} to {memory_kib} KiB")


def check_members(cluster: Cluster):
    for member in cluster.members:
        require(member.is_alive(), f"{member} died; {member.errors()}")
        require(member.status()["poisoned"] == "ALMADIA_OK", f"{member} is poisoned: {member.status()}")
    cluster.pause()
    for member in cluster.members:
        Records(cluster.records).check(cluster.dump(member), f"after the strangers, {member}")
    for member in cluster.members:
        member.stop()


def usage(member: Member):
    """Threads, and resident memory in KiB."""
    with open(f"/proc/{member.process.pid}/status") as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["Threads"]), int(fields["VmRSS"].split()[0])


def maximum(one, other):
    return max(one[0], other[0]), max(one[1], other[1])


def attack(victim: Member, cluster: Cluster, rng: random.Random) -> socket.socket:
    """Opens a connection, sends something no member would send, and leaves it open."""
    port = cluster.ports[victim.node - 1]
    intruder = socket.create_connection(("127.0.0.1", port), timeout=5)
    send = rng.choice(INTRUSIONS)
    try:
        send(intruder, victim, cluster, rng)
    except OSError:
        pass  # the member may close the connection
    return intruder


def silence(intruder, victim, cluster, rng):
    pass


def garbage(intruder, victim, cluster, rng):
    intruder.sendall(rng.randbytes(rng.randrange(1, 100_000)))


def half_preamble(intruder, victim, cluster, rng):
    intruder.sendall(preamble(HELLO, b"")[: rng.randrange(1, 24)])


def huge_preamble(intruder, victim, cluster, rng):
    length = rng.choice((0xFFFFFFFF, 0x7FFFFFFF, 1 << 20))
    checked = struct.pack("<II", HELLO, length)
    intruder.sendall(MAGIC + struct.pack("<I", PROTOCOL_VERSION) + checked + struct.pack("<I", crc32c(checked)))
    intruder.sendall(bytes(10_000))


def wrong_cluster(intruder, victim, cluster, rng):
    intruder.sendall(preamble(HELLO, hello(rng.getrandbits(64), 2, victim.node, 1, 200, 10)))


def huge_frame(intruder, victim, cluster, rng):
    pretend_to_be_a_member(intruder, victim, cluster, rng)
    length = rng.choice((0xFFFFFFFF, 0x80000000, 64 << 20))
    intruder.sendall(struct.pack("<IIB7x", rng.getrandbits(32), length, FRAME_MESSAGES) + bytes(50_000))


def half_frame(intruder, victim, cluster, rng):
    pretend_to_be_a_member(intruder, victim, cluster, rng)
    whole = frame(rng.randbytes(2000))
    intruder.sendall(whole[: rng.randrange(1, len(whole))])


def bad_frame(intruder, victim, cluster, rng):
    """A complete frame with the right checksum, full of noise."""
    pretend_to_be_a_member(intruder, victim, cluster, rng)
    intruder.sendall(frame(rng.randbytes(rng.randrange(1, 5000))))


def member_of_the_build_before(intruder, victim, cluster, rng):
    """The hello of another member, in the version before: that member would not know what is in the log."""
    said = hello(*identity_of_another(victim, cluster, rng), ELECTION_TIMEOUT_MS, TICK_MS)
    intruder.sendall(preamble(HELLO, said[:EARLIER_HELLO_BYTES], EARLIER_VERSION))
    answer = b""
    while chunk := intruder.recv(4096):
        answer += chunk
    if not answer:
        return  # there were too many strangers at that moment
    require(answer[8:16] == struct.pack("<II", EARLIER_VERSION, REFUSAL), f"{victim} answered {answer!r}")
    require(b"runs an earlier release" in answer, f"{victim} does not say why: {answer!r}")


def pretend_to_be_a_member(intruder, victim, cluster, rng):
    """A hello that the victim must accept: with the bytes of the other member's ident file."""
    said = hello(*identity_of_another(victim, cluster, rng), ELECTION_TIMEOUT_MS, TICK_MS)
    intruder.sendall(preamble(HELLO, said))
    answer = b""
    while len(answer) < 24 + HELLO_BYTES and (chunk := intruder.recv(24 + HELLO_BYTES - len(answer))):
        answer += chunk
    require(answer[12:16] == struct.pack("<I", HELLO), f"{victim} did not accept the hello: {answer!r}")


INTRUSIONS = (
    silence,
    garbage,
    half_preamble,
    huge_preamble,
    wrong_cluster,
    huge_frame,
    half_frame,
    bad_frame,
    member_of_the_build_before,
)


def identity_of_another(victim, cluster, rng):
    """Cluster, from, to and instance of a hello to the victim."""
    other = rng.choice([member for member in cluster.members if member is not victim])
    content = (other.directory / "ident").read_bytes()
    cluster_id, node, instance = struct.unpack_from("<QQQ", content, 21)
    return cluster_id, node, victim.node, instance


def hello(*words: int) -> bytes:
    """A hello of a first boot, with a nonce and an undamaged log, that knows feature level 2."""
    return struct.pack("<10Q", *words, 1, 77, 0, 2)


def preamble(kind: int, body: bytes, version: int = PROTOCOL_VERSION) -> bytes:
    checked = struct.pack("<II", kind, len(body)) + body
    head = MAGIC + struct.pack("<III", version, kind, len(body))
    return head + struct.pack("<I", crc32c(checked)) + body


def frame(body: bytes) -> bytes:
    checked = struct.pack("<IB7x", len(body), FRAME_MESSAGES) + body
    return struct.pack("<I", crc32c(checked)) + checked
