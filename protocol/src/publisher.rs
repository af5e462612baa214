//! What the publisher decides: which batch goes out next, when a marker does, and what is really lost.
//!
//! The journal's rows go out in order, within the credit. A PUBACK decides nothing. What decides is the
//! store's report: accounted positions are done; and what was published before a marker, and is still
//! missing when the store echoes that marker, did not survive the bus and goes out again, exactly that.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::batch::Marker;
use crate::limits::{
    CREDIT_TEXT_BYTES, LOGS_IN_TURN, MARKER_IDLE_MICROS, MARKER_RETRY_MAX_MICROS,
    MARKER_RETRY_MICROS, MARKER_SPACING_MICROS, MAX_LOGS_PER_MARKER, MAX_UNECHOED_MARKERS,
};
use crate::position::LogId;
use crate::ranges::RangeSet;
use crate::report::{StoreReport, StoredLog};
use crate::time::Micros;

/// Where a batch stands, sortable: the number of its log in order of opening, then n.
type Rank = (usize, u64);

/// One log as the journal holds it.
#[derive(Debug)]
struct Log {
    id: LogId,
    /// Positions from here on are held.
    oldest: u64,
    /// One past the newest.
    end: u64,
    /// Never published in this process's life from here on.
    fresh: u64,
    /// What the store that speaks now has said. It only grows: a report may come twice, and tells
    /// only so many ranges.
    accounted: RangeSet,
    /// Whether the store has said anything since the last connection.
    heard: bool,
}

impl Log {
    /// Whether nothing of it is left to do.
    fn is_done(&self) -> bool {
        self.accounted.contiguous_from(self.oldest) >= self.end
    }
}

/// A batch that went out and is not accounted for.
#[derive(Debug, Clone, Copy)]
struct OnItsWay {
    text_bytes: usize,
    /// The last marker that went out before it: a later one's echo judges it.
    after_marker: u64,
}

/// What to send next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// This row.
    Row(LogId, u64),
    /// This marker.
    Marker(Marker),
    /// Nothing before this time, unless something happens.
    Wait(Micros),
}

/// The publisher without its connection and its journal.
#[derive(Debug)]
pub struct Publisher {
    session: u64,
    logs: Vec<Log>,
    by_id: HashMap<LogId, usize>,
    on_their_way: BTreeMap<Rank, OnItsWay>,
    again: BTreeSet<Rank>,
    credit_used: usize,
    credit: usize,
    connected: bool,
    /// Data may flow: a marker of this connection was echoed.
    flowing: bool,
    marker: u64,
    echoed: u64,
    /// Markers up to this one are of earlier connections, or were meant for another store.
    before_connection: u64,
    /// Whether a row went out after the last marker.
    unmarked: bool,
    /// The store that spoke last.
    instance: Option<u64>,
    /// The older log that was asked about last, of those about which nothing else is to be known.
    turn: usize,
    sent_at: BTreeMap<u64, Micros>,
    last_marker: Micros,
    retry: i64,
    round_trip: Option<i64>,
    resent: u64,
}

impl Publisher {
    /// A publisher that knows nothing yet. `session` is random.
    pub fn new(session: u64) -> Self {
        Self {
            session,
            logs: Vec::new(),
            by_id: HashMap::new(),
            on_their_way: BTreeMap::new(),
            again: BTreeSet::new(),
            credit_used: 0,
            credit: CREDIT_TEXT_BYTES,
            connected: false,
            flowing: false,
            marker: 0,
            echoed: 0,
            before_connection: 0,
            unmarked: false,
            instance: None,
            turn: 0,
            sent_at: BTreeMap::new(),
            last_marker: Micros(i64::MIN),
            retry: MARKER_RETRY_MICROS,
            round_trip: None,
            resent: 0,
        }
    }

    /// A log that the journal holds, in order of opening: positions `oldest..end`.
    pub fn add_log(&mut self, id: LogId, oldest: u64, end: u64) {
        self.by_id.insert(id, self.logs.len());
        self.logs.push(Log {
            id,
            oldest,
            end,
            fresh: oldest,
            accounted: RangeSet::default(),
            heard: false,
        });
    }

    /// The newest log has grown to `end`.
    pub fn journaled(&mut self, end: u64) {
        if let Some(log) = self.logs.last_mut() {
            log.end = log.end.max(end);
        }
    }

    /// The journal let go what stands below `oldest`.
    pub fn trimmed(&mut self, id: LogId, oldest: u64) {
        if let Some(&rank) = self.by_id.get(&id) {
            let log = &mut self.logs[rank];
            log.oldest = log.oldest.max(oldest);
            log.fresh = log.fresh.max(oldest);
        }
    }

    /// A connection to the bus was made. What went out before it may be lost or not: a marker tells.
    pub fn connected(&mut self) {
        self.connected = true;
        self.probe();
    }

    /// Lets data wait until a new marker is echoed.
    fn probe(&mut self) {
        self.flowing = false;
        self.before_connection = self.marker;
        self.sent_at.clear();
        self.last_marker = Micros(i64::MIN);
        self.retry = MARKER_RETRY_MICROS;
        for log in &mut self.logs {
            log.heard = false;
        }
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.flowing = false;
    }

    /// The store has spoken. Gives whether it said that after all that was heard of it before: a report may come
    /// twice, the echo of a marker counts once.
    pub fn reported(&mut self, report: &StoreReport, now: Micros) -> bool {
        let echoed = report.marker.filter(|(session, number)| {
            *session == self.session && (self.echoed + 1..=self.marker).contains(number)
        });
        let is_newest = echoed.is_some();
        let is_another =
            self.instance.replace(report.instance).is_some_and(|old| old != report.instance);
        if is_another || (is_newest && report.logs.iter().any(|log| self.has_less(log))) {
            self.start_over();
        }
        for stored in &report.logs {
            let Some(&rank) = self.by_id.get(&stored.log) else { continue };
            let log = &mut self.logs[rank];
            for &(start, end) in stored.accounted.ranges() {
                log.accounted.insert_range(start, end);
            }
            log.heard = true;
            let done: Vec<Rank> = self
                .on_their_way
                .range((rank, 0)..=(rank, u64::MAX))
                .map(|(at, _)| *at)
                .filter(|(_, n)| stored.accounted.contains(*n))
                .collect();
            for at in done {
                self.settle(at);
            }
            self.again.retain(|(at, n)| *at != rank || !stored.accounted.contains(*n));
        }
        if let Some((_, number)) = echoed {
            self.echo(number, report, now);
        }
        is_newest
    }

    /// Whether the store lacks what it had.
    fn has_less(&self, stored: &StoredLog) -> bool {
        let Some(&rank) = self.by_id.get(&stored.log) else { return false };
        let had = self.logs[rank].accounted.ranges();
        stored.totals.is_some() && had.iter().any(|had| !stored.accounted.has_all(had.0, had.1))
    }

    /// Another store, or one that was put back to an older state: what was there is no longer known to be.
    fn start_over(&mut self) {
        self.on_their_way.clear();
        self.again.clear();
        self.credit_used = 0;
        for log in &mut self.logs {
            log.fresh = log.oldest;
            log.accounted = RangeSet::default();
        }
        self.probe();
    }

    fn settle(&mut self, at: Rank) {
        if let Some(gone) = self.on_their_way.remove(&at) {
            self.credit_used -= gone.text_bytes;
        }
    }

    fn echo(&mut self, number: u64, report: &StoreReport, now: Micros) {
        self.echoed = number;
        if let Some(sent) = self.sent_at.get(&number) {
            self.round_trip = Some((now.0 - sent.0).max(0));
        }
        self.sent_at = self.sent_at.split_off(&(number + 1));
        if number > self.before_connection {
            self.flowing = self.connected;
            self.retry = MARKER_RETRY_MICROS;
        }
        // Every hop keeps order: what went out before this marker has arrived, or never will. Where
        // the report says nothing, nothing is known: other logs, and what lies behind a cut set.
        for stored in &report.logs {
            let Some(&rank) = self.by_id.get(&stored.log) else { continue };
            let told = if stored.totals.is_some() { u64::MAX } else { stored.accounted.end() };
            let lost: Vec<Rank> = self
                .on_their_way
                .range((rank, 0)..(rank, told))
                .filter(|(_, way)| way.after_marker < number)
                .map(|(at, _)| *at)
                .collect();
            for at in lost {
                self.settle(at);
                self.again.insert(at);
            }
        }
    }

    /// What to do now. [`Next::Row`] is to be answered with [`Publisher::published`].
    pub fn next(&mut self, now: Micros) -> Next {
        if !self.connected {
            return Next::Wait(Micros(i64::MAX));
        }
        let due = self.marker_due();
        // However much there is to send, a marker goes with it: only markers find what was lost.
        let overdue = self.unmarked && now.0 >= due.0.max(self.last_marker.0 + MARKER_IDLE_MICROS);
        if self.flowing
            && !overdue
            && let Some((rank, n)) = self.pick()
        {
            return Next::Row(self.logs[rank].id, n);
        }
        if now < due {
            return Next::Wait(due);
        }
        self.marker += 1;
        self.unmarked = false;
        self.last_marker = now;
        self.sent_at.insert(self.marker, now);
        if self.sent_at.len() > MAX_UNECHOED_MARKERS {
            self.sent_at.pop_first();
        }
        if !self.flowing || self.marker - self.echoed > 1 {
            self.retry = (self.retry * 2).min(MARKER_RETRY_MAX_MICROS);
        }
        // The newest is always among them: it makes the echo of an idle pipeline say something.
        let asked = |log: &&Log| !log.is_done() || !log.heard;
        let (newest, older) = self.logs.split_last().map_or((None, &[][..]), |(n, o)| (Some(n), o));
        let mut chosen: Vec<&Log> =
            older.iter().filter(asked).take(MAX_LOGS_PER_MARKER - 1).collect();
        // The others in turn: a store that is put back to an older state may lack anything it had.
        let room = MAX_LOGS_PER_MARKER - 1 - chosen.len();
        for _ in 0..room.min(LOGS_IN_TURN).min(older.len()) {
            self.turn = (self.turn + 1) % older.len();
            let log = &older[self.turn];
            if !asked(&log) {
                chosen.push(log);
            }
        }
        let logs = chosen.into_iter().chain(newest).map(|log| log.id).collect();
        Next::Marker(Marker { session: self.session, number: self.marker, logs })
    }

    fn marker_due(&self) -> Micros {
        if self.last_marker.0 == i64::MIN {
            return self.last_marker;
        }
        let after = if !self.flowing || self.marker > self.echoed {
            self.retry
        } else if self.unmarked || self.logs.iter().any(|log| !log.heard) {
            MARKER_SPACING_MICROS
        } else {
            MARKER_IDLE_MICROS
        };
        Micros(self.last_marker.0 + after)
    }

    /// The next row: first what was lost, then what never went out, that within the credit (what was
    /// lost had its credit before). Only of logs about which the store has been heard, so that a restart
    /// sends nothing that is there.
    fn pick(&mut self) -> Option<Rank> {
        while let Some(&(rank, n)) = self.again.first() {
            if n >= self.logs[rank].oldest {
                return Some((rank, n));
            }
            self.again.remove(&(rank, n));
        }
        if self.credit_used >= self.credit {
            return None;
        }
        for (rank, log) in self.logs.iter_mut().enumerate() {
            if !log.heard {
                continue;
            }
            log.fresh = log.accounted.contiguous_from(log.fresh);
            if log.fresh < log.end {
                return Some((rank, log.fresh));
            }
        }
        None
    }

    /// The row went out; `text_bytes` is what it can become at worst.
    pub fn published(&mut self, id: LogId, n: u64, text_bytes: usize) {
        let Some(&rank) = self.by_id.get(&id) else { return };
        // The store may have spoken since `next`: only what still stands where it stood moves on.
        let log = &mut self.logs[rank];
        if self.again.remove(&(rank, n)) {
            self.resent += 1;
        } else if log.fresh == n {
            log.fresh += 1;
        }
        self.unmarked = true;
        if log.accounted.contains(n) {
            return;
        }
        let way = OnItsWay { text_bytes, after_marker: self.marker };
        if self.on_their_way.insert((rank, n), way).is_none() {
            self.credit_used += text_bytes;
        }
    }

    /// Rows that the journal no longer has below this, per log, as far as the store has them: the
    /// watermark.
    pub fn watermark(&self, id: LogId) -> u64 {
        self.by_id.get(&id).map_or(0, |rank| {
            let log = &self.logs[*rank];
            log.accounted.contiguous_from(log.oldest).min(log.end)
        })
    }

    /// Round trip of the last echoed marker, µs.
    pub fn round_trip(&self) -> Option<i64> {
        self.round_trip
    }

    /// Whether the pipeline answers.
    pub fn is_flowing(&self) -> bool {
        self.flowing
    }

    /// Batches that had to go out again.
    pub fn resent(&self) -> u64 {
        self.resent
    }

    /// Worst-case text bytes published and not accounted for.
    pub fn credit_used(&self) -> usize {
        self.credit_used
    }
}
