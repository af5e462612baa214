//! The journal against power cuts at every sync, and against a model of what may leave it.

use std::collections::HashMap;

use vigia_broker::journal::{Bounds, CannotUse, NewRow, Opened, Rows, SensorRecord, read_row};
use vigia_broker::limits::{OVER_LOGS, TRIM_ROWS};
use vigia_disk::Disk;
use vigia_disk::power_cut::{Drive, Fate};
use vigia_protocol::batch::{
    BatchHead, Count, Message, RawFrame, RawFrames, decode_borrowed, encode,
};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::ingress::Grant;
use vigia_protocol::keys::Secret;
use vigia_protocol::position::Position;
use vigia_protocol::ranges::RangeSet;
use vigia_protocol::report::{StoreReport, StoredLog, Totals, Unsettled};
use vigia_protocol::stage::{SEAL_BYTES, StageKey};
use vigia_protocol::time::Micros;

const CACHE: usize = 1 << 20;
const HOUR: i64 = 3_600_000_000;

fn open(drive: &Drive, opening: u64, bounds: Bounds) -> Result<Opened, CannotUse> {
    let disk = Disk::with_backend(drive.clone(), CACHE)?;
    Opened::begin(disk, bounds, Micros(0), [1000 + opening, 7])
}

const ROOMY: Bounds = Bounds { bytes: 1 << 30, keep_hours: 24 };

/// A row with one frame of one reading, and the sensor's record after it.
fn row(opened: &Opened, sensor: SensorId, place: Place) -> (NewRow, (SensorId, SensorRecord)) {
    let seq = place.seq;
    let head = BatchHead {
        position: opened.next_position(),
        before: opened.current().accepted,
        has: Count { readings: 1, frames: 1 },
    };
    let bytes = [seq.to_le_bytes(), [sensor.0 as u8; 8]].concat();
    let frames = vec![RawFrame { received: Micros(5), bytes: &bytes }];
    let payload = encode(&Message::Batch(head, frames));
    let next = Place { stream: place.stream, seq: seq + 1 };
    let record = SensorRecord { next, last_nonce: [seq as u8; 24] };
    (NewRow { head, payload, ends: vec![(sensor, next)] }, (sensor, record))
}

fn commit_one(opened: &mut Opened, sensor: SensorId, seq: u64, now: Micros) -> Option<Position> {
    commit_at(opened, sensor, first(seq), now)
}

/// In the first stream.
fn first(seq: u64) -> Place {
    Place { stream: 1, seq }
}

fn commit_at(opened: &mut Opened, sensor: SensorId, at: Place, now: Micros) -> Option<Position> {
    let (row, record) = row(opened, sensor, at);
    let position = row.head.position;
    opened.commit(vec![row], &HashMap::from([record]), now).ok()?;
    Some(position)
}

fn report(opened: &Opened, instance: u64, accounted: &[(u64, u64)]) -> StoreReport {
    StoreReport {
        instance,
        replaces: Vec::new(),
        marker: None,
        logs: vec![StoredLog {
            log: opened.current().id,
            accounted: RangeSet::from_ranges(accounted.to_vec()).unwrap(),
            totals: Some(Totals::default()),
        }],
    }
}

/// What stands at a position, by all that a new opening knows.
fn payload_at(opened: &Opened, position: Position) -> Option<Vec<u8>> {
    let log = opened.held().into_iter().find(|log| log.id == position.log)?;
    read_row(&opened.disk(), log.order, position.n).unwrap().map(|(payload, _)| payload)
}

#[test]
fn whatever_was_committed_survives_a_power_cut_at_every_sync() {
    for fate in [Fate::Lost, Fate::Torn(1), Fate::Torn(2)] {
        let mut cut_at = 1;
        loop {
            // A file appears under its name only when it is whole; so the cuts begin after that.
            let drive = Drive::default();
            drop(Disk::with_backend(drive.clone(), CACHE).unwrap());
            drive.cut_at_sync(drive.syncs() + cut_at, fate);
            let mut acknowledged = Vec::new();
            if let Ok(mut opened) = open(&drive, 0, ROOMY) {
                for seq in 1..=12u64 {
                    let sensor = SensorId((seq % 3) as i16);
                    let Some(position) = commit_one(&mut opened, sensor, seq, Micros(0)) else {
                        break;
                    };
                    acknowledged.push((position, sensor, seq));
                }
            }
            let survived = open(&drive.survivor(), 1, ROOMY)
                .unwrap_or_else(|error| panic!("cut at sync {cut_at}, {fate:?}: {error}"));
            for (position, sensor, seq) in &acknowledged {
                let payload = payload_at(&survived, *position)
                    .unwrap_or_else(|| panic!("cut at sync {cut_at}: {position} is gone"));
                let frame = [seq.to_le_bytes(), [sensor.0 as u8; 8]].concat();
                assert!(payload.windows(16).any(|part| part == frame), "{position} is another");
                assert!(
                    survived.record(*sensor).next.seq > *seq,
                    "the sensor would be asked again"
                );
            }
            // A row and its sensor's record are one: neither is there without the other.
            for log in survived.held() {
                let rows = log.end - log.oldest;
                assert!(rows <= acknowledged.len() as u64 + 1, "more than one commit in doubt");
            }
            assert_eq!(survived.current().end, 0, "a new opening begins a new log");
            if !drive.is_dead() {
                assert_eq!(acknowledged.len(), 12);
                break;
            }
            cut_at += 1;
        }
        assert!(cut_at > 20, "the cuts did not reach the commits: {cut_at}");
    }
}

#[test]
fn a_log_never_goes_on_after_a_restart() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, ROOMY).unwrap();
    let first = commit_one(&mut opened, SensorId(1), 1, Micros(0)).unwrap();
    drop(opened);
    let mut opened = open(&drive, 1, ROOMY).unwrap();
    let second = commit_one(&mut opened, SensorId(1), 2, Micros(0)).unwrap();
    assert_ne!(first.log, second.log);
    assert_eq!((first.n, second.n), (0, 0));
    assert!(payload_at(&opened, first).is_some() && payload_at(&opened, second).is_some());
}

#[test]
fn rows_leave_only_when_stored_and_old_or_when_there_is_no_room() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, Bounds { bytes: 1 << 30, keep_hours: 2 }).unwrap();
    for seq in 1..=5 {
        commit_one(&mut opened, SensorId(1), seq, Micros(HOUR * 10)).unwrap();
    }
    // Three hours later nothing is stored: everything stays.
    commit_one(&mut opened, SensorId(1), 6, Micros(HOUR * 13)).unwrap();
    assert_eq!(opened.current().oldest, 0);
    // Stored, and old: gone with the next commit. What is stored and young stays.
    opened.reported(&report(&opened, 1, &[(0, 6)])).unwrap();
    commit_one(&mut opened, SensorId(1), 7, Micros(HOUR * 13)).unwrap();
    assert_eq!(opened.current().oldest, 5);
    assert_eq!(opened.current().before_oldest, Count { readings: 5, frames: 5 });
}

#[test]
fn without_room_stored_rows_leave_early_and_unstored_ones_never() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, Bounds { bytes: 200, keep_hours: 24 }).unwrap();
    let mut seq = 0;
    while opened.has_room() {
        seq += 1;
        commit_one(&mut opened, SensorId(1), seq, Micros(0)).unwrap();
        assert!(seq < 100, "the bound has no effect");
    }
    assert_eq!(opened.current().oldest, 0, "nothing was stored");
    opened.reported(&report(&opened, 1, &[(0, 2)])).unwrap();
    assert!(opened.has_room(), "two rows can go");
    commit_one(&mut opened, SensorId(1), seq + 1, Micros(0)).unwrap();
    assert_eq!(opened.current().oldest, 2);
}

#[test]
fn small_rows_make_room_for_large_ones() {
    const BOUND: u64 = 20_000;
    let drive = Drive::default();
    let mut opened = open(&drive, 0, Bounds { bytes: BOUND, keep_hours: 24 }).unwrap();
    let mut seq = 0;
    let held = |opened: &Opened| opened.report(Micros(0)).bytes.0;
    while held(&opened) <= BOUND {
        seq += 1;
        commit_one(&mut opened, SensorId(1), seq, Micros(0)).unwrap();
    }
    opened.reported(&report(&opened, 1, &[(0, seq)])).unwrap();
    let small = held(&opened) / seq;
    for _ in 0..4 {
        seq += 1;
        let (mut row, record) = row(&opened, SensorId(1), first(seq));
        // As much as no commit lets go by number alone.
        row.payload.resize(small as usize * (TRIM_ROWS + 10), 0);
        opened.commit(vec![row], &HashMap::from([record]), Micros(0)).unwrap();
        assert!(held(&opened) <= BOUND + small, "{} bytes, bound {BOUND}", held(&opened));
    }
}

#[test]
fn another_store_frees_nothing() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, Bounds { bytes: 1 << 30, keep_hours: 0 }).unwrap();
    for seq in 1..=4 {
        commit_one(&mut opened, SensorId(1), seq, Micros(0)).unwrap();
    }
    opened.reported(&report(&opened, 1, &[(0, 1)])).unwrap();
    opened.reported(&report(&opened, 2, &[(0, 4)])).unwrap();
    assert_eq!(opened.current().watermark, 1, "the first store is the known one");
    assert_eq!(opened.stored(SensorId(1)), first(2));
}

/// What a restored store says first.
fn in_place_of(old: u64, report: StoreReport) -> StoreReport {
    StoreReport { replaces: vec![old], ..report }
}

#[test]
fn a_store_that_takes_the_known_ones_place_takes_its_watermark_back() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, Bounds { bytes: 1 << 30, keep_hours: 2 }).unwrap();
    for seq in 1..=6 {
        commit_one(&mut opened, SensorId(1), seq, Micros(0)).unwrap();
    }
    opened.reported(&report(&opened, 1, &[(0, 5)])).unwrap();
    assert_eq!(opened.stored(SensorId(1)), first(6));
    // Restored from a backup of when it had two.
    opened.reported(&in_place_of(1, report(&opened, 2, &[(0, 2)]))).unwrap();
    assert_eq!(opened.current().watermark, 2);
    assert!(opened.stored(SensorId(1)) <= first(2), "no sensor is told that the rest is stored");
    // Hours later what it does not have is still there; what it has may go.
    commit_one(&mut opened, SensorId(1), 7, Micros(HOUR * 13)).unwrap();
    commit_one(&mut opened, SensorId(1), 8, Micros(HOUR * 13)).unwrap();
    assert_eq!(opened.current().oldest, 2);
    // That survives a restart, and what the old one says later changes nothing.
    drop(opened);
    let mut opened = open(&drive, 1, ROOMY).unwrap();
    let log = opened.held()[0];
    let mut late = report(&opened, 1, &[(0, 8)]);
    late.logs[0].log = log.id;
    opened.reported(&late).unwrap();
    commit_one(&mut opened, SensorId(1), 9, Micros(HOUR * 30)).unwrap();
    assert_eq!(opened.held()[0].oldest, 2);
    assert_eq!(opened.store(), Some(2));
}

#[test]
fn a_store_that_was_put_back_to_an_older_state_is_given_what_it_lacks() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, Bounds { bytes: 1 << 30, keep_hours: 2 }).unwrap();
    for seq in 1..=6 {
        commit_one(&mut opened, SensorId(1), seq, Micros(0)).unwrap();
    }
    opened.reported(&report(&opened, 1, &[(0, 5)])).unwrap();
    for not_less in [&[(0, 5)][..], &[(0, 6)]] {
        opened.notice_older_store(&report(&opened, 1, not_less)).unwrap();
        assert_eq!(opened.current().watermark, 5);
    }
    let mut cut = report(&opened, 1, &[(0, 2)]);
    cut.logs[0].totals = None;
    for nothing_new in [report(&opened, 2, &[(0, 2)]), cut] {
        opened.notice_older_store(&nothing_new).unwrap();
        assert_eq!(opened.current().watermark, 5);
    }
    let older = report(&opened, 1, &[(0, 2)]);
    opened.notice_older_store(&older).unwrap();
    opened.reported(&older).unwrap();
    assert_eq!(opened.current().watermark, 2);
    assert!(opened.stored(SensorId(1)) <= first(3), "no sensor is told that the rest is stored");
    // Hours later what it lacks is still there, and below that it is not asked again.
    for (seq, hour) in [(7, 13), (8, 13)] {
        commit_one(&mut opened, SensorId(1), seq, Micros(HOUR * hour)).unwrap();
    }
    assert_eq!(opened.current().oldest, 2);
    opened.notice_older_store(&report(&opened, 1, &[(2, 4)])).unwrap();
    assert_eq!(opened.current().watermark, 2, "what is gone here need not be there");
}

type Damage = fn(&mut Vec<u8>);

/// Each of these, done to a row, damages it.
fn damages() -> Vec<(&'static str, Damage)> {
    vec![
        ("a frame", |row| {
            let at = row.len() - SEAL_BYTES - 3;
            row[at] ^= 4;
        }),
        ("the seal", |row| *row.last_mut().unwrap() ^= 1),
        ("the version", |row| row[0] ^= 0x40),
        ("the head", |row| row[12] ^= 0x10),
        ("a frame's length", |row| {
            let at = row.len() - SEAL_BYTES - 17;
            row[at] ^= 0x20;
        }),
        ("everything", |row| row.fill(0xee)),
        ("its end", |row| row.truncate(20)),
    ]
}

#[test]
fn a_row_that_the_disk_has_changed_goes_out_with_the_head_it_had() {
    const TOPIC: &str = "vigia/v1/raw/node1";
    let key = StageKey::new(Secret::new([9; 32]));
    for (what, damage) in damages() {
        for damaged in 0..5 {
            let drive = Drive::default();
            let mut opened = open(&drive, 0, Bounds { bytes: 1 << 30, keep_hours: 0 }).unwrap();
            let mut heads = Vec::new();
            let mut as_written = Vec::new();
            for seq in 1..=5 {
                let (mut row, record) = row(&opened, SensorId(1), first(seq));
                row.payload = key.seal(TOPIC, row.payload);
                heads.push(row.head);
                as_written.push(row.payload.clone());
                if seq == damaged + 1 {
                    damage(&mut row.payload);
                }
                opened.commit(vec![row], &HashMap::from([record]), Micros(0)).unwrap();
            }
            let log = opened.held()[0];
            let rows = Rows::new(opened.disk(), key.clone(), TOPIC.to_owned());
            for n in 0..5 {
                let sealed = rows.read(&log, n).unwrap().unwrap();
                if n != damaged {
                    assert_eq!(sealed, as_written[n as usize], "row {n} is whole");
                    continue;
                }
                let opened = key.open(TOPIC, &sealed).unwrap();
                let message = decode_borrowed::<Message<RawFrames<'_>>>(opened).unwrap();
                let Message::Batch(head, frames) = message else { panic!("{what}: {message:?}") };
                assert_eq!(head, heads[n as usize], "{what} of row {n}");
                assert_eq!(frames.len(), 1, "{what} of row {n}");
            }
            assert_eq!(rows.read(&log, 5).unwrap(), None);
        }
    }
}

#[test]
fn a_store_that_takes_the_place_of_one_unknown_frees_nothing_until_it_is_adopted() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, ROOMY).unwrap();
    for seq in 1..=4 {
        commit_one(&mut opened, SensorId(1), seq, Micros(0)).unwrap();
    }
    opened.reported(&report(&opened, 1, &[(0, 1)])).unwrap();
    opened.reported(&in_place_of(7, report(&opened, 2, &[(0, 4)]))).unwrap();
    assert_eq!(opened.current().watermark, 1);
    opened.adopt(2).unwrap();
    assert_eq!(opened.current().watermark, 0, "it has said nothing since");
    opened.reported(&in_place_of(7, report(&opened, 2, &[(0, 4)]))).unwrap();
    assert_eq!(opened.current().watermark, 4);
}

#[test]
fn logs_of_which_nothing_is_left_are_still_listed_for_a_store_that_misses_them() {
    let drive = Drive::default();
    let bounds = Bounds { bytes: 1 << 30, keep_hours: 0 };
    for opening in 0..=2 * OVER_LOGS as u64 {
        let mut opened = open(&drive, opening, bounds).unwrap();
        commit_one(&mut opened, SensorId(1), opening + 1, Micros(HOUR * opening as i64)).unwrap();
        opened.reported(&report(&opened, 1, &[(0, 1)])).unwrap();
        opened.commit(Vec::new(), &HashMap::new(), Micros(HOUR * (opening as i64 + 1))).unwrap();
        assert_eq!(opened.current().oldest, 1);
        let listed = opened.report(Micros(0)).logs;
        assert_eq!(listed.len(), (opening as usize + 1).min(OVER_LOGS + 1));
        let has = Count { readings: 1, frames: 1 };
        assert!(listed.iter().all(|log| log.before_oldest == has && log.accepted == has));
    }
}

#[test]
fn what_is_stored_of_one_stream_says_nothing_of_the_next() {
    let sensor = SensorId(1);
    let drive = Drive::default();
    let mut opened = open(&drive, 0, ROOMY).unwrap();
    for seq in 1..=4 {
        commit_one(&mut opened, sensor, seq, Micros(0)).unwrap();
    }
    opened.reported(&report(&opened, 1, &[(0, 4)])).unwrap();
    assert_eq!(opened.report(Micros(0)).unsettled, []);
    let later = |seq| Place { stream: 9, seq };
    for seq in 1..=2 {
        commit_at(&mut opened, sensor, later(seq), Micros(0)).unwrap();
    }
    assert_eq!(opened.stored(sensor), first(5));
    assert_eq!(opened.grant(sensor), Grant { next: later(3), last_nonce: [2; 24], stored: 0 });
    let unsettled = |from, to| [Unsettled { sensor, stream: 9, from, to }];
    assert_eq!(opened.report(Micros(0)).unsettled, unsettled(1, 3));
    opened.reported(&report(&opened, 1, &[(0, 5)])).unwrap();
    assert_eq!((opened.stored(sensor), opened.grant(sensor).stored), (later(2), 2));
    assert_eq!(opened.report(Micros(0)).unsettled, unsettled(2, 3));

    // Nor does what was before a restart.
    drop(opened);
    let mut opened = open(&drive, 1, ROOMY).unwrap();
    let last = Place { stream: 11, seq: 1 };
    commit_at(&mut opened, sensor, last, Micros(0)).unwrap();
    let mut done = report(&opened, 1, &[(0, 6)]);
    done.logs[0].log = opened.held()[0].id;
    opened.reported(&done).unwrap();
    assert_eq!((opened.stored(sensor), opened.grant(sensor).stored), (later(3), 0));
    opened.reported(&report(&opened, 1, &[(0, 1)])).unwrap();
    assert_eq!(opened.grant(sensor).stored, 2);
    assert_eq!(opened.report(Micros(0)).unsettled, []);
}

#[test]
fn what_is_not_stored_of_a_stream_that_was_left_is_still_named() {
    let sensor = SensorId(1);
    let drive = Drive::default();
    let mut opened = open(&drive, 0, ROOMY).unwrap();
    for seq in 1..=10 {
        commit_one(&mut opened, sensor, seq, Micros(0)).unwrap();
    }
    opened.reported(&report(&opened, 1, &[(0, 4)])).unwrap();
    commit_at(&mut opened, sensor, Place { stream: 9, seq: 1 }, Micros(0)).unwrap();
    let old = |from| Unsettled { sensor, stream: 1, from, to: 11 };
    let new = Unsettled { sensor, stream: 9, from: 1, to: 2 };
    assert_eq!(opened.report(Micros(0)).unsettled, [old(5), new]);

    // Also after a restart, until it is stored.
    drop(opened);
    let mut opened = open(&drive, 1, ROOMY).unwrap();
    assert_eq!(opened.report(Micros(0)).unsettled, [old(1), new]);
    let mut done = report(&opened, 1, &[(0, 11)]);
    done.logs[0].log = opened.held()[0].id;
    opened.reported(&done).unwrap();
    assert_eq!(opened.report(Micros(0)).unsettled, []);
    opened.commit(Vec::new(), &HashMap::new(), Micros(0)).unwrap();
    drop(opened);
    let opened = open(&drive, 2, ROOMY).unwrap();
    assert_eq!(
        opened.report(Micros(0)).unsettled,
        [new],
        "the next report of the store settles it"
    );
}

#[test]
fn a_row_whose_count_was_damaged_counts_nothing() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, Bounds { bytes: 1 << 30, keep_hours: 0 }).unwrap();
    for seq in 1..=4 {
        let (mut row, record) = row(&opened, SensorId(1), first(seq));
        if seq == 2 {
            let mut head = row.head;
            head.before.readings ^= 64;
            row.payload = encode(&Message::Batch(head, Vec::<RawFrame<'_>>::new()));
        }
        opened.commit(vec![row], &HashMap::from([record]), Micros(0)).unwrap();
    }
    let checked = |opened: &Opened| opened.report(Micros(0)).logs[0].checked;
    let counted = |n| Some(Count { readings: n, frames: n });
    for (end, expected) in [(1, None), (2, None), (3, counted(3)), (4, counted(4))] {
        opened.reported(&report(&opened, 1, &[(0, end)])).unwrap();
        assert_eq!(checked(&opened).map(|checked| checked.by_journal), expected, "{end}");
    }
    // And it leaves no wrong count behind.
    for _ in 0..2 {
        opened.commit(Vec::new(), &HashMap::new(), Micros(HOUR * 3)).unwrap();
    }
    let log = opened.report(Micros(0)).logs[0].clone();
    assert_eq!((log.oldest, Some(log.before_oldest)), (4, counted(4)));
}

#[test]
fn a_sensor_hears_what_is_stored_only_in_order() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, ROOMY).unwrap();
    for seq in 1..=4 {
        commit_one(&mut opened, SensorId(1), seq, Micros(0)).unwrap();
    }
    // Position 1 is missing: what stands behind it is not yet "everything below".
    assert_eq!(opened.reported(&report(&opened, 1, &[(0, 1), (2, 4)])).unwrap(), [SensorId(1)]);
    assert_eq!(opened.stored(SensorId(1)), first(2));
    opened.reported(&report(&opened, 1, &[(0, 4)])).unwrap();
    assert_eq!(opened.stored(SensorId(1)), first(5));
    // After a restart the older log must be done before anything is said.
    commit_one(&mut opened, SensorId(1), 5, Micros(0)).unwrap();
    drop(opened);
    let opened = open(&drive, 1, ROOMY).unwrap();
    assert_eq!(opened.stored(SensorId(1)), Place::default());
    assert_eq!(opened.grant(SensorId(1)).next, Place { stream: 1, seq: 6 });
    assert_eq!(opened.grant(SensorId(1)).last_nonce, [5; 24]);
}

#[test]
fn both_sides_of_the_ledger_are_counted_for_the_same_positions() {
    let drive = Drive::default();
    let mut opened = open(&drive, 0, ROOMY).unwrap();
    for seq in 1..=6 {
        commit_one(&mut opened, SensorId(1), seq, Micros(0)).unwrap();
    }
    opened.reported(&report(&opened, 1, &[(0, 2), (3, 5)])).unwrap();
    let log = opened.report(Micros(0)).logs.pop().unwrap();
    assert_eq!(log.accepted, Count { readings: 6, frames: 6 });
    assert_eq!(log.checked.unwrap().by_journal, Count { readings: 4, frames: 4 });
}
