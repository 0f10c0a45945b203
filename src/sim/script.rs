//! Golden scripts: protocol behaviour as a transcript.
//!
//! Owns the files in `tests/scripts`: how they are parsed, and the comparison of a cluster's output with the expected
//! output in the file. What always holds: rounds, syncs, applies, time and network are separate commands, so a script
//! can hold any of them back. `ALMADIA_REWRITE=1 cargo test scripts` rewrites the files; review the diff before you
//! commit it. The commands are executed by [`cluster`], user calls by [`calls`], and lease reads, in four steps, by
//! [`looks`].
//!
//! A file consists of blocks: commands, a line `----`, and the output up to the next empty line. `#` starts a comment.
//!
//! ```text
//! cluster N...            members with these numbers, all running on empty disks. [lease=off] without leases;
//!                         [group=off] without group commit; [elections=SEED] members campaign by themselves. Limits:
//!                         [uncommitted=BYTES] that a leader has proposed and not committed; [propose=BYTES] that a
//!                         round proposes; [window=BYTES] that a follower has forwarded and not seen answered;
//!                         [questions=COUNT] read requests of a follower that wait for the quorum. [old=N]... N runs the
//!                         build before. [retain=BYTES] of log that all have are kept, [behind=BYTES] for members that
//!                         lack them: 1 and 1 for as little as may be. [regions=COUNT]: the second begins at the key b.
//!                         [snapshots=held]: `settle` and `pass` neither make, deliver nor install raft snapshots.
//!                         `region=R` in any later command says which of them it is about; the first if nothing does
//! join N...               members that join, with empty disks; no list names them yet
//! elect N                 N campaigns, everything is delivered and applied: N leads and is settled
//! campaign N              N campaigns in its next round
//!
//! write N NAME KEY=VALUE|-KEY...   a write called NAME, for N's next round   [timeout=MS]
//!                         with conditions: !KEY absent, ?KEY present, KEY@INDEX/ORDINAL has this version, KEY==VALUE,
//!                         A..B? is as N has it now; and KEY+=NUMBER, PREFIX*=VALUE, pop:KEY, take:A..B, -A..B; behind
//!                         `else` what is done otherwise
//! read N NAME             a linearizable read called NAME                    [timeout=MS]
//! local N NAME            a local read called NAME                           [timeout=MS] [min=INDEX]
//! transfer N NAME TO|any  N is to transfer its leadership                    [timeout=MS]
//! cancel NAME             the caller of NAME cancels the call
//! glimpse N NAME          a lease read on its caller's thread, step 1: the first look at the lease
//! view N NAME             step 2: its view of the engine is taken
//! look N NAME             steps 3 and 4: the clock is read, the second look decides whether the view may be shown
//! list N NAME M...        the list of members is to be this one, at N: with M:learner for one that does not vote, M#I for
//!                         one whose directory I has joined; it follows N's  [version=V]  [timeout=MS]. Leaders follow the
//!                         list with their ticks, one step at a time
//! add-learner N M         N proposes to add M to the configuration, by no list
//!
//! timer N...              N's timer thread answers the calls that are past their deadline
//! round N...              N runs one round
//! sync N works|fails|crash-before|crash-after     the outcome of N's next sync; a failure poisons N
//! apply N...              N applies committed entries: `engine` and `report` in one  [entries=COUNT] [bytes=COUNT]
//! engine N / report N     the first half of `apply`: N's engine shows the entries / the second: peer and callers know
//! make N                  N makes the raft snapshots that it is to make
//! install N               the engine of N links the data of the raft snapshot for which an `apply` has made room; another
//!                         `apply` then shows it
//! stall N / recover N     N's engine stalls: `settle` and `pass` apply nothing there / it resumes
//! flush N                 N's engine makes its current data survive a crash
//! crash N / restart N / upgrade N     the last: N, of the build before, ends and starts as one of the newest
//! lose-end N [FRAMES]     N crashes and loses the last frames covered by its log's mark, and everything after them
//! introduce N             N announces its current boot to the others
//!
//! tick N[,N...] [TICKS]   ticks become due for the members, and the clock advances by them
//! forget N...             an election timeout passes, its ticks become due for them: they may vote for another
//! clock MS                the clock advances alone, without ticks
//! pass TICKS              time passes for everyone: one tick and a `settle`, repeated TICKS times
//! settle                  rounds, deliveries and applies everywhere until the cluster is idle
//!
//! deliver [FROM->TO] [TYPE]    hands messages in flight to their recipients' next round
//! double [FROM->TO] [TYPE]     like `deliver`, but the messages stay in flight
//! lose [FROM->TO] [TYPE]       drops them
//! hold [FROM->TO] [TYPE]       sets them aside; `release` delivers what was held
//!                              A raft snapshot is a `snapshot` on its way to its receiver, where it is staged, and a
//!                              `snapshot-ok` on the way back. Its sender hears it when either is lost
//! isolate N / cut FROM->TO / heal   cuts every link of N / one link in one direction / repairs all links
//! disconnect N M          the connection of N and M breaks: what is in flight is lost, and both are notified
//! connect N M             they are notified that it is back
//!
//! status / data N / members N      one line per member / N's keys and values / the configuration and the list that N's
//!                         engine holds, and for what N waits as a leader before it goes on with the list
//! versions N              N's keys and values, and the versions: which write of which entry set them
//! levels                  the feature level that each member knows, and that of its region
//! lease N                 how long N holds a lease, and how long its callers may trust it
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
mod snapshots;

/// Runs one script and returns it with the output it should have.
fn replay(script: &str) -> String {
    let mut cluster = Cluster::new();
    let mut lines = script.lines();
    let mut replayed = String::new();
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        if line == "----" {
            // Skip the old output; the new output takes its place.
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
fn scripts_detect_the_planted_faults_they_cover() {
    for (fault, name) in [
        (Fault::CommitInVoteAnswer, "a_leader_that_refuses_a_vote_tells_no_commit"),
        (Fault::ForceOfShorterLogsObeyed, "a_late_timeout_now_breaks_no_lease_through_a_third_member"),
        (Fault::LeaseConfirmedByShorterLogs, "after_a_timeout_now_only_logs_that_have_grown_confirm_a_lease"),
        (Fault::OlderAttemptRefusesNewer, "an_answer_of_an_older_attempt_refuses_nothing_of_a_newer_one"),
        (Fault::LosersAreSentWrites, "a_late_question_of_a_candidate_that_lost_gets_no_writes"),
        (
            Fault::ResendWithoutASearch,
            "what_was_sent_to_the_last_leader_goes_with_the_vote_and_into_the_log_once",
        ),
        (
            Fault::RefusedResendGoesAgain,
            "a_leader_that_cannot_look_far_enough_back_refuses_what_is_sent_again",
        ),
        (Fault::RefusedWriteGoesBehind, "what_raft_does_not_take_at_once_keeps_its_order"),
        (
            Fault::LostEndIgnored,
            "a_member_that_lost_the_end_of_its_log_helps_nobody_to_lead_until_it_has_it_back",
        ),
        (Fault::OverlayForgotten, "a_condition_is_judged_behind_earlier_writes_of_its_entry"),
        (Fault::RefusedBatchBumpsVersion, "a_condition_that_is_false_changes_nothing_and_says_what_is_there"),
        (Fault::MinIndexIgnored, "a_local_read_waits_for_its_least_index_and_for_nobody_else"),
        (Fault::EarlierBootsCounted, "a_member_that_lost_the_end_of_its_log_catches_up_with_an_idle_leader"),
        (Fault::SnapshotEndNotTold, "a_snapshot_that_is_lost_is_sent_again"),
        (Fault::ReadWhileInstalling, "reads_wait_while_a_snapshot_is_installed"),
        (Fault::OverwrittenBelowASnapshot, "what_stands_in_the_entries_that_a_snapshot_skips_is_unknown"),
        (Fault::StagedRemovedTooEarly, "a_crash_between_the_log_and_the_install_begins_with_the_install"),
        (Fault::OlderListObeyed, "a_region_goes_by_no_older_list_than_it_has_followed"),
        (Fault::VoterBeforeItCaughtUp, "a_new_member_learns_first_and_votes_when_it_has_caught_up"),
        (Fault::KeptUnknownIgnored, "a_leader_that_lacks_a_region_drops_nobody"),
        (Fault::KeptUnknownIgnored, "a_leader_that_is_behind_in_a_region_drops_nobody"),
        (Fault::KeptOutlivesItsList, "what_a_leader_knew_by_an_earlier_list_drops_nobody"),
        (Fault::RemovedLeaderStays, "a_leader_that_applies_its_own_removal_steps_down"),
        (Fault::StrangersTurnedAway, "the_vote_of_a_member_that_a_follower_does_not_know_is_counted"),
    ] {
        let script = fs::read_to_string(directory().join(name).with_extension("txt")).expect("readable");

        assert_ne!(planted::with(Some(fault), || replay(&script)), script, "{fault:?}");
    }
}

#[test]
fn scripts_produce_the_output_in_their_files() {
    let rewrite = std::env::var_os("ALMADIA_REWRITE").is_some();
    let directory = directory();
    let mut scripts: Vec<_> =
        fs::read_dir(&directory).expect("it exists").map(|file| file.expect("readable").path()).collect();
    scripts.sort();
    assert!(scripts.len() >= 179, "the scripts are where they belong");
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
