//! What the store says about its own well-being.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use vigia_kit::clock;
use vigia_kit::meter::Meter;
use vigia_kit::metrics::{Page, seconds};
use vigia_protocol::time::Micros;

use crate::batch::Intake;
use crate::limits::MARKER_FRESH_MICROS;

/// Written by ingest, read by the API.
#[derive(Debug, Default)]
pub struct Health {
    /// Its work on the bus.
    pub meter: Meter,
    marker: AtomicI64,
    dropped: AtomicU64,
    complained: AtomicI64,
    /// Answers of the API, by the first digit of their status.
    answers: [AtomicU64; 6],
}

impl Health {
    /// A message came in; times here are of [`clock::steady`].
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

    /// The API has answered with this status.
    pub fn answered(&self, status: u16) {
        if let Some(count) = self.answers.get(usize::from(status / 100)) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Writes all of it.
    pub fn write(&self, page: &mut Page) {
        self.meter.write(page);
        let now = clock::steady();
        page.gauge("vigia_ready", "Whether the pipeline moves up to the store.")
            .is(u8::from(self.obstacle(now).is_none()));
        if let Some(age) = self.marker_age(now) {
            page.gauge(
                "vigia_marker_age_seconds",
                "Time since a marker came through the pipeline.",
            )
            .is(seconds(Micros(age)));
        }
        page.counter(
            "vigia_store_dropped_messages_total",
            "Messages not from their arrow's writer.",
        )
        .is(self.dropped.load(Relaxed));
        let mut family = page.counter("vigia_http_answers_total", "Answers of the API.");
        for class in 2..6 {
            family.with("class", &format!("{class}xx"), self.answers[class].load(Relaxed));
        }
    }

    /// Time since a marker came through the pipeline, in µs, if one ever did.
    pub fn marker_age(&self, now: Micros) -> Option<i64> {
        let marker = self.marker.load(Relaxed);
        (marker != 0).then(|| now.0.saturating_sub(marker).max(0))
    }

    /// What keeps the store from being ready.
    pub fn obstacle(&self, now: Micros) -> Option<&'static str> {
        if !self.meter.is_connected() {
            return Some("the bus is not connected");
        }
        let is_fresh = self.marker_age(now).is_some_and(|age| age <= MARKER_FRESH_MICROS);
        (!is_fresh).then_some("no marker has come through the pipeline for 10 s")
    }
}
