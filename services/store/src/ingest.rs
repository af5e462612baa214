//! The store on the bus: consume, commit, acknowledge in order, report.
//!
//! The only recovery is to start over: whatever goes wrong with the bus, both connections are dropped
//! and the broker delivers again what was not acknowledged; positions make that harmless.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vigia_disk::{EXIT_IO_ERROR, Failed};
use vigia_kit::bus::{BusError, BusLogin, Consumer, Delivery, Producer};
use vigia_kit::clock::{now, steady};
use vigia_kit::limits::RECONNECT_PAUSE;
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::batch::encode;
use vigia_protocol::stage::StageKey;
use vigia_protocol::topic::Arrow;

use crate::batch::{Keys, open};
use crate::health::Health;
use crate::limits::{COMMIT_BYTES, COMMIT_MESSAGES, COMMIT_SPACING, COMPLAINT_SPACING_MICROS};
use crate::store::{Answer, Store};

/// What the session needs.
#[derive(Debug, Clone)]
pub struct Ingest {
    /// What is filled.
    pub store: Arc<Store>,
    /// How the bus is reached.
    pub login: BusLogin,
    /// Of what comes in.
    pub keys: Arc<Keys>,
    /// Of what goes back.
    pub stored: StageKey,
    /// What others may know.
    pub health: Arc<Health>,
}

impl Ingest {
    /// Runs until the end, through every loss of the bus. What a commit holds when the end comes is
    /// still committed.
    pub async fn run(self, mut shutdown: Shutdown) {
        let mut pause = RECONNECT_PAUSE.0;
        loop {
            let result = self.session(&mut pause, &mut shutdown).await;
            self.health.meter.set_connected(false);
            let Err(error) = result else { return };
            tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "connecting again");
            tokio::select! {
                () = shutdown.ended() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RECONNECT_PAUSE.1);
        }
    }

    /// Ends well only at the end of the process.
    async fn session(&self, pause: &mut Duration, shutdown: &mut Shutdown) -> Result<(), BusError> {
        let connecting = async {
            let producer = Producer::connect(&self.login, "out").await?;
            let filters = [Arrow::Text.filter(), Arrow::Journal.filter()];
            Ok((producer, Consumer::connect(&self.login, "in", &filters).await?))
        };
        let (mut producer, mut consumer) = tokio::select! {
            () = shutdown.ended() => return Ok(()),
            connected = connecting => connected?,
        };
        tracing::info!("connected");
        self.health.meter.set_connected(true);
        *pause = RECONNECT_PAUSE.0;
        let mut next_commit = Instant::now();
        loop {
            let first = tokio::select! {
                () = shutdown.ended() => return Ok(()),
                first = consumer.receive() => first?,
            };
            let deliveries = gather(&mut consumer, first, next_commit).await?;
            next_commit = Instant::now() + COMMIT_SPACING;
            let meter = &self.health.meter;
            deliveries.iter().for_each(|_| meter.consumed());
            meter.set_waiting(deliveries.len());
            let (deliveries, answers) = self.commit(deliveries).await;
            for delivery in &deliveries {
                consumer.acknowledge(delivery).await?;
            }
            meter.set_waiting(0);
            meter.finished();
            for (node, report) in answers {
                let topic = Arrow::Stored.topic(&node);
                let payload = self.stored.seal(&topic, encode(&report));
                producer.publish(&topic, payload).await?;
                meter.produced();
            }
        }
    }

    /// Opens, judges and commits off the executor. Does not return if the commit failed.
    async fn commit(&self, deliveries: Vec<Delivery>) -> (Vec<Delivery>, Vec<Answer>) {
        let this = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let now = now();
            let mut intakes = Vec::with_capacity(deliveries.len());
            for delivery in &deliveries {
                match open(&this.keys, delivery.topic(), delivery.payload()) {
                    Some(intake) => {
                        this.health.saw(&intake, steady());
                        intakes.push(intake);
                    }
                    None => this.complain(delivery),
                }
            }
            let result = this.store.ingest(&intakes, now);
            drop(intakes);
            result.map(|answers| (deliveries, answers))
        });
        match task.await {
            Ok(Ok(done)) => done,
            Ok(Err(failed)) => die(&failed),
            // The panic hook has ended the process already.
            Err(_) => std::process::exit(EXIT_IO_ERROR),
        }
    }

    fn complain(&self, delivery: &Delivery) {
        if let Some(dropped) = self.health.dropped(now(), COMPLAINT_SPACING_MICROS) {
            tracing::warn!(
                topic = delivery.topic(),
                dropped,
                "dropped a message that is not from its arrow's writer or cannot be read"
            );
        }
    }
}

/// Takes what is queued, until the next commit may be, within the bounds of one. What only asks for
/// an answer does not wait.
async fn gather(
    consumer: &mut Consumer,
    first: Delivery,
    next_commit: Instant,
) -> Result<Vec<Delivery>, BusError> {
    let mut bytes = first.payload().len();
    let mut waits = is_work(&first);
    let mut deliveries = vec![first];
    while deliveries.len() < COMMIT_MESSAGES && bytes < COMMIT_BYTES {
        let next = match consumer.try_receive() {
            Some(next) => next,
            None if !waits => break,
            None => match tokio::time::timeout_at(next_commit, consumer.receive()).await {
                Ok(next) => next?,
                Err(_) => break,
            },
        };
        bytes += next.payload().len();
        waits |= is_work(&next);
        deliveries.push(next);
    }
    if waits {
        tokio::time::sleep_until(next_commit).await;
    }
    Ok(deliveries)
}

/// Whether a message will probably be committed: a marker and a journal's report are short.
fn is_work(delivery: &Delivery) -> bool {
    const MARKER_START: &[u8] = br#"{"vigia":"text/1","n":0"#;
    Arrow::Text.parse(delivery.topic()).is_some() && !delivery.payload().starts_with(MARKER_START)
}

/// Ends the process without another acknowledgement.
pub fn die(failed: &Failed) -> ! {
    tracing::error!(error = %failed, "ending the process");
    std::process::exit(EXIT_IO_ERROR);
}
