//! The shared library for C and C++ programs.
//!
//! Owns nothing but the choice of what is linked into it: the functions of `src/capi` of the root package, which the
//! linker exports because they are `no_mangle`. The linker arguments are those of `build.rs`.

pub use almadia::capi;
