//! Readings that are missing.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};
use vigia_protocol::header::{Place, SensorId};

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::sensors::bad_cursor;
use crate::api::time::Time;
use crate::api::{Part, Shared};
use crate::limits::PAGE_GAPS;
use crate::query::{Snapshot, Span};
use crate::stream::StreamId;
use crate::streams::Streams;

/// Operations on gaps.
#[derive(Debug)]
pub struct Gaps;

/// Who said why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename_all = "lowercase")]
pub enum GapKind {
    /// The sensor said that it dropped them.
    Declared,
    /// Nobody did.
    #[default]
    Unexplained,
}

/// Consecutive numbers of a stream of which no reading is stored.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Gap {
    /// Whose.
    pub sensor: i16,
    /// Which of its numberings.
    pub stream: u32,
    /// The first that is missing.
    pub first_seq: u64,
    /// The last that is missing.
    pub last_seq: u64,
    /// Who said why.
    pub kind: GapKind,
    /// When the reading before it was taken, by the sensor's clock; absent at the beginning of a stream.
    #[oai(skip_serializing_if_is_none)]
    pub after: Option<Time>,
    /// When the reading that follows it was taken; absent if none has come yet.
    #[oai(skip_serializing_if_is_none)]
    pub before: Option<Time>,
}

/// A page of gaps.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct GapPage {
    /// By sensor, stream and number.
    pub gaps: Vec<Gap>,
    /// Where the next page begins; absent at the end.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

fn default_page() -> u64 {
    PAGE_GAPS.1
}

#[OpenApi(tag = "Part::Accounts")]
impl Gaps {
    /// Readings that are missing, with the reason if the sensor gave one.
    #[oai(path = "/gaps", method = "get", operation_id = "listGaps")]
    async fn list(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// Only of this sensor.
        sensor: Query<Option<i16>>,
        /// Gaps in a page.
        #[oai(default = "default_page", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u64>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<GapPage>, Problem> {
        let after = match &cursor.0 {
            None => None,
            Some(text) => Some(parse_cursor(text).ok_or_else(|| bad_cursor(text))?),
        };
        let sensor = match sensor.0 {
            None => None,
            Some(id) => Some(shared.known(id).await?),
        };
        let limit = limit.0 as usize;
        let found = shared.look(move |state| missing(&state.streams, sensor, after, limit + 1));
        let mut found = found.await?;
        let more = found.len() > limit;
        found.truncate(limit);
        let mut gaps = Vec::with_capacity(found.len());
        for of_sensor in found.chunk_by(|one, other| one.id.sensor == other.id.sensor) {
            let (sensor, missing) = (of_sensor[0].id.sensor, of_sensor.to_vec());
            let timed = shared.query(Some(sensor), move |snapshot| {
                missing.iter().map(|missing| missing.timed(snapshot)).collect::<Result<Vec<_>, _>>()
            });
            gaps.extend(timed.await?);
        }
        let next_cursor = gaps.last().filter(|_| more).map(cursor_of);
        Ok(Json(GapPage { gaps, next_cursor }))
    }
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    id: StreamId,
    /// From, and up to but not including.
    range: (u64, u64),
    kind: GapKind,
}

/// At most so many, after a place.
fn missing(
    streams: &Streams,
    sensor: Option<SensorId>,
    after: Option<(StreamId, u64)>,
    limit: usize,
) -> Vec<Missing> {
    let mut found = Vec::new();
    let is_asked = |id: StreamId| {
        sensor.is_none_or(|sensor| sensor == id.sensor)
            && after.is_none_or(|(begin, _)| id >= begin)
    };
    for (id, stream) in streams.iter().filter(|(id, _)| is_asked(*id)) {
        let of = |kind| move |range| Missing { id, range, kind };
        let declared = stream.account.missing_declared().map(of(GapKind::Declared));
        let unexplained = stream.account.unexplained().into_iter().map(of(GapKind::Unexplained));
        let mut missing: Vec<Missing> = declared.chain(unexplained).collect();
        missing.retain(|one| after.is_none_or(|after| (one.id, one.range.0) > after));
        missing.sort_by_key(|one| one.range);
        found.append(&mut missing);
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    found
}

impl Missing {
    fn timed(&self, snapshot: &Snapshot) -> Result<Gap, vigia_disk::redb::Error> {
        let (start, end) = self.range;
        let StreamId { sensor, stream } = self.id;
        let following = |seq: u64| {
            let after = seq.checked_sub(1).map(|seq| Place { stream, seq });
            let page = snapshot.readings(sensor, Span::ALL, after, 1)?;
            Ok::<_, vigia_disk::redb::Error>(page.items.into_iter().next())
        };
        let is_before =
            |reading: &crate::query::StoredReading| reading.id == self.id && reading.seq < start;
        let before = following(start - 1)?.filter(is_before);
        Ok(Gap {
            sensor: sensor.0,
            stream,
            first_seq: start,
            last_seq: end - 1,
            kind: self.kind,
            after: before.map(|reading| Time(reading.time)),
            before: following(end)?.map(|reading| Time(reading.time)),
        })
    }
}

fn cursor_of(gap: &Gap) -> String {
    format!("{}.{}.{}", gap.sensor, gap.stream, gap.first_seq)
}

fn parse_cursor(text: &str) -> Option<(StreamId, u64)> {
    let mut parts = text.split('.');
    let id = StreamId {
        sensor: SensorId(parts.next()?.parse().ok()?),
        stream: parts.next()?.parse().ok()?,
    };
    let seq = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((id, seq))
}
