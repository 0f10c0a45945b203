//! Integration tests: real stores, real disks, real sockets. One binary, because RocksDB links slowly.

mod cluster;
mod member;
mod tidy;
