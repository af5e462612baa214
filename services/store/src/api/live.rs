//! Readings as they are stored, as server-sent events.
//!
//! Nothing is queued for who listens: each listener is a place in the log, read from there when it has
//! taken what it was sent. A slow one costs nothing and misses nothing that the log still keeps.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use poem::web::Data;
use poem::web::sse::Event;
use poem_openapi::param::{Header, Query};
use poem_openapi::payload::EventStream;
use poem_openapi::types::ToJSON;
use poem_openapi::{Object, OpenApi};
use tokio::sync::{OwnedSemaphorePermit, watch};
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::header::SensorId;

use crate::api::allowed::{Allowed, ToRead};
use crate::api::log::LogReading;
use crate::api::problem::Problem;
use crate::api::{Part, Shared};
use crate::limits::{
    EVENT_READINGS, EVENT_SPACING, LISTENER_SENSORS, LISTENERS, SIGN_OF_LIFE_EVERY,
};
use crate::query::Arrived;

/// Operations on what arrives.
#[derive(Debug)]
pub struct Live;

/// Readings that were stored since the event before.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Arrivals {
    /// The event's id: what `Last-Event-ID` takes.
    pub id: String,
    /// In the order in which they were stored.
    pub readings: Vec<LogReading>,
    /// Readings that came before these are not in the log any more: use `/sensors/{id}/readings`.
    pub discarded: bool,
}

#[OpenApi(tag = "Part::Sensors")]
impl Live {
    /// Readings as they are stored: server-sent events of the type `readings`, the first at once.
    #[oai(path = "/readings/stream", method = "get", operation_id = "streamReadings")]
    async fn stream(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// Only of these sensors, separated by commas.
        sensors: Query<Option<String>>,
        /// The id of the last event that was seen: the stream goes on after it.
        #[oai(name = "Last-Event-ID")]
        last_event_id: Header<Option<String>>,
    ) -> Result<EventStream<BoxStream<'static, Arrivals>>, Problem> {
        let sensors = sensors.0.as_deref().map(parse_sensors).transpose()?.unwrap_or_default();
        let instance = shared.store.instance();
        let arrivals = shared.store.arrivals();
        let end = *arrivals.borrow();
        let next = match &last_event_id.0 {
            None => Next::At(end),
            Some(text) => match parse_id(text).ok_or_else(|| bad_id(text))? {
                (known, next) if known == instance && next <= end => Next::At(next),
                // Of a store whose place this one took.
                _ => Next::Unknown(end),
            },
        };
        let place = shared.listeners.clone().try_acquire_owned().map_err(|_| {
            Problem::busy(format!(
                "{LISTENERS} listen to the stream already, which is all it serves"
            ))
        })?;
        let listener = Listener {
            shared: shared.0.clone(),
            shutdown: shared.shutdown.clone(),
            arrivals,
            sensors,
            next,
            begun: false,
            _place: place,
        };
        let events = stream::unfold(listener, |mut listener| async move {
            let arrivals = listener.next().await?;
            Some((arrivals, listener))
        });
        Ok(EventStream::new(events.boxed()).keep_alive(SIGN_OF_LIFE_EVERY).to_event(|arrivals| {
            let id = arrivals.id.clone();
            Event::message(arrivals.to_json_string()).event_type("readings").id(id)
        }))
    }
}

#[derive(Debug, Clone, Copy)]
enum Next {
    /// The arrival it waits for.
    At(u64),
    /// As [`Next::At`], after something that is not known here.
    Unknown(u64),
}

#[derive(Debug)]
struct Listener {
    shared: Arc<Shared>,
    shutdown: Shutdown,
    arrivals: watch::Receiver<u64>,
    sensors: Vec<SensorId>,
    next: Next,
    begun: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// Waits for the next event; none at the end of the process, or if the store cannot be read.
    async fn next(&mut self) -> Option<Arrivals> {
        let mut first = !std::mem::replace(&mut self.begun, true);
        if !first {
            tokio::time::sleep(EVENT_SPACING).await;
        }
        let (mut from, mut discarded) = match self.next {
            Next::At(from) => (from, false),
            Next::Unknown(from) => (from, true),
        };
        loop {
            let end = *self.arrivals.borrow_and_update();
            let sensors = self.sensors.clone();
            let read = self.shared.query(None, move |snapshot| {
                snapshot.arrived((from, end), &sensors, EVENT_READINGS)
            });
            let Arrived { readings, discarded: some, next } = read.await.ok()?;
            from = next;
            discarded |= some;
            if !readings.is_empty() || discarded || first {
                self.next = Next::At(from);
                let id = format!("{:016x}-{from}", self.shared.store.instance());
                let readings = readings.iter().map(LogReading::from).collect();
                return Some(Arrivals { id, readings, discarded });
            }
            first = false;
            tokio::select! {
                () = self.shutdown.ended() => return None,
                changed = self.arrivals.changed() => changed.ok()?,
            }
        }
    }
}

fn parse_id(text: &str) -> Option<(u64, u64)> {
    let (instance, next) = text.split_once('-')?;
    Some((u64::from_str_radix(instance, 16).ok()?, next.parse().ok()?))
}

fn bad_id(text: &str) -> Problem {
    Problem::bad_request(format!(
        "failed to parse header `Last-Event-ID`: {text:?} is not the id of an event of this stream"
    ))
}

fn parse_sensors(text: &str) -> Result<Vec<SensorId>, Problem> {
    let bad =
        |what: String| Problem::bad_request(format!("failed to parse parameter `sensors`: {what}"));
    let ids: Result<Vec<SensorId>, Problem> = text
        .split(',')
        .map(|id| {
            let expected =
                || format!("{id:?} is not a sensor: expected ids separated by commas, such as 1,2");
            id.trim().parse().map(SensorId).map_err(|_| bad(expected()))
        })
        .collect();
    let ids = ids?;
    if ids.len() > LISTENER_SENSORS {
        return Err(bad(format!("{} sensors, expected at most {LISTENER_SENSORS}", ids.len())));
    }
    Ok(ids)
}
