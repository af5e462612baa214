//! Alarms as somebody sees them who only reads MQTT, and as the API shows them, against what the exported
//! readings call for.
//!
//! The comparison begins where the role certainly knew of the limit, or with the first alarm if that was
//! before. An event may be delivered again, but it is one event, by its id and every other field.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::task::JoinHandle;
use vigia_kit::bus::{BusError, BusLogin, Consumer};
use vigia_kit::site::Password;
use vigia_protocol::topic;

use crate::api::Api;
use crate::oracle::Exported;
use crate::site::Site;
use crate::truth::Place;
use crate::wait;

/// The user for people, as `vigia init` makes it.
const USER: &str = "inspector";
/// The alarm of the newest reading is there this long after the reading is.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// What the limits are called.
pub const RULE: &str = "drill";

/// A limit of one sensor's pressure, above which is an alarm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Whose.
    pub sensor: i16,
    /// Raised above this.
    pub high: f64,
    /// Ended at this below it.
    pub hysteresis: f64,
}

/// An event, as far as it is compared.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Event {
    id: String,
    sensor: i16,
    active: bool,
    value: f64,
    place: EventPlace,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct EventPlace {
    stream: u32,
    seq: u64,
}

/// A raised alarm or its end: where, and which of the two.
type Crossing = (Place, bool);

/// Everything heard so far, in order of arrival.
type Heard = Arc<Mutex<Vec<Event>>>;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Alarms {
    limits: Vec<Limit>,
    /// The first readings that were certainly held against them.
    known_from: BTreeMap<i16, Place>,
    heard: Heard,
    listening: JoinHandle<()>,
}

impl Alarms {
    /// Connects to the site's broker.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn listen(site: &Site, limits: Vec<Limit>) -> anyhow::Result<Self> {
        let password = site.file(&format!("keys/{USER}/password"));
        let password = fs::read_to_string(&password).context("the inspector has no password")?;
        let login = BusLogin {
            address: site.config()?.bus_address(),
            user: USER.to_owned(),
            password: Password(password.trim().to_owned()),
            tls: None,
            status: None,
        };
        let consumer = Consumer::connect(&login, "drill", &[topic::alarm_filter()]).await?;
        let heard = Heard::default();
        let hearing = Arc::clone(&heard);
        // Ends with the connection: what is missing then is missed by the judgement.
        let listening = tokio::spawn(async move {
            let Err(_) = listen(consumer, hearing).await;
        });
        Ok(Self { limits, known_from: BTreeMap::new(), heard, listening })
    }

    /// From these readings on the role certainly knows the limits.
    pub fn known_from(&mut self, places: BTreeMap<i16, Place>) {
        self.known_from = places;
    }

    fn heard(&self) -> MutexGuard<'_, Vec<Event>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every alarm that the exported readings call for was raised, once, and no other. Waits
    /// until the last has come.
    ///
    /// # Errors
    /// What is missing, or too much.
    pub async fn judge(&self, api: &Api) -> anyhow::Result<String> {
        let mut count = 0;
        for limit in &self.limits {
            let exported = api.export(limit.sensor).await?;
            let known_from = self.known_from.get(&limit.sensor).copied().unwrap_or((u32::MAX, 0));
            let told = |heard: &[Event]| told(*limit, known_from, &exported, heard);
            let what = || format!("all alarms are told: {:?}", told(&self.heard()));
            let told = wait::until(TOLD_WITHIN, what, async || Ok(told(&self.heard()).ok()));
            count += told.await?;
        }
        ensure!(count > 0, "no alarm was called for");
        Ok(format!(
            "{count} alarm events called for by the readings, each of them heard once, no others; \
             {} messages",
            self.heard().len()
        ))
    }
}

/// Whether the API shows of each alarm what the sensor's newest reading calls for. Waits until it does.
///
/// # Errors
/// The first alarm that is shown wrongly.
pub async fn judge_present(api: &Api, limits: &[Limit]) -> anyhow::Result<String> {
    let (mut judged, mut raised) = (0, 0);
    for limit in limits {
        let exported = api.export(limit.sensor).await?;
        let Some(called_for) = called_for_at_last(*limit, &exported) else { continue };
        let what = || format!("the API shows that sensor {}'s alarm is {called_for}", limit.sensor);
        let shown = wait::until(TOLD_WITHIN, what, async || {
            let shown = api.is_alarm_raised(limit.sensor, RULE).await.ok();
            Ok(shown.filter(|shown| *shown == called_for))
        });
        judged += 1;
        raised += usize::from(shown.await?);
    }
    ensure!(judged > 0, "no alarm could be judged");
    Ok(format!("{judged} alarms shown as the newest readings call for, {raised} of them raised"))
}

impl Drop for Alarms {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(mut consumer: Consumer, heard: Heard) -> Result<Infallible, BusError> {
    loop {
        let delivery = consumer.receive().await?;
        if let Ok(event) = serde_json::from_slice::<Event>(delivery.payload()) {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        }
        consumer.acknowledge(&delivery).await?;
    }
}

/// How many events the readings call for, if exactly those were heard.
fn told(
    limit: Limit,
    known_from: Place,
    exported: &[Exported],
    heard: &[Event],
) -> Result<usize, String> {
    let mut events: BTreeMap<Place, Vec<&Event>> = BTreeMap::new();
    for event in heard.iter().filter(|event| event.sensor == limit.sensor) {
        let of_place = events.entry((event.place.stream, event.place.seq)).or_default();
        if !of_place.contains(&event) {
            of_place.push(event);
        }
    }
    if let Some(twice) = events.values().find(|of_place| of_place.len() > 1) {
        return Err(format!("one reading, two events: {twice:?}"));
    }
    let told: Vec<Crossing> =
        events.iter().map(|(place, of_place)| (*place, of_place[0].active)).collect();
    let first = told.first().map_or(known_from, |(first, _)| known_from.min(*first));
    let called_for = called_for(limit, exported.iter().skip_while(|one| one.place < first));
    let differing = told.iter().zip(&called_for).find(|(told, called_for)| told != called_for);
    if told.len() == called_for.len() && differing.is_none() {
        return Ok(told.len());
    }
    Err(format!(
        "sensor {}: {} events called for, {} heard, the first difference is {differing:?}",
        limit.sensor,
        called_for.len(),
        told.len()
    ))
}

fn called_for<'a>(limit: Limit, exported: impl Iterator<Item = &'a Exported>) -> Vec<Crossing> {
    let mut active = false;
    let mut crossings = Vec::new();
    for one in exported {
        let Some(value) = one.measured.values[PRESSURE].map(f64::from) else { continue };
        let is_other =
            if active { value <= limit.high - limit.hysteresis } else { value > limit.high };
        if is_other {
            active = !active;
            crossings.push((one.place, active));
        }
    }
    crossings
}

/// Whether the alarm is raised by now: by the last reading that says so whatever was before.
fn called_for_at_last(limit: Limit, exported: &[Exported]) -> Option<bool> {
    let pressures = exported.iter().rev().filter_map(|one| one.measured.values[PRESSURE]);
    pressures.map(f64::from).find_map(|value| match value {
        value if value > limit.high => Some(true),
        value if value <= limit.high - limit.hysteresis => Some(false),
        _ => None,
    })
}

/// Where the quantity that is watched stands among the values.
pub const PRESSURE: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::truth::Measured;

    const LIMIT: Limit = Limit { sensor: 3, high: 10.0, hysteresis: 1.0 };

    const START: Place = (1, 1);

    fn exported() -> Vec<Exported> {
        let values = [9.0, 11.0, 9.5, 12.0, 9.0, 10.0, 10.5, 1.0];
        let places = (1..).map(|seq| (1, seq));
        let one = |(place, value): (Place, f32)| {
            let measured = Measured { time: place.1 as i64, values: [None, Some(value), None] };
            Exported { place, measured }
        };
        places.zip(values).map(one).collect()
    }

    fn heard(seqs: &[u64]) -> Vec<Event> {
        let event = |(index, seq): (usize, &u64)| Event {
            id: format!("{index}"),
            sensor: 3,
            active: index % 2 == 0,
            value: 0.0,
            place: EventPlace { stream: 1, seq: *seq },
        };
        seqs.iter().enumerate().map(event).collect()
    }

    #[test]
    fn exactly_the_crossings_are_called_for_and_each_may_be_told_again_but_not_otherwise() {
        assert_eq!(told(LIMIT, START, &exported(), &heard(&[2, 5, 7, 8])), Ok(4));
        let mut again = heard(&[2, 5, 7, 8]);
        again.push(again[1].clone());
        assert_eq!(told(LIMIT, START, &exported(), &again), Ok(4));
        again.last_mut().unwrap().id = "another".to_owned();
        assert!(told(LIMIT, START, &exported(), &again).is_err());
    }

    #[test]
    fn the_last_reading_outside_the_hysteresis_decides() {
        let exported = exported();
        let after = |count: usize| called_for_at_last(LIMIT, &exported[..count]);
        let decided = [Some(false), Some(true), Some(true), Some(true), Some(false), Some(false)];
        assert_eq!((1..=6).map(after).collect::<Vec<_>>(), decided);
        assert_eq!(after(0), None);
    }

    #[test]
    fn what_is_missing_or_too_much_is_seen_from_the_first_alarm_on() {
        for wrong in [&[2, 5, 7][..], &[2, 8], &[2, 5, 6, 7, 8], &[2, 5, 7, 8, 9]] {
            assert!(told(LIMIT, START, &exported(), &heard(wrong)).is_err(), "{wrong:?}");
        }
        // The limit was made known after reading 5.
        assert_eq!(told(LIMIT, (1, 6), &exported(), &heard(&[7, 8])), Ok(2));
        assert_eq!(told(LIMIT, (1, 9), &exported(), &[]), Ok(0));
        assert!(told(LIMIT, (1, 6), &exported(), &[]).is_err());
        assert!(told(LIMIT, START, &exported(), &heard(&[7, 8])).is_err());
    }
}
