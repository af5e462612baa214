//! What is known of sensors besides their newest readings.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use vigia_kit::config::Limit;
use vigia_protocol::header::SensorId;

use super::newest::Newest;

/// By id.
#[derive(Debug, Default)]
pub struct Sensors(HashMap<SensorId, Sensor>);

/// What is known of a sensor besides its newest reading.
#[derive(Debug, Clone, Default)]
pub struct Sensor {
    /// The plausible ranges of what it measures.
    pub plausible: Vec<Limit>,
    /// Units by quantity.
    pub units: BTreeMap<String, String>,
    /// From one of its readings to the next, if that is known.
    pub usual: Option<Duration>,
}

impl Sensors {
    /// The sensor with this id, if it has been asked about.
    pub fn get(&self, id: SensorId) -> Option<&Sensor> {
        self.0.get(&id)
    }

    /// Adds those that have been asked about.
    pub fn extend(&mut self, sensors: Vec<(SensorId, Sensor)>) {
        self.0.extend(sensors);
    }

    /// A sensor had this reading and then, some time later, that one: what that says of its interval.
    pub fn learn(&mut self, before: &Newest, after: &Newest) {
        let (Some(sensor), Some(interval)) =
            (self.0.get_mut(&after.sensor), interval(before, after))
        else {
            return;
        };
        // Slowly, as a pause is no habit.
        let usual =
            sensor.usual.map_or(interval, |usual| usual.mul_f64(0.9) + interval.mul_f64(0.1));
        sensor.usual = Some(usual);
    }
}

/// The usual time from one of these readings to the next: the middle one.
pub fn usual_interval(readings: &[Newest]) -> Option<Duration> {
    let pairs = readings.windows(2);
    let mut intervals: Vec<Duration> =
        pairs.filter_map(|pair| interval(&pair[0], &pair[1])).collect();
    intervals.sort();
    intervals.get(intervals.len() / 2).copied()
}

/// The mean time from one reading to the next between these two; nothing if that cannot be told.
fn interval(before: &Newest, after: &Newest) -> Option<Duration> {
    if before.place().stream != after.place().stream {
        return None;
    }
    let readings = u32::try_from(after.place().seq.checked_sub(before.place().seq)?).ok()?;
    let micros = u64::try_from(after.time().0.checked_sub(before.time().0)?).ok()?;
    Duration::from_micros(micros).checked_div(readings)
}

#[cfg(test)]
mod tests {
    use super::super::newest::reading;
    use super::*;

    #[test]
    fn an_interval_needs_two_readings_of_one_stream() {
        let first = reading(1, 5, 100);
        assert_eq!(interval(&first, &reading(1, 7, 120)), Some(Duration::from_secs(10)));
        assert_eq!(interval(&first, &reading(2, 7, 120)), None);
        assert_eq!(interval(&first, &reading(1, 5, 100)), None);
        assert_eq!(interval(&first, &reading(1, 7, 80)), None, "its clock was set back");
    }

    #[test]
    fn one_pause_does_not_make_the_usual_interval() {
        let times = [0, 1, 2, 602, 603, 604];
        let readings: Vec<Newest> =
            (1..).zip(times).map(|(seq, seconds)| reading(1, seq, seconds)).collect();
        assert_eq!(usual_interval(&readings), Some(Duration::from_secs(1)));
        assert_eq!(usual_interval(&readings[..1]), None);
    }

    #[test]
    fn a_slower_habit_is_learnt_before_its_second_reading_is_missed() {
        let fast = Sensor { usual: Some(Duration::from_secs(1)), ..Sensor::default() };
        let mut sensors = Sensors::default();
        sensors.extend(vec![(SensorId(1), fast)]);
        sensors.learn(&reading(1, 1, 0), &reading(1, 2, 600));
        let usual = sensors.get(SensorId(1)).unwrap().usual.unwrap();
        assert!(usual * super::super::limits::SILENT_INTERVALS > Duration::from_secs(600));
    }
}
