//! Prometheus's remote read: its own engine evaluates PromQL over what is stored here, at the true times.
//!
//! There is one metric, `vigia_reading`, with the labels `sensor`, `quantity`, `unit` and `profile`. A value
//! that is no number is not there. What PromQL will look at only now and then is sent only then: see [`grid`].
//! Answers are what the request names first: samples, which every Prometheus understands, or chunks, which newer ones
//! prefer. A series of chunks is one frame: readers take frames of up to 50 MB, and an answer's samples have less.

mod matchers;
mod payload;
pub mod wire;
pub mod xor;

use std::sync::Arc;
use std::time::Instant;

use poem::web::Data;
use poem_openapi::OpenApi;
use prost::Message;
use tokio::sync::Semaphore;
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::{Number, Profile};

use self::matchers::Matcher;
use self::payload::{Answer, Asked};
use self::wire::{
    ChunkedReadResponse, ChunkedSeries, Label, Query, ReadHints, ReadRequest, ReadResponse,
    SAMPLES, STREAMED_XOR_CHUNKS, Sample, TimeSeries,
};
use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::reading::shown;
use crate::api::{Part, Shared};
use crate::limits::{
    PROMETHEUS_QUERIES, PROMETHEUS_READS, PROMETHEUS_SAMPLES, PROMETHEUS_SERIES, PROMETHEUS_WITHIN,
};
use crate::query::{Cut, Grid, Point, Span, Wanted};

/// The one metric.
const METRIC: &str = "vigia_reading";
/// How far back PromQL looks for an instant's value, in milliseconds, unless it is told otherwise.
const LOOKBACK: i64 = 5 * 60 * 1_000;

/// Operations for Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    reads: Semaphore,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { reads: Semaphore::new(PROMETHEUS_READS) }
    }
}

/// What an answer may still have, and until when.
struct Room {
    samples: usize,
    series: usize,
    deadline: Instant,
}

#[OpenApi(tag = "Part::Sensors")]
impl Prometheus {
    /// Readings for Prometheus, as its remote read protocol has them.
    ///
    /// The metric is `vigia_reading{sensor, quantity, unit, profile}`, by the sensors' clocks.
    #[oai(path = "/prometheus/read", method = "post", operation_id = "readForPrometheus")]
    async fn read(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        asked: Asked,
    ) -> Result<Answer, Problem> {
        let request = asked.request()?;
        check(&request)?;
        let form = form(&request.accepted_response_types)?;
        let _permit = self.reads.acquire().await.map_err(|_| Problem::internal())?;
        let mut room = Room {
            samples: PROMETHEUS_SAMPLES,
            series: PROMETHEUS_SERIES,
            deadline: Instant::now() + PROMETHEUS_WITHIN,
        };
        let mut results = Vec::new();
        for query in &request.queries {
            results.push(found(&shared, query, form, &mut room).await?);
        }
        // Many megabytes: not on the executor.
        let answering = tokio::task::spawn_blocking(move || match form {
            Form::Samples => {
                let results = results.into_iter().map(Found::result).collect();
                Answer::compress(&ReadResponse { results }.encode_to_vec())
            }
            Form::Chunks => {
                let queries = results.into_iter().zip(0..);
                let responses = queries.flat_map(|(result, query)| {
                    let series = result.sorted();
                    series.map(move |series| ChunkedReadResponse { series: vec![series], query })
                });
                Ok(Answer::frames(responses.collect()))
            }
        });
        answering.await.map_err(|_| Problem::internal())?
    }
}

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Samples,
    Chunks,
}

fn check(request: &ReadRequest) -> Result<(), Problem> {
    let (queries, matchers) = PROMETHEUS_QUERIES;
    let wrong = if request.queries.len() > queries {
        format!("{} queries in one request, expected at most {queries}", request.queries.len())
    } else if request.queries.iter().any(|query| query.matchers.len() > matchers) {
        format!("too many matchers in one query, expected at most {matchers}")
    } else {
        return Ok(());
    };
    Err(Problem::bad_request(wrong))
}

/// What to answer with: of what is accepted the first that there is.
fn form(accepted: &[i32]) -> Result<Form, Problem> {
    if accepted.is_empty() {
        return Ok(Form::Samples);
    }
    let known = accepted.iter().find_map(|accepted| match *accepted {
        SAMPLES => Some(Form::Samples),
        STREAMED_XOR_CHUNKS => Some(Form::Chunks),
        _ => None,
    });
    let neither =
        "no accepted response type is SAMPLES or STREAMED_XOR_CHUNKS, expected one of them";
    known.ok_or_else(|| Problem::bad_request(neither.to_owned()))
}

/// One query's series.
async fn found(
    shared: &Arc<Shared>,
    query: &Query,
    form: Form,
    room: &mut Room,
) -> Result<Found, Problem> {
    let matchers: Vec<Matcher> = query
        .matchers
        .iter()
        .map(Matcher::new)
        .collect::<Result<_, String>>()
        .map_err(Problem::bad_request)?;
    let (span, grid) = times(query);
    if !fulfils(&matchers, &[("__name__", METRIC)], Rest::Ignored) || span.from >= span.to {
        return Ok(Found::default());
    }
    let (sensors, catalogue) = shared
        .look(move |state| {
            let mut sensors = state.streams.sensors(None, usize::from(u16::MAX) + 1);
            sensors.retain(|id| fulfils(&matchers, &[("sensor", &id.to_string())], Rest::Ignored));
            (sensors, Catalogue::new(&state.profiles, &matchers))
        })
        .await?;
    let catalogue = Arc::new(catalogue);
    let is_list = query.hints.as_ref().is_some_and(|hints| hints.func == "series");
    let mut result = Found::default();
    for sensor in sensors {
        let wanted = Wanted {
            span,
            columns: catalogue.columns.clone(),
            series: catalogue.series.len(),
            grid: grid.clone(),
            most: room.samples,
            deadline: room.deadline,
        };
        let all = catalogue.clone();
        let encoding = shared.query(Some(sensor), move |snapshot| {
            if is_list {
                let found = snapshot.has_series(sensor, &wanted)?;
                let found = found.iter().map(|found| found.then(Vec::new));
                return Ok(Ok(encoded(form, sensor, &all.series, found)));
            }
            let gathered = snapshot.samples(sensor, &wanted)?;
            Ok(gathered.map(|series| {
                let found = series.into_iter().map(|points| (!points.is_empty()).then_some(points));
                encoded(form, sensor, &all.series, found)
            }))
        });
        let found = encoding.await?.map_err(refused)?;
        room.samples -= found.samples.min(room.samples);
        room.series = room.series.checked_sub(found.series.len()).ok_or_else(|| {
            Problem::bad_request(format!(
                "more than {PROMETHEUS_SERIES} series match, expected fewer: name sensors or a quantity"
            ))
        })?;
        result.series.extend(found.series);
    }
    Ok(result)
}

fn refused(cut: Cut) -> Problem {
    let narrow =
        "ask for a shorter time, fewer sensors or one quantity, or for instants with a longer step";
    match cut {
        Cut::TooMany => Problem::bad_request(format!(
            "more than {PROMETHEUS_SAMPLES} samples in one answer: {narrow}"
        )),
        Cut::TooLate => Problem::busy(format!("the query took too long: {narrow}")),
    }
}

/// The selector's own time, and where PromQL looks within it.
fn times(query: &Query) -> (Span, Option<Grid>) {
    let (mut from, mut to) = (query.start_timestamp_ms, query.end_timestamp_ms);
    let hints = query.hints.as_ref().filter(|hints| hints.start_ms != 0 || hints.end_ms != 0);
    if let Some(hints) = hints {
        (from, to) = (from.max(hints.start_ms), to.min(hints.end_ms));
    }
    let span =
        Span { from: from.saturating_mul(1_000), to: to.saturating_add(1).saturating_mul(1_000) };
    (span, hints.and_then(grid))
}

/// Where an instant selector is evaluated. Only its last value at or before each of these moments counts.
///
/// A range query evaluates at its start and every step after it, and asks from a lookback before its start
/// (since Prometheus 3, 1 ms less); a subquery evaluates at multiples of its step. Which it is, nothing says; so
/// all of them are served, and the steps counted from the end, which are right whatever the lookback is if
/// start and end are whole steps apart, as Grafana has them.
fn grid(hints: &ReadHints) -> Option<Grid> {
    let start = hints.start_ms.saturating_add(LOOKBACK);
    let anchors = [start, start.saturating_sub(1), hints.end_ms, 0];
    (hints.range_ms == 0 && hints.step_ms > 0).then(|| Grid::new(hints.step_ms, &anchors))
}

/// What to do with matchers on labels that are not named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Somebody else looks at them.
    Ignored,
    /// The labels are not there, unless their name is one of these.
    Absent(&'static [&'static str]),
}

fn fulfils(matchers: &[Matcher], labels: &[(&str, &str)], rest: Rest) -> bool {
    matchers.iter().all(|matcher| {
        let value = labels.iter().find(|(name, _)| *name == matcher.label).map(|(_, value)| *value);
        match (value, rest) {
            (Some(value), _) => matcher.holds(value),
            (None, Rest::Absent(known)) if !known.contains(&matcher.label.as_str()) => {
                matcher.holds("")
            }
            (None, _) => true,
        }
    })
}

/// What a series is, but for its sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    profile: String,
    quantity: String,
    unit: String,
    number: Number,
}

/// The kinds of series that are asked for, and where they stand in profiles.
#[derive(Debug, Default)]
struct Catalogue {
    series: Vec<Kind>,
    columns: Vec<Vec<Option<usize>>>,
}

impl Catalogue {
    /// Profiles that differ in ranges alone have series in common.
    fn new(profiles: &[Arc<Profile>], matchers: &[Matcher]) -> Self {
        let mut catalogue = Self::default();
        for profile in profiles {
            let column = |quantity: &vigia_protocol::profile::Quantity| {
                let labels = [
                    ("profile", profile.name()),
                    ("quantity", &quantity.name),
                    ("unit", &quantity.unit),
                ];
                if !fulfils(matchers, &labels, Rest::Absent(&["__name__", "sensor"])) {
                    return None;
                }
                let kind = Kind {
                    profile: profile.name().to_owned(),
                    quantity: quantity.name.clone(),
                    unit: quantity.unit.clone(),
                    number: quantity.number,
                };
                let same = |known: &Kind| Kind { number: kind.number, ..known.clone() } == kind;
                let Some(at) = catalogue.series.iter().position(same) else {
                    catalogue.series.push(kind);
                    return Some(catalogue.series.len() - 1);
                };
                if catalogue.series[at].number != kind.number {
                    // Once of 32 bits and once of 64: nothing is cut off.
                    catalogue.series[at].number = Number::F64;
                }
                Some(at)
            };
            let columns = profile.quantities().iter().map(column).collect();
            catalogue.columns.push(columns);
        }
        catalogue
    }
}

/// Series, each encoded, with the values of its labels.
#[derive(Default)]
struct Found {
    series: Vec<([String; 4], Vec<u8>)>,
    samples: usize,
}

impl Found {
    /// A QueryResult.
    fn result(self) -> Vec<u8> {
        let mut result = Vec::new();
        for (_, series) in self.series {
            prost::encoding::bytes::encode(1, &series, &mut result);
        }
        result
    }

    /// By their labels, as whoever merges streams expects it.
    fn sorted(mut self) -> impl Iterator<Item = Vec<u8>> {
        self.series.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        self.series.into_iter().map(|(_, series)| series)
    }
}

fn encoded(
    form: Form,
    sensor: SensorId,
    kinds: &[Kind],
    found: impl Iterator<Item = Option<Vec<Point>>>,
) -> Found {
    let mut all = Found::default();
    for (kind, points) in kinds.iter().zip(found) {
        let Some(points) = points else { continue };
        let values =
            [kind.profile.clone(), kind.quantity.clone(), sensor.to_string(), kind.unit.clone()];
        let names = ["profile", "quantity", "sensor", "unit"];
        let label =
            |(name, value): (&str, &str)| Label { name: name.to_owned(), value: value.to_owned() };
        let named = names.into_iter().zip(values.iter().map(String::as_str));
        let labels = std::iter::once(("__name__", METRIC)).chain(named).map(label).collect();
        // The same number that the other operations show.
        let sample = |(timestamp, value): Point| {
            Some(Sample { value: shown(kind.number, value)?, timestamp })
        };
        let samples: Vec<Sample> = points.into_iter().filter_map(sample).collect();
        all.samples += samples.len();
        let series = match form {
            Form::Samples => TimeSeries { labels, samples }.encode_to_vec(),
            Form::Chunks => ChunkedSeries { labels, chunks: xor::chunks(&samples) }.encode_to_vec(),
        };
        all.series.push((values, series));
    }
    all
}
