//! The system from the outside: its REST API.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use vigia_kit::api::client;
use vigia_kit::config::Store;
use vigia_kit::tokens::BearerToken;

use crate::books::Books;
use crate::oracle::{Exported, Quarantined};
use crate::polled::Polled;
use crate::site::Site;
use crate::truth::{Measured, Place, QUANTITIES};

const PAGE: &str = "10000";
/// A client waits no longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Api {
    client: reqwest::Client,
    base: String,
}

/// The API knows nothing of it.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not found")]
struct NotFound(String);

#[derive(Debug, Deserialize)]
struct Page {
    readings: Vec<Reading>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct QuarantinePage {
    entries: Vec<QuarantineEntry>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct QuarantineEntry {
    reason: String,
    sensor: Option<i16>,
    stream: Option<u32>,
    seq: Option<u64>,
    readings: u64,
}

#[derive(Debug, Deserialize)]
struct Alarms {
    alarms: Vec<Alarm>,
}

#[derive(Debug, Deserialize)]
struct Alarm {
    sensor: i16,
    rule: String,
    active: bool,
}

#[derive(Debug, Deserialize)]
struct Reading {
    stream: u32,
    seq: u64,
    #[serde(default)]
    skewed: bool,
    time: String,
    quality: String,
    #[serde(default)]
    flags: Vec<String>,
    /// Of the values that are not good, by quantity.
    #[serde(default)]
    status: BTreeMap<String, String>,
    values: serde_json::Map<String, serde_json::Value>,
}

impl Api {
    /// At an address such as `http://127.0.0.1:8080`.
    pub fn at(client: reqwest::Client, url: &str) -> Self {
        Self { client, base: format!("{url}/api/v1") }
    }

    /// Of a site that listens.
    ///
    /// # Errors
    /// If it does not.
    pub fn new(site: &Site) -> anyhow::Result<Self> {
        let address = site.addresses().context("the site has no addresses")?.api;
        // Sites of drills listen on this machine alone, where reading needs no token.
        let client = client(None, None, ANSWER_WITHIN)?;
        Ok(Self::at(client, &format!("http://{address}")))
    }

    /// Where this store's API is bound, by TLS if it has it, with a token.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn of(
        store: &Store,
        bound: SocketAddr,
        token: &Path,
        authority: &Path,
    ) -> anyhow::Result<Self> {
        let token = BearerToken::load(token)?;
        let client = client(store.tls.then_some(authority), Some(&token), ANSWER_WITHIN)?;
        Ok(Self::at(client, &store.url(bound)))
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        let url = format!("{}/{path}", self.base);
        let answer = self.client.get(&url).query(query).send().await;
        let answer = answer.with_context(|| format!("cannot reach {url}"))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{url} broke off its answer"))?;
        if status == reqwest::StatusCode::NOT_FOUND {
            return Err(NotFound(url).into());
        }
        if !status.is_success() {
            bail!("{url} answers {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("{url} answers what is not expected"))
    }

    /// What stands at this address.
    ///
    /// # Errors
    /// If it cannot be had.
    pub async fn text(&self, url: &str) -> anyhow::Result<String> {
        let answer =
            self.client.get(url).send().await.with_context(|| format!("cannot reach {url}"))?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// The ledger.
    ///
    /// # Errors
    /// If it cannot be had.
    pub async fn ledger(&self) -> anyhow::Result<Books> {
        self.get("ledger", &[]).await
    }

    /// Whether the sensor's newest stored reading is said to be of another time than the broker's.
    ///
    /// # Errors
    /// If there is none, or it cannot be had.
    pub async fn is_skewed(&self, sensor: i16) -> anyhow::Result<bool> {
        let reading: Reading = self.get(&format!("sensors/{sensor}/latest"), &[]).await?;
        Ok(reading.skewed)
    }

    /// Where the sensor's newest stored reading stands.
    ///
    /// # Errors
    /// If there is none, or it cannot be had.
    pub async fn latest(&self, sensor: i16) -> anyhow::Result<Place> {
        let reading: Reading = self.get(&format!("sensors/{sensor}/latest"), &[]).await?;
        Ok((reading.stream, reading.seq))
    }

    /// Whether the sensor's alarm of this rule is raised.
    ///
    /// # Errors
    /// If it cannot be had, as while the store does not reach the bus.
    pub async fn is_alarm_raised(&self, sensor: i16, rule: &str) -> anyhow::Result<bool> {
        let known: Alarms = self.get("alarms", &[]).await?;
        let mut alarms = known.alarms.iter();
        Ok(alarms.any(|alarm| alarm.sensor == sensor && alarm.rule == rule && alarm.active))
    }

    /// Every reading that stands in quarantine as poison, and says whose it is.
    ///
    /// # Errors
    /// If a page cannot be had.
    pub async fn poison(&self) -> anyhow::Result<Quarantined> {
        let mut all = Quarantined::new();
        let mut cursor: Option<String> = None;
        loop {
            let query: Vec<_> = cursor.iter().map(|cursor| ("cursor", cursor.as_str())).collect();
            let page: QuarantinePage = self.get("quarantine", &query).await?;
            for entry in page.entries.iter().filter(|entry| entry.reason == "poison") {
                let (Some(sensor), Some(stream), Some(seq)) =
                    (entry.sensor, entry.stream, entry.seq)
                else {
                    continue;
                };
                all.extend((seq..seq + entry.readings).map(|seq| (sensor, (stream, seq))));
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }

    /// Every reading of the sensor, in the API's order; none if it is not known.
    ///
    /// # Errors
    /// If a page cannot be had.
    pub async fn export(&self, sensor: i16) -> anyhow::Result<Vec<Exported>> {
        self.readings(sensor, Reading::exported).await
    }

    /// The same of a Modbus device's sensor, with its troubles.
    ///
    /// # Errors
    /// If a page cannot be had.
    pub async fn polled(&self, sensor: i16) -> anyhow::Result<Vec<Polled>> {
        self.readings(sensor, Reading::polled).await
    }

    /// The newest stored reading of a Modbus device's sensor.
    ///
    /// # Errors
    /// If there is none, or it cannot be had.
    pub async fn newest_polled(&self, sensor: i16) -> anyhow::Result<Polled> {
        let reading: Reading = self.get(&format!("sensors/{sensor}/latest"), &[]).await?;
        reading.polled()
    }

    async fn readings<T>(
        &self,
        sensor: i16,
        taken: impl Fn(&Reading) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        let path = format!("sensors/{sensor}/readings");
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = vec![("limit", PAGE)];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: Page = match self.get(&path, &query).await {
                Err(error) if error.is::<NotFound>() && all.is_empty() => return Ok(all),
                page => page?,
            };
            for reading in &page.readings {
                all.push(taken(reading).with_context(|| format!("{path}: {reading:?}"))?);
            }
            if page.next_cursor.is_some() && page.next_cursor == cursor {
                bail!("{path}: the cursor {cursor:?} leads to itself");
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(all);
            }
        }
    }
}

impl Reading {
    fn exported(&self) -> anyhow::Result<Exported> {
        let time: Timestamp = self.time.parse()?;
        if self.values.len() != QUANTITIES.len() {
            bail!("expected the values {QUANTITIES:?}");
        }
        let mut values = [None; QUANTITIES.len()];
        for (value, name) in values.iter_mut().zip(QUANTITIES) {
            let shown = self.values.get(name).with_context(|| format!("no {name}"))?;
            if !shown.is_null() {
                *value =
                    Some(shown.as_f64().with_context(|| format!("{name} is no number"))? as f32);
            }
        }
        let measured = Measured { time: time.as_microsecond(), values };
        Ok(Exported { place: (self.stream, self.seq), measured })
    }

    fn polled(&self) -> anyhow::Result<Polled> {
        let time: Timestamp = self.time.parse()?;
        let trouble = (self.quality != "good").then(|| {
            // Whatever is not good has a status; one stands for all.
            self.status.values().next().unwrap_or(&self.quality).clone()
        });
        let waited = self.flags.iter().any(|flag| flag == "backlog");
        let time = time.as_microsecond();
        Ok(Polled { place: (self.stream, self.seq), time, waited, trouble })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(values: &str) -> anyhow::Result<Exported> {
        let text = format!(
            r#"{{"stream":2,"seq":9,"time":"2026-01-31T08:30:00.000001Z","quality":"good","values":{values}}}"#
        );
        serde_json::from_str::<Reading>(&text).unwrap().exported()
    }

    #[test]
    fn a_reading_is_read_to_the_microsecond_and_the_last_bit() {
        let exported =
            reading(r#"{"pressure":1013.25,"humidity":null,"temperature":21.6000004}"#).unwrap();
        assert_eq!(exported.place, (2, 9));
        assert_eq!(exported.measured.time, 1_769_848_200_000_001);
        assert_eq!(exported.measured.values, [Some(21.6_f32), Some(1013.25), None]);
    }

    #[test]
    fn other_values_than_were_sent_are_refused() {
        assert!(reading(r#"{"temperature":1,"pressure":2}"#).is_err());
        assert!(reading(r#"{"temperature":1,"pressure":2,"flow":3}"#).is_err());
        assert!(reading(r#"{"temperature":1,"pressure":2,"humidity":"3"}"#).is_err());
    }
}
