//! Members of this build and of earlier ones.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use raft::eraftpb::{Entry, MessageType};

use super::codec::{CodecError, decode, encode};
use super::handshake::HandshakeError;
use super::hostile_tests::shake_hands_in;
use super::notices::Topic;
use super::protocol::Protocol;
use super::tests::*;
use super::*;
use crate::completion::{Position, Reply};
use crate::core::command::{CommandBuilder, Operation, seal_group, seal_level};
use crate::core::forwarding::{Forward, ForwardAnswer, Verdict};
use crate::core::ports::Body;
use crate::effects::{Effects, Precondition};
use crate::error;
use crate::types::{BOOTSTRAP_EPOCH, LogIndex, RegionId, Term, Version};

/// Magic, version, kind, length, checksum; for `body`.
fn part(version: u32, kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    let checked = [kind.to_le_bytes(), length.to_le_bytes()].concat();
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&checked), body).to_le_bytes();
    [&b"almadia\n"[..], &version.to_le_bytes(), &checked, &checksum, body].concat()
}

/// Does what a member of the build whose newest version is `newest` does with each connection, and passes on the version
/// of each hello that it was sent. It is the member `node`, with the options of these tests.
pub(super) fn build_before(
    newest: u32,
    node: u64,
    heard: mpsc::Sender<u32>,
) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let acceptor = thread::spawn(move || {
        let own = options(node, &[]);
        let mut open = Vec::new();
        for connection in listener.incoming() {
            let mut stream = connection.expect("loopback");
            let mut preamble = [0; 24];
            if stream.read_exact(&mut preamble).is_err() {
                continue;
            }
            let version = u32::from_le_bytes(preamble[8..12].try_into().expect("four bytes"));
            if heard.send(version).is_err() {
                return;
            }
            if version > newest {
                let text =
                    format!("one member speaks version {version} of the peer protocol, the other version 4");
                let refusal = [&1_u32.to_le_bytes()[..], text.as_bytes()].concat();
                drop(stream.write_all(&part(newest, 2, &refusal)));
                continue;
            }
            let mut theirs = vec![0; [72, 80, 88][version as usize - 4]];
            stream.read_exact(&mut theirs).expect("a hello of this version");
            let (to, instance) =
                (u64::from_le_bytes(theirs[8..16].try_into().expect("eight")), own.instance.get());
            let words =
                [own.cluster.get(), node, to, instance, own.election_timeout_ms, own.tick_ms, 1, own.boot, 0];
            let level = (version > 4).then_some(1);
            // It repeats what the connection is for.
            let purpose = (version > 5).then(|| u64::from(theirs[80]));
            let hello: Vec<_> =
                words.into_iter().chain(level).chain(purpose).flat_map(u64::to_le_bytes).collect();
            stream.write_all(&part(version, 1, &hello)).expect("the dialer waits");
            open.push(stream);
        }
    });
    (address, acceptor)
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        thread::yield_now();
    }
}

#[test]
fn a_member_of_the_build_before_is_dialed_in_its_version_as_long_as_the_level_allows() {
    let (heard, versions) = mpsc::channel();
    let (address, _acceptor) = build_before(4, 71, heard);
    let one = start(options(70, &[(71, address)]));
    one.inbound.wait("connected", |state| state.connected.contains(&NodeId(71)));
    assert_eq!([(); 4].map(|()| versions.recv().expect("dialed")), [7, 6, 5, 4]);

    let (heard, versions) = mpsc::channel();
    let (address, _acceptor) = build_before(4, 73, heard);
    let raised = Recorder::default();
    raised.update(|state| state.level = 1);
    let two = start_with(options(72, &[(73, address)]), raised);
    wait_until("it is told why", || {
        two.transport.network.has_logged(NodeId(73), Topic::DialRefusal(Reason::Version))
    });
    let dials: Vec<_> = (0..4).map(|_| versions.recv().expect("dialed again and again")).collect();
    assert_eq!(dials, [7, 6, 5, 7], "what it cannot read is not sent to it");
}

#[test]
fn a_member_of_the_build_before_raft_snapshots_is_dialed_in_its_version_whatever_the_level() {
    let (heard, versions) = mpsc::channel();
    let (address, _acceptor) = build_before(5, 81, heard);
    let raised = Recorder::default();
    raised.update(|state| state.level = 1);
    let one = start_with(options(80, &[(81, address)]), raised);

    one.inbound.wait("connected", |state| state.connected.contains(&NodeId(81)));

    assert_eq!([(); 3].map(|()| versions.recv().expect("dialed")), [7, 6, 5]);
}

#[test]
fn a_member_of_the_build_before_members_could_change_is_dialed_in_its_version_whatever_the_level() {
    let (heard, versions) = mpsc::channel();
    let (address, _acceptor) = build_before(6, 83, heard);
    let raised = Recorder::default();
    raised.update(|state| state.level = 1);
    let one =
        start_with(TransportOptions { announce: "a:1".to_owned(), ..options(82, &[(83, address)]) }, raised);

    one.inbound.wait("connected", |state| state.connected.contains(&NodeId(83)));

    assert_eq!([(); 2].map(|()| versions.recv().expect("dialed")), [7, 6]);
}

#[test]
fn a_member_of_the_build_before_is_let_in_until_the_level_has_risen() {
    let two = start(options(75, &[(74, reserved_address())]));
    let (socket, agreed) = shake_hands_in(Protocol::Four, &two, 74);
    assert!(agreed.is_ok());
    two.inbound.wait("introduced", |state| state.introduced.last().is_some_and(|last| last.level == 0));
    drop(socket);

    two.inbound.update(|state| state.level = 1);
    let (_socket, refused) = shake_hands_in(Protocol::Four, &two, 74);

    let Err(HandshakeError::Refused(refusal)) = refused else { panic!("it is refused: {refused:?}") };
    assert_eq!(refusal.reason, Reason::Version);
    assert!(refusal.text.contains("node 74 runs an earlier release"), "{}", refusal.text);
    wait_until("it says why", || {
        two.transport.network.has_logged(NodeId(74), Topic::AcceptRefusal(Reason::Version))
    });
    let (_socket, agreed) = shake_hands_in(Protocol::Five, &two, 74);
    assert!(agreed.is_ok(), "as soon as it is upgraded");
}

#[test]
fn a_connection_of_the_version_before_is_given_up_when_the_peer_turns_out_to_know_a_newer() {
    let (heard, versions) = mpsc::channel();
    let (address, _acceptor) = build_before(4, 77, heard);
    let one = start(options(76, &[(77, address)]));
    one.inbound.wait("connected", |state| state.connected.contains(&NodeId(77)));
    assert_eq!([(); 4].map(|()| versions.recv().expect("dialed")), [7, 6, 5, 4]);

    let (_socket, agreed) = shake_hands_in(Protocol::Five, &one, 77);

    assert!(agreed.is_ok());
    assert_eq!(versions.recv_timeout(TIMEOUT), Ok(7), "it tries the newest again");
}

/// A write with a condition.
fn conditional() -> Bytes {
    let mut builder = CommandBuilder::default();
    builder.push(Operation::IfAbsent { key: b"k" });
    builder.push(Operation::Put { key: b"k", value: b"v" });
    builder.seal(1)
}

fn carrying(data: Bytes) -> [PeerMessage; 2] {
    let mut append = append(1, 2, 1);
    append.raft_mut().entries = vec![Entry { data: data.clone(), ..Entry::default() }].into();
    let (from, to, term) = (NodeId(1), NodeId(2), Term(6));
    let forward = Forward { from, to, boot: 1, term, attempt: 1, first: 1, resend: None, writes: vec![data] };
    [append, of_first_region(Body::Forward(forward))]
}

fn of_first_region(body: Body) -> PeerMessage {
    PeerMessage { region: RegionId(1), epoch: BOOTSTRAP_EPOCH, body }
}

fn answering(outcome: std::result::Result<Reply, error::Refusal>) -> PeerMessage {
    let verdicts = vec![Verdict { number: 3, outcome }];
    let (from, to) = (NodeId(1), NodeId(2));
    of_first_region(Body::ForwardAnswer(ForwardAnswer {
        from,
        to,
        boot: 1,
        attempt: 0,
        verdicts,
        refused: None,
    }))
}

#[test]
fn what_the_build_before_cannot_read_is_not_sent_to_it_nor_taken_from_it() {
    let found = Precondition { operation: 0, exists: true, version: Version(70) };
    let refused = error::Refusal { code: Code::PreconditionFailed, precondition: Some(found) };
    let effects = Effects { failed: Some(found), results: Vec::new() };
    let position = Position { index: LogIndex(7), term: Term(6) };
    let reply = Reply::to_write(position, Version::of(LogIndex(7), 2), effects);
    let versioned = Reply::to_write(position, Version::of(LogIndex(7), 2), Effects::default());
    let group = seal_group([conditional()].iter());
    let commands = [conditional(), group, seal_level(1, 1)];
    let verdicts = [
        Err(refused),
        Err(error::Refusal { code: Code::NotANumber, precondition: None }),
        Ok(reply),
        Ok(versioned),
    ];

    let messages = commands.into_iter().flat_map(carrying).chain(verdicts.into_iter().map(answering));
    for message in messages {
        assert_eq!(encode(&message, Protocol::Four, &mut Vec::new()), Err(CodecError::Newer), "{message:?}");
        let mut encoded = Vec::new();
        encode(&message, Protocol::Five, &mut encoded).expect("the newest version has words for it");
        assert!(decode(&encoded.into(), Protocol::Four).is_err(), "{message:?}");
    }
}

#[test]
fn a_verdict_in_the_version_before_tells_a_position_and_no_version() {
    let position = Position { index: LogIndex(7), term: Term(6) };
    let told = answering(Ok(Reply::to_write(position, Version::UNKNOWN, Effects::default())));
    let mut encoded = Vec::new();
    encode(&told, Protocol::Four, &mut encoded).expect("a plain write");

    let read = decode(&encoded.into(), Protocol::Four).expect("just encoded");

    assert_eq!(read, told);
    let plain = answering(Err(error::Refusal { code: Code::RegionChanged, precondition: None }));
    let mut encoded = Vec::new();
    encode(&plain, Protocol::Four, &mut encoded).expect("of the build before, too");
    assert_eq!(decode(&encoded.into(), Protocol::Four), Ok(plain));
}

#[test]
fn messages_of_one_connection_are_all_in_its_version() {
    let two = start(options(79, &[(78, reserved_address())]));
    let (socket, agreed) = shake_hands_in(Protocol::Four, &two, 78);
    assert!(agreed.is_ok());
    let mut frames = super::frame_writer::FrameWriter::new(FRAME_BYTES_MAX);
    frames.speak(Protocol::Four);
    frames.push(&append(78, 79, 1)).expect("small");
    frames.push(&message(78, 79, MessageType::MsgAppendResponse, 2)).expect("small");

    (&socket).write_all(frames.finish()).expect("loopback");

    two.inbound.wait_received(78, 2);
}
