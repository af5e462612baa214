//! Who failed to log in too often waits, longer each time.
//!
//! What is counted is a user at an address, never a user alone: else anybody could keep a user out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::limits::{FREE_FAILURES, LOCKOUT, LOCKOUT_MEMORY, LOCKOUTS};
use vigia_kit::places::host;

/// A user at an address. The name is whatever somebody sent, so that only its hash is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Who {
    user: [u8; 32],
    address: IpAddr,
}

impl Who {
    /// This user, from there.
    pub fn new(user: &str, from: IpAddr) -> Self {
        Self { user: blake3::hash(user.as_bytes()).into(), address: host(from) }
    }
}

/// The failed logins of late.
#[derive(Debug, Default)]
pub struct Lockout(HashMap<Who, Failures>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Lockout {
    /// Whether it has to wait.
    pub fn is_locked(&self, who: &Who, now: Instant) -> bool {
        self.0.get(who).is_some_and(|failures| now < failures.last + wait(failures.count))
    }

    /// It failed.
    pub fn failed(&mut self, who: Who, now: Instant) {
        let earlier = self.0.remove(&who).filter(|failures| now < failures.last + LOCKOUT_MEMORY);
        if self.0.len() >= LOCKOUTS
            && let Some((oldest, _)) = self.0.iter().min_by_key(|(_, failures)| failures.last)
        {
            let oldest = *oldest;
            self.0.remove(&oldest);
        }
        let count = earlier.map_or(1, |failures| failures.count.saturating_add(1));
        self.0.insert(who, Failures { count, last: now });
    }

    /// It logged in: its failures are forgotten.
    pub fn succeeded(&mut self, who: &Who) {
        self.0.remove(who);
    }

    /// Forgets everybody's failures.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// How long it waits after so many failures.
fn wait(failures: u32) -> Duration {
    let (first, longest) = LOCKOUT;
    match failures.checked_sub(FREE_FAILURES + 1) {
        None => Duration::ZERO,
        Some(doublings) => {
            let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
            first.saturating_mul(factor).min(longest)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn who(user: &str, address: &str) -> Who {
        Who::new(user, address.parse().unwrap())
    }

    /// Somebody who has failed so often that waiting takes longest.
    fn locked(lockout: &mut Lockout, who: Who, now: Instant) {
        (0..FREE_FAILURES + 40).for_each(|_| lockout.failed(who, now));
    }

    #[test]
    fn the_first_failures_are_free_and_then_the_wait_doubles_to_its_bound() {
        let (mut lockout, me) = (Lockout::default(), who("me", "10.0.0.1"));
        let mut now = Instant::now();
        for _ in 0..FREE_FAILURES {
            lockout.failed(me, now);
            assert!(!lockout.is_locked(&me, now));
        }
        for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
            lockout.failed(me, now);
            let end = now + seconds * SECOND;
            assert!(lockout.is_locked(&me, now));
            assert!(lockout.is_locked(&me, end - Duration::from_nanos(1)));
            assert!(!lockout.is_locked(&me, end));
            now = end;
        }
    }

    #[test]
    fn no_number_of_failures_is_too_large() {
        assert_eq!(wait(FREE_FAILURES + 33), LOCKOUT.1);
        assert_eq!(wait(u32::MAX), LOCKOUT.1);
    }

    #[test]
    fn a_user_waits_at_one_address_and_an_address_for_one_user() {
        let (mut lockout, now) = (Lockout::default(), Instant::now());
        locked(&mut lockout, who("me", "10.0.0.1"), now);
        assert!(lockout.is_locked(&who("me", "::ffff:10.0.0.1"), now));
        assert!(!lockout.is_locked(&who("me", "10.0.0.2"), now));
        assert!(!lockout.is_locked(&who("you", "10.0.0.1"), now));
        locked(&mut lockout, who("me", "2001:db8::1"), now);
        assert!(lockout.is_locked(&who("me", "2001:db8::ffff:2"), now));
        assert!(!lockout.is_locked(&who("me", "2001:db8:0:1::1"), now));
    }

    #[test]
    fn success_and_time_clear() {
        let (mut lockout, me) = (Lockout::default(), who("me", "10.0.0.1"));
        let now = Instant::now();
        locked(&mut lockout, me, now);
        lockout.succeeded(&me);
        assert!(!lockout.is_locked(&me, now));
        locked(&mut lockout, me, now);
        let later = now + LOCKOUT_MEMORY;
        lockout.failed(me, later);
        assert!(!lockout.is_locked(&me, later), "it counts from one again");
    }

    #[test]
    fn the_memory_is_bounded_and_the_oldest_is_forgotten() {
        let (mut lockout, now) = (Lockout::default(), Instant::now());
        let user = |number: usize| who(&format!("user{number}"), "10.0.0.1");
        for number in 0..LOCKOUTS {
            lockout.failed(user(number), now + number as u32 * Duration::from_millis(1));
        }
        let later = now + 60 * SECOND;
        locked(&mut lockout, user(1), later);
        assert_eq!(lockout.0.len(), LOCKOUTS);
        locked(&mut lockout, user(LOCKOUTS), later);
        assert_eq!(lockout.0.len(), LOCKOUTS);
        assert!(!lockout.0.contains_key(&user(0)));
        assert!(lockout.is_locked(&user(1), later) && lockout.is_locked(&user(LOCKOUTS), later));
    }
}
