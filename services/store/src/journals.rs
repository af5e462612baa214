//! What journals say about themselves: one half of the ledger.

use std::collections::BTreeMap;

use vigia_protocol::batch::Count;
use vigia_protocol::position::LogId;
use vigia_protocol::report::{JournalLog, JournalReport};
use vigia_protocol::time::Micros;
use vigia_protocol::topic::NodeName;

use crate::account::LogAccount;
use crate::extents::{Extent, Extents};
use crate::limits::{JOURNAL_FRESH_MICROS, JOURNALS_SPACING_MICROS};
use crate::tables::{JournalRow, Writes};

/// Markers that must pass between two reports that say the same before a hole is a loss: what was
/// under way at the first report has then arrived.
const MARKERS_BETWEEN: u64 = 2;

/// See the module.
#[derive(Debug, Default)]
pub struct Journals {
    heard: BTreeMap<u64, Heard>,
    /// Which journal listed a log.
    origins: BTreeMap<LogId, u64>,
    unwritten_origins: Vec<LogId>,
    written: Micros,
    /// Per node: the last marker, and how many came.
    markers: BTreeMap<NodeName, Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    last: (u64, u64),
    count: u64,
}

/// A journal's newest report.
#[derive(Debug)]
pub struct Heard {
    /// The node, the time and the report.
    pub row: JournalRow,
    changed: bool,
    /// Holes that nobody seems to hold, and how many markers had passed when that was first said.
    suspects: BTreeMap<(LogId, u64, u64), u64>,
}

impl Heard {
    /// Whether it is young enough to be believed.
    pub fn is_fresh(&self, now: Micros) -> bool {
        now.0.saturating_sub(self.row.heard.0).saturating_abs() < JOURNAL_FRESH_MICROS
    }
}

impl Journals {
    /// What was written down before.
    pub fn new(rows: Vec<JournalRow>, origins: BTreeMap<LogId, u64>) -> Self {
        let heard = |row: JournalRow| {
            (row.report.journal, Heard { row, changed: false, suspects: BTreeMap::new() })
        };
        Self { heard: rows.into_iter().map(heard).collect(), origins, ..Self::default() }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Heard> {
        self.heard.values()
    }

    /// The journal that listed the log, if any did.
    pub fn origin(&self, log: LogId) -> Option<&Heard> {
        self.heard.get(self.origins.get(&log)?)
    }

    /// The name of the node a log is from.
    pub fn node_of(&self, log: LogId) -> Option<String> {
        self.origin(log).map(|heard| heard.row.node.clone())
    }

    /// Whether the journal is silent, and another speaks under its name.
    pub fn is_gone(&self, old: &Heard, now: Micros) -> bool {
        !old.is_fresh(now)
            && self.heard.values().any(|new| new.row.node == old.row.node && new.is_fresh(now))
    }

    /// How long nobody knows what the journal acknowledged, in µs: from what it said last to the beginning of the next
    /// under its name, both by their node's clock.
    pub fn unheard(&self, gone: &Heard) -> i64 {
        let said = gone.row.report.time.0;
        let of_node = self.heard.values().filter(|other| other.row.node == gone.row.node);
        let begun = of_node.map(|other| other.row.report.created.0.saturating_sub(said));
        begun.filter(|since| *since > 0).min().unwrap_or_default()
    }

    /// Asks no more for what the journal had when it was last heard of. Whether there is such a journal.
    pub fn write_off(&mut self, journal: u64) -> bool {
        let Some(heard) = self.heard.get_mut(&journal) else { return false };
        heard.row.is_written_off = true;
        heard.changed = true;
        true
    }

    /// The longest time, in µs, that the last marker of a journal took to the store and back, of the
    /// journals that are heard of.
    pub fn round_trip(&self, now: Micros) -> Option<i64> {
        let fresh = self.heard.values().filter(|heard| heard.is_fresh(now));
        fresh.filter_map(|heard| heard.row.report.echo).map(|(time, _)| time).max()
    }

    /// Takes a marker in.
    pub fn mark(&mut self, node: &NodeName, marker: (u64, u64)) {
        let seen = self.markers.entry(node.clone()).or_insert(Seen { last: marker, count: 0 });
        seen.last = marker;
        seen.count += 1;
    }

    /// The last marker of a node.
    pub fn last_marker(&self, node: &NodeName) -> Option<(u64, u64)> {
        self.markers.get(node).map(|seen| seen.last)
    }

    /// Takes a report in. Gives the holes that nobody holds any more.
    pub fn hear(
        &mut self,
        node: &NodeName,
        report: JournalReport,
        now: Micros,
        logs: &BTreeMap<LogId, LogAccount>,
    ) -> Vec<(LogId, Vec<Extent>)> {
        for log in &report.logs {
            if self.origins.insert(log.log, report.journal) != Some(report.journal) {
                self.unwritten_origins.push(log.log);
            }
        }
        let passed = self.markers.get(node).map_or(0, |seen| seen.count);
        let before = self.heard.remove(&report.journal);
        if let Some(before) = before.as_ref().filter(|old| is_put_back(&old.row.report, &report)) {
            self.keep(before);
        }
        let (changed, old) = before.map_or((true, BTreeMap::new()), |old| {
            let said = &old.row.report;
            let is_news = said.logs != report.logs || said.unsettled != report.unsettled;
            (old.changed || is_news, old.suspects)
        });
        let mut suspects = BTreeMap::new();
        let mut lost = Vec::new();
        for log in &report.logs {
            let mut confirmed = Vec::new();
            for hole in holes(log, logs.get(&log.log)) {
                let key = (log.log, hole.start, hole.end);
                let since = old.get(&key).copied().unwrap_or(passed);
                if passed >= since + MARKERS_BETWEEN {
                    confirmed.push(hole);
                } else {
                    suspects.insert(key, since);
                }
            }
            if !confirmed.is_empty() {
                lost.push((log.log, confirmed));
            }
        }
        let row = JournalRow { node: node.to_string(), heard: now, report, is_written_off: false };
        self.heard.insert(row.report.journal, Heard { row, changed, suspects });
        lost
    }

    /// What a journal said before it was put back to an older state is as the last word of one that is gone: under the
    /// name of its newest log, as its own is still in use.
    fn keep(&mut self, before: &Heard) {
        let Some(newest) = before.row.report.logs.last() else { return };
        tracing::error!(
            journal = %LogId(before.row.report.journal),
            node = before.row.node,
            "the journal was put back to an older state"
        );
        let mut row = before.row.clone();
        row.report.journal = newest.log.0;
        self.heard.insert(newest.log.0, Heard { row, changed: true, suspects: BTreeMap::new() });
    }

    /// Adds what is not written down yet, at most once in a while.
    pub fn collect(&mut self, now: Micros, writes: &mut Writes) {
        if now.0.saturating_sub(self.written.0).saturating_abs() < JOURNALS_SPACING_MICROS {
            return;
        }
        for heard in self.heard.values_mut().filter(|heard| heard.changed) {
            writes.journal(&heard.row);
            heard.changed = false;
            self.written = now;
        }
        for log in self.unwritten_origins.drain(..) {
            if let Some(journal) = self.origins.get(&log) {
                writes.origin(log, *journal);
            }
        }
    }
}

/// Whether the journal has begun anew since, from a file in which something is missing that it had. A report that merely
/// comes again tells of no new log.
fn is_put_back(before: &JournalReport, now: &JournalReport) -> bool {
    let has = |newest: &JournalLog| before.logs.iter().any(|log| log.log == newest.log);
    now.logs.last().is_some_and(|newest| !has(newest))
        && before.logs.iter().any(|old| match now.logs.iter().find(|log| log.log == old.log) {
            Some(log) => log.batches < old.batches,
            None => old.oldest < old.batches,
        })
}

/// The holes of a log that its journal cannot fill.
fn holes(log: &JournalLog, account: Option<&LogAccount>) -> Vec<Extent> {
    let nothing = Extents::default();
    let extents = account.map_or(&nothing, |account| &account.extents);
    let mut holes = extents.holes_below(log.oldest, log.before_oldest);
    holes.retain(|hole| {
        let counted = hole.count().is_some_and(|count| count != Count::default());
        if !counted {
            tracing::error!(log = %log.log, hole.start, hole.end, "a hole without a count");
        }
        counted
    });
    holes
}
