//! Writes that are not synced yet, kept beside the bytes that are.

use std::collections::BTreeMap;

pub(crate) const PAGE_BYTES: usize = 4096;

/// Pages that differ from the synced bytes, and the length the whole is meant to have.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    /// By page number.
    pub changed: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
    /// The length as it is meant to be.
    pub length: u64,
    /// Synced bytes from here on no longer count: the length was below it since the last sync.
    pub floor: u64,
}

impl Pages {
    /// Nothing unsynced over `length` synced bytes.
    pub fn new(length: u64) -> Self {
        Self { changed: BTreeMap::new(), length, floor: length }
    }

    /// Cuts or extends with zeros.
    pub fn set_length(&mut self, length: u64) {
        self.floor = self.floor.min(length);
        self.length = length;
        let whole = length / PAGE_BYTES as u64;
        let rest = (length % PAGE_BYTES as u64) as usize;
        if let Some(page) = self.changed.get_mut(&whole) {
            page[rest..].fill(0);
        }
        self.changed.retain(|number, _| *number < whole || (*number == whole && rest > 0));
    }

    /// Reads; `synced` fills a buffer from the synced bytes at an offset.
    pub fn read<E>(
        &self,
        offset: u64,
        out: &mut [u8],
        synced: impl Fn(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let within = (at % PAGE_BYTES as u64) as usize;
            let count = (PAGE_BYTES - within).min(out.len() - done);
            let part = &mut out[done..done + count];
            match self.changed.get(&(at / PAGE_BYTES as u64)) {
                Some(page) => part.copy_from_slice(&page[within..within + count]),
                None => {
                    let valid = (self.floor.saturating_sub(at) as usize).min(count);
                    part[valid..].fill(0);
                    if valid > 0 {
                        synced(at, &mut part[..valid])?;
                    }
                }
            }
            done += count;
        }
        Ok(())
    }

    /// Writes; `synced` as in [`Pages::read`].
    pub fn write<E>(
        &mut self,
        offset: u64,
        data: &[u8],
        synced: impl Fn(u64, &mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let number = at / PAGE_BYTES as u64;
            let within = (at % PAGE_BYTES as u64) as usize;
            let count = (PAGE_BYTES - within).min(data.len() - done);
            if !self.changed.contains_key(&number) {
                let mut page = Box::new([0; PAGE_BYTES]);
                if count < PAGE_BYTES {
                    self.read(number * PAGE_BYTES as u64, page.as_mut_slice(), &synced)?;
                }
                self.changed.insert(number, page);
            }
            if let Some(page) = self.changed.get_mut(&number) {
                page[within..within + count].copy_from_slice(&data[done..done + count]);
            }
            done += count;
        }
        self.length = self.length.max(offset + data.len() as u64);
        Ok(())
    }
}
