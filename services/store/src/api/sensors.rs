//! Sensors, and the newest reading of each.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use vigia_kit::names::Names;
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::{Number, Profile};

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::reading::Reading;
use crate::api::{Part, Shared};
use crate::limits::PAGE_SENSORS;
use crate::state::State;
use crate::stream::{Stream, StreamId};
use crate::streams::Streams;

/// Operations on sensors.
#[derive(Debug)]
pub struct Sensors;

/// A sensor in a list.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct SensorSummary {
    /// Its id.
    pub id: i16,
    /// What people call it.
    #[oai(skip_serializing_if_is_none)]
    pub name: Option<String>,
    /// How many numberings it has had.
    pub streams: u64,
    /// How many readings are stored.
    pub stored: u64,
}

/// A page of sensors.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct SensorPage {
    /// By id.
    pub sensors: Vec<SensorSummary>,
    /// Where the next page begins; absent at the end.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// A quantity of a profile.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct QuantityInfo {
    /// Its name.
    pub name: String,
    /// As people write it.
    pub unit: String,
    /// `f32` or `f64`.
    #[oai(rename = "type")]
    pub number: String,
    /// The least plausible value.
    #[oai(skip_serializing_if_is_none)]
    pub min: Option<f64>,
    /// The greatest plausible value.
    #[oai(skip_serializing_if_is_none)]
    pub max: Option<f64>,
}

/// A stream of a sensor.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct StreamInfo {
    /// Which numbering.
    pub stream: u32,
    /// Readings stored.
    pub stored: u64,
    /// The number of the last of them.
    pub last_seq: u64,
    /// Missing readings that the sensor declared dropped.
    pub declared: u64,
    /// Missing readings that nobody explained.
    pub unexplained: u64,
    /// Readings that came with the number of another one. They are in quarantine.
    pub conflicts: u64,
}

/// A sensor.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct SensorInfo {
    /// Its id.
    pub id: i16,
    /// What people call it.
    #[oai(skip_serializing_if_is_none)]
    pub name: Option<String>,
    /// The profile of its newest reading.
    #[oai(skip_serializing_if_is_none)]
    pub profile: Option<String>,
    /// That profile's quantities.
    pub quantities: Vec<QuantityInfo>,
    /// Its streams, in their order.
    pub streams: Vec<StreamInfo>,
}

fn default_page() -> u64 {
    PAGE_SENSORS.1
}

#[OpenApi(tag = "Part::Sensors")]
impl Sensors {
    /// Lists sensors.
    #[oai(path = "/sensors", method = "get", operation_id = "listSensors")]
    async fn list(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// Sensors in a page.
        #[oai(default = "default_page", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u64>,
    ) -> Result<Json<SensorPage>, Problem> {
        let after = match &cursor.0 {
            None => None,
            Some(text) => Some(SensorId(text.parse().map_err(|_| bad_cursor(text))?)),
        };
        let limit = limit.0 as usize;
        let names = shared.names.clone();
        shared.look(move |state| Json(page(&state.streams, &names, after, limit))).await
    }

    /// One sensor: its quantities with their units, and its streams.
    #[oai(path = "/sensors/:id", method = "get", operation_id = "getSensor")]
    async fn get(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// The sensor.
        id: Path<i16>,
    ) -> Result<Json<SensorInfo>, Problem> {
        let sensor = shared.known(id.0).await?;
        let latest = shared.query(Some(sensor), move |snapshot| snapshot.latest(sensor)).await?;
        let profile = latest.map(|reading| reading.profile);
        let names = shared.names.clone();
        let look = move |state: &State| {
            (state.streams.of(sensor).map(stream_info).collect(), name(&names, sensor))
        };
        let (streams, name) = shared.look(look).await?;
        Ok(Json(SensorInfo {
            id: id.0,
            name,
            profile: profile.as_ref().map(|profile| profile.name().to_owned()),
            quantities: profile.as_deref().map(quantities).unwrap_or_default(),
            streams,
        }))
    }

    /// The newest reading: the last of the last stream.
    #[oai(path = "/sensors/:id/latest", method = "get", operation_id = "getLatest")]
    async fn latest(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// The sensor.
        id: Path<i16>,
    ) -> Result<Json<Reading>, Problem> {
        let sensor = shared.known(id.0).await?;
        let latest = shared.query(Some(sensor), move |snapshot| snapshot.latest(sensor)).await?;
        latest
            .map(|reading| Json(Reading::from(&reading)))
            .ok_or_else(|| Problem::not_found(format!("no reading of sensor {sensor} is stored")))
    }
}

/// What to say about a cursor that is none.
pub fn bad_cursor(text: &str) -> Problem {
    Problem::bad_request(format!(
        "failed to parse parameter `cursor`: {text:?} is not a cursor: expected next_cursor of a page"
    ))
}

/// What people call a sensor.
pub fn name(names: &Names, sensor: SensorId) -> Option<String> {
    names.of(sensor).map(|name| name.to_string())
}

fn page(streams: &Streams, names: &Names, after: Option<SensorId>, limit: usize) -> SensorPage {
    let mut ids = streams.sensors(after, limit + 1);
    let more = ids.len() > limit;
    ids.truncate(limit);
    let next_cursor = if more { ids.last().map(SensorId::to_string) } else { None };
    let summary = |id: SensorId| SensorSummary {
        id: id.0,
        name: name(names, id),
        streams: streams.of(id).count() as u64,
        stored: streams.of(id).map(|(_, stream)| stream.account.stored.len()).sum(),
    };
    SensorPage { sensors: ids.into_iter().map(summary).collect(), next_cursor }
}

fn stream_info((id, stream): (StreamId, &Stream)) -> StreamInfo {
    let gaps = stream.account.gaps();
    StreamInfo {
        stream: id.stream,
        stored: stream.account.stored.len(),
        last_seq: stream.account.stored.end().saturating_sub(1),
        declared: gaps.declared,
        unexplained: gaps.unexplained,
        conflicts: stream.account.conflicts,
    }
}

/// A profile's quantities.
pub fn quantities(profile: &Profile) -> Vec<QuantityInfo> {
    let info = |quantity: &vigia_protocol::profile::Quantity| QuantityInfo {
        name: quantity.name.clone(),
        unit: quantity.unit.clone(),
        number: match quantity.number {
            Number::F32 => "f32".to_owned(),
            Number::F64 => "f64".to_owned(),
        },
        min: quantity.range.map(|[low, _]| low),
        max: quantity.range.map(|[_, high]| high),
    };
    profile.quantities().iter().map(info).collect()
}
