//! Moments and choices that a seed repeats: SplitMix64.

use std::time::Duration;

/// A stream of numbers that its seed decides.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time between the two, to the microsecond.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros().max(1) as u64;
        least + Duration::from_micros(self.next() % span)
    }
}

impl Random {
    /// A number below the bound, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One of them; there is one at least.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// The same in another order.
    pub fn shuffled<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let mut all = of.to_vec();
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_moments_and_another_has_others() {
        let moments = |seed| {
            let mut random = Random::new(seed);
            let (least, most) = (Duration::from_millis(300), Duration::from_secs(2));
            (0..8).map(|_| random.between(least, most)).collect::<Vec<_>>()
        };
        assert_eq!(moments(7), moments(7));
        assert_ne!(moments(7), moments(8));
        let shuffled = Random::new(7).shuffled(&[1, 2, 3, 4, 5]);
        assert!((1..=5).all(|number| shuffled.contains(&number)) && shuffled.len() == 5);
        assert!(moments(7).iter().all(|moment| (300..2000).contains(&(moment.as_millis() as u64))));
    }
}
