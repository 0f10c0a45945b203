//! Feeds arbitrary bytes to the recovery of the raft log. The invariants are documented and checked by
//! `storage::log_store::fuzz_recovery`; memory by libFuzzer's `-rss_limit_mb`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| almadia::internal::fuzz_recovery(data));
