//! What one transaction writes, collected before it begins.

use vigia_disk::redb::{self, ReadableTable, WriteTransaction};
use vigia_protocol::position::LogId;
use vigia_protocol::profile::Profile;

use super::{
    BLOCKS, BlockKey, FORMAT, JOURNALS, JournalRow, LOG, LOG_INDEX, LOGS, META, ORIGINS, PROFILES,
    QUARANTINE, Quarantined, STATS, STREAMS, StreamRow, block_key, encode, log,
};
use crate::account::LogAccount;
use crate::limits::{BLOCK_READINGS, LOG_ROWS_REMOVED};
use crate::run::Run;
use crate::stream::StreamId;

/// What one transaction writes.
#[derive(Debug, Default)]
pub struct Writes {
    log: Vec<(u64, Vec<u8>)>,
    index: Vec<((u64, u64), u64)>,
    blocks: Vec<(BlockKey, Vec<u8>, Vec<u8>)>,
    quarantine: Vec<(u64, Vec<u8>)>,
    profiles: Vec<(u16, Vec<u8>)>,
    journals: Vec<(u64, Vec<u8>)>,
    origins: Vec<(u64, u64)>,
    checkpoint: Option<Checkpoint>,
}

/// What a checkpoint writes besides blocks.
#[derive(Debug, Default)]
pub struct Checkpoint {
    /// Logs that changed.
    pub logs: Vec<(LogId, LogAccount)>,
    /// Streams that changed.
    pub streams: Vec<(StreamId, StreamRow)>,
    /// The first arrival that is not packed.
    pub packed: u64,
    /// Bytes of log rows, these included.
    pub log_bytes: u64,
    /// Bytes of log rows that may stay.
    pub log_bytes_kept: u64,
}

impl Writes {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let rows = self.log.len() + self.blocks.len() + self.quarantine.len() + self.profiles.len();
        rows + self.journals.len() + self.origins.len() == 0 && self.checkpoint.is_none()
    }

    /// A row of the log; `n` if it is a batch. Gives its length.
    pub fn log(&mut self, arrival: u64, position: Option<(LogId, u64)>, row: &log::Row<'_>) -> u64 {
        let bytes = log::encode(row);
        let length = bytes.len() as u64;
        self.log.push((arrival, bytes));
        if let Some((log, n)) = position {
            self.index.push(((log.0, n), arrival));
        }
        length
    }

    /// A run, full or not.
    pub fn block(&mut self, id: StreamId, run: &Run) {
        self.blocks.push((block_key(id, run.first), run.encode(), encode(&run.stats())));
    }

    /// The run that may hold number `seq`, if it is among these.
    pub fn find_block(&self, id: StreamId, seq: u64) -> Option<(u64, &[u8])> {
        let found = self.blocks.iter().rev().find(|((sensor, stream, first), _, _)| {
            (*sensor, *stream) == (id.sensor.0, id.stream)
                && (*first..first.saturating_add(BLOCK_READINGS as u64)).contains(&seq)
        });
        found.map(|((_, _, first), bytes, _)| (*first, bytes.as_slice()))
    }

    /// An entry of quarantine.
    pub fn quarantine(&mut self, entry: u64, row: &Quarantined) {
        self.quarantine.push((entry, encode(row)));
    }

    /// A profile that is new.
    ///
    /// # Panics
    /// Never: a profile always has an encoding.
    pub fn profile(&mut self, number: u16, profile: &Profile) {
        let row = (profile.name(), profile.quantities());
        let bytes = serde_json::to_vec(&row).expect("a profile has an encoding");
        self.profiles.push((number, bytes));
    }

    /// What a journal said.
    pub fn journal(&mut self, row: &JournalRow) {
        self.journals.push((row.report.journal, encode(row)));
    }

    /// Which journal listed a log.
    pub fn origin(&mut self, log: LogId, journal: u64) {
        self.origins.push((log.0, journal));
    }

    /// Makes this a checkpoint.
    pub fn checkpoint(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = Some(checkpoint);
    }

    /// Writes all of it. Gives the bytes of log rows that a checkpoint removed.
    pub fn put(&self, transaction: &WriteTransaction) -> Result<u64, redb::Error> {
        if !self.log.is_empty() {
            let mut rows = transaction.open_table(LOG)?;
            for (arrival, row) in &self.log {
                rows.insert(arrival, row.as_slice())?;
            }
            let mut index = transaction.open_table(LOG_INDEX)?;
            for (position, arrival) in &self.index {
                index.insert(position, arrival)?;
            }
        }
        if !self.blocks.is_empty() {
            let mut blocks = transaction.open_table(BLOCKS)?;
            let mut stats = transaction.open_table(STATS)?;
            for (key, block, stats_row) in &self.blocks {
                blocks.insert(key, block.as_slice())?;
                stats.insert(key, stats_row.as_slice())?;
            }
        }
        if !self.quarantine.is_empty() {
            let mut quarantine = transaction.open_table(QUARANTINE)?;
            for (entry, row) in &self.quarantine {
                quarantine.insert(entry, row.as_slice())?;
            }
        }
        if !self.profiles.is_empty() {
            let mut profiles = transaction.open_table(PROFILES)?;
            for (number, row) in &self.profiles {
                profiles.insert(number, row.as_slice())?;
            }
        }
        if !self.journals.is_empty() || !self.origins.is_empty() {
            let mut journals = transaction.open_table(JOURNALS)?;
            for (journal, row) in &self.journals {
                journals.insert(journal, row.as_slice())?;
            }
            let mut origins = transaction.open_table(ORIGINS)?;
            for (log, journal) in &self.origins {
                origins.insert(log, journal)?;
            }
        }
        self.checkpoint.as_ref().map_or(Ok(0), |checkpoint| checkpoint.put(transaction))
    }
}

impl Checkpoint {
    fn put(&self, transaction: &WriteTransaction) -> Result<u64, redb::Error> {
        let mut logs = transaction.open_table(LOGS)?;
        for (log, account) in &self.logs {
            logs.insert(log.0, encode(account).as_slice())?;
        }
        let mut streams = transaction.open_table(STREAMS)?;
        for (id, row) in &self.streams {
            streams.insert((id.sensor.0, id.stream), encode(row).as_slice())?;
        }
        let removed = self.remove_oldest(transaction)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert("packed", self.packed)?;
        meta.insert("log_bytes", self.log_bytes - removed)?;
        Ok(removed)
    }

    /// Removes log rows from the oldest on until the rest is within the bound. All are packed: the
    /// checkpoint they are removed by has packed them.
    fn remove_oldest(&self, transaction: &WriteTransaction) -> Result<u64, redb::Error> {
        let mut rows = transaction.open_table(LOG)?;
        let mut index = transaction.open_table(LOG_INDEX)?;
        let mut removed = 0;
        for _ in 0..LOG_ROWS_REMOVED {
            if self.log_bytes - removed <= self.log_bytes_kept {
                break;
            }
            let Some((_, row)) = rows.pop_first()? else { break };
            removed += row.value().len() as u64;
            if let log::Row::Batch(batch) = log::row(row.value())? {
                index.remove((batch.head.position.log.0, batch.head.position.n))?;
            }
        }
        Ok(removed.min(self.log_bytes))
    }
}

/// Makes every table, and the meta rows of a new file.
pub(super) fn prepare(
    transaction: &WriteTransaction,
    instance_if_new: u64,
) -> Result<(), redb::Error> {
    let mut meta = transaction.open_table(META)?;
    if meta.get("format")?.is_none() {
        meta.insert("format", FORMAT)?;
        meta.insert("instance", instance_if_new)?;
        meta.insert("packed", 0)?;
        meta.insert("log_bytes", 0)?;
    }
    transaction.open_table(LOG)?;
    transaction.open_table(LOG_INDEX)?;
    transaction.open_table(BLOCKS)?;
    transaction.open_table(STATS)?;
    transaction.open_table(LOGS)?;
    transaction.open_table(STREAMS)?;
    transaction.open_table(PROFILES)?;
    transaction.open_table(QUARANTINE)?;
    transaction.open_table(JOURNALS)?;
    transaction.open_table(ORIGINS)?;
    Ok(())
}
