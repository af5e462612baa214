//! The open journal: its file and what it knows by heart. No thread, no clock, no network.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use vigia_disk::redb::{self, ReadableTable, TableDefinition};
use vigia_disk::{CannotOpen, Disk, Failed, Opening};
use vigia_protocol::batch::{BatchHead, Count, decode_head};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::ingress::Grant;
use vigia_protocol::limits::MAX_REPORTED_UNSETTLED;
use vigia_protocol::position::{LogId, Position};
use vigia_protocol::ranges::RangeSet;
use vigia_protocol::report::{
    Checked, JournalLog, JournalReport, StoreReport, StoredLog, Totals, Unsettled,
};
use vigia_protocol::time::Micros;

use super::record::{LogRecord, SENSOR_RECORD_BYTES, SensorRecord};
use crate::limits::{LEFT_STREAMS, OVER_LOGS, PENDING_ENDS, TRIM_ROWS};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const LOGS: TableDefinition<u64, &[u8]> = TableDefinition::new("logs");
const ROWS: TableDefinition<(u64, u64), &[u8]> = TableDefinition::new("rows");
const SENSORS: TableDefinition<i16, [u8; SENSOR_RECORD_BYTES]> = TableDefinition::new("sensors");
const LEFT: TableDefinition<(i16, u32), u64> = TableDefinition::new("left");
const HOURS: TableDefinition<u64, (u64, u64)> = TableDefinition::new("hours");

const VERSION: u64 = 1;
const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// The journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CannotUse {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] CannotOpen),
    /// What is in it cannot be read.
    #[error("cannot read the journal: {0}")]
    Read(#[from] redb::Error),
    /// A newer program made it.
    #[error("the journal has format version {0}, this program knows up to {VERSION}")]
    Newer(u64),
    /// The first write failed.
    #[error(transparent)]
    Failed(#[from] Failed),
}

/// What is kept, and how much.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of rows, stored ones included.
    pub bytes: u64,
    /// How long stored rows stay.
    pub keep_hours: u32,
}

/// A row that is to be written.
#[derive(Debug)]
pub struct NewRow {
    /// What stands in front of it.
    pub head: BatchHead,
    /// The sealed payload.
    pub payload: Vec<u8>,
    /// The sensors in it, each with the end of its readings.
    pub ends: Vec<(SensorId, Place)>,
}

/// A log as readers of its rows need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldLog {
    /// Its number, the first part of its rows' keys.
    pub order: u64,
    /// Its name.
    pub id: LogId,
    /// The oldest position held.
    pub oldest: u64,
    /// One past the newest.
    pub end: u64,
    /// What was accepted below `oldest`.
    pub before_oldest: Count,
    /// What was accepted below `end`.
    pub accepted: Count,
}

/// A sensor, and how far its readings are stored.
#[derive(Debug, Default)]
struct Known {
    record: SensorRecord,
    /// Its next reading when the journal was opened: what is before stands in older logs.
    at_opening: Place,
    /// Ends of its readings by batch of this log, not yet stored.
    pending: VecDeque<(u64, Place)>,
    /// Everything before is stored; of its stream, for a later one begins anew.
    stored: Place,
}

/// An open journal.
#[derive(Debug)]
pub struct Opened {
    disk: Arc<Disk>,
    bounds: Bounds,
    journal: u64,
    created: Micros,
    /// The store that frees the journal.
    store: Option<u64>,
    /// Another one that has reported, and been complained of.
    stranger: Option<u64>,
    /// By order of opening; the last is this opening's.
    logs: BTreeMap<u64, LogRecord>,
    current: u64,
    sensors: HashMap<SensorId, Known>,
    hours: BTreeMap<u64, (u64, u64)>,
    checked: HashMap<LogId, Checked>,
    /// Whether a watermark has moved that is not written down.
    has_moved: bool,
    /// Sensors of which something is not stored.
    unsettled: BTreeSet<SensorId>,
    /// Ends of streams that a sensor has left, and of which something is not stored.
    left: BTreeMap<(SensorId, u32), u64>,
    /// Those of which everything is stored by now, still written down.
    caught_up: Vec<(SensorId, u32)>,
}

impl Opened {
    /// Opens the file and begins a new log in it. `random` names the log, and the journal if it is new.
    ///
    /// # Errors
    /// If the file cannot be opened, read or written.
    pub fn open(
        path: &Path,
        opening: Opening,
        bounds: Bounds,
        now: Micros,
        random: [u64; 2],
    ) -> Result<Self, CannotUse> {
        Self::begin(Disk::open(path, opening)?, bounds, now, random)
    }

    /// As [`Opened::open`], on a disk that is open already.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn begin(
        disk: Disk,
        bounds: Bounds,
        now: Micros,
        random: [u64; 2],
    ) -> Result<Self, CannotUse> {
        disk.write(|transaction| {
            transaction.open_table(ROWS)?;
            transaction.open_table(SENSORS)?;
            transaction.open_table(HOURS)?;
            transaction.open_table(LEFT)?;
            transaction.open_table(LOGS)?;
            let mut meta = transaction.open_table(META)?;
            if meta.get("version")?.is_none() {
                meta.insert("version", VERSION)?;
                meta.insert("journal", random[1])?;
                meta.insert("created", now.0.max(0) as u64)?;
            }
            Ok(())
        })?;
        let mut opened = Self::read(disk, bounds)?;
        opened.begin_log(LogId(random[0]), now)?;
        Ok(opened)
    }

    fn read(disk: Disk, bounds: Bounds) -> Result<Self, CannotUse> {
        let transaction = disk.begin_read()?;
        let meta = transaction.open_table(META).map_err(redb::Error::from)?;
        let number = |name: &str| -> Result<Option<u64>, redb::Error> {
            Ok(meta.get(name)?.map(|value| value.value()))
        };
        let version = number("version")?.unwrap_or_default();
        if version > VERSION {
            return Err(CannotUse::Newer(version));
        }
        let (journal, created, store) = (
            number("journal")?.unwrap_or_default(),
            Micros(number("created")?.unwrap_or_default() as i64),
            number("store")?,
        );
        let mut logs = BTreeMap::new();
        let mut sensors = HashMap::new();
        let mut hours = BTreeMap::new();
        let mut left = BTreeMap::new();
        let mut read_all = || -> Result<(), redb::Error> {
            for entry in transaction.open_table(LOGS)?.iter()? {
                let (order, bytes) = entry?;
                let record: LogRecord = postcard::from_bytes(bytes.value())
                    .map_err(|_| redb::Error::Corrupted(format!("log {}", order.value())))?;
                logs.insert(order.value(), record);
            }
            for entry in transaction.open_table(SENSORS)?.iter()? {
                let (id, bytes) = entry?;
                let record = SensorRecord::decode(&bytes.value());
                let known = Known { record, at_opening: record.next, ..Known::default() };
                sensors.insert(SensorId(id.value()), known);
            }
            for entry in transaction.open_table(HOURS)?.iter()? {
                let (hour, place) = entry?;
                hours.insert(hour.value(), place.value());
            }
            for entry in transaction.open_table(LEFT)?.iter()? {
                let (stream, end) = entry?;
                let (sensor, stream) = stream.value();
                left.insert((SensorId(sensor), stream), end.value());
            }
            Ok(())
        };
        read_all()?;
        drop(meta);
        drop(transaction);
        Ok(Self {
            disk: Arc::new(disk),
            bounds,
            journal,
            created,
            store,
            stranger: None,
            logs,
            current: 0,
            hours,
            checked: HashMap::new(),
            has_moved: false,
            unsettled: sensors.keys().copied().collect(),
            left,
            caught_up: Vec::new(),
            sensors,
        })
    }

    fn begin_log(&mut self, id: LogId, now: Micros) -> Result<(), Failed> {
        let order = self.logs.last_key_value().map_or(0, |(order, _)| order + 1);
        let over = self.logs.iter().filter(|(_, log)| log.is_over()).map(|(order, _)| *order);
        let over: Vec<u64> = over.rev().skip(OVER_LOGS).collect();
        let record = LogRecord::new(id, now);
        self.disk.write(|transaction| {
            let mut logs = transaction.open_table(LOGS)?;
            for order in &over {
                logs.remove(order)?;
            }
            logs.insert(order, encode(&record).as_slice())?;
            Ok(())
        })?;
        for order in over {
            self.logs.remove(&order);
        }
        self.logs.insert(order, record);
        self.current = order;
        Ok(())
    }

    /// The store that frees it.
    pub fn store(&self) -> Option<u64> {
        self.store
    }

    /// The disk, for readers.
    pub fn disk(&self) -> Arc<Disk> {
        Arc::clone(&self.disk)
    }

    /// The log of this opening.
    pub fn current(&self) -> &LogRecord {
        &self.logs[&self.current]
    }

    /// All logs held, in order of opening.
    pub fn held(&self) -> Vec<HeldLog> {
        self.logs
            .iter()
            .map(|(order, log)| HeldLog {
                order: *order,
                id: log.id,
                oldest: log.oldest,
                end: log.end,
                before_oldest: log.before_oldest,
                accepted: log.accepted,
            })
            .collect()
    }

    /// The position of the next row.
    pub fn next_position(&self) -> Position {
        Position { log: self.current().id, n: self.current().end }
    }

    /// What the journal knows of a sensor.
    pub fn record(&self, sensor: SensorId) -> SensorRecord {
        self.sensors.get(&sensor).map_or_else(SensorRecord::default, |known| known.record)
    }

    /// Everything of that stream below is stored. Of another stream it says nothing.
    pub fn stored(&self, sensor: SensorId) -> Place {
        self.sensors.get(&sensor).map_or_else(Place::default, |known| known.stored)
    }

    /// What to tell a sensor that greets.
    pub fn grant(&self, sensor: SensorId) -> Grant {
        let record = self.record(sensor);
        let stored = self.stored(sensor).within(record.next.stream);
        Grant { next: record.next, last_nonce: record.last_nonce, stored }
    }

    /// Whether there is room for more rows.
    pub fn has_room(&self) -> bool {
        self.bytes() < self.bounds.bytes || self.oldest_stored().is_some()
    }

    /// Whether the next commit has something to write down although there are no rows for it.
    pub fn has_moved(&self) -> bool {
        self.has_moved
    }

    fn bytes(&self) -> u64 {
        self.logs.values().map(|log| log.bytes).sum()
    }

    /// The oldest row that the store has.
    fn oldest_stored(&self) -> Option<u64> {
        self.logs.iter().find(|(_, log)| log.oldest < log.watermark).map(|(order, _)| *order)
    }

    /// Writes rows, the sensors' new records and what the store's reports changed, lets old rows go, and
    /// syncs. What it wrote is durable when it returns.
    ///
    /// # Errors
    /// [`Failed`]: the process must end without acknowledging anything.
    pub fn commit(
        &mut self,
        rows: Vec<NewRow>,
        sensors: &HashMap<SensorId, SensorRecord>,
        now: Micros,
    ) -> Result<(), Failed> {
        // A clock that was set back must not make the rows of the last hours look like those of long ago.
        let newest = self.hours.last_key_value().map_or(0, |(hour, _)| *hour);
        let hour = ((now.0 / MICROS_PER_HOUR).max(0) as u64).max(newest);
        let mut log = *self.current();
        let first_of_hour = (!rows.is_empty() && !self.hours.contains_key(&hour))
            .then_some((self.current, log.end));
        for row in &rows {
            log.end = row.head.position.n + 1;
            log.accepted = row.head.before.plus(row.head.has);
            log.bytes += row.payload.len() as u64;
        }
        let mut logs = self.logs.clone();
        logs.insert(self.current, log);
        let mut hours = self.hours.clone();
        hours.extend(first_of_hour.map(|place| (hour, place)));
        let bounds = self.bounds;
        let left = self.leaving(sensors);
        self.disk.write(|transaction| {
            let mut left_table = transaction.open_table(LEFT)?;
            for (id, stream) in &self.caught_up {
                left_table.remove((id.0, *stream))?;
            }
            for ((id, stream), end) in &left {
                left_table.insert((id.0, *stream), end)?;
            }
            let mut table = transaction.open_table(ROWS)?;
            for row in &rows {
                table.insert((self.current, row.head.position.n), row.payload.as_slice())?;
            }
            let mut sensors_table = transaction.open_table(SENSORS)?;
            for (id, record) in sensors {
                sensors_table.insert(id.0, record.encode())?;
            }
            let mut hours_table = transaction.open_table(HOURS)?;
            if let Some(place) = first_of_hour {
                hours_table.insert(hour, place)?;
            }
            let keep_from = hour.saturating_sub(u64::from(bounds.keep_hours));
            let came = rows.iter().map(|row| row.payload.len() as u64).sum();
            trim(&mut table, &mut logs, old_end(&hours, keep_from), bounds.bytes, came)?;
            for old in hours.range(..keep_from).map(|(old, _)| *old).collect::<Vec<_>>() {
                // The mark before the boundary still says where it is.
                if hours.range(old + 1..=keep_from).next().is_some() {
                    hours_table.remove(old)?;
                    hours.remove(&old);
                }
            }
            let mut logs_table = transaction.open_table(LOGS)?;
            for (order, record) in &logs {
                if self.logs.get(order) != Some(record) {
                    logs_table.insert(order, encode(record).as_slice())?;
                }
            }
            Ok(())
        })?;
        self.logs = logs;
        self.has_moved = false;
        self.hours = hours;
        self.caught_up.clear();
        self.left.extend(left);
        for (id, record) in sensors {
            self.sensors.entry(*id).or_default().record = *record;
            self.unsettled.insert(*id);
        }
        for row in rows {
            for (id, end) in row.ends {
                let pending = &mut self.sensors.entry(id).or_default().pending;
                if pending.len() >= PENDING_ENDS {
                    pending.pop_back();
                }
                pending.push_back((row.head.position.n, end));
            }
        }
        Ok(())
    }

    /// Notices that the store was put back to an older state of itself: in a report newer than all before it, it lacks
    /// what it had. What is still held is given to it again.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn notice_older_store(&mut self, report: &StoreReport) -> Result<(), Failed> {
        let lacks = |stored: &StoredLog| {
            let log = self.order_of(stored.log).map(|order| &self.logs[&order]);
            stored.totals.is_some()
                && log.is_some_and(|log| !stored.accounted.has_all(log.oldest, log.watermark))
        };
        if self.store != Some(report.instance) || !report.logs.iter().any(lacks) {
            return Ok(());
        }
        tracing::warn!(
            store = %LogId(report.instance),
            "the store lacks what it had: it was put back to an older state. It is filled again"
        );
        self.adopt(report.instance)
    }

    /// The streams that sensors leave with these records, of which something is not stored.
    fn leaving(&self, sensors: &HashMap<SensorId, SensorRecord>) -> BTreeMap<(SensorId, u32), u64> {
        let room = LEFT_STREAMS.saturating_sub(self.left.len());
        let leaves = |(id, record): (&SensorId, &SensorRecord)| {
            let Place { stream, seq } = self.record(*id).next;
            let is_open = seq > 1 && self.stored(*id) < Place { stream, seq };
            (record.next.stream != stream && is_open).then_some(((*id, stream), seq))
        };
        sensors.iter().filter_map(leaves).take(room).collect()
    }

    /// Takes the store's report. The next commit writes down what it changed.
    ///
    /// A store that is not the one known frees nothing, unless it says that it takes that one's place.
    ///
    /// # Errors
    /// [`Failed`] when a store is adopted.
    pub fn reported(&mut self, report: &StoreReport) -> Result<Vec<SensorId>, Failed> {
        match self.store {
            None => self.adopt(report.instance)?,
            Some(known) if known == report.instance => {}
            Some(known) if report.replaces.contains(&known) => self.adopt(report.instance)?,
            Some(known) => self.complain_of(report.instance, known),
        }
        for stored in &report.logs {
            let Some(order) = self.order_of(stored.log) else { continue };
            if let Some(by_store) = stored.totals {
                let by_journal = self.count_of(order, &stored.accounted);
                match by_journal {
                    Some(by_journal) => {
                        self.checked.insert(stored.log, Checked { by_journal, by_store });
                    }
                    None => {
                        self.checked.remove(&stored.log);
                    }
                }
            }
            if self.store == Some(report.instance)
                && let Some(log) = self.logs.get_mut(&order)
            {
                let watermark = stored.accounted.contiguous_from(log.watermark).min(log.end);
                self.has_moved |= watermark != log.watermark;
                log.watermark = watermark;
            }
        }
        Ok(self.settle())
    }

    /// From now on this store frees the journal. What another had says nothing about it: of what is
    /// held nothing counts as stored until it reports it.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn adopt(&mut self, store: u64) -> Result<(), Failed> {
        let mut logs = self.logs.clone();
        for log in logs.values_mut() {
            log.watermark = log.oldest;
        }
        self.disk.write(|transaction| {
            transaction.open_table(META)?.insert("store", store)?;
            let mut table = transaction.open_table(LOGS)?;
            for (order, log) in &logs {
                table.insert(order, encode(log).as_slice())?;
            }
            Ok(())
        })?;
        if let Some(old) = self.store.replace(store).filter(|old| *old != store) {
            tracing::warn!(
                store = %LogId(store),
                instead_of = %LogId(old),
                "another store frees the journal from now on; it is filled again"
            );
        }
        self.logs = logs;
        self.checked.clear();
        for known in self.sensors.values_mut() {
            known.stored = Place::default();
        }
        self.unsettled = self.sensors.keys().copied().collect();
        Ok(())
    }

    /// Says once that a store reports which frees nothing.
    fn complain_of(&mut self, stranger: u64, known: u64) {
        if self.stranger.replace(stranger) != Some(stranger) {
            tracing::error!(
                store = %LogId(stranger),
                known = %LogId(known),
                "a store reports that does not free this journal; if it is to, stop the broker and \
                 'vigia broker adopt-store' it"
            );
        }
    }

    /// A deliberate defect: takes the broker's acknowledgement for the store's.
    #[cfg(feature = "sabotage")]
    pub fn believe_published(&mut self, id: LogId, n: u64) {
        let order = self.order_of(id);
        if let Some(log) = order.and_then(|order| self.logs.get_mut(&order)) {
            log.watermark = log.watermark.max(n + 1);
            self.has_moved = true;
        }
        self.bounds.keep_hours = 0;
        self.bounds.bytes = 0;
    }

    fn order_of(&self, id: LogId) -> Option<u64> {
        self.logs.iter().find(|(_, log)| log.id == id).map(|(order, _)| *order)
    }

    /// Moves the sensors' stored marks and says whose moved.
    fn settle(&mut self) -> Vec<SensorId> {
        let older_done = self.logs.range(..self.current).all(|(_, log)| log.watermark == log.end);
        if !older_done {
            return Vec::new();
        }
        let watermark = self.current().watermark;
        let mut moved = Vec::new();
        for (id, known) in &mut self.sensors {
            let before = known.stored;
            known.stored = known.stored.max(known.at_opening);
            while let Some((_, end)) = known.pending.pop_front_if(|(n, _)| *n < watermark) {
                known.stored = end;
            }
            if known.stored != before {
                moved.push(*id);
                let streams = (*id, 0)..=(*id, known.stored.stream);
                let done = self.left.extract_if(streams, |(_, stream), end| {
                    known.stored >= Place { stream: *stream, seq: *end }
                });
                self.caught_up.extend(done.map(|(stream, _)| stream));
            }
            if known.stored >= known.record.next {
                self.unsettled.remove(id);
            }
        }
        moved
    }

    /// The journal's own count of what stands at these positions of a log; `None` if rows that would
    /// tell are gone.
    fn count_of(&self, order: u64, positions: &RangeSet) -> Option<Count> {
        let mut sum = Count::default();
        for &(start, end) in positions.ranges() {
            let before = self.accepted_before(order, start)?;
            sum = sum.plus(self.accepted_before(order, end)?.minus(before)?);
        }
        Some(sum)
    }

    fn accepted_before(&self, order: u64, n: u64) -> Option<Count> {
        let log = self.logs.get(&order)?;
        match n {
            0 => Some(Count::default()),
            n if n == log.end => Some(log.accepted),
            n if n == log.oldest => Some(log.before_oldest),
            n => {
                let head = |n| read_row(&self.disk, order, n).ok()??.1;
                let (left, right) = (head(n - 1)?, head(n)?);
                // Of two that disagree, the disk has changed one.
                (left.before.plus(left.has) == right.before).then_some(right.before)
            }
        }
    }

    /// Of a stream that ends there, or has so far.
    fn unsettled(&self, sensor: SensorId, end: Place) -> Unsettled {
        let Place { stream, seq: to } = end;
        Unsettled { sensor, stream, from: self.stored(sensor).within(stream).max(1), to }
    }

    /// What the store is told, so that anyone can check both sides.
    pub fn report(&self, now: Micros) -> JournalReport {
        let left = self.left.iter().map(|(&(id, stream), &seq)| (id, Place { stream, seq }));
        let open = self.unsettled.iter().map(|id| (*id, self.record(*id).next));
        let logs = self
            .logs
            .values()
            .map(|log| JournalLog {
                log: log.id,
                opened: log.opened,
                batches: log.end,
                oldest: log.oldest,
                accepted: log.accepted,
                before_oldest: log.before_oldest,
                checked: self.checked.get(&log.id).copied().or_else(|| {
                    let nothing =
                        Checked { by_journal: Count::default(), by_store: Totals::default() };
                    (log.end == 0).then_some(nothing)
                }),
            })
            .collect();
        JournalReport {
            journal: self.journal,
            created: self.created,
            time: now,
            logs,
            bytes: (self.bytes(), self.bounds.bytes),
            online: Vec::new(),
            store: self.store,
            echo: None,
            unsettled: left
                .chain(open)
                .take(MAX_REPORTED_UNSETTLED)
                .map(|(id, end)| self.unsettled(id, end))
                .collect(),
        }
    }
}

/// A row's payload, and the head of the batch in it.
pub type Row = (Vec<u8>, Option<BatchHead>);

/// The row at a place: order of its log, and n.
///
/// # Errors
/// What redb says.
pub fn read_row(disk: &Disk, order: u64, n: u64) -> Result<Option<Row>, redb::Error> {
    let transaction = disk.begin_read()?;
    let rows = transaction.open_table(ROWS)?;
    let Some(payload) = rows.get((order, n))? else { return Ok(None) };
    let payload = payload.value().to_vec();
    let head = decode_head(&payload).ok().flatten();
    Ok(Some((payload, head)))
}

/// Positions below which every row is older than is kept: of this log, and all of the logs before.
fn old_end(hours: &BTreeMap<u64, (u64, u64)>, keep_from: u64) -> (u64, u64) {
    hours.range(keep_from..).next().map_or((u64::MAX, u64::MAX), |(_, place)| *place)
}

/// Lets stored rows go, oldest first: those that are old, and those the bound has no room for; so many at once, and as
/// many bytes as came, so that the bound holds.
fn trim(
    rows: &mut redb::Table<'_, (u64, u64), &[u8]>,
    logs: &mut BTreeMap<u64, LogRecord>,
    old_end: (u64, u64),
    bound: u64,
    came: u64,
) -> Result<(), redb::Error> {
    let mut bytes: u64 = logs.values().map(|log| log.bytes).sum();
    let before_this = bytes.saturating_sub(came);
    let mut left = TRIM_ROWS;
    for (order, log) in logs.iter_mut() {
        while (left > 0 || bytes > before_this)
            && log.oldest < log.watermark
            && ((*order, log.oldest) < old_end || bytes > bound)
        {
            let Some(row) = rows.remove((*order, log.oldest))? else {
                return Err(redb::Error::Corrupted(format!("row {order}/{} is gone", log.oldest)));
            };
            let (length, head) = (row.value().len() as u64, decode_head(row.value()));
            drop(row);
            log.oldest += 1;
            log.before_oldest = match head {
                Ok(Some(head)) if head.before == log.before_oldest => head.before.plus(head.has),
                // The disk has changed it since it was stored.
                _ => before(rows, *order, log)?,
            };
            log.bytes -= length;
            bytes -= length;
            left = left.saturating_sub(1);
        }
    }
    Ok(())
}

/// What was accepted before the oldest row of a log, by the first row that says so.
fn before(
    rows: &redb::Table<'_, (u64, u64), &[u8]>,
    order: u64,
    log: &LogRecord,
) -> Result<Count, redb::Error> {
    for row in rows.range((order, log.oldest)..(order, log.end))? {
        if let Ok(Some(head)) = decode_head(row?.1.value()) {
            return Ok(head.before);
        }
    }
    Ok(log.accepted)
}

fn encode(record: &LogRecord) -> Vec<u8> {
    postcard::to_stdvec(record).expect("plain data has an encoding")
}
