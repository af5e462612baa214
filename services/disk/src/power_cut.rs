//! A drive in memory that loses what was not synced; for crash tests here and in the roles.
//!
//! A test runs its work on a [`Drive`] that will be cut at the nth sync, until an error shows, and then
//! opens [`Drive::survivor`].

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use crate::pages::{PAGE_BYTES, Pages};

/// Atoms of a write: a drive tears pages, not sectors.
const SECTOR_BYTES: usize = 512;

/// What becomes of unsynced writes when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All are lost.
    Lost,
    /// Some arrive, some do not, some only in part; by this seed.
    Torn(u64),
}

/// A drive in memory. A clone is the same drive.
#[derive(Debug, Clone)]
pub struct Drive(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    synced: Vec<u8>,
    pages: Pages,
    syncs: u64,
    cut: Option<(u64, Fate)>,
    dead: bool,
}

impl Default for Drive {
    fn default() -> Self {
        Self::with(Vec::new())
    }
}

impl Drive {
    fn with(synced: Vec<u8>) -> Self {
        let pages = Pages::new(synced.len() as u64);
        Self(Arc::new(Mutex::new(State { synced, pages, syncs: 0, cut: None, dead: false })))
    }

    /// Cuts the power in the middle of the `nth` sync from the drive's first, counted from 1.
    pub fn cut_at_sync(&self, nth: u64, fate: Fate) {
        self.state().cut = Some((nth, fate));
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Whether the power has been cut.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// A new drive with what would be found now if the power went.
    pub fn survivor(&self) -> Self {
        Self::with(self.state().synced.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.dead { Err(io::Error::other("the power is cut")) } else { Ok(state) }
    }
}

impl State {
    /// Moves unsynced pages to the synced bytes: all of each, or as much as `sectors` says.
    fn settle(&mut self, mut sectors: impl FnMut() -> usize) {
        self.synced.truncate(self.pages.floor as usize);
        self.synced.resize(self.pages.length as usize, 0);
        for (number, page) in &self.pages.changed {
            let at = *number as usize * PAGE_BYTES;
            let count = (sectors() * SECTOR_BYTES).min(self.synced.len().saturating_sub(at));
            self.synced[at..at + count].copy_from_slice(&page[..count]);
        }
        self.pages = Pages::new(self.pages.length);
    }

    fn die(&mut self, fate: Fate) {
        self.dead = true;
        if let Fate::Torn(seed) = fate {
            let mut random = seed;
            self.settle(|| {
                let drawn = splitmix(&mut random);
                match drawn % 4 {
                    0 | 1 => PAGE_BYTES / SECTOR_BYTES,
                    2 => 0,
                    _ => (drawn >> 32) as usize % (PAGE_BYTES / SECTOR_BYTES),
                }
            });
        }
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

fn from_synced(synced: &[u8]) -> impl Fn(u64, &mut [u8]) -> io::Result<()> {
    move |at, part| {
        let at = at as usize;
        part.copy_from_slice(&synced[at..at + part.len()]);
        Ok(())
    }
}

impl StorageBackend for Drive {
    fn len(&self) -> io::Result<u64> {
        Ok(self.alive()?.pages.length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.alive()?;
        if offset.saturating_add(out.len() as u64) > state.pages.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.pages.read(offset, out, from_synced(&state.synced))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.alive()?.pages.set_length(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.alive()?;
        state.syncs += 1;
        if let Some((nth, fate)) = state.cut
            && state.syncs >= nth
        {
            state.die(fate);
            return Err(io::Error::other("the power is cut"));
        }
        state.settle(|| PAGE_BYTES / SECTOR_BYTES);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.alive()?;
        let State { synced, pages, .. } = &mut *state;
        pages.write(offset, data, from_synced(synced))
    }
}
