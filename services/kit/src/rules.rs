//! High and low limits with hysteresis. Pure: readings in, events out. The alert role asks it about every
//! reading, `vigia watch` about the newest ones.

use serde::{Deserialize, Serialize};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::time::Micros;

use crate::config::Limit;

/// One value of one reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Whose.
    pub sensor: SensorId,
    /// Where it stands.
    pub place: Place,
    /// When it was taken.
    pub time: Micros,
    /// What was measured.
    pub quantity: &'a str,
    /// The value.
    pub value: f64,
}

/// Which limit is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Above `high`.
    High,
    /// Below `low`.
    Low,
}

/// What is remembered of one limit at one sensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// Which limit is exceeded, if one is.
    pub active: Option<Side>,
    /// The newest reading that was looked at: older ones change nothing.
    pub looked_at: Place,
    /// How often it was raised; with sensor and rule it names an event for ever.
    pub raised: u64,
}

/// An alarm was raised or has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// `SENSOR/RULE/NUMBER/raised|ended`: the same event always has the same.
    pub id: String,
    /// Whose.
    pub sensor: SensorId,
    /// Which limit.
    pub rule: String,
    /// Raised, or ended.
    pub active: bool,
    /// Above or below.
    pub side: Side,
    /// What was measured.
    pub quantity: String,
    /// The value that did it. If the limit is gone: the value that had raised it.
    pub value: f64,
    /// The limit it crossed.
    pub limit: f64,
    /// When the reading was taken; RFC 3339.
    pub time: String,
    /// Where the reading stands.
    pub place: Place,
}

/// Whether this limit watches this value.
pub fn watches(limit: &Limit, sample: &Sample<'_>) -> bool {
    limit.quantity == sample.quantity && limit.sensor.is_none_or(|only| only == sample.sensor)
}

/// Looks at one value. A value ends an alarm only when it is back by the hysteresis.
pub fn look(limit: &Limit, state: &mut State, sample: &Sample<'_>) -> Vec<Event> {
    if sample.place <= state.looked_at || !sample.value.is_finite() {
        return Vec::new();
    }
    state.looked_at = sample.place;
    let value = sample.value;
    let mut events = Vec::new();
    let crossed = |side: Side| match side {
        Side::High => limit.high.filter(|high| value > *high),
        Side::Low => limit.low.filter(|low| value < *low),
    };
    let back = |side: Side| match side {
        Side::High => limit.high.is_none_or(|high| value <= high - limit.hysteresis),
        Side::Low => limit.low.is_none_or(|low| value >= low + limit.hysteresis),
    };
    if let Some(side) = state.active
        && back(side)
    {
        let bound = if side == Side::High { limit.high } else { limit.low };
        events.push(event(limit, state.raised, sample, side, bound.unwrap_or(value), false));
        state.active = None;
    }
    if state.active.is_none() {
        for side in [Side::High, Side::Low] {
            if let Some(bound) = crossed(side) {
                state.active = Some(side);
                state.raised += 1;
                events.push(event(limit, state.raised, sample, side, bound, true));
            }
        }
    }
    events
}

/// Ends an alarm whose limit is gone, so that no value will: with what is known of it, which is what
/// raised it.
pub fn withdraw(state: &mut State, raised: &Event) -> Event {
    state.active = None;
    let id = id(raised.sensor, &raised.rule, state.raised, false);
    Event { id, active: false, ..raised.clone() }
}

fn id(sensor: SensorId, rule: &str, number: u64, active: bool) -> String {
    format!("{sensor}/{rule}/{number}/{}", if active { "raised" } else { "ended" })
}

fn event(
    limit: &Limit,
    number: u64,
    sample: &Sample<'_>,
    side: Side,
    bound: f64,
    active: bool,
) -> Event {
    Event {
        id: id(sample.sensor, &limit.name, number, active),
        sensor: sample.sensor,
        rule: limit.name.clone(),
        active,
        side,
        quantity: sample.quantity.to_owned(),
        value: sample.value,
        limit: bound,
        time: sample.time.to_string(),
        place: sample.place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Limit {
        Limit {
            name: "hot".to_owned(),
            sensor: None,
            quantity: "temperature".to_owned(),
            high: Some(80.0),
            low: Some(-10.0),
            hysteresis: 2.0,
        }
    }

    fn feed(state: &mut State, seq: u64, value: f64) -> Vec<(bool, Side)> {
        let sample = Sample {
            sensor: SensorId(1),
            place: Place { stream: 1, seq },
            time: Micros(0),
            quantity: "temperature",
            value,
        };
        look(&limit(), state, &sample).iter().map(|event| (event.active, event.side)).collect()
    }

    #[test]
    fn ends_only_when_back_by_the_hysteresis() {
        let mut state = State::default();
        assert!(feed(&mut state, 1, 80.0).is_empty());
        assert_eq!(feed(&mut state, 2, 80.1), [(true, Side::High)]);
        assert!(feed(&mut state, 3, 79.0).is_empty(), "inside the hysteresis it stays raised");
        assert!(feed(&mut state, 4, 81.0).is_empty(), "raised once");
        assert_eq!(feed(&mut state, 5, 78.0), [(false, Side::High)]);
        assert_eq!(feed(&mut state, 6, 81.0), [(true, Side::High)]);
        assert_eq!(state.raised, 2);
    }

    #[test]
    fn jumps_from_one_side_to_the_other() {
        let mut state = State::default();
        feed(&mut state, 1, 90.0);
        assert_eq!(feed(&mut state, 2, -20.0), [(false, Side::High), (true, Side::Low)]);
    }

    #[test]
    fn a_withdrawn_alarm_ends_as_the_one_it_was_and_is_another_when_it_comes_back() {
        let (limit, mut state) = (limit(), State::default());
        let mut sample = Sample {
            sensor: SensorId(1),
            place: Place { stream: 1, seq: 1 },
            time: Micros(0),
            quantity: "temperature",
            value: 90.0,
        };
        let raised = look(&limit, &mut state, &sample).remove(0);
        let ended = withdraw(&mut state, &raised);
        assert_eq!((state.active, ended.active), (None, false));
        assert_eq!((ended.id.as_str(), ended.value), ("1/hot/1/ended", 90.0));
        sample.place.seq = 2;
        assert_eq!(look(&limit, &mut state, &sample)[0].id, "1/hot/2/raised");
    }

    #[test]
    fn ignores_what_is_not_newer_and_what_is_no_number() {
        let mut state = State::default();
        feed(&mut state, 5, 20.0);
        assert!(feed(&mut state, 5, 90.0).is_empty());
        assert!(feed(&mut state, 4, 90.0).is_empty());
        assert!(feed(&mut state, 6, f64::NAN).is_empty());
        assert_eq!(feed(&mut state, 7, 90.0), [(true, Side::High)]);
    }
}
