//! A backup of the store: a file with everything that was committed at one moment, made while the store
//! goes on. It is written row by row from one read transaction; copying the file under a running store
//! would mix moments.

pub mod request;
pub mod restore;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::process::getuid;
use vigia_disk::redb::ReadTransaction;
use vigia_disk::{Disk, Opening, Unsynced, place_new};
use vigia_kit::audit::{Audit, Fields};

use crate::limits::CACHE_BYTES;
use crate::tables::backup::copy;

pub use crate::tables::backup::{Label, Progress, Watermark};

/// How files are opened that no drill may lose.
const OPENING: Opening = Opening { cache_bytes: CACHE_BYTES, unsynced: Unsynced::Kernel };

/// Notes in the store's own log that a backup was made, or took the store's place.
pub fn note(audit: &Audit, event: &str, file: &Path, label: &Label) {
    let fields: &Fields<'_> = &[
        ("file", &file.display()),
        ("node", &label.node),
        ("instance", &label.instance),
        ("made", &label.made),
        ("readings", &label.readings),
        ("uid", &getuid().as_raw()),
    ];
    audit.note(event, fields);
}

/// Writes what the transaction sees. The file has its name only when it is whole and synced; nothing is
/// overwritten.
pub(crate) fn write(
    transaction: &ReadTransaction,
    label: &Label,
    file: &Path,
    tell: &mut dyn FnMut(Progress) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let partial = partial(file)?;
    remove(&partial)?;
    let written = Disk::open(&partial, OPENING)
        .map_err(anyhow::Error::from)
        .and_then(|disk| copy(transaction, &disk, label, tell))
        .and_then(|()| match place_new(&partial, file) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{} exists, and a backup overwrites nothing", file.display())
            }
            placed => placed.with_context(|| format!("cannot make {}", file.display())),
        });
    if written.is_err() {
        // Why it was not written says more than why what there is of it stays.
        let _ = remove(&partial);
    }
    written
}

fn partial(file: &Path) -> anyhow::Result<PathBuf> {
    let name = file.file_name().with_context(|| format!("{} names no file", file.display()))?;
    Ok(file.with_file_name(format!(".{}.partial", name.to_string_lossy())))
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
