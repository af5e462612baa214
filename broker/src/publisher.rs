//! Moves the journal's rows to the bus and the store's reports back. What to do is decided by
//! [`vigia_protocol::publisher::Publisher`]; this is its connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vigia_kit::bus::{BusError, BusLogin, Consumer, Producer};
use vigia_kit::clock;
use vigia_kit::limits::RECONNECT_PAUSE;
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::batch::{Message, RawFrames, decode, decode_borrowed, encode};
use vigia_protocol::decoder::Frame;
use vigia_protocol::limits::text_bound;
use vigia_protocol::position::LogId;
use vigia_protocol::publisher::{Next, Publisher};
use vigia_protocol::report::{JournalReport, StoreReport};
use vigia_protocol::stage::{SEAL_BYTES, StageKey};
use vigia_protocol::time::Micros;
use vigia_protocol::topic::{Arrow, NodeName};

use crate::ingress::Online;
use crate::journal::{HeldLog, Journal, News, Request, Rows};
use crate::metrics::Drain;

/// What the publisher needs.
pub struct Surroundings {
    /// The way to the bus.
    pub login: BusLogin,
    /// This node.
    pub node: NodeName,
    /// The journal's writer.
    pub journal: Journal,
    /// The journal's rows.
    pub rows: Rows,
    /// Seals markers.
    pub raw: StageKey,
    /// Opens the store's reports.
    pub stored: StageKey,
    /// Seals the journal's reports.
    pub reports: StageKey,
    /// The sensors with a session.
    pub online: Online,
    /// What others may know of it.
    pub drain: Arc<Drain>,
    /// Whether PUBACKs are believed: a deliberate defect.
    #[cfg(feature = "sabotage")]
    pub believes_pubacks: bool,
}

/// Publishes until the end, through every loss of the bus.
pub async fn run(around: Surroundings, mut shutdown: Shutdown) {
    let session = u64::from_le_bytes(clock::random());
    let mut shell = Shell {
        publisher: Publisher::new(session),
        logs: HashMap::new(),
        news: around.journal.news.clone(),
        echo: None,
        around,
    };
    let mut pause = RECONNECT_PAUSE.0;
    loop {
        let Err(ending) = tokio::select! {
            () = shutdown.ended() => return,
            ending = shell.session(&mut pause) => ending,
        };
        shell.publisher.disconnected();
        shell.around.drain.note(&shell.publisher, false);
        if matches!(ending, Ending::JournalGone) {
            return;
        }
        tracing::warn!(error = %ending, "publisher connects again");
        tokio::select! {
            () = shutdown.ended() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RECONNECT_PAUSE.1);
    }
}

#[derive(Debug, thiserror::Error)]
enum Ending {
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("the journal's writer is gone")]
    JournalGone,
    #[error("cannot read the journal: {0}")]
    Unreadable(String),
}

struct Shell {
    around: Surroundings,
    publisher: Publisher,
    /// Where each log's rows are.
    logs: HashMap<LogId, HeldLog>,
    news: watch::Receiver<News>,
    /// Round trip of the last echoed marker, and when the echo came.
    echo: Option<(i64, Micros)>,
}

impl Shell {
    async fn session(&mut self, pause: &mut Duration) -> Result<std::convert::Infallible, Ending> {
        let login = &self.around.login;
        let filter = Arrow::Stored.topic(&self.around.node);
        let mut consumer = Consumer::connect(login, "reports", &[filter]).await?;
        let mut producer = Producer::connect(login, "rows").await?;
        *pause = RECONNECT_PAUSE.0;
        self.publisher.connected();
        let mut reported = None;
        #[cfg(feature = "sabotage")]
        let mut believed = crate::sabotage::Believed::default();
        loop {
            self.learn();
            let wait = self
                .send(
                    &mut producer,
                    #[cfg(feature = "sabotage")]
                    &mut believed,
                )
                .await?;
            self.report(&mut producer, &mut reported).await?;
            self.around.drain.note(&self.publisher, true);
            let wait =
                Duration::from_micros(wait.0.saturating_sub(clock::steady().0).max(0) as u64);
            tokio::select! {
                changed = self.news.changed() => changed.map_err(|_| Ending::JournalGone)?,
                delivery = consumer.receive() => {
                    let delivery = delivery?;
                    if let Some(report) = self.open(delivery.topic(), delivery.payload()) {
                        let is_newest = self.publisher.reported(&report, clock::steady());
                        self.note_echo(&report);
                        let request = Request::Report(report, is_newest);
                        let told = self.around.journal.requests.send(request).await;
                        told.map_err(|_| Ending::JournalGone)?;
                    }
                    consumer.acknowledge(&delivery).await?;
                }
                settled = producer.settling() => {
                    let _settled = settled?;
                    #[cfg(feature = "sabotage")]
                    if self.around.believes_pubacks {
                        for (log, n) in believed.settled(_settled) {
                            let _ = self.around.journal.requests.send(Request::Published(log, n)).await;
                        }
                    }
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Takes over what the journal's writer says.
    fn learn(&mut self) {
        let logs = Arc::clone(&self.news.borrow_and_update().logs);
        for log in logs.iter() {
            match self.logs.insert(log.id, *log) {
                None => self.publisher.add_log(log.id, log.oldest, log.end),
                Some(old) if old.oldest != log.oldest => {
                    self.publisher.trimmed(log.id, log.oldest);
                }
                Some(_) => {}
            }
        }
        if let Some(newest) = logs.last() {
            self.publisher.journaled(newest.end);
        }
    }

    /// Sends what the publisher wants sent, and returns until when it has nothing.
    async fn send(
        &mut self,
        producer: &mut Producer,
        #[cfg(feature = "sabotage")] believed: &mut crate::sabotage::Believed,
    ) -> Result<Micros, Ending> {
        let topic = Arrow::Raw.topic(&self.around.node);
        loop {
            match self.publisher.next(clock::steady()) {
                Next::Wait(until) => return Ok(until),
                Next::Marker(marker) => {
                    let message = Message::<RawFrames<'_>>::Marker(marker);
                    let payload = self.around.raw.seal(&topic, encode(&message));
                    producer.publish(&topic, payload).await?;
                }
                Next::Row(log, n) => {
                    let held = &self.logs[&log];
                    let row = self.around.rows.read(held, n);
                    let row = row.map_err(|error| Ending::Unreadable(error.to_string()))?;
                    let Some(payload) = row else {
                        // Let go meanwhile, which the writer does only with what is stored.
                        self.publisher.trimmed(log, n + 1);
                        continue;
                    };
                    let bound = row_text_bound(&payload);
                    let _number = producer.publish(&topic, payload).await?;
                    self.publisher.published(log, n, bound);
                    self.around.drain.published();
                    #[cfg(feature = "sabotage")]
                    believed.published(_number, log, n);
                }
            }
        }
    }

    /// Tells the store what the journal holds, when there is something new to tell.
    async fn report(
        &mut self,
        producer: &mut Producer,
        reported: &mut Option<Arc<JournalReport>>,
    ) -> Result<(), Ending> {
        let newest = Arc::clone(&self.news.borrow().report);
        if reported.as_ref().is_some_and(|old| Arc::ptr_eq(old, &newest)) {
            return Ok(());
        }
        let mut report = (*newest).clone();
        report.online = self.around.online.sensors();
        report.echo = self.echo;
        let topic = Arrow::Journal.topic(&self.around.node);
        let payload = self.around.reports.seal(&topic, encode(&report));
        producer.publish(&topic, payload).await?;
        *reported = Some(newest);
        Ok(())
    }

    fn open(&self, topic: &str, sealed: &[u8]) -> Option<StoreReport> {
        let opened = self
            .around
            .stored
            .open(topic, sealed)
            .map_err(|error| error.to_string())
            .and_then(|payload| decode(payload).map_err(|error| error.to_string()));
        opened
            .inspect_err(|error| tracing::warn!(%error, topic, "not the store's report; dropped"))
            .ok()
    }

    fn note_echo(&mut self, report: &StoreReport) {
        if report.marker.is_some()
            && let Some(round_trip) = self.publisher.round_trip()
        {
            let now = clock::now();
            self.around.drain.echoed(round_trip, now);
            self.echo = Some((round_trip, now));
        }
    }
}

/// What a row can become as text, at worst.
fn row_text_bound(payload: &[u8]) -> usize {
    let unsealed = &payload[..payload.len().saturating_sub(SEAL_BYTES)];
    match decode_borrowed::<Message<RawFrames<'_>>>(unsealed) {
        Ok(Message::Batch(_, frames)) => frames
            .iter()
            .map(|frame| {
                let count = Frame::parse(frame.bytes).map_or(1, |frame| frame.header.count);
                text_bound(frame.bytes.len(), count)
            })
            .sum(),
        _ => payload.len() * 3,
    }
}
