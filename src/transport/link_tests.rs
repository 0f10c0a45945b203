//! What the lock, the condition variable and the socket add to the state machine.

use std::io::Read;
use std::net::{TcpListener, TcpStream};

use super::super::connection::Report;
use super::super::direct::GAP_MIN;
use super::super::tests::{TIMEOUT, large_append};
use super::*;
use crate::transport::codec::decode_batch;
use crate::transport::frame::FrameBuffer;

/// A link that reports nothing for longer than any test takes.
fn link() -> Link {
    Link::new(Limits {
        tick: 2 * TIMEOUT,
        patience: TIMEOUT,
        queue_bytes_max: 1 << 20,
        frame_bytes_max: 64 << 20,
    })
}

/// The near and the far end of a connection.
fn connection() -> (Arc<Socket>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    (Arc::new(near.into()), listener.accept().expect("dialed").0)
}

/// Connects and reports that.
fn open(link: &Link, socket: Arc<Socket>) {
    let mut portion = Portion::default();
    assert_eq!(link.next(&mut portion), Task::Report(Report::Disconnected));
    assert_eq!(link.next(&mut portion), Task::Dial);
    link.opened(socket, Protocol::NEWEST, Looks::AfterWrites);
    assert_eq!(link.next(&mut portion), Task::Report(Report::Connected));
}

#[test]
fn a_message_wakes_the_sender_thread_and_so_does_the_end() {
    let (link, (near, _far)) = (link(), connection());
    open(&link, near);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut portion = Portion::default();
            (link.next(&mut portion), portion.bulk.len())
        });
        while !lock(&link.state).outgoing.may_write_directly() {
            std::thread::yield_now();
        }
        // Too much to be written by this thread.
        link.send(vec![large_append(1, 2, 1, 100_000)]);
        let (task, messages) = waiting.join().expect("no panic");
        assert!(matches!(task, Task::Write { .. }) && messages == 1, "{task:?}");

        let waiting = scope.spawn(|| link.next(&mut Portion::default()));
        while !lock(&link.state).outgoing.may_write_directly() {
            std::thread::yield_now();
        }
        link.close();
        assert_eq!(waiting.join().expect("no panic"), Task::Report(Report::Disconnected));
    });
    assert_eq!(link.next(&mut Portion::default()), Task::End);
}

#[test]
fn the_socket_is_let_go_with_the_connection() {
    let (link, (near, _far)) = (link(), connection());
    open(&link, Arc::clone(&near));
    assert_eq!(Arc::strong_count(&near), 2);
    link.lost();
    assert_eq!(Arc::strong_count(&near), 1);
    assert_eq!(link.next(&mut Portion::default()), Task::Report(Report::Disconnected));

    link.hurry();
    let mut task = link.next(&mut Portion::default());
    if task == Task::Report(Report::Unreachable) {
        task = link.next(&mut Portion::default());
    }
    assert_eq!(task, Task::Dial);
    link.close();
    link.opened(Arc::clone(&near), Protocol::NEWEST, Looks::AfterWrites);
    while link.next(&mut Portion::default()) != Task::End {}
    assert_eq!(Arc::strong_count(&near), 1, "it was opened while the link closed");
}

#[test]
fn what_the_socket_does_not_take_is_left_over_in_order() {
    let (link, (near, mut far)) = (link(), connection());
    open(&link, near);
    let next = |portion: &mut Portion| lock(&link.state).outgoing.next(time::now(), portion);
    let (mut portion, mut written) = (Portion::default(), Vec::new());
    for index in 1.. {
        if matches!(next(&mut portion), Step::Do(Task::Write { .. })) {
            if !portion.leftover.is_empty() {
                break;
            }
            // This thread was too early or too late for a direct write: the message is forgotten.
            portion.bulk.clear();
            written.pop();
            assert!(matches!(next(&mut portion), Step::Wait(_)));
        }
        std::thread::park_timeout(GAP_MIN);
        link.send(vec![large_append(1, 2, index, 50_000)]);
        written.push(index);
    }
    drop(link);

    let mut stream = Vec::new();
    far.read_to_end(&mut stream).expect("closed in order");
    stream.extend_from_slice(&portion.leftover);
    let (mut frames, mut bytes, mut messages) = (FrameBuffer::new(1 << 20), &stream[..], Vec::new());
    while !bytes.is_empty() {
        frames.fill(&mut bytes).expect("a slice is read without errors");
        while let Some(body) = frames.next_frame().expect("frames of ours") {
            decode_batch(&body, Protocol::NEWEST, &mut messages).expect("messages of ours");
        }
    }
    let indices: Vec<u64> = messages.iter().map(|message| message.raft().expect("of raft").index).collect();
    assert_eq!(indices, written);
}
