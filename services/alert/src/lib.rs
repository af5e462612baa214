//! The alert role: watches every reading against the site's limits, once, and says so on MQTT.
//!
//! It follows `text` by position. What it missed it fetches from the store before it goes on, so that no
//! reading is skipped; what it has looked at, the alarms' states and the events still to be published are
//! one transaction, so that every alarm is raised once. `text` is acknowledged after that.

mod catch_up;
mod memory;
mod metrics;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vigia_disk::{EXIT_IO_ERROR, Failed, Unsynced};
use vigia_kit::audit::Audit;
use vigia_kit::bus::{BusError, BusLogin, Consumer, Delivery, Producer};
use vigia_kit::config::{Limit, Unsynced as Mode};
use vigia_kit::limits::{IN_FLIGHT_MESSAGES, RECONNECT_PAUSE};
use vigia_kit::metrics as kit_metrics;
use vigia_kit::rules::Sample;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_protocol::header::Place;
use vigia_protocol::position::Position;
use vigia_protocol::stage::StageKey;
use vigia_protocol::text::{self, Entry, Text, TextLines};
use vigia_protocol::topic::{self, Arrow};

use crate::catch_up::Store;
use crate::memory::Memory;
use crate::metrics::Board;

/// Looking without an event is written down this often: until then, it can be repeated.
const COMMIT_EVERY: Duration = Duration::from_millis(250);

/// Runs the role until the end.
///
/// # Errors
/// Secrets or a memory that cannot be used.
pub async fn run(site: Site, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = site.lock("alert")?;
    let secrets = site.secrets(Role::Alert)?;
    Audit::of_role(&site, Role::Alert)?;
    let unsynced = match site.config.drills.unsynced {
        Mode::Kernel => Unsynced::Kernel,
        Mode::Process => Unsynced::Process,
    };
    let mut alert = Alert {
        login: BusLogin::of(&site, Role::Alert, &secrets)?,
        key: secrets.arrow(Arrow::Text).clone(),
        memory: Memory::open(&site.data_dir(Role::Alert)?, unsynced)?,
        store: Store::of(&site)?,
        limits: site.config.alert.limits.clone(),
        board: Arc::default(),
    };
    let listener = kit_metrics::listen(&site, Role::Alert).await?;
    let board = Arc::clone(&alert.board);
    alert.note();
    tokio::spawn(kit_metrics::serve(listener, move || board.page(), shutdown.clone()));
    let mut pause = RECONNECT_PAUSE.0;
    loop {
        let Err(error) = tokio::select! {
            () = shutdown.ended() => break,
            ending = alert.session(&mut pause) => ending,
        };
        alert.board.meter.set_connected(false);
        match error {
            Ending::Disk(failed) => {
                tracing::error!(error = %failed, "alert.redb cannot be written; this process ends");
                std::process::exit(EXIT_IO_ERROR);
            }
            Ending::Bus(error) => tracing::warn!(%error, "connecting again"),
        }
        tokio::select! {
            () = shutdown.ended() => break,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RECONNECT_PAUSE.1);
    }
    alert.memory.commit()?;
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum Ending {
    #[error("{0}")]
    Bus(#[from] BusError),
    #[error("{0}")]
    Disk(#[from] Failed),
}

struct Alert {
    login: BusLogin,
    key: StageKey,
    memory: Memory,
    store: Store,
    limits: Vec<Limit>,
    board: Arc<Board>,
}

impl Alert {
    fn note(&self) {
        self.board.note(&self.memory, self.limits.len());
    }

    async fn session(&mut self, pause: &mut Duration) -> Result<std::convert::Infallible, Ending> {
        let mut producer = Producer::connect(&self.login, "out").await?;
        let mut consumer = Consumer::connect(&self.login, "in", &[Arrow::Text.filter()]).await?;
        tracing::info!(limits = self.limits.len(), "connected");
        self.board.meter.set_connected(true);
        *pause = RECONNECT_PAUSE.0;
        let mut looked_at: Vec<Delivery> = Vec::new();
        let mut events = Events::default();
        let mut committed = Instant::now();
        loop {
            events.publish(&mut self.memory, &mut producer).await?;
            self.board.meter.set_waiting(looked_at.len());
            let room = looked_at.len() < usize::from(IN_FLIGHT_MESSAGES) / 2;
            tokio::select! {
                delivery = consumer.receive(), if room => {
                    let delivery = delivery?;
                    self.board.meter.consumed();
                    self.attend(&delivery).await;
                    looked_at.push(delivery);
                }
                settled = producer.settling() => events.settled(&mut self.memory, settled?),
                () = tokio::time::sleep_until(committed + COMMIT_EVERY), if !looked_at.is_empty() || self.memory.is_dirty() => {}
            }
            let full = looked_at.len() >= usize::from(IN_FLIGHT_MESSAGES) / 2;
            if self.memory.has_news() || full || committed.elapsed() >= COMMIT_EVERY {
                if self.memory.is_dirty() {
                    self.memory.commit()?;
                    self.note();
                    self.board.meter.finished();
                }
                committed = Instant::now();
                for delivery in looked_at.drain(..) {
                    consumer.acknowledge(&delivery).await?;
                }
            }
        }
    }

    async fn attend(&mut self, delivery: &Delivery) {
        match text::open(&self.key, delivery.topic(), delivery.payload()) {
            Ok(Text::Marker(_)) => self.board.marked(),
            Ok(Text::Batch { head, lines, .. }) => {
                let position = head.position;
                let next = self.memory.looked(position.log);
                if position.n < next {
                    return;
                }
                self.catch_up(position, next).await;
                self.look_at(lines);
                self.memory.has_looked(position);
            }
            Err(error) => {
                tracing::warn!(%error, topic = delivery.topic(), "not transform's text; dropped");
            }
        }
    }

    /// Looks at what stands between, from the store.
    async fn catch_up(&mut self, position: Position, mut next: u64) {
        while next < position.n {
            let batches = self.store.batches(position.log, next, position.n).await;
            let Some(last) = batches.last().map(|batch| batch.n) else { return };
            for batch in &batches {
                for reading in &batch.readings {
                    let (sensor, place, time) = reading.identity();
                    for (quantity, value) in &reading.values {
                        let Some(value) = *value else { continue };
                        let sample = Sample { sensor, place, time, quantity, value };
                        self.memory.look(&self.limits, &sample);
                    }
                }
            }
            next = last + 1;
        }
    }

    fn look_at(&mut self, lines: TextLines<'_>) {
        for entry in lines {
            let Ok(Entry::Reading(line)) = entry else { continue };
            let place = Place { stream: line.stream, seq: line.seq };
            for (quantity, value) in &line.values.0 {
                let Some(value) = *value else { continue };
                let sample =
                    Sample { sensor: line.sensor, place, time: line.time, quantity, value };
                self.memory.look(&self.limits, &sample);
            }
        }
    }
}

/// The durable events on their way to the broker, on one connection.
#[derive(Default)]
struct Events {
    next: u64,
    waiting: VecDeque<(u64, u64)>,
}

impl Events {
    async fn publish(
        &mut self,
        memory: &mut Memory,
        producer: &mut Producer,
    ) -> Result<(), BusError> {
        for (number, event) in memory.to_publish(self.next) {
            let payload = serde_json::to_vec(&event).unwrap_or_default();
            let topic = topic::alarm(event.sensor, &event.rule);
            let message = producer.publish_retained(&topic, payload).await?;
            self.waiting.push_back((message, number));
            self.next = number + 1;
        }
        Ok(())
    }

    fn settled(&mut self, memory: &mut Memory, settled: u64) {
        while let Some((_, number)) = self.waiting.pop_front_if(|(message, _)| *message <= settled)
        {
            memory.has_published(number);
        }
    }
}
