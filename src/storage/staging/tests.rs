//! Staged raft snapshots survive what is interrupted, and nothing else.
