//! Integration tests: real stores, real disks, real sockets. One binary, because RocksDB links slowly.

mod bit_rot;
mod capi;
mod cluster;
mod conditions;
mod coverage;
mod cpp;
mod docs;
mod events;
mod examples;
mod flow;
mod fuzz;
mod growth;
mod header;
mod house;
mod install;
mod limits;
mod log_end;
mod member;
mod native;
mod planted;
mod regions;
mod rust_library;
mod stress;
mod tidy;
mod transactions;
mod upgrade;
