//! Counts the calls of a store by their end.
//!
//! Owns where a call is counted: a blocking one when it returns, an asynchronous one when its answer is there
//! (`CallbackSink` in `store/asynchronous.rs`), or when it is refused and will have none. What always holds: each call
//! of a user is counted once; what the store does for itself, such as handing over its leaderships, is not. The
//! counters are [`crate::metrics`]'s.

use crate::error::{Error, Result};
use crate::metrics::CallType;
use crate::store::Inner;

impl Inner {
    /// Makes a blocking call and counts it.
    pub(super) fn counted<T>(&self, call: CallType, run: impl FnOnce() -> Result<T>) -> Result<T> {
        let result = run();
        self.metrics.calls.count(call, result.as_ref().err().map(Error::code));
        result
    }

    /// Makes a call and counts it if it is refused. Whoever answers it counts it otherwise.
    pub(super) fn counted_if_refused<T>(&self, call: CallType, run: impl FnOnce() -> Result<T>) -> Result<T> {
        run().inspect_err(|refusal| self.metrics.calls.count(call, Some(refusal.code())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use crate::config::Config;
    use crate::error::Code;
    use crate::store::batch::Batch;
    use crate::store::snapshot::{Level, SnapshotOptions};
    use crate::store::transfer::TransferOptions;
    use crate::store::{Store, WriteOptions};
    use crate::types::{LogIndex, NodeId};

    const TIMEOUT: Duration = Duration::from_secs(20);

    /// What the metrics say of calls that ended so.
    fn counted(store: &Store, call: &str, code: &str) -> u64 {
        let name = format!("almadia_calls_total{{call=\"{call}\",code=\"{code}\"}} ");
        let text = store.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0, |value| value.parse().expect("a number"))
    }

    fn batch(keys: &[&[u8]]) -> Batch {
        let mut batch = Batch::new();
        keys.iter().for_each(|key| batch.put(key, b"value").expect("small"));
        batch
    }

    #[test]
    fn each_call_is_counted_once_with_its_code_in_both_forms() {
        let directory = tempfile::tempdir().expect("there is room");
        let mut config = Config::default();
        config.set("bootstrap.split_keys", "m").expect("a key");
        let store = Store::open(directory.path(), &config).expect("a directory of its own");
        store.wait_leader(TIMEOUT).expect("it is alone");
        let (answers, answered) = mpsc::channel();
        let answer = || {
            let answers = answers.clone();
            move |code: Option<Code>| answers.send(code).expect("the test waits for it")
        };
        let options = WriteOptions::default();
        let (linearizable, late) = (
            SnapshotOptions::default(),
            SnapshotOptions {
                level: Level::Local,
                min_index: LogIndex(1 << 40),
                timeout: Some(Duration::ZERO),
                ..Default::default()
            },
        );
        let nobody = TransferOptions { target: Some(NodeId(9)), ..Default::default() };

        for _ in 0..2 {
            store.put(b"a", b"value").expect("alone");
        }
        store.put(&[0; 1 << 20], b"value").expect_err("too long a key");
        store.write(&mut batch(&[b"a", b"z"]), &options).expect_err("two regions");
        store.write(&mut Batch::new(), &options).expect("alone");
        store.get(b"a").expect("alone");
        store.get_many(&["a", "z"], &linearizable).expect("alone");
        store.get_with(b"a", &late).expect_err("no such index");
        store.transfer_leader(&nobody).expect_err("no such member");
        let (done, asynchronous) = (answer(), store.asynchronous());
        asynchronous
            .write(&mut batch(&[b"a"]), &options, move |result| done(result.err().map(|error| error.code())))
            .expect("accepted");
        asynchronous.write(&mut batch(&[b"a", b"z"]), &options, |_| ()).expect_err("two regions");
        let done = answer();
        asynchronous
            .write(&mut Batch::new(), &options, move |result| done(result.err().map(|error| error.code())))
            .expect("accepted");
        let done = answer();
        asynchronous
            .get(b"a", &linearizable, move |result| done(result.err().map(|error| error.code())))
            .expect("accepted");
        let done = answer();
        asynchronous
            .get(b"a", &late, move |result| done(result.err().map(|error| error.code())))
            .expect("accepted");
        let done = answer();
        asynchronous
            .snapshot(&linearizable, move |result| done(result.err().map(|error| error.code())))
            .expect("accepted");
        let mut codes: Vec<_> = (0..5).map(|_| answered.recv_timeout(TIMEOUT).expect("answered")).collect();
        codes.retain(Option::is_some);

        assert_eq!(codes, [Some(Code::ReadTimeout)]);
        let expected = [
            (("write", "OK"), 5),
            (("write", "TOO_LARGE"), 1),
            (("write", "BATCH_ACROSS_REGIONS"), 2),
            (("read", "OK"), 4),
            (("local_read", "READ_TIMEOUT"), 2),
            (("local_read", "OK"), 0),
            (("transfer", "INVALID_ARGUMENT"), 1),
        ];
        for ((call, code), count) in expected {
            assert_eq!(counted(&store, call, code), count, "{call} {code}");
        }
    }
}
