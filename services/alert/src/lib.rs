//! The alert role: watches every reading against the site's limits, once, and says so on MQTT.
//!
//! It follows `text` by position. What it missed it fetches from the store before it goes on, so that no
//! reading is skipped; what it has looked at, the alarms' states and the events still to be published are
//! one transaction, so that every alarm is raised once. `text` is acknowledged after that. While the store
//! does not have yet what was missed, the next batch waits, and the rest goes on.

mod catch_up;
mod limits;
mod memory;
mod metrics;
mod store;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use vigia_disk::{EXIT_IO_ERROR, Failed, Unsynced};
use vigia_kit::audit::Audit;
use vigia_kit::bus::{BusError, BusLogin, Consumer, Delivery, Producer};
use vigia_kit::config::{Limit, Unsynced as Mode};
use vigia_kit::limits::{IN_FLIGHT_MESSAGES, RECONNECT_PAUSE};
use vigia_kit::metrics as kit_metrics;
use vigia_kit::rules::{Event, Sample};
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_protocol::header::Place;
use vigia_protocol::stage::StageKey;
use vigia_protocol::text::{self, Entry, Text, TextLines};
use vigia_protocol::topic::{self, Arrow};

use crate::catch_up::CatchUp;
use crate::limits::{ASK_AGAIN, COMMIT_EVERY};
use crate::memory::Memory;
use crate::metrics::Board;
use crate::store::Store;

/// Runs the role until the end.
///
/// # Errors
/// Secrets or a memory that cannot be used.
pub async fn run(site: Site, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = site.lock_role(Role::Alert)?;
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
        catch_up: CatchUp::new(Store::of(&site)?),
        limits: site.config.alert.limits.clone(),
        board: Arc::default(),
    };
    alert.memory.withdraw(&alert.limits);
    if alert.memory.is_dirty() {
        alert.memory.commit()?;
    }
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
            () = sleep(pause) => {}
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
    catch_up: CatchUp,
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
        self.catch_up.connected();
        let mut looked_at: Vec<Delivery> = Vec::new();
        // What the store does not have yet, with what was missed before it.
        let mut ahead: Option<Delivery> = None;
        let mut events = Events::default();
        events.repeat(&self.memory, &mut producer).await?;
        let mut committed = Instant::now();
        loop {
            events.publish(&mut self.memory, &mut producer).await?;
            self.board.meter.set_waiting(looked_at.len());
            let room = looked_at.len() < usize::from(IN_FLIGHT_MESSAGES) / 2;
            let next = tokio::select! {
                delivery = consumer.receive(), if room && ahead.is_none() => {
                    self.board.meter.consumed();
                    Some(delivery?)
                }
                () = sleep(ASK_AGAIN), if ahead.is_some() => ahead.take(),
                settled = producer.settling() => {
                    events.settled(&mut self.memory, settled?);
                    None
                }
                () = sleep_until(committed + COMMIT_EVERY), if !looked_at.is_empty() || self.memory.is_dirty() => None,
            };
            if let Some(delivery) = next {
                let attended = self.attend(&delivery).await;
                if attended { looked_at.push(delivery) } else { ahead = Some(delivery) }
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

    /// Looks at what was delivered; `false` if something before it is still to come from the store.
    async fn attend(&mut self, delivery: &Delivery) -> bool {
        match text::open(&self.key, delivery.topic(), delivery.payload()) {
            Ok(Text::Marker(_)) => {
                self.board.marked();
                self.catch_up.look_round(&mut self.memory, &self.limits).await;
            }
            Ok(Text::Batch { head, lines, .. }) => {
                let position = head.position;
                if self.catch_up.follows(&self.memory, position) {
                    self.look_at(lines);
                    self.memory.has_looked(position);
                } else if position.n >= self.memory.looked(position.log) {
                    return self.catch_up.reach(&mut self.memory, &self.limits, position).await;
                }
            }
            Err(error) => {
                tracing::warn!(%error, topic = delivery.topic(), "not transform's text; dropped");
            }
        }
        true
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
    /// Says again what was said last: a broker that was killed writes retained messages every few seconds
    /// only, and has those of before. Events have the same ids as then.
    async fn repeat(&self, memory: &Memory, producer: &mut Producer) -> Result<(), BusError> {
        for event in memory.said() {
            say(event, producer).await?;
        }
        Ok(())
    }

    async fn publish(
        &mut self,
        memory: &mut Memory,
        producer: &mut Producer,
    ) -> Result<(), BusError> {
        for (number, event) in memory.to_publish(self.next) {
            let message = say(&event, producer).await?;
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

async fn say(event: &Event, producer: &mut Producer) -> Result<u64, BusError> {
    let payload = serde_json::to_vec(event).unwrap_or_default();
    producer.publish_retained(&topic::alarm(event.sensor, &event.rule), payload).await
}
