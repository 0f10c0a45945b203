//! What the sender thread is told to do, and who may write, with a time that is moved by hand.

use raft::eraftpb::MessageType;

use super::super::connection::PAUSE_MIN;
use super::super::direct::GAP_MIN;
use super::super::frame_writer::FrameWriter;
use super::super::mutation_tests::Random;
use super::super::tests;
use super::*;
use crate::transport::codec::decode_batch;
use crate::transport::frame::FrameBuffer;

const TICK: Duration = Duration::from_millis(50);
const FRAME_BYTES_MAX: u32 = 64 << 20;
const LIMITS: Limits = Limits {
    tick: TICK,
    patience: Duration::ZERO,
    queue_bytes_max: 1 << 20,
    frame_bytes_max: FRAME_BYTES_MAX,
};

fn at(ms: u64) -> Timestamp {
    Timestamp(ms * 1_000_000)
}

fn append(index: u64) -> PeerMessage {
    tests::append(1, 2, index)
}

fn acknowledgement(index: u64) -> PeerMessage {
    tests::message(1, 2, MessageType::MsgAppendResponse, index)
}

/// What is to be done at `now`, with an empty portion.
fn next(outgoing: &mut Outgoing, now: Timestamp) -> Step {
    outgoing.next(now, &mut Portion::default())
}

/// What is to be written at `now`.
fn written(outgoing: &mut Outgoing, now: Timestamp) -> Portion {
    let mut portion = Portion::default();
    let step = outgoing.next(now, &mut portion);
    assert!(matches!(step, Step::Do(Task::Write { .. })), "{step:?}");
    portion
}

/// A way out that is being dialed for the first time, at 0 ms.
fn dialing() -> Outgoing {
    let mut outgoing = Outgoing::new(at(0), LIMITS);
    assert_eq!(next(&mut outgoing, at(0)), Step::Do(Task::Report(Report::Disconnected)));
    assert_eq!(next(&mut outgoing, at(0)), Step::Do(Task::Dial));
    outgoing
}

/// One whose first dial failed at 0 ms.
fn pausing() -> Outgoing {
    let mut outgoing = dialing();
    assert!(outgoing.failed(at(0), Topic::Dial), "the operator is told");
    assert_eq!(next(&mut outgoing, at(0)), Step::Wait(Some(at(0) + PAUSE_MIN)));
    outgoing
}

/// One that was connected at 0 ms and whose sender thread waits for messages.
fn idle() -> Outgoing {
    let mut outgoing = dialing();
    outgoing.opened(at(0), Protocol::NEWEST, Looks::AfterWrites);
    assert_eq!(next(&mut outgoing, at(0)), Step::Do(Task::Report(Report::Connected)));
    assert_eq!(next(&mut outgoing, at(0)), Step::Wait(Some(at(150))));
    outgoing
}

fn unasked() -> bool {
    panic!("it has just been written on")
}

fn indices<'a>(messages: impl IntoIterator<Item = &'a PeerMessage>) -> Vec<u64> {
    messages.into_iter().map(|message| message.raft().expect("of raft").index).collect()
}

/// The messages of a whole stream.
fn decoded(mut bytes: &[u8]) -> Vec<PeerMessage> {
    let (mut frames, mut messages) = (FrameBuffer::new(FRAME_BYTES_MAX), Vec::new());
    while !bytes.is_empty() {
        frames.fill(&mut bytes).expect("a slice is read without errors");
        while let Some(body) = frames.next_frame().expect("frames of ours") {
            decode_batch(&body, Protocol::NEWEST, &mut messages).expect("messages of ours");
        }
    }
    messages
}

#[test]
fn the_first_message_wakes_a_thread_that_waits_for_it_and_no_other_does() {
    let mut outgoing = idle();
    assert!(outgoing.push(vec![append(1)]));
    assert!(!outgoing.push(vec![append(2)]));

    assert_eq!(indices(&written(&mut outgoing, at(1)).bulk), [1, 2]);

    assert!(!outgoing.push(vec![append(3)]), "it is writing and asks again");
    assert_eq!(indices(&written(&mut outgoing, at(2)).bulk), [3]);
}

#[test]
fn a_message_is_written_by_its_caller_only_when_nothing_waits() {
    assert!(!Outgoing::new(at(0), LIMITS).may_write_directly());
    assert!(!dialing().may_write_directly());
    assert!(!pausing().may_write_directly());

    let mut outgoing = idle();
    assert!(outgoing.may_write_directly());
    let bytes = outgoing.write_directly(at(1), &[append(1)], unasked).expect("it pays").to_vec();
    assert!(!outgoing.wrote_directly(bytes.len()), "there is nothing to wake the sender thread for");
    assert_eq!(decoded(&bytes), [append(1)]);
    assert!(outgoing.may_write_directly());

    assert!(outgoing.push(vec![append(2)]));
    assert!(!outgoing.may_write_directly(), "a message waits");
    assert_eq!(indices(&written(&mut outgoing, at(2)).bulk), [2]);
    assert!(!outgoing.may_write_directly(), "the sender thread writes");
    assert_eq!(next(&mut outgoing, at(2)), Step::Wait(Some(at(152))));
    assert!(outgoing.may_write_directly());
}

#[test]
fn a_direct_write_is_refused_closely_behind_another_and_on_a_connection_that_closed_meanwhile() {
    let mut outgoing = idle();
    assert!(outgoing.write_directly(at(0), &[append(1)], unasked).is_none());
    let length = outgoing.write_directly(at(0) + GAP_MIN, &[append(1)], unasked).expect("it pays").len();
    assert!(!outgoing.wrote_directly(length));
    assert!(outgoing.write_directly(at(0) + GAP_MIN, &[append(2)], unasked).is_none());
    let late = at(0) + GAP_MIN + GAP_MAX + Duration::from_nanos(1);
    assert!(outgoing.write_directly(late, &[append(2)], || false).is_none());
    assert_eq!(outgoing.write_directly(late, &[append(2)], || true).map(decoded), Some(vec![append(2)]));
}

#[test]
fn a_direct_write_that_nobody_would_look_after_wakes_the_sender_thread() {
    let mut outgoing = idle();
    assert_eq!(next(&mut outgoing, at(150)), Step::Do(Task::Look));
    assert_eq!(next(&mut outgoing, at(150)), Step::Wait(None));

    let length = outgoing.write_directly(at(1000), &[append(1)], || true).expect("it pays").len();

    assert!(outgoing.wrote_directly(length));
    assert_eq!(next(&mut outgoing, at(1000)), Step::Wait(Some(at(1150))));
    let length = outgoing.write_directly(at(1100), &[append(2)], || true).expect("it pays").len();
    assert!(!outgoing.wrote_directly(length), "it comes back before the look is due");
}

#[test]
fn what_a_direct_write_leaves_over_goes_first_and_alone_until_it_is_written() {
    let mut outgoing = idle();
    let bytes = outgoing.write_directly(at(1), &[append(1)], unasked).expect("it pays").to_vec();

    assert!(outgoing.wrote_directly(5), "the sender thread writes the rest");

    assert!(!outgoing.may_write_directly());
    assert!(!outgoing.push(vec![append(2), acknowledgement(3)]));
    let portion = written(&mut outgoing, at(2));
    assert_eq!(portion.leftover, bytes[5..]);
    assert_eq!((indices(&portion.urgent), indices(&portion.bulk)), (vec![3], vec![2]));
}

#[test]
fn nothing_of_a_lost_connection_goes_out_on_the_next_one() {
    let mut outgoing = idle();
    assert!(outgoing.write_directly(at(1), &[append(1)], unasked).is_some());
    assert!(outgoing.wrote_directly(5));
    assert!(!outgoing.push(vec![append(2), acknowledgement(3)]));

    outgoing.lost(at(2000));

    assert_eq!(next(&mut outgoing, at(2000)), Step::Do(Task::Report(Report::Disconnected)));
    assert_eq!(next(&mut outgoing, at(2000)), Step::Do(Task::Report(Report::Unreachable)));
    assert_eq!(next(&mut outgoing, at(2000)), Step::Do(Task::Dial), "it lasted");
    outgoing.opened(at(2001), Protocol::NEWEST, Looks::AfterWrites);
    assert_eq!(next(&mut outgoing, at(2001)), Step::Do(Task::Report(Report::Connected)));
    let portion = written(&mut outgoing, at(2001));
    assert!(portion.leftover.is_empty() && portion.bulk.is_empty());
    assert_eq!(indices(&portion.urgent), [3], "the first thing it hears is urgent");
}

#[test]
fn a_write_after_a_gap_is_preceded_by_a_look() {
    let mut outgoing = idle();
    let mut write = |ms| {
        assert!(outgoing.push(vec![append(ms)]));
        let step = next(&mut outgoing, at(ms));
        assert_eq!(next(&mut outgoing, at(ms)), Step::Wait(Some(at(ms + 150))));
        step
    };

    assert_eq!(write(10), Step::Do(Task::Write { looks_first: false }));
    assert_eq!(write(21), Step::Do(Task::Write { looks_first: true }));
    assert_eq!(write(31), Step::Do(Task::Write { looks_first: false }));
}

#[test]
fn losses_are_reported_once_a_tick_and_not_forgotten_meanwhile() {
    let mut outgoing = pausing();
    let (mut reports, mut wakes) = (Vec::new(), Vec::new());
    for ms in 0..200 {
        assert!(!outgoing.push(vec![acknowledgement(ms)]), "without a connection what is urgent is no loss");
        if ms < 120 && outgoing.push(vec![append(ms)]) {
            wakes.push(ms);
        }
        loop {
            match next(&mut outgoing, at(ms)) {
                Step::Do(Task::Report(report)) => reports.push((ms, report)),
                Step::Do(Task::Dial) => assert!(!outgoing.failed(at(ms), Topic::Dial), "told already"),
                Step::Do(other) => panic!("{other:?}"),
                Step::Wait(_) => break,
            }
        }
    }

    assert_eq!(reports, [0, 50, 100, 150].map(|ms| (ms, Report::Unreachable)));
    assert_eq!(wakes, [0, 1, 51, 101], "by the first loss behind each report");
}

#[test]
fn a_loss_on_a_full_queue_is_reported_while_the_connection_lives() {
    let mut outgoing = idle();
    assert!(outgoing.push((0..100_000).map(append).collect()));

    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::Report(Report::Unreachable)));

    assert!(!written(&mut outgoing, at(1)).bulk.is_empty());
}

#[test]
fn a_message_that_cannot_be_sent_is_a_loss_and_news_once() {
    let mut outgoing = idle();
    assert!(outgoing.unsendable());
    assert!(!outgoing.unsendable());

    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::Report(Report::Unreachable)));
    assert_eq!(next(&mut outgoing, at(1)), Step::Wait(Some(at(150))));
}

#[test]
fn a_peer_that_connects_ends_the_pause() {
    let mut outgoing = pausing();

    outgoing.hurry();

    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::Dial));
}

#[test]
fn closing_ends_a_connection_and_every_wait_and_says_no_more_to_the_operator() {
    let mut outgoing = idle();
    assert!(outgoing.push(vec![append(1)]));
    outgoing.close();
    assert!(!outgoing.push(vec![append(2)]));
    assert!(!outgoing.may_write_directly());
    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::Report(Report::Disconnected)));
    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::End));
    assert_eq!(next(&mut outgoing, at(2)), Step::Do(Task::End));

    let mut outgoing = pausing();
    outgoing.close();
    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::End));

    let mut outgoing = dialing();
    outgoing.close();
    assert!(!outgoing.failed(at(1), Topic::Dial), "closing broke it off");
    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::End));

    let mut outgoing = dialing();
    outgoing.close();
    outgoing.opened(at(1), Protocol::NEWEST, Looks::AfterWrites);
    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::Report(Report::Connected)));
    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::Report(Report::Disconnected)));
    assert_eq!(next(&mut outgoing, at(1)), Step::Do(Task::End));
}

/// A sender thread, its peer and its callers, all acting at random.
struct Walk {
    random: Random,
    now: Timestamp,
    outgoing: Outgoing,
    /// Until when the sender thread waits; `None` while it works.
    waits_until: Option<Timestamp>,
    is_woken: bool,
    /// The index of the last message that was sent.
    index: u64,
    /// What the open connection has taken.
    wire: Vec<u8>,
    is_connected: bool,
    reported_connected: bool,
    loss_reported: Option<Timestamp>,
    /// The last message that crossed, of each lane.
    last: [u64; 2],
    direct_writes: usize,
    crossed: usize,
}

impl Walk {
    fn new(seed: u64) -> Self {
        Self {
            random: Random(seed),
            now: at(0),
            outgoing: Outgoing::new(at(0), Limits { queue_bytes_max: 8192, ..LIMITS }),
            waits_until: None,
            is_woken: false,
            index: 0,
            wire: Vec::new(),
            is_connected: false,
            reported_connected: true,
            loss_reported: None,
            last: [0; 2],
            direct_writes: 0,
            crossed: 0,
        }
    }

    fn step(&mut self) {
        let longest = [1_000, 100_000, 10_000_000, 1_000_000_000][self.random.below(4)];
        self.now.0 += self.random.below(longest) as u64;
        for _ in 0..self.random.below(4) {
            self.send();
        }
        self.check_wait();
        if self.waits_until.is_none_or(|until| self.is_woken || self.now >= until) {
            self.work();
        }
    }

    /// As [`Link::send`](super::super::link::Link::send).
    fn send(&mut self) {
        let mut message =
            |index| if self.random.below(3) == 0 { acknowledgement(index) } else { append(index) };
        let messages: Vec<_> = (self.index + 1..=self.index + 2).map(&mut message).collect();
        self.index += 2;
        let is_open = self.random.below(20) > 0;
        if self.outgoing.may_write_directly() {
            assert!(self.outgoing.queue.is_empty() && self.is_connected && self.waits_until.is_some());
            if let Some(bytes) = self.outgoing.write_directly(self.now, &messages, || is_open) {
                let taken =
                    if self.random.below(5) == 0 { self.random.below(bytes.len()) } else { bytes.len() };
                self.wire.extend_from_slice(&bytes[..taken]);
                self.direct_writes += 1;
                self.is_woken |= self.outgoing.wrote_directly(taken);
                return;
            }
        }
        self.is_woken |= self.outgoing.push(messages);
    }

    /// If the sender thread sleeps on, there is nothing to do for it.
    fn check_wait(&self) {
        if self.waits_until.is_some_and(|until| !self.is_woken && self.now < until) {
            assert!(!self.is_connected || self.outgoing.queue.is_empty());
            let is_late = self.loss_reported.is_none_or(|reported| self.now >= reported + TICK);
            assert!(!(self.outgoing.queue.has_lost() && is_late), "a loss is reported in time");
            let is_awake_by = |due| self.waits_until.is_some_and(|until| until <= due);
            assert!(self.outgoing.connection.due_at().is_none_or(is_awake_by), "a look comes in time");
        }
    }

    /// Does one task of the sender thread.
    fn work(&mut self) {
        (self.waits_until, self.is_woken) = (None, false);
        let mut portion = Portion::default();
        match self.outgoing.next(self.now, &mut portion) {
            Step::Wait(until) => self.waits_until = Some(until.unwrap_or(Timestamp::NEVER)),
            Step::Do(Task::Report(report)) => self.hear(report),
            Step::Do(Task::Dial) if self.random.below(3) == 0 => {
                let _ = self.outgoing.failed(self.now, Topic::Dial);
            }
            Step::Do(Task::Dial) => {
                self.outgoing.opened(self.now, Protocol::NEWEST, Looks::AfterWrites);
                self.is_connected = true;
            }
            Step::Do(Task::Look | Task::Write { .. }) if self.random.below(50) == 0 => self.lose(),
            Step::Do(Task::Look) => {}
            Step::Do(Task::Write { .. }) => {
                self.wire.append(&mut portion.leftover);
                let mut frames = FrameWriter::new(FRAME_BYTES_MAX);
                for message in portion.urgent.iter().chain(&portion.bulk) {
                    frames.push(message).expect("small");
                }
                self.wire.extend_from_slice(frames.finish());
            }
            Step::Do(Task::End) => panic!("it was not closed"),
        }
    }

    fn hear(&mut self, report: Report) {
        match report {
            Report::Unreachable => {
                let before = self.loss_reported.replace(self.now);
                assert!(before.is_none_or(|before| self.now >= before + TICK), "once a tick");
            }
            Report::Connected | Report::Disconnected => {
                self.reported_connected = !self.reported_connected;
                assert_eq!(report == Report::Connected, self.reported_connected, "in turn");
                assert_eq!(self.reported_connected, self.is_connected);
            }
        }
    }

    /// The connection breaks; what the peer received is checked.
    fn lose(&mut self) {
        self.outgoing.lost(self.now);
        self.is_connected = false;
        let messages = decoded(&std::mem::take(&mut self.wire));
        for message in &messages {
            let raft = message.raft().expect("of raft");
            let last = &mut self.last[usize::from(raft.msg_type == MessageType::MsgAppendResponse)];
            assert!(raft.index > *last, "each lane keeps its order, and nothing comes twice");
            *last = raft.index;
        }
        self.crossed += messages.len();
    }
}

#[test]
fn whatever_happens_order_is_kept_losses_are_told_and_nobody_sleeps_beside_work() {
    let (mut direct_writes, mut crossed) = (0, 0);
    for seed in 1..=50 {
        let mut walk = Walk::new(seed);
        (0..2000).for_each(|_| walk.step());
        direct_writes += walk.direct_writes;
        crossed += walk.crossed;
    }
    assert!(direct_writes > 1000 && crossed > 10_000, "{direct_writes} {crossed}");
}

#[test]
fn the_state_machines_touch_no_lock_no_clock_and_no_socket() {
    let sources = [
        include_str!("connection.rs"),
        include_str!("direct.rs"),
        include_str!("notices.rs"),
        include_str!("outgoing.rs"),
        include_str!("pending_handshakes.rs"),
        include_str!("queue.rs"),
    ];
    for source in sources {
        let product = source.split("#[cfg(test)]\nmod tests").next().expect("what is before");
        let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            for word in ["Mutex", "Condvar", "Instant", "time::now", "Socket", "std::thread", "std::io"] {
                assert!(!line.contains(word), "{line}");
            }
        }
    }
}
