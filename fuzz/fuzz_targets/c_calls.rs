//! Makes sequences of calls of the C interface from arbitrary bytes; `c_calls` documents and checks the invariants.
#![no_main]

use std::cell::RefCell;

#[path = "../c_calls/mod.rs"]
mod c_calls;

thread_local! {
    /// Opened once, because opening costs more than a thousand calls.
    static MEMBER: RefCell<c_calls::Member> = RefCell::new(c_calls::Member::open());
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| MEMBER.with_borrow_mut(|member| member.fuzz_calls(data)));
