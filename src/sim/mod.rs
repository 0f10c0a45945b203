//! A cluster without threads, disks, sockets or clocks.
//!
//! Owns members that run the production core - the same round, peers and appliers - over a disk in memory that
//! forgets what was not synced, a network that delivers when told, and a clock that is moved by hand. Nothing here
//! decides anything a real member would decide.

mod disk;
mod member;
mod network;
mod script;
