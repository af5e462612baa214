//! What could not be understood.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use crate::api::allowed::{Allowed, ToRead};
use crate::api::problem::Problem;
use crate::api::sensors::bad_cursor;
use crate::api::time::Time;
use crate::api::{Part, Shared};
use crate::limits::{PAGE_QUARANTINE, QUARANTINE_SHOWN_BYTES};
use crate::tables::Quarantined;

/// Operations on quarantine.
#[derive(Debug)]
pub struct Quarantine;

/// An entry.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct QuarantineEntry {
    /// Its number.
    pub entry: u64,
    /// The log of the batch it came in.
    pub log: String,
    /// That batch's position.
    pub n: u64,
    /// When the ingress had it; for a whole batch, when the store had it.
    pub received: Time,
    /// Why.
    pub reason: String,
    /// Whose it says it is; absent for a whole batch.
    #[oai(skip_serializing_if_is_none)]
    pub sensor: Option<i16>,
    /// Where it says it stands.
    #[oai(skip_serializing_if_is_none)]
    pub stream: Option<u32>,
    /// Where it says it stands.
    #[oai(skip_serializing_if_is_none)]
    pub seq: Option<u64>,
    /// Readings it counts for.
    pub readings: u64,
    /// Frames it counts for.
    pub frames: u64,
    /// How many bytes it has.
    pub length: u64,
    /// Its bytes as hexadecimal; in a list, the first 8 KiB of a longer one.
    pub bytes: String,
}

/// A page of entries.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct QuarantinePage {
    /// Newest first.
    pub entries: Vec<QuarantineEntry>,
    /// Where the next page begins; absent at the end.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

fn default_page() -> u64 {
    PAGE_QUARANTINE.1
}

#[OpenApi(tag = "Part::Accounts")]
impl Quarantine {
    /// What could not be verified, decoded or understood, newest first.
    #[oai(path = "/quarantine", method = "get", operation_id = "listQuarantine")]
    async fn list(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// Entries in a page.
        #[oai(default = "default_page", validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<u64>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<QuarantinePage>, Problem> {
        let before = match &cursor.0 {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| bad_cursor(text))?),
        };
        let limit = limit.0 as usize;
        let page = shared.query(None, move |snapshot| snapshot.quarantine(before, limit)).await?;
        Ok(Json(QuarantinePage {
            entries: page.items.into_iter().map(|one| shown(one, QUARANTINE_SHOWN_BYTES)).collect(),
            next_cursor: page.next.map(|entry| entry.to_string()),
        }))
    }

    /// One entry, with all its bytes.
    #[oai(path = "/quarantine/:entry", method = "get", operation_id = "getQuarantined")]
    async fn get(
        &self,
        _allowed: Allowed<ToRead>,
        shared: Data<&Arc<Shared>>,
        /// Its number.
        entry: Path<u64>,
    ) -> Result<Json<QuarantineEntry>, Problem> {
        let entry = entry.0;
        let before = entry.saturating_add(1);
        let page = shared.query(None, move |snapshot| snapshot.quarantine(Some(before), 1)).await?;
        let found = page.items.into_iter().find(|(number, _)| *number == entry);
        let found = found.ok_or_else(|| {
            Problem::not_found(format!("there is no entry {entry} in quarantine"))
        })?;
        Ok(Json(shown(found, usize::MAX)))
    }
}

fn shown((entry, row): (u64, Quarantined), most: usize) -> QuarantineEntry {
    use std::fmt::Write as _;
    let mut bytes = String::new();
    for byte in row.bytes.iter().take(most) {
        // Writing into a String cannot fail.
        let _ = write!(bytes, "{byte:02x}");
    }
    QuarantineEntry {
        entry,
        log: row.position.log.to_string(),
        n: row.position.n,
        received: Time(row.received),
        reason: row.reason.word().to_owned(),
        sensor: row.claims.map(|(id, _)| id.sensor.0),
        stream: row.claims.map(|(id, _)| id.stream),
        seq: row.claims.map(|(_, seq)| seq),
        readings: row.count.readings,
        frames: row.count.frames,
        length: row.bytes.len() as u64,
        bytes,
    }
}
