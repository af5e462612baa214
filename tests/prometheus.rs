//! A real Prometheus beside a real site: it scrapes every role, and reads what is stored from the store.
//!
//! Its configuration is the one of `grafana/`, with this machine's addresses. `.ci/setup test` brings the program.

#[allow(dead_code)]
mod grafana;
#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use grafana::{Asked, queries};
use prost::Message;
use serde_json::Value;
use support::{TestSite, command, eventually};
use vigia_kit::clock::now;
use vigia_kit::site::{Role, Site};
use vigia_kit::tokens::BearerToken;
use vigia_protocol::batch::{BatchHead, Count};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::position::{LogId, Position};
use vigia_protocol::profile::Profile;
use vigia_protocol::quality::Status;
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::text::TextWriter;
use vigia_protocol::time::Micros;
use vigia_protocol::topic::{Arrow, NodeName};
use vigia_store::api::prometheus::wire::{
    ChunkedReadResponse, ChunkedSeries, LabelMatcher, Query, ReadRequest, STREAMED_XOR_CHUNKS,
};
use vigia_store::batch::{Keys, open};
use vigia_store::store::{Store, Unsynced};

const SEEDED: i16 = 901;
const COUNT: u64 = 3_000;
/// One that takes its readings at all kinds of distances.
const UNEVEN: i16 = 902;
const UNEVEN_COUNT: u64 = 300;
/// Between its first readings, in milliseconds: a change of distance takes 14, 17, 20 or 64 bits in a chunk.
const DISTANCES: [i64; 14] =
    [1, 8_193, 1, 8_194, 2, 65_537, 1, 65_538, 1, 524_289, 1, 524_290, 1, 1_200_000];
const SECOND: i64 = 1_000_000;
/// For what comes with the next scrapes.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(200);

/// A program of the package, as `.ci/setup` has unpacked it.
fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("build/prometheus/usr/bin").join(name);
    assert!(path.exists(), "{}: '.ci/setup test' brings it", path.display());
    path
}

/// When the seeded readings begin: a whole hour, some hours ago.
fn begin() -> i64 {
    let hour = 3_600 * SECOND;
    (now().0 / hour - 3) * hour
}

fn reading(begin: i64, seq: u64) -> Reading {
    let mix = (seq * 37 % 211) as f64;
    let mut values = vec![20.0 + mix / 7.0, 1_000.0 + mix / 3.0, mix % 100.0];
    if seq.is_multiple_of(97) {
        values[0] = f64::NAN;
    }
    Reading {
        time: Micros(begin + seq as i64 * SECOND + 250_000),
        flags: Flags(1),
        status: Status::GOOD,
        values: values.into_iter().map(|value| f64::from(value as f32)).collect(),
    }
}

/// Values that come again, and others that have few bits in common.
fn uneven(begin: i64, seq: u64) -> Reading {
    let before = &DISTANCES[..(seq as usize - 1).min(DISTANCES.len())];
    let even = 10 * (seq as i64 - 1 - before.len() as i64);
    let mix = (1 + seq / 3 * 7919 % 1_009) as f64 / 7.0;
    let values = [mix, if seq.is_multiple_of(2) { -mix } else { mix }, (seq % 50) as f64];
    Reading {
        time: Micros(begin + (before.iter().sum::<i64>() + even) * 1_000),
        flags: Flags(1),
        status: Status::GOOD,
        values: values.map(|value| f64::from(value as f32)).to_vec(),
    }
}

/// Puts readings into the site's store, of one sensor so that the middle comes last, and one never.
fn seed(site: &Site, begin: i64) {
    let secrets = site.secrets(Role::Store).unwrap();
    let keys = Keys {
        text: secrets.arrow(Arrow::Text).clone(),
        journal: secrets.arrow(Arrow::Journal).clone(),
    };
    let path = site.data_dir(Role::Store).unwrap().join("store.redb");
    let store = Store::open(&path, Unsynced::Kernel, None, now()).unwrap();
    let topic = Arrow::Text.topic(&NodeName::new("seeded").unwrap());
    let profile = Profile::climate();
    let mut before = Count::default();
    let parts = [
        (SEEDED, 1..1_000),
        (SEEDED, 2_000..COUNT),
        (SEEDED, 1_001..2_000),
        (UNEVEN, 1..UNEVEN_COUNT + 1),
    ];
    for (n, (sensor, part)) in parts.into_iter().enumerate() {
        let count = (part.end - part.start) as u16;
        let has = Count { readings: u64::from(count), frames: 1 };
        let head = BatchHead { position: Position { log: LogId(1), n: n as u64 }, before, has };
        before = before.plus(has);
        let mut text = TextWriter::batch(&head, [&profile]);
        for seq in part.clone() {
            let reading = if sensor == SEEDED { reading(begin, seq) } else { uneven(begin, seq) };
            let whose = (SensorId(sensor), Place { stream: 1, seq });
            let begins = (seq == part.start).then_some(count);
            text.reading(whose, Micros(reading.time.0 + SECOND), begins, &profile, &reading);
        }
        let message = text.seal(&keys.text, &topic);
        store.ingest(&[open(&keys, &topic, &message).unwrap()], now()).unwrap();
    }
    store.checkpoint(now()).unwrap();
}

/// Ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.0.id().cast_signed()).unwrap();
        // `vigia up` takes its children along.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A site with Prometheus beside it.
struct Plant {
    api: String,
    prometheus: String,
    here: reqwest::Client,
    store: reqwest::Client,
    begin: i64,
    _prometheus: Process,
    _up: Process,
    _site: TestSite,
}

/// The configuration of `grafana/` with these addresses instead of the containers' names.
fn configuration(site: &TestSite, addresses: &BTreeMap<String, String>) -> String {
    let mut text = fs::read_to_string(grafana::path("prometheus.yml")).unwrap();
    let mut put = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    };
    for (name, role) in [
        ("broker:7701", "metrics"),
        ("verify:7702", "metrics-verify"),
        ("transform:7703", "metrics-transform"),
        ("store:7704", "metrics-store"),
        ("alert:7705", "metrics-alert"),
        ("modbus:7706", "modbus-metrics"),
        ("store:8080", "api"),
    ] {
        put(name, &addresses[role]);
    }
    put("/site/", &format!("{}/", site.arg()));
    put("interval: 15s", "interval: 1s");
    put("rules.yml", grafana::path("rules.yml").to_str().unwrap());
    text
}

impl Plant {
    fn start() -> Self {
        let site = TestSite::with(&["--tls"]);
        let vigia = site.path("vigia.toml");
        // Whatever the demo's sensors measure is too hot.
        let text = fs::read_to_string(&vigia).unwrap().replace("high = 80.0", "high = -1000.0");
        fs::write(&vigia, text).unwrap();
        let begin = begin();
        seed(&Site::open(&site.path("")).unwrap(), begin);
        let mut up = command(&["up", "--site", site.arg(), "--demo", "2"]);
        let up = Process(up.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let addresses: BTreeMap<String, String> = eventually("every role listens", || {
            let text = fs::read_to_string(site.path("run/addresses.json")).ok()?;
            let all: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
            let names = [
                "metrics",
                "metrics-verify",
                "metrics-transform",
                "metrics-store",
                "metrics-alert",
                "modbus-metrics",
            ];
            (names.iter().all(|name| all.contains_key(*name)) && all.contains_key("api"))
                .then_some(all)
        });
        let file = site.path("prometheus.yml");
        fs::write(&file, configuration(&site, &addresses)).unwrap();
        let log = site.path("prometheus.log");
        let prometheus = Command::new(program("prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", site.path("prometheus").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let prometheus = Process(prometheus);
        let address = eventually("Prometheus listens", || {
            let text = fs::read_to_string(&log).ok()?;
            let rest = text.split("msg=\"Listening on\" address=").nth(1)?;
            Some(rest.split_whitespace().next()?.to_owned())
        });
        let within = Duration::from_secs(20);
        let token = BearerToken::load(&site.path("keys/prometheus/api.token")).unwrap();
        let ca = site.path("tls/ca.pem");
        Self {
            api: format!("https://{}/api/v1", addresses["api"]),
            prometheus: format!("http://{address}/api/v1"),
            here: vigia_kit::api::client(None, None, within).unwrap(),
            store: vigia_kit::api::client(Some(&ca), Some(&token), within).unwrap(),
            begin,
            _prometheus: prometheus,
            _up: up,
            _site: site,
        }
    }

    /// What Prometheus answers, which must be without a warning: what cannot be read remotely is one.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let answer = self.answer(path, parameters).await;
        assert!(answer.get("warnings").is_none(), "{parameters:?}: {answer}");
        answer["data"].clone()
    }

    async fn answer(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let url = format!("{}/{path}", self.prometheus);
        let answer = self.here.get(url).query(parameters).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer
    }

    async fn instant(&self, query: &str, micros: i64) -> Vec<Value> {
        let time = seconds(micros);
        let data = self.ask("query", &[("query", query), ("time", &time)]).await;
        data["result"].as_array().unwrap().clone()
    }

    async fn range(&self, query: &str, (from, to): (i64, i64), step: &str) -> Vec<Value> {
        let (from, to) = (seconds(from), seconds(to));
        let parameters = [("query", query), ("start", &*from), ("end", &to), ("step", step)];
        self.ask("query_range", &parameters).await["result"].as_array().unwrap().clone()
    }

    /// What the store's own API says.
    async fn stored(&self, path: &str) -> Value {
        let answer = self.store.get(format!("{}{path}", self.api)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    /// The seeded values of a quantity, by time in milliseconds, as the API tells them.
    async fn readings(&self, quantity: &str) -> BTreeMap<i64, f64> {
        let page = self.stored(&format!("/sensors/{SEEDED}/readings?limit=10000")).await;
        let readings = page["readings"].as_array().unwrap();
        assert_eq!(readings.len() as u64, COUNT - 2);
        let point = |reading: &Value| {
            let time: Micros = reading["time"].as_str().unwrap().parse().unwrap();
            Some((time.0 / 1_000, reading["values"][quantity].as_f64()?))
        };
        readings.iter().filter_map(point).collect()
    }

    /// Whether everything was scraped and every demo sensor has raised its alarm.
    async fn is_ready(&self) -> bool {
        let data = |query| async move { self.instant(query, now().0).await.len() };
        data("up{job=\"vigia\"} == 1").await == Role::ALL.len()
            && data("vigia_alarm_active{sensor=~\"1|2\"}").await == 2
            && data("vigia_marker_round_trip_seconds{role=\"broker\"}").await == 1
            && data("rate(vigia_sensor_readings_total[10s])").await == 4
            && data("vigia_reading{sensor=\"1\"}").await == 3
    }
}

fn seconds(micros: i64) -> String {
    format!("{}.{:03}", micros / SECOND, micros % SECOND / 1_000)
}

fn points(series: &Value) -> BTreeMap<i64, f64> {
    let point = |point: &Value| {
        let millis = (point[0].as_f64().unwrap() * 1_000.0).round() as i64;
        (millis, point[1].as_str().unwrap().parse().unwrap())
    };
    series["values"].as_array().unwrap().iter().map(point).collect()
}

/// The query with Grafana's variables as Grafana would put them in.
fn filled(asked: &Asked) -> String {
    asked
        .expr
        .replace("$sensor", if asked.place.starts_with("sensor.json") { "1" } else { "(1|2|901)" })
        .replace("$quantity", "(temperature|pressure|humidity)")
        .replace("$__rate_interval", "1m")
}

#[test]
fn the_configuration_and_the_rules_are_what_prometheus_understands() {
    let check = |arguments: &[&str]| {
        let output = Command::new(program("promtool")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    check(&["check", "rules", grafana::path("rules.yml").to_str().unwrap()]);
    // The files it names are the site's, which is not here.
    let config = grafana::path("prometheus.yml");
    check(&["check", "config", "--syntax-only", config.to_str().unwrap()]);
}

#[test]
fn prometheus_sees_every_reading_at_its_time_and_every_query_of_the_dashboards_answers() {
    let plant = Plant::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        stored_readings_are_what_the_api_says(&plant).await;
        chunks_are_what_prometheus_would_make(&plant).await;
        instants_and_aggregates_are_what_the_api_says(&plant).await;
    });
    eventually("everything is scraped", || runtime.block_on(plant.is_ready()).then_some(()));
    runtime.block_on(async {
        variables_have_values(&plant).await;
        every_query_answers(&plant).await;
    });
}

async fn stored_readings_are_what_the_api_says(plant: &Plant) {
    for (quantity, unit) in [("temperature", "°C"), ("pressure", "hPa"), ("humidity", "%")] {
        let expected = plant.readings(quantity).await;
        assert!(expected.len() as u64 > COUNT - 40);
        let query = format!("vigia_reading{{sensor=\"{SEEDED}\",quantity=\"{quantity}\"}}[2h]");
        let found = plant.instant(&query, plant.begin + 7_200 * SECOND).await;
        let [series] = found.as_slice() else { panic!("{quantity}: {} series", found.len()) };
        assert_eq!(series["metric"]["unit"], unit);
        assert_eq!(points(series), expected, "{quantity}");
    }
}

/// Prometheus too answers remote reads, and what it has from the store it puts into chunks itself.
async fn chunks_are_what_prometheus_would_make(plant: &Plant) {
    let matcher = |kind, name: &str, value: &str| LabelMatcher {
        kind,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let request = ReadRequest {
        queries: vec![Query {
            start_timestamp_ms: plant.begin / 1_000,
            end_timestamp_ms: plant.begin / 1_000 + 2 * 3_600_000,
            matchers: vec![matcher(0, "__name__", "vigia_reading"), matcher(2, "sensor", "9.*")],
            hints: None,
        }],
        accepted_response_types: vec![STREAMED_XOR_CHUNKS],
    };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let series = async |post: reqwest::RequestBuilder| {
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-read-version", "0.1.0"),
        ];
        let post = headers.into_iter().fold(post, |post, (name, value)| post.header(name, value));
        let answer = post.body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
        assert_eq!(answer.headers()["content-type"], kind);
        series(&answer.bytes().await.unwrap())
    };
    let ours = series(plant.store.post(format!("{}/prometheus/read", plant.api))).await;
    let theirs = series(plant.here.post(format!("{}/read", plant.prometheus))).await;
    assert_eq!(ours.iter().map(|series| series.chunks.len()).sum::<usize>(), 3 * (25 + 3));
    assert_eq!(ours.len(), theirs.len());
    for (ours, mut theirs) in ours.into_iter().zip(theirs) {
        for (our, their) in ours.chunks.iter().zip(&mut theirs.chunks) {
            // It may begin a last byte that it has nothing to put into.
            if their.data.len() == our.data.len() + 1 {
                assert_eq!(their.data.pop(), Some(0));
            }
        }
        assert_eq!(ours, theirs);
    }
}

/// What is in frames.
fn series(mut frames: &[u8]) -> Vec<ChunkedSeries> {
    let mut all = Vec::new();
    while !frames.is_empty() {
        let length = prost::encoding::decode_varint(&mut frames).unwrap() as usize;
        let (sum, rest) = frames.split_at(4);
        let (message, rest) = rest.split_at(length);
        let expected = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(message);
        assert_eq!(sum, expected.to_be_bytes());
        let response = ChunkedReadResponse::decode(message).unwrap();
        assert_eq!(response.query, 0);
        all.extend(
            response.series.iter().map(|one| ChunkedSeries::decode(one.as_slice()).unwrap()),
        );
        frames = rest;
    }
    all
}

async fn instants_and_aggregates_are_what_the_api_says(plant: &Plant) {
    let selector = format!("vigia_reading{{sensor=\"{SEEDED}\",quantity=\"temperature\"}}");
    let expected = plant.readings("temperature").await;
    let whole = (plant.begin, plant.begin + 4_000 * SECOND);
    // Steps that fit, steps that do not, and a subquery, whose grid is another one.
    for step in [7, 60, 333] {
        let found = plant.range(&selector, whole, &format!("{step}s")).await;
        let found = points(&found[0]);
        let mut moment = plant.begin / 1_000;
        while moment <= whole.1 / 1_000 {
            let last = expected.range(moment - 299_999..=moment).next_back();
            assert_eq!(found.get(&moment), last.map(|(_, value)| value), "{step} {moment}");
            moment += step * 1_000;
        }
        let query = format!("max_over_time({selector}[10m:{step}s])");
        let found = plant.instant(&query, plant.begin + 1_801 * SECOND).await;
        let (from, to) = (plant.begin / 1_000 + 1_201_000, plant.begin / 1_000 + 1_801_000);
        let step = step * 1_000;
        let looked = (from.div_euclid(step)..=to / step).map(|n| n * step).filter(|at| *at >= from);
        let greatest = looked
            .filter_map(|at| expected.range(at - 299_999..=at).next_back())
            .map(|(_, value)| *value)
            .fold(f64::MIN, f64::max);
        let value: f64 = found[0]["value"][1].as_str().unwrap().parse().unwrap();
        assert_eq!(value, greatest, "{query}");
    }
    let (from, to) = (Micros(whole.0).to_string(), Micros(whole.1).to_string());
    let series = format!("/sensors/{SEEDED}/series?from={from}&to={to}&step=10m");
    let buckets = plant.stored(&series).await;
    let buckets = buckets["series"].as_array().unwrap();
    assert!(buckets.len() >= 5);
    for bucket in buckets {
        let begin: Micros = bucket["time"].as_str().unwrap().parse().unwrap();
        let last = begin.0 + 600 * SECOND - 1_000;
        let sums = &bucket["values"]["temperature"];
        for (function, key) in [("avg", "mean"), ("min", "min"), ("max", "max"), ("count", "count")]
        {
            let found =
                plant.instant(&format!("{function}_over_time({selector}[599999ms])"), last).await;
            let value: f64 = found[0]["value"][1].as_str().unwrap().parse().unwrap();
            let expected = sums[key].as_f64().unwrap();
            // The one adds up what is shown, the other the 32 bits that are stored.
            assert!(
                (value - expected).abs() < 1e-5,
                "{function} at {}: {value}, {expected}",
                begin
            );
        }
    }
}

async fn variables_have_values(plant: &Plant) {
    let expected = BTreeMap::from([
        ("sensor", vec!["1", "2", "901", "902"]),
        ("quantity", vec!["humidity", "pressure", "temperature"]),
    ]);
    for (file, board) in grafana::dashboards() {
        for variable in &grafana::list(&board, "/templating/list")[1..] {
            let query = grafana::text(variable, "/query/query");
            let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
            let (metric, label) = inner.unwrap().split_once(", ").unwrap();
            // As Grafana asks for the values of a label. Remote read has none, and Prometheus warns of that: the
            // variables are made of what is scraped.
            let answer =
                plant.answer(&format!("label/{label}/values"), &[("match[]", metric)]).await;
            let values: Vec<&str> = answer["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|value| value.as_str().unwrap())
                .collect();
            assert_eq!(values, expected[label], "{file}, {query}");
        }
    }
}

async fn every_query_answers(plant: &Plant) {
    let all = queries();
    assert!(all.len() > 60);
    let recent = || (now().0 - 60 * SECOND, now().0);
    for asked in &all {
        let query = filled(asked);
        // A rate needs two scrapes since there was something to count.
        let begun = Instant::now();
        loop {
            let found = if asked.instant {
                plant.instant(&query, now().0).await
            } else {
                plant.range(&query, recent(), "1s").await
            };
            if asked.may_be_empty || !found.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: {query} finds nothing", asked.place);
            tokio::time::sleep(POLL_EVERY).await;
        }
    }
    // Which readings there are, without their values.
    let (from, to) = (seconds(plant.begin), seconds(now().0));
    let at = [("match[]", "vigia_reading"), ("start", &*from), ("end", &*to)];
    let series = plant.ask("series", &at).await;
    assert_eq!(series.as_array().unwrap().len(), 12);
}
