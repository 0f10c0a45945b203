//! Feeds arbitrary bytes to `transport::fuzz::fuzz_stream`, which documents and checks the invariants; libFuzzer limits
//! memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::internal::fuzz_stream(data));
