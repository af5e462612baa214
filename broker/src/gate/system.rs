//! `$SYS/broker/…`: the broker about itself, under the names that mosquitto made common.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mqtt_protocol_core::mqtt::packet::Qos;
use tokio::sync::watch;
use vigia_kit::shutdown::Shutdown;

use super::Shared;
use super::message::Message;
use crate::limits::SYSTEM_EVERY;

/// The newest numbers.
pub struct System {
    messages: watch::Sender<Arc<Vec<Message>>>,
    begun: Instant,
}

impl System {
    /// Without numbers yet.
    pub fn new() -> Self {
        Self { messages: watch::Sender::default(), begun: Instant::now() }
    }

    /// One message for each topic.
    pub fn messages(&self) -> Arc<Vec<Message>> {
        Arc::clone(&self.messages.borrow())
    }

    /// Changes when there are new numbers.
    pub fn news(&self) -> watch::Receiver<Arc<Vec<Message>>> {
        self.messages.subscribe()
    }

    /// How long the broker has been up.
    pub fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Takes the numbers again and again, until the end.
    pub async fn tell(&self, shared: &Shared, mut shutdown: Shutdown) {
        loop {
            self.messages.send_replace(Arc::new(numbers(shared)));
            tokio::select! {
                () = shutdown.ended() => return,
                () = tokio::time::sleep(SYSTEM_EVERY) => {}
            }
        }
    }
}

fn numbers(shared: &Shared) -> Vec<Message> {
    let counters = &shared.counters;
    let (online, offline) = shared.sessions.count();
    let (retained, retained_bytes) = shared.retained.size();
    let users = counters.users.all();
    let published: u64 = users.iter().map(|(_, user)| user.published.get()).sum();
    let delivered: u64 = users.iter().map(|(_, user)| user.delivered.get()).sum();
    let all = [
        ("version", format!("vigia {}", env!("CARGO_PKG_VERSION"))),
        ("uptime", format!("{} seconds", shared.system.uptime().as_secs())),
        ("clients/connected", online.to_string()),
        ("clients/disconnected", offline.to_string()),
        ("clients/total", (online + offline).to_string()),
        ("connections/total", counters.connections.get().to_string()),
        ("connections/refused", counters.connections_refused.get().to_string()),
        ("connections/violations", counters.violations.get().to_string()),
        ("connections/too_slow", counters.too_slow.get().to_string()),
        ("logins/refused", counters.logins_refused.get().to_string()),
        ("bytes/received", counters.bytes_received.get().to_string()),
        ("bytes/sent", counters.bytes_sent.get().to_string()),
        ("messages/received", counters.packets_received.get().to_string()),
        ("publish/messages/received", published.to_string()),
        ("publish/messages/sent", delivered.to_string()),
        ("publish/messages/dropped", counters.publish_dropped.get().to_string()),
        ("retained messages/count", retained.to_string()),
        ("retained messages/bytes", retained_bytes.to_string()),
        ("subscriptions/count", counters.subscriptions.get().to_string()),
    ];
    let refused =
        [("publish", &counters.publish_refused), ("subscribe", &counters.subscribe_refused)];
    let mut messages: Vec<Message> =
        all.into_iter().map(|(name, value)| message(name.to_owned(), value)).collect();
    for (what, refusals) in refused {
        for (reason, count) in refusals.all() {
            messages.push(message(format!("refused/{what}/{reason}"), count.to_string()));
        }
    }
    messages
}

fn message(name: String, value: String) -> Message {
    Message {
        topic: Bytes::from(format!("$SYS/broker/{name}")),
        qos: Qos::AtMostOnce,
        retain: true,
        publisher: 0,
        expires_ms: None,
        properties: Bytes::new(),
        payload: Bytes::from(value),
    }
}
