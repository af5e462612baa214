//! The journal's one writer: a thread that takes whatever queued while the last commit ran, commits it
//! at once, and answers after the sync. Nothing else acknowledges.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use vigia_disk::{EXIT_IO_ERROR, Failed, free_bytes};
use vigia_kit::clock;
use vigia_kit::config::Sabotage;
use vigia_protocol::batch::{BatchHead, Count, Message, RawFrame, encode};
use vigia_protocol::decoder::Frame;
use vigia_protocol::header::{FrameType, NONCE_BYTES, Place, SensorId};
use vigia_protocol::ingress::{Grant, Offer};
use vigia_protocol::limits::{BATCH_TEXT_BYTES, text_bound};
#[cfg(feature = "sabotage")]
use vigia_protocol::position::LogId;
use vigia_protocol::report::{JournalReport, StoreReport};
use vigia_protocol::sealed::nonce_of;
use vigia_protocol::stage::StageKey;
use vigia_protocol::time::Micros;

use super::record::SensorRecord;
use super::state::{HeldLog, NewRow, Opened};
use crate::limits::{
    BUSY_RETRY_MS, COMMIT_SPACING, COMMIT_TEXT_BYTES, DISK_CHECK, JOURNAL_REQUESTS, REPORT_SPACING,
};

/// What became of one session's frames. A later verdict contains the earlier ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verdict {
    /// The end of what was taken of this session, and synced.
    pub custody: Place,
    /// Everything of that stream below is stored.
    pub stored: Place,
    /// How many times frames were turned away.
    pub turned_away: u64,
    /// Where the journal stood the last time.
    pub next: Place,
    /// Why the last time: busy for so long, or at another position.
    pub retry_ms: Option<u32>,
}

/// Where a session hears its verdicts.
pub type VerdictSender = Arc<watch::Sender<Verdict>>;

/// Frames of one session, in order.
#[derive(Debug)]
pub struct FromSensor {
    /// Whose.
    pub sensor: SensorId,
    /// The frames, each with the nonce of the one before it
    /// ([`Ingress::comes_after`](vigia_protocol::ingress::Ingress::comes_after)).
    pub frames: Vec<(Frame, [u8; NONCE_BYTES])>,
    /// When they were received.
    pub received: Micros,
    /// Who wants to know.
    pub verdict: VerdictSender,
}

/// What the writer is asked.
#[derive(Debug)]
pub enum Request {
    /// What to tell a sensor that greets. Answered after the sync of all before it.
    Greet {
        /// Who greets.
        sensor: SensorId,
        /// Who wants to know what is stored.
        verdict: VerdictSender,
        /// Where the answer goes.
        reply: oneshot::Sender<Grant>,
    },
    /// Frames to be journaled.
    Frames(FromSensor),
    /// The store has spoken; and whether after all that was heard of it before.
    Report(StoreReport, bool),
    /// The broker has acknowledged a publish: only a deliberate defect believes it.
    #[cfg(feature = "sabotage")]
    Published(LogId, u64),
}

/// What the publisher must know.
#[derive(Debug, Clone)]
pub struct News {
    /// All logs held.
    pub logs: Arc<Vec<HeldLog>>,
    /// The newest report for the store.
    pub report: Arc<JournalReport>,
}

/// The way to the writer.
#[derive(Debug, Clone)]
pub struct Journal {
    /// Requests, in order.
    pub requests: mpsc::Sender<Request>,
    /// The newest state.
    pub news: watch::Receiver<News>,
}

/// What the writer needs besides the journal.
#[derive(Debug)]
pub struct Terms {
    /// Seals the rows.
    pub key: StageKey,
    /// The topic they will be published on.
    pub topic: String,
    /// Free space below which the disk counts as nearly full.
    pub disk_reserve: u64,
    /// Where the journal lies.
    pub directory: std::path::PathBuf,
    /// A deliberate defect.
    pub sabotage: Option<Sabotage>,
}

/// Starts the writer on a thread of its own. It ends when all senders of requests are gone.
///
/// # Errors
/// If the thread cannot be made.
pub fn spawn(
    opened: Opened,
    terms: Terms,
) -> std::io::Result<(Journal, std::thread::JoinHandle<()>)> {
    let (requests, queue) = mpsc::channel(JOURNAL_REQUESTS);
    let writer = Writer {
        busy: false,
        unreported: true,
        sessions: HashMap::new(),
        disk_checked: None,
        #[cfg(feature = "sabotage")]
        late: None,
        opened,
        terms,
    };
    let (news_sender, news) = watch::channel(writer.news());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(writer.run(queue, &news_sender)) {
            // Whether the commit is on disk is not known. Acknowledge nothing more; the next start
            // finds out.
            tracing::error!(%error, "the journal cannot be written; this process ends");
            std::process::exit(EXIT_IO_ERROR);
        }
    })?;
    Ok((Journal { requests, news }, thread))
}

struct Writer {
    opened: Opened,
    terms: Terms,
    busy: bool,
    /// Whether something happened since the last report that the store should hear soon.
    unreported: bool,
    /// The session of each sensor that is to hear what is stored.
    sessions: HashMap<SensorId, VerdictSender>,
    disk_checked: Option<Instant>,
    /// A frame that waits for the next commit, acknowledged before: only a deliberate defect.
    #[cfg(feature = "sabotage")]
    late: Option<(Micros, Frame)>,
}

/// One round: what is decided before the commit and said after it.
#[derive(Default)]
struct Round {
    batches: Vec<OpenBatch>,
    text_bytes: usize,
    sensors: HashMap<SensorId, SensorRecord>,
    heard: Vec<Heard>,
    greetings: Vec<(SensorId, oneshot::Sender<Grant>)>,
}

/// What one session will hear.
struct Heard {
    sensor: SensorId,
    session: VerdictSender,
    custody: Option<Place>,
    /// How often it was turned away, from where, and why.
    turned_away: Option<(u64, Place, Option<u32>)>,
}

#[derive(Default)]
struct OpenBatch {
    frames: Vec<(Micros, Frame)>,
    text_bytes: usize,
}

impl Writer {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Request>,
        news: &watch::Sender<News>,
    ) -> Result<(), Failed> {
        let mut last_commit = Instant::now() - COMMIT_SPACING;
        let mut last_report = Instant::now();
        loop {
            let mut round = Round::default();
            let idle_until =
                last_report + if self.unreported { REPORT_SPACING.0 } else { REPORT_SPACING.1 };
            match timeout_at(idle_until, queue.recv()).await {
                Ok(Some(request)) => self.consider(request, &mut round)?,
                Ok(None) => return Ok(()),
                Err(_) => {}
            }
            self.fill(&mut round, &mut queue, last_commit + COMMIT_SPACING).await?;
            // What a report changed is written with the next frames, or when it has waited long.
            let overdue = self.opened.has_moved() && last_commit.elapsed() >= REPORT_SPACING.1;
            if !round.batches.is_empty() || overdue {
                last_commit = Instant::now();
                self.commit(&mut round)?;
                news.send_modify(|news| news.logs = Arc::new(self.opened.held()));
            }
            self.unreported |= !round.heard.is_empty();
            self.answer(round);
            let since = last_report.elapsed();
            if (self.unreported && since >= REPORT_SPACING.0) || since >= REPORT_SPACING.1 {
                news.send_replace(self.news());
                last_report = Instant::now();
                self.unreported = false;
            }
        }
    }

    /// Takes what is queued. While the last commit is too fresh for another, and frames are waiting
    /// for one, more may come.
    async fn fill(
        &mut self,
        round: &mut Round,
        queue: &mut mpsc::Receiver<Request>,
        not_before: Instant,
    ) -> Result<(), Failed> {
        while round.text_bytes < COMMIT_TEXT_BYTES {
            let request = match queue.try_recv() {
                Ok(request) => request,
                Err(_) if round.batches.is_empty() => return Ok(()),
                Err(_) => match timeout_at(not_before, queue.recv()).await {
                    Ok(Some(request)) => request,
                    Ok(None) | Err(_) => return Ok(()),
                },
            };
            self.consider(request, round)?;
        }
        Ok(())
    }

    fn consider(&mut self, request: Request, round: &mut Round) -> Result<(), Failed> {
        match request {
            Request::Greet { sensor, verdict, reply } => {
                let session = self.sessions.entry(sensor).or_insert_with(|| verdict.clone());
                if session.is_closed() {
                    *session = verdict;
                }
                round.greetings.push((sensor, reply));
            }
            Request::Frames(from) => self.take(from, round),
            Request::Report(report, is_newest) => {
                if is_newest {
                    self.opened.notice_older_store(&report)?;
                }
                for sensor in self.opened.reported(&report)? {
                    self.tell_stored(sensor);
                }
                self.unreported = true;
            }
            #[cfg(feature = "sabotage")]
            Request::Published(log, n) => {
                self.opened.believe_published(log, n);
                self.unreported = true;
            }
        }
        Ok(())
    }

    fn take(&mut self, from: FromSensor, round: &mut Round) {
        self.check_room();
        self.sessions.insert(from.sensor, from.verdict.clone());
        let known = round.sensors.get(&from.sensor);
        let mut record = known.copied().unwrap_or_else(|| self.opened.record(from.sensor));
        let mut heard =
            Heard { sensor: from.sensor, session: from.verdict, custody: None, turned_away: None };
        for (frame, after) in from.frames {
            let place = frame.header.place;
            let stands = Grant { next: record.next, last_nonce: record.last_nonce, stored: 0 };
            let busy = match stands.judge(place, &after) {
                Offer::Next if !self.busy => {
                    let next = end_of(&frame);
                    record = SensorRecord { next, last_nonce: nonce_of(&frame.bytes) };
                    round.sensors.insert(from.sensor, record);
                    heard.custody = Some(next);
                    round.push(from.received, frame);
                    continue;
                }
                Offer::Next => Some(BUSY_RETRY_MS),
                Offer::Behind => continue,
                Offer::Elsewhere => None,
            };
            let times = heard.turned_away.map_or(0, |(times, ..)| times);
            heard.turned_away =
                Some((times + 1, if busy.is_some() { place } else { record.next }, busy));
        }
        round.heard.push(heard);
    }

    /// No frame is taken when the journal is at its bound or the disk nearly full.
    fn check_room(&mut self) {
        if self.disk_checked.is_none_or(|checked| checked.elapsed() >= DISK_CHECK) {
            self.disk_checked = Some(Instant::now());
            let free = free_bytes(&self.terms.directory).unwrap_or(u64::MAX);
            let busy = free < self.terms.disk_reserve || !self.opened.has_room();
            if busy != self.busy {
                tracing::warn!(busy, free_bytes = free, "room in the journal");
            }
            self.busy = busy;
        }
    }

    fn commit(&mut self, round: &mut Round) -> Result<(), Failed> {
        if self.terms.sabotage == Some(Sabotage::AckBeforeFsync) {
            self.say(round);
            // As if the disk were slow: a fast one would hide the defect from a power cut now and then.
            std::thread::sleep(COMMIT_SPACING * 4);
        }
        #[cfg(feature = "sabotage")]
        if self.terms.sabotage == Some(Sabotage::AckOutOfOrder) {
            self.swap_late(round);
        }
        let mut position = self.opened.next_position();
        let mut before = self.opened.current().accepted;
        let mut rows = Vec::with_capacity(round.batches.len());
        for batch in round.batches.drain(..) {
            let has = Count {
                readings: batch.frames.iter().map(|(_, frame)| readings_in(frame)).sum(),
                frames: batch.frames.len() as u64,
            };
            let head = BatchHead { position, before, has };
            let mut ends: HashMap<SensorId, Place> = HashMap::new();
            for (_, frame) in &batch.frames {
                ends.insert(frame.header.sensor, end_of(frame));
            }
            let frames: Vec<RawFrame<'_>> = batch
                .frames
                .iter()
                .map(|(received, frame)| RawFrame { received: *received, bytes: &frame.bytes })
                .collect();
            let payload =
                self.terms.key.seal(&self.terms.topic, encode(&Message::Batch(head, frames)));
            rows.push(NewRow { head, payload, ends: ends.into_iter().collect() });
            position.n += 1;
            before = before.plus(has);
        }
        self.opened.commit(rows, &round.sensors, clock::now())
    }

    /// Puts a round's first frame off, in the place of the one that was put off before.
    #[cfg(feature = "sabotage")]
    fn swap_late(&mut self, round: &mut Round) {
        if let Some(batch) = round.batches.first_mut().filter(|batch| batch.frames.len() > 1) {
            let first = batch.frames.remove(0);
            batch.frames.extend(self.late.replace(first));
        }
    }

    /// After the sync: verdicts, and answers to those who greeted.
    fn answer(&mut self, round: Round) {
        self.say(&round);
        for (sensor, reply) in round.greetings {
            // Who greeted may be gone; then nobody wants the answer.
            let _ = reply.send(self.opened.grant(sensor));
        }
    }

    fn say(&self, round: &Round) {
        for heard in &round.heard {
            let stored = self.opened.stored(heard.sensor);
            heard.session.send_modify(|verdict| {
                verdict.custody = heard.custody.unwrap_or(verdict.custody);
                verdict.stored = stored;
                if let Some((times, next, retry_ms)) = heard.turned_away {
                    verdict.turned_away += times;
                    verdict.next = next;
                    verdict.retry_ms = retry_ms;
                }
            });
        }
    }

    fn tell_stored(&mut self, sensor: SensorId) {
        let stored = self.opened.stored(sensor);
        match self.sessions.get(&sensor) {
            Some(verdict) if verdict.is_closed() => {
                self.sessions.remove(&sensor);
            }
            Some(verdict) => verdict.send_modify(|verdict| verdict.stored = stored),
            None => {}
        }
    }

    fn news(&self) -> News {
        News {
            logs: Arc::new(self.opened.held()),
            report: Arc::new(self.opened.report(clock::now())),
        }
    }
}

impl Round {
    fn push(&mut self, received: Micros, frame: Frame) {
        let bytes = text_bound(frame.bytes.len(), frame.header.count);
        if self.batches.last().is_none_or(|batch| batch.text_bytes >= BATCH_TEXT_BYTES) {
            self.batches.push(OpenBatch::default());
        }
        if let Some(batch) = self.batches.last_mut() {
            batch.frames.push((received, frame));
            batch.text_bytes += bytes;
            self.text_bytes += bytes;
        }
    }
}

/// Where the next frame of its sensor begins.
fn end_of(frame: &Frame) -> Place {
    let Place { stream, seq } = frame.header.place;
    Place { stream, seq: seq + u64::from(frame.header.count) }
}

/// Readings a frame has: a GAP has none.
fn readings_in(frame: &Frame) -> u64 {
    match frame.header.kind {
        FrameType::Data => u64::from(frame.header.count),
        _ => 0,
    }
}
