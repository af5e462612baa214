//! What the bus did not bring, from the store: batches by position.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use vigia_kit::api;
use vigia_kit::config::ConfigError;
use vigia_kit::site::Site;
use vigia_kit::tls;
use vigia_kit::tokens::BearerToken;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::position::LogId;
use vigia_protocol::time::Micros;

/// Time for one answer of the API.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Pause before the store is asked again for what it does not have yet.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The store's API.
#[derive(Debug)]
pub struct Store {
    client: reqwest::Client,
    url: String,
    /// Read at every question, so that a new one is taken up.
    token: PathBuf,
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

#[derive(Debug, Deserialize)]
struct Page {
    logs: Vec<LogEnd>,
    discarded: bool,
    batches: Vec<Batch>,
}

#[derive(Debug, Deserialize)]
struct LogEnd {
    end: u64,
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

    /// The next batches of `from..end`; waits until the store has accounted for all of them. Empty
    /// when it keeps none of them any more.
    pub async fn batches(&self, log: LogId, from: u64, end: u64) -> Vec<Batch> {
        loop {
            match self.page(log, from).await {
                Ok(page) if page.logs.first().is_some_and(|log| log.end >= end) => {
                    if page.discarded {
                        tracing::warn!(%log, from, end, "the store keeps some batches no more");
                    }
                    return page.batches.into_iter().filter(|batch| batch.n < end).collect();
                }
                Ok(_) => {}
                Err(error) => tracing::debug!(%log, from, %error, "cannot catch up yet"),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    async fn page(&self, log: LogId, from: u64) -> anyhow::Result<Page> {
        let after = from.checked_sub(1).map_or_else(String::new, |after| format!("&after={after}"));
        let url = format!("{}?log={log}{after}", self.url);
        let token = BearerToken::load(&self.token)?;
        let answer = self.client.get(url).bearer_auth(token.expose()).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}
