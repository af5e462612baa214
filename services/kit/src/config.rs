//! `vigia.toml`: one file, one section per role, unknown keys refused.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::{Profile, Profiles, Quantity};
use vigia_protocol::topic::NodeName;

use crate::limits::MAX_ALLOWED_NETWORKS;
use crate::network::Network;
use crate::site::Role;

/// A configuration that cannot be used. One sentence; the process exits with 64 (EX_USAGE).
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The broker node's name, a label in topics.
    #[serde(deserialize_with = "node_name")]
    pub node: NodeName,
    /// Ingress, journal and embedded broker.
    #[serde(default)]
    pub broker: Broker,
    /// Where the roles find the bus; by default the broker's own address.
    #[serde(default)]
    pub mqtt: Mqtt,
    /// Persistence and the API.
    #[serde(default)]
    pub store: Store,
    /// Alarms.
    #[serde(default)]
    pub alert: Alert,
    /// Modbus devices, and what SCADA may read.
    #[serde(default)]
    pub modbus: Modbus,
    /// Where Prometheus reads the other roles' numbers.
    #[serde(default)]
    pub metrics: Metrics,
    /// Profiles besides `climate`.
    #[serde(default)]
    profiles: BTreeMap<String, ProfileSection>,
    /// What drills may do here.
    #[serde(default)]
    pub drills: Drills,
}

/// `[broker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Broker {
    /// Where sensors connect.
    #[serde(deserialize_with = "address")]
    pub sensors: SocketAddr,
    /// Where MQTT clients connect without TLS.
    #[serde(deserialize_with = "address")]
    pub mqtt: SocketAddr,
    /// Where MQTT clients connect by TLS; nowhere if absent.
    #[serde(deserialize_with = "some_address")]
    pub mqtt_tls: Option<SocketAddr>,
    /// Where Prometheus reads the broker's numbers, at `/metrics`.
    #[serde(deserialize_with = "address")]
    pub metrics: SocketAddr,
    /// Whether `mqtt` and `metrics` may be open to other machines.
    pub insecure: bool,
    /// Bytes of journal rows, unstored and kept, in MiB.
    #[serde(deserialize_with = "mebibytes")]
    pub journal_mib: u64,
    /// How long stored rows stay in the journal, so that a restored store is filled again.
    #[serde(deserialize_with = "hours")]
    pub keep_hours: u32,
    /// Free space below which the disk counts as nearly full, in MiB.
    pub disk_reserve_mib: u64,
}

impl Default for Broker {
    fn default() -> Self {
        Self {
            sensors: SocketAddr::from(([127, 0, 0, 1], 7700)),
            mqtt: SocketAddr::from(([127, 0, 0, 1], 1883)),
            mqtt_tls: None,
            metrics: SocketAddr::from(([127, 0, 0, 1], 7701)),
            insecure: false,
            journal_mib: 1024,
            keep_hours: 24,
            disk_reserve_mib: 256,
        }
    }
}

/// `[mqtt]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// `host:port` of the bus.
    pub address: Option<String>,
    /// Whether the roles connect by TLS, with the certificates of the site.
    pub tls: bool,
}

/// `[store]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Where the API listens.
    #[serde(deserialize_with = "address")]
    pub api: SocketAddr,
    /// Whether the API is served by TLS, with the certificate of the site.
    pub tls: bool,
    /// Whether `api` may be open to other machines without TLS.
    pub insecure: bool,
}

impl Store {
    /// Base URL of the API at this address.
    pub fn url(&self, bound: SocketAddr) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", within_this_machine(bound))
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { api: SocketAddr::from(([127, 0, 0, 1], 8080)), tls: false, insecure: false }
    }
}

/// `[metrics]`: where Prometheus reads each role's numbers, at `/metrics`; the broker has its own section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Verify's.
    #[serde(deserialize_with = "address")]
    pub verify: SocketAddr,
    /// Transform's.
    #[serde(deserialize_with = "address")]
    pub transform: SocketAddr,
    /// The store's.
    #[serde(deserialize_with = "address")]
    pub store: SocketAddr,
    /// Alert's.
    #[serde(deserialize_with = "address")]
    pub alert: SocketAddr,
    /// Whether they may be open to other machines.
    pub insecure: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        let here = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            verify: here(7702),
            transform: here(7703),
            store: here(7704),
            alert: here(7705),
            insecure: false,
        }
    }
}

/// `[alert]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alert {
    /// Base URL of the store's API; by default the store's own address.
    pub api: Option<String>,
    /// Limits to watch.
    pub limits: Vec<Limit>,
}

/// `[[alert.limits]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Its name, a level of MQTT topics.
    pub name: String,
    /// One sensor; all if absent.
    pub sensor: Option<SensorId>,
    /// Which quantity.
    pub quantity: String,
    /// Raised above this.
    pub high: Option<f64>,
    /// Raised below this.
    pub low: Option<f64>,
    /// How far a value must come back before the alarm ends.
    #[serde(default)]
    pub hysteresis: f64,
}

impl Limit {
    /// Whether it can be watched.
    ///
    /// # Errors
    /// One sentence that names the limit, the value and what is allowed.
    pub fn check(&self) -> Result<(), ConfigError> {
        let bad = |what: String| Err(ConfigError(format!("alert.limits {:?}: {what}", self.name)));
        if NodeName::new(&self.name).is_none() {
            return bad("name must be 1 to 32 of a-z, 0-9 and -".to_owned());
        }
        if self.high.is_none() && self.low.is_none() {
            return bad("expected high, low or both".to_owned());
        }
        if !(self.hysteresis >= 0.0 && self.hysteresis.is_finite()) {
            return bad(format!("hysteresis = {}, expected a number not below 0", self.hysteresis));
        }
        if let (Some(low), Some(high)) = (self.low, self.high)
            && low >= high
        {
            return bad(format!("low = {low} is not below high = {high}"));
        }
        Ok(())
    }
}

/// `[modbus]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Modbus {
    /// The map of the devices that are polled, relative to the site; none are if absent.
    pub map: Option<PathBuf>,
    /// `host:port` where the devices' readings enter; by default the broker's own address for sensors.
    pub sensors: Option<String>,
    /// Where Modbus clients read the latest values.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// Who may: Modbus knows no passwords.
    pub allow: Vec<Network>,
    /// Where Prometheus reads the role's numbers, at `/metrics`.
    #[serde(deserialize_with = "address")]
    pub metrics: SocketAddr,
    /// Whether `metrics` may be open to other machines.
    pub insecure: bool,
}

impl Default for Modbus {
    fn default() -> Self {
        Self {
            map: None,
            sensors: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 5020)),
            allow: vec![Network::of(Ipv4Addr::LOCALHOST.into())],
            metrics: SocketAddr::from(([127, 0, 0, 1], 7706)),
            insecure: false,
        }
    }
}

/// `[profiles.NAME]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileSection {
    quantities: Vec<Quantity>,
}

/// `[drills]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drills {
    /// Whether drills may break things on this site.
    pub allowed: bool,
    /// What journal and store do with writes that are not synced yet.
    pub unsynced: Unsynced,
    /// A deliberate defect, to see the oracle find it. Needs a build with the `sabotage` feature.
    pub sabotage: Option<Sabotage>,
}

/// What happens to writes that are not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unsynced {
    /// The operating system has them; they survive the process, not the machine.
    #[default]
    Kernel,
    /// The process holds them back until the sync, so that killing it is like a power cut.
    Process,
}

/// The negative controls, of which each breaks the promise in one way; and a fault that cannot be had otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sabotage {
    /// The journal acknowledges before its sync.
    AckBeforeFsync,
    /// A PUBACK frees the journal.
    TrimOnPuback,
    /// The store forgets one reading of 1,000.
    DropOne,
    /// The store keeps one reading of 1,000 twice.
    StoreTwice,
    /// The journal acknowledges a frame and those after it, and writes it with the next commit.
    AckOutOfOrder,
    /// Verify and transform die of one frame each.
    DeadlyFrame,
}

impl Config {
    /// Reads and checks the file.
    ///
    /// # Errors
    /// One sentence that names the key, the value and what is allowed.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError(format!(
                "cannot read {}: {error}; 'vigia init DIR' makes a site",
                path.display()
            ))
        })?;
        Self::parse(&text).map_err(|error| ConfigError(format!("{}, {error}", path.display())))
    }

    /// Reads and checks the text of the file.
    ///
    /// # Errors
    /// As [`Config::load`], without the file's name.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let number = text[..at].matches('\n').count() + 1;
            let line = text.lines().nth(number - 1).unwrap_or("").trim();
            ConfigError(format!("line {number}, {line:?}: {}", error.message().replace('\n', "; ")))
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.profiles()?;
        if cfg!(not(feature = "sabotage")) && self.drills.sabotage.is_some() {
            return Err(ConfigError(
                "drills.sabotage is set, but this program is built without the feature \"sabotage\""
                    .to_owned(),
            ));
        }
        self.check_listeners()?;
        if self.modbus.allow.len() > MAX_ALLOWED_NETWORKS {
            return Err(ConfigError(format!(
                "modbus.allow has {} ranges of addresses, expected at most {MAX_ALLOWED_NETWORKS}",
                self.modbus.allow.len()
            )));
        }
        self.alert.limits.iter().try_for_each(Limit::check)
    }

    fn check_listeners(&self) -> Result<(), ConfigError> {
        let plain = [
            ("broker", "mqtt", self.broker.mqtt, self.broker.insecure),
            ("broker", "metrics", self.broker.metrics, self.broker.insecure),
            ("metrics", "verify", self.metrics.verify, self.metrics.insecure),
            ("metrics", "transform", self.metrics.transform, self.metrics.insecure),
            ("metrics", "store", self.metrics.store, self.metrics.insecure),
            ("metrics", "alert", self.metrics.alert, self.metrics.insecure),
            ("store", "api", self.store.api, self.store.tls || self.store.insecure),
            ("modbus", "metrics", self.modbus.metrics, self.modbus.insecure),
        ];
        for (section, key, address, insecure) in plain {
            if !address.ip().is_loopback() && !insecure {
                return Err(ConfigError(format!(
                    "{section}.{key} = \"{address}\" would be open to other machines without TLS, expected \
                     a loopback address, or insecure = true in [{section}]"
                )));
            }
        }
        if self.mqtt.tls && self.mqtt.address.is_none() && self.broker.mqtt_tls.is_none() {
            return Err(ConfigError(
                "mqtt.tls = true, but nothing says where, expected broker.mqtt_tls or mqtt.address"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    /// All profiles of the site.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn profiles(&self) -> Result<Profiles, ConfigError> {
        let mut profiles = Profiles::default();
        for (name, section) in &self.profiles {
            let profile = Profile::new(name, section.quantities.clone())
                .map_err(|error| ConfigError(error.to_string()))?;
            profiles.insert(profile);
        }
        Ok(profiles)
    }

    /// `host:port` where the other roles find the bus.
    pub fn bus_address(&self) -> String {
        let listener = self.broker.mqtt_tls.filter(|_| self.mqtt.tls).unwrap_or(self.broker.mqtt);
        self.mqtt.address.clone().unwrap_or_else(|| within_this_machine(listener).to_string())
    }

    /// `host:port` where Modbus devices' readings enter.
    pub fn sensors_address(&self) -> String {
        let own = || within_this_machine(self.broker.sensors).to_string();
        self.modbus.sensors.clone().unwrap_or_else(own)
    }

    /// Where Prometheus reads a role's numbers.
    pub fn metrics_of(&self, role: Role) -> SocketAddr {
        match role {
            Role::Broker => self.broker.metrics,
            Role::Verify => self.metrics.verify,
            Role::Transform => self.metrics.transform,
            Role::Store => self.metrics.store,
            Role::Alert => self.metrics.alert,
            Role::Modbus => self.modbus.metrics,
        }
    }

    /// Base URL of the store's API.
    pub fn api_url(&self) -> String {
        self.alert.api.clone().unwrap_or_else(|| self.store.url(self.store.api))
    }
}

/// Where a listener is reached from its own machine: "every address" stands in no certificate.
pub fn within_this_machine(listener: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

fn node_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeName, D::Error> {
    let text = String::deserialize(deserializer)?;
    NodeName::new(&text).ok_or_else(|| {
        serde::de::Error::custom(format!("{text:?} is not a node name: 1 to 32 of a-z, 0-9 and -"))
    })
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        serde::de::Error::custom(format!(
            "{text:?} is not an address to listen on: expected IP:PORT, such as 127.0.0.1:7700"
        ))
    })
}

fn some_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}

fn mebibytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    within(deserializer, 16, 1 << 20, "MiB")
}

fn hours<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 0, 24 * 365, "hours").map(|hours| hours as u32)
}

fn within<'de, D: Deserializer<'de>>(
    deserializer: D,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if (least..=most).contains(&value) {
        return Ok(value);
    }
    Err(serde::de::Error::custom(format!("{value} is out of bounds: {least} to {most} {unit}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rest: &str) -> Result<Config, ConfigError> {
        Config::parse(&format!("node = \"a\"\n{rest}"))
    }

    #[test]
    fn plain_listeners_open_to_others_must_be_wanted() {
        for (section, key) in
            [("broker", "mqtt"), ("store", "api"), ("modbus", "metrics"), ("metrics", "verify")]
        {
            for address in ["0.0.0.0:99", "192.0.2.7:99", "[::]:99", "[2001:db8::1]:99"] {
                let text = format!("[{section}]\n{key} = \"{address}\"");
                parse(&text).unwrap_err();
                parse(&format!("{text}\ninsecure = true")).unwrap();
            }
            for address in ["127.0.0.1:99", "127.0.0.2:99", "[::1]:99"] {
                parse(&format!("[{section}]\n{key} = \"{address}\"")).unwrap();
            }
        }
        // Its listener for TLS is what the others are for.
        parse("[broker]\nmqtt_tls = \"0.0.0.0:8883\"\nsensors = \"0.0.0.0:7700\"").unwrap();
    }

    #[test]
    fn with_tls_the_api_may_be_open_and_is_asked_by_it() {
        let url = |text: &str| parse(text).unwrap().api_url();
        assert_eq!(url("[store]\napi = \"127.0.0.1:99\""), "http://127.0.0.1:99");
        assert_eq!(url("[store]\ntls = true\napi = \"0.0.0.0:99\""), "https://127.0.0.1:99");
        assert_eq!(url("[store]\ninsecure = true\napi = \"[::]:99\""), "http://[::1]:99");
        assert_eq!(url("[alert]\napi = \"https://plant:99\""), "https://plant:99");
    }

    #[test]
    fn the_roles_find_the_listener_that_speaks_as_they_do() {
        let bus = |text: &str| parse(text).unwrap().bus_address();
        let listeners = "[broker]\nmqtt = \"127.0.0.1:9\"\nmqtt_tls = \"0.0.0.0:10\"";
        assert_eq!(bus(listeners), "127.0.0.1:9");
        assert_eq!(bus(&format!("{listeners}\n[mqtt]\ntls = true")), "127.0.0.1:10");
        assert_eq!(bus("[broker]\nmqtt_tls = \"[::]:10\"\n[mqtt]\ntls = true"), "[::1]:10");
        assert_eq!(bus("[mqtt]\ntls = true\naddress = \"broker:8883\""), "broker:8883");
    }

    #[test]
    fn a_modbus_device_enters_where_sensors_do() {
        let enters = |text: &str| parse(text).unwrap().sensors_address();
        assert_eq!(enters("[broker]\nsensors = \"0.0.0.0:9\""), "127.0.0.1:9");
        assert_eq!(enters("[modbus]\nsensors = \"broker:7700\""), "broker:7700");
    }

    #[test]
    fn modbus_clients_are_allowed_by_name_only() {
        let modbus = parse("[modbus]\nallow = [\"10.0.0.0/8\", \"::1\"]").unwrap().modbus;
        let may = |text: &str| modbus.allow.iter().any(|it| it.contains(text.parse().unwrap()));
        assert!(may("10.1.2.3") && may("::1") && !may("127.0.0.1"));
        let error = parse("[modbus]\nallow = [\"10.0.0.1/8\"]").unwrap_err().to_string();
        assert!(error.contains("line 3") && error.contains("10.0.0.0/8"), "{error}");
        let many = vec!["\"10.0.0.0/8\""; MAX_ALLOWED_NETWORKS + 1].join(", ");
        parse(&format!("[modbus]\nallow = [{many}]")).unwrap_err();
    }
}
