//! A backup takes the store's place.
//!
//! What came of it is another store than the one it was taken of, and says whose place it takes. That is
//! how the journal learns that what it had been told is stored may not be, and fills it again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use vigia_disk::redb::{ReadOnlyDatabase, ReadableDatabase};
use vigia_disk::{Disk, replace_keeping};
use vigia_kit::clock;
use vigia_kit::config::ConfigError;
use vigia_protocol::position::LogId;
use vigia_protocol::time::Micros;
use vigia_protocol::topic::NodeName;

use super::{Label, OPENING, remove};
use crate::store::Store;
use crate::tables::backup::{instance, label, make_store};

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// What the backup said.
    pub label: Label,
    /// The store that came of it.
    pub instance: LogId,
    /// Where the file is that was there before.
    pub set_aside: Option<PathBuf>,
}

/// Puts a copy of the backup in the place of the store's file. The store must not run; the caller has its
/// lock.
///
/// # Errors
/// A file that is no backup, or one of another node; what the file system says. Nothing has changed then.
pub fn restore(
    backup: &Path,
    directory: &Path,
    node: &NodeName,
    now: Micros,
) -> anyhow::Result<Restored> {
    let label = check(backup, node)?;
    let path = directory.join("store.redb");
    let copied = directory.join("store.restored");
    remove(&copied)?;
    let placed = prepare(backup, &copied, &path, now).and_then(|instance| {
        let aside = directory.join(format!("store.before-{instance}.redb"));
        let set_aside = path.exists().then(|| aside.clone());
        replace_keeping(&copied, &path, &aside)
            .with_context(|| format!("cannot replace {}", path.display()))?;
        Ok((instance, set_aside))
    });
    if placed.is_err() {
        // Why it was not done says more than why what there is of it stays.
        let _ = remove(&copied);
    }
    let (instance, set_aside) = placed?;
    Ok(Restored { label, instance, set_aside })
}

fn check(backup: &Path, node: &NodeName) -> Result<Label, ConfigError> {
    let read = || -> anyhow::Result<Option<Label>> {
        let transaction = ReadOnlyDatabase::open(backup)?.begin_read()?;
        Ok(label(&transaction)?)
    };
    let label = match read() {
        Ok(Some(label)) => label,
        Ok(None) => {
            return Err(ConfigError(format!(
                "{} is not a backup, expected what 'vigia store backup' writes",
                backup.display()
            )));
        }
        Err(error) => {
            return Err(ConfigError(format!(
                "{} cannot be read as a backup: {error:#}",
                backup.display()
            )));
        }
    };
    if label.node != node.as_str() {
        return Err(ConfigError(format!(
            "{} is a backup of the node {}, expected one of {node}",
            backup.display(),
            label.node
        )));
    }
    Ok(label)
}

/// Makes a store of a copy, and opens it once: what cannot be served takes nobody's place.
fn prepare(backup: &Path, copied: &Path, path: &Path, now: Micros) -> anyhow::Result<LogId> {
    let copy = || -> io::Result<()> {
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(copied)?;
        io::copy(&mut File::open(backup)?, &mut to)?;
        to.sync_all()
    };
    copy().with_context(|| format!("cannot copy {}", backup.display()))?;
    let disk = Disk::open(copied, OPENING)?;
    let restored = u64::from_le_bytes(clock::random());
    make_store(&disk, restored, instance_of(path))?;
    Store::on(disk, None, now)?;
    Ok(LogId(restored))
}

/// Which store the file has that is replaced; if that can still be read.
fn instance_of(path: &Path) -> Option<u64> {
    if !path.exists() {
        return None;
    }
    let read = || -> anyhow::Result<u64> {
        let disk = Disk::open(path, OPENING)?;
        Ok(instance(&disk.begin_read()?)?)
    };
    read()
        .inspect_err(|error| {
            tracing::warn!(
                error = format!("{error:#}"),
                "the store that is replaced is not readable"
            );
        })
        .ok()
}
