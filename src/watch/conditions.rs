//! What is wrong, from what polls have found. Pure: findings and the time in, events out.
//!
//! A condition is told when it begins and when it ends, and never in between. While the API does not answer,
//! nobody knows about the rest: that is told once, and everything else stays as it was.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use vigia_kit::config::Limit;
use vigia_kit::rules::{self, Sample, Side, State};
use vigia_protocol::header::SensorId;
use vigia_protocol::time::Micros;

use super::event::{Change, Crossing, Event, Kind};
use super::limits::{SILENT_AT_LEAST, SILENT_INTERVALS};
use super::newest::Newest;
use super::plant::Found;
use super::sensors::{Sensor, Sensors};
use crate::ledger::Books;

/// What is remembered from poll to poll.
#[derive(Debug)]
pub struct Conditions {
    limits: Option<Vec<Limit>>,
    active: BTreeSet<Key>,
    states: HashMap<Watched, State>,
    heard: HashMap<SensorId, Heard>,
    /// When the API answered again.
    resumed: Option<Instant>,
}

/// A limit, a quantity, and a sensor.
type Watched = (String, String, SensorId);
/// A condition, with its sensor, and its limit and quantity.
type Key = (Kind, Option<SensorId>, Option<(String, String)>);

/// A sensor's newest reading, and when it was new.
#[derive(Debug)]
struct Heard {
    newest: Newest,
    at: Instant,
}

impl Conditions {
    /// Nothing is wrong yet. Without limits, the plausible ranges of each sensor are watched.
    pub fn new(limits: Option<Vec<Limit>>) -> Self {
        Self {
            limits,
            active: BTreeSet::new(),
            states: HashMap::new(),
            heard: HashMap::new(),
            resumed: None,
        }
    }

    /// Whether anything is wrong.
    pub fn any(&self) -> bool {
        !self.active.is_empty()
    }

    /// The API did not answer; this is why.
    pub fn unreachable(&mut self, why: &str, wall: Micros) -> Vec<Event> {
        let mut news = News { active: &mut self.active, wall, events: Vec::new() };
        news.set(Kind::Api, None, Some(why.to_owned()), String::new);
        news.events
    }

    /// The API said this.
    pub fn found(
        &mut self,
        found: &Found,
        sensors: &mut Sensors,
        now: Instant,
        wall: Micros,
    ) -> Vec<Event> {
        if self.active.contains(&(Kind::Api, None, None)) {
            self.resumed = Some(now);
        }
        let mut news = News { active: &mut self.active, wall, events: Vec::new() };
        news.set(Kind::Api, None, None, || "the API answers again".to_owned());
        ledger(&found.books, &mut news);
        for newest in &found.newest {
            let id = newest.sensor;
            let age = found.now.0.saturating_sub(newest.received.0).max(0);
            let fresh = now.checked_sub(Duration::from_micros(age.unsigned_abs())).unwrap_or(now);
            let heard =
                self.heard.entry(id).or_insert_with(|| Heard { newest: newest.clone(), at: fresh });
            let is_new = heard.newest.place() != newest.place();
            if is_new {
                sensors.learn(&heard.newest, newest);
                *heard = Heard { newest: newest.clone(), at: fresh };
            }
            let Some(sensor) = sensors.get(id) else { continue };
            // After an outage what is under way has its time to arrive.
            let since = self.resumed.map_or(heard.at, |resumed| resumed.max(heard.at));
            let still = !is_new && news.active.contains(&(Kind::Silence, Some(id), None));
            silence(newest, sensor, now - since, still, &mut news);
            quality(newest, &mut news);
            let limits = self.limits.as_ref().unwrap_or(&sensor.plausible);
            watch(limits, newest, sensor, &mut self.states, &mut news);
        }
        news.events
    }
}

struct News<'a> {
    active: &'a mut BTreeSet<Key>,
    wall: Micros,
    events: Vec<Event>,
}

impl News<'_> {
    /// Whether something is wrong now; what is said if that is new, and if it is over.
    fn set(
        &mut self,
        kind: Kind,
        sensor: Option<SensorId>,
        wrong: Option<String>,
        over: impl FnOnce() -> String,
    ) {
        let key = (kind, sensor, None);
        match wrong {
            Some(message) if self.active.insert(key.clone()) => {
                self.tell(Change::Begins, kind, sensor, None, message);
            }
            None if self.active.remove(&key) => {
                self.tell(Change::Ends, kind, sensor, None, over());
            }
            _ => {}
        }
    }

    fn tell(
        &mut self,
        change: Change,
        condition: Kind,
        sensor: Option<SensorId>,
        crossing: Option<Crossing>,
        message: String,
    ) {
        let time = self.wall.to_string();
        self.events.push(Event { time, change, condition, sensor, crossing, message });
    }
}

fn ledger(books: &Books, news: &mut News<'_>) {
    let unknown = books.verdict == "unknown";
    let because = match books.reasons.as_slice() {
        [] => String::new(),
        reasons => format!(": {}", reasons.join("; ")),
    };
    let unbalanced = (!unknown && !books.are_clean()).then(|| {
        format!(
            "the ledger is {}, with {} readings lost and {} missing without explanation{because}",
            books.verdict, books.readings.lost, books.gaps.unexplained
        )
    });
    let unknown = unknown.then(|| format!("nobody can say whether the ledger balances{because}"));
    let over = || format!("the ledger is {}", books.verdict);
    news.set(Kind::LedgerUnknown, None, unknown, over);
    news.set(Kind::LedgerUnbalanced, None, unbalanced, over);
}

/// `still`: it has been silent, and only a new reading ends that.
fn silence(newest: &Newest, sensor: &Sensor, age: Duration, still: bool, news: &mut News<'_>) {
    let id = newest.sensor;
    let usual = sensor.usual.unwrap_or_default();
    let silent = still || age > usual.saturating_mul(SILENT_INTERVALS).max(SILENT_AT_LEAST);
    let wrong = silent.then(|| {
        let often = match sensor.usual {
            Some(usual) => format!(", usually one every {usual:.1?}"),
            None => String::new(),
        };
        format!("{}: no new reading for {} s{often}", newest.whose(), age.as_secs())
    });
    let over = || format!("{}: readings come again", newest.whose());
    news.set(Kind::Silence, Some(id), wrong, over);
}

fn quality(newest: &Newest, news: &mut News<'_>) {
    let bad = (newest.quality == "bad").then(|| {
        let status = newest.status.iter().map(|(quantity, status)| format!("{quantity} {status}"));
        let status = status.collect::<Vec<_>>().join(", ");
        format!("{}: its readings are bad: {status}", newest.whose())
    });
    let over = || format!("{}: its readings are {}", newest.whose(), newest.quality);
    news.set(Kind::Quality, Some(newest.sensor), bad, over);
}

/// Asks the rule engine.
fn watch(
    limits: &[Limit],
    newest: &Newest,
    sensor: &Sensor,
    states: &mut HashMap<Watched, State>,
    news: &mut News<'_>,
) {
    for (quantity, value) in &newest.values {
        let Some(value) = *value else { continue };
        let id = newest.sensor;
        let sample =
            Sample { sensor: id, place: newest.place(), time: newest.time(), quantity, value };
        for limit in limits.iter().filter(|limit| rules::watches(limit, &sample)) {
            let watched = (limit.name.clone(), quantity.clone(), id);
            let state = states.entry(watched).or_default();
            for event in rules::look(limit, state, &sample) {
                crossed(event, newest, sensor, news);
            }
        }
    }
}

fn crossed(event: rules::Event, newest: &Newest, sensor: &Sensor, news: &mut News<'_>) {
    let rules::Event { sensor: id, rule, active, side, quantity, value, limit, .. } = event;
    let key = (Kind::Limit, Some(id), Some((rule.clone(), quantity.clone())));
    let (change, no_longer) = match active {
        true => (Change::Begins, ""),
        false => (Change::Ends, "no longer "),
    };
    if active {
        news.active.insert(key);
    } else {
        news.active.remove(&key);
    }
    let unit = sensor.units.get(&quantity).map_or(String::new(), |unit| format!(" {unit}"));
    let side = if side == Side::High { "above" } else { "below" };
    let whose = newest.whose();
    let message =
        format!("{whose}: {quantity} is {value}{unit}, {no_longer}{side} {limit} ({rule})");
    let crossing = Some(Crossing { rule, quantity, value, limit });
    news.tell(change, Kind::Limit, Some(id), crossing, message);
}

#[cfg(test)]
mod tests {
    use super::super::newest::reading;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    struct Watch {
        conditions: Conditions,
        sensors: Sensors,
        begun: Instant,
    }

    impl Watch {
        fn new() -> Self {
            let limit = Limit {
                name: "hot".to_owned(),
                sensor: None,
                quantity: "temperature".to_owned(),
                high: Some(80.0),
                low: None,
                hysteresis: 2.0,
            };
            let usual = Sensor { usual: Some(SECOND), ..Sensor::default() };
            let mut sensors = Sensors::default();
            sensors.extend(vec![(SensorId(1), usual)]);
            Self { conditions: Conditions::new(Some(vec![limit])), sensors, begun: Instant::now() }
        }

        /// What is told if at this second the newest reading is that; one word each.
        fn see(&mut self, second: i64, newest: Newest) -> Vec<(Change, Kind)> {
            self.see_with(second, newest, "balanced")
        }

        fn see_with(&mut self, second: i64, newest: Newest, verdict: &str) -> Vec<(Change, Kind)> {
            let counts =
                r#"{"accepted":1,"stored":1,"quarantined":0,"duplicate":0,"lost":0,"in_flight":0}"#;
            let books = format!(
                r#"{{"verdict":"{verdict}","readings":{counts},"frames":{counts},
                    "gaps":{{"declared":0,"unexplained":0}}}}"#
            );
            let found = Found {
                books: Books::parse(&books).unwrap(),
                now: Micros(second * 1_000_000),
                newest: vec![newest],
                too_many: false,
            };
            let now = self.begun + SECOND * u32::try_from(second).unwrap();
            words(self.conditions.found(&found, &mut self.sensors, now, Micros(0)))
        }
    }

    fn words(events: Vec<Event>) -> Vec<(Change, Kind)> {
        events.into_iter().map(|event| (event.change, event.condition)).collect()
    }

    fn hot(seq: u64, seconds: i64, temperature: f64) -> Newest {
        let mut hot = reading(1, seq, seconds);
        hot.values.insert("temperature".to_owned(), Some(temperature));
        hot
    }

    #[test]
    fn a_limit_is_told_at_both_ends_only() {
        let mut watch = Watch::new();
        assert_eq!(watch.see(1, hot(1, 1, 80.0)), []);
        assert_eq!(watch.see(2, hot(2, 2, 81.0)), [(Change::Begins, Kind::Limit)]);
        assert_eq!(watch.see(3, hot(2, 2, 81.0)), []);
        assert_eq!(watch.see(4, hot(3, 4, 79.0)), []);
        assert!(watch.conditions.any());
        assert_eq!(watch.see(5, hot(4, 5, 78.0)), [(Change::Ends, Kind::Limit)]);
        assert!(!watch.conditions.any());
    }

    #[test]
    fn silence_begins_after_its_time_and_ends_with_a_new_reading() {
        let mut watch = Watch::new();
        assert_eq!(watch.see(1, reading(1, 1, 1)), []);
        assert_eq!(watch.see(31, reading(1, 1, 1)), []);
        assert_eq!(watch.see(32, reading(1, 1, 1)), [(Change::Begins, Kind::Silence)]);
        assert_eq!(watch.see(90, reading(1, 1, 1)), []);
        assert_eq!(watch.see(91, reading(1, 2, 91)), [(Change::Ends, Kind::Silence)]);
        let mut late = Watch::new();
        assert_eq!(late.see(60, reading(1, 1, 1)), [(Change::Begins, Kind::Silence)]);
    }

    #[test]
    fn an_outage_is_told_once_and_leaves_the_rest_as_it_was() {
        let mut watch = Watch::new();
        watch.see(40, hot(1, 1, 81.0));
        let gone = |watch: &mut Watch| words(watch.conditions.unreachable("gone", Micros(0)));
        assert_eq!(gone(&mut watch), [(Change::Begins, Kind::Api)]);
        assert_eq!(gone(&mut watch), []);
        // Neither the limit nor the silence is over just because nobody could look.
        assert_eq!(watch.see(500, hot(1, 1, 81.0)), [(Change::Ends, Kind::Api)]);
        let over = [(Change::Ends, Kind::Silence), (Change::Ends, Kind::Limit)];
        assert_eq!(watch.see(501, hot(2, 501, 20.0)), over);
    }

    #[test]
    fn what_is_under_way_has_its_time_after_an_outage() {
        let mut watch = Watch::new();
        watch.see(1, reading(1, 1, 1));
        watch.conditions.unreachable("gone", Micros(0));
        assert_eq!(watch.see(500, reading(1, 1, 1)), [(Change::Ends, Kind::Api)]);
        assert_eq!(watch.see(530, reading(1, 1, 1)), []);
        assert_eq!(watch.see(531, reading(1, 1, 1)), [(Change::Begins, Kind::Silence)]);
    }

    #[test]
    fn bad_readings_and_books_that_do_not_balance_are_told() {
        let mut watch = Watch::new();
        let bad = |seq| {
            let mut bad = reading(1, seq, 1);
            bad.quality = "bad".to_owned();
            bad
        };
        assert_eq!(watch.see(1, bad(1)), [(Change::Begins, Kind::Quality)]);
        assert_eq!(watch.see(2, bad(2)), []);
        assert_eq!(watch.see(3, reading(1, 3, 3)), [(Change::Ends, Kind::Quality)]);
        let unknown = watch.see_with(4, reading(1, 3, 3), "unknown");
        assert_eq!(unknown, [(Change::Begins, Kind::LedgerUnknown)]);
        let worse = [(Change::Ends, Kind::LedgerUnknown), (Change::Begins, Kind::LedgerUnbalanced)];
        assert_eq!(watch.see_with(5, reading(1, 3, 3), "unbalanced"), worse);
        assert_eq!(watch.see(6, reading(1, 3, 3)), [(Change::Ends, Kind::LedgerUnbalanced)]);
    }
}
