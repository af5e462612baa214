//! The newest reading of each sensor, for people: at most once a second, and never an older one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::profile::Profile;
use vigia_protocol::reading::Reading;
use vigia_protocol::text::{judge, write_number};
use vigia_protocol::time::Micros;

/// Least time between two messages about one sensor.
const SPACING: Duration = Duration::from_secs(1);

/// What was shown last.
#[derive(Debug, Default)]
pub struct Newest(HashMap<SensorId, (Place, Instant)>);

impl Newest {
    /// The message about this reading, if it is time for one.
    pub fn show(
        &mut self,
        sensor: SensorId,
        place: Place,
        received: Micros,
        profile: &Profile,
        reading: &Reading,
    ) -> Option<Vec<u8>> {
        let now = Instant::now();
        if let Some((shown, when)) = self.0.get(&sensor)
            && (place <= *shown || now.duration_since(*when) < SPACING)
        {
            return None;
        }
        self.0.insert(sensor, (place, now));
        Some(describe(sensor, place, received, profile, reading).into_bytes())
    }
}

fn describe(
    sensor: SensorId,
    place: Place,
    received: Micros,
    profile: &Profile,
    reading: &Reading,
) -> String {
    let judged = judge(profile, reading);
    let mut out = format!(
        r#"{{"sensor":{sensor},"time":"{}","received":"{received}","quality":"{}","values":{{"#,
        reading.time,
        judged.quality.word()
    );
    // Writing into a String cannot fail.
    for (index, ((quantity, value), status)) in
        profile.quantities().iter().zip(&reading.values).zip(&judged.status).enumerate()
    {
        let comma = if index > 0 { "," } else { "" };
        let _ = write!(out, r#"{comma}"{}":{{"value":"#, quantity.name);
        write_number(&mut out, quantity.number, *value);
        let unit = serde_json::Value::from(quantity.unit.as_str());
        let _ = write!(out, r#","unit":{unit},"status":"{}"}}"#, status.name());
    }
    let _ = write!(out, r#"}},"stream":{},"seq":{}}}"#, place.stream, place.seq);
    out
}
