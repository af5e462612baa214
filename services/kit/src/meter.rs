//! What a role counts of its work on the bus, for its `/metrics`.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use vigia_protocol::time::Micros;

use crate::clock;
use crate::limits::IN_FLIGHT_MESSAGES;
use crate::metrics::{Page, seconds};

/// See the module.
#[derive(Debug, Default)]
pub struct Meter {
    connected: AtomicBool,
    connections: AtomicU64,
    consumed: AtomicU64,
    produced: AtomicU64,
    waiting: AtomicU64,
    finished: AtomicI64,
}

impl Meter {
    /// The bus was reached, or lost.
    pub fn set_connected(&self, connected: bool) {
        if connected {
            self.connections.fetch_add(1, Relaxed);
        }
        self.waiting.store(0, Relaxed);
        self.connected.store(connected, Relaxed);
    }

    /// Whether the bus is there.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Relaxed)
    }

    /// A message came in.
    pub fn consumed(&self) {
        self.consumed.fetch_add(1, Relaxed);
    }

    /// A message went out.
    pub fn produced(&self) {
        self.produced.fetch_add(1, Relaxed);
    }

    /// So many messages are taken and not acknowledged.
    pub fn set_waiting(&self, waiting: usize) {
        self.waiting.store(waiting as u64, Relaxed);
    }

    /// Messages are done with and acknowledged.
    pub fn finished(&self) {
        self.finished.store(clock::now().0, Relaxed);
    }

    /// Writes all of it.
    pub fn write(&self, page: &mut Page) {
        page.gauge("vigia_bus_connected", "Whether the role is connected to the bus.")
            .is(u8::from(self.is_connected()));
        page.counter("vigia_bus_connections_total", "How often it connected.")
            .is(self.connections.load(Relaxed));
        page.counter("vigia_bus_consumed_messages_total", "Messages from the bus.")
            .is(self.consumed.load(Relaxed));
        page.counter("vigia_bus_produced_messages_total", "Messages to the bus.")
            .is(self.produced.load(Relaxed));
        page.gauge("vigia_bus_waiting_messages", "Messages taken and not acknowledged.")
            .is(self.waiting.load(Relaxed));
        page.gauge("vigia_bus_waiting_limit_messages", "The most there may be.")
            .is(IN_FLIGHT_MESSAGES);
        page.gauge("vigia_last_commit_timestamp_seconds", "When messages were last done with.")
            .is(seconds(Micros(self.finished.load(Relaxed))));
    }
}
