//! Feeds arbitrary bytes to `transport::fuzz::fuzz_stream`, which checks and tells what must hold; memory is watched by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::transport::fuzz::fuzz_stream(data));
