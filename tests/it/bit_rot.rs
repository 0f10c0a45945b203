//! A raft log that is damaged while the store is open.
//!
//! Entries that are no longer in memory are read from the log when a member that was away needs them. What was written
//! whole and reads as something else by then is the disk's fault, and the error has to say so.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use almadia::{Code, Config};

use crate::member::{Cluster, HANG_TIMEOUT};

fn small_log(config: &mut Config) {
    for name in ["log.segment_bytes", "log.cache_bytes"] {
        config.set(name, "65536").expect("in range");
    }
}

/// Flips a bit in the middle of each segment but the newest.
fn damage_old_segments(store: &Path) {
    let files =
        fs::read_dir(store.join("log")).expect("the store has a log").flatten().map(|file| file.path());
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "log");
    let mut segments: Vec<_> = files.filter(is_segment).collect();
    segments.sort_unstable();
    segments.pop();
    assert!(segments.len() > 2, "the log is long: {segments:?}");
    for path in segments {
        let file = fs::File::options().read(true).write(true).open(path).expect("a segment");
        let mut byte = [0];
        file.read_exact_at(&mut byte, 32 << 10).expect("inside");
        file.write_all_at(&[byte[0] ^ 1], 32 << 10).expect("writable");
    }
}

#[test]
fn a_segment_that_changed_on_the_disk_is_reported_as_corruption_with_file_and_offset() {
    let mut cluster = Cluster::start_with(small_log);
    let leader = cluster.leader();
    let absent = 1 + leader % 3;
    cluster.close(absent);
    for key in 0..200_u32 {
        cluster.put(&key.to_be_bytes(), &[7; 4000]);
    }
    damage_old_segments(&cluster.path(leader));

    cluster.open(absent);
    let store = cluster.member(leader);
    let deadline = std::time::Instant::now() + HANG_TIMEOUT;
    let cause = loop {
        if let Some(cause) = store.status().poisoned {
            break cause;
        }
        assert!(std::time::Instant::now() < deadline, "the leader has not read what the absent member lacks");
        std::thread::yield_now();
    };

    assert_eq!(cause.code(), Code::Corruption, "{cause}");
    assert!(cause.detail().contains(".log, offset "), "{cause}");
}
