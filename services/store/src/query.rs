//! Reading what is stored: blocks and open runs as one sequence of runs in the order taken.

mod samples;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vigia_disk::redb::{self, ReadTransaction};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::position::LogId;
use vigia_protocol::profile::Profile;
use vigia_protocol::time::Micros;

use crate::run::{Run, Sample, Stats, Summary};
use crate::state::State;
use crate::stream::StreamId;
use crate::tables::log::{Row, row, unpack};
use crate::tables::{
    BLOCKS, Corrupt, LOG, LOG_INDEX, QUARANTINE, Quarantined, STATS, block_key, decode, decode_run,
};

pub use samples::{Cut, Grid, Point, Wanted};

/// What was committed at one moment.
#[derive(Debug)]
pub struct Snapshot {
    transaction: ReadTransaction,
    profiles: Vec<Arc<Profile>>,
    /// Open runs of the sensor it is about, by stream and first number.
    open: BTreeMap<(u32, u64), Run>,
}

/// A reading with its profile.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredReading {
    /// Whose.
    pub id: StreamId,
    /// Its number.
    pub seq: u64,
    /// What the numbers mean.
    pub profile: Arc<Profile>,
    /// By the sensor's clock.
    pub time: Micros,
    /// By the ingress's clock.
    pub received: Micros,
    /// How it was taken.
    pub flags: u16,
    /// Per quantity; empty if all are good.
    pub status: Vec<u16>,
    /// Per quantity; NaN where there is no number.
    pub values: Vec<f64>,
}

impl StoredReading {
    /// Of a sample whose profile is one of `profiles`.
    pub fn new(id: StreamId, sample: &Sample<'_>, profiles: &[Arc<Profile>]) -> Self {
        Self {
            id,
            seq: sample.seq,
            profile: profiles[usize::from(sample.profile)].clone(),
            time: Micros(sample.time),
            received: Micros(sample.received),
            flags: sample.flags,
            status: sample.status.to_vec(),
            values: sample.values.to_vec(),
        }
    }
}

/// A page, and where the next begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T, C> {
    /// What it has.
    pub items: Vec<T>,
    /// The last of it, if there is more.
    pub next: Option<C>,
}

/// Times from `from` up to, not including, `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Inclusive.
    pub from: i64,
    /// Exclusive.
    pub to: i64,
}

impl Span {
    /// All times.
    pub const ALL: Self = Self { from: i64::MIN, to: i64::MAX };

    fn touches(self, (first, last): (i64, i64)) -> bool {
        first < self.to && last >= self.from
    }

    fn covers(self, (first, last): (i64, i64)) -> bool {
        first >= self.from && last < self.to
    }

    fn has(self, time: i64) -> bool {
        self.covers((time, time))
    }
}

/// A run that may still be on the disk.
enum Piece<'a> {
    Open(StreamId, &'a Run),
    Block(StreamId, u64, Stats),
}

/// Buckets of a series: by their beginning, per quantity's name.
pub type Buckets = BTreeMap<i64, BTreeMap<String, Summary>>;

/// Readings in the order in which they came, from one arrival up to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrived {
    /// In their order.
    pub readings: Vec<StoredReading>,
    /// Some rows from the first arrival on are not kept any more.
    pub discarded: bool,
    /// The arrival after the last that was read.
    pub next: u64,
}

/// A batch of a log, as catching up sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct LogBatch {
    /// Which.
    pub n: u64,
    /// Its stored readings.
    pub readings: Vec<StoredReading>,
}

impl Snapshot {
    /// Takes the moment's state along, as far as `sensor` needs it.
    pub fn new(state: &State, transaction: ReadTransaction, sensor: Option<SensorId>) -> Self {
        let mut open = BTreeMap::new();
        for (id, stream) in sensor.into_iter().flat_map(|sensor| state.streams.of(sensor)) {
            for run in stream.open.iter().map(|open| &open.run) {
                open.insert((id.stream, run.first), run.clone());
            }
        }
        Self { transaction, profiles: state.profiles.clone(), open }
    }

    /// Readings of a sensor in the order taken, after `after`.
    pub fn readings(
        &self,
        sensor: SensorId,
        span: Span,
        after: Option<Place>,
        limit: usize,
    ) -> Result<Page<StoredReading, Place>, redb::Error> {
        let mut items: Vec<StoredReading> = Vec::new();
        let mut more = false;
        self.pieces(sensor, after, span, |piece| {
            let (id, run) = self.run_of(piece)?;
            for at in 0..run.len() {
                let place = Place { stream: id.stream, seq: run.first + at as u64 };
                if Some(place) <= after || !span.has(run.time(at)) {
                    continue;
                }
                if items.len() == limit {
                    more = true;
                    return Ok(false);
                }
                items.push(run.with(at, &mut Vec::new(), |sample| self.reading(id, sample)));
            }
            Ok(true)
        })?;
        let last = |item: &StoredReading| Place { stream: item.id.stream, seq: item.seq };
        let next = if more { items.last().map(last) } else { None };
        Ok(Page { items, next })
    }

    /// The newest reading: the last of the last stream.
    pub fn latest(&self, sensor: SensorId) -> Result<Option<StoredReading>, redb::Error> {
        let stats = self.transaction.open_table(STATS)?;
        let bounds = (sensor.0, 0, 0)..=(sensor.0, u32::MAX, u64::MAX);
        let block = match stats.range(bounds)?.next_back() {
            Some(entry) => {
                let (_, stream, first) = entry?.0.value();
                Some((stream, first))
            }
            None => None,
        };
        let open = self.open.last_key_value();
        let run = match (open, block) {
            (Some((key, run)), block) if block.is_none_or(|block| block <= *key) => {
                (key.0, run.clone())
            }
            (_, Some((stream, first))) => {
                let id = StreamId { sensor, stream };
                (stream, self.block(id, first)?)
            }
            (_, None) => return Ok(None),
        };
        let id = StreamId { sensor, stream: run.0 };
        let last = run.1.len().checked_sub(1);
        Ok(last.map(|at| run.1.with(at, &mut Vec::new(), |sample| self.reading(id, sample))))
    }

    /// Readings by time, summed up in buckets of `step`. A block within one bucket is not read: its
    /// statistics say all.
    pub fn series(&self, sensor: SensorId, span: Span, step: i64) -> Result<Buckets, redb::Error> {
        let mut buckets = Buckets::new();
        let bucket = |time: i64| time.div_euclid(step) * step;
        self.pieces(sensor, None, span, |piece| {
            if let Piece::Block(_, _, stats) = &piece
                && span.covers(stats.time)
                && bucket(stats.time.0) == bucket(stats.time.1)
                && let Some(profile) = self.profiles.get(usize::from(stats.profile))
            {
                let into = buckets.entry(bucket(stats.time.0)).or_default();
                for (quantity, summary) in profile.quantities().iter().zip(&stats.quantities) {
                    merge(into, &quantity.name, summary);
                }
                return Ok(true);
            }
            let (_, run) = self.run_of(piece)?;
            let Some(profile) = self.profiles.get(usize::from(run.profile)) else {
                return Ok(true);
            };
            // Summed up per bucket under way: times mostly ascend.
            let mut sums = vec![Summary::default(); run.quantities()];
            let mut under_way = None;
            for at in (0..run.len()).filter(|at| span.has(run.time(*at))) {
                let now = bucket(run.time(at));
                if under_way.is_some_and(|before| before != now) {
                    flush(&mut buckets, under_way, profile, &mut sums);
                }
                under_way = Some(now);
                for (quantity, sum) in sums.iter_mut().enumerate() {
                    sum.add(run.value(at, quantity));
                }
            }
            flush(&mut buckets, under_way, profile, &mut sums);
            Ok(true)
        })?;
        Ok(buckets)
    }

    /// Entries of quarantine, newest first, older than `before`.
    pub fn quarantine(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Page<(u64, Quarantined), u64>, redb::Error> {
        let table = self.transaction.open_table(QUARANTINE)?;
        let mut items = Vec::new();
        for entry in table.range(..before.unwrap_or(u64::MAX))?.rev().take(limit + 1) {
            let (number, row) = entry?;
            items.push((number.value(), decode(row.value(), "a quarantined entry")?));
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(|(number, _)| *number) } else { None };
        Ok(Page { items, next })
    }

    /// Kept batches of a log from position `from` on, below `end`: at most so many batches, and no more
    /// once they have so many readings.
    pub fn batches(
        &self,
        log: LogId,
        (from, end): (u64, u64),
        (batches, readings): (usize, usize),
    ) -> Result<Vec<LogBatch>, redb::Error> {
        let index = self.transaction.open_table(LOG_INDEX)?;
        let rows = self.transaction.open_table(LOG)?;
        let mut found: Vec<LogBatch> = Vec::new();
        let mut count = 0;
        for entry in index.range((log.0, from)..(log.0, end.max(from)))?.take(batches) {
            let (key, arrival) = entry?;
            let bytes = rows.get(arrival.value())?.ok_or(Corrupt("an entry of log_index"))?;
            let mut batch = LogBatch { n: key.value().1, readings: Vec::new() };
            if let Row::Batch(row) = row(bytes.value())? {
                unpack(row.readings, &self.profiles, |id, sample, _| {
                    batch.readings.push(self.reading(id, sample));
                })?;
            }
            count += batch.readings.len();
            found.push(batch);
            if count >= readings {
                break;
            }
        }
        Ok(found)
    }

    /// Readings of rows from `from` up to `end`, until they are so many; those of `sensors` if there are any.
    pub fn arrived(
        &self,
        (from, end): (u64, u64),
        sensors: &[SensorId],
        limit: usize,
    ) -> Result<Arrived, redb::Error> {
        let rows = self.transaction.open_table(LOG)?;
        let mut arrived = Arrived { readings: Vec::new(), discarded: false, next: from };
        for entry in rows.range(from..end.max(from))? {
            let (arrival, bytes) = entry?;
            let arrival = arrival.value();
            arrived.discarded |= arrival > arrived.next;
            arrived.next = arrival + 1;
            if let Row::Batch(row) = row(bytes.value())? {
                unpack(row.readings, &self.profiles, |id, sample, _| {
                    if sensors.is_empty() || sensors.contains(&id.sensor) {
                        arrived.readings.push(self.reading(id, sample));
                    }
                })?;
            }
            if arrived.readings.len() >= limit {
                return Ok(arrived);
            }
        }
        arrived.discarded |= arrived.next < end;
        arrived.next = end.max(from);
        Ok(arrived)
    }

    /// The profiles that readings of a sensor have.
    pub fn profiles_of(&self, sensor: SensorId) -> Result<Vec<Arc<Profile>>, redb::Error> {
        let mut numbers: BTreeSet<u16> = self.open.values().map(|run| run.profile).collect();
        let stats = self.transaction.open_table(STATS)?;
        for entry in stats.range((sensor.0, 0, 0)..=(sensor.0, u32::MAX, u64::MAX))? {
            let stats: Stats = decode(entry?.1.value(), "a block's statistics")?;
            numbers.insert(stats.profile);
        }
        Ok(numbers.iter().filter_map(|at| self.profiles.get(usize::from(*at)).cloned()).collect())
    }

    fn pieces(
        &self,
        sensor: SensorId,
        after: Option<Place>,
        span: Span,
        mut each: impl FnMut(Piece<'_>) -> Result<bool, redb::Error>,
    ) -> Result<(), redb::Error> {
        let stats = self.transaction.open_table(STATS)?;
        // The place after which to begin may be within a run that began before it.
        let begin = after.unwrap_or_default();
        let least = block_key(StreamId { sensor, stream: begin.stream }, begin.seq);
        let within = stats.range((sensor.0, 0, 0)..=least)?.next_back().transpose()?;
        let least = within.map_or(least, |(key, _)| key.value());
        let begin = (begin.stream, begin.seq);
        let before = self.open.range(..=begin).next_back().map_or(begin, |(key, _)| *key);
        let mut open = self.open.range(before..).peekable();
        let id_of = |key: &(u32, u64)| StreamId { sensor, stream: key.0 };
        for entry in stats.range(least..=(sensor.0, u32::MAX, u64::MAX))? {
            let (key, row) = entry?;
            let (_, stream, first) = key.value();
            while let Some((key, run)) = open.next_if(|(key, _)| **key < (stream, first)) {
                if !each(Piece::Open(id_of(key), run))? {
                    return Ok(());
                }
            }
            // An open run has all that a checkpoint wrote of it, and more.
            let go_on = if let Some((key, run)) = open.next_if(|(key, _)| **key == (stream, first))
            {
                each(Piece::Open(id_of(key), run))?
            } else {
                let stats: Stats = decode(row.value(), "a block's statistics")?;
                if !span.touches(stats.time) {
                    continue;
                }
                each(Piece::Block(StreamId { sensor, stream }, first, stats))?
            };
            if !go_on {
                return Ok(());
            }
        }
        for (key, run) in open {
            if !each(Piece::Open(id_of(key), run))? {
                break;
            }
        }
        Ok(())
    }

    fn run_of<'a>(&self, piece: Piece<'a>) -> Result<(StreamId, Cow<'a, Run>), redb::Error> {
        Ok(match piece {
            Piece::Open(id, run) => (id, Cow::Borrowed(run)),
            Piece::Block(id, first, _) => (id, Cow::Owned(self.block(id, first)?)),
        })
    }

    fn block(&self, id: StreamId, first: u64) -> Result<Run, redb::Error> {
        let blocks = self.transaction.open_table(BLOCKS)?;
        let bytes =
            blocks.get(block_key(id, first))?.ok_or(redb::Error::from(Corrupt("a block")))?;
        Ok(decode_run(first, &self.profiles, bytes.value())?)
    }

    fn reading(&self, id: StreamId, sample: &Sample<'_>) -> StoredReading {
        StoredReading::new(id, sample, &self.profiles)
    }
}

fn merge(into: &mut BTreeMap<String, Summary>, name: &str, summary: &Summary) {
    match into.get_mut(name) {
        Some(known) => known.merge(summary),
        None => {
            into.insert(name.to_owned(), *summary);
        }
    }
}

fn flush(buckets: &mut Buckets, bucket: Option<i64>, profile: &Profile, sums: &mut [Summary]) {
    let Some(bucket) = bucket else { return };
    let into = buckets.entry(bucket).or_default();
    for (quantity, sum) in profile.quantities().iter().zip(sums) {
        merge(into, &quantity.name, sum);
        *sum = Summary::default();
    }
}
