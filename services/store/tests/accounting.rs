//! Whatever arrives, in whatever order and however often, across restarts: the store's account, its
//! readings and its series are those of a small model.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Frame, count, head, ingest, reading, text};
use proptest::prelude::*;
use vigia_disk::Disk;
use vigia_disk::power_cut::Drive;
use vigia_protocol::batch::Count;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::position::LogId;
use vigia_protocol::report::Totals;
use vigia_protocol::time::Micros;
use vigia_store::query::Span;
use vigia_store::store::Store;

const CACHE_BYTES: usize = 4 << 20;
const NOW: Micros = Micros(1_700_000_200_000_000);
const SENSORS: std::ops::Range<i16> = -1..2;

#[derive(Debug, Clone)]
struct Work {
    log: u64,
    frames: Vec<Frame>,
}

/// What happens after a commit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    Checkpoint,
    Restart,
}

fn frame() -> impl Strategy<Value = Frame> {
    let seq = prop_oneof![3 => 1..60_u64, 1 => 1..6_000_u64];
    let size = prop_oneof![6 => 1..8_u16, 1 => 500..1_500_u16];
    prop_oneof![
        8 => (SENSORS, 1..3_u32, seq, size, 0..2_u8).prop_map(|(sensor, stream, seq, count, tint)| {
            Frame::Readings { sensor, stream, seq, count, tint }
        }),
        1 => (SENSORS, 1..3_u32, 1..80_u64, 1..9_u16).prop_map(|(sensor, stream, seq, count)| {
            Frame::Gap { sensor, stream, seq, count }
        }),
        1 => (SENSORS, 0..5_u16).prop_map(|(sensor, count)| Frame::Refused { sensor, count }),
    ]
}

fn work() -> impl Strategy<Value = Vec<Work>> {
    let frames = proptest::collection::vec(frame(), 1..6);
    let one = (1..3_u64, frames).prop_map(|(log, frames)| Work { log, frames });
    proptest::collection::vec(one, 1..14)
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![3 => Just(Then::Nothing), 1 => Just(Then::Checkpoint), 1 => Just(Then::Restart)]
}

/// Indices into the work, in commits.
fn deliveries() -> impl Strategy<Value = Vec<(Vec<prop::sample::Index>, Then)>> {
    let commit = proptest::collection::vec(any::<prop::sample::Index>(), 1..5);
    proptest::collection::vec((commit, then()), 1..14)
}

#[derive(Default)]
struct Model {
    positions: BTreeSet<(u64, u64)>,
    totals: BTreeMap<u64, Totals>,
    stored: BTreeMap<(i16, u32, u64), u8>,
    declared: BTreeSet<(i16, u32, u64)>,
    conflicts: u64,
}

impl Model {
    fn take(&mut self, log: u64, n: u64, frames: &[Frame]) {
        if !self.positions.insert((log, n)) {
            return;
        }
        let totals = self.totals.entry(log).or_default();
        for frame in frames {
            match *frame {
                Frame::Readings { sensor, stream, seq, count, tint } => {
                    let (mut new, mut others) = (0, 0);
                    for seq in seq..seq + u64::from(count) {
                        match self.stored.insert((sensor, stream, seq), tint) {
                            None => new += 1,
                            Some(before) => {
                                self.stored.insert((sensor, stream, seq), before);
                                let (one, other) = (
                                    reading(sensor, stream, seq, before),
                                    reading(sensor, stream, seq, tint),
                                );
                                let same = one.time == other.time
                                    && format!("{:?}", one.values) == format!("{:?}", other.values);
                                others += u64::from(!same);
                            }
                        }
                    }
                    totals.stored.readings += new;
                    totals.quarantined.readings += others;
                    totals.duplicate.readings += u64::from(count) - new - others;
                    self.conflicts += others;
                    let frames = match (new, others) {
                        (1.., _) => &mut totals.stored,
                        (0, 1..) => &mut totals.quarantined,
                        _ => &mut totals.duplicate,
                    };
                    frames.frames += 1;
                }
                Frame::Gap { sensor, stream, seq, count } => {
                    totals.stored.frames += 1;
                    let dropped = seq..seq + u64::from(count);
                    self.declared.extend(dropped.map(|seq| (sensor, stream, seq)));
                }
                Frame::Refused { count, .. } => {
                    totals.quarantined =
                        totals.quarantined.plus(Count { readings: u64::from(count), frames: 1 });
                }
            }
        }
    }

    fn gaps(&self) -> (u64, u64) {
        let (mut declared, mut unexplained) = (0, 0);
        for sensor in SENSORS {
            for stream in 1..3 {
                let stored = self.stored.keys().filter(|key| (key.0, key.1) == (sensor, stream));
                let said = self.declared.iter().filter(|key| (key.0, key.1) == (sensor, stream));
                let end = stored.chain(said).map(|key| key.2 + 1).max().unwrap_or(1);
                for seq in 1..end {
                    let key = (sensor, stream, seq);
                    if !self.stored.contains_key(&key) {
                        let said = self.declared.contains(&key);
                        declared += u64::from(said);
                        unexplained += u64::from(!said);
                    }
                }
            }
        }
        (declared, unexplained)
    }
}

fn check(store: &Store, model: &Model, limit: usize, span: Span, step: i64) {
    let sheet = vigia_store::ledger::ledger(&store.read(), store.instance(), NOW);
    assert_eq!((sheet.gaps.declared, sheet.gaps.unexplained), model.gaps());
    assert_eq!(sheet.conflicts, model.conflicts);
    for (log, totals) in &model.totals {
        let state = store.read();
        let account = &state.logs[&LogId(*log)];
        assert_eq!(account.totals, *totals);
        let positions = account.report(LogId(*log)).accounted;
        let expected: Vec<u64> =
            model.positions.iter().filter(|(one, _)| one == log).map(|(_, n)| *n).collect();
        assert_eq!(positions.len(), expected.len() as u64);
        assert!(expected.iter().all(|n| positions.contains(*n)));
    }
    for sensor in SENSORS {
        check_sensor(store, model, sensor, limit, span, step);
    }
}

fn check_sensor(store: &Store, model: &Model, sensor: i16, limit: usize, span: Span, step: i64) {
    let expected: Vec<(u32, u64, u8)> = model
        .stored
        .iter()
        .filter(|(key, _)| key.0 == sensor)
        .map(|(key, tint)| (key.1, key.2, *tint))
        .collect();
    let within: Vec<(u32, u64, u8)> = expected
        .iter()
        .filter(|(stream, seq, tint)| {
            let time = reading(sensor, *stream, *seq, *tint).time.0;
            span.from <= time && time < span.to
        })
        .copied()
        .collect();
    let snapshot = store.snapshot(Some(SensorId(sensor))).unwrap();
    let mut after: Option<Place> = None;
    let mut found = Vec::new();
    loop {
        let page = snapshot.readings(SensorId(sensor), span, after, limit).unwrap();
        assert!(page.items.len() <= limit);
        found.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found.len(), within.len());
    for (found, (stream, seq, tint)) in found.iter().zip(&within) {
        let expected = reading(sensor, *stream, *seq, *tint);
        assert_eq!((found.id.stream, found.seq, found.time), (*stream, *seq, expected.time));
        assert_eq!(format!("{:?}", found.values), format!("{:?}", expected.values));
        assert_eq!(found.status.is_empty(), !found.values.iter().any(|value| value.is_nan()));
    }
    let latest = snapshot.latest(SensorId(sensor)).unwrap();
    let last = expected.last().map(|(stream, seq, _)| (*stream, *seq));
    assert_eq!(latest.map(|latest| (latest.id.stream, latest.seq)), last);

    let mut sums: BTreeMap<i64, (u64, f64, f64, f64)> = BTreeMap::new();
    for (stream, seq, tint) in &within {
        let one = reading(sensor, *stream, *seq, *tint);
        if !one.values[1].is_nan() {
            let sum = sums.entry(one.time.0.div_euclid(step) * step).or_insert((
                0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                0.0,
            ));
            sum.0 += 1;
            sum.1 = sum.1.min(one.values[1]);
            sum.2 = sum.2.max(one.values[1]);
            sum.3 += one.values[1];
        }
    }
    let buckets = snapshot.series(SensorId(sensor), span, step).unwrap();
    let shown: BTreeMap<i64, (u64, f64, f64, f64)> = buckets
        .iter()
        .filter_map(|(time, values)| values.get("pressure").map(|sum| (*time, sum)))
        .filter(|(_, sum)| sum.count > 0)
        // Sums of numbers with few digits are exact in whatever order.
        .map(|(time, sum)| (time, (sum.count, sum.min, sum.max, sum.sum)))
        .collect();
    assert_eq!(shown, sums);
}

fn open(drive: &Drive) -> Store {
    Store::on(Disk::with_backend(drive.clone(), CACHE_BYTES).unwrap(), None, NOW).unwrap()
}

/// Heads and texts, as a journal would have numbered them.
fn journal(work: &[Work]) -> Vec<(u64, u64, Vec<u8>)> {
    let mut before: BTreeMap<u64, (u64, Count)> = BTreeMap::new();
    work.iter()
        .map(|one| {
            let (n, accepted) = before.entry(one.log).or_default();
            let head = head(one.log, *n, *accepted, count(&one.frames));
            *n += 1;
            *accepted = accepted.plus(head.has);
            (one.log, head.position.n, text(&head, &one.frames))
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn the_store_agrees_with_the_model(
        work in work(),
        deliveries in deliveries(),
        limit in 1..400_usize,
        from in 0..6_500_i64,
        width in 1..7_000_i64,
        step in prop_oneof![Just(10_i64), Just(300), Just(10_000)],
    ) {
        let texts = journal(&work);
        let base = 1_700_000_000;
        let span = Span { from: (base + from) * 1_000_000, to: (base + from + width) * 1_000_000 };
        let mut drive = Drive::default();
        let mut store = open(&drive);
        let mut model = Model::default();
        for (commit, then) in &deliveries {
            let chosen: Vec<usize> = commit.iter().map(|index| index.index(work.len())).collect();
            for at in &chosen {
                model.take(texts[*at].0, texts[*at].1, &work[*at].frames);
            }
            let messages: Vec<&[u8]> = chosen.iter().map(|at| texts[*at].2.as_slice()).collect();
            ingest(&store, &messages, NOW);
            match then {
                Then::Nothing => {}
                Then::Checkpoint => store.checkpoint(NOW).unwrap(),
                Then::Restart => {
                    drive = drive.survivor();
                    store = open(&drive);
                }
            }
        }
        check(&store, &model, limit, span, step * 1_000_000);
        check(&open(&drive.survivor()), &model, limit, Span::ALL, step * 1_000_000);
    }
}

#[test]
fn a_batch_that_is_not_what_its_head_says_is_kept_whole_in_quarantine() {
    let store = open(&Drive::default());
    let frames = [Frame::Readings { sensor: 1, stream: 1, seq: 1, count: 3, tint: 0 }];
    let has = Count { readings: 4, frames: 1 };
    let message = text(&head(7, 0, Count::default(), has), &frames);
    ingest(&store, &[&message], NOW);
    let totals = store.read().logs[&LogId(7)].totals;
    assert_eq!(totals, Totals { quarantined: has, ..Totals::default() });
    let snapshot = store.snapshot(Some(SensorId(1))).unwrap();
    assert_eq!(snapshot.latest(SensorId(1)).unwrap(), None);
    let page = snapshot.quarantine(None, 10).unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].1.bytes, message);
}

#[test]
fn a_message_with_a_wrong_seal_is_not_taken() {
    let frames = [Frame::Readings { sensor: 1, stream: 1, seq: 1, count: 3, tint: 0 }];
    let mut message = text(&head(7, 0, Count::default(), count(&frames)), &frames);
    message[20] ^= 1;
    assert!(vigia_store::batch::open(&common::keys(), common::TOPIC, &message).is_none());
}

#[test]
fn what_was_ingested_survives_a_power_cut_at_every_sync() {
    use vigia_disk::power_cut::Fate;
    let work: Vec<Work> = (0..30)
        .map(|at| Work {
            log: 1 + at % 2,
            frames: vec![Frame::Readings {
                sensor: 0,
                stream: 1,
                seq: 1 + at * 90,
                count: 90,
                tint: 0,
            }],
        })
        .collect();
    let texts = journal(&work);
    let run = |drive: &Drive| {
        let mut model = Model::default();
        let Ok(disk) = Disk::with_backend(drive.clone(), CACHE_BYTES) else { return model };
        let Ok(store) = Store::on(disk, None, NOW) else { return model };
        for (at, (log, n, text)) in texts.iter().enumerate() {
            if common::try_ingest(&store, &[text], NOW).is_err() {
                break;
            }
            model.take(*log, *n, &work[at].frames);
            if at % 10 == 9 && store.checkpoint(NOW).is_err() {
                break;
            }
        }
        model
    };
    let whole = Drive::default();
    run(&whole);
    for nth in 1..=whole.syncs() {
        let drive = Drive::default();
        drive.cut_at_sync(nth, if nth % 2 == 0 { Fate::Lost } else { Fate::Torn(nth) });
        let mut model = run(&drive);
        if model.positions.is_empty() {
            continue;
        }
        let store = open(&drive.survivor());
        // The commit under way may be there or not; sent again, it is there, once.
        for (at, (log, n, text)) in texts.iter().enumerate() {
            ingest(&store, &[text], NOW);
            model.take(*log, *n, &work[at].frames);
        }
        check(&store, &model, 1_000, Span::ALL, 60_000_000);
    }
}
