//! The frames of raft snapshots as bytes.

use super::super::super::frame::FrameBuffer;
use super::*;
use crate::core::raft_snapshot::SnapshotHead;
use crate::core::region::Region;
use crate::documented::examples;
use crate::types::{ApplyState, LogIndex, NodeId, Term};

fn begin() -> Begin {
    let region = Region::bootstrap(&[NodeId(1), NodeId(2), NodeId(3)]);
    let head = SnapshotHead { region, state: ApplyState { index: LogIndex(7), term: Term(6) } };
    let message = SnapshotMessage { from: NodeId(3), to: NodeId(1), term: Term(6), head };
    Begin { boot: 0x99de_8643_dfa0_12d7, number: 1, bytes_estimate: 4096, message }
}

fn all_said() -> Vec<Said> {
    vec![
        Said::Begin(Box::new(begin())),
        Said::Chunk(Bytes::from_static(b"\x01k\x02v1")),
        Said::End(1, 0xc0ff_ee00),
    ]
}

fn all_answers() -> Vec<Answer> {
    let resume = Resume { after: Some(b"key".to_vec()), rows: 9, crc: 8 };
    let text = || "no".to_owned();
    let others = [Answer::Busy(text()), Answer::Refused(text()), Answer::Ack(5), Answer::Done];
    let mut all = vec![Answer::Resume(resume), Answer::Resume(Resume::default()), Answer::Failed(text())];
    all.extend(others);
    all
}

/// The frames of this stream, if all of it is frames of these kinds.
fn read(mut stream: &[u8], kinds: RangeInclusive<u8>) -> Option<Vec<(u8, Bytes)>> {
    let mut frames = FrameBuffer::of_kinds(kinds, CHUNK_BYTES_MAX);
    let mut all = Vec::new();
    while !stream.is_empty() {
        frames.fill(&mut stream).expect("a slice is read without errors");
        while let Some(frame) = frames.next_of_any_kind().ok()? {
            all.push(frame);
        }
    }
    Some(all)
}

fn one(stream: &[u8], kinds: RangeInclusive<u8>) -> (u8, Bytes) {
    read(stream, kinds).expect("frames").pop().expect("one frame")
}

#[test]
fn what_either_side_says_comes_back() {
    for said in all_said() {
        let mut out = Vec::new();
        said.put(&mut out);
        assert_eq!(Said::parse(one(&out, DIALER_KINDS)).expect("said by a member"), said);
        assert_eq!(read(&out, ACCEPTOR_KINDS), None, "no acceptor says that");
    }
    for answer in all_answers() {
        let mut out = Vec::new();
        answer.put(&mut out);
        assert_eq!(Answer::parse(one(&out, ACCEPTOR_KINDS)).expect("said by a member"), answer);
        assert_eq!(read(&out, DIALER_KINDS), None, "no dialer says that");
    }
}

#[test]
fn a_chunk_written_after_its_header_is_the_same_frame() {
    let rows = vec![7; 300_000];
    let mut out = Vec::new();
    Said::Chunk(rows.clone().into()).put(&mut out);

    assert_eq!([&chunk_header(&rows)[..], &rows].concat(), out);
}

#[test]
fn a_body_of_another_length_is_refused_or_is_another_one() {
    for said in all_said() {
        let mut out = Vec::new();
        said.put(&mut out);
        let (kind, body) = one(&out, DIALER_KINDS);
        for length in 0..body.len() {
            assert!(Said::parse((kind, body.slice(..length))).ok() != Some(said.clone()));
        }
        let longer = Bytes::from([&body[..], &[0]].concat());
        assert_eq!(Said::parse((kind, longer)).is_ok(), kind == KIND_CHUNK);
    }
    for answer in all_answers() {
        let mut out = Vec::new();
        answer.put(&mut out);
        let (kind, body) = one(&out, ACCEPTOR_KINDS);
        for length in 0..body.len() {
            assert!(Answer::parse((kind, body.slice(..length))).ok() != Some(answer.clone()));
        }
    }
}

#[test]
fn what_no_member_says_is_refused() {
    let refused = [
        (KIND_CHUNK, vec![]),
        (KIND_END, vec![0; 13]),
        (KIND_BEGIN, vec![0; 24]),
        (KIND_BEGIN, vec![0; 300]),
        (KIND_ACK, vec![0; 8]),
    ];
    for (kind, body) in refused {
        assert!(Said::parse((kind, body.into())).is_err(), "kind {kind}");
    }
    let mut no_key_but_bytes = vec![0; 13];
    no_key_but_bytes.push(7);
    let refused = [
        (KIND_RESUME, vec![0; 12]),
        (KIND_RESUME, no_key_but_bytes),
        (KIND_RESUME, vec![2; 14]),
        (KIND_REFUSED, vec![0; 3]),
        (KIND_REFUSED, vec![b'x'; 5 + TEXT_BYTES_MAX]),
        (KIND_ACK, vec![0; 9]),
        (KIND_DONE, vec![0]),
        (KIND_FAILED, vec![b'x'; 1 + TEXT_BYTES_MAX]),
        (KIND_CHUNK, vec![1]),
    ];
    for (kind, body) in refused {
        assert!(Answer::parse((kind, body.into())).is_err(), "kind {kind}");
    }
}

#[test]
fn a_text_of_any_length_crosses_and_cannot_draw_on_a_terminal() {
    let mut out = Vec::new();
    Answer::Failed(format!("\u{1b}[2Jfull {}", "ä".repeat(2000))).put(&mut out);

    let Ok(Answer::Failed(text)) = Answer::parse(one(&out, ACCEPTOR_KINDS)) else {
        panic!("it is a failure")
    };

    assert!(text.starts_with("[2Jfull ää"));
    assert!(text.len() <= TEXT_BYTES_MAX + 3);
}

#[test]
fn the_examples_on_the_page_of_the_wire_are_what_members_say() {
    let page = include_str!("../../../docs/wire-format.md");
    let examples = examples(page, "## A raft snapshot");
    assert_eq!(examples.len(), 8);
    let mut kinds = Vec::new();
    for example in examples {
        let mut again = Vec::new();
        if DIALER_KINDS.contains(&example[8]) {
            Said::parse(one(&example, DIALER_KINDS)).expect("it is what a member says").put(&mut again);
        } else {
            Answer::parse(one(&example, ACCEPTOR_KINDS)).expect("it is what a member says").put(&mut again);
        }
        assert_eq!(again, example);
        kinds.push(example[8]);
    }
    assert_eq!(kinds, [2, 5, 3, 7, 4, 8, 6, 9]);

    let mut said = Vec::new();
    Said::Begin(Box::new(begin())).put(&mut said);
    assert!(
        page.contains(&said[16..24].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
    );
}

#[test]
fn the_limits_on_the_page_of_the_wire_are_those_of_the_frames() {
    let page = include_str!("../../../docs/wire-format.md");
    for (name, limit) in
        [("BEGIN", BEGIN_BYTES_MAX), ("CHUNK", CHUNK_BYTES_MAX), ("RESUME", ANSWER_BYTES_MAX)]
    {
        let row = page.lines().find(|line| line.contains(&format!("| {name} |"))).expect("in the table");
        let said: String =
            row.rsplit('|').nth(1).expect("a last column").chars().filter(char::is_ascii_digit).collect();
        assert_eq!(said.parse(), Ok(limit), "{name}");
    }
}
