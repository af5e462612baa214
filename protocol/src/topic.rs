//! Every topic of the bus: its name, its filter and its parser side by side.

use crate::header::SensorId;
use crate::limits::MAX_NODE_BYTES;

const ROOT: &str = "vigia/v1";

/// The arrows of the pipeline. Each has a sealing key of its own, held by its writer and readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arrow {
    /// broker → verify
    Raw,
    /// verify → transform
    Verified,
    /// transform → store, alert, modbus
    Text,
    /// store → broker
    Stored,
    /// broker → store: what the journal holds
    Journal,
}

impl Arrow {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Raw, Self::Verified, Self::Text, Self::Stored, Self::Journal];

    /// Its level in topics and its name in key files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Verified => "verified",
            Self::Text => "text",
            Self::Stored => "stored",
            Self::Journal => "journal",
        }
    }

    /// The topic of a node's messages on this arrow.
    pub fn topic(self, node: &NodeName) -> String {
        format!("{ROOT}/{}/{node}", self.name())
    }

    /// The filter that catches all nodes' messages on this arrow.
    pub fn filter(self) -> String {
        format!("{ROOT}/{}/+", self.name())
    }

    /// The node, if `topic` is one of this arrow's.
    pub fn parse(self, topic: &str) -> Option<NodeName> {
        let rest = topic.strip_prefix(ROOT)?.strip_prefix('/')?;
        NodeName::new(rest.strip_prefix(self.name())?.strip_prefix('/')?)
    }
}

/// A broker node's name: a label, not an identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(String);

impl NodeName {
    /// 1 to 32 of `a-z`, `0-9` and `-`.
    pub fn new(name: &str) -> Option<Self> {
        let fits = (1..=MAX_NODE_BYTES).contains(&name.len())
            && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        fits.then(|| Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where people and third parties find a sensor's newest reading.
pub fn sensor(id: SensorId) -> String {
    format!("{ROOT}/sensor/{id}")
}

/// The filter that catches all sensors' newest readings.
pub fn sensor_filter() -> String {
    format!("{ROOT}/sensor/+")
}

/// Where an alarm's events appear.
pub fn alarm(sensor: SensorId, rule: &str) -> String {
    format!("{ROOT}/alarm/{sensor}/{rule}")
}

/// The filter that catches all alarm events.
pub fn alarm_filter() -> String {
    format!("{ROOT}/alarm/+/+")
}

/// Sensor and rule, `SENSOR/RULE`, if `topic` is an alarm's.
pub fn parse_alarm(topic: &str) -> Option<&str> {
    topic.strip_prefix(ROOT)?.strip_prefix("/alarm/")
}

/// Where what went to quarantine is told to people.
pub fn quarantine(node: &NodeName) -> String {
    format!("{ROOT}/quarantine/{node}")
}

/// The filter that catches what is told about quarantine.
pub fn quarantine_filter() -> String {
    format!("{ROOT}/quarantine/+")
}

/// Where a role says how it is.
pub fn status(role: &str, node: &NodeName) -> String {
    format!("{ROOT}/status/{role}/{node}")
}

/// The filter that catches what one role says of itself, on every node.
pub fn role_status_filter(role: &str) -> String {
    format!("{ROOT}/status/{role}/+")
}

/// The filter that catches what every role says of itself.
pub fn status_filter() -> String {
    format!("{ROOT}/status/+/+")
}

/// Role and node, if `topic` is where a role says how it is.
pub fn parse_status(topic: &str) -> Option<(&str, &str)> {
    topic.strip_prefix(ROOT)?.strip_prefix("/status/")?.split_once('/')
}

/// Where the broker's watchdog sends itself a message.
pub fn watchdog(node: &NodeName) -> String {
    format!("{ROOT}/watchdog/{node}")
}

/// The filter that catches every node's watchdog.
pub fn watchdog_filter() -> String {
    format!("{ROOT}/watchdog/+")
}

/// The filter that catches what the MQTT broker says of itself.
pub fn sys_filter() -> String {
    "$SYS/#".to_owned()
}
