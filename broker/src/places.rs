//! Room for so many, and for so many from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Places to be taken.
#[derive(Debug, Clone)]
pub struct Places {
    most: usize,
    most_per_address: usize,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub struct Place {
    places: Places,
    address: IpAddr,
}

impl Places {
    /// All free.
    pub fn new(most: usize, most_per_address: usize) -> Self {
        Self { most, most_per_address, taken: Arc::default() }
    }

    /// A place for whoever comes from there, if there is one.
    pub fn take(&self, from: IpAddr) -> Option<Place> {
        let address = host(from);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let here = taken.get(&address).copied().unwrap_or(0);
        if taken.values().sum::<usize>() >= self.most || here >= self.most_per_address {
            return None;
        }
        taken.insert(address, here + 1);
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
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
    fn places_are_bounded_in_total_and_for_each_address_and_come_back() {
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
        let places = Places::new(10, 1);
        let _place = places.take(address("2001:db8::1")).unwrap();
        assert!(places.take(address("2001:db8::2")).is_none());
        assert!(places.take(address("2001:db8:0:1::1")).is_some());
        let _mapped = places.take(address("::ffff:10.0.0.1")).unwrap();
        assert!(places.take(address("10.0.0.1")).is_none());
    }
}
