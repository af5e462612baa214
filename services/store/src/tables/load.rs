//! What a file holds when it is opened, before the log rows that are not packed are applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use vigia_disk::redb::{self, ReadableTable};
use vigia_disk::{Disk, Failed};
use vigia_protocol::header::SensorId;
use vigia_protocol::position::LogId;
use vigia_protocol::profile::{Profile, Quantity};

use super::{
    BLOCKS, Corrupt, FORMAT, JOURNALS, JournalRow, LOG, LOGS, META, ORIGINS, PROFILES, QUARANTINE,
    STREAMS, StreamRow, block_key, decode,
};
use crate::account::LogAccount;
use crate::run::Run;
use crate::stream::{OpenRun, Stream, StreamId};

/// What reports do not end with that an older program has written down: which sensors are unsettled, none, and that
/// nothing more is expected of the journal. One that is there says it anew within a second.
const OF_OLDER_REPORTS: [u8; 2] = [0, 1];

/// See the module.
#[derive(Debug)]
pub struct Loaded {
    /// The store's instance.
    pub instance: u64,
    /// The stores whose place it takes.
    pub replaces: Vec<u64>,
    /// The first arrival that is not packed.
    pub packed: u64,
    /// Bytes of log rows below it.
    pub log_bytes: u64,
    /// As of it.
    pub logs: BTreeMap<LogId, LogAccount>,
    /// As of it.
    pub streams: BTreeMap<StreamId, Stream>,
    /// All profiles.
    pub profiles: Vec<Arc<Profile>>,
    /// What journals said last.
    pub journals: Vec<JournalRow>,
    /// Which journal listed a log.
    pub origins: BTreeMap<LogId, u64>,
    /// The number of the next entry in quarantine.
    pub next_quarantine: u64,
}

/// The file is not one that this program can serve.
#[derive(Debug, thiserror::Error)]
pub enum CannotLoad {
    /// A newer program made it.
    #[error("the store's format is {0}, and this program knows {FORMAT}: use a newer vigia")]
    Newer(u64),
    /// It is a backup: served as it is, it would pass for the store it was taken of.
    #[error("the file is a backup: 'vigia store restore' makes a store of it")]
    Backup,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] redb::Error),
    /// Making the tables failed.
    #[error(transparent)]
    Write(#[from] Failed),
}

impl From<Corrupt> for CannotLoad {
    fn from(corrupt: Corrupt) -> Self {
        Self::Read(corrupt.into())
    }
}

/// Reads it, and makes the tables if the file is new.
pub fn load(disk: &Disk, instance_if_new: u64) -> Result<Loaded, CannotLoad> {
    if let Some(format) = format(disk)?
        && format > FORMAT
    {
        return Err(CannotLoad::Newer(format));
    }
    if super::backup::label(&disk.begin_read()?)?.is_some() {
        return Err(CannotLoad::Backup);
    }
    disk.write(|transaction| super::writes::prepare(transaction, instance_if_new))?;
    Ok(read(disk)?)
}

fn format(disk: &Disk) -> Result<Option<u64>, redb::Error> {
    match disk.begin_read()?.open_table(META) {
        Ok(meta) => Ok(meta.get("format")?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn read(disk: &Disk) -> Result<Loaded, redb::Error> {
    let transaction = disk.begin_read()?;
    let meta = transaction.open_table(META)?;
    let number = |name| -> Result<u64, redb::Error> {
        Ok(meta.get(name)?.ok_or(Corrupt("a meta row"))?.value())
    };
    let packed = number("packed")?;

    let mut profiles = Vec::new();
    for entry in transaction.open_table(PROFILES)?.iter()? {
        let corrupt = Corrupt("a profile");
        let (name, quantities): (String, Vec<Quantity>) =
            serde_json::from_slice(entry?.1.value()).map_err(|_| corrupt)?;
        profiles.push(Arc::new(Profile::new(&name, quantities).map_err(|_| corrupt)?));
    }
    let mut logs = BTreeMap::new();
    for entry in transaction.open_table(LOGS)?.iter()? {
        let (log, row) = entry?;
        logs.insert(LogId(log.value()), decode(row.value(), "a log's account")?);
    }
    let blocks = transaction.open_table(BLOCKS)?;
    let mut streams = BTreeMap::new();
    for entry in transaction.open_table(STREAMS)?.iter()? {
        let (key, row) = entry?;
        let (sensor, stream) = key.value();
        let id = StreamId { sensor: SensorId(sensor), stream };
        let row: StreamRow = decode(row.value(), "a stream's account")?;
        let mut open = Vec::new();
        for (first, length) in row.open {
            let block = blocks.get(block_key(id, first))?.ok_or(Corrupt("an open run"))?;
            let mut run = decode_run(first, &profiles, block.value())?;
            // What came after is applied again from the log.
            run.truncate(length as usize);
            open.push(OpenRun { written: run.len(), run });
        }
        streams.insert(id, Stream { account: row.account, open, changed: false });
    }
    let mut journals = Vec::new();
    for entry in transaction.open_table(JOURNALS)?.iter()? {
        let row = entry?.1;
        let what = "a journal's report";
        let older = |_| decode(&[row.value(), &OF_OLDER_REPORTS].concat(), what);
        journals.push(decode(row.value(), what).or_else(older)?);
    }
    let mut origins = BTreeMap::new();
    for entry in transaction.open_table(ORIGINS)?.iter()? {
        let (log, journal) = entry?;
        origins.insert(LogId(log.value()), journal.value());
    }
    let last = transaction.open_table(QUARANTINE)?.last()?.map(|(entry, _)| entry.value());
    Ok(Loaded {
        instance: number("instance")?,
        replaces: super::backup::replaces(&transaction)?,
        packed,
        log_bytes: number("log_bytes")?,
        logs,
        streams,
        profiles,
        journals,
        origins,
        next_quarantine: last.map_or(0, |entry| entry + 1),
    })
}

/// Calls `each` with the log rows from `packed` on, in their order.
pub fn replay(
    disk: &Disk,
    packed: u64,
    mut each: impl FnMut(u64, &[u8]) -> Result<(), Corrupt>,
) -> Result<(), redb::Error> {
    for entry in disk.begin_read()?.open_table(LOG)?.range(packed..)? {
        let (arrival, row) = entry?;
        each(arrival.value(), row.value())?;
    }
    Ok(())
}

/// Reads a block with whatever profile it says it has.
pub fn decode_run(first: u64, profiles: &[Arc<Profile>], bytes: &[u8]) -> Result<Run, Corrupt> {
    let number = Run::profile_of(bytes)?;
    let profile = profiles.get(usize::from(number)).ok_or(Corrupt("a block's profile"))?;
    Run::decode(first, profile, bytes)
}
