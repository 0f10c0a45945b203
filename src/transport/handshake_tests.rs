//! Every way in which two members disagree, in words.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use super::super::deadlined::Deadline;
use super::*;
use crate::documented::examples;
use crate::time::Timestamp;

fn hello(from: u64, to: u64) -> Hello {
    Hello {
        cluster: ClusterId(0xabcd),
        from: NodeId(from),
        to: NodeId(to),
        instance: InstanceId(70 + from),
        election_timeout_ms: 1000,
        tick_ms: 50,
        boot_count: 3,
        boot: 77,
        lost_end: false,
        level: 1,
        purpose: Purpose::Messages,
        announced: String::new(),
        build: "0.1.0".to_owned(),
    }
}

/// Two connected sockets.
fn pair() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let dialer = TcpStream::connect(listener.local_addr().expect("bound")).expect("loopback");
    (dialer.into(), listener.accept().expect("dialed").0.into())
}

/// The acceptor's side, whatever the version.
fn accepted(
    far: &Socket,
    own_for: impl Fn(NodeId) -> Result<Hello, Refusal>,
    admit: impl Admit,
) -> Result<Hello, HandshakeError> {
    accept_member(far, own_for, admit).map(|(theirs, _)| theirs)
}

/// The same with the version.
fn accept_member(
    far: &Socket,
    own_for: impl Fn(NodeId) -> Result<Hello, Refusal>,
    admit: impl Admit,
) -> Result<(Hello, Protocol), HandshakeError> {
    match accept(far, own_for, admit)? {
        Caller::Member(theirs, protocol) => Ok((theirs, protocol)),
        Caller::Newcomer(request) => panic!("it is a member already: {request:?}"),
    }
}

/// What both sides make of a dialer that says `theirs` to an acceptor that says `own`.
fn meet(theirs: Hello, own: Hello) -> (Result<Hello, HandshakeError>, Result<Hello, HandshakeError>) {
    let (near, far) = pair();
    thread::scope(|scope| {
        let accepting = scope.spawn(|| accepted(&far, |_| Ok(own.clone()), |_| Ok(())));
        (dial(&near, &theirs, Protocol::NEWEST, |_| Ok(())), accepting.join().expect("no panic"))
    })
}

fn refused(result: Result<Hello, HandshakeError>) -> Refusal {
    match result {
        Err(HandshakeError::Refused(refusal) | HandshakeError::Refusing(_, refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn members_that_agree_learn_who_the_other_is() {
    let (dialed, accepted) = meet(hello(1, 2), hello(2, 1));

    assert_eq!(dialed.expect("agreed"), hello(2, 1));
    assert_eq!(accepted.expect("agreed"), hello(1, 2));
}

#[test]
fn every_difference_is_refused_on_both_sides_naming_the_option() {
    let cases = [
        (Hello { cluster: ClusterId(5), ..hello(1, 2) }, Reason::Cluster, "cluster.name"),
        (
            hello(1, 3),
            Reason::WrongNode,
            "address given for node 3 is that of node 2: correct cluster.initial_members",
        ),
        (hello(4, 2), Reason::WrongNode, "address given for node 1 is that of node 4"),
        (
            Hello { election_timeout_ms: 2000, ..hello(1, 2) },
            Reason::ElectionTimeout,
            "1000 ms on node 2 and 2000 ms on node 1: set raft.election_timeout_ms",
        ),
        (
            Hello { tick_ms: 10, ..hello(1, 2) },
            Reason::Tick,
            "50 ms on node 2 and 10 ms on node 1: set raft.tick_ms",
        ),
    ];
    for (theirs, reason, words) in cases {
        let (dialed, accepted) = meet(theirs, hello(2, 1));
        let (told, telling) = (refused(dialed), refused(accepted));
        assert_eq!(told, telling, "both sides log the same");
        assert_eq!(told.reason, reason);
        assert!(told.text.contains(words), "{}", told.text);
    }
}

#[test]
fn an_instance_that_is_not_admitted_is_refused_by_either_side() {
    let wiped =
        |_: &Hello| Err(Refusal { reason: Reason::Instance, text: "node 1 lost its disk".to_owned() });
    let (near, far) = pair();
    thread::scope(|scope| {
        let accepting = scope.spawn(|| accepted(&far, |_| Ok(hello(2, 1)), wiped));
        assert_eq!(
            refused(dial(&near, &hello(1, 2), Protocol::NEWEST, |_| Ok(()))).text,
            "node 1 lost its disk"
        );
        assert_eq!(refused(accepting.join().expect("no panic")).reason, Reason::Instance);
    });

    let (near, far) = pair();
    thread::scope(|scope| {
        let accepting = scope.spawn(|| accepted(&far, |_| Ok(hello(2, 1)), |_| Ok(())));
        assert_eq!(refused(dial(&near, &hello(1, 2), Protocol::NEWEST, wiped)).reason, Reason::Instance);
        assert!(
            accepting.join().expect("no panic").is_ok(),
            "the acceptor learns it from the closed connection"
        );
    });
}

#[test]
fn another_protocol_version_is_refused_with_both_versions() {
    let (near, far) = pair();
    let mut bytes = hello_bytes(&hello(1, 2), Protocol::NEWEST);
    bytes[8..12].copy_from_slice(&9_u32.to_le_bytes());
    (&near).write_all(&bytes).expect("loopback");

    let told = refused(accepted(&far, |_| Ok(hello(2, 1)), |_| Ok(())));

    assert_eq!(told.reason, Reason::Version);
    let both = ["version 9", "versions 4 to 7"];
    assert!(both.iter().all(|version| told.text.contains(version)), "{}", told.text);
    let answer = read_part(&mut &near).map(|part| matches!(part, Part::Refusal(read) if read == told));
    assert!(answer.expect("the dialer is told"));
}

#[test]
fn another_protocol_is_recognized_from_its_first_bytes() {
    let (near, far) = pair();
    (&near).write_all(b"GET / HTTP/1.1\r\n\r\n").expect("loopback");

    let answer = accepted(&far, |_| Ok(hello(2, 1)), |_| Ok(()));

    assert!(matches!(answer, Err(HandshakeError::Foreign(_))), "{answer:?}");
}

#[test]
fn every_damaged_byte_of_a_hello_is_noticed() {
    let good = hello_bytes(&hello(1, 2), Protocol::NEWEST);
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0x10;
        let part = read_part(&mut &damaged[..]);
        assert!(!matches!(part, Ok(Part::Hello(..) | Part::Refusal(_))), "byte {at}");
        assert!(read_part(&mut &good[..at]).is_err(), "cut at {at}");
    }
}

#[test]
fn a_refusal_of_any_length_crosses_and_cannot_draw_on_a_terminal() {
    let text = format!("\u{1b}[2Jwiped {}", "ä".repeat(2000));
    let bytes = refusal_bytes(&Refusal { reason: Reason::Instance, text }, Protocol::NEWEST);

    let Ok(Part::Refusal(refusal)) = read_part(&mut &bytes[..]) else { panic!("it is a refusal") };

    assert_eq!(refusal.reason, Reason::Instance);
    assert!(refusal.text.starts_with("[2Jwiped ää"));
    assert!(refusal.text.len() <= TEXT_BYTES_MAX + 3);
}

#[test]
fn every_read_and_write_has_what_is_left_of_the_whole_handshake() {
    let begun = Timestamp(7_000_000_000);
    let deadline = Deadline(begun + DEADLINE);
    let second = Duration::from_secs(1);

    assert_eq!(deadline.left(begun).expect("in time"), 3 * second);
    assert_eq!(deadline.left(begun + 2 * second).expect("in time"), second);
    let last_moment = Timestamp((begun + DEADLINE).0 - 1);
    assert_eq!(
        deadline.left(last_moment).expect("in time").as_micros(),
        1,
        "the system rounds down, to no limit"
    );
    for late in [begun + DEADLINE, begun + 60 * second] {
        let error = deadline.left(late).expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

#[test]
fn a_handshake_that_comes_too_slowly_ends_at_its_deadline() {
    let (near, far) = pair();
    // Each byte comes well within any pause that a timeout per read would allow, and in the end all of them have come.
    let bytes =
        refusal_bytes(&Refusal { reason: Reason::Other, text: "x".repeat(TEXT_BYTES_MAX) }, Protocol::NEWEST);
    thread::scope(|scope| {
        let mut stream = Deadlined::new(&far, Duration::from_millis(200));
        let reading = scope.spawn(move || read_part(&mut stream).map(|_| ()));
        for byte in &bytes {
            (&near).write_all(&[*byte]).expect("it is open, whoever reads");
            thread::park_timeout(Duration::from_millis(2));
        }
        let error = reading.join().expect("no panic").expect_err("not in time");
        assert!(error.to_string().contains("within the time a handshake may take"), "{error}");
    });
}

#[test]
fn a_dialer_is_not_held_by_an_acceptor_that_hangs_up() {
    let (near, far) = pair();
    far.shutdown(Shutdown::Both).expect("connected");
    assert!(matches!(dial(&near, &hello(1, 2), Protocol::NEWEST, |_| Ok(())), Err(HandshakeError::Io(_))));
}

#[test]
fn the_hellos_on_the_page_of_the_wire_are_what_members_say() {
    let page = include_str!("../../docs/wire-format.md");
    for (heading, protocol, level) in [
        ("## Handshake", Protocol::Seven, 1),
        ("## Version 6", Protocol::Six, 1),
        ("## Version 5", Protocol::Five, 1),
        ("## Version 4", Protocol::Four, 0),
    ] {
        let said = &examples(page, heading)[0];

        let Ok(Part::Hello(hello, spoken)) = read_part(&mut &said[..]) else { panic!("it is a hello") };

        assert_eq!((spoken, hello.level, hello.purpose), (protocol, level, Purpose::Messages));
        assert_eq!((hello.from, hello.to, hello.boot), (NodeId(3), NodeId(1), 0x99de_8643_dfa0_12d7));
        let texts = if protocol < Protocol::Seven { ("", "") } else { ("db3:7001", "0.1.0") };
        assert_eq!((&*hello.announced, &*hello.build), texts);
        assert_eq!(hello_bytes(&hello, protocol), *said);
    }
}

#[test]
fn a_dialer_is_answered_in_its_own_version_also_when_it_is_refused() {
    for protocol in Protocol::ALL {
        for admitted in [true, false] {
            let (near, far) = pair();
            let no = Refusal { reason: Reason::Version, text: "too old".to_owned() };
            let admit = |_: &Hello| if admitted { Ok(()) } else { Err(no.clone()) };
            let said = hello_bytes(&hello(1, 2), protocol);
            (&near).write_all(&said).expect("loopback");

            let answer = accept_member(&far, |_| Ok(hello(2, 1)), admit);

            assert_eq!(answer.is_ok(), admitted);
            let level = if protocol == Protocol::Four { 0 } else { 1 };
            assert!(
                answer.is_ok_and(|(theirs, spoken)| (theirs.level, spoken) == (level, protocol)) == admitted
            );
            let mut heard = vec![0; 12];
            (&near).read_exact(&mut heard).expect("the answer");
            assert_eq!(
                heard[8..],
                protocol.number().to_le_bytes(),
                "the build before reads no other version"
            );
        }
    }
}

#[test]
fn an_answer_in_another_version_than_that_of_the_dialer_is_not_believed() {
    let (near, far) = pair();
    (&far).write_all(&hello_bytes(&hello(2, 1), Protocol::Four)).expect("loopback");

    let dialed = dial(&near, &hello(1, 2), Protocol::Five, |_| Ok(()));

    assert!(matches!(dialed, Err(HandshakeError::Foreign(_))), "{dialed:?}");
}

#[test]
fn a_level_beyond_all_numbers_of_levels_is_a_high_one() {
    let mut bytes = hello_bytes(&hello(1, 2), Protocol::NEWEST);
    let (head, body) = bytes.split_at_mut(PREAMBLE_BYTES);
    body[72..80].fill(0xff);
    let checksum = checksum_of(&head[12..20], body);
    head[20..].copy_from_slice(&checksum.to_le_bytes());

    let Ok(Part::Hello(read, _)) = read_part(&mut &bytes[..]) else { panic!("it is a hello") };

    assert_eq!(read.level, u16::MAX);
}

/// A hello for this purpose, known or not.
fn hello_for(purpose: u64) -> Vec<u8> {
    let mut bytes = hello_bytes(&hello(1, 2), Protocol::NEWEST);
    let (head, body) = bytes.split_at_mut(PREAMBLE_BYTES);
    body[80..88].copy_from_slice(&purpose.to_le_bytes());
    let checksum = checksum_of(&head[12..20], body);
    head[20..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn both_sides_agree_on_the_purpose_of_a_connection() {
    let sending = Hello { purpose: Purpose::Snapshot, ..hello(1, 2) };
    let (dialed, accepted) = meet(sending.clone(), hello(2, 1));
    assert_eq!(dialed.expect("agreed").purpose, Purpose::Snapshot, "the acceptor repeats it");
    assert_eq!(accepted.expect("agreed"), sending);

    let (near, far) = pair();
    (&far).write_all(&hello_bytes(&hello(2, 1), Protocol::NEWEST)).expect("loopback");
    let dialed = dial(&near, &sending, Protocol::NEWEST, |_| Ok(()));
    assert!(matches!(dialed, Err(HandshakeError::Foreign(_))), "{dialed:?}");
}

#[test]
fn a_purpose_that_there_is_not_is_refused() {
    for purpose in [0, 1, 2, u64::MAX] {
        let read = read_part(&mut &hello_for(purpose)[..]);

        assert_eq!(read.is_ok(), purpose < 2, "purpose {purpose}");
    }
}

#[test]
fn both_sides_learn_the_address_that_the_other_announces() {
    let at = |announced: &str, hello| Hello { announced: announced.to_owned(), ..hello };
    let longest = format!("{}:65535", "a".repeat(ADDRESS_BYTES_MAX - 6));
    for address in ["", "db-1.example.org:7001", "[::1]:7", &longest] {
        let (dialed, accepted) = meet(at(address, hello(1, 2)), at("b:2", hello(2, 1)));

        assert_eq!(dialed.expect("agreed").announced, "b:2");
        assert_eq!(accepted.expect("agreed").announced, address);
    }
}

#[test]
fn what_is_announced_and_no_address_is_refused_without_an_answer() {
    let too_long = format!("{}:1", "a".repeat(ADDRESS_BYTES_MAX));
    for text in ["a", "a:0", "a:1;b:2", "a:1\n", ":1", &too_long] {
        let bytes = hello_bytes(&Hello { announced: text.to_owned(), ..hello(1, 2) }, Protocol::NEWEST);

        let read = read_part(&mut &bytes[..]);

        assert!(matches!(read, Err(HandshakeError::Foreign(_))), "{text}");
    }
    let good = hello_bytes(&Hello { announced: "a:1".to_owned(), ..hello(1, 2) }, Protocol::NEWEST);
    for length in [0, 2, 4, u32::MAX] {
        let mut body = good[PREAMBLE_BYTES..].to_vec();
        body[HELLO_BYTES..HELLO_BYTES + 4].copy_from_slice(&length.to_le_bytes());
        let bytes = part_bytes(KIND_HELLO, Protocol::NEWEST, &body);
        assert!(matches!(read_part(&mut &bytes[..]), Err(HandshakeError::Foreign(_))), "length {length}");
    }
}

#[test]
fn what_has_another_length_than_it_tells_takes_no_more_memory_than_comes() {
    let mut bytes = part_bytes(KIND_WELCOME, Protocol::NEWEST, &[]);
    bytes[16..20].copy_from_slice(&(16_u32 << 20).to_le_bytes());
    bytes.extend_from_slice(&[7; 100]);
    let lengths = std::cell::RefCell::new(Vec::new());
    let noting = |_, len, _| {
        lengths.borrow_mut().push(len);
        true
    };

    let read = read_part_if(&mut &bytes[..], noting);

    assert_eq!(*lengths.borrow(), [16 << 20]);
    assert!(matches!(read, Err(HandshakeError::Io(_))), "it ends before that");
    assert!(read_part(&mut &bytes[..]).is_err_and(|error| matches!(error, HandshakeError::Foreign(_))));
}

#[test]
fn both_sides_learn_which_build_the_other_is() {
    let of = |build: &str, hello| Hello { build: build.to_owned(), ..hello };
    let longest = "9".repeat(BUILD_BYTES_MAX);
    for build in ["", "1.2.3-rc.1+abc", &longest] {
        let (dialed, accepted) = meet(of(build, hello(1, 2)), of("0.2.0", hello(2, 1)));

        assert_eq!(dialed.expect("agreed").build, "0.2.0");
        assert_eq!(accepted.expect("agreed").build, build);
    }
    for protocol in [Protocol::Four, Protocol::Five, Protocol::Six] {
        let bytes = hello_bytes(&hello(1, 2), protocol);
        let Ok(Part::Hello(hello, _)) = read_part(&mut &bytes[..]) else { panic!("it is a hello") };
        assert_eq!(hello.build, "", "{protocol:?}");
    }
}

#[test]
fn what_cannot_be_the_version_of_a_build_is_refused_without_an_answer() {
    let too_long = "9".repeat(BUILD_BYTES_MAX + 1);
    for build in ["1 2", "1\n2", "\u{1b}[2J", "1\0", "\u{e4}", &too_long] {
        let bytes = hello_bytes(&Hello { build: build.to_owned(), ..hello(1, 2) }, Protocol::NEWEST);

        let read = read_part(&mut &bytes[..]);

        assert!(matches!(read, Err(HandshakeError::Foreign(_))), "{build:?}");
    }
    let good = hello_bytes(&hello(1, 2), Protocol::NEWEST).split_off(PREAMBLE_BYTES);
    for body in [&good[..good.len() - 5], &[&good[..], b"?"].concat()] {
        let bytes = part_bytes(KIND_HELLO, Protocol::NEWEST, body);
        assert!(matches!(read_part(&mut &bytes[..]), Err(HandshakeError::Foreign(_))));
    }
}
