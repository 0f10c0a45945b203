//! Members that send anything but a raft snapshot, or answer anything: their connections end, and nothing else.

use std::io::Write;
use std::net::TcpListener;
use std::thread;

use socket2::Socket;

use super::frames::{Answer, Begin, Resume, Said};
use super::shelf::*;
use super::tests::*;
use crate::transport::frame::HEADER_BYTES;
use crate::transport::hostile_tests::wait_closed;
use crate::transport::lock;
use crate::transport::notices::Topic;
use crate::transport::tests::{Member, options, reserved_address, start};
use crate::types::NodeId;

fn begin(from: u64, to: u64) -> Begin {
    Begin { boot: 1, number: 5, bytes_estimate: 1, message: message(from, to, 1) }
}

fn bytes_of(said: &[Said]) -> Vec<u8> {
    let mut out = Vec::new();
    said.iter().for_each(|one| one.put(&mut out));
    out
}

/// Writes until the other side has closed the connection, or all is written.
fn write_what_goes(mut socket: &Socket, bytes: &[u8]) {
    drop(socket.write_all(bytes));
}

/// A member, and a peer of it that sends it a raft snapshot.
fn check_that_a_good_one_arrives(member: &Member, to: u64, from: u64) {
    let peer = start(options(from, &[(to, member.transport.local_addr().to_string())]));
    member.inbound.shelf.wait("earlier sinks are dropped", |state| state.open == 0);
    let data = random_rows(3000);
    assert!(send(&peer, from, to, Rows::new(&data)).wait());
    assert!(staged(member, from) == *data);
    assert!(lock(&member.inbound.state).panicked.is_empty());
}

#[test]
fn whatever_is_said_wrongly_ends_its_connection_only() {
    let member = start(options(161, &[(162, reserved_address()), (163, reserved_address())]));
    let good = Said::Begin(Box::new(begin(162, 161)));
    let chunk = || Said::Chunk(vec![7; ROW_BYTES].into());
    let mut huge = bytes_of(&[chunk()]);
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut damaged = bytes_of(std::slice::from_ref(&good));
    *damaged.last_mut().expect("a frame") ^= 1;
    let mut long_begin = bytes_of(std::slice::from_ref(&good));
    long_begin[4..8].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    let mut empty_chunk = bytes_of(&[Said::Chunk(bytes::Bytes::new())]);
    empty_chunk.splice(..0, bytes_of(std::slice::from_ref(&good)));
    let mut messages = Vec::new();
    let start_at = crate::transport::frame::begin(&mut messages);
    crate::transport::frame::finish(&mut messages, start_at);
    let mut answers = Vec::new();
    Answer::Done.put(&mut answers);
    let wrong = [
        ("wrong sender", bytes_of(&[Said::Begin(Box::new(begin(163, 161)))])),
        ("wrong receiver", bytes_of(&[Said::Begin(Box::new(begin(162, 163)))])),
        ("wrong boot", bytes_of(&[Said::Begin(Box::new(Begin { boot: 2, ..begin(162, 161) }))])),
        ("a chunk first", bytes_of(&[chunk()])),
        ("the end first", bytes_of(&[Said::End(0, 0)])),
        ("begun twice", bytes_of(&[good.clone(), good.clone()])),
        ("begun twice, later", bytes_of(&[good.clone(), chunk(), good.clone()])),
        ("a length beyond all", huge),
        ("a beginning too long", long_begin),
        ("damaged", damaged),
        ("an empty chunk", empty_chunk),
        ("messages", messages),
        ("an answer", answers),
        ("noise", vec![0xaa; 300_000]),
    ];
    for (what, bytes) in wrong {
        member.inbound.shelf.wait("earlier sinks are dropped", |state| state.open == 0);
        let socket = dial_for_snapshot(&member, 162);
        write_what_goes(&socket, &bytes);
        while hear_answer(&socket).is_some() {}
        wait_closed(&socket);
        assert!(lock(&member.inbound.state).panicked.is_empty(), "{what}");
    }

    assert!(member.inbound.shelf.look(|state| state.finished.is_empty()));
    let peer = member.transport.network.peers.find(NodeId(162)).expect("a peer");
    assert!(lock(&peer.snapshot_notices).has_logged(Topic::BadFrame));
    check_that_a_good_one_arrives(&member, 161, 163);
}

/// The same frames with bytes changed, cut or added somewhere, in bodies with right checksums.
fn mutated(frames: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let mut frames = frames.to_vec();
    for _ in 0..1 + numbers.below(3) {
        let at = numbers.below(frames.len());
        let frame = &mut frames[at];
        match numbers.below(5) {
            0 if frame.len() > HEADER_BYTES => {
                let byte = HEADER_BYTES + numbers.below(frame.len() - HEADER_BYTES);
                frame[byte] = numbers.next().to_le_bytes()[0];
            }
            1 => frame.truncate(HEADER_BYTES + numbers.below(frame.len() - HEADER_BYTES + 1)),
            2 => frame.extend_from_slice(&numbers.next().to_le_bytes()),
            3 => frame[8] = numbers.next().to_le_bytes()[0] % 12,
            _ => {
                let other = numbers.below(frames.len());
                frames.swap(at, other);
            }
        }
    }
    let seals = numbers.below(8) > 0;
    for frame in &mut frames {
        let length = u32::try_from(frame.len() - HEADER_BYTES).expect("short");
        if seals {
            frame[4..8].copy_from_slice(&length.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&frame[4..]);
        frame[..4].copy_from_slice(&checksum.to_le_bytes());
    }
    frames.concat()
}

#[test]
fn changed_frames_of_a_sender_end_its_connection_at_most() {
    let member = start(options(164, &[(165, reserved_address()), (166, reserved_address())]));
    let rows = vec![7; ROW_BYTES];
    let end = Said::End(1, crc32c::crc32c(&rows));
    let frames: Vec<_> = [Said::Begin(Box::new(begin(165, 164))), Said::Chunk(rows.into()), end]
        .map(|said| bytes_of(&[said]))
        .into();
    let mut numbers = Numbers(3);
    // A chunk of which the rows are not whole would be a bug of a source, so the shelf's check is not asked.
    member.inbound.shelf.update(|state| state.row_bytes = 1);
    for _ in 0..300 {
        let socket = dial_for_snapshot(&member, 165);
        write_what_goes(&socket, &mutated(&frames, &mut numbers));
        drop(socket.shutdown(std::net::Shutdown::Write));
        while hear_answer(&socket).is_some() {}
        assert!(lock(&member.inbound.state).panicked.is_empty());
    }

    member.inbound.shelf.wait("earlier sinks are dropped", |state| state.open == 0);
    member.inbound.shelf.update(|state| state.row_bytes = 0);
    check_that_a_good_one_arrives(&member, 164, 166);
}

/// Lets a member send to one that answers each connection with these bytes, and returns whether it was delivered.
fn send_to_one_that_answers(
    node: u64,
    answers: impl Fn(usize) -> Vec<u8> + Send + 'static,
    rows: usize,
) -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let one = start(options(node, &[(node + 1, address)]));
    let own = options(node + 1, &[]);
    thread::spawn(move || {
        let mut open = Vec::new();
        for number in 0.. {
            let socket = accept_for_snapshot(&listener, &own, &mut open);
            write_what_goes(&socket, &answers(number));
            drop(socket.shutdown(std::net::Shutdown::Write));
            open.push(socket);
        }
    });
    let fate = send(&one, node, node + 1, Rows::new(&random_rows(rows)));
    let delivered = fate.wait();
    assert!(lock(&one.inbound.state).panicked.is_empty());
    delivered
}

#[test]
fn a_receiver_that_answers_wrongly_is_not_believed() {
    let answer = |answer: Answer| {
        let mut out = Vec::new();
        answer.put(&mut out);
        out
    };
    let resume = || answer(Answer::Resume(Resume::default()));
    let mut huge = resume();
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let wrong = [
        answer(Answer::Done),
        answer(Answer::Ack(0)),
        answer(Answer::Failed("before it began".to_owned())),
        [resume(), answer(Answer::Ack(1 << 40))].concat(),
        [resume(), resume()].concat(),
        [resume(), answer(Answer::Busy("too late".to_owned()))].concat(),
        huge,
        vec![0xaa; 1000],
        bytes_of(&[Said::End(0, 0)]),
    ];
    for bytes in wrong {
        assert!(!send_to_one_that_answers(171, move |_| bytes.clone(), 30_000));
    }
}

#[test]
fn done_is_believed_only_after_the_end() {
    let mut answers = Vec::new();
    Answer::Resume(Resume::default()).put(&mut answers);
    Answer::Done.put(&mut answers);

    // Beyond what may be under way, so that the sender meets the answer before it has said all.
    assert!(!send_to_one_that_answers(173, move |_| answers.clone(), 300_000));
}

#[test]
fn changed_frames_of_a_receiver_end_the_sending_at_most() {
    let mut numbers = Numbers(11);
    let rows = vec![7; ROW_BYTES];
    let resume =
        Answer::Resume(Resume { after: Some(rows[..8].to_vec()), rows: 1, crc: crc32c::crc32c(&rows) });
    let answers =
        [Answer::Resume(Resume::default()), resume, Answer::Ack(7), Answer::Failed("no".to_owned())];
    let frames: Vec<_> = answers
        .map(|answer| {
            let mut out = Vec::new();
            answer.put(&mut out);
            out
        })
        .into();
    let all: Vec<_> = (0..30).map(|_| mutated(&frames, &mut numbers)).collect();
    for at in 0..10 {
        let all = all.clone();

        assert!(!send_to_one_that_answers(175, move |number| all[3 * at + number % 3].clone(), 30_000));
    }
}
