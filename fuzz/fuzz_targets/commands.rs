//! Feeds arbitrary bytes to `core::fuzz::fuzz_commands`, which checks and tells what must hold; memory is watched by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::core::fuzz::fuzz_commands(data));
