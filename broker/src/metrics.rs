//! The broker's numbers for Prometheus: the journal, the way from it to the store, and the gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use vigia_kit::clock;
use vigia_kit::metrics::{Page, seconds};
use vigia_kit::site::Role;
use vigia_protocol::limits::CREDIT_TEXT_BYTES;
use vigia_protocol::publisher::Publisher;
use vigia_protocol::time::Micros;

use crate::gate;
use crate::ingress::Online;
use crate::journal::Journal;

/// What the publisher last said of itself.
#[derive(Debug, Default)]
pub struct Drain {
    connected: AtomicBool,
    flowing: AtomicBool,
    credit_used: AtomicU64,
    resent: AtomicU64,
    published: AtomicU64,
    echo: AtomicI64,
    round_trip: AtomicI64,
}

impl Drain {
    /// Takes over the publisher's state.
    pub fn note(&self, publisher: &Publisher, connected: bool) {
        self.connected.store(connected, Relaxed);
        self.flowing.store(publisher.is_flowing(), Relaxed);
        self.credit_used.store(publisher.credit_used() as u64, Relaxed);
        self.resent.store(publisher.resent(), Relaxed);
    }

    /// A batch went out.
    pub fn published(&self) {
        self.published.fetch_add(1, Relaxed);
    }

    /// A marker came back.
    pub fn echoed(&self, round_trip: i64, at: Micros) {
        self.round_trip.store(round_trip, Relaxed);
        self.echo.store(at.0, Relaxed);
    }

    fn write(&self, page: &mut Page) {
        page.gauge("vigia_bus_connected", "Whether the role is connected to the bus.")
            .is(u8::from(self.connected.load(Relaxed)));
        page.gauge("vigia_drain_flowing", "Whether the pipeline answers, so that batches go out.")
            .is(u8::from(self.flowing.load(Relaxed)));
        page.gauge("vigia_credit_used_bytes", "Published and not accounted for, as text.")
            .is(self.credit_used.load(Relaxed));
        page.gauge("vigia_credit_limit_bytes", "The most there may be.").is(CREDIT_TEXT_BYTES);
        page.counter("vigia_drain_published_batches_total", "Batches that went out.")
            .is(self.published.load(Relaxed));
        page.counter("vigia_drain_resent_batches_total", "Batches that had to go out again.")
            .is(self.resent.load(Relaxed));
        let echo = self.echo.load(Relaxed);
        if echo != 0 {
            page.gauge(
                "vigia_marker_age_seconds",
                "Time since a marker came through the pipeline.",
            )
            .is(seconds(Micros(clock::now().0.saturating_sub(echo))));
            page.gauge("vigia_marker_round_trip_seconds", "Time that marker took.")
                .is(seconds(Micros(self.round_trip.load(Relaxed))));
        }
    }
}

/// What the page is made of.
pub struct Sources {
    /// The gate.
    pub gate: Arc<gate::Shared>,
    /// The journal.
    pub journal: Journal,
    /// The way to the store.
    pub drain: Arc<Drain>,
    /// The sensors with a session.
    pub online: Online,
}

/// `/metrics` of the broker.
pub fn page(sources: &Sources) -> Page {
    let mut page = Page::of(Role::Broker);
    let news = sources.journal.news.borrow().clone();
    let (bytes, most) = news.report.bytes;
    page.gauge("vigia_journal_bytes", "Bytes of rows in the journal, stored ones among them.")
        .is(bytes);
    page.gauge("vigia_journal_limit_bytes", "The most there may be.").is(most);
    page.gauge("vigia_journal_logs", "Logs of which the journal knows.").is(news.report.logs.len());
    let waiting: u64 = news
        .report
        .logs
        .iter()
        .map(|log| {
            let accounted = log
                .checked
                .map_or(log.before_oldest.readings, |checked| checked.by_journal.readings);
            log.accepted.readings.saturating_sub(accounted)
        })
        .sum();
    page.gauge(
        "vigia_journal_waiting_readings",
        "Accepted, and not yet accounted for by the store.",
    )
    .is(waiting);
    page.gauge("vigia_last_commit_timestamp_seconds", "When the journal last said what it holds.")
        .is(seconds(news.report.time));
    page.gauge("vigia_sensors_online", "Sensors with a session.")
        .is(sources.online.sensors().len());
    sources.drain.write(&mut page);
    gate::metrics::write(&sources.gate, &mut page);
    page
}
