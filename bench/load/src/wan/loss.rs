//! Which datagrams are lost.

/// A seeded sequence of decisions.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    /// Of 2^64: below it, a datagram is lost.
    threshold: u64,
    /// Everything is lost; the threshold can't say 2^64.
    always: bool,
    state: u64,
}

impl Loss {
    pub(super) fn new(part: f64, seed: u64) -> Loss {
        let threshold = (part * 2f64.powi(64)) as u64;
        Loss { threshold, always: part >= 1.0, state: seed }
    }

    /// Whether the next datagram is lost.
    pub(super) fn next(&mut self) -> bool {
        // SplitMix64 (Steele, Lea and Flood 2014): every seed is a good one.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.always || (mixed ^ (mixed >> 31)) < self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(part: f64, seed: u64, count: usize) -> Vec<bool> {
        let mut loss = Loss::new(part, seed);
        (0..count).map(|_| loss.next()).collect()
    }

    #[test]
    fn a_seed_decides_and_another_decides_differently() {
        assert_eq!(lost(0.3, 7, 1000), lost(0.3, 7, 1000));
        assert_ne!(lost(0.3, 7, 1000), lost(0.3, 8, 1000));
    }

    #[test]
    fn the_part_is_met() {
        for seed in [1, u64::MAX, 0x1234_5678] {
            let count = lost(0.01, seed, 100_000).into_iter().filter(|&lost| lost).count();
            // Four standard deviations about 1,000.
            assert!((874..1126).contains(&count), "{count} of 100,000 with seed {seed}");
        }
        assert!(!lost(0.0, 1, 10_000).contains(&true));
        assert!(!lost(1.0, 1, 10_000).contains(&false));
    }
}
