//! What is counted of each device, for `/metrics`; and its trouble, for the log.

use std::mem::{Discriminant, discriminant};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;
use vigia_kit::meter::Meter;
use vigia_kit::metrics::Page;
use vigia_kit::site::Role;
use vigia_protocol::quality::Quality;

use crate::decode::{Decoded, Doubt};
use crate::limits::TROUBLE_SPACING;
use crate::link;
use crate::map::Device;
use crate::poll::Sample;
use crate::server::serve::Counts;

/// Of one device.
#[derive(Debug, Default)]
pub struct Numbers {
    /// Polls, those included that were left out because the device cannot be reached.
    pub polls: AtomicU64,
    /// Those that brought no value at all.
    pub bad: AtomicU64,
    /// Samples that were not taken because the disk was too slow.
    pub left_out: AtomicU64,
    /// Readings that are durable in the spool.
    pub spooled: AtomicU64,
    /// Readings that the broker has taken into custody, since the start.
    pub delivered: AtomicU64,
    /// Readings in the spool now.
    pub held: AtomicU64,
}

/// The numbers of all devices, by their names.
pub type All = Arc<Vec<(String, Arc<Numbers>)>>;

/// As Prometheus reads them.
pub fn page(all: &All, server: &Counts, meter: &Meter) -> Page {
    type Of = fn(&Numbers) -> &AtomicU64;
    let counters: [(&str, &str, Of); 5] = [
        ("polls", "Polls of a device.", |of| &of.polls),
        ("bad_polls", "Polls of a device that brought no value.", |of| &of.bad),
        ("left_out", "Samples left out because the disk was too slow.", |of| &of.left_out),
        ("spooled", "Readings of a device made durable.", |of| &of.spooled),
        ("delivered", "Readings of a device taken by the broker.", |of| &of.delivered),
    ];
    let mut page = Page::of(Role::Modbus);
    meter.write(&mut page);
    for (name, help, of) in counters {
        let mut family = page.counter(&format!("vigia_modbus_{name}_total"), help);
        for (device, numbers) in all.iter() {
            family.with("device", device, of(numbers).load(Ordering::Relaxed));
        }
    }
    let mut family = page.gauge("vigia_modbus_held", "Readings of a device in the spool.");
    for (device, numbers) in all.iter() {
        family.with("device", device, numbers.held.load(Ordering::Relaxed));
    }
    for (name, help, of) in [
        ("connections", "Connections of Modbus clients.", &server.connections),
        ("strangers", "Connections of Modbus clients that are not allowed.", &server.strangers),
        ("crowded_out", "Connections for which there was no room.", &server.crowded_out),
        ("requests", "Requests of Modbus clients.", &server.requests),
        ("exceptions", "Requests answered with an exception.", &server.exceptions),
    ] {
        let mut family = page.counter(&format!("vigia_modbus_server_{name}_total"), help);
        family.is(of.load(Ordering::Relaxed));
    }
    page
}

/// Counts one more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How a value is, without the numbers that change at every poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    Doubtful(Discriminant<Doubt>),
    Missing(Discriminant<link::Trouble>),
}

impl Kind {
    fn of(value: &Result<Decoded, link::Trouble>) -> Self {
        match value {
            Ok(Decoded { doubt: None, .. }) => Self::Good,
            Ok(Decoded { doubt: Some(doubt), .. }) => Self::Doubtful(discriminant(doubt)),
            Err(trouble) => Self::Missing(discriminant(trouble)),
        }
    }
}

/// What the log was last told of a device: a line when its trouble begins, changes or ends, and not one a poll.
#[derive(Debug)]
pub struct Trouble {
    device: String,
    quantities: Vec<String>,
    /// How each value was then.
    told: Vec<Kind>,
    at: Option<Instant>,
}

impl Trouble {
    /// None yet.
    pub fn of(device: &Device) -> Self {
        let quantities: Vec<String> =
            device.points.iter().map(|point| point.quantity.clone()).collect();
        let told = vec![Kind::Good; quantities.len()];
        Self { device: device.name.clone(), quantities, told, at: None }
    }

    /// Tells what is new in the sample, if there was no line just now.
    pub fn hear(&mut self, sample: &Sample, numbers: &Numbers) {
        count(&numbers.polls);
        if sample.status().quality() == Quality::Bad {
            count(&numbers.bad);
        }
        let now: Vec<Kind> = sample.values.iter().map(Kind::of).collect();
        let was_just_now = self.at.is_some_and(|at| at.elapsed() < TROUBLE_SPACING);
        if now == self.told || was_just_now {
            return;
        }
        let device = &self.device;
        match now.iter().position(|kind| *kind != Kind::Good) {
            None => tracing::info!(device, "all values are good again"),
            Some(first) => {
                let (quantity, of) = (&self.quantities[first], now.len());
                let reason = sample.reason(first).unwrap_or_default();
                let troubled = now.iter().filter(|kind| **kind != Kind::Good).count();
                tracing::warn!(device, quantity, reason, troubled, of, "values are not good");
            }
        }
        self.told = now;
        self.at = Some(Instant::now());
    }
}
