//! Feeds arbitrary bytes to `core::fuzz::fuzz_commands`, which documents and checks the invariants; libFuzzer limits
//! memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::internal::fuzz_commands(data));
