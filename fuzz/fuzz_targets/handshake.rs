//! Feeds arbitrary bytes to `transport::handshake::fuzz_handshake`, which checks and tells what must hold; memory is watched by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::transport::handshake::fuzz_handshake(data));
