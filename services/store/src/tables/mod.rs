//! What stands in `store.redb`. Only this module knows.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | `format` = 1, `instance`, `packed`, `log_bytes`; of a restored store `backup_of`, `set_aside` |
//! | `log` | arrival | one accounted batch or loss: what was decided, and the stored readings ([`log`]) |
//! | `log_index` | (log, n) | arrival |
//! | `blocks` | (sensor, stream, first seq) | a [`Run`](crate::run::Run): up to 1,024 consecutive readings in columns |
//! | `stats` | the same | the block's [`Stats`](crate::run::Stats) |
//! | `logs` | log | its [`LogAccount`](crate::account::LogAccount) as of `packed` |
//! | `streams` | (sensor, stream) | its [`StreamRow`] as of `packed` |
//! | `profiles` | number | name and quantities, JSON |
//! | `quarantine` | entry | [`Quarantined`] |
//! | `journals` | journal | the last thing it said ([`JournalRow`]) |
//! | `origins` | log | the journal that listed it |
//! | `backup` | `label` | in a backup alone: its [`Label`](backup::Label), JSON |
//!
//! An ingest transaction appends to `log` and `log_index` and writes the blocks that became full: few
//! pages, however many sensors. Everything else is derived: the state is what `logs`, `streams` and the
//! blocks of open runs say as of `packed`, and then the log rows from there on, applied in their order.
//! A checkpoint brings the former up to date in an ingest transaction, so that a restart replays little.

pub mod backup;
pub mod checked;
mod load;
pub mod log;
mod writes;

pub use load::{CannotLoad, Loaded, decode_run, load, replay};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vigia_disk::redb::{self, TableDefinition};
use vigia_protocol::batch::{Count, QuarantineReason};
use vigia_protocol::position::Position;
use vigia_protocol::report::JournalReport;
use vigia_protocol::time::Micros;
pub use writes::{Checkpoint, Writes};

use crate::stream::{StreamAccount, StreamId};

/// The format this program writes. A newer one is refused.
pub const FORMAT: u64 = 1;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// See the module.
pub const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// See the module.
pub const LOG_INDEX: TableDefinition<'_, (u64, u64), u64> = TableDefinition::new("log_index");
/// See the module.
pub const BLOCKS: TableDefinition<'_, BlockKey, &[u8]> = TableDefinition::new("blocks");
/// See the module.
pub const STATS: TableDefinition<'_, BlockKey, &[u8]> = TableDefinition::new("stats");
const LOGS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("logs");
const STREAMS: TableDefinition<'_, (i16, u32), &[u8]> = TableDefinition::new("streams");
const PROFILES: TableDefinition<'_, u16, &[u8]> = TableDefinition::new("profiles");
/// See the module.
pub const QUARANTINE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("quarantine");
const JOURNALS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journals");
const ORIGINS: TableDefinition<'_, u64, u64> = TableDefinition::new("origins");

/// Sensor, stream, number of the first reading.
pub type BlockKey = (i16, u32, u64);

/// The key of the run of `id` that begins at `first`.
pub fn block_key(id: StreamId, first: u64) -> BlockKey {
    (id.sensor.0, id.stream, first)
}

/// A row that is not what this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} cannot be read")]
pub struct Corrupt(pub &'static str);

impl From<Corrupt> for redb::Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::Corrupted(corrupt.to_string())
    }
}

/// What the table `streams` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StreamRow {
    /// The numbers.
    pub account: StreamAccount,
    /// The runs that may still grow: first number and length. Their blocks may have grown since.
    pub open: Vec<(u64, u64)>,
}

/// An entry of quarantine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Quarantined {
    /// The batch it came in.
    pub position: Position,
    /// When the ingress had it; for a whole batch, when the store had it.
    pub received: Micros,
    /// Why.
    pub reason: QuarantineReason,
    /// Whose it says it is, and where it says it stands; nothing for a whole batch.
    pub claims: Option<(StreamId, u64)>,
    /// What it counts for.
    pub count: Count,
    /// All its bytes.
    pub bytes: Vec<u8>,
}

/// What the table `journals` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JournalRow {
    /// The node's name.
    pub node: String,
    /// When the store heard it.
    pub heard: Micros,
    /// What it said.
    pub report: JournalReport,
    /// Whether somebody has said that nothing more is to be expected of it.
    pub is_written_off: bool,
}

/// Encodes a row.
///
/// # Panics
/// Never: rows always have an encoding.
pub fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_stdvec(row).expect("plain data has an encoding")
}

/// Decodes a row.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], what: &'static str) -> Result<T, Corrupt> {
    postcard::from_bytes(bytes).map_err(|_| Corrupt(what))
}
