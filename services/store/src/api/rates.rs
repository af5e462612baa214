//! How many requests a caller may make.
//!
//! A holder of a token has an allowance of its own, so that a stranger behind the same address cannot
//! use it up.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::limits::{CALLERS, REQUESTS_OF_STRANGERS, REQUESTS_PER_SECOND};

/// Whose allowance it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// The holder's of this token.
    Holder(String),
    /// Everybody's on this machine.
    Local,
    /// Everybody else's at this address; an IPv6 host has 2^64 of them, which count as one.
    Address(Option<IpAddr>),
}

impl Who {
    /// A stranger at this address.
    pub fn at(peer: Option<IpAddr>) -> Self {
        Self::Address(peer.map(|peer| match peer.to_canonical() {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            address => address,
        }))
    }

    /// Requests a second, and at once.
    const fn allowance(&self) -> (u32, u32) {
        match self {
            Self::Holder(_) | Self::Local => (REQUESTS_PER_SECOND, REQUESTS_PER_SECOND),
            Self::Address(_) => REQUESTS_OF_STRANGERS,
        }
    }
}

/// What everybody has left.
#[derive(Debug, Default)]
pub struct Rates(HashMap<Who, Bucket>);

#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Rates {
    /// Takes one request from the caller's allowance.
    ///
    /// # Errors
    /// After what time there is one again.
    pub fn take(&mut self, who: Who, now: Instant) -> Result<(), Duration> {
        let (per_second, at_once) = who.allowance();
        let (per_second, at_once) = (f64::from(per_second), f64::from(at_once));
        if !self.0.contains_key(&who) && self.0.len() >= CALLERS {
            self.forget_the_longest_silent();
        }
        let bucket = self.0.entry(who).or_insert(Bucket { left: at_once, filled: now });
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.left = (bucket.left + passed * per_second).min(at_once);
        bucket.filled = now;
        if bucket.left < 1.0 {
            return Err(Duration::from_secs_f64((1.0 - bucket.left) / per_second));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    fn forget_the_longest_silent(&mut self) {
        let oldest = self.0.iter().min_by_key(|(_, bucket)| bucket.filled);
        if let Some(who) = oldest.map(|(who, _)| who.clone()) {
            self.0.remove(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(address: &str) -> Who {
        Who::at(Some(address.parse().unwrap()))
    }

    #[test]
    fn an_allowance_is_used_up_and_comes_back_with_time() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        let (per_second, at_once) = REQUESTS_OF_STRANGERS;
        let me = || stranger("192.0.2.7");
        for _ in 0..at_once {
            rates.take(me(), now).unwrap();
        }
        let wait = rates.take(me(), now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(1) / per_second);
        rates.take(stranger("192.0.2.8"), now).unwrap();
        rates.take(Who::Holder("me".to_owned()), now).unwrap();
        rates.take(me(), now + wait).unwrap();
        rates.take(me(), now + wait).unwrap_err();
    }

    #[test]
    fn an_ipv6_network_is_one_caller() {
        assert_eq!(stranger("2001:db8::1"), stranger("2001:db8::ffff:2"));
        assert_ne!(stranger("2001:db8::1"), stranger("2001:db8:0:1::1"));
        assert_eq!(stranger("::ffff:192.0.2.7"), stranger("192.0.2.7"));
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut rates, now) = (Rates::default(), Instant::now());
        for number in 0..CALLERS as u32 + 10 {
            let address = IpAddr::from(number.to_be_bytes());
            rates.take(Who::at(Some(address)), now + Duration::from_millis(number.into())).unwrap();
        }
        assert_eq!(rates.0.len(), CALLERS);
        assert!(!rates.0.contains_key(&stranger("0.0.0.9")));
    }
}
