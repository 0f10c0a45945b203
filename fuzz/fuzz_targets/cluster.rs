//! Feeds arbitrary bytes to `sim::fuzz_cluster`, which documents and checks the invariants; libFuzzer limits memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::internal::fuzz_cluster(data));
