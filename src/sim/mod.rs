//! A cluster without threads, disks, sockets or clocks.
//!
//! Owns members that run the production core - the same round, peers and appliers - over a disk in memory that
//! forgets what was not synced, a network that delivers when told, and a clock that is moved by hand. Nothing here
//! decides anything a real member would decide.
//!
//! Two things are built from them. A golden script ([`script`]) is a conversation that moves every sync, apply, tick
//! and message by hand. The simulator ([`hunt`]) lets chance move them: a seed draws a [`plan`], a [`cluster`] runs it
//! in virtual time while [`faults`] strike and clients call, [`invariants`] hold after every step, the [`checker`]
//! judges what clients saw, and [`run`] demands progress once the cluster is healed.

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
mod verdicts;
mod invariants;
mod calls;
mod load;
mod clock;
mod links;
mod plan;
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
mod failover;
#[cfg(test)]
mod border;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod lonely_member;
#[cfg(test)]
mod lease_clocks;
#[cfg(test)]
mod weeks;

#[doc(hidden)]
pub use fuzz::fuzz_cluster;
