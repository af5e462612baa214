//! Whether a duplicate says the same as what is stored.

use vigia_disk::{Disk, redb};

use crate::run::{Run, Sample};
use crate::state::State;
use crate::stream::StreamId;
use crate::tables::{BLOCKS, Writes, block_key, decode_run};

/// Finds what is stored, wherever it is; remembers the last block, because duplicates come in rows.
#[derive(Debug)]
pub struct Duplicates<'a> {
    disk: &'a Disk,
    last: Option<(StreamId, Run)>,
}

impl<'a> Duplicates<'a> {
    /// Reads from `disk` what is not in memory.
    pub fn new(disk: &'a Disk) -> Self {
        Self { disk, last: None }
    }

    /// Whether there is a stored reading of this number with another time or other values. What was
    /// received when, and by which way, is no difference.
    pub fn differs(
        &mut self,
        state: &State,
        id: StreamId,
        sample: &Sample<'_>,
        writes: &Writes,
    ) -> Result<bool, redb::Error> {
        let open = state.streams.get(id).into_iter().flat_map(|stream| &stream.open);
        if let Some(open) = open.map(|open| &open.run).find(|run| holds(run, sample.seq)) {
            return Ok(says_otherwise(open, sample));
        }
        if !self.last.as_ref().is_some_and(|(last, run)| *last == id && holds(run, sample.seq)) {
            self.last = self.find(state, id, sample.seq, writes)?.map(|run| (id, run));
        }
        Ok(self.last.as_ref().is_some_and(|(_, run)| says_otherwise(run, sample)))
    }

    fn find(
        &self,
        state: &State,
        id: StreamId,
        seq: u64,
        writes: &Writes,
    ) -> Result<Option<Run>, redb::Error> {
        if let Some((first, bytes)) = writes.find_block(id, seq) {
            return Ok(Some(decode_run(first, &state.profiles, bytes)?));
        }
        let blocks = self.disk.begin_read()?.open_table(BLOCKS)?;
        let below = blocks.range(block_key(id, 0)..=block_key(id, seq))?.next_back();
        below
            .map(|entry| {
                let (key, bytes) = entry?;
                Ok(decode_run(key.value().2, &state.profiles, bytes.value())?)
            })
            .transpose()
    }
}

fn holds(run: &Run, seq: u64) -> bool {
    (run.first..run.end()).contains(&seq)
}

fn says_otherwise(run: &Run, sample: &Sample<'_>) -> bool {
    if !holds(run, sample.seq) {
        return false;
    }
    let at = (sample.seq - run.first) as usize;
    let same = |(quantity, value): (usize, &f64)| {
        let stored = run.value(at, quantity);
        // What travels as f32 is read from its shortest text and stored as f32.
        stored == *value
            || stored == f64::from(*value as f32)
            || (stored.is_nan() && value.is_nan())
    };
    run.time(at) != sample.time
        || run.quantities() != sample.values.len()
        || !sample.values.iter().enumerate().all(same)
}
