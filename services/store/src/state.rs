//! The store in memory: everything that a query needs besides blocks, and how a batch changes it.
//!
//! Changes are made here first and written then, under one lock, so that no reader sees what is not
//! durable. If writing fails the process ends: nothing here has to be taken back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vigia_disk::redb;
use vigia_kit::config::Sabotage;
use vigia_protocol::batch::{BatchHead, Count, QuarantineReason};
use vigia_protocol::header::SensorId;
use vigia_protocol::position::LogId;
use vigia_protocol::profile::Profile;
use vigia_protocol::report::Totals;
use vigia_protocol::time::Micros;

use crate::account::LogAccount;
use crate::batch::{Batch, Refused};
use crate::duplicates::Duplicates;
use crate::extents::Extent;
use crate::journals::Journals;
use crate::limits::{
    CHECKPOINT_LOG_BYTES, CHECKPOINT_MICROS, LOG_BYTES_KEPT, PROFILES, TAIL_BYTES,
};
use crate::query::StoredReading;
use crate::run::Sample;
use crate::stream::StreamId;
use crate::streams::Streams;
use crate::tables::log::{BatchRow, Packer, Row, row, unpack};
use crate::tables::{Checkpoint, Corrupt, Loaded, Quarantined, Writes};

/// See the module.
#[derive(Debug)]
pub struct State {
    /// Every log that anything came of.
    pub logs: BTreeMap<LogId, LogAccount>,
    /// Every stream.
    pub streams: Streams,
    /// By their numbers.
    pub profiles: Vec<Arc<Profile>>,
    /// What journals say.
    pub journals: Journals,
    changed_logs: BTreeSet<LogId>,
    next_arrival: u64,
    next_quarantine: u64,
    log_bytes: u64,
    unpacked_bytes: u64,
    packed_at: Micros,
}

impl State {
    /// What was loaded; the rows that are not packed are still to be replayed.
    pub fn new(loaded: Loaded, defect: Option<Sabotage>, now: Micros) -> Self {
        Self {
            logs: loaded.logs,
            streams: Streams::new(loaded.streams, defect),
            profiles: loaded.profiles,
            journals: Journals::new(loaded.journals, loaded.origins),
            changed_logs: BTreeSet::new(),
            next_arrival: loaded.packed,
            next_quarantine: loaded.next_quarantine,
            log_bytes: loaded.log_bytes,
            unpacked_bytes: 0,
            packed_at: now,
        }
    }

    /// Applies a log row again, as it was applied when it was written.
    ///
    /// # Errors
    /// A row that is none.
    pub fn replay(&mut self, arrival: u64, bytes: &[u8]) -> Result<(), Corrupt> {
        match row(bytes)? {
            Row::Batch(batch) => {
                let streams = &mut self.streams;
                // A run that becomes full here did so before: its block is there.
                unpack(batch.readings, &self.profiles, |id, sample, profile| {
                    streams.take(id, sample, profile, &mut |_, _| {});
                })?;
                self.credit(&batch);
            }
            Row::Lost(log, extents) => self.write_off(log, &extents),
        }
        self.next_arrival = arrival + 1;
        self.count_row(bytes.len() as u64);
        Ok(())
    }

    /// Judges a batch that is not accounted for yet, reading by reading, and accounts for it.
    ///
    /// # Errors
    /// If what was stored cannot be read to compare a duplicate with it.
    pub fn take_batch(
        &mut self,
        (node, head): (&str, BatchHead),
        batch: &Batch,
        (raw, now): (&[u8], Micros),
        duplicates: &mut Duplicates<'_>,
        writes: &mut Writes,
    ) -> Result<(), redb::Error> {
        let numbers: Option<Vec<u16>> =
            batch.profiles.iter().map(|profile| self.profile_number(profile, writes)).collect();
        let Some(numbers) = numbers else {
            self.take_malformed((node, head), raw, now, writes);
            return Ok(());
        };
        let mut totals = Totals::default();
        let mut packer = Packer::default();
        let mut conflicts: BTreeMap<StreamId, u64> = BTreeMap::new();
        // What most became of the frame under way.
        let mut frame = None;
        for taken in &batch.readings {
            let sample = batch.sample(taken, numbers[usize::from(taken.profile)]);
            let profile = &batch.profiles[usize::from(taken.profile)];
            if taken.begins {
                count_frame(&mut totals, frame.replace(Became::Duplicate));
            }
            let block = &mut |id: StreamId, run: &crate::run::Run| writes.block(id, run);
            if self.streams.take(taken.id, &sample, profile, block) {
                frame = Some(Became::Stored);
                totals.stored.readings += 1;
                packer.push(taken.id, &sample, profile);
            } else if duplicates.differs(self, taken.id, &sample, writes)? {
                frame = frame.max(Some(Became::Quarantined));
                totals.quarantined.readings += 1;
                *conflicts.entry(taken.id).or_default() += 1;
                self.quarantine(&conflict(&head, taken.id, &sample, profile), writes);
            } else {
                totals.duplicate.readings += 1;
            }
        }
        count_frame(&mut totals, frame);
        totals.stored.frames += batch.gaps.len() as u64;
        for refused in &batch.quarantined {
            let count = Count { readings: u64::from(refused.count), frames: 1 };
            totals.quarantined = totals.quarantined.plus(count);
            self.quarantine(&quarantined(&head, refused, count), writes);
        }
        debug_assert_eq!(totals.accounted(), head.has);
        let readings = packer.finish();
        self.append(
            BatchRow {
                head,
                node,
                time: now,
                totals,
                conflicts: conflicts.into_iter().collect(),
                gaps: batch.gaps.clone(),
                readings: &readings,
            },
            writes,
        );
        Ok(())
    }

    /// Keeps a whole batch in quarantine.
    pub fn take_malformed(
        &mut self,
        (node, head): (&str, BatchHead),
        raw: &[u8],
        now: Micros,
        writes: &mut Writes,
    ) {
        let entry = Quarantined {
            position: head.position,
            received: now,
            reason: QuarantineReason::Malformed,
            claims: None,
            count: head.has,
            bytes: raw.to_vec(),
        };
        self.quarantine(&entry, writes);
        self.append(
            BatchRow {
                head,
                node,
                time: now,
                totals: Totals { quarantined: head.has, ..Totals::default() },
                conflicts: Vec::new(),
                gaps: Vec::new(),
                readings: &[],
            },
            writes,
        );
    }

    /// Accounts for positions that nobody holds any more.
    pub fn take_lost(&mut self, log: LogId, extents: Vec<Extent>, writes: &mut Writes) {
        self.write_off(log, &extents);
        let length = writes.log(self.next_arrival, None, &Row::Lost(log, extents));
        self.next_arrival += 1;
        self.count_row(length);
    }

    /// The number of the next row of the log.
    pub fn next_arrival(&self) -> u64 {
        self.next_arrival
    }

    /// The newest reading of a sensor, if it stands in memory.
    pub fn newest(&self, sensor: SensorId) -> Option<StoredReading> {
        let (id, stream) = self.streams.of(sensor).next_back()?;
        let end = stream.account.stored.end();
        let newest = stream.open.iter().map(|open| &open.run).find(|run| run.end() == end)?;
        let last = newest.len().checked_sub(1)?;
        let reading = |sample: &Sample<'_>| StoredReading::new(id, sample, &self.profiles);
        Some(newest.with(last, &mut Vec::new(), reading))
    }

    /// Whether position `n` of `log` is accounted for.
    pub fn has(&self, log: LogId, n: u64) -> bool {
        self.logs.get(&log).is_some_and(|account| account.extents.contains(n))
    }

    /// Whether the next transaction should be a checkpoint.
    pub fn is_checkpoint_due(&self, now: Micros) -> bool {
        let age = now.0.saturating_sub(self.packed_at.0).saturating_abs();
        let aged = self.unpacked_bytes > 0 && age >= CHECKPOINT_MICROS;
        aged || self.unpacked_bytes >= CHECKPOINT_LOG_BYTES
            || self.streams.open_bytes() >= TAIL_BYTES
    }

    /// Adds a checkpoint to what is written.
    pub fn checkpoint(&mut self, now: Micros, writes: &mut Writes) {
        let logs = &self.logs;
        let changed = std::mem::take(&mut self.changed_logs);
        let streams = self.streams.checkpoint(writes);
        writes.checkpoint(Checkpoint {
            logs: changed
                .into_iter()
                .filter_map(|log| logs.get(&log).map(|account| (log, account.clone())))
                .collect(),
            streams,
            packed: self.next_arrival,
            log_bytes: self.log_bytes,
            log_bytes_kept: LOG_BYTES_KEPT,
        });
        self.unpacked_bytes = 0;
        self.packed_at = now;
    }

    /// A checkpoint removed log rows.
    pub fn log_rows_removed(&mut self, bytes: u64) {
        self.log_bytes = self.log_bytes.saturating_sub(bytes);
    }

    fn append(&mut self, batch: BatchRow<'_>, writes: &mut Writes) {
        self.credit(&batch);
        let position = batch.head.position;
        let row = Row::Batch(batch);
        let length = writes.log(self.next_arrival, Some((position.log, position.n)), &row);
        self.next_arrival += 1;
        self.count_row(length);
    }

    /// Everything about a batch except its readings.
    fn credit(&mut self, batch: &BatchRow<'_>) {
        let log = batch.head.position.log;
        let account =
            self.logs.entry(log).or_insert_with(|| LogAccount::new(batch.node, batch.time));
        account.extents.add(Extent::of(&batch.head));
        account.totals = account.totals.plus(batch.totals);
        self.changed_logs.insert(log);
        for (id, count) in &batch.conflicts {
            let stream = self.streams.entry(*id);
            stream.account.conflicts += count;
            stream.changed = true;
        }
        for (id, seq, count) in &batch.gaps {
            let stream = self.streams.entry(*id);
            stream.account.declared.insert_range(*seq, seq + u64::from(*count));
            stream.changed = true;
        }
    }

    fn write_off(&mut self, log: LogId, extents: &[Extent]) {
        let node = self.journals.node_of(log).unwrap_or_default();
        let account =
            self.logs.entry(log).or_insert_with(|| LogAccount::new(&node, Micros::default()));
        for extent in extents {
            account.extents.add(*extent);
            account.totals.lost = account.totals.lost.plus(extent.count().unwrap_or_default());
        }
        self.changed_logs.insert(log);
    }

    fn count_row(&mut self, length: u64) {
        self.log_bytes += length;
        self.unpacked_bytes += length;
    }

    fn quarantine(&mut self, entry: &Quarantined, writes: &mut Writes) {
        writes.quarantine(self.next_quarantine, entry);
        self.next_quarantine += 1;
    }

    fn profile_number(&mut self, profile: &Profile, writes: &mut Writes) -> Option<u16> {
        if let Some(at) = self.profiles.iter().position(|known| **known == *profile) {
            return u16::try_from(at).ok();
        }
        if self.profiles.len() >= PROFILES {
            return None;
        }
        let number = u16::try_from(self.profiles.len()).ok()?;
        self.profiles.push(Arc::new(profile.clone()));
        writes.profile(number, profile);
        Some(number)
    }
}

/// What a frame counts as: the greatest of what became of its readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Became {
    Duplicate,
    Quarantined,
    Stored,
}

fn count_frame(totals: &mut Totals, frame: Option<Became>) {
    match frame {
        Some(Became::Stored) => totals.stored.frames += 1,
        Some(Became::Quarantined) => totals.quarantined.frames += 1,
        Some(Became::Duplicate) => totals.duplicate.frames += 1,
        None => {}
    }
}

/// A reading whose number is another one's: it was acknowledged, so it is kept, as text.
fn conflict(head: &BatchHead, id: StreamId, sample: &Sample<'_>, profile: &Profile) -> Quarantined {
    let values = profile.quantities().iter().zip(sample.values);
    let values: Vec<String> =
        values.map(|(quantity, value)| format!("{}={value}", quantity.name)).collect();
    let text = format!("time={} {}", Micros(sample.time), values.join(" "));
    Quarantined {
        position: head.position,
        received: Micros(sample.received),
        reason: QuarantineReason::Conflict,
        claims: Some((id, sample.seq)),
        count: Count { readings: 1, frames: 0 },
        bytes: text.into_bytes(),
    }
}

fn quarantined(head: &BatchHead, refused: &Refused, count: Count) -> Quarantined {
    Quarantined {
        position: head.position,
        received: refused.received,
        reason: refused.reason,
        claims: Some((refused.id, refused.seq)),
        count,
        bytes: refused.frame.clone(),
    }
}
