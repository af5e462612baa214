//! A stateless stage between two arrows: acknowledged only when the broker has what came of it.
//!
//! A stage is a pure function of its input. So its only recovery is to start over: whatever goes wrong,
//! both connections are dropped, and the broker delivers again what was not acknowledged. Only that does not
//! help against a message that ends the process: see [`Deaths`].

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use vigia_protocol::topic::{Arrow, NodeName};

use crate::bus::{BusError, BusLogin, Consumer, Delivery, Producer};
use crate::deaths::Deaths;
use crate::limits::{IN_FLIGHT_MESSAGES, RECONNECT_PAUSE};
use crate::meter::Meter;
use crate::metrics::{self, Page};
use crate::shutdown::Shutdown;
use crate::site::{Role, Site};

/// What a stage makes of one message.
pub trait Stage {
    /// What came of it, to be published on the other arrow; `None` if the message is not from the
    /// arrow's writer and is dropped.
    fn process(&mut self, node: &NodeName, topic: &str, payload: &[u8]) -> Option<Vec<u8>>;

    /// The same for one that has ended this process too often: looks at it as little as can be, and
    /// passes it on for quarantine.
    fn quarantine(&mut self, node: &NodeName, topic: &str, payload: &[u8]) -> Option<Vec<u8>>;

    /// Messages for people, outside the acknowledged chain: topic and payload.
    fn aside(&mut self) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }
}

/// A stage, the two arrows it stands between, and what it died of.
struct Running<'a, S> {
    from: Arrow,
    to: Arrow,
    stage: &'a mut S,
    deaths: Deaths,
    meter: Arc<Meter>,
}

/// Runs the stage of a role until the end, through every loss of the bus, and serves its `/metrics`.
///
/// # Errors
/// An address for metrics that cannot be listened on.
pub async fn run(
    site: &Site,
    role: Role,
    login: BusLogin,
    (from, to): (Arrow, Arrow),
    stage: &mut impl Stage,
    shutdown: Shutdown,
) -> io::Result<()> {
    let listener = metrics::listen(site, role).await?;
    let meter = Arc::new(Meter::default());
    let deaths = Deaths::of_role(site, role);
    let running = Running { from, to, stage, deaths, meter: Arc::clone(&meter) };
    let page = move || {
        let mut page = Page::of(role);
        meter.write(&mut page);
        page
    };
    let served = metrics::serve(listener, page, shutdown.clone());
    let (served, ()) = tokio::join!(served, work(running, &login, shutdown));
    served
}

async fn work<S: Stage>(mut running: Running<'_, S>, login: &BusLogin, mut shutdown: Shutdown) {
    let mut pause = RECONNECT_PAUSE.0;
    loop {
        let error = tokio::select! {
            () = shutdown.ended() => return,
            result = running.session(login, &mut pause) => result.unwrap_err(),
        };
        running.meter.set_connected(false);
        tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "connecting again");
        tokio::select! {
            () = shutdown.ended() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(RECONNECT_PAUSE.1);
    }
}

impl<S: Stage> Running<'_, S> {
    async fn session(
        &mut self,
        login: &BusLogin,
        pause: &mut Duration,
    ) -> Result<std::convert::Infallible, BusError> {
        let mut producer = Producer::connect(login, "out").await?;
        let mut consumer = Consumer::connect(login, "in", &[self.from.filter()]).await?;
        tracing::info!(from = self.from.name(), to = self.to.name(), "connected");
        self.meter.set_connected(true);
        *pause = RECONNECT_PAUSE.0;
        let mut waiting: VecDeque<(u64, Delivery)> = VecDeque::new();
        loop {
            tokio::select! {
                biased;
                settled = producer.settling() => { settled?; }
                delivery = consumer.receive(), if waiting.len() < usize::from(IN_FLIGHT_MESSAGES) => {
                    let delivery = delivery?;
                    self.meter.consumed();
                    let number = self.forward(&mut producer, &delivery).await?;
                    waiting.push_back((number, delivery));
                }
            }
            let settled = producer.settled();
            while let Some((_, delivery)) = waiting.pop_front_if(|(number, _)| *number <= settled) {
                consumer.acknowledge(&delivery).await?;
                self.meter.finished();
            }
            self.meter.set_waiting(waiting.len());
        }
    }

    /// Publishes what the stage makes of a message and returns the number whose settling permits the
    /// acknowledgement. A message that is dropped waits for the one before it: acks go in order.
    async fn forward(
        &mut self,
        producer: &mut Producer,
        delivery: &Delivery,
    ) -> Result<u64, BusError> {
        let made = self.from.parse(delivery.topic()).and_then(|node| {
            let out = self.read(&node, delivery.topic(), delivery.payload())?;
            Some((self.to.topic(&node), out))
        });
        for (topic, payload) in self.stage.aside() {
            producer.publish_lossy(&topic, true, payload);
        }
        match made {
            Some((topic, payload)) => {
                self.meter.produced();
                producer.publish(&topic, payload).await
            }
            None => Ok(producer.sent()),
        }
    }

    fn read(&mut self, node: &NodeName, topic: &str, payload: &[u8]) -> Option<Vec<u8>> {
        let Self { stage, deaths, .. } = self;
        if deaths.is_poison(payload) {
            tracing::error!(topic, "a message has ended this process too often: into quarantine");
            return stage.quarantine(node, topic, payload);
        }
        deaths.note(payload);
        let made = stage.process(node, topic, payload);
        deaths.forget();
        made
    }
}
