//! Room for so many, and for so many of one kind: from one address, of one account.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Places to be taken.
#[derive(Debug, Clone)]
pub struct Places<K: Eq + Hash> {
    most: usize,
    most_of_a_kind: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    kind: K,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// All free.
    pub fn new(most: usize, most_of_a_kind: usize) -> Self {
        Self { most, most_of_a_kind, taken: Arc::default() }
    }

    /// A place for one more of this kind, if there is one.
    pub fn take(&self, kind: K) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let here = taken.get(&kind).copied().unwrap_or(0);
        if taken.values().sum::<usize>() >= self.most || here >= self.most_of_a_kind {
            return None;
        }
        taken.insert(kind.clone(), here + 1);
        Some(Place { kind, taken: Arc::clone(&self.taken) })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.kind) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.kind);
            }
        }
    }
}

/// What counts as one address: an IPv6 host has 2^64 to choose from.
pub fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_bounded_in_total_and_for_each_kind_and_come_back() {
        let places = Places::new(3, 2);
        let (here, there) = (address("10.0.0.1"), address("10.0.0.2"));
        let first = places.take(here).unwrap();
        let _second = places.take(here).unwrap();
        assert!(places.take(here).is_none(), "two of one address");
        let third = places.take(there).unwrap();
        assert!(places.take(there).is_none(), "three in total");
        drop(third);
        assert!(places.take(here).is_none(), "still two of this address");
        drop(first);
        assert!(places.take(here).is_some());
    }

    #[test]
    fn the_addresses_of_one_host_are_one() {
        assert_eq!(host(address("2001:db8::1")), host(address("2001:db8::2")));
        assert_ne!(host(address("2001:db8::1")), host(address("2001:db8:0:1::1")));
        assert_eq!(host(address("::ffff:10.0.0.1")), address("10.0.0.1"));
        assert_ne!(host(address("10.0.0.1")), host(address("10.0.0.2")));
    }
}
