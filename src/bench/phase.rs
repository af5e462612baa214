//! One load from start to verdict.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Deserialize;
use vigia_kit::clock;
use vigia_protocol::header::SensorId;
use vigia_protocol::time::Micros;

use super::Options;
use super::generator::{self, Pace};
use super::report::{Measured, Quantiles, Resources};
use super::site::System;

/// A load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// For reports.
    pub name: &'static str,
    per_frame: u16,
    per_second: Option<f64>,
}

/// The loads, in the order in which they are run.
pub const LOADS: [Load; 3] = [
    Load { name: "2,000 readings/s", per_frame: 1, per_second: Some(2000.0) },
    Load { name: "1 reading a frame", per_frame: 1, per_second: None },
    Load { name: "32 readings a frame", per_frame: 32, per_second: None },
];

/// The system has this long after the load to have everything stored.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);
const LINGER: Duration = Duration::from_secs(10);
/// After which a drain that failed is given up.
const GIVE_UP: Duration = Duration::from_secs(60);
/// Time for one answer of the API.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const PROBE_PAUSE: Duration = Duration::from_millis(1);

/// Runs one load on a fresh site.
///
/// # Errors
/// Roles that do not start or answer, sensors that are cut off.
pub async fn run(load: Load, options: &Options) -> anyhow::Result<Measured> {
    let system = System::start(&options.dir, &load.per_frame.to_string()).await?;
    let api = Api::new(system.bound.api)?;
    let mut keys = Vec::new();
    for number in 1..=options.connections {
        let id = SensorId(number as i16);
        keys.push((id, system.add_sensor(id)?));
    }
    let before = system.costs();
    let began = Instant::now();
    let from = clock::now();
    let pace = Pace {
        per_frame: load.per_frame,
        per_second: load.per_second.map(|rate| rate / f64::from(options.connections)),
        until: began + options.lasting,
        linger: LINGER,
    };
    let sensors: Vec<_> = keys
        .into_iter()
        .map(|(id, key)| tokio::spawn(generator::run(system.bound.sensor, id, key, pace)))
        .collect();
    // Asking all the time costs too: only the load whose latency counts is probed.
    let mut queryable = match load.per_second {
        Some(_) => probe(&api, began + options.lasting).await,
        None => Vec::new(),
    };
    let mut acknowledged = 0;
    let mut latencies = Vec::new();
    let mut ended = began;
    for sensor in sensors {
        let seen = sensor.await.context("a sensor's task")??;
        acknowledged += seen.acknowledged;
        ended = seen.last_ack.map_or(ended, |last| last.max(ended));
        latencies.extend(seen.latencies);
    }
    let drain_began = Instant::now();
    api.await_stored(acknowledged).await?;
    let drain = drain_began.elapsed();
    let to = Micros(clock::now().0 + 1);
    let mut returned = 0;
    for number in 1..=options.connections {
        returned += api.count(SensorId(number as i16), from, to).await?;
    }
    let books = api.ledger().await?;
    let seconds = (ended - began).as_secs_f64();
    Ok(Measured {
        load: load.name.to_owned(),
        seconds,
        acknowledged,
        returned_by_api: returned,
        readings_per_second: (returned as f64 / seconds).round(),
        frames_per_second: (returned as f64 / seconds / f64::from(load.per_frame)).round(),
        drained_after_seconds: drain.as_secs_f64(),
        drained_in_time: drain <= DRAIN_WITHIN,
        lost: acknowledged.saturating_sub(returned),
        duplicated: returned.saturating_sub(acknowledged) + books.readings.duplicate,
        ledger: books.verdict,
        ack_milliseconds: Quantiles::of(&mut latencies),
        queryable_milliseconds: (!queryable.is_empty()).then(|| Quantiles::of(&mut queryable)),
        resources: Resources::between(&before, &system.costs(), began.elapsed()),
    })
}

/// Asks for one sensor's newest reading again and again: how old is each when it is first seen?
async fn probe(api: &Api, until: Instant) -> Vec<Duration> {
    let mut ages = Vec::new();
    let mut last = 0;
    while Instant::now() < until {
        if let Ok(Some(newest)) = api.newest(SensorId(1)).await
            && newest.seq > last
        {
            last = newest.seq;
            if let Ok(taken) = newest.time.parse::<Micros>() {
                let age = clock::now().0.saturating_sub(taken.0).max(0);
                ages.push(Duration::from_micros(age as u64));
            }
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    ages
}

struct Api {
    client: reqwest::Client,
    base: String,
}

#[derive(Debug, Deserialize)]
struct Newest {
    seq: u64,
    time: String,
}

#[derive(Debug, Deserialize)]
struct Books {
    verdict: String,
    readings: Readings,
}

#[derive(Debug, Deserialize)]
struct Readings {
    stored: u64,
    duplicate: u64,
    in_flight: u64,
}

impl Api {
    fn new(address: std::net::SocketAddr) -> anyhow::Result<Self> {
        // The bench's site listens on this machine alone, where reading needs no token.
        let client = vigia_kit::api::client(None, None, ANSWER_WITHIN)?;
        Ok(Self { client, base: format!("http://{address}/api/v1") })
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("{}{path}", self.base);
        let answer = self.client.get(&url).send().await?.error_for_status()?;
        answer.json().await.with_context(|| format!("the answer of {url}"))
    }

    async fn newest(&self, sensor: SensorId) -> anyhow::Result<Option<Newest>> {
        self.get(&format!("/sensors/{sensor}/latest")).await.map(Some)
    }

    async fn ledger(&self) -> anyhow::Result<Books> {
        self.get("/ledger").await
    }

    async fn await_stored(&self, acknowledged: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + GIVE_UP;
        loop {
            let books = self.ledger().await?;
            let all = books.readings.stored + books.readings.duplicate >= acknowledged;
            if all && books.readings.in_flight == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "not drained {GIVE_UP:?} after the load: {books:?}, acknowledged {acknowledged}"
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// How many readings the API has of a sensor: by its series, not by the ledger.
    async fn count(&self, sensor: SensorId, from: Micros, to: Micros) -> anyhow::Result<u64> {
        let path = format!("/sensors/{sensor}/series?from={from}&to={to}&step=1h");
        let series: serde_json::Value = self.get(&path).await?;
        let buckets = series["series"].as_array().context("the buckets of a series")?;
        let counts = buckets.iter().map(|bucket| &bucket["values"]["temperature"]["count"]);
        Ok(counts.filter_map(serde_json::Value::as_u64).sum())
    }
}
