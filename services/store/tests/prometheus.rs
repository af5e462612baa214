//! Remote read as Prometheus would ask, against what the other operations say.

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::{Frame, count, head, ingest, reading, text};
use proptest::prelude::*;
use prost::Message;
use tokio::net::TcpListener;
use vigia_kit::audit::Audit;
use vigia_kit::clock::now;
use vigia_kit::names::Names;
use vigia_kit::shutdown::{Shutdown, Switch};
use vigia_protocol::batch::Count;
use vigia_store::Present;
use vigia_store::api::Shared;
use vigia_store::api::access::Access;
use vigia_store::api::prometheus::wire::{
    LabelMatcher, Query, QueryResult, ReadHints, ReadRequest, ReadResponse, TimeSeries,
};
use vigia_store::health::Health;
use vigia_store::store::Store;

const LOG: u64 = 7;
const BEGIN: i64 = 1_700_000_000_000;
const ALL: (i64, i64) = (0, BEGIN * 2);

struct Served {
    base: String,
    client: reqwest::Client,
    _directory: tempfile::TempDir,
    _switch: Switch,
}

/// A sensor with two streams, of which the first is complete only in the end, and another sensor.
fn frames() -> Vec<Vec<Frame>> {
    let readings =
        |sensor, stream, seq, count| Frame::Readings { sensor, stream, seq, count, tint: 0 };
    vec![
        vec![readings(1, 1, 1, 1_400), readings(2, 1, 1, 20)],
        vec![readings(1, 2, 3_000, 900)],
        vec![readings(1, 1, 1_800, 700), readings(1, 1, 1_401, 399)],
    ]
}

async fn served() -> Served {
    serving(&frames()).await
}

/// A store with these batches.
async fn serving(batches: &[Vec<Frame>]) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let store = Store::open(&path, vigia_disk::Unsynced::Kernel, None, now()).unwrap();
    let mut before = Count::default();
    for (n, frames) in batches.iter().enumerate() {
        let head = head(LOG, n as u64, before, count(frames));
        before = before.plus(head.has);
        ingest(&store, &[&text(&head, frames)], now());
    }
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (switch, shutdown) = Shutdown::new();
    let audit = Arc::new(Audit::open(directory.path()).unwrap());
    let nobody = directory.path().join("tokens.toml");
    let access = Access::open(&nobody, listener.local_addr().unwrap(), now, audit).unwrap();
    let health = Arc::new(Health::default());
    let names = Arc::new(Names::new(directory.path().to_owned()));
    let shared =
        Shared::new(Arc::new(store), health, Arc::new(Present::default()), names, shutdown);
    tokio::spawn(vigia_store::api::serve(listener, None, access, shared));
    let client = vigia_kit::api::client(None, None, Duration::from_secs(10)).unwrap();
    Served { base, client, _directory: directory, _switch: switch }
}

impl Served {
    async fn post(&self, content_type: &str, body: Vec<u8>) -> reqwest::Response {
        let asked = self.client.post(format!("{}/api/v1/prometheus/read", self.base));
        asked.header("content-type", content_type).body(body).send().await.unwrap()
    }

    async fn ask(&self, request: &ReadRequest) -> Result<Vec<QueryResult>, (u16, String)> {
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
        let response = self.post("application/x-protobuf", body).await;
        let status = response.status().as_u16();
        if status != 200 {
            return Err((status, response.text().await.unwrap()));
        }
        assert_eq!(response.headers()["content-type"], "application/x-protobuf");
        assert_eq!(response.headers()["content-encoding"], "snappy");
        let body = response.bytes().await.unwrap();
        let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let results = ReadResponse::decode(message.as_slice()).unwrap().results;
        Ok(results.iter().map(|bytes| QueryResult::decode(bytes.as_slice()).unwrap()).collect())
    }

    async fn series(&self, query: Query) -> Vec<TimeSeries> {
        let request = ReadRequest { queries: vec![query], accepted_response_types: vec![] };
        self.ask(&request).await.unwrap().remove(0).timeseries
    }
}

fn query(matchers: &[(&str, i32, &str)], (start, end): (i64, i64)) -> Query {
    let matcher = |&(name, kind, value): &(&str, i32, &str)| LabelMatcher {
        kind,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    Query {
        start_timestamp_ms: start,
        end_timestamp_ms: end,
        matchers: matchers.iter().map(matcher).collect(),
        hints: None,
    }
}

const TEMPERATURE: &[(&str, i32, &str)] =
    &[("__name__", 0, "vigia_reading"), ("sensor", 0, "1"), ("quantity", 0, "temperature")];

/// What is in [`frames`] of sensor 1: by moment, of one moment the last taken.
fn expected(quantity: usize) -> BTreeMap<i64, f64> {
    let places = (1..2_500).map(|seq| (1, seq)).chain((3_000..3_900).map(|seq| (2, seq)));
    places
        .map(|(stream, seq)| reading(1, stream, seq, 0))
        .filter(|reading| !reading.values[quantity].is_nan())
        .map(|reading| (reading.time.0 / 1_000, reading.values[quantity]))
        .collect()
}

fn points(series: &TimeSeries) -> Vec<(i64, f64)> {
    series.samples.iter().map(|sample| (sample.timestamp, sample.value)).collect()
}

fn label<'a>(series: &'a TimeSeries, name: &str) -> &'a str {
    &series.labels.iter().find(|label| label.name == name).unwrap().value
}

#[tokio::test]
async fn every_value_that_is_a_number_is_there_once_at_its_time() {
    let served = served().await;
    for (at, (quantity, unit)) in
        [("temperature", "°C"), ("pressure", "hPa"), ("humidity", "%")].into_iter().enumerate()
    {
        let matchers = [TEMPERATURE[0], TEMPERATURE[1], ("quantity", 0, quantity)];
        let found = served.series(query(&matchers, ALL)).await;
        let [one] = found.as_slice() else { panic!("{quantity}: {} series", found.len()) };
        let names: Vec<&str> = one.labels.iter().map(|label| label.name.as_str()).collect();
        assert_eq!(names, ["__name__", "profile", "quantity", "sensor", "unit"]);
        assert_eq!((label(one, "unit"), label(one, "profile")), (unit, "climate"));
        assert_eq!(points(one), expected(at).into_iter().collect::<Vec<_>>());
    }
    let within = (BEGIN + 100_000, BEGIN + 200_000);
    let found = served.series(query(TEMPERATURE, within)).await;
    let some: Vec<_> = expected(0).range(within.0..=within.1).map(|(t, v)| (*t, *v)).collect();
    assert_eq!(points(&found[0]), some);
}

#[tokio::test]
async fn matchers_choose_series() {
    let served = served().await;
    for (matchers, count) in [
        (&[("__name__", 0, "vigia_reading")][..], 6),
        (&[], 6),
        (&[("__name__", 0, "up")], 0),
        (&[("__name__", 2, "vigia_.*")], 6),
        (&[("__name__", 1, "vigia_reading")], 0),
        (&[("sensor", 2, "1|3")], 3),
        (&[("sensor", 3, "1|3")], 3),
        (&[("sensor", 1, "1"), ("unit", 0, "%")], 1),
        (&[("unit", 2, "°.")], 2),
        (&[("profile", 0, "climate")], 6),
        (&[("hall", 0, "")], 6),
        (&[("hall", 1, "")], 0),
        (&[("sensor", 0, "")], 0),
    ] {
        assert_eq!(served.series(query(matchers, ALL)).await.len(), count, "{matchers:?}");
        let mut listed = query(matchers, ALL);
        listed.hints =
            Some(ReadHints { func: "series".to_owned(), end_ms: ALL.1, ..ReadHints::default() });
        let listed = served.series(listed).await;
        assert_eq!(listed.len(), count, "listed {matchers:?}");
        assert!(listed.iter().all(|series| series.samples.is_empty()));
    }
    let nothing = query(&[], (BEGIN * 2, BEGIN * 2 + 1));
    assert_eq!(served.series(nothing).await, []);
}

#[tokio::test]
async fn of_the_accepted_forms_the_first_that_is_known_is_given() {
    let served = served().await;
    for (accepted, content_type) in [
        (vec![], "application/x-protobuf"),
        (vec![0, 1], "application/x-protobuf"),
        (vec![9, 1, 0], "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"),
    ] {
        let request =
            ReadRequest { queries: vec![query(&[], ALL)], accepted_response_types: accepted };
        let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
        let response = served.post("application/x-protobuf", body).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], content_type);
        let encoding = response.headers().get("content-encoding");
        assert_eq!(encoding.is_some(), content_type == "application/x-protobuf");
    }
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_with_a_sentence() {
    let served = served().await;
    let ask = |query: Query, types: Vec<i32>| {
        served.ask_refused(ReadRequest { queries: vec![query], accepted_response_types: types })
    };
    assert!(ask(query(&[("sensor", 2, "(")], ALL), vec![]).await.contains("regular expression"));
    assert!(ask(query(&[("sensor", 9, "1")], ALL), vec![]).await.contains("type 9"));
    assert!(ask(query(&[("sensor", 0, "1"); 33], ALL), vec![]).await.contains("at most 32"));
    assert!(ask(query(&[], ALL), vec![2]).await.contains("STREAMED_XOR_CHUNKS"));
    let many = ReadRequest { queries: vec![query(&[], ALL); 17], accepted_response_types: vec![] };
    assert!(served.ask_refused(many).await.contains("at most 16"));
    // A block that says it is 4 GiB, one that is none, and one that holds something else.
    for block in [&[0xff, 0xff, 0xff, 0xff, 0x0f][..], &[5, 1], &[2, 4, 0xff, 0xff]] {
        let answer = served.post("application/x-protobuf", block.to_vec()).await;
        assert_eq!(answer.status(), 400, "{block:?}");
    }
    assert_eq!(served.post("application/json", vec![]).await.status(), 415);
}

impl Served {
    async fn ask_refused(&self, request: ReadRequest) -> String {
        let (status, text) = self.ask(&request).await.unwrap_err();
        assert_eq!(status, 400, "{text}");
        text
    }
}

/// The value of an instant selector: the last within the lookback.
fn looked_up(points: &BTreeMap<i64, f64>, at: i64, lookback: i64) -> Option<(i64, f64)> {
    points.range(at - lookback + 1..=at).next_back().map(|(time, value)| (*time, *value))
}

/// How a selector is evaluated: at which moments, and what Prometheus hints about it.
fn evaluations(
    (start, width, step, version): (i64, i64, i64, u8),
) -> (ReadHints, i64, impl Iterator<Item = i64>) {
    let lookback = if version == 2 { 60_000 } else { 300_000 };
    let end = match version {
        // With another lookback, start and end must be whole steps apart.
        2 => start + width / step * step,
        _ => start + width,
    };
    let first = if version == 3 { (start + step - 1) / step * step } else { start };
    let from = start - lookback + i64::from(version == 1);
    let hints = ReadHints { step_ms: step, start_ms: from, end_ms: end, ..ReadHints::default() };
    (hints, lookback, (first..=end).step_by(step as usize))
}

#[test]
fn with_a_step_every_instant_has_the_value_it_would_have_without() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let served = runtime.block_on(served());
    let all = expected(1);
    let pressure = [TEMPERATURE[0], TEMPERATURE[1], ("quantity", 0, "pressure")];
    let begins = BEGIN - 500_000..BEGIN + 4_500_000;
    let strategy = (begins, 0_i64..4_000_000, 1_000_i64..700_000, 0_u8..4);
    proptest!(ProptestConfig::with_cases(300), |(asked in strategy)| {
        let (hints, lookback, moments) = evaluations(asked);
        let mut thin = query(&pressure, (hints.start_ms, hints.end_ms));
        thin.hints = Some(hints.clone());
        let found = runtime.block_on(served.series(thin));
        let found: BTreeMap<i64, f64> = found.iter().flat_map(points).collect();
        for moment in moments {
            prop_assert_eq!(
                looked_up(&found, moment, lookback),
                looked_up(&all, moment, lookback),
                "at {} of {:?}", moment, &hints
            );
        }
        // At most one value per moment of the rows that may be meant.
        let within = (hints.end_ms - hints.start_ms) / hints.step_ms + 2;
        prop_assert!(found.len() as i64 <= 4 * within, "{} of {:?}", found.len(), hints);
    });
}

#[tokio::test]
async fn a_range_gets_everything_whatever_the_step() {
    let served = served().await;
    let mut whole = query(TEMPERATURE, ALL);
    let hints =
        ReadHints { step_ms: 60_000, range_ms: 60_000, end_ms: ALL.1, ..ReadHints::default() };
    whole.hints = Some(hints);
    let found = served.series(whole).await;
    assert_eq!(points(&found[0]).len(), expected(0).len());
}

/// `cargo test --release -p vigia-store --test prometheus -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement"]
async fn a_million_readings_are_read_with_and_without_a_step() {
    const READINGS: u64 = 1_000_000;
    let batches: Vec<Vec<Frame>> = (0..READINGS / 1_000)
        .map(|n| {
            vec![Frame::Readings {
                sensor: 1,
                stream: 1,
                seq: n * 1_000 + 1,
                count: 1_000,
                tint: 0,
            }]
        })
        .collect();
    let served = serving(&batches).await;
    let whole = (BEGIN - 300_000, BEGIN + READINGS as i64 * 1_000);
    for step in [0, 60_000, 600_000, 3_600_000] {
        let mut asked = query(TEMPERATURE, whole);
        asked.hints = Some(ReadHints {
            step_ms: step,
            start_ms: whole.0,
            end_ms: whole.1,
            ..ReadHints::default()
        });
        let begun = std::time::Instant::now();
        let found = served.series(asked).await;
        let samples = found[0].samples.len();
        println!("step {} s: {samples} samples in {:?}", step / 1_000, begun.elapsed());
        let most = if step == 0 {
            READINGS as usize
        } else {
            4 * (READINGS as usize * 1_000 / step as usize + 2)
        };
        assert!(samples > 0 && samples <= most);
    }
}
