//! What the store says about its own well-being.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use vigia_protocol::time::Micros;

use crate::batch::Intake;
use crate::limits::MARKER_FRESH_MICROS;

/// Written by ingest, read by the API.
#[derive(Debug, Default)]
pub struct Health {
    connected: AtomicBool,
    marker: AtomicI64,
    dropped: AtomicU64,
    complained: AtomicI64,
}

impl Health {
    /// The bus was reached, or lost.
    pub fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Relaxed);
    }

    /// A message came in.
    pub fn saw(&self, intake: &Intake<'_>, now: Micros) {
        if matches!(intake, Intake::Marker(..)) {
            self.marker.store(now.0, Relaxed);
        }
    }

    /// A message was dropped. Gives how many were in all, if it is time to say so.
    pub fn dropped(&self, now: Micros, spacing_micros: i64) -> Option<u64> {
        let dropped = self.dropped.fetch_add(1, Relaxed) + 1;
        let due = now.0.saturating_sub(self.complained.load(Relaxed)) >= spacing_micros;
        due.then(|| {
            self.complained.store(now.0, Relaxed);
            dropped
        })
    }

    /// What keeps the store from being ready.
    pub fn obstacle(&self, now: Micros) -> Option<&'static str> {
        if !self.connected.load(Relaxed) {
            return Some("the bus is not connected");
        }
        let age = now.0.saturating_sub(self.marker.load(Relaxed));
        (age > MARKER_FRESH_MICROS).then_some("no marker has come through the pipeline for 10 s")
    }
}
