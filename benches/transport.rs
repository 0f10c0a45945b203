//! The cost of messages between two members on loopback.
//!
//! Owns three measurements with two transports in this process and 200 bytes of entry data. First the round trip of two
//! threads on bare sockets: the lower bound on this machine. Then a one-way stream with many messages in flight:
//! messages per second, and the CPU of both sides per message. Last one message at a time, there and back: the
//! transport's share of the latency of a write. Run with `cargo bench --bench transport`.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use almadia::Error;
use almadia::NodeId;
use almadia::internal::Introduction;
use almadia::internal::{BOOTSTRAP_EPOCH, BOOTSTRAP_REGION, ClusterId, InstanceId};
use almadia::internal::{Body, PeerMessage};
use almadia::internal::{FRAME_BYTES_MAX, Inbound, QUEUE_BYTES_MAX, Transport, TransportOptions};
use almadia::internal::{SnapshotMessage, SnapshotSink, Standing};
use bytes::Bytes;
use raft::eraftpb::{Entry, Message, MessageType};

const DATA: Bytes = Bytes::from_static(&[7; 200]);
const ROUND_TRIPS: usize = 30_000;
const LOAD: Duration = Duration::from_secs(4);

/// Messages in flight under load: half of what the queue holds, so that none is dropped.
const WINDOW: u64 = 30_000;

fn append(from: u64, to: u64, index: u64) -> PeerMessage {
    let entry = Entry { term: 6, index, data: DATA, ..Entry::default() };
    let message = Message {
        msg_type: MessageType::MsgAppend,
        from,
        to,
        term: 6,
        log_term: 6,
        index: index.wrapping_sub(1),
        commit: index.saturating_sub(1),
        entries: vec![entry].into(),
        ..Message::default()
    };
    PeerMessage { region: BOOTSTRAP_REGION, epoch: BOOTSTRAP_EPOCH, body: Body::Raft(message) }
}

/// The receiver of one member: counts messages.
#[derive(Default)]
struct Counter {
    received: AtomicU64,
    /// When set, the first member is sent one message for each delivery.
    replies: OnceLock<Arc<Transport>>,
    /// The thread to unpark after each delivery.
    waiting: OnceLock<Thread>,
}

impl Inbound for Counter {
    fn receive(&self, _from: NodeId, messages: Vec<PeerMessage>) {
        if let Some(transport) = self.replies.get() {
            transport.send(NodeId(1), vec![append(2, 1, 1)]);
        }
        self.received.fetch_add(messages.len() as u64, Ordering::Release);
        if let Some(thread) = self.waiting.get() {
            thread.unpark();
        }
    }

    fn introduced(&self, _: Introduction) {}

    fn lacks_end(&self) -> bool {
        false
    }

    fn level(&self) -> u16 {
        1
    }

    fn unreachable(&self, _node: NodeId) {}

    fn connected(&self, _node: NodeId) {}

    fn disconnected(&self, _node: NodeId) {}

    fn admit(&self, _from: NodeId, _instance: InstanceId) -> Result<(), String> {
        Ok(())
    }

    fn knows(&self, _node: NodeId) -> Standing {
        Standing::Member
    }

    fn announced(&self, _node: NodeId, _address: &str) {}

    fn removed(&self, _by: NodeId) {}

    fn cluster_name(&self) -> &str {
        ""
    }

    fn begin_snapshot(
        &self,
        _: SnapshotMessage,
        _: [u64; 3],
        _: u64,
    ) -> Result<Box<dyn SnapshotSink>, String> {
        unreachable!("no member of this benchmark sends one")
    }

    fn thread_panicked(&self, panic: Error) {
        panic!("{panic}");
    }
}

fn start(node: u64, addresses: &[String; 2], inbound: &Arc<Counter>) -> Arc<Transport> {
    let options = TransportOptions {
        cluster: ClusterId(1),
        node: NodeId(node),
        instance: InstanceId(node),
        boot_count: 1,
        boot: node,
        listen: addresses[usize::from(node == 2)].clone(),
        peers: vec![(NodeId(1), addresses[0].clone()), (NodeId(2), addresses[1].clone())],
        announce: String::new(),
        election_timeout_ms: 1000,
        tick_ms: 50,
        frame_bytes_max: FRAME_BYTES_MAX,
        queue_bytes_max: QUEUE_BYTES_MAX,
        snapshot_bytes_per_second: 0,
    };
    Arc::new(Transport::start(options, Arc::clone(inbound) as Arc<dyn Inbound>).expect("loopback works"))
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").to_string()
}

/// Waits until `count` messages have been received.
fn wait_for(inbound: &Counter, count: u64) {
    while inbound.received.load(Ordering::Acquire) < count {
        thread::park_timeout(Duration::from_secs(10));
    }
}

/// User and system time of this process, in microseconds.
fn cpu_us() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("a name in brackets").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) * 10_000.0 // Linux reports CPU time in ticks of 10 ms.
}

fn percentile_us(samples: &mut [Duration], percent: usize) -> f64 {
    samples.sort_unstable();
    samples[samples.len() * percent / 100].as_secs_f64() * 1e6
}

fn print_latency(name: &str, samples: &mut [Duration], cpu_us: f64) {
    let (p50, p99) = (percentile_us(samples, 50), percentile_us(samples, 99));
    let each = cpu_us / samples.len() as f64;
    println!("{name:<44} p50 {p50:>6.1} us   p99 {p99:>6.1} us   CPU {each:.1} us");
}

/// The lower bound: two threads that only write to and read from sockets.
fn bare_round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    let (mut far, _) = listener.accept().expect("dialed");
    near.set_nodelay(true).expect("a socket");
    far.set_nodelay(true).expect("a socket");
    let echo = thread::spawn(move || {
        let mut bytes = [0; 250];
        while far.read_exact(&mut bytes).is_ok() {
            far.write_all(&bytes).expect("still open");
        }
    });
    let (mut samples, cpu) = (Vec::with_capacity(ROUND_TRIPS), cpu_us());
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        near.write_all(&[7; 250]).expect("still open");
        near.read_exact(&mut [0; 250]).expect("still open");
        samples.push(begun.elapsed());
    }
    print_latency("bare sockets, round trip of 250 bytes", &mut samples, cpu_us() - cpu);
    drop(near);
    echo.join().expect("no panic");
}

fn ping_pong(near: &Transport, inbound: &Counter) {
    let first = inbound.received.load(Ordering::Acquire);
    let (mut samples, cpu) = (Vec::with_capacity(ROUND_TRIPS), cpu_us());
    for count in 1..=ROUND_TRIPS as u64 {
        let begun = Instant::now();
        near.send(NodeId(2), vec![append(1, 2, count)]);
        wait_for(inbound, first + count);
        samples.push(begun.elapsed());
    }
    print_latency("transport, round trip of one message", &mut samples, cpu_us() - cpu);
}

fn full_load(near: &Transport, far: &Counter, batch: u64) {
    let first = far.received.load(Ordering::Acquire);
    let (begun, cpu) = (Instant::now(), cpu_us());
    let mut sent = 0;
    while begun.elapsed() < LOAD {
        while sent - (far.received.load(Ordering::Acquire) - first) > WINDOW {
            thread::park_timeout(Duration::from_millis(1));
        }
        near.send(NodeId(2), (0..batch).map(|n| append(1, 2, sent + n + 1)).collect());
        sent += batch;
    }
    wait_for(far, first + sent);
    let (took, cpu) = (begun.elapsed().as_secs_f64(), cpu_us() - cpu);
    let rate = sent as f64 / took;
    println!(
        "transport, one way, {batch:>3} messages per send       {rate:>9.0} /s   CPU {:.2} us per message",
        cpu / sent as f64
    );
}

fn main() {
    bare_round_trip();
    let addresses = [free_address(), free_address()];
    let (near_inbound, far_inbound) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
    let near = start(1, &addresses, &near_inbound);
    let far = start(2, &addresses, &far_inbound);
    near_inbound.waiting.set(thread::current()).expect("set once");
    far_inbound.waiting.set(thread::current()).expect("set once");
    // Appends are dropped until the connections are up; an acknowledgement waits for them.
    let acknowledgement = |from, to| {
        let message = Message { msg_type: MessageType::MsgAppendResponse, from, to, ..Message::default() };
        PeerMessage { region: BOOTSTRAP_REGION, epoch: BOOTSTRAP_EPOCH, body: Body::Raft(message) }
    };
    near.send(NodeId(2), vec![acknowledgement(1, 2)]);
    far.send(NodeId(1), vec![acknowledgement(2, 1)]);
    wait_for(&near_inbound, 1);
    wait_for(&far_inbound, 1);

    for batch in [1, 16, 256] {
        full_load(&near, &far_inbound, batch);
    }
    far_inbound.replies.set(Arc::clone(&far)).ok().expect("set once");
    ping_pong(&near, &near_inbound);
    near.shutdown();
    far.shutdown();
}
