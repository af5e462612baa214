//! The text of a new site's `vigia.toml`.
//!
//! Prose stands behind `# `, a key with its default behind `#` alone: removing the `#` of every key
//! changes nothing but the examples, which a test does.

use std::net::SocketAddr;

use vigia_kit::config::{Broker, Metrics, Modbus, Store};
use vigia_protocol::topic::NodeName;

use super::ports::Ports;

/// Where MQTT clients connect by TLS, on a site that has it.
const MQTT_TLS_PORT: u16 = 8883;

/// How the example of a map stands in the file.
const MAP_EXAMPLE: &str = "# map = \"modbus.toml\"";

/// The same file with a map of Modbus devices.
pub fn with_map(text: &str, map: &str) -> String {
    text.replacen(MAP_EXAMPLE, &format!("map = \"{map}\""), 1)
}

/// The file of a site with this node name, on these ports or the default ones, with TLS or without.
pub fn text(node: &NodeName, ports: Option<Ports>, tls: bool) -> String {
    let broker = Broker::default();
    let store = Store::default();
    let modbus = Modbus::default();
    let listen = |key: &str, default: SocketAddr, port: Option<u16>| match port {
        None => format!("#{key} = \"{default}\""),
        Some(port) => format!("{key} = \"{}\"", SocketAddr::new(default.ip(), port)),
    };
    let sensors = listen("sensors", broker.sensors, ports.map(|ports| ports.sensors));
    let mqtt = listen("mqtt", broker.mqtt, ports.map(|ports| ports.mqtt));
    let metrics = listen("metrics", broker.metrics, ports.map(|ports| ports.metrics));
    let api = listen("api", store.api, ports.map(|ports| ports.api));
    let defaults = Metrics::default();
    let of_role = |key: &str, default: SocketAddr, at: usize| {
        listen(key, default, ports.map(|ports| ports.roles[at]))
    };
    let verify = of_role("verify", defaults.verify, 0);
    let transform = of_role("transform", defaults.transform, 1);
    let store_metrics = of_role("store", defaults.store, 2);
    let alert = of_role("alert", defaults.alert, 3);
    let metrics_insecure = defaults.insecure;
    let plain = SocketAddr::new(broker.mqtt.ip(), ports.map_or(broker.mqtt.port(), |p| p.mqtt));
    let encrypted = SocketAddr::new(plain.ip(), ports.map_or(MQTT_TLS_PORT, |p| p.mqtt_tls));
    let modbus_listen = listen("listen", modbus.listen, ports.map(|ports| ports.modbus));
    let modbus_metrics = listen("metrics", modbus.metrics, ports.map(|ports| ports.modbus_metrics));
    let enters = SocketAddr::new(
        broker.sensors.ip(),
        ports.map_or(broker.sensors.port(), |ports| ports.sensors),
    );
    // Without certificates it has no default: an example, in prose.
    let mqtt_tls = format!("{}mqtt_tls = \"{encrypted}\"", if tls { "" } else { "# " });
    let (bus, bus_tls) = if tls { (encrypted, "tls = true") } else { (plain, "#tls = false") };
    let api_address = ports.map_or(store.api, |ports| SocketAddr::new(store.api.ip(), ports.api));
    let api_url = Store { tls, ..store.clone() }.url(api_address);
    let api_tls = if tls { "tls = true" } else { "#tls = false" };
    let Broker { insecure, journal_mib, keep_hours, disk_reserve_mib, .. } = broker;
    let api_insecure = store.insecure;
    let modbus_insecure = modbus.insecure;
    format!(
        r##"# Configuration of this Vigia site. Roles read it when they start; unknown keys are refused.
# Keys that stand behind a # have the value that is shown.

# The broker node's name, a label in MQTT topics: 1 to 32 of a-z, 0-9 and -.
node = "{node}"

# ----- broker: the sensors' port, the journal, the embedded MQTT broker
[broker]
# Where sensors connect (what they send is sealed). 127.0.0.1 is this machine only.
{sensors}
# Where MQTT clients connect without TLS: local tools.
{mqtt}
# Where Prometheus reads the broker's numbers: http://ADDRESS/metrics.
{metrics}
# Whether both may be open to other machines.
#insecure = {insecure}
# Where MQTT clients connect by TLS; 'vigia init --tls' makes the certificates.
{mqtt_tls}
# Bound of the journal: when so much waits for the store, sensors are told to wait. 16 to 1048576.
#journal_mib = {journal_mib}
# How long readings stay in the journal after they were stored (within its bound), so that a store
# restored from a backup is filled again by itself.
#keep_hours = {keep_hours}
# With less free space than this the disk counts as full: sensors are told to wait.
#disk_reserve_mib = {disk_reserve_mib}

# ----- where the other roles find the bus
[mqtt]
# HOST:PORT; by default the broker's own address. With TLS, HOST must be in the broker's certificate.
#address = "{bus}"
# Whether by TLS: each role shows its certificate and believes only the site's authority (tls/ca.pem).
{bus_tls}

# ----- store: what is kept, and the API
[store]
# Where the API, its documentation (/docs) and its clients meet. An address that other machines reach is
# refused without TLS, unless insecure = true; there every client needs a token ('vigia token add').
{api}
# Whether by TLS, with the certificate of the site.
{api_tls}
#insecure = {api_insecure}

# ----- alert: limits to watch
[alert]
# The API, for what alert missed while it was down; by default the store's own address.
#api = "{api_url}"

# Raised above `high` or below `low`; over when the value has come back by `hysteresis`.
[[alert.limits]]
name = "too-hot"
quantity = "temperature"
high = 80.0
hysteresis = 2.0

# For one sensor only:
#[[alert.limits]]
#name = "dry-air"
#sensor = 1
#quantity = "humidity"
#low = 20.0
#hysteresis = 3.0

# ----- modbus: the plant's own devices as sensors, and the latest values for SCADA
[modbus]
# The map of the devices that are polled, relative to this directory. Each is a sensor of its own:
# 'vigia sensor add ID --modbus --profile NAME' registers it. Without a map none are polled.
{MAP_EXAMPLE}
# HOST:PORT where their readings enter; by default the broker's own address for sensors.
#sensors = "{enters}"
# Where Modbus TCP clients read the latest values, and who may: addresses or ranges such as "10.0.0.0/8".
# Modbus knows neither passwords nor secrecy.
{modbus_listen}
#allow = ["127.0.0.1"]
# Where Prometheus reads the role's numbers, and whether that may be open to other machines.
{modbus_metrics}
#insecure = {modbus_insecure}

# ----- metrics: where Prometheus reads the other roles' numbers, http://ADDRESS/metrics
[metrics]
{verify}
{transform}
{store_metrics}
{alert}
# Whether they may be open to other machines: they hold no secret, and no password protects them.
#insecure = {metrics_insecure}

# ----- profiles: what sensors measure, besides the built-in `climate` (temperature, pressure, humidity)
# At most 16 quantities; a value outside its range is kept and marked as uncertain. A type is "f32", or
# "f64" where a counter needs it.
#[[profiles.pump.quantities]]
#name = "flow"
#unit = "l/min"
#type = "f32"
#range = [0.0, 500.0]
#[[profiles.pump.quantities]]
#name = "energy"
#unit = "kWh"
#type = "f64"

# ----- drills: breaking things on purpose (vigia drill); never on a site that matters
[drills]
#allowed = false
# Writes that are not synced survive the process ("kernel"), or are held back so that killing it is
# like a power cut ("process").
#unsynced = "kernel"
"##
    )
}

#[cfg(test)]
mod tests {
    use vigia_kit::config::{Config, Mqtt};

    use super::*;

    const PORTS: Ports = Ports {
        sensors: 20_001,
        mqtt: 20_002,
        mqtt_tls: 20_004,
        metrics: 20_005,
        api: 20_003,
        modbus: 20_006,
        modbus_metrics: 20_007,
        roles: [20_008, 20_009, 20_010, 20_011],
    };

    fn parse(text: &str) -> Config {
        Config::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The file with every key in force.
    fn without_comments(text: &str) -> String {
        text.lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if !key.starts_with(' ') => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect()
    }

    #[test]
    fn the_keys_behind_comments_have_their_defaults() {
        let text = text(&NodeName::new("node1").unwrap(), None, false);
        let (short, full) = (parse(&text), parse(&without_comments(&text)));
        assert_eq!(format!("{:?}", short.broker), format!("{:?}", Broker::default()));
        assert_eq!(format!("{:?}", full.broker), format!("{:?}", short.broker));
        assert_eq!(format!("{:?}", full.store), format!("{:?}", short.store));
        assert_eq!(format!("{:?}", full.metrics), format!("{:?}", Metrics::default()));
        assert_eq!(format!("{:?}", short.metrics), format!("{:?}", full.metrics));
        assert_eq!(format!("{:?}", full.drills), format!("{:?}", short.drills));
        assert_eq!(format!("{:?}", short.mqtt), format!("{:?}", Mqtt::default()));
        assert_eq!(full.mqtt.tls, short.mqtt.tls);
        assert_eq!(full.bus_address(), short.bus_address());
        assert_eq!(full.api_url(), short.api_url());
        assert_eq!(format!("{:?}", short.modbus), format!("{:?}", Modbus::default()));
        assert_eq!(full.modbus.allow, short.modbus.allow);
        assert_eq!(full.modbus.listen, short.modbus.listen);
        assert_eq!(full.modbus.metrics, short.modbus.metrics);
        assert_eq!(full.sensors_address(), short.sensors_address());
        assert_eq!(short.alert.limits.len(), 1);
        assert_eq!(full.alert.limits.len(), 2);
        assert_eq!(full.profiles().unwrap().get("pump").unwrap().quantities().len(), 2);
    }

    #[test]
    fn chosen_ports_are_in_force() {
        let text = text(&NodeName::new("hall-3").unwrap(), Some(PORTS), false);
        for config in [parse(&text), parse(&without_comments(&text))] {
            assert_eq!(config.node.as_str(), "hall-3");
            assert_eq!(config.broker.sensors.port(), 20_001);
            assert_eq!(config.metrics.verify.port(), 20_008);
            assert_eq!(config.metrics.alert.port(), 20_011);
            assert_eq!(config.bus_address(), "127.0.0.1:20002");
            assert_eq!(config.api_url(), "http://127.0.0.1:20003");
            assert_eq!(config.modbus.listen.port(), 20_006);
            assert_eq!(config.modbus.metrics.port(), 20_007);
            assert_eq!(config.sensors_address(), "127.0.0.1:20001");
        }
    }

    #[test]
    fn with_tls_the_roles_use_it_and_plain_mqtt_stays_on_this_machine() {
        for (ports, expected) in [(None, 8883), (Some(PORTS), 20_004)] {
            let text = text(&NodeName::new("node1").unwrap(), ports, true);
            for config in [parse(&text), parse(&without_comments(&text))] {
                assert!(config.mqtt.tls);
                assert_eq!(config.broker.mqtt_tls.unwrap().port(), expected);
                assert_eq!(config.bus_address(), format!("127.0.0.1:{expected}"));
                assert!(config.broker.mqtt.ip().is_loopback());
                assert!(config.store.tls && config.api_url().starts_with("https://127.0.0.1:"));
            }
        }
    }
}
