//! Each rule of the judge by itself.

use super::*;

/// A store whose engine has these keys, each with the value "old" and its own version, and a batch that goes on.
#[derive(Default)]
struct Bench {
    engine: Engine,
    overlay: Overlay,
    writes: u16,
    /// Bytes that earlier writes of the entry told.
    told: usize,
}

const THEN: Operation<'static> = Operation::Put { key: b"then", value: b"" };
const OTHER: Operation<'static> = Operation::Put { key: b"other", value: b"" };

impl Bench {
    fn with(keys: &[&str]) -> Self {
        let mut bench = Self::default();
        for (number, key) in (1..).zip(keys) {
            bench.engine.data.insert(key.as_bytes().to_vec(), (b"old".to_vec(), stored(number)));
        }
        bench
    }

    fn next_version(&mut self) -> Version {
        self.writes += 1;
        Version::of(LogIndex(100), self.writes - 1)
    }

    fn note(&mut self, operations: &[Operation<'_>]) {
        let version = self.next_version();
        self.overlay.note(&write(operations), version);
    }

    fn judge(&mut self, operations: &[Operation<'_>]) -> Judged {
        let version = self.next_version();
        let before = shown(&self.overlay, &self.engine);
        let judged =
            judge(&write(operations), version, Room::behind(self.told), &mut self.overlay, &self.engine)
                .expect("it works");
        if matches!(judged, Judged::Refused(_)) {
            assert_eq!(shown(&self.overlay, &self.engine), before, "a refused write leaves nothing");
        }
        judged
    }

    fn effects(&mut self, operations: &[Operation<'_>]) -> Effects {
        match self.judge(operations) {
            Judged::Applied { effects, .. } => effects,
            Judged::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    fn refusal(&mut self, operations: &[Operation<'_>]) -> Refusal {
        match self.judge(operations) {
            Judged::Refused(refusal) => refusal,
            Judged::Applied { changes, .. } => panic!("{changes:?}"),
        }
    }

    fn result(&mut self, operation: Operation<'_>) -> OpResult {
        let mut results = self.effects(&[operation]).results;
        assert_eq!(results.len(), 1, "one operation, one result");
        results.remove(0).1
    }

    /// Whether a condition holds now.
    fn holds(&mut self, condition: Operation<'_>) -> bool {
        match self.judge(&[condition, THEN]) {
            Judged::Applied { .. } => true,
            Judged::Refused(refusal) => {
                assert_eq!(refusal.code, Code::PreconditionFailed);
                assert_eq!(refusal.precondition.map(|precondition| precondition.operation), Some(0));
                false
            }
        }
    }

    fn passed(&self) -> usize {
        self.engine.passed.take()
    }
}

/// The version of key number `number` of the engine.
fn stored(number: u64) -> Version {
    Version::of(LogIndex(9), number as u16)
}

fn number(sum: i64) -> [u8; 8] {
    sum.to_le_bytes()
}

fn value_of(result: &OpResult) -> (&[u8], &[u8]) {
    match result {
        OpResult::Value { key, value, .. } => (key, value),
        other => panic!("{other:?} is no value"),
    }
}

fn take(begin: &'static str, end: &'static str) -> Operation<'static> {
    Operation::TakeFirst { begin: begin.as_bytes(), end: end.as_bytes() }
}

#[test]
fn each_condition_on_a_key_says_what_it_is_named_after() {
    let mut bench = Bench::with(&["k"]);

    assert!(
        bench.holds(Operation::IfPresent { key: b"k" }) && !bench.holds(Operation::IfPresent { key: b"n" })
    );
    assert!(
        !bench.holds(Operation::IfAbsent { key: b"k" }) && bench.holds(Operation::IfAbsent { key: b"n" })
    );
    for (key, version, holds) in
        [("k", stored(1), true), ("k", stored(2), false), ("k", Version::NONE, false)]
            .into_iter()
            .chain([("n", Version::NONE, true), ("n", stored(1), false)])
    {
        assert_eq!(
            bench.holds(Operation::IfVersion { key: key.as_bytes(), version }),
            holds,
            "{key} {version}"
        );
    }
    assert!(bench.holds(Operation::IfValue { key: b"k", value: b"old" }));
    assert!(!bench.holds(Operation::IfValue { key: b"k", value: b"ol" }));
    assert!(!bench.holds(Operation::IfValue { key: b"n", value: b"" }), "no value is not an empty one");
}

#[test]
fn conditions_are_judged_on_the_state_before_the_write_wherever_they_stand() {
    let mut bench = Bench::default();

    let effects =
        bench.effects(&[Operation::Put { key: b"k", value: b"1" }, Operation::IfAbsent { key: b"k" }]);

    assert_eq!(effects, Effects::default());
    assert!(bench.holds(Operation::IfPresent { key: b"k" }));
}

#[test]
fn earlier_writes_of_the_batch_count() {
    let mut bench = Bench::with(&["a", "b", "c", "d"]);

    bench.note(&[Operation::Put { key: b"new", value: b"1" }, Operation::Delete { key: b"d" }]);
    bench.note(&[Operation::DeleteRange { begin: b"a", end: b"c" }]);
    bench.note(&[Operation::Put { key: b"aa", value: b"2" }]);

    assert!(bench.holds(Operation::IfVersion { key: b"new", version: Version::of(LogIndex(100), 0) }));
    assert!(bench.holds(Operation::IfAbsent { key: b"d" }) && bench.holds(Operation::IfAbsent { key: b"b" }));
    assert!(bench.holds(Operation::IfPresent { key: b"c" }), "it is behind the range");
    assert!(
        bench.holds(Operation::IfValue { key: b"aa", value: b"2" }),
        "it came after the range was removed"
    );
    bench.note(&[Operation::DeleteRange { begin: b"a", end: b"b" }]);
    assert!(bench.holds(Operation::IfAbsent { key: b"aa" }));
}

#[test]
fn the_first_false_condition_is_named_with_what_its_key_was_like() {
    let mut bench = Bench::with(&["k"]);
    let refused = |operation, exists, version| Refusal {
        code: Code::PreconditionFailed,
        precondition: Some(Precondition { operation, exists, version }),
    };

    let (present, absent) = (Operation::IfPresent { key: b"k" }, Operation::IfAbsent { key: b"k" });
    let missing = Operation::IfPresent { key: b"n" };
    assert_eq!(bench.refusal(&[present, THEN, absent, missing]), refused(2, true, stored(1)));
    assert_eq!(bench.refusal(&[present, missing, absent]), refused(1, false, Version::NONE));
    bench.note(&[Operation::Put { key: b"k", value: b"" }]);
    assert_eq!(bench.refusal(&[absent]), refused(0, true, Version::of(LogIndex(100), 2)));
}

#[test]
fn the_other_list_is_done_when_a_condition_is_false_and_only_then() {
    let mut bench = Bench::with(&["k"]);
    let judged = |bench: &mut Bench, condition| bench.judge(&[condition, THEN, Operation::Otherwise, OTHER]);
    let puts = |judged: Judged| match judged {
        Judged::Applied { changes, effects } => (changes[0].clone(), changes.len(), effects.failed),
        refused => panic!("{refused:?}"),
    };
    let put = |key: &'static [u8]| OwnedChange::Put { key: key.into(), value: Bytes::new() };

    let held = puts(judged(&mut bench, Operation::IfPresent { key: b"k" }));
    let failed = puts(judged(&mut bench, Operation::IfAbsent { key: b"k" }));

    assert_eq!(held, (put(b"then"), 1, None));
    let precondition = Precondition { operation: 0, exists: true, version: stored(1) };
    assert_eq!(failed, (put(b"other"), 1, Some(precondition)));
    let refusal = bench.refusal(&[Operation::IfAbsent { key: b"k" }, THEN, Operation::Otherwise]);
    assert_eq!(refusal.code, Code::PreconditionFailed, "an empty list is none");
    assert_eq!(bench.effects(&[THEN, Operation::Otherwise, OTHER]).failed, None);
}

#[test]
fn a_refusal_within_a_list_refuses_the_write_and_opens_no_other_list() {
    let mut bench = Bench::with(&["text", "x"]);
    let bad = Operation::Add { key: b"text", delta: 1 };
    let refusal = |operation| Refusal {
        code: Code::NotANumber,
        precondition: Some(Precondition { operation, exists: true, version: stored(1) }),
    };

    assert_eq!(bench.refusal(&[THEN, take("x", ""), bad, Operation::Otherwise, OTHER]), refusal(2));
    assert_eq!(
        bench.refusal(&[Operation::IfAbsent { key: b"text" }, Operation::Otherwise, OTHER, bad]),
        refusal(3)
    );

    assert!(bench.holds(Operation::IfAbsent { key: b"other" }));
    assert!(bench.holds(Operation::IfPresent { key: b"x" }), "what was taken is back");
}

#[test]
fn a_refused_write_gives_back_ranges_and_keys_as_they_were() {
    let mut bench = Bench::with(&["a", "b", "text", "y"]);
    bench.note(&[
        Operation::DeleteRange { begin: b"b", end: b"c" },
        Operation::Put { key: b"m", value: b"1" },
    ]);

    bench.refusal(&[
        Operation::Put { key: b"b", value: b"2" },
        Operation::DeleteRange { begin: b"", end: b"n" },
        Operation::Put { key: b"m", value: b"3" },
        take("", ""),
        Operation::Add { key: b"text", delta: 1 },
    ]);

    assert!(bench.holds(Operation::IfValue { key: b"m", value: b"1" }));
    assert!(
        bench.holds(Operation::IfAbsent { key: b"b" }) && bench.holds(Operation::IfPresent { key: b"a" })
    );
}

#[test]
fn a_sum_begins_at_zero_and_each_addition_sees_those_before() {
    let mut bench = Bench::default();

    let add = |delta| Operation::Add { key: b"n", delta };
    assert_eq!(bench.effects(&[add(5), add(-7)]).results, [(0, OpResult::Sum(5)), (1, OpResult::Sum(-2))]);
    assert_eq!(bench.result(add(0)), OpResult::Sum(-2));

    assert!(bench.holds(Operation::IfValue { key: b"n", value: &number(-2) }));
    bench.note(&[Operation::Put { key: b"n", value: &number(i64::MAX) }]);
    assert_eq!(bench.result(add(i64::MIN)), OpResult::Sum(-1));
}

#[test]
fn what_is_no_number_and_what_does_not_fit_is_not_added() {
    let mut bench = Bench::default();
    let refused = |bench: &mut Bench, value: &[u8], delta| {
        bench.note(&[Operation::Put { key: b"n", value }]);
        let refusal = bench.refusal(&[THEN, Operation::Add { key: b"n", delta }]);
        let there = Version::of(LogIndex(100), bench.writes - 2);
        assert_eq!(refusal.precondition, Some(Precondition { operation: 1, exists: true, version: there }));
        assert_eq!(refusal.code, Code::NotANumber);
    };

    for value in [&b""[..], b"1234567", b"123456789"] {
        refused(&mut bench, value, 0);
    }
    refused(&mut bench, &number(i64::MAX), 1);
    refused(&mut bench, &number(i64::MIN), -1);
}

#[test]
fn a_versioned_key_is_made_of_the_version_and_the_number_of_the_operation() {
    let mut bench = Bench::default();
    let put = Operation::PutVersioned { prefix: b"q/", value: b"job" };

    let both = bench.effects(&[put, put]).results;
    let later = bench.result(put);

    let key = |ordinal: u8, number: u8| {
        let end = [0, 0, 0, 0, 0, 100, 0, ordinal, 0, number];
        OpResult::Key(Bytes::from([&b"q/"[..], &end].concat()))
    };
    assert_eq!(both, [(0, key(0, 0)), (1, key(0, 1))]);
    assert_eq!(later, key(1, 0));
    assert_eq!(
        bench.result(take("q/", "q0")),
        OpResult::Value {
            key: Bytes::from(b"q/\0\0\0\0\0\x64\0\0\0\0".to_vec()),
            value: Bytes::from_static(b"job"),
            version: Version::of(LogIndex(100), 0),
        }
    );
}

#[test]
fn all_keys_that_a_write_sets_have_its_version() {
    let mut bench = Bench::default();
    let write = Version::of(LogIndex(100), 0);

    bench.effects(&[
        THEN,
        OTHER,
        Operation::Add { key: b"n", delta: 1 },
        Operation::Put { key: b"then", value: b"" },
    ]);

    for key in [&b"then"[..], b"other", b"n"] {
        let (_, version) = bench.overlay.look(key).flatten().expect("it was set");
        assert_eq!(*version, write);
    }
    bench.effects(&[
        Operation::IfVersion { key: b"n", version: write },
        Operation::Add { key: b"n", delta: 1 },
    ]);
    let next = Version::of(LogIndex(100), 1);
    assert!(
        bench.holds(Operation::IfVersion { key: b"n", version: next }),
        "the next write has the next one"
    );
    bench.refusal(&[
        Operation::IfVersion { key: b"n", version: write },
        Operation::Add { key: b"n", delta: 1 },
    ]);
    assert!(bench.holds(Operation::IfVersion { key: b"n", version: next }), "a refused write has none");
}

#[test]
fn what_is_taken_is_told_and_gone() {
    let mut bench = Bench::with(&["a", "b", "c"]);

    let old = |key: &'static str, number| OpResult::Value {
        key: key.into(),
        value: "old".into(),
        version: stored(number),
    };
    let pop = Operation::Pop { key: b"b" };
    assert_eq!(bench.result(pop), old("b", 2));
    assert_eq!(bench.result(pop), OpResult::Nothing);
    assert_eq!(
        bench.effects(&[take("", ""), take("", "c")]).results,
        [(0, old("a", 1)), (1, OpResult::Nothing)]
    );
    assert_eq!(bench.result(take("c", "b")), OpResult::Nothing, "a reversed range has no key");
    assert_eq!(bench.result(take("b", "d")), old("c", 3));
    assert_eq!(bench.result(take("", "")), OpResult::Nothing);
}

#[test]
fn the_first_of_a_range_may_be_in_the_engine_or_in_the_batch() {
    let mut bench = Bench::with(&["b", "d"]);
    bench.note(&[Operation::Put { key: b"c", value: b"1" }, Operation::Put { key: b"d", value: b"2" }]);
    bench.note(&[Operation::Put { key: b"a", value: b"3" }]);

    let taken: Vec<_> = (0..5).map(|_| bench.result(take("", ""))).collect();

    let keys: Vec<_> = taken[..4].iter().map(value_of).collect();
    let wanted: [(&[u8], &[u8]); 4] = [(b"a", b"3"), (b"b", b"old"), (b"c", b"1"), (b"d", b"2")];
    assert_eq!(keys, wanted);
    assert_eq!(taken[4], OpResult::Nothing);
}

#[test]
fn workers_who_empty_a_queue_in_one_batch_pass_each_key_once() {
    let keys: Vec<_> = (0..1000).map(|number| format!("q/{number:04}")).collect();
    let mut bench = Bench::with(&keys.iter().map(String::as_str).collect::<Vec<_>>());

    for (number, key) in keys.iter().enumerate() {
        let version = bench.next_version();
        let taken =
            judge(&write(&[take("q/", "q0")]), version, Room::behind(0), &mut bench.overlay, &bench.engine);
        let Judged::Applied { effects, .. } = taken.expect("it works") else { panic!("{number} is there") };
        assert_eq!(value_of(&effects.results[0].1).0, key.as_bytes());
    }

    let looked = (bench.engine.scans.get(), bench.passed());
    assert_eq!(looked, (1000, 1000), "the next one who takes begins behind what is gone");
}

#[test]
fn what_a_batch_has_removed_is_passed_once_however_it_was_removed() {
    let keys: Vec<_> = (0..1000).map(|number| format!("k{number:04}")).collect();
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();
    let deletes: Vec<_> = keys.iter().map(|key| Operation::Delete { key: key.as_bytes() }).collect();
    let all = Operation::DeleteRange { begin: b"k", end: b"l" };
    let nothing = seen(&State::new(), b"", b"").encode();

    for (removal, at_most) in [(&deletes[..], 1000), (&[all], 0)] {
        let mut bench = Bench::with(&keys);
        bench.note(removal);
        let empty = Operation::IfRange { begin: b"", end: b"", seen: &nothing };
        for operations in [[empty, Operation::IfPresent { key: b"none" }], [empty, take("", "x")]].repeat(100)
        {
            let version = bench.next_version();
            match judge(&write(&operations), version, Room::behind(0), &mut bench.overlay, &bench.engine)
                .expect("it works")
            {
                Judged::Applied { effects, .. } => assert_eq!(effects.results, [(1, OpResult::Nothing)]),
                Judged::Refused(refusal) => assert_eq!(refusal.precondition.map(|it| it.operation), Some(1)),
            }
        }
        assert!(bench.passed() <= at_most, "who is refused has looked for the others too");
    }
}

#[test]
fn the_condition_on_a_range_sees_inserts_updates_and_deletes() {
    let changes = [
        Operation::Put { key: b"bb", value: b"new" },
        Operation::Put { key: b"b", value: b"old" },
        Operation::Delete { key: b"c" },
        Operation::DeleteRange { begin: b"a", end: b"bb" },
    ];
    for change in changes {
        let mut bench = Bench::with(&["a", "b", "c", "d"]);
        let then = seen(&bench.engine.data, b"b", b"d").encode();
        let condition = Operation::IfRange { begin: b"b", end: b"d", seen: &then };

        assert!(bench.holds(condition), "nothing has changed");
        bench.note(&[Operation::Delete { key: b"d" }, Operation::Put { key: b"aa", value: b"" }]);
        assert!(bench.holds(condition), "nothing in the range has");
        bench.note(&[change]);
        assert!(!bench.holds(condition), "{change:?}");
        let refusal = bench.refusal(&[condition]);
        let precondition = Precondition { operation: 0, exists: false, version: Version::NONE };
        assert_eq!(refusal.precondition, Some(precondition), "a range has no version");
    }
}

#[test]
fn the_condition_on_a_range_looks_at_no_more_than_was_seen() {
    let keys: Vec<_> = (0..1000).map(|number| format!("{number:04}")).collect();
    let mut bench = Bench::with(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    let whole = seen(&bench.engine.data, b"", b"");
    let judged = |bench: &mut Bench, seen: RangeDigest| {
        bench.passed();
        let version = bench.next_version();
        let condition = write(&[Operation::IfRange { begin: b"", end: b"", seen: &seen.encode() }]);
        let judged =
            judge(&condition, version, Room::behind(0), &mut bench.overlay, &bench.engine).expect("it works");
        (matches!(judged, Judged::Applied { .. }), bench.passed())
    };

    assert_eq!((whole.keys, whole.bytes), (1000, 7000));
    assert_eq!(judged(&mut bench, whole), (true, 1000));
    assert_eq!(judged(&mut bench, RangeDigest { keys: 10, ..whole }), (false, 11));
    assert_eq!(judged(&mut bench, RangeDigest { bytes: 70, ..whole }), (false, 11));
    assert_eq!(
        judged(&mut bench, RangeDigest { keys: 1001, ..whole }),
        (false, 1000),
        "the numbers count too"
    );
}

#[test]
fn no_value_is_read_for_a_condition_that_does_not_need_one() {
    let mut bench = Bench::with(&["k"]);

    bench.effects(&[
        Operation::IfPresent { key: b"k" },
        Operation::IfVersion { key: b"k", version: stored(1) },
        Operation::IfAbsent { key: b"n" },
        THEN,
    ]);

    assert_eq!(bench.engine.values.get(), 0);
}

#[test]
fn what_the_conditions_of_an_entry_ask_for_is_read_together_and_once() {
    let mut bench = Bench::with(&["a", "b", "c"]);
    bench.note(&[Operation::Put { key: b"n", value: b"" }]);
    let writes = [
        write(&[Operation::IfPresent { key: b"c" }, Operation::IfAbsent { key: b"x" }, THEN]),
        write(&[
            Operation::IfVersion { key: b"a", version: stored(1) },
            Operation::IfPresent { key: b"c" },
            THEN,
        ]),
        write(&[Operation::IfPresent { key: b"n" }, Operation::Add { key: b"y", delta: 1 }]),
        write(&[Operation::Put { key: b"b", value: b"" }]),
    ];

    let ahead = ReadAhead::of(&writes, &bench.overlay, &bench.engine).expect("it works");
    let versions = [b"c", b"x", b"a", b"c"].map(|key| ahead.version_of(key).expect("it works"));

    assert_eq!(versions, [stored(3), Version::NONE, stored(1), stored(3)]);
    assert_eq!(bench.engine.together.get(), 2, "the third was not read with the others");
    assert_eq!(bench.engine.alone.get(), 1);
}

#[test]
fn a_single_key_is_not_read_before_it_is_asked_for() {
    let bench = Bench::with(&["a"]);
    let asks = || write(&[Operation::IfPresent { key: b"a" }, THEN]);

    ReadAhead::of(&[asks(), asks()], &bench.overlay, &bench.engine).expect("it works");

    assert_eq!((bench.engine.together.get(), bench.engine.alone.get()), (0, 0));
}

#[test]
fn a_write_takes_no_more_than_its_answer_may_carry() {
    let mut bench = Bench::default();
    let large = vec![7; 3 << 20];
    for key in [b"a", b"b", b"c"] {
        bench.engine.data.insert(key.to_vec(), (large.clone(), stored(1)));
    }

    let pop = |key| Operation::Pop { key };
    let refusal = bench.refusal(&[pop(b"a"), pop(b"b"), pop(b"c")]);
    assert_eq!(refusal.code, Code::TooLarge);
    assert_eq!(refusal.precondition, Some(Precondition { operation: 2, exists: true, version: stored(1) }));
    assert_eq!(bench.effects(&[pop(b"a"), pop(b"b")]).results.len(), 2);
}

#[test]
fn an_error_of_the_disk_is_no_verdict() {
    let all: [&[Operation<'_>]; 5] = [
        &[Operation::IfAbsent { key: b"k" }],
        &[Operation::IfValue { key: b"k", value: b"" }],
        &[Operation::Add { key: b"k", delta: 1 }],
        &[Operation::Pop { key: b"k" }],
        &[take("", "")],
    ];
    for operations in all {
        let engine = Engine { is_broken: true, ..Engine::default() };

        let judged =
            judge(&write(operations), Version(1 << 16), Room::behind(0), &mut Overlay::default(), &engine);

        assert_eq!(judged.expect_err("no verdict").code(), Code::Io);
    }
    let engine = Engine { is_broken: true, ..Engine::default() };
    let ahead = ReadAhead::of(
        &[b"k", b"n"].map(|key| write(&[Operation::IfAbsent { key }])),
        &Overlay::default(),
        &engine,
    );
    assert_eq!(ahead.err().expect("it was read").code(), Code::Io);
}

#[test]
fn the_results_of_an_entry_are_bounded_but_for_those_of_the_first_write() {
    let pop = [Operation::Pop { key: b"k" }];
    let mut bench = Bench::with(&["k"]);

    bench.told = ENTRY_RESULT_BYTES_MAX;
    let refused = bench.judge(&pop);
    bench.told = 0;
    let first = bench.judge(&pop);
    bench.told = ENTRY_RESULT_BYTES_MAX;
    let nothing = bench.judge(&pop);

    assert!(matches!(refused, Judged::Refused(refusal) if refusal.code == Code::Overloaded), "{refused:?}");
    assert!(matches!(first, Judged::Applied { .. }), "{first:?}");
    assert!(
        matches!(nothing, Judged::Applied { .. }),
        "what tells no bytes is not held to a bound: {nothing:?}"
    );
}
