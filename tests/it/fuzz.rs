//! The committed inputs of the fuzzer of the C interface, replayed.

#[path = "../../fuzz/c_calls/mod.rs"]
mod c_calls;
#[path = "../../src/corpus.rs"]
mod corpus;

use std::cell::RefCell;

#[test]
fn the_corpus_of_c_calls_and_its_mutations_hold() {
    let member = RefCell::new(c_calls::Member::open());

    corpus::replay("c_calls", 120, |input| member.borrow_mut().fuzz_calls(input));
}
