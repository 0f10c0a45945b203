//! Feeds arbitrary bytes to `sim::fuzz_cluster`, which checks and tells what must hold; memory is watched by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::sim::fuzz_cluster(data));
