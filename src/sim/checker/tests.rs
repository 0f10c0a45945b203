//! The judge, judged: by all orders on tiny histories, by a simulated store on large ones, and by planted faults.

mod brute_force;
mod generator;
mod random;
mod planted;
