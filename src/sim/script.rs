//! Golden scripts: protocol behaviour as a conversation.
//!
//! Owns the files in `tests/scripts`: how they are read, and the comparison of what a cluster says with what the file
//! says it says. Rounds, syncs, apply, time and network are separate commands, so a script can hold any of them back.
//! `ALMADIA_REWRITE=1 cargo test scripts` writes the files anew; read the difference before you commit it.
//! The commands are carried out by [`cluster`], calls of users by [`calls`], lease reads in their four steps by
//! [`looks`].
//!
//! A file is blocks of commands, a line `----`, and the output up to the next empty line. `#` begins a comment.
//!
//! ```text
//! cluster N...            members with these numbers, all running on empty disks. [lease=off] without leases,
//!                         [group=off] without group commit; [uncommitted=BYTES] that a leader proposes before they are
//!                         committed; [propose=BYTES] that a round proposes; [window=BYTES] that a follower forwards before
//!                         they are answered; [questions=COUNT] of a follower that may wait for the quorum;
//!                         [elections=SEED] members that campaign by themselves
//! elect N                 N campaigns, everything is delivered and applied: N leads and is settled
//! campaign N              N asks for leadership at its next round
//!
//! write N NAME KEY=VALUE|-KEY...   a write called NAME, to N's next round   [timeout=MS]
//! read N NAME             a linearizable read called NAME                    [timeout=MS]
//! local N NAME            a local read called NAME                           [timeout=MS] [min=INDEX]
//! transfer N NAME TO|any  N shall hand leadership over                       [timeout=MS]
//! cancel NAME             the caller of NAME cancels it
//! glimpse N NAME          a lease read on its caller's thread, step 1: the first look at the lease
//! view N NAME             step 2: its view of the engine is taken
//! look N NAME             steps 3 and 4: the clock is read, the second look decides whether the view may be shown
//! add-learner N M         N proposes to add M to the configuration
//!
//! timer N...              N's timer thread answers the calls that are late
//! round N...              N runs one round
//! sync N works|fails|crash-before|crash-after     what N's next sync does; one that fails poisons N
//! apply N...              N applies what is committed: `engine` and `report` in one  [entries=COUNT] [bytes=COUNT]
//! engine N / report N     N's engine shows what is committed / N's peer and callers are told
//! stall N / recover N     N's engine stands still: `settle` and `pass` apply nothing there / it goes on
//! flush N                 N's engine keeps what it shows over a crash
//! crash N / restart N
//! lose-end N [FRAMES]     N crashes, and the last frames that its log's mark covers are gone, with all behind them
//! introduce N             the others hear which boot of N they will hear from now on
//!
//! tick N[,N...] [TICKS]   these members owe ticks, and the clock moves by them
//! forget N...             an election timeout passes, and these members owe its ticks: they may vote for another
//! clock MS                the clock moves alone
//! pass TICKS              time passes for everyone: a tick, and all comes to rest, as often
//! settle                  rounds, deliveries and applies everywhere until nothing moves
//!
//! deliver [FROM->TO] [TYPE]    hands messages in flight to their recipients' next round
//! double [FROM->TO] [TYPE]     as deliver, but the messages stay in flight
//! lose [FROM->TO] [TYPE]       loses them
//! hold [FROM->TO] [TYPE]       takes them aside; `release` delivers what was held
//! isolate N / cut FROM->TO / heal   cuts every link of N / one link in one direction / mends all links
//! disconnect N M          the connection of N and M breaks: what is in flight is lost, and both are told
//! connect N M             they are told that it is back
//!
//! status / data N / members N      one line a member / N's keys and values / the configuration N's engine holds
//! lease N                 for how long N holds a lease, and for how long its callers may trust it
//! ```

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use self::cluster::Cluster;
use crate::core::planted::{self, Fault};

mod calls;
mod cluster;
mod describe;
mod looks;

/// Runs one script and returns it with the output it ought to have.
fn replay(script: &str) -> String {
    let mut cluster = Cluster::new();
    let mut lines = script.lines();
    let mut replayed = String::new();
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        if line == "----" {
            // The old output is skipped, the new one takes its place.
            lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
            replayed.push_str("----\n");
            for line in commands.drain(..).flat_map(|command: String| cluster.run(&command)) {
                writeln!(replayed, "{line}").expect("a string grows");
            }
            replayed.push('\n');
            continue;
        }
        if !line.trim().is_empty() && !line.starts_with('#') {
            commands.push(line.to_owned());
        }
        writeln!(replayed, "{line}").expect("a string grows");
    }
    assert!(commands.is_empty(), "the last commands have no ---- and so no output to check");
    format!("{}\n", replayed.trim_end())
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

#[test]
fn scripts_find_the_faults_that_they_are_about() {
    for (fault, name) in [
        (Fault::CommitInVoteAnswer, "a_leader_that_refuses_a_vote_tells_no_commit"),
        (Fault::ForceOfShorterLogsObeyed, "a_late_timeout_now_breaks_no_lease_through_a_third_member"),
        (Fault::LeaseConfirmedByShorterLogs, "after_a_timeout_now_only_logs_that_have_grown_confirm_a_lease"),
        (Fault::OlderAttemptRefusesNewer, "an_answer_of_an_older_attempt_refuses_nothing_of_a_newer_one"),
        (Fault::RefusedWriteGoesBehind, "what_raft_does_not_take_at_once_keeps_its_order"),
        (
            Fault::LostEndIgnored,
            "a_member_that_lost_the_end_of_its_log_helps_nobody_to_lead_until_it_has_it_back",
        ),
        (Fault::EarlierBootsCounted, "a_member_that_lost_the_end_of_its_log_catches_up_with_an_idle_leader"),
    ] {
        let script = fs::read_to_string(directory().join(name).with_extension("txt")).expect("readable");

        assert_ne!(planted::with(Some(fault), || replay(&script)), script, "{fault:?}");
    }
}

#[test]
fn scripts_say_what_their_files_say() {
    let rewrite = std::env::var_os("ALMADIA_REWRITE").is_some();
    let directory = directory();
    let mut scripts: Vec<_> =
        fs::read_dir(&directory).expect("it exists").map(|file| file.expect("readable").path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 130, "the scripts are where they belong");
    for path in scripts {
        let script = fs::read_to_string(&path).expect("readable");
        let replayed = replay(&script);
        if rewrite {
            fs::write(&path, replayed).expect("writable");
        } else {
            assert!(script == replayed, "{} says something else:\n{replayed}", path.display());
        }
    }
}
