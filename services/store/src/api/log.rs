//! Batches by position, for consumers that missed some on the bus.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use vigia_protocol::position::LogId;

use crate::account::LogAccount;
use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::reading::{Values, quality, values};
use crate::api::time::{LogName, Time};
use crate::api::{Part, Shared};
use crate::limits::{PAGE_BATCHES, PAGE_READINGS};
use crate::query::{LogBatch, StoredReading};
use crate::state::State;

/// Operations on logs.
#[derive(Debug)]
pub struct Log;

/// A log.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct LogEnd {
    /// Its id.
    pub log: String,
    /// The node it is from.
    pub node: String,
    /// When the first of it came.
    pub since: Time,
    /// Everything below this position is accounted for.
    pub end: u64,
}

/// A reading in a batch.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct LogReading {
    /// Whose.
    pub sensor: i16,
    /// Its stream.
    pub stream: u32,
    /// Its number in it.
    pub seq: u64,
    /// By the sensor's clock.
    pub time: Time,
    /// By the ingress's clock.
    pub received: Time,
    /// The worst of its values'.
    pub quality: String,
    /// By quantity; null where there was no number.
    pub values: Values,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct BatchInfo {
    /// Its position in its log.
    pub n: u64,
    /// What was stored of it.
    pub readings: Vec<LogReading>,
}

/// A page of a log, or the list of logs.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct LogPage {
    /// The log that was asked for, or all, oldest first.
    pub logs: Vec<LogEnd>,
    /// Some positions after `after` are not kept any more: use `/sensors/{id}/readings`. What
    /// follows them begins `batches`.
    pub discarded: bool,
    /// In their order, up to the log's end.
    pub batches: Vec<BatchInfo>,
}

fn default_page() -> u64 {
    PAGE_BATCHES.1
}

#[OpenApi(tag = "Part::Accounts")]
impl Log {
    /// Batches of a log after a position; without `log`, the list of logs.
    #[oai(path = "/log", method = "get", operation_id = "getLog")]
    async fn get(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// Which log.
        log: Query<Option<LogName>>,
        /// The last position that is known already; absent for the beginning.
        after: Query<Option<u64>>,
        /// Batches in a page; a page also ends at 10,000 readings.
        #[oai(default = "default_page", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u64>,
    ) -> Result<Json<LogPage>, Problem> {
        let Some(LogName(log)) = log.0 else {
            return Ok(Json(LogPage {
                logs: shared.look(all).await?,
                discarded: false,
                batches: Vec::new(),
            }));
        };
        let known = shared.look(move |state| state.logs.get(&log).map(|account| end(log, account)));
        let known =
            known.await?.ok_or_else(|| Problem::not_found(format!("no log {log} is known")))?;
        let from = after.0.map_or(0, |after| after.saturating_add(1));
        let bounds = (limit.0 as usize, PAGE_READINGS.0 as usize);
        let range = (from, known.end);
        let batches =
            shared.query(None, move |snapshot| snapshot.batches(log, range, bounds)).await?;
        let discarded = from < known.end && batches.first().is_none_or(|batch| batch.n != from);
        let batches = batches.iter().map(batch_info).collect();
        Ok(Json(LogPage { logs: vec![known], discarded, batches }))
    }
}

fn all(state: &State) -> Vec<LogEnd> {
    let mut logs: Vec<LogEnd> =
        state.logs.iter().map(|(log, account)| end(*log, account)).collect();
    logs.sort_by_key(|log| log.since.0);
    logs
}

fn end(log: LogId, account: &LogAccount) -> LogEnd {
    LogEnd {
        log: log.to_string(),
        node: account.node.clone(),
        since: Time(account.since),
        end: account.extents.watermark(),
    }
}

fn batch_info(batch: &LogBatch) -> BatchInfo {
    BatchInfo { n: batch.n, readings: batch.readings.iter().map(LogReading::from).collect() }
}

impl From<&StoredReading> for LogReading {
    fn from(reading: &StoredReading) -> Self {
        Self {
            sensor: reading.id.sensor.0,
            stream: reading.id.stream,
            seq: reading.seq,
            time: Time(reading.time),
            received: Time(reading.received),
            quality: quality(reading).word().to_owned(),
            values: values(reading),
        }
    }
}
