//! How long to wait before what died is started again. Pure: times are parameters.

use std::time::Duration;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Who has lived this long counts as healthy: its next death is a first one.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// The pauses of one child: none, then 0.2 s, doubling up to 10 s.
#[derive(Debug, Default)]
pub struct Backoff {
    next: Option<Duration>,
}

impl Backoff {
    /// The pause after a death, given how long the child had lived.
    pub fn after(&mut self, lived: Duration) -> Duration {
        if lived >= HEALTHY_AFTER {
            self.next = None;
        }
        let pause = self.next.unwrap_or_default();
        self.next = Some((pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE));
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_ONCE: Duration = Duration::ZERO;

    fn pauses(backoff: &mut Backoff, lives_ms: &[u64]) -> Vec<u128> {
        lives_ms.iter().map(|&ms| backoff.after(Duration::from_millis(ms)).as_millis()).collect()
    }

    #[test]
    fn the_first_restart_is_at_once_and_pauses_grow_to_their_bound() {
        let grown = pauses(&mut Backoff::default(), &[5; 9]);
        assert_eq!(grown, [0, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
    }

    #[test]
    fn ten_seconds_of_health_forgive() {
        let mut backoff = Backoff::default();
        assert_eq!(pauses(&mut backoff, &[5, 5, 9_999, 10_000, 5]), [0, 200, 400, 0, 200]);
    }

    /// In virtual time: a child that dies as soon as it is started.
    #[test]
    fn who_always_dies_is_started_a_dozen_times_in_the_first_minute() {
        let mut backoff = Backoff::default();
        let (mut now, mut starts) = (Duration::ZERO, 0);
        while now < Duration::from_secs(60) {
            starts += 1;
            now += backoff.after(AT_ONCE);
        }
        assert_eq!(starts, 12);
    }
}
