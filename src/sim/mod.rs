//! A cluster without threads, disks, sockets or clocks.
//!
//! Owns members that run the production core - the same round, peers and appliers - on an in-memory disk that forgets
//! what was not synced, a network that delivers on command, and a clock that is advanced explicitly. What always holds:
//! nothing here makes a decision that a real member would make.
//!
//! Two tools are built on it. A golden script ([`script`]) is a conversation that steps every sync, apply, tick and
//! message explicitly. The simulator ([`hunt`]) steps them at random: a seed draws a [`plan`], a [`cluster`] runs it in
//! virtual time while [`faults`] are injected and clients call, [`invariants`] are checked after every step, the
//! [`checker`] verifies what clients saw, and [`run`] requires progress once the cluster is healed.

mod random;
mod disk;
mod network;
mod watch;
mod member;
#[cfg(test)]
mod script;
mod checker;
mod keys;
mod chosen;
mod conditional;
mod transaction;
mod reference;
mod verdicts;
mod invariants;
mod calls;
mod load;
mod clock;
mod links;
mod plan;
mod members;
mod patience;
mod settling;
mod faults;
mod trace;
mod cluster;
mod run;
mod last_stall;
mod broken_rules;
mod fuzz;
#[cfg(test)]
mod hunt;
#[cfg(test)]
mod trio;
#[cfg(test)]
mod stalls;
#[cfg(test)]
mod catching_up;
#[cfg(test)]
mod published;
#[cfg(test)]
mod absences;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod heartbeats;
#[cfg(test)]
mod forwarded_commands;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod lonely_member;
#[cfg(test)]
mod lease_clocks;
#[cfg(test)]
mod weeks;
#[cfg(test)]
mod upgrades;

#[doc(hidden)]
pub use fuzz::fuzz_cluster;
