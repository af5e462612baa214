//! Readings in the order taken.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use vigia_protocol::header::Place;

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::reading::Reading;
use crate::api::sensors::bad_cursor;
use crate::api::time::Time;
use crate::api::{Part, Shared};
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

fn default_page() -> u64 {
    PAGE_READINGS.1
}

// Each parameter of the request is one of the function.
#[allow(clippy::too_many_arguments)]
#[OpenApi(tag = "Part::Sensors")]
impl Readings {
    /// Readings of a sensor in the order taken.
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
    ) -> Result<Json<ReadingPage>, Problem> {
        let sensor = shared.known(id.0).await?;
        let after = match &cursor.0 {
            None => None,
            Some(text) => Some(parse_cursor(text).ok_or_else(|| bad_cursor(text))?),
        };
        let span = Span {
            from: from.0.map_or(Span::ALL.from, |time| time.0.0),
            to: to.0.map_or(Span::ALL.to, |time| time.0.0),
        };
        let limit = limit.0 as usize;
        let page = shared.query(Some(sensor), move |snapshot| {
            let page = snapshot.readings(sensor, span, after, limit)?;
            Ok(ReadingPage {
                readings: page.items.iter().map(Reading::from).collect(),
                next_cursor: page.next.map(|place| format!("{:x}-{:x}", place.stream, place.seq)),
            })
        });
        page.await.map(Json)
    }
}

fn parse_cursor(text: &str) -> Option<Place> {
    let (stream, seq) = text.split_once('-')?;
    Some(Place {
        stream: u32::from_str_radix(stream, 16).ok()?,
        seq: u64::from_str_radix(seq, 16).ok()?,
    })
}
