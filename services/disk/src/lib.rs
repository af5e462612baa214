//! How every role of Vigia opens a redb file, and what it may believe afterwards.
//!
//! * Every write is committed in two phases, with quick repair: no crash rolls a commit back, and a file
//!   opens in milliseconds after kill -9.
//! * A failed commit is indeterminate: its rows may be there after a restart or not. Whoever gets a
//!   [`Failed`] stops acknowledging and ends the process. Nothing here tries again: a kernel marks pages
//!   clean after a failed sync.
//! * After an I/O error the next opening copies the file before it serves it ([`recovery`]), because the
//!   page cache may show rows that the disk does not have.

mod held_back;
mod pages;
mod place;
pub mod power_cut;
mod recovery;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub use place::{place_new, replace_keeping};
pub use redb;
use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, WriteTransaction};

use crate::held_back::HeldBack;

/// The exit status of a process that ends because of [`Failed`]: EX_IOERR.
pub const EXIT_IO_ERROR: i32 = 74;

/// Who has writes that are not synced yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unsynced {
    /// The operating system: they survive the process, not the machine.
    #[default]
    Kernel,
    /// The process: killing it is like a power cut. For drills.
    Process,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening {
    /// Bound of redb's cache.
    pub cache_bytes: usize,
    /// Who has writes that are not synced yet.
    pub unsynced: Unsynced,
}

/// The file cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open {path}: {error}")]
pub struct CannotOpen {
    path: PathBuf,
    error: redb::Error,
}

/// A write failed. Whether it is there after a restart is not known: stop acknowledging, and end the
/// process with [`EXIT_IO_ERROR`].
#[derive(Debug, thiserror::Error)]
#[error("a write failed, and what became of it is not known: {0}")]
pub struct Failed(#[source] pub redb::Error);

/// An open redb file.
#[derive(Debug)]
pub struct Disk {
    database: Database,
    path: Option<PathBuf>,
}

impl Disk {
    /// Opens the file, or makes it, readable for its owner only. Copies it first if the last process
    /// that had it saw an I/O error.
    ///
    /// # Errors
    /// What the file system or redb says, with the path.
    pub fn open(path: &Path, opening: Opening) -> Result<Self, CannotOpen> {
        let open = || -> Result<Database, redb::Error> {
            recovery::copy_after_error(path)?;
            if !path.try_exists()? {
                make_whole(path, opening.cache_bytes)?;
            }
            let file = open_private(path)?;
            let backend = FileBackend::new(file)?;
            Ok(match opening.unsynced {
                Unsynced::Kernel => create(backend, opening.cache_bytes)?,
                Unsynced::Process => create(HeldBack::new(backend)?, opening.cache_bytes)?,
            })
        };
        open()
            .map(|database| Self { database, path: Some(path.to_owned()) })
            .map_err(|error| CannotOpen { path: path.to_owned(), error })
    }

    /// Opens what a backend holds; for tests with a [`power_cut::Drive`].
    ///
    /// # Errors
    /// What redb says.
    pub fn with_backend(
        backend: impl StorageBackend,
        cache_bytes: usize,
    ) -> Result<Self, redb::Error> {
        Ok(Self { database: create(backend, cache_bytes)?, path: None })
    }

    /// Begins a write: two phases, quick repair. End it with [`Disk::commit`].
    ///
    /// # Errors
    /// What redb says; treat it as [`Disk::failed`].
    pub fn begin_write(&self) -> Result<WriteTransaction, redb::Error> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_two_phase_commit(true);
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    /// Commits. After that, what was written is durable.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn commit(&self, transaction: WriteTransaction) -> Result<(), Failed> {
        transaction.commit().map_err(|error| self.failed(error.into()))
    }

    /// One write from beginning to commit.
    ///
    /// # Errors
    /// [`Failed`], also for what `change` returns: a half-made change is never committed.
    pub fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Failed> {
        let failed = |error| self.failed(error);
        let transaction = self.begin_write().map_err(failed)?;
        let value = change(&transaction).map_err(failed)?;
        self.commit(transaction)?;
        Ok(value)
    }

    /// Begins a read of what is committed.
    ///
    /// # Errors
    /// What redb says.
    pub fn begin_read(&self) -> Result<ReadTransaction, redb::Error> {
        Ok(self.database.begin_read()?)
    }

    /// Turns an error on the way to a commit into [`Failed`], and leaves the mark that makes the next
    /// opening copy the file if the disk was the reason.
    pub fn failed(&self, error: redb::Error) -> Failed {
        if let (Some(path), redb::Error::Io(_) | redb::Error::PreviousIo) = (&self.path, &error) {
            recovery::mark(path);
        }
        Failed(error)
    }
}

fn create(backend: impl StorageBackend, cache_bytes: usize) -> Result<Database, redb::Error> {
    Ok(Database::builder().set_cache_size(cache_bytes).create_with_backend(backend)?)
}

/// Makes a new file under another name first: a power cut while redb lays it out would leave a file
/// that is neither there nor not there, and no start would succeed again.
fn make_whole(path: &Path, cache_bytes: usize) -> Result<(), redb::Error> {
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    drop(create(FileBackend::new(open_private(&beside)?)?, cache_bytes)?);
    File::open(&beside)?.sync_all()?;
    std::fs::rename(&beside, path)?;
    Ok(recovery::sync_directory(path)?)
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Bytes that can still be written where `path` is.
///
/// # Errors
/// What the file system says.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
