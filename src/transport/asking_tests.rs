//! What a member that is to be asks and hears, from members, strangers and nobody.

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;

use socket2::Socket;

use super::super::joining::{REQUEST_BYTES, WelcomeRegion, parse_request, parse_welcome};
use super::*;
use crate::documented::examples;
use crate::transport::tests::*;
use crate::transport::upgrade_tests::build_before;
use crate::transport::{Standing, lock};
use crate::types::{ClusterId, InstanceId, NodeId, RegionId};

fn request(node: u64) -> JoinRequest {
    JoinRequest {
        instance: InstanceId(70),
        node: NodeId(node),
        level: 1,
        election_timeout_ms: ELECTION_TIMEOUT_MS,
        tick_ms: 50,
        announced: "db4.example:7001".to_owned(),
        cluster_name: CLUSTER_NAME.to_owned(),
    }
}

fn welcome() -> Welcome {
    let region = |id, start: &[u8], end: &[u8]| WelcomeRegion {
        id: RegionId(id),
        version: id + 1,
        start_key: start.to_vec(),
        end_key: end.to_vec(),
    };
    Welcome {
        cluster: ClusterId(7),
        election_timeout_ms: ELECTION_TIMEOUT_MS,
        tick_ms: 50,
        regions: vec![region(1, b"", b"m"), region(2, b"m", b"")],
        members: vec![(NodeId(1), "a:1".to_owned()), (NodeId(4), String::new())],
    }
}

fn soon() -> Timestamp {
    time::now() + Duration::from_millis(1)
}

fn later() -> Timestamp {
    time::now() + TIMEOUT
}

fn read_request_from(bytes: &[u8]) -> Result<JoinRequest, HandshakeError> {
    match handshake::read_part_if(&mut &bytes[..], |kind, len, _| {
        kind == KIND_JOIN && REQUEST_BYTES.contains(&len)
    })? {
        Part::Join(request) => Ok(request),
        _ => panic!("it has another kind"),
    }
}

fn address_of(member: &Member) -> String {
    member.transport.local_addr().to_string()
}

fn letting_in(own: u64) -> Member {
    let inbound = Recorder::default();
    inbound.update(|state| state.welcome = Some(welcome()));
    start_with(options(own, &[]), inbound)
}

#[test]
fn what_is_asked_and_answered_comes_back_and_every_damaged_byte_is_noticed() {
    let shortest = JoinRequest { announced: String::new(), cluster_name: String::new(), ..request(4) };
    for request in [request(4), shortest, JoinRequest { level: u16::MAX, ..request(u64::MAX) }] {
        assert_eq!(read_request_from(&request_bytes(&request)).expect("just encoded"), request);
    }
    let empty = Welcome { regions: Vec::new(), members: Vec::new(), ..welcome() };
    for welcome in [welcome(), empty] {
        let bytes = welcome_bytes(&welcome).expect("short");
        assert_eq!(read_answer(&mut &bytes[..]).expect("just encoded"), welcome);
    }

    let (asked, answered) = (request_bytes(&request(4)), welcome_bytes(&welcome()).expect("short"));
    for at in 0..asked.len() {
        let mut damaged = asked.clone();
        damaged[at] ^= 0x10;
        let is_version = (8..12).contains(&at);
        assert!(is_version || read_request_from(&damaged).is_err(), "byte {at}");
        assert!(read_request_from(&asked[..at]).is_err(), "cut at {at}");
    }
    for at in 0..answered.len() {
        let mut damaged = answered.clone();
        damaged[at] ^= 0x10;
        assert!(read_answer(&mut &damaged[..]).is_err(), "byte {at}");
        assert!(read_answer(&mut &answered[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn what_is_malformed_is_refused_whatever_lengths_and_numbers_it_tells() {
    let good = request_bytes(&request(4)).split_off(24);
    let with = |at: usize, bytes: &[u8]| {
        let mut body = good.clone();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        parse_request(body)
    };
    assert!(with(0, &9_u64.to_le_bytes()).is_some());
    for length in [0, 15, 17, u32::MAX] {
        assert!(with(40, &length.to_le_bytes()).is_none(), "an address of {length} bytes");
    }
    assert!(with(44, b"a b").is_none(), "no address");
    assert!(with(good.len() - 1, &[0xff]).is_none(), "no text");
    assert!(parse_request([&good[..], &[0]].concat()).is_none(), "something behind it");
    let long = JoinRequest { cluster_name: "n".repeat(NAME_BYTES_MAX + 1), ..request(4) };
    assert!(parse_request(request_bytes(&long).split_off(24)).is_none());

    let good = welcome_bytes(&welcome()).expect("short").split_off(24);
    for at in [24, good.len() - 31, 44] {
        let mut body = good.clone();
        body[at..at + 4].fill(0xff);
        assert!(parse_welcome(body).is_none(), "a count or length at {at} that is not there");
    }
    let foul = Welcome { members: vec![(NodeId(1), "a:1\x1b[2J".to_owned())], ..welcome() };
    assert!(parse_welcome(welcome_bytes(&foul).expect("short").split_off(24)).is_none(), "no address");
}

#[test]
fn a_welcome_that_no_member_would_read_is_not_sent() {
    let mut long = welcome();
    long.regions[0].end_key = vec![1; *WELCOME_BYTES.end()];
    assert!(welcome_bytes(&long).is_none());
}

#[test]
fn a_member_is_let_in_once_it_is_listed_by_whichever_member_it_asks() {
    let (one, two) = (start(options(211, &[])), start(options(212, &[])));
    let addresses = [reserved_address(), address_of(&one), address_of(&two)];
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&addresses, &request(213), later(), &OpenSockets::default()));
        one.inbound.wait("asked", |state| state.requests.contains(&request(213)));
        two.inbound.update(|state| state.welcome = Some(welcome()));

        assert_eq!(asking.join().expect("no panic").expect("let in"), welcome());
    });
    assert!(one.inbound.state.lock().expect("no panic").introduced.is_empty(), "it is no member yet");
    assert_eq!(one.transport.network.peers.count(), 0);
}

#[test]
fn what_waiting_does_not_change_ends_the_asking_at_once_in_the_words_of_a_handshake() {
    let member = letting_in(214);
    member.inbound.update(|state| {
        state.level = 1;
        state.standings.insert(NodeId(216), Standing::Removed);
    });
    let refused_with = |request: JoinRequest, code: Code| {
        let error = ask(&[address_of(&member)], &request, later(), &OpenSockets::default())
            .expect_err("it is refused");
        assert_eq!(error.code(), code);
        error.detail().to_owned()
    };
    let refused = |request: JoinRequest| refused_with(request, Code::InvalidConfig);

    let other = refused(JoinRequest { cluster_name: "other".to_owned(), ..request(215) });
    assert!(
        other.contains("node 214 belongs to cluster 'tested' and node 215 is to join cluster 'other'"),
        "{other}"
    );
    let removed = refused_with(request(216), Code::Removed);
    assert!(
        removed.contains("node 216 was removed from the cluster; its number is not used again"),
        "{removed}"
    );
    let slow = refused(JoinRequest { election_timeout_ms: 1, ..request(215) });
    assert!(
        slow.contains("60000 ms on node 214 and 1 ms on node 215: set raft.election_timeout_ms"),
        "{slow}"
    );
    let tick = refused(JoinRequest { tick_ms: 1, ..request(215) });
    assert!(tick.contains("50 ms on node 214 and 1 ms on node 215: set raft.tick_ms"), "{tick}");
    let early = refused(JoinRequest { level: 0, ..request(215) });
    assert!(early.contains("node 215 runs an earlier release"), "{early}");
    assert!(lock(&member.inbound.state).requests.is_empty(), "the core was not asked");

    let (heard, _versions) = mpsc::channel();
    let (before, _acceptor) = build_before(6, 217, heard);
    let error =
        ask(&[before], &request(215), later(), &OpenSockets::default()).expect_err("it cannot read that");
    assert!(error.detail().contains("version 7"), "{error}");
}

#[test]
fn a_number_that_another_member_has_is_not_let_in() {
    let member = letting_in(218);
    for node in [0, 218] {
        let error = ask(&[address_of(&member)], &request(node), soon(), &OpenSockets::default())
            .expect_err("not let in");
        assert!(error.detail().contains("cluster.node_id"), "{error}");
    }
}

#[test]
fn when_the_time_is_up_each_address_is_named_with_what_came_of_it() {
    let member = start(options(219, &[]));
    let nobody = reserved_address();
    let addresses = [nobody.clone(), address_of(&member), "no port".to_owned()];

    let error = ask(&addresses, &request(220), soon(), &OpenSockets::default()).expect_err("in vain");

    assert_eq!(error.code(), Code::Network);
    let detail = error.detail();
    assert!(detail.contains(&format!("{nobody}: Connection refused")), "{detail}");
    assert!(detail.contains(": refused: node 220 is not in the list of members"), "{detail}");
    assert!(detail.contains("no port: 'no port' has no port"), "{detail}");
}

#[test]
fn asking_ends_when_it_is_cancelled() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let addresses = [silent.local_addr().expect("bound").to_string()];
    let sockets = OpenSockets::default();
    thread::scope(|scope| {
        let asking = scope.spawn(|| ask(&addresses, &request(221), later(), &sockets));
        let _asked = silent.accept().expect("asked");
        sockets.close();
        let error = asking.join().expect("no panic").expect_err("cancelled");
        assert_eq!(error.code(), Code::Cancelled);
    });
    let error = ask(&addresses, &request(221), later(), &sockets).expect_err("cancelled");
    assert_eq!(error.code(), Code::Cancelled);

    let unusable = JoinRequest { announced: "a".to_owned(), ..request(221) };
    let error = ask(&[], &unusable, later(), &OpenSockets::default()).expect_err("nobody could reach it");
    assert!(error.detail().contains("transport.announce"), "{error}");
}

#[test]
fn an_answer_of_a_stranger_is_not_believed() {
    let other_times = Welcome { tick_ms: 51, ..welcome() };
    let mut cut = welcome_bytes(&welcome()).expect("short");
    cut.truncate(40);
    let answers = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not a member of an Almadia cluster"),
        (welcome_bytes(&other_times).expect("short"), "those of node 222 are 60000 and 50 ms"),
        (cut, "closed the connection during the handshake"),
        (request_bytes(&request(222)), "impossible length"),
    ];
    for (answer, words) in answers {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = listener.local_addr().expect("bound").to_string();
        let answering = thread::spawn(move || {
            let mut stream = listener.accept().expect("asked").0;
            let mut asked = vec![0; request_bytes(&request(222)).len()];
            stream.read_exact(&mut asked).expect("a request");
            stream.write_all(&answer).expect("it waits");
        });

        let error = ask(&[address], &request(222), soon(), &OpenSockets::default()).expect_err(words);

        assert!(error.detail().contains(words), "{error}");
        answering.join().expect("no panic");
    }
}

#[test]
fn hostile_requests_cost_their_connection_and_nothing_else() {
    let member = letting_in(223);
    let good = request_bytes(&request(224));
    let sealed = |body: &[u8]| handshake::part_bytes(KIND_JOIN, Protocol::NEWEST, body);
    let mut endless = good.clone();
    endless[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut as_before = good.clone();
    as_before[8..12].copy_from_slice(&6_u32.to_le_bytes());
    let unasked = welcome_bytes(&welcome()).expect("short");
    let damaged = [&good[..good.len() - 1], b"?"].concat();
    for bytes in
        [endless, as_before, unasked, damaged, sealed(&[0xff; 40]), sealed(&[0xff; 300]), sealed(&[])]
    {
        let mut stream = TcpStream::connect(member.transport.local_addr()).expect("loopback");
        stream.write_all(&bytes).expect("just connected");
        crate::transport::hostile_tests::wait_closed(&Socket::from(stream));
    }
    assert!(lock(&member.inbound.state).requests.is_empty(), "none of them is a request");

    assert!(ask(&[address_of(&member)], &request(224), later(), &OpenSockets::default()).is_ok());
}

#[test]
fn the_examples_on_the_page_of_the_wire_are_what_is_said() {
    let said = examples(include_str!("../../docs/wire-format.md"), "## Joining");

    let request = read_request_from(&said[0]).expect("a request");
    assert_eq!((request.node, request.level, &*request.announced), (NodeId(4), 2, "db4:7001"));
    assert_eq!(request_bytes(&request), said[0]);
    let welcome = read_answer(&mut &said[1][..]).expect("a welcome");
    assert_eq!((welcome.regions.len(), welcome.members.len()), (1, 2));
    assert_eq!(welcome_bytes(&welcome).expect("short"), said[1]);
}
