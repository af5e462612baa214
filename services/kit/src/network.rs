//! A range of IP addresses, as an allow-list names it: `10.0.0.0/8`, or one address.

use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// The addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// What is no such range, and what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no range of addresses: expected {expected}")]
pub struct NotANetwork {
    text: String,
    expected: String,
}

impl Network {
    /// The address alone.
    pub fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: width(address) }
    }

    /// Whether the address is one of them. An IPv4 address that arrives at an IPv6 socket is still one.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && first(address, self.prefix) == self.address
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let bad = |expected: &str| NotANetwork { text: text.into(), expected: expected.into() };
        let form = "ADDRESS or ADDRESS/BITS, such as 10.0.0.0/8";
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad(form))?;
        let prefix = match prefix {
            Some(bits) => bits.parse().ok().filter(|bits| *bits <= width(address)),
            None => Some(width(address)),
        };
        let prefix = prefix.ok_or_else(|| bad(form))?;
        // Who writes 10.0.0.5/8 may mean that one address.
        let begin = first(address, prefix);
        if begin != address {
            return Err(bad(&format!("{begin}/{prefix} or {address}")));
        }
        Ok(Self { address, prefix })
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first address with the same `prefix` bits.
fn first(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_range_has_the_addresses_that_begin_alike() {
        for (network, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1/32", "::ffff:127.0.0.1", "::1"),
            ("10.1.0.0/16", "10.1.255.255", "10.2.0.0"),
            ("10.0.0.6/31", "10.0.0.7", "10.0.0.8"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::1"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
        ] {
            assert!(contains(network, inside), "{network} {inside}");
            assert!(!contains(network, outside), "{network} {outside}");
        }
        let mapped = Network::of("::ffff:10.0.0.1".parse().unwrap());
        assert!(mapped.contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn what_is_none_is_refused_with_what_would_be() {
        for text in ["", "here", "10.0.0.0/33", "::/129", "10.0.0.0/", "/8", "10.0.0.0/-1"] {
            let sentence = text.parse::<Network>().unwrap_err().to_string();
            assert!(sentence.contains("ADDRESS/BITS"), "{sentence}");
        }
        let sentence = "10.0.0.5/8".parse::<Network>().unwrap_err().to_string();
        assert!(sentence.contains("10.0.0.0/8 or 10.0.0.5"), "{sentence}");
    }
}
