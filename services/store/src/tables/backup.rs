//! A backup: the tables as one read transaction sees them, in a file of their own, with a label. And how
//! it becomes a store again.

use std::borrow::Borrow;

use serde::{Deserialize, Serialize};
use vigia_disk::redb::{
    self, Key, ReadTransaction, ReadableTable, ReadableTableMetadata, TableDefinition, TableError,
    Value, WriteTransaction,
};
use vigia_disk::{Disk, Failed};

use super::{
    BLOCKS, Corrupt, JOURNALS, LOG, LOG_INDEX, LOGS, META, ORIGINS, PROFILES, QUARANTINE, STATS,
    STREAMS,
};
use crate::limits::BACKUP_COMMIT_BYTES;

/// In a backup alone. A file that has it is not served: it would pass for the store it was taken of,
/// with less in it.
const LABEL: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("backup");
const LABEL_KEY: &str = "label";
/// Rows of `meta`: the instances in whose place a restored store stands.
const REPLACES: [&str; 2] = ["backup_of", "set_aside"];

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// The node whose readings it has.
    pub node: String,
    /// The store it was taken of, 16 hexadecimal digits.
    pub instance: String,
    /// When; RFC 3339.
    pub made: String,
    /// Readings in it.
    pub readings: u64,
    /// How far each log was accounted for.
    pub logs: Vec<Watermark>,
}

/// Everything of a log below a position is accounted for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The log's id, 16 hexadecimal digits.
    pub log: String,
    /// The position.
    pub end: u64,
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Rows copied.
    pub rows: u64,
    /// Of so many.
    pub of: u64,
}

/// Copies all tables and writes the label. `tell` hears of the progress, and may stop it.
pub fn copy(
    from: &ReadTransaction,
    to: &Disk,
    label: &Label,
    tell: &mut dyn FnMut(Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut copier = Copier { from, to, progress: Progress { rows: 0, of: 0 }, tell };
    copier.count(META)?;
    copier.count(LOG)?;
    copier.count(LOG_INDEX)?;
    copier.count(BLOCKS)?;
    copier.count(STATS)?;
    copier.count(LOGS)?;
    copier.count(STREAMS)?;
    copier.count(PROFILES)?;
    copier.count(QUARANTINE)?;
    copier.count(JOURNALS)?;
    copier.count(ORIGINS)?;
    // First, so that a copy that was broken off is not served either.
    let transaction = to.begin_write()?;
    let text = serde_json::to_vec(label)?;
    transaction.open_table(LABEL)?.insert(LABEL_KEY, text.as_slice())?;
    transaction.commit()?;
    copier.copy(META)?;
    copier.copy(LOG)?;
    copier.copy(LOG_INDEX)?;
    copier.copy(BLOCKS)?;
    copier.copy(STATS)?;
    copier.copy(LOGS)?;
    copier.copy(STREAMS)?;
    copier.copy(PROFILES)?;
    copier.copy(QUARANTINE)?;
    copier.copy(JOURNALS)?;
    copier.copy(ORIGINS)
}

struct Copier<'a> {
    from: &'a ReadTransaction,
    to: &'a Disk,
    progress: Progress,
    tell: &'a mut dyn FnMut(Progress) -> anyhow::Result<()>,
}

impl Copier<'_> {
    fn count<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'_, K, V>,
    ) -> anyhow::Result<()> {
        self.progress.of += self.from.open_table(table)?.len()?;
        Ok(())
    }

    /// Commits now and then, so that memory stays bounded.
    fn copy<K: Key + 'static, V: Value + 'static>(
        &mut self,
        table: TableDefinition<'_, K, V>,
    ) -> anyhow::Result<()> {
        let source = self.from.open_table(table)?;
        let mut rows = source.iter()?.peekable();
        loop {
            let transaction = self.to.begin_write()?;
            self.progress.rows += copy_some(&mut rows, &transaction, table)?;
            transaction.commit()?;
            (self.tell)(self.progress)?;
            if rows.peek().is_none() {
                return Ok(());
            }
        }
    }
}

/// Copies rows until that is enough for one transaction, and says how many.
fn copy_some<'r, K: Key + 'static, V: Value + 'static>(
    rows: &mut impl Iterator<
        Item = Result<(redb::AccessGuard<'r, K>, redb::AccessGuard<'r, V>), redb::StorageError>,
    >,
    transaction: &WriteTransaction,
    table: TableDefinition<'_, K, V>,
) -> Result<u64, redb::Error> {
    let mut copy = transaction.open_table(table)?;
    let (mut count, mut bytes) = (0, 0);
    while bytes < BACKUP_COMMIT_BYTES {
        let Some(row) = rows.next() else { break };
        let (key, value) = row?;
        bytes += V::as_bytes(value.value().borrow()).as_ref().len();
        copy.insert(key.value(), value.value())?;
        count += 1;
    }
    Ok(count)
}

/// The label; `None` if this is no backup.
pub fn label(transaction: &ReadTransaction) -> Result<Option<Label>, redb::Error> {
    let table = match transaction.open_table(LABEL) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let row = table.get(LABEL_KEY)?.ok_or(Corrupt("the label of a backup"))?;
    let label = serde_json::from_slice(row.value());
    Ok(Some(label.map_err(|_| Corrupt("the label of a backup"))?))
}

/// Makes a store of a backup: one of its own, `instance`, in the place of the one that the backup was
/// taken of, and of the one it is put over.
pub fn make_store(disk: &Disk, instance: u64, set_aside: Option<u64>) -> Result<(), Failed> {
    disk.write(|transaction| {
        transaction.delete_table(LABEL)?;
        let mut meta = transaction.open_table(META)?;
        let backup_of = meta.insert("instance", instance)?.map(|old| old.value());
        for (name, replaced) in REPLACES.into_iter().zip([backup_of, set_aside]) {
            match replaced {
                Some(replaced) => meta.insert(name, replaced)?,
                None => meta.remove(name)?,
            };
        }
        Ok(())
    })
}

/// Which store this is.
pub fn instance(transaction: &ReadTransaction) -> Result<u64, redb::Error> {
    let meta = transaction.open_table(META)?;
    Ok(meta.get("instance")?.ok_or(Corrupt("a meta row"))?.value())
}

/// The stores whose place this one takes.
pub fn replaces(transaction: &ReadTransaction) -> Result<Vec<u64>, redb::Error> {
    let meta = transaction.open_table(META)?;
    let mut replaced = Vec::new();
    for name in REPLACES {
        replaced.extend(meta.get(name)?.map(|row| row.value()));
    }
    Ok(replaced)
}
