//! The store's numbers for Prometheus: the ledger, markers, and who has said what. Readings themselves are
//! read by [`api::prometheus`](crate::api::prometheus), at their true times.

use std::collections::BTreeSet;

use vigia_kit::clock;
use vigia_kit::limits::METRIC_SERIES;
use vigia_kit::metrics::{Page, seconds};
use vigia_kit::names::Names;
use vigia_kit::site::Role;
use vigia_protocol::header::SensorId;
use vigia_protocol::time::Micros;

use crate::health::Health;
use crate::ledger::{Counts, Ledger, Verdict, ledger};
use crate::state::State;
use crate::store::Store;

/// What is said of one sensor.
struct Sensor {
    id: SensorId,
    stored: u64,
    declared: u64,
    unexplained: u64,
    /// Its newest reading's profile and times, by its clock and by ours.
    newest: Option<(String, Micros, Micros)>,
}

/// `/metrics` of the store.
pub fn page(store: &Store, health: &Health, names: &Names) -> Page {
    let mut page = Page::of(Role::Store);
    health.write(&mut page);
    let (ledger, mut sensors) = {
        let state = store.read();
        let ids = state.streams.sensors(None, METRIC_SERIES);
        let sensors: Vec<Sensor> = ids.into_iter().map(|id| sensor(&state, id)).collect();
        quantities(&state, &mut page);
        (ledger(&state, store.instance(), clock::now()), sensors)
    };
    write_ledger(&ledger, &mut page);
    for sensor in sensors.iter_mut().filter(|sensor| sensor.newest.is_none()) {
        let latest =
            store.snapshot(Some(sensor.id)).and_then(|snapshot| snapshot.latest(sensor.id));
        sensor.newest = latest
            .ok()
            .flatten()
            .map(|reading| (reading.profile.name().to_owned(), reading.time, reading.received));
    }
    write_sensors(&sensors, names, &mut page);
    page
}

/// From memory alone: the newest run is open, but for streams that were quiet while memory was short.
fn sensor(state: &State, id: SensorId) -> Sensor {
    let mut sensor = Sensor { id, stored: 0, declared: 0, unexplained: 0, newest: None };
    for (_, stream) in state.streams.of(id) {
        let gaps = stream.account.gaps();
        sensor.stored += stream.account.stored.len();
        sensor.declared = sensor.declared.saturating_add(gaps.declared);
        sensor.unexplained = sensor.unexplained.saturating_add(gaps.unexplained);
        let last = stream.open.iter().map(|open| &open.run).max_by_key(|run| run.first);
        sensor.newest = last.and_then(|run| {
            let profile = state.profiles.get(usize::from(run.profile))?;
            let at = run.len().checked_sub(1)?;
            let received = run.with(at, &mut Vec::new(), |sample| sample.received);
            Some((profile.name().to_owned(), Micros(run.time(at)), Micros(received)))
        });
    }
    sensor
}

fn quantities(state: &State, page: &mut Page) {
    let mut family = page.gauge("vigia_quantity_info", "A quantity of a profile, with its unit.");
    let all: BTreeSet<(&str, &str, &str)> = state
        .profiles
        .iter()
        .flat_map(|profile| {
            let quantities = profile.quantities().iter();
            quantities.map(|one| (profile.name(), one.name.as_str(), one.unit.as_str()))
        })
        .take(METRIC_SERIES)
        .collect();
    for (profile, quantity, unit) in all {
        family.labelled(&[("profile", profile), ("quantity", quantity), ("unit", unit)], 1);
    }
}

fn write_sensors(sensors: &[Sensor], names: &Names, page: &mut Page) {
    let mut family =
        page.gauge("vigia_sensor_info", "A sensor, its name, and what its newest reading is of.");
    for Sensor { id, newest, .. } in sensors {
        let profile = newest.as_ref().map_or("", |(profile, ..)| profile);
        let name = names.of(*id).unwrap_or_default();
        family.labelled(&[("sensor", &id.to_string()), ("name", &name), ("profile", profile)], 1);
    }
    let mut family = page.counter("vigia_sensor_readings_total", "Readings stored of a sensor.");
    for Sensor { id, stored, .. } in sensors {
        family.with("sensor", &id.to_string(), stored);
    }
    let mut family = page.gauge(
        "vigia_sensor_missing_readings",
        "Readings missing in a sensor's numbering, declared by it or explained by nobody.",
    );
    for Sensor { id, declared, unexplained, .. } in sensors {
        let id = id.to_string();
        family.labelled(&[("sensor", &id), ("kind", "declared")], declared);
        family.labelled(&[("sensor", &id), ("kind", "unexplained")], unexplained);
    }
    for (name, help, by_sensor) in [
        ("taken", "When a sensor's newest reading was taken, by its clock.", true),
        ("received", "When it was received, by the ingress's clock.", false),
    ] {
        let mut family =
            page.gauge(&format!("vigia_sensor_last_reading_{name}_timestamp_seconds"), help);
        for Sensor { id, newest, .. } in sensors {
            if let Some((_, taken, received)) = newest {
                let time = if by_sensor { taken } else { received };
                family.with("sensor", &id.to_string(), seconds(*time));
            }
        }
    }
}

fn write_ledger(ledger: &Ledger, page: &mut Page) {
    let mut family = page.gauge("vigia_ledger_verdict", "1 at what the ledger says now.");
    for (name, verdict) in [
        ("balanced", Verdict::Balanced),
        ("unbalanced", Verdict::Unbalanced),
        ("unknown", Verdict::Unknown),
    ] {
        family.with("verdict", name, u8::from(ledger.verdict == verdict));
    }
    for (unit, counts) in [("readings", &ledger.readings), ("frames", &ledger.frames)] {
        let mut family = page.gauge(
            &format!("vigia_ledger_{unit}"),
            "What became of all that was accepted; accepted is the sum of the others.",
        );
        let Counts { accepted, stored, quarantined, duplicate, lost, in_flight } = counts;
        for (state, count) in [
            ("accepted", accepted),
            ("stored", stored),
            ("quarantined", quarantined),
            ("duplicate", duplicate),
            ("lost", lost),
            ("in_flight", in_flight),
        ] {
            family.with("state", state, count);
        }
    }
    page.gauge("vigia_ledger_missing_readings", "Readings missing in sensors' numberings.")
        .with("kind", "declared", ledger.gaps.declared)
        .with("kind", "unexplained", ledger.gaps.unexplained);
    page.gauge("vigia_ledger_conflicts", "Readings with the number of another one, in quarantine.")
        .is(ledger.conflicts);
    let mut family =
        page.gauge("vigia_journal_report_age_seconds", "Since a journal was heard of.");
    for journal in &ledger.journals {
        family.with("node", &journal.node, journal.age_ms as f64 / 1e3);
    }
    let mut family =
        page.gauge("vigia_marker_round_trip_seconds", "Time a marker took to the store and back.");
    for journal in &ledger.journals {
        if let Some(millis) = journal.echo_round_trip_ms {
            family.with("node", &journal.node, millis / 1e3);
        }
    }
}
