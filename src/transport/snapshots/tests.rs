//! Raft snapshots between whole transports on loopback.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use raft::eraftpb::MessageType;
use socket2::Socket;

use super::frames::{ACCEPTOR_KINDS, Answer, BEGIN_BYTES_MAX, CHUNK_BYTES_MAX, DIALER_KINDS, Resume, Said};
use super::shelf::*;
use super::window::WINDOW_BYTES;
use crate::error::Error;
use crate::transport::frame::FrameBuffer;
use crate::transport::handshake::{self, Caller, Hello, Purpose, Reason};
use crate::transport::hostile_tests::{hello_to, wait_closed};
use crate::transport::notices::Topic;
use crate::transport::protocol::Protocol;
use crate::transport::tests::{
    Member, TIMEOUT, append, connect, options, reserved_address, start, start_pair,
};
use crate::transport::upgrade_tests::build_before;
use crate::transport::{TransportOptions, lock};
use crate::types::{KEY_BYTES_MAX, NodeId, RegionId, VALUE_BYTES_MAX};

/// Sends these rows as the raft snapshot of region 1.
pub(super) fn send(member: &Member, from: u64, to: u64, rows: Rows) -> Fate {
    let (sending, fate) = sending(message(from, to, 1), rows);
    member.transport.send_snapshot(sending);
    fate
}

/// What `member` has of the one sending from node `from` of region 1.
pub(super) fn staged(member: &Member, from: u64) -> Vec<u8> {
    member.inbound.shelf.look(|state| state.staged[&(RegionId(1), [from, 1, 5])].clone())
}

/// Passes connections on to `to`. Those for raft snapshots are cut when as many bytes as `cut` says have come of the
/// dialer, and counted.
fn proxy(to: String, mut cut: impl FnMut() -> u64 + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    thread::spawn(move || {
        for near in listener.incoming() {
            let mut near = near.expect("loopback");
            let Ok(mut far) = TcpStream::connect(&to) else { continue };
            // A hello of the newest version that announces nothing.
            let mut hello = [0; 24 + 92];
            if near.read_exact(&mut hello).is_err() || far.write_all(&hello).is_err() {
                continue;
            }
            let is_for_snapshot = hello[104] == 1;
            let limit = if is_for_snapshot {
                counted.fetch_add(1, Ordering::AcqRel);
                cut()
            } else {
                u64::MAX
            };
            let (near_again, far_again) =
                (near.try_clone().expect("a socket"), far.try_clone().expect("a socket"));
            thread::spawn(move || {
                drop(io::copy(&mut near.take(limit), &mut far));
                drop(far.shutdown(Shutdown::Both));
            });
            thread::spawn(move || {
                let (mut from, mut to) = (far_again, near_again);
                drop(io::copy(&mut from, &mut to));
                drop(to.shutdown(Shutdown::Both));
            });
        }
    });
    (address, count)
}

/// A receiver, and a sender that reaches it through a proxy.
fn start_behind_proxy(
    one: u64,
    two: u64,
    cut: impl FnMut() -> u64 + Send + 'static,
) -> (Member, Member, Arc<AtomicUsize>) {
    let far = start(options(two, &[(one, reserved_address())]));
    let (address, count) = proxy(far.transport.local_addr().to_string(), cut);
    (start(options(one, &[(two, address)])), far, count)
}

/// Accepts, as the member with these options would, until a connection for a raft snapshot comes. Those for messages stay
/// open in `others`.
pub(super) fn accept_for_snapshot(
    listener: &TcpListener,
    own: &TransportOptions,
    others: &mut Vec<Socket>,
) -> Socket {
    loop {
        let socket = Socket::from(listener.accept().expect("dialed").0);
        let hello = |to| {
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
        let Ok(Caller::Member(theirs, _)) = handshake::accept(&socket, hello, |_| Ok(())) else {
            panic!("a member agrees")
        };
        if theirs.purpose == Purpose::Snapshot {
            return socket;
        }
        others.push(socket);
    }
}

/// What the dialer says first.
pub(super) fn hear_begin(socket: &Socket) -> Said {
    let mut frames = FrameBuffer::of_kinds(DIALER_KINDS, BEGIN_BYTES_MAX);
    let mut stream = socket;
    loop {
        if let Some(frame) = frames.next_of_any_kind().expect("frames of ours") {
            return Said::parse(frame).expect("said by a member");
        }
        assert_ne!(frames.fill(&mut stream).expect("open"), 0, "it says something");
    }
}

pub(super) fn answer(mut socket: &Socket, answer: &Answer) {
    let mut out = Vec::new();
    answer.put(&mut out);
    socket.write_all(&out).expect("the dialer reads");
}

/// A raw connection to `member` for a raft snapshot, as node `from` of boot 1.
pub(super) fn dial_for_snapshot(member: &Member, from: u64) -> Socket {
    let socket = Socket::from(TcpStream::connect(member.transport.local_addr()).expect("loopback"));
    let hello = Hello { purpose: Purpose::Snapshot, ..hello_to(member, from) };
    handshake::dial(&socket, &hello, Protocol::NEWEST, |_| Ok(())).expect("agreed");
    socket
}

/// What the acceptor says next; none when it has closed the connection.
pub(super) fn hear_answer(socket: &Socket) -> Option<Answer> {
    let mut frames = FrameBuffer::of_kinds(ACCEPTOR_KINDS, CHUNK_BYTES_MAX);
    let mut stream = socket;
    socket.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    loop {
        if let Some(frame) = frames.next_of_any_kind().expect("frames of ours") {
            return Some(Answer::parse(frame).expect("said by a member"));
        }
        match frames.fill(&mut stream) {
            Ok(0) => return None,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            came => assert_ne!(came.expect("in time"), 0),
        }
    }
}

#[test]
fn a_raft_snapshot_arrives_whole_and_both_sides_know_of_it() {
    let (one, two) = start_pair(101, 102);
    let data = random_rows(30_000);

    let fate = send(&one, 101, 102, Rows::new(&data));

    assert!(fate.wait());
    assert!(staged(&two, 101) == *data, "every byte");
    assert_eq!(fate.progress.load(Ordering::Acquire), data.len() as u64);
    let begun = two.inbound.shelf.look(|state| state.begun.clone());
    let bytes_estimate = data.len() as u64;
    assert_eq!(begun, [Begun { message: message(101, 102, 1), source: [101, 1, 5], bytes_estimate }]);
    assert_eq!(two.inbound.shelf.look(|state| state.finished.clone()), [[101, 1, 5]]);
    one.transport.shutdown();
    two.transport.shutdown();
    assert_eq!(fate.told(), [true], "its end is told once");
    assert_eq!(Arc::strong_count(&one.transport.network), 1, "no thread is left");
}

#[test]
fn a_region_without_rows_arrives_too() {
    let (one, two) = start_pair(103, 104);

    let fate = send(&one, 103, 104, Rows::new(&random_rows(0)));

    assert!(fate.wait());
    assert_eq!(two.inbound.shelf.look(|state| state.finished.len()), 1);
    assert_eq!(fate.progress.load(Ordering::Acquire), 0);
}

#[test]
fn rows_longer_than_all_that_may_be_under_way_cross() {
    let (one, two) = start_pair(105, 106);
    let row_bytes = KEY_BYTES_MAX + VALUE_BYTES_MAX;
    assert!(row_bytes as u64 > WINDOW_BYTES);
    two.inbound.shelf.update(|state| state.row_bytes = row_bytes);
    let data = Arc::new(random_rows(3 * row_bytes / ROW_BYTES + 1)[..3 * row_bytes].to_vec());

    let fate = send(&one, 105, 106, Rows { row_bytes, ..Rows::new(&data) });

    assert!(fate.wait());
    assert!(staged(&two, 105) == *data, "every byte");
}

#[test]
fn fifty_megabytes_cross_connections_that_are_cut_at_random_places() {
    let mut numbers = Numbers(77);
    let cut = move || 600_000 + numbers.next() % 6_000_000;
    let (one, two, count) = start_behind_proxy(107, 108, cut);
    let data = random_rows(500_000);

    let fate = send(&one, 107, 108, Rows::new(&data));

    assert!(fate.wait());
    assert!(staged(&two, 107) == *data, "every byte, once");
    let connections = count.load(Ordering::Acquire);
    let begun = two.inbound.shelf.look(|state| state.begun.len());
    assert!(begun > 8 && begun <= connections, "{begun} of {connections} connections went on");
}

#[test]
fn three_connections_without_progress_end_a_sending() {
    // Enough for the beginning and for no chunk.
    let (one, two, count) = start_behind_proxy(109, 110, || 10_000);

    let fate = send(&one, 109, 110, Rows::new(&random_rows(30_000)));

    assert!(!fate.wait());
    assert_eq!(count.load(Ordering::Acquire), 3);
    assert!(two.inbound.shelf.look(|state| state.finished.is_empty()));
}

#[test]
fn a_receiver_without_a_place_is_asked_again_until_it_has_one() {
    let peers = [(112, reserved_address()), (113, reserved_address()), (114, reserved_address())];
    let two = start(options(111, &peers));
    let (address, count) = proxy(two.transport.local_addr().to_string(), || u64::MAX);
    let own = two.transport.local_addr().to_string();
    let senders = [112, 113].map(|node| start(options(node, &[(111, own.clone())])));
    let late = start(options(114, &[(111, address)]));
    let data = random_rows(3000);
    two.inbound.shelf.update(|state| state.is_gate_closed = true);
    let fates = [0, 1].map(|at| send(&senders[at], 112 + at as u64, 111, Rows::new(&data)));
    two.inbound.shelf.wait("both places are taken", |state| state.waiting_at_gate == 2);

    let last = send(&late, 114, 111, Rows::new(&data));
    let end = Instant::now() + TIMEOUT;
    while count.load(Ordering::Acquire) < 4 {
        assert!(Instant::now() < end, "it comes again");
        thread::yield_now();
    }
    assert_eq!(two.inbound.shelf.look(|state| state.begun.len()), 2);
    assert!(last.told().is_empty());
    two.inbound.shelf.update(|state| state.is_gate_closed = false);

    assert!(fates.iter().chain([&last]).all(Fate::wait));
    for from in 112..=114 {
        assert!(staged(&two, from) == *data);
    }
}

#[test]
fn a_member_that_comes_again_ends_its_older_connection() {
    let two = start(options(116, &[(115, reserved_address())]));
    let begin = |socket: &Socket| {
        let begin =
            super::frames::Begin { boot: 1, number: 5, bytes_estimate: 1, message: message(115, 116, 1) };
        let mut out = Vec::new();
        Said::Begin(Box::new(begin)).put(&mut out);
        let mut stream = socket;
        stream.write_all(&out).expect("just connected");
    };
    let older = dial_for_snapshot(&two, 115);
    begin(&older);
    assert_eq!(hear_answer(&older), Some(Answer::Resume(Resume::default())));

    let newer = dial_for_snapshot(&two, 115);
    begin(&newer);

    assert!(matches!(hear_answer(&newer), Some(Answer::Busy(_))), "the older one has to end first");
    assert_eq!(hear_answer(&older), None);
    two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
    let mut tries = 0;
    let third = loop {
        let socket = dial_for_snapshot(&two, 115);
        begin(&socket);
        match hear_answer(&socket) {
            Some(Answer::Resume(_)) => break socket,
            heard => assert!(matches!(heard, Some(Answer::Busy(_))), "{heard:?}"),
        }
        tries += 1;
        assert!(tries < 100_000, "its place becomes free");
    };
    two.transport.shutdown();
    wait_closed(&third);
}

#[test]
fn a_cancelled_sending_ends_while_the_receiver_takes_nothing() {
    let (one, two) = start_pair(117, 118);
    two.inbound.shelf.update(|state| state.is_gate_closed = true);
    let fate = send(&one, 117, 118, Rows::new(&random_rows(300_000)));
    two.inbound.shelf.wait("it is under way", |state| state.waiting_at_gate == 1);
    let waiting = send(&one, 117, 118, Rows::new(&random_rows(1)));

    fate.cancel();
    waiting.cancel();

    assert!(!fate.wait());
    assert!(!waiting.wait(), "one that was cancelled while it waited");
    two.inbound.shelf.update(|state| state.is_gate_closed = false);
    two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
    assert_eq!(two.inbound.shelf.look(|state| state.begun.len()), 1, "it is not begun again");
}

#[test]
fn a_receiver_that_fails_or_refuses_ends_the_sending() {
    let cases: [fn(&mut super::shelf::State); 3] = [
        |state| state.refuses = Some("an install is pending".to_owned()),
        |state| state.fails_to_take = true,
        |state| state.fails_to_finish = true,
    ];
    let (one, two) = start_pair(119, 120);
    for (at, fail) in cases.into_iter().enumerate() {
        two.inbound.shelf.update(fail);

        // More than can be under way, so that the sender writes while the receiver fails.
        let fate = send(&one, 119, 120, Rows::new(&random_rows(100_000)));

        assert!(!fate.wait(), "case {at}");
        two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
        let begun = two.inbound.shelf.look(|state| state.begun.len());
        assert_eq!(begun, at, "once each, and never after a refusal");
        two.inbound.shelf.update(|state| {
            (state.refuses, state.fails_to_take, state.fails_to_finish) = (None, false, false);
            state.staged.clear();
        });
    }

    assert!(send(&one, 119, 120, Rows::new(&random_rows(1000))).wait(), "the next one arrives");
}

#[test]
fn rows_that_cannot_be_read_end_the_sending() {
    let (one, two) = start_pair(121, 122);
    let data = random_rows(30_000);

    let unread = send(&one, 121, 122, Rows { fails_at: 1_000_000, ..Rows::new(&data) });
    assert!(!unread.wait());
    two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
    let lost = send(&one, 121, 122, Rows { fails_to_seek: true, ..Rows::new(&data) });
    assert!(!lost.wait());

    two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
    assert!(two.inbound.shelf.look(|state| state.finished.is_empty()));
    assert!(one.inbound.state.lock().expect("no panic").panicked.is_empty());
}

#[test]
fn a_member_of_an_earlier_build_gets_none_and_the_log_says_what_to_do() {
    for (newest, node) in [(5, 124), (4, 125)] {
        let (heard, _versions) = mpsc::channel();
        let (address, _acceptor) = build_before(newest, node, heard);
        let one = start(options(123, &[(node, address)]));

        let fate = send(&one, 123, node, Rows::new(&random_rows(10)));

        assert!(!fate.wait());
        let peer = one.transport.network.peers.find(NodeId(node)).expect("a peer");
        assert!(lock(&peer.snapshot_notices).has_logged(Topic::DialRefusal(Reason::Version)));
        one.inbound.wait("messages still cross", |state| state.connected.contains(&NodeId(node)));
    }
}

#[test]
fn messages_go_on_while_raft_snapshots_are_sent() {
    const COUNT: u64 = 2000;
    let (one, two) = start_pair(126, 127);
    connect(&one, 126, &two, 127);
    connect(&two, 127, &one, 126);
    let data = random_rows(300_000);
    let fate = send(&one, 126, 127, Rows::new(&data));

    for index in 1..=COUNT {
        one.transport.send(NodeId(127), vec![append(126, 127, index)]);
        let heartbeat = crate::transport::tests::message(127, 126, MessageType::MsgAppendResponse, index);
        two.transport.send(NodeId(126), vec![heartbeat]);
        if index % 100 == 0 {
            two.inbound.wait_received(126, index);
            one.inbound.wait_received(127, index);
        }
    }

    assert!(fate.wait());
    assert_eq!(two.inbound.received(126), (0..=COUNT).collect::<Vec<_>>());
    assert_eq!(one.inbound.received(127), (0..=COUNT).collect::<Vec<_>>());
    let record = lock(&two.inbound.state);
    assert_eq!(record.introduced.len(), 1, "the connection for messages is the one from before");
    assert!(record.losses.is_empty() && lock(&one.inbound.state).losses.is_empty());
}

#[test]
fn a_sending_that_cannot_begin_ends_at_once() {
    let one = start(options(128, &[(129, reserved_address())]));
    let nobody = send(&one, 128, 130, Rows::new(&random_rows(1)));
    assert_eq!(nobody.told(), [false], "node 130 is not a member");

    one.transport.close();

    let late = send(&one, 128, 129, Rows::new(&random_rows(1)));
    assert_eq!(late.told(), [false], "the transport is closed");
}

#[test]
fn two_are_sent_at_a_time_and_a_newer_one_takes_the_place_of_one_that_waits() {
    let (one, two) = start_pair(131, 132);
    two.inbound.shelf.update(|state| state.is_gate_closed = true);
    let of_region = |region, rows: usize| {
        let (sending, fate) = sending(message(131, 132, region), Rows::new(&random_rows(rows)));
        one.transport.send_snapshot(sending);
        fate
    };
    let running = [of_region(1, 10), of_region(2, 20)];
    two.inbound.shelf.wait("both are under way", |state| state.waiting_at_gate == 2);

    let replaced = of_region(3, 30);
    let newest = of_region(3, 31);

    assert_eq!(replaced.told(), [false]);
    assert_eq!(two.inbound.shelf.look(|state| state.begun.len()), 2);
    two.inbound.shelf.update(|state| state.is_gate_closed = false);
    assert!(running.iter().chain([&newest]).all(Fate::wait));
    assert_eq!(
        two.inbound.shelf.look(|state| state.staged[&(RegionId(3), [131, 1, 5])].len()),
        31 * ROW_BYTES
    );
}

#[test]
fn a_panic_in_the_rows_is_reported_and_told_as_an_end() {
    let (one, two) = start_pair(133, 134);
    let fate = send(&one, 133, 134, Rows { panics: true, ..Rows::new(&random_rows(1)) });
    assert!(!fate.wait());
    let is_named =
        |name: &'static str| move |panic: &Error| panic.detail().starts_with(&format!("thread {name} "));
    one.inbound.wait("it is reported", |state| state.panicked.iter().any(is_named("almadia-snap-134")));

    two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
    two.inbound.shelf.update(|state| state.panics = true);
    let fate = send(&one, 133, 134, Rows::new(&random_rows(1)));

    two.inbound.wait("it is reported", |state| state.panicked.iter().any(is_named("almadia-snapin-133")));
    assert!(fate.wait(), "to the sender the connection broke, and the next one brought all");
}

#[test]
fn a_receiver_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let soon = |options| TransportOptions { election_timeout_ms: 20, tick_ms: 5, ..options };
    let one = start(soon(options(135, &[(136, address)])));
    let own = soon(options(136, &[]));
    let accepted = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    thread::spawn(move || {
        let mut open = Vec::new();
        loop {
            let silent = accept_for_snapshot(&listener, &own, &mut open);
            open.push(silent);
            counted.fetch_add(1, Ordering::AcqRel);
        }
    });

    let fate = send(&one, 135, 136, Rows::new(&random_rows(1)));

    assert!(!fate.wait());
    assert_eq!(accepted.load(Ordering::Acquire), 3);
}

#[test]
fn a_sender_that_says_nothing_is_given_up() {
    let soon = |options| TransportOptions { election_timeout_ms: 20, tick_ms: 5, ..options };
    let two = start(soon(options(138, &[(137, reserved_address())])));
    let socket = Socket::from(TcpStream::connect(two.transport.local_addr()).expect("loopback"));
    let hello =
        Hello { purpose: Purpose::Snapshot, election_timeout_ms: 20, tick_ms: 5, ..hello_to(&two, 137) };
    handshake::dial(&socket, &hello, Protocol::NEWEST, |_| Ok(())).expect("agreed");
    let begin = super::frames::Begin { boot: 1, number: 5, bytes_estimate: 1, message: message(137, 138, 1) };
    let mut out = Vec::new();
    Said::Begin(Box::new(begin)).put(&mut out);
    (&socket).write_all(&out).expect("just connected");

    assert_eq!(hear_answer(&socket), Some(Answer::Resume(Resume::default())));

    wait_closed(&socket);
    two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
}

#[test]
fn a_connection_of_an_older_boot_is_closed() {
    let two = start(options(140, &[(139, reserved_address())]));
    let dial = |boot_count, purpose| {
        let socket = Socket::from(TcpStream::connect(two.transport.local_addr()).expect("loopback"));
        let hello = Hello { purpose, boot_count, ..hello_to(&two, 139) };
        handshake::dial(&socket, &hello, Protocol::NEWEST, |_| Ok(())).expect("agreed");
        socket
    };
    let newer = dial(3, Purpose::Messages);
    two.inbound.wait("introduced", |state| state.introduced.len() == 1);

    wait_closed(&dial(2, Purpose::Snapshot));

    assert!(two.inbound.shelf.look(|state| state.begun.is_empty()));
    drop(newer);
}

#[test]
fn what_is_sent_keeps_to_the_limit() {
    let address = reserved_address();
    let two =
        start(TransportOptions { listen: address.clone(), ..options(142, &[(141, reserved_address())]) });
    let limited =
        TransportOptions { snapshot_bytes_per_second: 2_000_000, ..options(141, &[(142, address)]) };
    let one = start(limited);
    let begun = Instant::now();

    assert!(send(&one, 141, 142, Rows::new(&random_rows(10_000))).wait());

    assert!(begun.elapsed() >= Duration::from_millis(400), "a million bytes: {:?}", begun.elapsed());
    drop(two);
}

/// Shuts `member` down and checks that it did not wait, and that the end of the sending was told, once.
fn shut_down_at_once(member: &Member, fates: &[Fate]) {
    let begun = Instant::now();
    member.transport.shutdown();
    assert!(begun.elapsed() < TIMEOUT, "it waited");
    for fate in fates {
        assert_eq!(fate.told(), [false]);
    }
}

#[test]
fn shutdown_ends_a_sending_that_cannot_connect() {
    let one = start(options(143, &[(144, reserved_address())]));
    let fates: Vec<_> = (1..=4)
        .map(|region| {
            let (sending, fate) = sending(message(143, 144, region), Rows::new(&random_rows(1)));
            one.transport.send_snapshot(sending);
            fate
        })
        .collect();
    // The transport, its two threads, and two that send.
    let end = Instant::now() + TIMEOUT;
    while Arc::strong_count(&one.transport.network) != 5 {
        assert!(Instant::now() < end, "two run");
        thread::yield_now();
    }

    shut_down_at_once(&one, &fates);
}

#[test]
fn shutdown_ends_a_sending_whose_dial_hangs() {
    // Linux does not answer a connection request to a full backlog, so the dial hangs.
    let full = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("loopback");
    full.listen(0).expect("bound");
    let address = full.local_addr().expect("bound").as_socket().expect("an IP address");
    let mut crowd = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
        crowd.push(stream);
    }
    let one = start(options(145, &[(146, address.to_string())]));
    let fate = send(&one, 145, 146, Rows::new(&random_rows(1)));

    shut_down_at_once(&one, &[fate]);
}

#[test]
fn shutdown_ends_a_sending_in_every_phase_of_its_connection() {
    let resume = Answer::Resume(Resume::default());
    // What the receiver says before it falls silent without reading on, and how many rows there are.
    let phases = [(None, 1), (Some(&resume), 300_000), (Some(&resume), 1)];
    for (said, rows) in phases {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let one = start(options(147, &[(148, address)]));
        let fate = send(&one, 147, 148, Rows::new(&random_rows(rows)));
        let mut others = Vec::new();
        let socket = accept_for_snapshot(&listener, &options(148, &[]), &mut others);
        assert!(matches!(hear_begin(&socket), Said::Begin(_)));
        if let Some(said) = said {
            answer(&socket, said);
            // The first bytes of a chunk are there, so the sender is beyond that.
            let mut stream = &socket;
            stream.read_exact(&mut [0; 16]).expect("a chunk");
        }

        shut_down_at_once(&one, &[fate]);
    }
}

#[test]
fn shutdown_ends_a_sending_that_waits_for_its_time() {
    let address = reserved_address();
    let two =
        start(TransportOptions { listen: address.clone(), ..options(150, &[(149, reserved_address())]) });
    let slow = TransportOptions { snapshot_bytes_per_second: 1, ..options(149, &[(150, address)]) };
    let one = start(slow);
    let fate = send(&one, 149, 150, Rows::new(&random_rows(100)));
    two.inbound.shelf.wait("it has begun", |state| state.open == 1);

    shut_down_at_once(&one, &[fate]);
    two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
}

#[test]
fn shutdown_ends_receiving_at_once() {
    let two = start(options(152, &[(151, reserved_address())]));
    // One is asked what it sends, the other says it and falls silent.
    let silent = dial_for_snapshot(&two, 151);
    let begun = dial_for_snapshot(&two, 151);
    let begin = super::frames::Begin { boot: 1, number: 5, bytes_estimate: 1, message: message(151, 152, 1) };
    let mut out = Vec::new();
    Said::Begin(Box::new(begin)).put(&mut out);
    (&begun).write_all(&out).expect("just connected");
    assert_eq!(hear_answer(&begun), Some(Answer::Resume(Resume::default())));

    shut_down_at_once(&two, &[]);

    wait_closed(&begun);
    wait_closed(&silent);
    assert_eq!(two.inbound.shelf.look(|state| state.open), 0, "the sink is dropped by then");
    assert_eq!(Arc::strong_count(&two.transport.network), 1, "no thread is left");
}

#[test]
fn sendings_to_a_member_that_is_left_end_whether_they_run_or_wait() {
    let one = start(options(154, &[(155, reserved_address())]));
    let fates: Vec<_> = (1..=4)
        .map(|region| {
            let (sending, fate) = sending(message(154, 155, region), Rows::new(&random_rows(1)));
            one.transport.send_snapshot(sending);
            fate
        })
        .collect();

    assert!(one.transport.set_peers(Vec::new()));

    assert!(fates.iter().all(|fate| !fate.wait()));
}

#[test]
fn receiving_ends_when_the_sender_is_left() {
    let two = start(options(157, &[(156, reserved_address())]));
    let socket = dial_for_snapshot(&two, 156);
    let begin = super::frames::Begin { boot: 1, number: 5, bytes_estimate: 1, message: message(156, 157, 1) };
    let mut out = Vec::new();
    Said::Begin(Box::new(begin)).put(&mut out);
    (&socket).write_all(&out).expect("just connected");
    assert_eq!(hear_answer(&socket), Some(Answer::Resume(Resume::default())));

    assert!(two.transport.set_peers(Vec::new()));

    wait_closed(&socket);
    two.inbound.shelf.wait("its sink is dropped", |state| state.open == 0);
}
