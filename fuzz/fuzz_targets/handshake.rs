//! Feeds arbitrary bytes to `transport::handshake::fuzz_handshake`, which documents and checks the invariants;
//! libFuzzer limits memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::internal::fuzz_handshake(data));
