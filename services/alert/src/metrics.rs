//! Alert's numbers for Prometheus.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use vigia_kit::clock;
use vigia_kit::limits::METRIC_SERIES;
use vigia_kit::meter::Meter;
use vigia_kit::metrics::{Page, seconds};
use vigia_kit::site::Role;
use vigia_protocol::time::Micros;

use crate::memory::Memory;

/// What the role last said of itself.
#[derive(Debug, Default)]
pub struct Board {
    /// Its work on the bus.
    pub meter: Meter,
    active: Mutex<Vec<(String, String)>>,
    limits: AtomicU64,
    unpublished: AtomicU64,
    marker: AtomicI64,
}

impl Board {
    /// Takes over what is remembered.
    pub fn note(&self, memory: &Memory, limits: usize) {
        let active = memory.active().take(METRIC_SERIES).collect();
        *self.active.lock().unwrap_or_else(PoisonError::into_inner) = active;
        self.limits.store(limits as u64, Relaxed);
        self.unpublished.store(memory.unpublished() as u64, Relaxed);
    }

    /// A marker came by.
    pub fn marked(&self) {
        self.marker.store(clock::now().0, Relaxed);
    }

    /// `/metrics` of alert.
    pub fn page(&self) -> Page {
        let mut page = Page::of(Role::Alert);
        self.meter.write(&mut page);
        let active = self.active.lock().unwrap_or_else(PoisonError::into_inner).clone();
        page.gauge("vigia_alarms", "Alarms by their state.")
            .with("state", "active", active.len())
            .with("state", "unpublished", self.unpublished.load(Relaxed));
        page.gauge("vigia_alarm_limits", "Limits that are watched.").is(self.limits.load(Relaxed));
        let mut family = page.gauge("vigia_alarm_active", "An alarm that is raised and not over.");
        for (rule, sensor) in &active {
            family.labelled(&[("rule", rule), ("sensor", sensor)], 1);
        }
        let marker = self.marker.load(Relaxed);
        if marker != 0 {
            page.gauge("vigia_marker_age_seconds", "Time since a marker came by.")
                .is(seconds(Micros(clock::now().0.saturating_sub(marker))));
        }
        page
    }
}
