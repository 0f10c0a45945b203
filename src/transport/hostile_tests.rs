//! Peers and strangers that misbehave: healthy peers must get through, and nothing may grow without bound.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Instant;

use raft::eraftpb::MessageType;
use socket2::Socket;

use super::frame_writer::FrameWriter;
use super::handshake::HandshakeError;
use super::notices::Topic;
use super::protocol::Protocol;
use super::tests::*;
use super::*;

/// A raw connection to `member` that has agreed to be node `from`.
pub(super) fn shake_hands(member: &Member, from: u64) -> Socket {
    let (socket, agreed) = shake_hands_in(Protocol::NEWEST, member, from);
    agreed.expect("agreed");
    socket
}

/// The same in this version of the protocol, with what came of it.
pub(super) fn shake_hands_in(
    protocol: Protocol,
    member: &Member,
    from: u64,
) -> (Socket, std::result::Result<Hello, HandshakeError>) {
    let stream = TcpStream::connect(member.transport.local_addr()).expect("loopback");
    let socket = Socket::from(stream);
    let agreed = handshake::dial(&socket, &hello_to(member, from), protocol, |_| Ok(()));
    (socket, agreed)
}

/// What node `from` says to `member`.
pub(super) fn hello_to(member: &Member, from: u64) -> Hello {
    let own = options(from, &[]);
    Hello {
        cluster: own.cluster,
        from: own.node,
        to: member.transport.network.options.node,
        instance: own.instance,
        election_timeout_ms: own.election_timeout_ms,
        tick_ms: own.tick_ms,
        boot_count: own.boot_count,
        boot: own.boot,
        lost_end: false,
        level: 1,
        purpose: Purpose::Messages,
        announced: String::new(),
        build: String::new(),
    }
}

fn frame_of(messages: &[PeerMessage]) -> Vec<u8> {
    let mut out = FrameWriter::new(FRAME_BYTES_MAX);
    for message in messages {
        out.push(message).expect("small");
    }
    out.finish().to_vec()
}

fn write(mut socket: &Socket, bytes: &[u8]) {
    socket.write_all(bytes).expect("the peer still reads");
}

/// Waits until the other side has closed the connection.
pub(super) fn wait_closed(mut socket: &Socket) {
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a socket");
    let end = socket.read(&mut [0]);
    let is_closed = match &end {
        Ok(count) => *count == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    };
    assert!(is_closed, "{end:?}");
}

fn thread_count(member: &Member) -> usize {
    // Each thread of a transport holds its network, and nobody else but the transport does.
    Arc::strong_count(&member.transport.network) - 1
}

/// A member with one peer that is not there yet; `start_peer` starts it.
fn start_with_absent_peer(own: u64, other: u64) -> (Member, impl Fn() -> Member) {
    let address = reserved_address();
    let member = start(options(own, &[(other, address.clone())]));
    let own_address = member.transport.local_addr().to_string();
    let start_peer = move || {
        start(TransportOptions { listen: address.clone(), ..options(other, &[(own, own_address.clone())]) })
    };
    (member, start_peer)
}

#[test]
fn a_crowd_of_silent_connections_takes_a_bounded_number_of_threads_and_a_peer_gets_through() {
    let (member, start_peer) = start_with_absent_peer(41, 42);
    let places = 4 * 2 + 16;
    let mut crowd = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(member.transport.local_addr()).expect("loopback");
        // Every other one sends the first right byte and no more.
        if n % 2 == 0 {
            stream.write_all(b"a").expect("just connected");
        }
        crowd.push(stream);
        assert!(member.transport.network.handshakes.count() <= places);
        // Two threads of its own, and those that have given up their place and are about to end.
        assert!(thread_count(&member) <= 2 + 2 * places, "{} threads", thread_count(&member));
    }
    assert!(threads_named("almadia-hello") <= 2 * places + 8, "with those of other tests at this moment");

    let peer = start_peer();
    connect(&peer, 42, &member, 41);
    connect(&member, 41, &peer, 42);

    assert!(thread_count(&member) <= 3 + 2 * places, "{} threads", thread_count(&member));
    let begun = Instant::now();
    crowd.push(TcpStream::connect(member.transport.local_addr()).expect("loopback"));
    while member.transport.network.handshakes.count() == 0 {
        std::thread::yield_now();
    }
    member.transport.shutdown();
    assert!(begun.elapsed() < handshake::DEADLINE, "silence does not delay the shutdown");
    assert_eq!(thread_count(&member), 0);
}

#[test]
fn garbage_closes_its_connection_and_no_other() {
    let (member, start_peer) = start_with_absent_peer(43, 44);
    let peer = start_peer();
    connect(&peer, 44, &member, 43);
    for first in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0; 4096],
        &[0xff; 4096],
        b"almadia\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = TcpStream::connect(member.transport.local_addr()).expect("loopback");
        stream.write_all(first).expect("just connected");
        let socket = Socket::from(stream);
        if first.starts_with(b"almadia") {
            // Another version is answered before it is closed.
            let mut answer = [0; 8];
            (&socket).read_exact(&mut answer).expect("a refusal");
            assert_eq!(&answer, b"almadia\n");
        } else {
            wait_closed(&socket);
        }
    }

    peer.transport.send(NodeId(43), vec![append(44, 43, 5)]);
    member.inbound.wait_received(44, 5);
    assert!(member.transport.network.has_logged(NodeId(0), Topic::Stranger));
}

#[test]
fn whatever_a_peer_sends_wrongly_costs_it_the_connection_and_nothing_else() {
    let member = start(options(45, &[(46, reserved_address()), (47, reserved_address())]));
    let good = shake_hands(&member, 47);
    let huge = {
        let mut header = frame_of(&[])[..].to_vec();
        header.resize(frame::HEADER_BYTES, 0);
        header[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        header
    };
    let mut damaged = frame_of(&[append(46, 45, 1)]);
    *damaged.last_mut().expect("a frame") ^= 1;
    let wrong_sender = frame_of(&[append(46, 45, 1), append(47, 45, 1)]);
    let wrong_receiver = frame_of(&[append(46, 48, 1)]);
    for bytes in [huge, damaged, wrong_sender, wrong_receiver, vec![0xaa; 300_000]] {
        let bad = shake_hands(&member, 46);
        drop((&bad).write_all(&bytes));
        wait_closed(&bad);
    }

    write(&good, &frame_of(&[append(47, 45, 9)]));
    member.inbound.wait_received(47, 9);
    assert!(member.inbound.received(46).is_empty(), "nothing of a bad frame was delivered");
    assert!(member.transport.network.has_logged(NodeId(46), Topic::BadFrame));
}

#[test]
fn half_a_frame_waits_and_delays_nobody() {
    let member = start(options(48, &[(49, reserved_address()), (50, reserved_address())]));
    let (slow, good) = (shake_hands(&member, 49), shake_hands(&member, 50));
    let frame = frame_of(&[append(49, 48, 1), append(49, 48, 2)]);
    let (half, rest) = frame.split_at(frame.len() / 2);

    write(&slow, half);
    write(&good, &frame_of(&[append(50, 48, 3)]));
    member.inbound.wait_received(50, 3);
    assert!(member.inbound.received(49).is_empty());

    write(&slow, rest);
    member.inbound.wait_received(49, 2);
}

#[test]
fn a_frame_of_an_older_connection_is_dropped_once_a_newer_one_is_up() {
    let member = start(options(51, &[(52, reserved_address())]));
    let older = shake_hands(&member, 52);
    member.inbound.update(|state| state.is_gate_closed = true);
    write(&older, &frame_of(&[append(52, 51, 1)]));
    member.inbound.wait("the first delivery is under way", |state| state.waiting_at_gate == 1);
    // These are in the socket of the older connection when the newer one comes.
    write(&older, &frame_of(&[append(52, 51, 2), append(52, 51, 3)]));

    let newer = shake_hands(&member, 52);
    write(&newer, &frame_of(&[append(52, 51, 4)]));
    let peer = member.transport.network.peers.find(NodeId(52)).expect("a peer");
    while peer.incoming.generation.load(Ordering::Acquire) != 2 {
        std::thread::yield_now();
    }
    member.inbound.update(|state| state.is_gate_closed = false);

    member.inbound.wait_received(52, 4);
    assert_eq!(member.inbound.received(52), [1, 4]);
    wait_closed(&older);
}

#[test]
fn a_peer_that_reconnects_a_hundred_times_leaves_one_thread() {
    let member = start(options(53, &[(54, reserved_address())]));
    let mut connections = Vec::new();
    for index in 0..100 {
        let socket = shake_hands(&member, 54);
        write(&socket, &frame_of(&[append(54, 53, index)]));
        member.inbound.wait_received(54, index);
        connections.push(socket);
    }

    wait_for_threads("almadia-recv-54", 1);
    assert_eq!(member.inbound.received(54), (0..100).collect::<Vec<_>>());
}

/// Accepts one connection, agrees as the member with these options would, and then never reads.
pub(super) fn accept_and_never_read(listener: &TcpListener, own: &TransportOptions) -> Socket {
    let socket = Socket::from(listener.accept().expect("dialed").0);
    let hello_for = |to| {
        Ok(Hello {
            cluster: own.cluster,
            from: own.node,
            to,
            instance: own.instance,
            election_timeout_ms: own.election_timeout_ms,
            tick_ms: own.tick_ms,
            boot_count: own.boot_count,
            boot: own.boot,
            lost_end: false,
            level: 1,
            purpose: Purpose::Messages,
            announced: String::new(),
            build: String::new(),
        })
    };
    handshake::accept(&socket, hello_for, |_| Ok(())).expect("agreed");
    socket
}

/// Waits until what is sent to `node` is kept.
fn wait_connected(member: &Member, node: u64) {
    while !member.transport.network.peers.find(NodeId(node)).expect("a peer").link.is_connected() {
        std::thread::yield_now();
    }
}

/// More than the buffers of the system take.
const FLOOD_BYTES: usize = 32 << 20;

#[test]
fn a_peer_that_never_reads_is_given_up_and_does_not_delay_other_peers() {
    let soon = |options| TransportOptions { election_timeout_ms: 1000, ..options };
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let wedged = listener.local_addr().expect("bound").to_string();
    let other_address = reserved_address();
    let member = start(soon(options(55, &[(56, wedged), (57, other_address.clone())])));
    let own_address = member.transport.local_addr().to_string();
    let other = start(TransportOptions { listen: other_address, ..soon(options(57, &[(55, own_address)])) });
    let first = accept_and_never_read(&listener, &soon(options(56, &[])));
    connect(&member, 55, &other, 57);
    wait_connected(&member, 56);

    member.transport.send(NodeId(56), vec![large_append(55, 56, 1, FLOOD_BYTES)]);

    member.transport.send(NodeId(57), vec![append(55, 57, 7)]);
    other.inbound.wait_received(55, 7);
    member.inbound.wait("the loss is reported", |state| state.losses.contains_key(&NodeId(56)));
    drop(first);
}

#[test]
fn a_peer_that_never_reads_does_not_delay_the_shutdown() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let member = start(options(65, &[(66, address)]));
    let wedged = accept_and_never_read(&listener, &options(66, &[]));
    wait_connected(&member, 66);
    member.transport.send(NodeId(66), vec![large_append(65, 66, 1, FLOOD_BYTES)]);

    let begun = Instant::now();
    member.transport.shutdown();

    assert!(begun.elapsed() < TIMEOUT, "it waited for the peer");
    drop(wedged);
}

#[test]
fn small_messages_to_a_peer_that_never_reads_never_hold_the_thread_that_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let member = start(options(63, &[(64, address)]));
    let wedged = accept_and_never_read(&listener, &options(64, &[]));
    member.transport.send(NodeId(64), vec![message(63, 64, MessageType::MsgAppendResponse, 0)]);

    // Twice what the queue holds. The pauses let some be written by this thread, while the system takes any.
    let begun = Instant::now();
    for _ in 0..2 * QUEUE_BYTES_MAX / 40_000 {
        member.transport.send(NodeId(64), vec![large_append(63, 64, 1, 40_000)]);
        std::thread::park_timeout(Duration::from_micros(100));
    }
    member.transport.shutdown();

    assert!(begun.elapsed() < TIMEOUT, "it waited for the peer");
    drop(wedged);
}

#[test]
fn a_peer_that_closes_silently_is_noticed_before_the_next_message_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let member = start(options(58, &[(59, address)]));
    let first = accept_and_never_read(&listener, &options(59, &[]));
    wait_connected(&member, 59);
    drop(first);
    // Longer than a connection may be idle before the sender thread checks it.
    std::thread::park_timeout(Duration::from_millis(50));

    member.transport.send(NodeId(59), vec![message(58, 59, MessageType::MsgAppendResponse, 1)]);

    let second = accept_and_never_read(&listener, &options(59, &[]));
    member.inbound.wait("the loss is reported", |state| state.losses.contains_key(&NodeId(59)));
    drop(second);
}
