//! Whole transports on loopback: what crosses, in which order, and what happens when a peer goes.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::sync::Condvar;
use std::time::Instant;

use raft::eraftpb::{Entry, Message, MessageType};
use socket2::Socket;

use super::notices::Topic;
use super::snapshots::shelf::Shelf;
use super::*;
use crate::core::ports::Body;
use crate::types::{BOOTSTRAP_EPOCH, NEWEST_LEVEL, RegionId};

/// Longer than any of these tests takes on a busy machine.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Peers that take no bytes are given up after twice this, which is longer than any test waits: a test in which
/// somebody waits for such a peer fails.
pub(super) const ELECTION_TIMEOUT_MS: u64 = 60_000;

/// That of every member.
pub(super) const CLUSTER_NAME: &str = "tested";

/// An [`Inbound`] that writes down what it is told.
#[derive(Default)]
pub(super) struct Recorder {
    pub(super) state: Mutex<Record>,
    changed: Condvar,
    /// Where raft snapshots are staged.
    pub(super) shelf: Arc<Shelf>,
}

#[derive(Default)]
pub(super) struct Record {
    /// The index of each message, by sender.
    pub(super) indices: HashMap<NodeId, Vec<u64>>,
    pub(super) losses: HashMap<NodeId, usize>,
    pub(super) connected: HashSet<NodeId>,
    pub(super) introduced: Vec<Introduction>,
    pub(super) lacks_end: bool,
    /// What every member has to know.
    pub(super) level: u16,
    pub(super) panicked: Vec<Error>,
    pub(super) refuse: Option<String>,
    /// Who is known otherwise than as a member.
    pub(super) standings: HashMap<NodeId, Standing>,
    pub(super) announced: Vec<(NodeId, String)>,
    /// Who said that this member was removed.
    pub(super) removed_by: Vec<NodeId>,
    /// What newcomers are told; nobody is let in without.
    pub(super) welcome: Option<Welcome>,
    pub(super) requests: Vec<JoinRequest>,
    /// While set, a delivery waits.
    pub(super) is_gate_closed: bool,
    pub(super) waiting_at_gate: usize,
    pub(super) panic_on_receive: bool,
}

impl Recorder {
    pub(super) fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut lock(&self.state));
        self.changed.notify_all();
    }

    /// Waits until `condition` holds.
    pub(super) fn wait(&self, what: &str, condition: impl Fn(&Record) -> bool) {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, TIMEOUT, |state| !condition(state));
        assert!(!waited.expect("no panic").1.timed_out(), "waited in vain: {what}");
    }

    pub(super) fn received(&self, from: u64) -> Vec<u64> {
        lock(&self.state).indices.get(&NodeId(from)).cloned().unwrap_or_default()
    }

    pub(super) fn wait_received(&self, from: u64, index: u64) {
        self.wait(&format!("message {index} from node {from}"), |state| {
            state.indices.get(&NodeId(from)).is_some_and(|all| all.contains(&index))
        });
    }
}

impl Inbound for Recorder {
    fn receive(&self, from: NodeId, messages: Vec<PeerMessage>) {
        let mut state = lock(&self.state);
        let must_panic = state.panic_on_receive;
        state
            .indices
            .entry(from)
            .or_default()
            .extend(messages.iter().map(|message| message.raft().expect("of raft").index));
        state.waiting_at_gate += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.is_gate_closed).expect("no panic");
        state.waiting_at_gate -= 1;
        drop(state);
        assert!(!must_panic, "as the test asked");
    }

    fn unreachable(&self, node: NodeId) {
        self.update(|state| *state.losses.entry(node).or_default() += 1);
    }

    fn connected(&self, node: NodeId) {
        self.update(|state| state.connected.extend([node]));
    }

    fn disconnected(&self, node: NodeId) {
        self.update(|state| state.connected.retain(|other| *other != node));
    }

    fn introduced(&self, introduction: Introduction) {
        self.update(|state| state.introduced.push(introduction));
    }

    fn lacks_end(&self) -> bool {
        lock(&self.state).lacks_end
    }

    fn level(&self) -> u16 {
        lock(&self.state).level
    }

    fn admit(&self, _from: NodeId, _instance: InstanceId) -> std::result::Result<(), String> {
        lock(&self.state).refuse.clone().map_or(Ok(()), Err)
    }

    fn knows(&self, node: NodeId) -> Standing {
        lock(&self.state).standings.get(&node).copied().unwrap_or(Standing::Member)
    }

    fn announced(&self, node: NodeId, address: &str) {
        self.update(|state| state.announced.push((node, address.to_owned())));
    }

    fn removed(&self, by: NodeId) {
        self.update(|state| state.removed_by.push(by));
    }

    fn cluster_name(&self) -> &str {
        CLUSTER_NAME
    }

    fn welcome(&self, request: &JoinRequest) -> std::result::Result<Welcome, String> {
        self.update(|state| state.requests.push(request.clone()));
        let welcome = lock(&self.state).welcome.clone();
        welcome.ok_or_else(|| format!("node {} is not in the list of members", request.node))
    }

    fn begin_snapshot(&self, message: SnapshotMessage, source: [u64; 3], bytes_estimate: u64) -> Begun {
        self.shelf.begin(message, source, bytes_estimate)
    }

    fn thread_panicked(&self, panic: Error) {
        self.update(|state| state.panicked.push(panic));
    }
}

pub(super) fn options(node: u64, peers: &[(u64, String)]) -> TransportOptions {
    TransportOptions {
        cluster: ClusterId(7),
        node: NodeId(node),
        instance: InstanceId(node),
        boot_count: 1,
        boot: 1,
        listen: "127.0.0.1:0".to_owned(),
        peers: peers.iter().map(|(node, address)| (NodeId(*node), address.clone())).collect(),
        announce: String::new(),
        election_timeout_ms: ELECTION_TIMEOUT_MS,
        tick_ms: 50,
        frame_bytes_max: FRAME_BYTES_MAX,
        queue_bytes_max: QUEUE_BYTES_MAX,
        snapshot_bytes_per_second: 0,
    }
}

pub(super) fn message(from: u64, to: u64, kind: MessageType, index: u64) -> PeerMessage {
    let message = Message { msg_type: kind, from, to, index, ..Message::default() };
    PeerMessage { region: RegionId(1), epoch: BOOTSTRAP_EPOCH, body: Body::Raft(message) }
}

pub(super) fn append(from: u64, to: u64, index: u64) -> PeerMessage {
    message(from, to, MessageType::MsgAppend, index)
}

pub(super) fn large_append(from: u64, to: u64, index: u64, bytes: usize) -> PeerMessage {
    let mut message = append(from, to, index);
    message.raft_mut().entries.push(Entry { data: vec![1; bytes].into(), ..Entry::default() });
    message
}

/// An address on which only those listen that are told it: a socket that never listens stays bound to it for as long as
/// this process lives, so that the system gives the port to nobody who lets it choose.
pub(super) fn reserved_address() -> String {
    let socket = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    // Like the members' sockets, which could not share the port with it otherwise.
    socket.set_reuse_address(true).expect("a socket");
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("loopback");
    let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
    std::mem::forget(socket);
    address.to_string()
}

pub(super) struct Member {
    pub(super) transport: Transport,
    pub(super) inbound: Arc<Recorder>,
}

pub(super) fn start(options: TransportOptions) -> Member {
    start_with(options, Recorder::default())
}

pub(super) fn start_with(options: TransportOptions, inbound: Recorder) -> Member {
    let inbound = Arc::new(inbound);
    let transport = Transport::start(options, Arc::clone(&inbound) as Arc<dyn Inbound>).expect("it starts");
    Member { transport, inbound }
}

/// Two members that know each other; the numbers are those of the test, so that its threads have names of
/// their own.
pub(super) fn start_pair(one: u64, two: u64) -> (Member, Member) {
    let addresses = [(one, reserved_address()), (two, reserved_address())];
    let start_at = |at: usize| {
        start(TransportOptions { listen: addresses[at].1.clone(), ..options(addresses[at].0, &addresses) })
    };
    (start_at(0), start_at(1))
}

/// Waits until messages cross from `near` to `far`: an acknowledgement waits for the connection.
pub(super) fn connect(near: &Member, from: u64, far: &Member, to: u64) {
    near.transport.send(NodeId(to), vec![message(from, to, MessageType::MsgAppendResponse, 0)]);
    far.inbound.wait_received(from, 0);
}

/// How many threads of this process are called `name`.
pub(super) fn threads_named(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    // A thread may end between the listing and the reading.
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == name).count()
}

/// Waits until there are `count` threads called `name`: a joined thread leaves the list a moment after its
/// end.
pub(super) fn wait_for_threads(name: &str, count: usize) {
    let end = Instant::now() + TIMEOUT;
    while threads_named(name) != count {
        assert!(Instant::now() < end, "{} threads are called {name}, not {count}", threads_named(name));
        std::thread::yield_now();
    }
}

#[test]
fn a_hundred_thousand_messages_arrive_in_order_both_ways() {
    const COUNT: u64 = 100_000;
    let (one, two) = start_pair(11, 12);
    connect(&one, 11, &two, 12);
    connect(&two, 12, &one, 11);

    for start in (1..=COUNT).step_by(100) {
        one.transport.send(NodeId(12), (start..start + 100).map(|index| append(11, 12, index)).collect());
        two.transport.send(NodeId(11), (start..start + 100).map(|index| append(12, 11, index)).collect());
        if start % 20_000 == 1 {
            // The queue is bounded: what is in flight beyond that would be lost, as documented.
            two.inbound.wait_received(11, start + 99);
            one.inbound.wait_received(12, start + 99);
        }
    }
    two.inbound.wait_received(11, COUNT);
    one.inbound.wait_received(12, COUNT);

    assert_eq!(two.inbound.received(11), (0..=COUNT).collect::<Vec<_>>());
    assert_eq!(one.inbound.received(12), (0..=COUNT).collect::<Vec<_>>());
    assert!(lock(&one.inbound.state).losses.is_empty(), "nothing was lost");
}

#[test]
fn order_holds_between_messages_written_at_once_and_queued_ones() {
    let (one, two) = start_pair(61, 62);
    connect(&one, 61, &two, 62);
    let mut index = 0;
    for burst in 1..=3000_u64 {
        for _ in 0..burst % 7 {
            index += 1;
            one.transport.send(NodeId(62), vec![append(61, 62, index)]);
        }
        // Long enough, most of the time, for the next message to be written by this thread.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(30 + burst % 50) {
            std::hint::spin_loop();
        }
    }
    two.inbound.wait_received(61, index);

    assert_eq!(two.inbound.received(61), (0..=index).collect::<Vec<_>>());
}

#[test]
fn a_peer_that_restarts_on_its_port_is_reached_again() {
    let (one, two) = start_pair(13, 14);
    connect(&one, 13, &two, 14);
    let address = two.transport.local_addr().to_string();
    let peers = one.transport.network.options.peers.clone();
    for _ in 0..3 {
        one.inbound.wait("the connection is reported", |state| state.connected.contains(&NodeId(14)));
        two.transport.shutdown();
        one.transport.send(NodeId(14), vec![append(13, 14, 1)]);
        one.inbound.wait("its end is reported", |state| !state.connected.contains(&NodeId(14)));
        one.inbound.wait("the loss is reported", |state| state.losses.contains_key(&NodeId(14)));

        let again =
            start(TransportOptions { listen: address.clone(), peers: peers.clone(), ..options(14, &[]) });

        connect(&one, 13, &again, 14);
        one.transport.send(NodeId(14), vec![append(13, 14, 2)]);
        again.inbound.wait_received(13, 2);
        connect(&again, 14, &one, 13);
        one.inbound.update(|state| state.losses.clear());
        again.transport.shutdown();
    }
}

#[test]
fn a_transport_that_is_closed_leaves_its_peers_at_once_and_takes_none() {
    let (one, two) = start_pair(33, 34);
    connect(&one, 33, &two, 34);
    one.inbound.wait("the connection is reported", |state| state.connected.contains(&NodeId(34)));

    two.transport.close();

    one.inbound.wait("its end is reported", |state| !state.connected.contains(&NodeId(34)));
    one.transport.send(NodeId(34), vec![append(33, 34, 7)]);
    one.inbound.wait("the loss is reported", |state| state.losses.contains_key(&NodeId(34)));
    assert!(!lock(&one.inbound.state).connected.contains(&NodeId(34)));
}

#[test]
fn a_message_of_many_megabytes_crosses_and_one_beyond_the_limit_is_reported() {
    let two = start(options(16, &[(15, reserved_address())]));
    let peers = [(16, two.transport.local_addr().to_string())];
    let one = start(TransportOptions { queue_bytes_max: 256 << 20, ..options(15, &peers) });
    connect(&one, 15, &two, 16);

    one.transport.send(NodeId(16), vec![large_append(15, 16, 1, 40 << 20)]);
    two.inbound.wait_received(15, 1);
    one.transport.send(NodeId(16), vec![large_append(15, 16, 2, 65 << 20), append(15, 16, 3)]);
    two.inbound.wait_received(15, 3);

    one.inbound.wait("the loss is reported", |state| state.losses.contains_key(&NodeId(16)));
    assert_eq!(two.inbound.received(15), [0, 1, 3]);
    assert!(one.transport.network.has_logged(NodeId(16), Topic::Unsendable));
}

#[test]
fn members_that_disagree_never_hear_each_other_and_both_say_why() {
    let addresses = [(17, reserved_address()), (18, reserved_address())];
    let own = |at: usize| TransportOptions {
        listen: addresses[at].1.clone(),
        ..options(addresses[at].0, &addresses)
    };
    let (one, two) = (start(own(0)), start(TransportOptions { election_timeout_ms: 2000, ..own(1) }));
    one.transport.send(NodeId(18), vec![message(17, 18, MessageType::MsgAppendResponse, 1)]);

    let topics = [Topic::DialRefusal(Reason::ElectionTimeout), Topic::AcceptRefusal(Reason::ElectionTimeout)];
    let has_said = |member: &Member, about| {
        topics.iter().all(|topic| member.transport.network.has_logged(NodeId(about), *topic))
    };
    let end = Instant::now() + TIMEOUT;
    while !(has_said(&one, 18) && has_said(&two, 17)) {
        assert!(Instant::now() < end, "both members log the reason");
        std::thread::yield_now();
    }
    assert!(two.inbound.received(17).is_empty());
}

#[test]
fn a_member_that_lost_its_disk_is_not_heard_until_it_is_admitted() {
    let wary = Recorder::default();
    wary.update(|state| state.refuse = Some("node 19 lost its disk".to_owned()));
    let two = start_with(options(20, &[(19, reserved_address())]), wary);
    let one = start(options(19, &[(20, two.transport.local_addr().to_string())]));
    one.transport.send(NodeId(20), vec![message(19, 20, MessageType::MsgAppendResponse, 0)]);
    let end = Instant::now() + TIMEOUT;
    while !one.transport.network.has_logged(NodeId(20), Topic::DialRefusal(Reason::Instance)) {
        assert!(Instant::now() < end, "the refusal is logged");
        std::thread::yield_now();
    }
    assert!(two.inbound.received(19).is_empty());

    two.inbound.update(|state| state.refuse = None);

    connect(&one, 19, &two, 20);
}

#[test]
fn a_member_is_introduced_before_it_is_heard_and_anew_when_it_has_its_end_back() {
    let two = start(options(52, &[(51, reserved_address())]));
    let lacking = Recorder::default();
    lacking.update(|state| state.lacks_end = true);
    let peers = [(52, two.transport.local_addr().to_string())];
    let one = start_with(TransportOptions { boot_count: 4, ..options(51, &peers) }, lacking);
    connect(&one, 51, &two, 52);
    let introduction =
        Introduction { node: NodeId(51), boot_count: 4, boot: 1, lost_end: true, level: NEWEST_LEVEL };
    assert_eq!(lock(&two.inbound.state).introduced, [introduction]);

    one.inbound.update(|state| state.lacks_end = false);

    let whole = Introduction { lost_end: false, ..introduction };
    two.inbound.wait("introduced anew", |state| state.introduced.last() == Some(&whole));
}

#[test]
fn losses_without_a_connection_are_reported_once_a_tick() {
    let nobody = reserved_address();
    let one = start(options(21, &[(22, nobody)]));
    let begun = Instant::now();
    let mut reports = 0;
    while reports < 10 && begun.elapsed() < TIMEOUT {
        one.transport.send(NodeId(22), vec![append(21, 22, 1)]);
        std::thread::yield_now();
        reports = lock(&one.inbound.state).losses.get(&NodeId(22)).copied().unwrap_or(0);
    }

    let ticks = usize::try_from(begun.elapsed().as_millis() / 50).expect("small") + 1;
    assert!((10..=ticks).contains(&reports), "{reports} reports in {ticks} ticks");
}

#[test]
fn an_address_in_use_is_refused_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = taken.local_addr().expect("bound").to_string();
    let listen_on = |address: &str| {
        let options = TransportOptions { listen: address.to_owned(), ..options(23, &[]) };
        Transport::start(options, Arc::new(Recorder::default())).err().expect("it cannot listen there")
    };

    let error = listen_on(&address);
    assert_eq!(error.code(), Code::Network);
    assert_eq!(error.errno(), Some(libc::EADDRINUSE));
    assert!(error.detail().contains(&address), "{error}");
    assert!(error.detail().contains("in use"), "{error}");
    assert!(error.detail().contains("choose another port with transport.listen"), "{error}");

    let error = listen_on("127.0.0.1");
    assert_eq!(error.code(), Code::Network);
    assert!(error.detail().contains("'host:port'"), "{error}");
}

#[test]
fn a_name_is_looked_up_and_a_member_listed_twice_is_refused() {
    let far = start(options(24, &[(25, reserved_address())]));
    let address = format!("localhost:{}", far.transport.local_addr().port());
    let near = start(options(25, &[(24, address)]));
    connect(&near, 25, &far, 24);

    let twice = options(26, &[(27, "a:1".to_owned()), (27, "b:2".to_owned())]);
    let error = Transport::start(twice, Arc::new(Recorder::default())).err().expect("it contradicts itself");
    assert_eq!(error.code(), Code::InvalidConfig);
}

#[test]
fn a_panic_behind_the_transport_is_reported_with_the_name_of_the_thread() {
    let (one, two) = start_pair(28, 29);
    connect(&one, 28, &two, 29);
    two.inbound.update(|state| state.panic_on_receive = true);

    one.transport.send(NodeId(29), vec![append(28, 29, 1)]);

    let is_named = |panic: &Error| panic.detail().starts_with("thread almadia-recv-28 panicked at ");
    two.inbound.wait("the panic is reported", |state| state.panicked.iter().any(is_named));
    two.transport.shutdown();
}

#[test]
fn shutdown_ends_every_thread_and_frees_the_port() {
    let (one, two) = start_pair(31, 32);
    connect(&one, 31, &two, 32);
    connect(&two, 32, &one, 31);
    let own = ["almadia-send-31", "almadia-send-32", "almadia-recv-31", "almadia-recv-32"];
    for name in own {
        wait_for_threads(name, 1);
    }

    let network = Arc::downgrade(&one.transport.network);
    let address = one.transport.local_addr();
    one.transport.shutdown();
    one.transport.shutdown();
    assert_eq!(network.strong_count(), 1, "only the transport itself is left, no thread");
    one.transport.send(NodeId(32), vec![append(31, 32, 1)]);
    drop(one);
    assert_eq!(network.strong_count(), 0);
    drop(two);

    for name in own {
        wait_for_threads(name, 0);
    }
    TcpListener::bind(address).expect("the port is free");
}

#[test]
fn shutdown_is_prompt_while_a_dial_hangs() {
    // Linux does not answer a connection request to a full backlog, so the dial hangs.
    let full = Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    full.bind(&"127.0.0.1:0".parse::<SocketAddr>().expect("an address").into()).expect("loopback");
    full.listen(0).expect("bound");
    let address = full.local_addr().expect("bound").as_socket().expect("an IP address");
    let mut crowd = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
        crowd.push(stream);
    }

    // A shutdown that waited for the dial would never take less than the rest of the second that a dial has.
    let mut took = Vec::new();
    while !took.iter().any(|took| *took < Duration::from_millis(500)) {
        assert!(took.len() < 20, "{took:?}");
        let one = start(options(35, &[(36, address.to_string())]));
        let begun = Instant::now();
        one.transport.shutdown();
        took.push(begun.elapsed());
    }
}
