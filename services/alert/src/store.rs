//! The store's API: which logs it has, and their batches by position.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};
use vigia_kit::api;
use vigia_kit::config::ConfigError;
use vigia_kit::site::Site;
use vigia_kit::tls;
use vigia_kit::tokens::BearerToken;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::position::LogId;
use vigia_protocol::time::Micros;

use crate::limits::ANSWER_WITHIN;

/// See the module.
#[derive(Debug)]
pub struct Store {
    client: reqwest::Client,
    url: String,
    /// Read at every question, so that a new one is taken up.
    token: PathBuf,
}

/// A log, as far as the store has it.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Log {
    /// Which.
    #[serde(rename = "log", deserialize_with = "log_id")]
    pub id: LogId,
    /// Everything below this position is accounted for.
    pub end: u64,
}

/// One batch of a log.
#[derive(Debug, Deserialize)]
pub struct Batch {
    /// Its position.
    pub n: u64,
    /// Its readings.
    pub readings: Vec<Reading>,
}

/// One reading of a batch.
#[derive(Debug, Deserialize)]
pub struct Reading {
    sensor: SensorId,
    stream: u32,
    seq: u64,
    time: String,
    /// By quantity; `None` where there was no number.
    pub values: BTreeMap<String, Option<f64>>,
}

impl Reading {
    /// Whose it is, where it stands, and when it was taken.
    pub fn identity(&self) -> (SensorId, Place, Micros) {
        let place = Place { stream: self.stream, seq: self.seq };
        (self.sensor, place, self.time.parse().unwrap_or_default())
    }
}

/// A page of a log, or the list of logs.
#[derive(Debug, Deserialize)]
struct Page {
    logs: Vec<Log>,
    discarded: bool,
    batches: Vec<Batch>,
}

impl Store {
    /// The API of this site.
    ///
    /// # Errors
    /// A token or an authority's certificate that cannot be used.
    pub fn of(site: &Site) -> Result<Self, ConfigError> {
        let base = site.config.api_url();
        let ca = base.starts_with("https:").then(|| tls::authority(site.dir()));
        let client = api::client(ca.as_deref(), None, ANSWER_WITHIN)?;
        let token = site.api_token_path();
        // At the start it is a sentence and an exit code; later it would be an endless repetition.
        BearerToken::load(&token)?;
        Ok(Self { client, url: format!("{}/api/v1/log", base.trim_end_matches('/')), token })
    }

    /// All logs, oldest first.
    ///
    /// # Errors
    /// If it does not answer, or refuses.
    pub async fn logs(&self) -> anyhow::Result<Vec<Log>> {
        Ok(self.page(&[]).await?.logs)
    }

    /// Some batches of a log from this position on; none if it keeps none of them any more.
    ///
    /// # Errors
    /// If it does not answer, or refuses.
    pub async fn batches(&self, log: LogId, from: u64) -> anyhow::Result<Vec<Batch>> {
        let mut query = vec![("log", log.to_string())];
        query.extend(from.checked_sub(1).map(|after| ("after", after.to_string())));
        let page = self.page(&query).await?;
        if page.discarded {
            tracing::warn!(%log, from, "the store keeps some batches no more");
        }
        Ok(page.batches)
    }

    async fn page(&self, query: &[(&str, String)]) -> anyhow::Result<Page> {
        let token = BearerToken::load(&self.token)?;
        let question = self.client.get(&self.url).query(query).bearer_auth(token.expose());
        Ok(question.send().await?.error_for_status()?.json().await?)
    }
}

fn log_id<'de, D: Deserializer<'de>>(text: D) -> Result<LogId, D::Error> {
    String::deserialize(text)?.parse().map_err(de::Error::custom)
}
