//! Readings summed up over time.

use std::collections::BTreeMap;
use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use vigia_protocol::time::Micros;

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::time::{Step, Time};
use crate::api::{Part, Shared};
use crate::limits::SERIES_BUCKETS;
use crate::query::{Buckets, Span};
use crate::run::Summary;

/// Operations on series.
#[derive(Debug)]
pub struct Series;

/// A quantity within a bucket. Values that are no number do not count.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Aggregate {
    /// How many values.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// A bucket that has values.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Bucket {
    /// Where it begins: a multiple of the step since 1970.
    pub time: Time,
    /// By quantity.
    pub values: BTreeMap<String, Aggregate>,
}

/// A series.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct SeriesAnswer {
    /// Buckets that have values, by time.
    pub series: Vec<Bucket>,
}

#[OpenApi(tag = "Part::Sensors")]
impl Series {
    /// Readings of a sensor, summed up in buckets of time.
    #[oai(path = "/sensors/:id/series", method = "get", operation_id = "getSeries")]
    async fn get(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// The sensor.
        id: Path<i16>,
        /// Not before this, by the sensor's clock.
        from: Query<Time>,
        /// Before this, by the sensor's clock.
        to: Query<Time>,
        /// Width of a bucket: a number and s, m, h or d.
        step: Query<Step>,
    ) -> Result<Json<SeriesAnswer>, Problem> {
        let sensor = shared.known(id.0).await?;
        let span = Span { from: from.0.0.0, to: to.0.0.0 };
        let step = step.0.0;
        let width = span.to.checked_sub(span.from).filter(|width| *width > 0).ok_or_else(|| {
            Problem::bad_request(
                "failed to parse parameter `to`: expected a time after `from`".to_owned(),
            )
        })?;
        if width / step >= SERIES_BUCKETS {
            return Err(Problem::bad_request(format!(
                "failed to parse parameter `step`: from, to and step make {} buckets, at most \
                 {SERIES_BUCKETS} are allowed",
                width / step + 1
            )));
        }
        let buckets =
            shared.query(Some(sensor), move |snapshot| snapshot.series(sensor, span, step));
        Ok(Json(SeriesAnswer { series: buckets_shown(buckets.await?) }))
    }
}

fn buckets_shown(buckets: Buckets) -> Vec<Bucket> {
    let shown = |(name, sum): (String, Summary)| {
        let mean = sum.sum / sum.count as f64;
        (name, Aggregate { count: sum.count, min: sum.min, max: sum.max, mean })
    };
    buckets
        .into_iter()
        .map(|(time, values)| Bucket {
            time: Time(Micros(time)),
            values: values.into_iter().filter(|(_, sum)| sum.count > 0).map(shown).collect(),
        })
        .collect()
}
