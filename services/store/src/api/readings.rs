//! Readings in the order taken.

use std::sync::Arc;

use poem::Body;
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::{Binary, Json};
use poem_openapi::{ApiResponse, Object, OpenApi, ResponseContent};
use vigia_protocol::header::Place;

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::reading::Reading;
use crate::api::sensors::bad_cursor;
use crate::api::time::Time;
use crate::api::{Part, Shared, csv};
use crate::limits::PAGE_READINGS;
use crate::query::Span;

/// Operations on readings.
#[derive(Debug)]
pub struct Readings;

/// A page of readings.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct ReadingPage {
    /// In the order taken: by stream, then by number.
    pub readings: Vec<Reading>,
    /// Where the next page begins; absent at the end.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// A page, or everything.
#[derive(ResponseContent)]
enum Readable {
    Json(Json<ReadingPage>),
    #[oai(content_type = "text/csv", actual_type = "Binary<Vec<u8>>")]
    Csv(Binary<Body>),
}

/// What was asked for.
#[derive(ApiResponse)]
enum ReadingsAnswer {
    /// In the order taken.
    #[oai(status = 200)]
    Ok(Readable),
}

fn default_page() -> u64 {
    PAGE_READINGS.1
}

// Each parameter of the request is one of the function.
#[allow(clippy::too_many_arguments)]
#[OpenApi(tag = "Part::Sensors")]
impl Readings {
    /// Readings of a sensor in the order taken: a page as JSON, or, if `Accept` asks for `text/csv`, all of
    /// them as CSV (RFC 4180), from `cursor` on and without regard to `limit`.
    #[oai(path = "/sensors/:id/readings", method = "get", operation_id = "listReadings")]
    async fn list(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// The sensor.
        id: Path<i16>,
        /// Not before this, by the sensor's clock.
        from: Query<Option<Time>>,
        /// Before this, by the sensor's clock.
        to: Query<Option<Time>>,
        /// Readings in a page.
        #[oai(default = "default_page", validator(minimum(value = "1"), maximum(value = "10000")))]
        limit: Query<u64>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        /// `application/json`, or `text/csv`.
        accept: Header<Option<String>>,
    ) -> Result<ReadingsAnswer, Problem> {
        let sensor = shared.known(id.0).await?;
        let after = match &cursor.0 {
            None => None,
            Some(text) => Some(parse_cursor(text).ok_or_else(|| bad_cursor(text))?),
        };
        let span = Span {
            from: from.0.map_or(Span::ALL.from, |time| time.0.0),
            to: to.0.map_or(Span::ALL.to, |time| time.0.0),
        };
        if accept.0.as_deref().is_some_and(asks_for_csv) {
            let lines = csv::lines(shared.0.clone(), sensor, span, after).await?;
            let body = Body::from_bytes_stream(lines);
            return Ok(ReadingsAnswer::Ok(Readable::Csv(Binary(body))));
        }
        let limit = limit.0 as usize;
        let page = shared.query(Some(sensor), move |snapshot| {
            let page = snapshot.readings(sensor, span, after, limit)?;
            Ok(ReadingPage {
                readings: page.items.iter().map(Reading::from).collect(),
                next_cursor: page.next.map(|place| format!("{:x}-{:x}", place.stream, place.seq)),
            })
        });
        page.await.map(|page| ReadingsAnswer::Ok(Readable::Json(Json(page))))
    }
}

/// Whether the first kind of answer that is wanted, and that there is, is CSV.
fn asks_for_csv(accept: &str) -> bool {
    let kinds = accept.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let mut known = kinds.filter(|kind| ["text/csv", "application/json", "*/*"].contains(kind));
    known.next() == Some("text/csv")
}

fn parse_cursor(text: &str) -> Option<Place> {
    let (stream, seq) = text.split_once('-')?;
    Some(Place {
        stream: u32::from_str_radix(stream, 16).ok()?,
        seq: u64::from_str_radix(seq, 16).ok()?,
    })
}
