//! Reproducible randomness.
//!
//! Owns the generator (xoshiro256**, seeded by splitmix64) from which everything in a run is drawn. What always holds:
//! the same seed yields the same numbers on every machine; nothing else in a simulation is random.

use std::ops::Range;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator seeded with `seed`; neighbouring seeds give unrelated sequences.
    pub(crate) fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            scramble(state)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// A uniformly random number.
    pub(crate) fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let drawn = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        drawn
    }

    /// A number below `end`, which must not be zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // The high half of a product: the bias is far too small for a test to detect.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `range`; its start if the range is empty.
    pub(crate) fn within(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() { range.start } else { range.start + self.below(range.end - range.start) }
    }

    /// An index below `length`.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True with a probability of `parts` per million.
    pub(crate) fn per_million(&mut self, parts: u32) -> bool {
        parts > 0 && self.below(1_000_000) < u64::from(parts)
    }

    /// True with a probability of `percent` per hundred.
    pub(crate) fn percent(&mut self, percent: u32) -> bool {
        self.per_million(percent * 10_000)
    }

    /// One of `choices`.
    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// One of `choices`, with probability proportional to its weight.
    pub(crate) fn weighted<T: Copy>(&mut self, choices: &[(u32, T)]) -> T {
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(u64::from(total)) as u32;
        for &(weight, choice) in choices {
            if left < weight {
                return choice;
            }
            left -= weight;
        }
        unreachable!("what is left is below the sum of the weights")
    }

    /// A waiting time with mean `mean`, as between independent events; at most eight times the mean.
    pub(crate) fn wait(&mut self, mean: u64) -> u64 {
        // Leading zeros are geometric, so halving by them is exponential enough; the fraction smooths the steps.
        let halvings = u64::from(self.next().leading_zeros()).min(11);
        let fraction = self.below(1024);
        (mean.saturating_mul(halvings * 1024 + fraction) / 1024) * 2 / 3
    }

    /// `count` distinct numbers below `end`, in random order.
    pub(crate) fn sample(&mut self, count: usize, end: usize) -> Vec<usize> {
        let mut all: Vec<_> = (0..end).collect();
        for at in 0..count.min(end) {
            let other = at + self.index(end - at);
            all.swap(at, other);
        }
        all.truncate(count);
        all
    }
}

/// Maps neighbouring numbers to unrelated ones (the finalizer of splitmix64).
pub(crate) fn scramble(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_numbers() {
        let drawn = |seed| {
            let mut random = Random::new(seed);
            (0..9).map(|_| random.next()).collect::<Vec<_>>()
        };

        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn draws_stay_in_their_range_and_reach_both_ends() {
        let mut random = Random::new(1);
        let drawn: std::collections::BTreeSet<_> = (0..200).map(|_| random.within(3..7)).collect();

        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(random.within(5..5), 5);
    }

    #[test]
    fn waiting_times_have_the_given_mean() {
        let mut random = Random::new(1);
        let mean = (0..20_000).map(|_| random.wait(1000)).sum::<u64>() / 20_000;

        assert!((900..1100).contains(&mean), "{mean}");
    }

    #[test]
    fn a_sample_has_no_duplicates() {
        let mut drawn = Random::new(3).sample(5, 7);
        drawn.sort_unstable();
        drawn.dedup();

        assert_eq!(drawn.len(), 5);
    }
}
