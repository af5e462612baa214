//! Who may read: a list of addresses and networks.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::limits::MAX_ALLOWED_NETWORKS;

/// The list. An empty one is nobody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow(Vec<IpNet>);

/// An entry that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found}, expected {allowed}")]
pub struct BadAllow {
    found: String,
    allowed: String,
}

impl Allow {
    /// Reads addresses and networks, such as `10.0.0.5`, `10.0.0.0/24` and `2001:db8::/32`.
    ///
    /// # Errors
    /// The first entry that is none, or a network whose address has bits beyond its prefix.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self, BadAllow> {
        let entries = entries.into_iter().map(network).collect::<Result<Vec<_>, _>>()?;
        if entries.len() > MAX_ALLOWED_NETWORKS {
            return Err(BadAllow {
                found: format!("{} addresses and networks", entries.len()),
                allowed: format!("at most {MAX_ALLOWED_NETWORKS}"),
            });
        }
        Ok(Self(entries))
    }

    /// Whether this peer is on it.
    pub fn has(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }
}

fn network(text: &str) -> Result<IpNet, BadAllow> {
    let bad = |allowed: String| BadAllow { found: format!("{text:?}"), allowed };
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        bad("an address such as 10.0.0.5, or a network such as 10.0.0.0/24".to_owned())
    })?;
    // Whoever writes 10.0.0.5/8 may mean one address or 16 million.
    if network.addr() != network.network() {
        return Err(bad(format!("{} or {}", network.trunc(), network.addr())));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(entries: &[&str], peer: &str) -> bool {
        Allow::parse(entries.iter().copied()).unwrap().has(peer.parse().unwrap())
    }

    #[test]
    fn addresses_and_networks() {
        let list = ["10.0.0.5", "192.168.0.0/24", "2001:db8::/32", "::ffff:10.0.0.6"];
        for inside in ["10.0.0.5", "::ffff:10.0.0.5", "192.168.0.255", "2001:db8:1::1", "10.0.0.6"]
        {
            assert!(has(&list, inside), "{inside}");
        }
        for outside in ["10.0.0.4", "192.168.1.0", "2001:db9::1", "::1", "127.0.0.1"] {
            assert!(!has(&list, outside), "{outside}");
        }
        assert!(!has(&[], "127.0.0.1"), "nobody");
        assert!(has(&["0.0.0.0/0"], "8.8.8.8") && !has(&["0.0.0.0/0"], "::1"));
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        for bad in ["10.0.0.5/8", "10.0.0", "localhost", "10.0.0.0/33", "", "10.0.0.5:502"] {
            let error = Allow::parse([bad]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{bad:?}, expected ")), "{error}");
        }
        let many = vec!["10.0.0.5"; MAX_ALLOWED_NETWORKS + 1];
        assert!(Allow::parse(many).is_err());
    }
}
