//! What store and broker tell each other: how far everything is accounted for, and what the journal
//! holds. Both are sealed, binary, and small.

use serde::{Deserialize, Serialize};

use crate::batch::Count;
use crate::header::SensorId;
use crate::position::LogId;
use crate::ranges::RangeSet;
use crate::time::Micros;

/// What became of the readings of one log. The sum is what is accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Stored (a GAP frame counts as a stored frame without readings).
    pub stored: Count,
    /// Kept with raw bytes and a reason.
    pub quarantined: Count,
    /// Seen before, at another position.
    pub duplicate: Count,
    /// Held by no one any more.
    pub lost: Count,
}

impl Totals {
    /// All that is accounted for.
    pub fn accounted(&self) -> Count {
        self.stored.plus(self.quarantined).plus(self.duplicate).plus(self.lost)
    }

    /// The sum, part by part.
    pub fn plus(self, other: Self) -> Self {
        Self {
            stored: self.stored.plus(other.stored),
            quarantined: self.quarantined.plus(other.quarantined),
            duplicate: self.duplicate.plus(other.duplicate),
            lost: self.lost.plus(other.lost),
        }
    }
}

/// One log, as a store sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredLog {
    /// Which.
    pub log: LogId,
    /// The accounted positions, all of them (in a report: the first
    /// [`MAX_REPORTED_RANGES`](crate::limits::MAX_REPORTED_RANGES) ranges).
    pub accounted: RangeSet,
    /// What became of them. Belongs to the whole set, so it is absent when the set was cut.
    pub totals: Option<Totals>,
}

/// The arrow back: store → broker, after commits and for markers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreReport {
    /// Which store; new when one is created or restored.
    pub instance: u64,
    /// The stores whose place it takes, where it was restored from a backup of one, over another.
    pub replaces: Vec<u64>,
    /// The last marker it saw: (session, number).
    pub marker: Option<(u64, u64)>,
    /// The logs that changed, and those a marker asked for.
    pub logs: Vec<StoredLog>,
}

/// One log, as its journal sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLog {
    /// Which.
    pub log: LogId,
    /// Opened when.
    pub opened: Micros,
    /// Batches journaled: positions 0 … `batches` − 1 exist or existed.
    pub batches: u64,
    /// The oldest position still held; equal to `batches` if none is.
    pub oldest: u64,
    /// What was accepted in all.
    pub accepted: Count,
    /// What was accepted in positions below `oldest`.
    pub before_oldest: Count,
    /// The journal's own count of what the store's last report says is accounted for, and that
    /// report's totals: both sides of the equation at one moment. `None` before a first report.
    pub checked: Option<Checked>,
}

/// The store's claim about a log beside the journal's count for exactly the same positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// By the journal's own rows: what stands at the positions that the store calls accounted.
    pub by_journal: Count,
    /// By the store: what became of them.
    pub by_store: Totals,
}

/// broker → store: the other half of the ledger. Sent at least every second.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalReport {
    /// Made at random with the journal file.
    pub journal: u64,
    /// When the journal file was made: of two with one node name, the younger replaced the older.
    pub created: Micros,
    /// When this was said.
    pub time: Micros,
    /// Every log the journal knows, oldest first.
    pub logs: Vec<JournalLog>,
    /// Bytes of rows held, and the bound.
    pub bytes: (u64, u64),
    /// Sensors with an open session.
    pub online: Vec<SensorId>,
    /// The store instance that frees the journal; another one does not.
    pub store: Option<u64>,
    /// Round trip of the last echoed marker, µs, and when its echo came.
    pub echo: Option<(i64, Micros)>,
    /// Sensors of which something is not stored yet: what is missing if this journal is never heard of again. At most
    /// [`MAX_REPORTED_UNSETTLED`](crate::limits::MAX_REPORTED_UNSETTLED).
    pub unsettled: Vec<Unsettled>,
}

/// Readings of a sensor that were acknowledged to it, and that the journal does not know to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsettled {
    /// Whose.
    pub sensor: SensorId,
    /// In which of its streams.
    pub stream: u32,
    /// The first of them.
    pub from: u64,
    /// One past the last.
    pub to: u64,
}
