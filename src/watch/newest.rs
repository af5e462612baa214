//! A sensor's newest reading, as the API says it.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::time::Micros;

/// A sensor's newest reading.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Newest {
    /// Whose; among readings of one sensor, the answer does not say.
    #[serde(default = "nobody")]
    pub sensor: SensorId,
    /// What people call it.
    name: Option<String>,
    #[serde(flatten)]
    place: StreamSeq,
    #[serde(deserialize_with = "time")]
    time: Micros,
    /// When the ingress had it.
    #[serde(deserialize_with = "time")]
    pub received: Micros,
    /// The worst of its values'.
    pub quality: String,
    /// By quantity; `None` where there was no number.
    pub values: BTreeMap<String, Option<f64>>,
    /// Of the values that are not good, by quantity.
    #[serde(default)]
    pub status: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct StreamSeq {
    stream: u32,
    seq: u64,
}

impl Newest {
    /// Whose, for people.
    pub fn whose(&self) -> String {
        let id = self.sensor;
        self.name
            .as_ref()
            .map_or_else(|| format!("sensor {id}"), |name| format!("sensor {id} ({name})"))
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        Place { stream: self.place.stream, seq: self.place.seq }
    }

    /// When it was taken.
    pub fn time(&self) -> Micros {
        self.time
    }
}

const fn nobody() -> SensorId {
    SensorId(0)
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Micros, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| serde::de::Error::custom(format!("{text:?} is no time")))
}

/// A good reading of sensor 1, as it might be.
#[cfg(test)]
pub fn reading(stream: u32, seq: u64, seconds: i64) -> Newest {
    Newest {
        sensor: SensorId(1),
        name: None,
        place: StreamSeq { stream, seq },
        time: Micros(seconds * 1_000_000),
        received: Micros(seconds * 1_000_000),
        quality: "good".to_owned(),
        values: BTreeMap::new(),
        status: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_the_api_is_understood() {
        let text = r#"{"stream":2,"seq":9,"time":"2026-01-01T00:00:01Z","received":"2026-01-01T00:00:02Z",
            "quality":"bad","flags":[],"skewed":false,"values":{"temperature":null,"humidity":4.5},
            "status":{"temperature":"BadSensorFailure"}}"#;
        let newest: Newest = serde_json::from_str(text).unwrap();
        assert_eq!(newest.place(), Place { stream: 2, seq: 9 });
        assert_eq!(newest.received.0 - newest.time.0, 1_000_000);
        assert_eq!(newest.whose(), "sensor 0");
        assert_eq!(newest.values["temperature"], None);
        assert_eq!(newest.values["humidity"], Some(4.5));
    }
}
