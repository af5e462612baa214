//! What the API says at one poll: the ledger, and the newest reading of each sensor.
//!
//! It asks for what is new and for nothing else: what comes and goes between two polls is the alert role's
//! business, which sees every reading.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use vigia_kit::config::ConfigError;
use vigia_protocol::time::Micros;

use super::limits::{
    ASK_AGAIN, ASK_AGAIN_WITHIN, IN_FLIGHT, INTERVAL_READINGS, PAGE_SENSORS, SENSORS,
};
use super::newest::Newest;
use super::rules::plausible;
use super::sensors::{Sensor, Sensors, usual_interval};
use crate::exit::Unavailable;
use crate::ledger::{Api, Books};

/// Where the usual interval is looked for, before the newest reading: the second time for the slow ones.
const INTERVAL_WITHIN_MICROS: [i64; 2] = [60 * 60 * 1_000_000, 24 * 60 * 60 * 1_000_000];

/// The API, and its sensors.
pub struct Plant {
    asker: Arc<Asker>,
    /// Everything known of its sensors but their newest readings.
    pub sensors: Sensors,
}

/// What one poll has found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The ledger.
    pub books: Books,
    /// The store's clock.
    pub now: Micros,
    /// The newest reading of each sensor, by id.
    pub newest: Vec<Newest>,
    /// Whether there are more sensors than are watched.
    pub too_many: bool,
}

/// A quantity of a sensor's profile.
#[derive(Debug, Deserialize)]
pub struct Quantity {
    /// Its name.
    pub name: String,
    unit: String,
    /// The least plausible value.
    pub min: Option<f64>,
    /// The greatest plausible value.
    pub max: Option<f64>,
}

#[derive(Deserialize)]
struct LatestPage {
    readings: Vec<Newest>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct SensorInfo {
    quantities: Vec<Quantity>,
}

#[derive(Deserialize)]
struct ReadingPage {
    readings: Vec<Newest>,
}

impl Plant {
    /// Of this API; nothing has been asked yet.
    pub fn new(api: Api) -> Self {
        Self { asker: Arc::new(Asker(api)), sensors: Sensors::default() }
    }

    /// Asks for everything.
    ///
    /// # Errors
    /// If a question has no answer, or an answer that is not understood.
    pub async fn look(&mut self) -> anyhow::Result<Found> {
        let books: Books = self.asker.ask("/api/v1/ledger").await?;
        let now = books.time().context("the ledger has no time")?;
        let (newest, too_many) = newest(&self.asker).await?;
        let strangers =
            newest.iter().filter(|reading| self.sensors.get(reading.sensor).is_none()).cloned();
        let asker = Arc::clone(&self.asker);
        let known = all(strangers.collect(), move |reading: Newest| {
            let asker = Arc::clone(&asker);
            async move { Ok((reading.sensor, asker.sensor(&reading).await?)) }
        });
        self.sensors.extend(known.await?);
        Ok(Found { books, now, newest, too_many })
    }
}

/// The newest reading of each sensor, by id; and whether there are more than are watched.
async fn newest(asker: &Asker) -> anyhow::Result<(Vec<Newest>, bool)> {
    let mut newest: Vec<Newest> = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/readings/latest?limit={PAGE_SENSORS}{cursor}");
        let page: LatestPage = asker.ask(&path).await?;
        newest.extend(page.readings);
        match page.next_cursor {
            _ if newest.len() > SENSORS => break,
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok((newest, false)),
        }
    }
    newest.truncate(SENSORS);
    Ok((newest, true))
}

/// The answers to all of these questions, in any order, a bounded number of them at a time.
async fn all<Q, A, F>(questions: Vec<Q>, ask: impl Fn(Q) -> F) -> anyhow::Result<Vec<A>>
where
    F: Future<Output = anyhow::Result<A>> + Send + 'static,
    A: Send + 'static,
{
    let mut questions = questions.into_iter();
    let mut under_way: JoinSet<anyhow::Result<A>> = JoinSet::new();
    for question in questions.by_ref().take(IN_FLIGHT) {
        under_way.spawn(ask(question));
    }
    let mut answers = Vec::new();
    while let Some(answer) = under_way.join_next().await {
        answers.push(answer.context("a question was not finished")??);
        if let Some(question) = questions.next() {
            under_way.spawn(ask(question));
        }
    }
    Ok(answers)
}

/// The API, asked again where it does not answer at once.
struct Asker(Api);

impl Asker {
    async fn ask<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let begun = Instant::now();
        let mut pauses = ASK_AGAIN.iter();
        loop {
            match self.0.get(path).await {
                Ok(text) => {
                    return serde_json::from_str(&text).map_err(|error| {
                        let url = self.0.url();
                        Unavailable(format!("{url}{path} is not what Vigia's API says: {error}"))
                            .into()
                    });
                }
                Err(error) if error.is::<ConfigError>() => return Err(error),
                Err(error) => match pauses.next() {
                    Some(pause) if begun.elapsed() < ASK_AGAIN_WITHIN => {
                        tokio::time::sleep(*pause).await;
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    async fn sensor(&self, newest: &Newest) -> anyhow::Result<Sensor> {
        let id = newest.sensor;
        let SensorInfo { quantities } = self.ask(&format!("/api/v1/sensors/{id}")).await?;
        let units = quantities.iter().map(|one| (one.name.clone(), one.unit.clone())).collect();
        let mut usual = None;
        for within in INTERVAL_WITHIN_MICROS {
            let from = Micros(newest.time().0.saturating_sub(within));
            let path =
                format!("/api/v1/sensors/{id}/readings?limit={INTERVAL_READINGS}&from={from}");
            let ReadingPage { readings } = self.ask(&path).await?;
            usual = usual_interval(&readings);
            if usual.is_some() {
                break;
            }
        }
        Ok(Sensor { plausible: plausible(id, &quantities), units, usual })
    }
}
