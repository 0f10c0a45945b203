//! How a simulated member applies committed entries.
//!
//! Owns the three steps that the apply poller takes in production, each of which a script or a plan may hold back:
//! write the entries to the engine, notify the peers, answer the callers. What always holds: they happen in this order.

use super::Member;
use super::io::{End, take_effect};
use crate::core::applier::Slice;
use crate::core::input::Input;
use crate::core::planted::{self, Fault};
use crate::sim::watch::Watch;

impl Member {
    /// Applies everything handed over, in one batch.
    pub(crate) fn apply(&mut self, report: &mut Vec<String>) {
        self.write_engine();
        self.report_applied(report);
    }

    /// First half of applying: the engine shows the entries, but nobody has been notified.
    pub(crate) fn write_engine(&mut self) {
        self.apply_write(Slice::ALL);
    }

    /// Second half: the peer is notified, then the callers are answered.
    pub(crate) fn report_applied(&mut self, report: &mut Vec<String>) {
        self.apply_report(report);
        self.apply_answer(usize::MAX);
    }

    /// True when the applier has work.
    pub(crate) fn has_to_apply(&self) -> bool {
        let Some(running) = &self.running else { return false };
        self.has_to_report()
            || self.has_to_answer()
            || !running.tasks.is_empty()
            || running.appliers.has_more()
    }

    /// True when the engine shows entries that have not been reported to the peers.
    pub(crate) fn has_to_report(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.written.is_empty())
    }

    /// True when entries have been reported to the peers, but their callers have not been answered.
    pub(crate) fn has_to_answer(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.reported.is_empty())
    }

    /// Applying, step 1: the next batch is written to the engine.
    pub(crate) fn apply_write(&mut self, slice: Slice) -> Option<End> {
        let running = self.running.as_mut()?;
        if planted::has(Fault::ConditionJudgedAtPropose) && !running.tasks.is_empty() {
            running.handed_over = Some(self.engine.clone());
        }
        running.appliers.queue(running.tasks.drain(..));
        let stored = running.handed_over.as_ref().unwrap_or(&self.engine);
        let mut batch = match running.appliers.next_batch(slice, stored) {
            Ok(batch) => batch?,
            Err(error) => return Some(End::Core(error)),
        };
        if !take_effect(&mut self.effects_left) {
            return self.end_in_crash();
        }
        if planted::has(Fault::AppliedIndexApart) {
            let states = std::mem::take(&mut batch.states);
            self.engine.write(&batch);
            batch.writes.clear();
            batch.states = states;
            if !take_effect(&mut self.effects_left) {
                return self.end_in_crash();
            }
        }
        batch.clears.iter().for_each(|head| running.published[&head.region.id].begin_replacement());
        self.engine.write(&batch);
        for (region, state) in &batch.states {
            running.published[region].advance(state.index);
        }
        batch.installed.iter().for_each(|region| running.published[region].end_replacement());
        running.installs.extend(batch.clears.iter().map(|head| (head.clone(), false)));
        running.written.push_back(batch);
        None
    }

    /// Applying, step 2: the peers are notified.
    pub(crate) fn apply_report(&mut self, watch: &mut dyn Watch) -> Option<End> {
        let member = self.origin();
        let running = self.running.as_mut()?;
        while let Some(batch) = running.written.pop_front() {
            if !take_effect(&mut self.effects_left) {
                return self.end_in_crash();
            }
            for applied in batch.reports {
                watch.reported(member, &applied);
                running.inputs.push((applied.region, Input::Applied(Box::new(applied))));
            }
            if !batch.answers.is_empty() {
                running.unanswered.extend(batch.states);
            }
            running.reported.extend(batch.answers);
        }
        None
    }

    /// Applying, step 3: up to `count` callers are answered.
    pub(crate) fn apply_answer(&mut self, count: usize) -> Option<End> {
        let running = self.running.as_mut()?;
        for _ in 0..count.min(running.reported.len()) {
            if !take_effect(&mut self.effects_left) {
                return self.end_in_crash();
            }
            let (completion, answer) = running.reported.pop_front().expect("counted above");
            completion.answer(answer);
        }
        if running.reported.is_empty() {
            for (region, state) in running.unanswered.drain(..) {
                running.published[&region].note_answered(state.index);
            }
        }
        None
    }
}
