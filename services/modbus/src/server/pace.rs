//! How fast one connection is served: a bucket of tokens. Who asks faster waits, and loses nothing by it.

use std::time::{Duration, Instant};

/// Tokens that come back evenly, up to as many as come in a second.
#[derive(Debug)]
pub(crate) struct Pace {
    each: Duration,
    most: Duration,
    /// The moment from which on the bucket has been full.
    full_at: Instant,
}

impl Pace {
    pub(crate) fn new(each_second: u32, now: Instant) -> Self {
        Self {
            each: Duration::from_secs(1) / each_second,
            most: Duration::from_secs(1),
            full_at: now,
        }
    }

    /// Takes a token. How long to wait before it is there.
    pub(crate) fn take(&mut self, now: Instant) -> Duration {
        self.full_at = self.full_at.max(now) + self.each;
        self.full_at.duration_since(now).saturating_sub(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_requests_at_once_and_then_one_at_a_time() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        assert!((0..10).all(|_| pace.take(start).is_zero()));
        assert_eq!(pace.take(start), Duration::from_millis(100));
        assert_eq!(pace.take(start), Duration::from_millis(200));
        // It had to wait for 12; 5 more are back half a second later.
        let later = start + Duration::from_millis(700);
        assert!((0..5).all(|_| pace.take(later).is_zero()));
        assert_eq!(pace.take(later), Duration::from_millis(100));
        let rested = start + Duration::from_secs(60);
        assert!((0..10).all(|_| pace.take(rested).is_zero()));
        assert_eq!(pace.take(rested), Duration::from_millis(100));
    }
}
