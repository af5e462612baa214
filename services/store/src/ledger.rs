//! The ledger: what journals accepted beside what became of it.
//!
//! A journal's report holds both sides of the equation for one moment ([`Checked`]): its own count of
//! what stands at the positions that the store called accounted, and what the store said became of it.
//! They must be equal, in readings and in frames. What is not among them is in flight.
//!
//! [`Checked`]: vigia_protocol::report::Checked

use poem_openapi::{Enum, Object};
use vigia_protocol::batch::Count;
use vigia_protocol::position::LogId;
use vigia_protocol::report::{JournalLog, Totals};
use vigia_protocol::time::Micros;

use crate::api::time::Time;
use crate::journals::Heard;
use crate::limits::{GAPS_NAMED, JOURNAL_UNHEARD_MICROS};
use crate::state::State;
use crate::stream::StreamId;

/// Whether what was accepted is accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Enum)]
#[oai(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Balanced,
    /// One side cannot be asked.
    #[default]
    Unknown,
    /// It is not, or some of it is lost.
    Unbalanced,
}

/// Counts of readings, or of frames. `accepted = stored + quarantined + duplicate + lost + in_flight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Object)]
#[oai(read_only_all)]
pub struct Counts {
    /// Acknowledged to sensors.
    pub accepted: u64,
    /// Stored.
    pub stored: u64,
    /// Kept with raw bytes and a reason.
    pub quarantined: u64,
    /// Identities seen before at another position.
    pub duplicate: u64,
    /// Held by no one any more.
    pub lost: u64,
    /// In the journal, not yet accounted for by the store.
    pub in_flight: u64,
}

/// How the store knows about a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Enum)]
#[oai(rename_all = "lowercase")]
pub enum Standing {
    /// Its journal lists it.
    Open,
    /// Its journal has settled and forgotten it.
    Closed,
    /// Its journal is gone; another took its place.
    Orphaned,
    /// No journal has listed it yet, or its journal is silent.
    #[default]
    Unknown,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct LogLine {
    /// Its id, 16 hexadecimal digits.
    pub log: String,
    /// The node it is from.
    pub node: String,
    /// How the store knows about it.
    pub standing: Standing,
    /// Whether it balances by itself; absent if that is not known.
    #[oai(skip_serializing_if_is_none)]
    pub balanced: Option<bool>,
    /// In readings.
    pub readings: Counts,
    /// In frames.
    pub frames: Counts,
}

/// A log whose journal is gone.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct OrphanedLog {
    /// Its id.
    pub log: String,
    /// The node it is from.
    pub node: String,
    /// Readings its journal accepted by its last report.
    pub accepted_by_last_report: u64,
    /// Readings the store has accounted for.
    pub accounted: u64,
}

/// Readings missing in the numbering of sensors.
#[derive(Debug, Clone, PartialEq, Default, Object)]
#[oai(read_only_all)]
pub struct GapLines {
    /// Declared by sensors, in readings.
    pub declared: u64,
    /// Explained by nobody, in readings.
    pub unexplained: u64,
    /// The first streams that miss any.
    pub streams: Vec<StreamGaps>,
}

/// What one stream misses.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct StreamGaps {
    /// Whose.
    pub sensor: i16,
    /// Which.
    pub stream: u32,
    /// Declared by the sensor, in readings.
    pub declared: u64,
    /// Explained by nobody, in readings.
    pub unexplained: u64,
    /// The first of those.
    #[oai(skip_serializing_if_is_none)]
    pub first_unexplained: Option<u64>,
}

/// One journal.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct JournalLine {
    /// Its id, 16 hexadecimal digits.
    pub journal: String,
    /// Its node.
    pub node: String,
    /// Age of its last report.
    pub age_ms: i64,
    /// Bytes of rows it holds.
    pub bytes: u64,
    /// And how many it may.
    pub bytes_max: u64,
    /// Whether this store frees it.
    pub store_adopted: bool,
    /// Sensors with an open session.
    pub online: u64,
    /// Round trip of the last echoed marker.
    #[oai(skip_serializing_if_is_none)]
    pub echo_round_trip_ms: Option<f64>,
}

/// The whole ledger.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(read_only_all)]
pub struct Ledger {
    /// Whether what was accepted is accounted for.
    pub verdict: Verdict,
    /// What stands against `balanced`, and other things worth a look.
    pub reasons: Vec<String>,
    /// When this was computed.
    pub time: Time,
    /// The store's instance, 16 hexadecimal digits.
    pub instance: String,
    /// In readings.
    pub readings: Counts,
    /// In frames.
    pub frames: Counts,
    /// Log by log.
    pub logs: Vec<LogLine>,
    /// What is missing in sensors' numberings.
    pub gaps: GapLines,
    /// Logs whose journal is gone.
    pub orphaned_logs: Vec<OrphanedLog>,
    /// Readings that came with the number of another one. They are in quarantine.
    pub conflicts: u64,
    /// The journals that are there, or silent.
    pub journals: Vec<JournalLine>,
}

/// Computes it.
pub fn ledger(state: &State, instance: u64, now: Micros) -> Ledger {
    let mut sheet = Sheet { state, instance, now, verdict: Verdict::Balanced, reasons: Vec::new() };
    let (logs, orphaned_logs) = sheet.logs();
    sheet.journals();
    let mut readings = Counts::default();
    let mut frames = Counts::default();
    for line in &logs {
        readings.add(&line.readings);
        frames.add(&line.frames);
    }
    if readings.lost + frames.lost > 0 {
        let reason = format!("{} readings in {} frames are lost", readings.lost, frames.lost);
        sheet.against(Verdict::Unbalanced, reason);
    }
    let (gaps, conflicts) = gaps(state);
    if gaps.unexplained > 0 {
        sheet.reasons.push(format!("{} readings are missing unexplained", gaps.unexplained));
    }
    if conflicts > 0 {
        sheet.reasons.push(format!(
            "{conflicts} readings have other readings' numbers; they are in quarantine"
        ));
    }
    Ledger {
        verdict: sheet.verdict,
        reasons: sheet.reasons,
        time: Time(now),
        instance: LogId(instance).to_string(),
        readings,
        frames,
        logs,
        gaps,
        orphaned_logs,
        conflicts,
        journals: state
            .journals
            .iter()
            .filter(|heard| !state.journals.is_gone(heard, now))
            .map(|heard| journal(heard, instance, now))
            .collect(),
    }
}

/// The ledger while it is computed.
struct Sheet<'a> {
    state: &'a State,
    instance: u64,
    now: Micros,
    verdict: Verdict,
    reasons: Vec<String>,
}

impl Sheet<'_> {
    fn against(&mut self, verdict: Verdict, reason: String) {
        self.verdict = self.verdict.max(verdict);
        self.reasons.push(reason);
    }

    fn journals(&mut self) {
        let mut any = false;
        for heard in self.state.journals.iter() {
            if self.state.journals.is_gone(heard, self.now) {
                self.gone(heard);
                continue;
            }
            any = true;
            if let Some(other) = heard.row.report.store.filter(|store| *store != self.instance) {
                self.reasons.push(format!(
                    "the journal of {} is freed by the store {}, not by this one, {}",
                    heard.row.node,
                    LogId(other),
                    LogId(self.instance)
                ));
            }
            if !heard.is_fresh(self.now) {
                let node = &heard.row.node;
                let reason = format!("the journal of {node} has not reported for a while");
                self.against(Verdict::Unknown, reason);
            }
        }
        if !any {
            self.against(Verdict::Unknown, "no journal has reported yet".to_owned());
        }
    }

    /// What it had acknowledged is stored, or not. Sensors keep what is not, and deliver it to the next journal; but
    /// one may have lost its memory too.
    fn gone(&mut self, heard: &Heard) {
        if heard.row.is_written_off {
            return;
        }
        let journal = format!(
            "the journal {} of {} is gone",
            LogId(heard.row.report.journal),
            heard.row.node
        );
        let unheard = self.state.journals.unheard(heard);
        if unheard > JOURNAL_UNHEARD_MICROS {
            let seconds = unheard / 1_000_000;
            let reason =
                format!("{journal}: nobody knows what it acknowledged in its last {seconds} s");
            self.against(Verdict::Unknown, reason);
        }
        let mut missing = 0_u64;
        let mut sensors = Vec::new();
        for one in &heard.row.report.unsettled {
            let id = StreamId { sensor: one.sensor, stream: one.stream };
            let account = self.state.streams.get(id).map(|stream| &stream.account);
            let count = account
                .map_or(one.to - one.from, |account| account.missing_within(one.from, one.to));
            if count > 0 {
                missing = missing.saturating_add(count);
                sensors.push(one.sensor);
            }
        }
        if let Some(first) = sensors.first() {
            let reason = format!(
                "{journal}, and {missing} readings that it acknowledged are not stored; they are of {} sensors, the \
                 first is {first}",
                sensors.len()
            );
            self.against(Verdict::Unknown, reason);
        }
    }

    fn logs(&mut self) -> (Vec<LogLine>, Vec<OrphanedLog>) {
        let mut lines = Vec::new();
        let mut orphans = Vec::new();
        for heard in self.state.journals.iter() {
            let is_gone = self.state.journals.is_gone(heard, self.now);
            for log in &heard.row.report.logs {
                let ours = self.state.journals.origin(log.log).map(|own| own.row.report.journal);
                if ours != Some(heard.row.report.journal) {
                    continue;
                }
                if is_gone {
                    lines.push(self.settled_line(log.log, &heard.row.node, Standing::Orphaned));
                    orphans.push(self.orphan(heard, log.log, log.accepted.readings));
                } else {
                    lines.push(self.open_line(heard, log));
                }
            }
        }
        for (log, account) in &self.state.logs {
            let Some(heard) = self.state.journals.origin(*log) else {
                let reason = format!("no journal has listed the log {log}");
                self.against(Verdict::Unknown, reason);
                lines.push(self.settled_line(*log, &account.node, Standing::Unknown));
                continue;
            };
            if heard.row.report.logs.iter().any(|listed| listed.log == *log) {
                continue;
            }
            let gone = self.state.journals.is_gone(heard, self.now);
            let standing = if gone { Standing::Orphaned } else { Standing::Closed };
            lines.push(self.settled_line(*log, &account.node, standing));
            if gone {
                // It was settled when its journal forgot it.
                let accounted = account.totals.accounted().readings;
                orphans.push(self.orphan(heard, *log, accounted));
            }
        }
        (lines, orphans)
    }

    /// A log that its journal lists: both sides by its last report.
    fn open_line(&mut self, heard: &Heard, log: &JournalLog) -> LogLine {
        let own = self.totals(log.log);
        let (totals, by_journal) = match log.checked {
            Some(checked) => (checked.by_store, checked.by_journal),
            None => (own, own.accounted()),
        };
        if own.accounted().minus(totals.accounted()).is_none() {
            let reason = format!(
                "the log {}: this store has less than the journal compared with; it was put back to an older state",
                log.log
            );
            self.against(Verdict::Unknown, reason);
        }
        let balanced = log.checked.map(|checked| checked.by_journal == totals.accounted());
        if balanced == Some(false) {
            let (store, journal) = (totals.accounted(), by_journal);
            let reason = format!(
                "the log {}: the journal counts {} readings in {} frames where the store accounts \
                 for {} in {}",
                log.log, journal.readings, journal.frames, store.readings, store.frames
            );
            self.against(Verdict::Unbalanced, reason);
        }
        if balanced.is_none() && log.accepted != Count::default() {
            let reason = format!("the journal has not compared the log {} yet", log.log);
            self.against(Verdict::Unknown, reason);
        }
        let in_flight = log.accepted.minus(by_journal);
        if in_flight.is_none() && balanced.is_some() {
            let reason = format!("the log {}: more is accounted for than was accepted", log.log);
            self.against(Verdict::Unbalanced, reason);
        }
        let standing = if heard.is_fresh(self.now) { Standing::Open } else { Standing::Unknown };
        let counts =
            Line { accepted: log.accepted, totals, in_flight: in_flight.unwrap_or_default() };
        counts.line(log.log, &heard.row.node, standing, balanced)
    }

    /// A log of which nothing is in flight: what was accepted of it is what is accounted for.
    fn settled_line(&self, log: LogId, node: &str, standing: Standing) -> LogLine {
        let totals = self.totals(log);
        let line = Line { accepted: totals.accounted(), totals, in_flight: Count::default() };
        line.line(log, node, standing, (standing == Standing::Closed).then_some(true))
    }

    fn orphan(&self, heard: &Heard, log: LogId, accepted: u64) -> OrphanedLog {
        OrphanedLog {
            log: log.to_string(),
            node: heard.row.node.clone(),
            accepted_by_last_report: accepted,
            accounted: self.totals(log).accounted().readings,
        }
    }

    fn totals(&self, log: LogId) -> Totals {
        self.state.logs.get(&log).map(|account| account.totals).unwrap_or_default()
    }
}

/// Both counts of a log before they are taken apart.
struct Line {
    accepted: Count,
    totals: Totals,
    in_flight: Count,
}

impl Line {
    fn line(self, log: LogId, node: &str, standing: Standing, balanced: Option<bool>) -> LogLine {
        LogLine {
            log: log.to_string(),
            node: node.to_owned(),
            standing,
            balanced,
            readings: self.counts(|count| count.readings),
            frames: self.counts(|count| count.frames),
        }
    }

    fn counts(&self, part: impl Fn(Count) -> u64) -> Counts {
        Counts {
            accepted: part(self.accepted),
            stored: part(self.totals.stored),
            quarantined: part(self.totals.quarantined),
            duplicate: part(self.totals.duplicate),
            lost: part(self.totals.lost),
            in_flight: part(self.in_flight),
        }
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.stored += other.stored;
        self.quarantined += other.quarantined;
        self.duplicate += other.duplicate;
        self.lost += other.lost;
        self.in_flight += other.in_flight;
    }
}

fn gaps(state: &State) -> (GapLines, u64) {
    let mut lines = GapLines::default();
    let mut conflicts = 0;
    for (id, stream) in state.streams.iter() {
        // What sensors number is theirs to say: the sum may be beyond all bounds, and is then the largest there is.
        conflicts += stream.account.conflicts;
        let gaps = stream.account.gaps();
        if (gaps.declared, gaps.unexplained) == (0, 0) {
            continue;
        }
        lines.declared = lines.declared.saturating_add(gaps.declared);
        lines.unexplained = lines.unexplained.saturating_add(gaps.unexplained);
        if lines.streams.len() < GAPS_NAMED {
            lines.streams.push(StreamGaps {
                sensor: id.sensor.0,
                stream: id.stream,
                declared: gaps.declared,
                unexplained: gaps.unexplained,
                first_unexplained: gaps.first_unexplained,
            });
        }
    }
    (lines, conflicts)
}

fn journal(heard: &Heard, instance: u64, now: Micros) -> JournalLine {
    let report = &heard.row.report;
    JournalLine {
        journal: LogId(report.journal).to_string(),
        node: heard.row.node.clone(),
        age_ms: now.0.saturating_sub(heard.row.heard.0) / 1000,
        bytes: report.bytes.0,
        bytes_max: report.bytes.1,
        store_adopted: report.store == Some(instance),
        online: report.online.len() as u64,
        echo_round_trip_ms: report.echo.map(|(round_trip, _)| round_trip as f64 / 1000.0),
    }
}
