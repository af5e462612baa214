//! A file whose unsynced writes stay in the process, so that kill -9 equals a power cut.

use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::pages::{PAGE_BYTES, Pages};

/// See the module.
#[derive(Debug)]
pub(crate) struct HeldBack {
    file: FileBackend,
    pages: Mutex<Pages>,
}

impl HeldBack {
    pub fn new(file: FileBackend) -> io::Result<Self> {
        let length = file.len()?;
        Ok(Self { file, pages: Mutex::new(Pages::new(length)) })
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StorageBackend for HeldBack {
    fn len(&self) -> io::Result<u64> {
        Ok(self.pages().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let pages = self.pages();
        if offset.saturating_add(out.len() as u64) > pages.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        pages.read(offset, out, |at, part| self.file.read(at, part))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.pages().set_length(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut pages = self.pages();
        if pages.floor < self.file.len()? {
            self.file.set_len(pages.floor)?;
        }
        if pages.length != self.file.len()? {
            self.file.set_len(pages.length)?;
        }
        for (number, page) in &pages.changed {
            let at = number * PAGE_BYTES as u64;
            let count = pages.length.saturating_sub(at).min(PAGE_BYTES as u64) as usize;
            self.file.write(at, &page[..count])?;
        }
        self.file.sync_data()?;
        *pages = Pages::new(pages.length);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pages().write(offset, data, |at, part| self.file.read(at, part))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
