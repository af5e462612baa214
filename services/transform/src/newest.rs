//! The newest reading of each sensor, for people: at most once a second, and never an older one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vigia_kit::names::Names;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::profile::Profile;
use vigia_protocol::reading::Reading;
use vigia_protocol::text::{judge, write_number};
use vigia_protocol::time::Micros;

/// Least time between two messages about one sensor.
const SPACING: Duration = Duration::from_secs(1);

/// What was shown last, and what waits for its time.
#[derive(Debug)]
pub struct Newest {
    names: Names,
    shown: HashMap<SensorId, (Place, Instant)>,
    waiting: HashMap<SensorId, Seen>,
}

/// A reading.
#[derive(Debug)]
pub struct Seen {
    /// Where it stands among its sensor's.
    pub place: Place,
    /// When the ingress received it.
    pub received: Micros,
    /// What its values are of.
    pub profile: Arc<Profile>,
    /// What was measured.
    pub reading: Reading,
}

impl Newest {
    /// None yet.
    pub fn new(names: Names) -> Self {
        Self { names, shown: HashMap::new(), waiting: HashMap::new() }
    }

    /// The message about this reading, if it is time for one; else it waits, unless something newer comes.
    pub fn see(&mut self, sensor: SensorId, seen: Seen, now: Instant) -> Option<Vec<u8>> {
        let shown = self.shown.get(&sensor);
        if shown.is_some_and(|(place, _)| seen.place <= *place) {
            return None;
        }
        if shown.is_some_and(|(_, when)| now.duration_since(*when) < SPACING) {
            let newer = self.waiting.get(&sensor).is_none_or(|other| other.place < seen.place);
            if newer {
                self.waiting.insert(sensor, seen);
            }
            return None;
        }
        let before = self.waiting.remove(&sensor);
        let newest = before.filter(|other| other.place > seen.place).unwrap_or(seen);
        Some(self.show(sensor, &newest, now))
    }

    /// The messages for which it is time now: to be asked for again and again, as a sensor may be silent after what
    /// waits.
    pub fn due(&mut self, now: Instant) -> Vec<(SensorId, Vec<u8>)> {
        let shown = &self.shown;
        let is_due = |sensor: &SensorId, _: &mut Seen| {
            shown.get(sensor).is_none_or(|(_, when)| now.duration_since(*when) >= SPACING)
        };
        let due: Vec<_> = self.waiting.extract_if(is_due).collect();
        due.into_iter().map(|(sensor, seen)| (sensor, self.show(sensor, &seen, now))).collect()
    }

    fn show(&mut self, sensor: SensorId, seen: &Seen, now: Instant) -> Vec<u8> {
        self.shown.insert(sensor, (seen.place, now));
        describe(sensor, self.names.of(sensor).as_deref(), seen).into_bytes()
    }
}

fn describe(sensor: SensorId, name: Option<&str>, seen: &Seen) -> String {
    let Seen { place, received, profile, reading } = seen;
    let judged = judge(profile, reading);
    let name = name
        .map_or_else(String::new, |name| format!(r#""name":{},"#, serde_json::Value::from(name)));
    let mut out = format!(
        r#"{{"sensor":{sensor},{name}"time":"{}","received":"{received}","quality":"{}","values":{{"#,
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

#[cfg(test)]
mod tests {
    use vigia_protocol::quality::Status;
    use vigia_protocol::reading::Flags;

    use super::*;

    const SENSOR: SensorId = SensorId(7);

    fn seen(seq: u64) -> Seen {
        let values = vec![seq as f64, 1_000.0, 50.0];
        Seen {
            place: Place { stream: 1, seq },
            received: Micros(2),
            profile: Arc::new(Profile::climate()),
            reading: Reading { time: Micros(1), flags: Flags(1), status: Status::GOOD, values },
        }
    }

    fn number(message: &[u8]) -> u64 {
        let message: serde_json::Value = serde_json::from_slice(message).unwrap();
        message["seq"].as_u64().unwrap()
    }

    #[test]
    fn what_came_too_soon_is_shown_when_it_is_time_if_nothing_newer_came() {
        let mut newest = Newest::new(Names::new("no registry".into()));
        let begun = Instant::now();
        let later = |millis| begun + Duration::from_millis(millis);
        assert_eq!(newest.see(SENSOR, seen(1), begun).map(|message| number(&message)), Some(1));
        for seq in [2, 4, 3, 1] {
            assert_eq!(newest.see(SENSOR, seen(seq), later(500)), None);
        }
        assert_eq!(newest.due(later(999)), []);
        let due = newest.due(later(1_000));
        let due: Vec<_> = due.iter().map(|(sensor, message)| (*sensor, number(message))).collect();
        assert_eq!(due, [(SENSOR, 4)]);
        assert_eq!(newest.due(later(3_000)), []);
        // Late, and older than what waits.
        assert_eq!(newest.see(SENSOR, seen(6), later(1_500)), None);
        let message = newest.see(SENSOR, seen(5), later(2_500)).unwrap();
        assert_eq!(number(&message), 6);
        assert_eq!(newest.see(SENSOR, seen(6), later(5_000)), None);
    }
}
