//! Tests of the checker: against exhaustive enumeration on tiny histories, on large histories of a simulated store, and
//! with planted anomalies.

mod brute_force;
mod generator;
mod random;
mod planted;
