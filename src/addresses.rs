//! Where a running site really listens: `run/addresses.json`, written by its roles.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use vigia_kit::config::within_this_machine;
use vigia_kit::site::Site;

/// What is bound so far.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Addresses {
    /// The sensors' port.
    pub sensor: Option<SocketAddr>,
    /// MQTT.
    pub mqtt: Option<SocketAddr>,
    /// The API.
    pub api: Option<SocketAddr>,
    /// Modbus clients; a site may be without.
    pub modbus: Option<SocketAddr>,
}

/// All of a site that runs, as a client on this machine reaches them.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// The sensors' port.
    pub sensor: SocketAddr,
    /// MQTT.
    pub mqtt: SocketAddr,
    /// The API.
    pub api: SocketAddr,
}

impl Addresses {
    /// What the site's roles have written; nothing if there is no such file (yet).
    pub fn read(site: &Site) -> Self {
        fs::read_to_string(path(site))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Removes what an earlier run has written.
    ///
    /// # Errors
    /// What the file system says.
    pub fn forget(site: &Site) -> io::Result<()> {
        match fs::remove_file(path(site)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// All three, if they are there.
    pub fn bound(self) -> Option<Bound> {
        Some(Bound {
            sensor: within_this_machine(self.sensor?),
            mqtt: within_this_machine(self.mqtt?),
            api: within_this_machine(self.api?),
        })
    }

    /// The names of those that are not there.
    pub fn missing(self) -> Vec<&'static str> {
        [("sensor", self.sensor), ("mqtt", self.mqtt), ("api", self.api)]
            .into_iter()
            .filter_map(|(name, address)| address.is_none().then_some(name))
            .collect()
    }
}

/// Base URL of the site's API: where it is bound, or where the configuration says it will be.
pub fn api_url(site: &Site) -> String {
    match Addresses::read(site).api {
        Some(address) => site.config.store.url(address),
        None => site.config.api_url(),
    }
}

fn path(site: &Site) -> PathBuf {
    site.dir().join("run").join("addresses.json")
}
