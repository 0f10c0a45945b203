//! Members that come, move, go and come back, as whole transports on loopback.

use std::time::Instant;

use raft::eraftpb::MessageType;

use super::super::handshake::{HandshakeError, Reason};
use super::super::hostile_tests::{accept_and_never_read, hello_to, shake_hands, shake_hands_in};
use super::super::notices::Topic;
use super::super::protocol::Protocol;
use super::super::tests::*;
use super::super::{Standing, TransportOptions};
use super::*;
use crate::process::thread::refusals;
use crate::types::MEMBERS_MAX;

fn address_of(member: &Member) -> String {
    member.transport.local_addr().to_string()
}

/// Lists these at `member`.
fn list(member: &Member, peers: &[(u64, String)]) {
    let peers = peers.iter().map(|(node, address)| (NodeId(*node), address.clone())).collect();
    assert!(member.transport.set_peers(peers), "there is a thread for each");
}

fn peer_of(member: &Member, node: u64) -> Arc<Peer> {
    member.transport.network.peers.find(NodeId(node)).expect("a peer")
}

/// How many connections have come from `node`.
fn connections_from(member: &Member, node: u64) -> u64 {
    peer_of(member, node).incoming.generation.load(std::sync::atomic::Ordering::Acquire)
}

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

fn start_announcing(node: u64, peers: &[(u64, String)]) -> (Member, String) {
    let address = reserved_address();
    let places =
        TransportOptions { listen: address.clone(), announce: address.clone(), ..options(node, peers) };
    (start(places), address)
}

/// A member for which `node` has this standing.
fn knowing(own: u64, peers: &[(u64, String)], node: u64, standing: Standing) -> Member {
    let inbound = Recorder::default();
    inbound.update(|state| state.standings.extend([(NodeId(node), standing)]));
    start_with(options(own, peers), inbound)
}

#[test]
fn a_member_that_is_listed_later_is_reached_both_ways_and_listing_it_again_changes_nothing() {
    let (one, two) = (start(options(231, &[])), start(options(232, &[])));
    one.transport.send(NodeId(232), vec![append(231, 232, 9)]);
    for _ in 0..3 {
        list(&one, &[(231, address_of(&one)), (232, address_of(&two))]);
        list(&two, &[(231, address_of(&one))]);
    }

    connect(&one, 231, &two, 232);
    connect(&two, 232, &one, 231);
    list(&one, &[(232, address_of(&two))]);
    one.transport.send(NodeId(232), vec![message(231, 232, MessageType::MsgAppendResponse, 1)]);
    two.inbound.wait_received(231, 1);

    assert_eq!(two.inbound.received(231), [0, 1], "what was sent before was dropped");
    assert_eq!((connections_from(&one, 232), connections_from(&two, 231)), (1, 1));
    assert_eq!(one.transport.network.handshakes.places(), 4 * 2 + 16);
    // That which accepts, and one each way.
    wait_until("no other thread is left", || Arc::strong_count(&one.transport.network) - 1 == 3);
}

#[test]
fn a_member_that_moves_is_reached_where_it_is_listed_then() {
    let two = start(options(234, &[]));
    let one = start(options(233, &[(234, address_of(&two))]));
    list(&two, &[(233, address_of(&one))]);
    connect(&one, 233, &two, 234);
    two.transport.shutdown();
    one.transport.send(NodeId(234), vec![append(233, 234, 1)]);
    one.inbound.wait("its end is reported", |state| !state.connected.contains(&NodeId(234)));
    let moved = start(options(234, &[(233, address_of(&one))]));

    list(&one, &[(234, address_of(&moved))]);

    connect(&one, 233, &moved, 234);
}

#[test]
fn a_member_that_is_not_listed_any_more_is_left_and_may_come_back() {
    let (one, two) = start_pair(235, 236);
    let (first, second) = (address_of(&one), address_of(&two));
    for _ in 0..3 {
        connect(&one, 235, &two, 236);
        connect(&two, 236, &one, 235);
        let gone = peer_of(&one, 236);
        // Otherwise it comes by itself.
        one.inbound.update(|state| state.standings.extend([(NodeId(236), Standing::Removed)]));

        list(&one, &[]);
        one.transport.send(NodeId(236), vec![append(235, 236, 7)]);

        one.inbound.wait("reported", |state| !state.connected.contains(&NodeId(236)));
        two.inbound.wait("reported", |state| !state.connected.contains(&NodeId(235)));
        wait_until("its threads end", || gone.has_ended());
        assert_eq!(one.transport.network.handshakes.places(), 4 + 16);

        one.inbound.update(|state| state.standings.clear());
        one.inbound.update(|state| state.indices.clear());
        two.inbound.update(|state| state.indices.clear());
        list(&two, &[(235, first.clone())]);
        list(&one, &[(236, second.clone())]);
    }
    connect(&one, 235, &two, 236);
    assert_eq!(two.inbound.received(235), [0], "nothing that was sent while it was no peer");
}

#[test]
fn nothing_is_waited_for_and_who_comes_back_is_heard_after_what_was_heard_before() {
    let (one, two) = start_pair(237, 238);
    connect(&two, 238, &one, 237);
    one.inbound.update(|state| state.is_gate_closed = true);
    two.transport.send(NodeId(237), vec![append(238, 237, 1)]);
    one.inbound.wait("a delivery is under way", |state| state.waiting_at_gate == 1);
    let introduced = || lock(&one.inbound.state).introduced.len();
    assert_eq!(introduced(), 1);

    list(&one, &[]);
    list(&one, &[(238, address_of(&two))]);
    list(&one, &[]);
    list(&one, &[(238, address_of(&two))]);
    wait_until("it comes back", || connections_from(&one, 238) > 0);
    assert_eq!(introduced(), 1, "not before the delivery of the older connection has ended");
    assert!(!lock(&one.inbound.state).connected.contains(&NodeId(238)) || introduced() == 1);

    one.inbound.update(|state| state.is_gate_closed = false);
    two.transport.send(NodeId(237), vec![message(238, 237, MessageType::MsgAppendResponse, 2)]);
    one.inbound.wait_received(238, 2);
    connect(&one, 237, &two, 238);
    one.inbound.wait("reported last", |state| state.connected.contains(&NodeId(238)));
    one.transport.shutdown();
    assert_eq!(Arc::strong_count(&one.transport.network), 1, "no thread is left");
}

#[test]
fn a_removed_member_is_refused_and_told_also_while_it_is_a_peer() {
    let two = knowing(240, &[(239, reserved_address())], 239, Standing::Removed);
    let one = start(options(239, &[(240, address_of(&two))]));

    one.inbound.wait("told", |state| state.removed_by == [NodeId(240)]);

    assert!(lock(&two.inbound.state).introduced.is_empty());
    let (_socket, refused) = shake_hands_in(Protocol::NEWEST, &two, 239);
    let Err(HandshakeError::Refused(refusal)) = refused else { panic!("it is refused: {refused:?}") };
    assert_eq!(refusal.reason, Reason::Removed);
    assert_eq!(
        refusal.text,
        "node 239 was removed from the cluster; its number is not used again: start a new member with an empty \
         directory under a new number"
    );
    let is_said = [
        (&one, 240, Topic::DialRefusal(Reason::Removed)),
        (&two, 239, Topic::AcceptRefusal(Reason::Removed)),
    ];
    for (member, about, topic) in is_said {
        wait_until("it is logged", || member.transport.network.has_logged(NodeId(about), topic));
    }
    assert_eq!(lock(&one.inbound.state).removed_by.len(), 1, "once");
}

#[test]
fn a_removed_member_that_is_dialed_is_not_talked_to() {
    let two = start(options(242, &[]));
    let one = knowing(241, &[(242, address_of(&two))], 242, Standing::Removed);

    wait_until("it is logged", || {
        one.transport.network.has_logged(NodeId(242), Topic::DialRefusal(Reason::Removed))
    });

    assert!(!lock(&one.inbound.state).connected.contains(&NodeId(242)));
    assert!(lock(&two.inbound.state).removed_by.is_empty(), "nobody refused it");
}

#[test]
fn a_member_of_another_cluster_is_not_told_that_it_was_removed() {
    let two = knowing(244, &[], 243, Standing::Removed);
    let other = crate::types::ClusterId(8);
    let one = start(TransportOptions { cluster: other, ..options(243, &[(244, address_of(&two))]) });

    wait_until("it is logged", || {
        one.transport.network.has_logged(NodeId(244), Topic::DialRefusal(Reason::Cluster))
    });

    assert!(lock(&one.inbound.state).removed_by.is_empty());
}

#[test]
fn a_stranger_is_dialed_back_where_it_says_it_is() {
    let two = knowing(246, &[], 245, Standing::Unknown);
    let (one, address) = start_announcing(245, &[(246, address_of(&two))]);

    connect(&one, 245, &two, 246);
    connect(&two, 246, &one, 245);

    assert!(lock(&two.inbound.state).announced.is_empty(), "it was nowhere before");
    list(&two, &[(245, address)]);
    assert_eq!((connections_from(&one, 246), connections_from(&two, 245)), (1, 1), "it stays the same peer");
    assert_eq!(two.transport.network.peers.count(), 1);
}

#[test]
fn a_stranger_that_says_nothing_of_where_it_is_is_heard_and_dialed_once_it_is_listed() {
    let two = knowing(248, &[], 247, Standing::Unknown);
    let one = start(options(247, &[(248, address_of(&two))]));
    connect(&one, 247, &two, 248);
    assert_eq!(peer_of(&two, 247).address(), None);

    list(&two, &[(247, address_of(&one))]);

    connect(&two, 248, &one, 247);
    list(&two, &[]);
    wait_until("it comes again", || {
        two.transport.network.peers.find(NodeId(247)).is_some_and(|peer| !peer.is_listed())
    });
}

#[test]
fn strangers_are_bounded_and_none_has_the_number_of_nobody() {
    let member = start(options(249, &[]));
    let strangers = 1000..1000 + STRANGERS_MAX as u64;
    let _open: Vec<_> = strangers.map(|node| shake_hands(&member, node)).collect();
    wait_until("let in", || member.transport.network.peers.count() == STRANGERS_MAX);

    for (node, words) in [(1999, "not in the list"), (0, "number 0"), (249, "also calls itself")] {
        let (_socket, refused) = shake_hands_in(Protocol::NEWEST, &member, node);
        let Err(HandshakeError::Refused(refusal)) = refused else { panic!("it is refused: {refused:?}") };
        assert_eq!(refusal.reason, Reason::UnknownNode);
        assert!(refusal.text.contains(words), "{}", refusal.text);
    }

    list(&member, &[(1999, reserved_address())]);
    shake_hands(&member, 1999);
    assert!(member.transport.network.peers.count() <= 2, "the others come again, if they belong here");
}

#[test]
fn a_peer_that_announces_another_address_is_dialed_there_until_another_one_is_listed() {
    let nobody = reserved_address();
    let two = start(options(251, &[(250, nobody.clone())]));
    let (one, address) = start_announcing(250, &[(251, address_of(&two))]);
    connect(&two, 251, &one, 250);
    two.inbound.wait("told", |state| state.announced == [(NodeId(250), address.clone())]);

    list(&two, &[(250, nobody)]);
    assert_eq!(peer_of(&two, 250).address(), Some(address.clone()), "nothing new is listed");
    let elsewhere = reserved_address();
    list(&two, &[(250, elsewhere.clone())]);
    assert_eq!(peer_of(&two, 250).address(), Some(elsewhere));
    list(&two, &[(250, address)]);
    one.transport.send(NodeId(251), vec![message(250, 251, MessageType::MsgAppendResponse, 3)]);
    two.inbound.wait_received(250, 3);
    assert_eq!(lock(&two.inbound.state).announced.len(), 1);
}

#[test]
fn an_address_that_is_spelled_otherwise_is_no_news() {
    let peer = Peer::new(NodeId(1), limits(&start(options(252, &[])).transport.network), None);
    peer.list("A.example:07001".to_owned());
    assert!(!peer.announce("a.example.:7001") && !peer.announce(""));
    assert!(peer.announce("b.example:7001") && !peer.announce("b.example:7001"));
    assert_eq!(peer.address().as_deref(), Some("b.example:7001"));
}

#[test]
fn a_member_that_announces_what_only_itself_can_use_is_dialed_where_it_is_listed_too() {
    let one_address = reserved_address();
    let nobody = reserved_address();
    let two = start(options(263, &[(262, one_address.clone())]));
    let announcing =
        TransportOptions { listen: one_address.clone(), announce: nobody.clone(), ..options(262, &[]) };
    let one = start(announcing);
    list(&one, &[(263, address_of(&two))]);
    connect(&one, 262, &two, 263);
    connect(&two, 263, &one, 262);

    let peer = Peer::new(NodeId(1), limits(&two.transport.network), None);
    peer.list("a:1".to_owned());
    peer.dialed_in_vain("a:1");
    assert!(peer.announce("b:1"));
    let mut dialed = Vec::new();
    for _ in 0..4 {
        let address = peer.address().expect("known");
        peer.dialed_in_vain(&address);
        peer.dialed_in_vain("c:1");
        dialed.push(address);
    }
    assert_eq!(dialed, ["b:1", "a:1", "b:1", "a:1"]);
    assert!(!peer.announce("b:1"), "no news");
}

#[test]
fn what_is_announced_has_to_be_an_address() {
    for announce in ["a", "a:0", "a:1 b:2"] {
        let options = TransportOptions { announce: announce.to_owned(), ..options(253, &[]) };
        let error =
            super::super::Transport::start(options, Arc::new(Recorder::default())).err().expect(announce);
        assert!(error.detail().contains("transport.announce"), "{error}");
    }
}

#[test]
fn a_peer_that_never_reads_is_left_at_once() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("bound").to_string();
    let one = start(options(258, &[(259, address)]));
    let wedged = accept_and_never_read(&listener, &options(259, &[]));
    let peer = peer_of(&one, 259);
    wait_until("connected", || peer.link.is_connected());
    one.transport.send(NodeId(259), vec![large_append(258, 259, 1, 32 << 20)]);

    list(&one, &[]);

    wait_until("its thread ends", || peer.has_ended());
    list(&one, &[]);
    assert!(lock(&one.transport.network.peers.changing).gone.is_empty(), "it is forgotten");
    drop(wedged);
}

#[test]
fn nobody_comes_after_the_transport_was_closed() {
    let one = start(options(260, &[]));
    one.transport.shutdown();

    list(&one, &[(261, reserved_address())]);

    assert_eq!(one.transport.network.peers.count(), 0);
    assert_eq!(hello_to(&one, 261).announced, "");
}

#[test]
fn a_member_that_nobody_has_told_of_the_others_hears_as_many_as_a_cluster_can_have() {
    let newcomer = start(options(264, &[]));
    let others = 2000..2000 + MEMBERS_MAX as u64 - 1;
    let _open: Vec<_> = others.clone().map(|node| shake_hands(&newcomer, node)).collect();

    wait_until("let in", || newcomer.transport.network.peers.count() == others.clone().count());
}

#[test]
fn a_listed_member_is_dialed_as_soon_as_there_is_a_thread_for_it() {
    let (one, two) = (start(options(265, &[])), start(options(266, &[])));
    let refused = refusals::plant("almadia-send-266");

    let peers = vec![(NodeId(266), address_of(&two))];
    assert!(!one.transport.set_peers(peers), "one is not dialed");
    assert!(!one.transport.dial_refused(), "nor later");
    assert!(one.transport.network.peers.find(NodeId(266)).is_none());
    drop(refused);

    assert!(one.transport.dial_refused(), "nobody is left");
    connect(&one, 265, &two, 266);
    assert_eq!(one.transport.network.handshakes.places(), 4 * 2 + 16);
    assert!(one.transport.dial_refused());
}

#[test]
fn who_got_no_thread_is_not_dialed_once_it_is_not_listed_any_more() {
    let one = start(options(267, &[]));
    let refused = refusals::plant("almadia-send-268");
    assert!(!one.transport.set_peers(vec![(NodeId(268), reserved_address())]));
    drop(refused);

    assert!(one.transport.set_peers(Vec::new()));
    assert!(one.transport.dial_refused());
    assert_eq!(one.transport.network.peers.count(), 0);
}

#[test]
fn of_a_peer_it_is_known_when_it_was_heard_last_and_which_build_it_is() {
    let (one, two) = (start(options(269, &[])), start(options(270, &[])));
    list(&one, &[(270, address_of(&two)), (271, reserved_address())]);
    assert_eq!(one.transport.heard_of(NodeId(271)), None, "it was never there");
    connect(&one, 269, &two, 270);
    let (at, build) = one.transport.heard_of(NodeId(270)).expect("it has shaken hands");
    assert_eq!(build, env!("CARGO_PKG_VERSION"));

    list(&two, &[(269, address_of(&one))]);
    connect(&two, 270, &one, 269);

    let (later, _) = one.transport.heard_of(NodeId(270)).expect("heard again");
    assert!(later > at && later <= crate::time::now());
    assert!(two.transport.heard_of(NodeId(269)).is_some());
    two.transport.shutdown();
    assert!(one.transport.heard_of(NodeId(270)).is_some(), "what it said stays true");
    assert_eq!(one.transport.heard_of(NodeId(272)), None);
}
