//! The ledger: what it says about a journal that reports, that is silent, that was replaced, and about
//! what nobody holds any more.

mod common;

use common::{Frame, count, head, ingest, marker, report, text};
use vigia_disk::Disk;
use vigia_disk::power_cut::Drive;
use vigia_disk::redb::{ReadableTable, TableDefinition};
use vigia_protocol::batch::Count;
use vigia_protocol::header::SensorId;
use vigia_protocol::position::LogId;
use vigia_protocol::report::{Checked, JournalLog, JournalReport, Totals, Unsettled};
use vigia_protocol::time::Micros;
use vigia_store::ledger::{Ledger, Standing, Verdict, ledger};
use vigia_store::store::Store;

const NOW: Micros = Micros(1_700_000_200_000_000);
const LATER: Micros = Micros(NOW.0 + 6_000_000);
const BATCH: Count = Count { readings: 10, frames: 2 };

fn times(count: Count, n: u64) -> Count {
    Count { readings: count.readings * n, frames: count.frames * n }
}

/// Batch `n` of `log`: ten readings in two frames.
fn batch(log: u64, n: u64) -> Vec<u8> {
    let frame = |seq| Frame::Readings { sensor: log as i16, stream: 1, seq, count: 5, tint: 0 };
    let frames = [frame(1 + n * 10), frame(6 + n * 10)];
    assert_eq!(count(&frames), BATCH);
    text(&head(log, n, times(BATCH, n), BATCH), &frames)
}

fn journal(journal: u64, created: i64, logs: Vec<JournalLog>) -> Vec<u8> {
    report(&journal_report(journal, created, logs))
}

fn journal_report(journal: u64, created: i64, logs: Vec<JournalLog>) -> JournalReport {
    JournalReport {
        journal,
        created: Micros(created),
        time: NOW,
        logs,
        bytes: (1, 2),
        online: Vec::new(),
        store: None,
        echo: None,
        unsettled: Vec::new(),
    }
}

/// A log with `batches`, of which the store's report said that it has `checked`.
fn log(log: u64, batches: u64, checked: Option<(Count, Totals)>) -> JournalLog {
    JournalLog {
        log: LogId(log),
        opened: NOW,
        batches,
        oldest: 0,
        accepted: times(BATCH, batches),
        before_oldest: Count::default(),
        checked: checked.map(|(by_journal, by_store)| Checked { by_journal, by_store }),
    }
}

fn stored(count: Count) -> Totals {
    Totals { stored: count, ..Totals::default() }
}

fn store() -> (Drive, Store) {
    let drive = Drive::default();
    let store = open(&drive);
    (drive, store)
}

fn open(drive: &Drive) -> Store {
    Store::on(Disk::with_backend(drive.clone(), 1 << 20).unwrap(), None, NOW).unwrap()
}

fn read(store: &Store, now: Micros) -> Ledger {
    let ledger = ledger(&store.read(), store.instance(), now);
    for counts in [&ledger.readings, &ledger.frames] {
        let sum = counts.stored + counts.quarantined + counts.duplicate + counts.lost;
        if ledger.verdict == Verdict::Balanced {
            assert_eq!(counts.accepted, sum + counts.in_flight);
        }
    }
    ledger
}

#[test]
fn it_balances_while_both_sides_count_the_same_and_the_rest_is_in_flight() {
    let (_, store) = store();
    ingest(&store, &[&batch(1, 0), &batch(1, 1)], NOW);
    let both = times(BATCH, 2);
    ingest(&store, &[&journal(9, 1, vec![log(1, 3, Some((both, stored(both))))])], NOW);
    let sheet = read(&store, NOW);
    assert_eq!(sheet.verdict, Verdict::Balanced, "{:?}", sheet.reasons);
    assert_eq!((sheet.readings.accepted, sheet.readings.in_flight), (30, 10));
    assert_eq!((sheet.frames.stored, sheet.frames.in_flight), (4, 2));
    assert_eq!(sheet.logs[0].standing, Standing::Open);
}

#[test]
fn a_count_that_differs_by_one_unbalances_it() {
    let (_, store) = store();
    ingest(&store, &[&batch(1, 0)], NOW);
    let less = Count { readings: 9, frames: 2 };
    ingest(&store, &[&journal(9, 1, vec![log(1, 1, Some((BATCH, stored(less))))])], NOW);
    assert_eq!(read(&store, NOW).verdict, Verdict::Unbalanced);
    // Readings and frames each for themselves.
    let less = Count { readings: 10, frames: 1 };
    ingest(&store, &[&journal(9, 1, vec![log(1, 1, Some((BATCH, stored(less))))])], NOW);
    assert_eq!(read(&store, NOW).verdict, Verdict::Unbalanced);
}

#[test]
fn it_is_unknown_when_a_side_is_silent_or_has_not_compared() {
    let (drive, store) = store();
    assert_eq!(read(&store, NOW).verdict, Verdict::Unknown);
    ingest(&store, &[&batch(1, 0)], NOW);
    assert_eq!(read(&store, NOW).verdict, Verdict::Unknown);
    ingest(&store, &[&journal(9, 1, vec![log(1, 1, None)])], NOW);
    assert_eq!(read(&store, NOW).verdict, Verdict::Unknown);
    ingest(&store, &[&journal(9, 1, vec![log(1, 1, Some((BATCH, stored(BATCH))))])], NOW);
    assert_eq!(read(&store, NOW).verdict, Verdict::Balanced);
    assert_eq!(read(&store, LATER).verdict, Verdict::Unknown);
    // A restarted store knows what the journal said, and that it is old.
    let store = open(&drive.survivor());
    let sheet = read(&store, LATER);
    assert_eq!(sheet.verdict, Verdict::Unknown);
    assert_eq!(sheet.journals.len(), 1);
}

#[test]
fn a_log_that_its_journal_forgot_is_closed() {
    let (_, store) = store();
    ingest(&store, &[&batch(1, 0)], NOW);
    ingest(&store, &[&journal(9, 1, vec![log(1, 1, Some((BATCH, stored(BATCH))))])], NOW);
    ingest(&store, &[&journal(9, 1, vec![])], NOW);
    let sheet = read(&store, NOW);
    assert_eq!((sheet.verdict, sheet.logs[0].standing), (Verdict::Balanced, Standing::Closed));
    assert_eq!(sheet.readings.accepted, 10);
}

#[test]
fn a_log_whose_journal_was_replaced_is_orphaned_and_named() {
    let (drive, store) = store();
    ingest(&store, &[&batch(1, 0)], NOW);
    ingest(&store, &[&journal(9, 1, vec![log(1, 3, Some((BATCH, stored(BATCH))))])], NOW);
    let old = Micros(NOW.0 + 2_000_000);
    ingest(&store, &[&batch(1, 1)], old);
    let store = open(&drive.survivor());
    ingest(&store, &[&journal(10, 2, vec![])], LATER);
    let sheet = read(&store, LATER);
    assert_eq!(sheet.verdict, Verdict::Balanced, "{:?}", sheet.reasons);
    assert_eq!((sheet.readings.accepted, sheet.readings.in_flight), (20, 0));
    let orphan = &sheet.orphaned_logs[0];
    assert_eq!((orphan.accepted_by_last_report, orphan.accounted), (30, 20));
}

#[test]
fn what_a_lost_journal_had_acknowledged_is_asked_for_until_it_is_stored_or_written_off() {
    for written_off in [false, true] {
        let (drive, store) = store();
        let said = JournalReport {
            unsettled: vec![Unsettled { sensor: SensorId(1), stream: 1, from: 11, to: 21 }],
            ..journal_report(9, 1, vec![log(1, 2, Some((BATCH, stored(BATCH))))])
        };
        ingest(&store, &[&batch(1, 0), &report(&said)], NOW);
        assert_eq!(read(&store, NOW).verdict, Verdict::Balanced, "it is in flight");
        ingest(&store, &[&journal(10, 2, vec![])], LATER);
        let sheet = read(&store, LATER);
        assert_eq!(sheet.verdict, Verdict::Unknown);
        let reason = "the journal 0000000000000009 of node-1 is gone, and 10 readings that it acknowledged are not stored";
        assert!(sheet.reasons.iter().any(|said| said.starts_with(reason)), "{:?}", sheet.reasons);
        assert_eq!(sheet.journals.len(), 1, "the other is there no more");
        // The store may end meanwhile.
        let drive = drive.survivor();
        let store = open(&drive);
        assert_eq!(read(&store, LATER).verdict, Verdict::Unknown);
        if written_off {
            assert!(!store.write_off(7, LATER).unwrap());
            assert!(store.write_off(9, LATER).unwrap());
            let store = open(&drive.survivor());
            ingest(&store, &[&journal(10, 2, vec![])], LATER);
            assert_eq!(read(&store, LATER).verdict, Verdict::Balanced);
            continue;
        }
        // The sensor delivers them again, by the new journal's log.
        let frames = [Frame::Readings { sensor: 1, stream: 1, seq: 11, count: 10, tint: 0 }];
        let again = text(&head(2, 0, Count::default(), count(&frames)), &frames);
        let has = count(&frames);
        let new = JournalLog { accepted: has, ..log(2, 1, Some((has, stored(has)))) };
        ingest(&store, &[&again, &journal(10, 2, vec![new])], LATER);
        let sheet = read(&store, LATER);
        assert_eq!((sheet.verdict, sheet.reasons), (Verdict::Balanced, vec![]));
    }
}

#[test]
fn what_a_journal_had_before_it_was_put_back_is_asked_for() {
    let said = |logs, unsettled: &[(u64, u64)]| {
        let one = |&(from, to)| Unsettled { sensor: SensorId(1), stream: 1, from, to };
        let unsettled = unsettled.iter().map(one).collect();
        JournalReport { unsettled, ..journal_report(9, 1, logs) }
    };
    let whole = || Some((BATCH, stored(BATCH)));
    let first = report(&said(vec![log(1, 2, whole())], &[(11, 21)]));
    let begun_anew = report(&said(vec![log(1, 2, whole()), log(2, 0, None)], &[(11, 21)]));
    let put_back = |id| report(&said(vec![log(1, 1, whole()), log(id, 0, None)], &[]));

    // A restart, and reports that come again, are nothing.
    let (_, store) = store();
    ingest(&store, &[&batch(1, 0), &first, &begun_anew, &first, &begun_anew], NOW);
    assert_eq!(read(&store, LATER).verdict, Verdict::Unknown, "silent");
    ingest(&store, &[&begun_anew], LATER);
    assert_eq!(read(&store, LATER).reasons, [""; 0]);

    // Then the file is one of before the second batch, which nobody has.
    let much_later = Micros(LATER.0 + 6_000_000);
    for id in [3, 4] {
        ingest(&store, &[&put_back(id), &put_back(id)], much_later);
    }
    let sheet = read(&store, much_later);
    assert_eq!(sheet.verdict, Verdict::Unknown);
    let reason = "the journal 0000000000000002 of node-1 is gone, and 10 readings that it acknowledged are not stored";
    assert!(sheet.reasons[0].starts_with(reason), "{:?}", sheet.reasons);
    assert_eq!(sheet.reasons.len(), 1);
    assert!(store.write_off(2, much_later).unwrap());
    assert_eq!(read(&store, much_later).verdict, Verdict::Balanced);
}

#[test]
fn what_a_lost_journal_acknowledged_unheard_is_known_to_nobody() {
    let (_, store) = store();
    ingest(&store, &[&journal(9, 1, vec![])], NOW);
    for (seconds, verdict) in [(29, Verdict::Balanced), (90, Verdict::Unknown)] {
        let created = NOW.0 + seconds * 1_000_000;
        ingest(&store, &[&journal(10, created, vec![])], LATER);
        let sheet = read(&store, LATER);
        assert_eq!(sheet.verdict, verdict, "{:?}", sheet.reasons);
    }
    let last = &read(&store, LATER).reasons[0];
    assert!(last.ends_with("nobody knows what it acknowledged in its last 90 s"), "{last}");
}

#[test]
fn numbers_beyond_all_bounds_are_counted_as_the_largest_there_is() {
    let (_, store) = store();
    let far = u64::MAX - 9;
    let frame = |stream| Frame::Readings { sensor: 1, stream, seq: far, count: 1, tint: 0 };
    let frames = [frame(1), frame(2)];
    ingest(&store, &[&text(&head(1, 0, Count::default(), count(&frames)), &frames)], NOW);
    assert_eq!(read(&store, NOW).gaps.unexplained, u64::MAX);
}

#[test]
fn what_nobody_holds_is_lost_after_two_reports_with_markers_between() {
    let (drive, store) = store();
    let mut trimmed = log(1, 6, None);
    trimmed.oldest = 4;
    trimmed.before_oldest = times(BATCH, 4);
    ingest(&store, &[&batch(1, 1)], NOW);
    let says_so = journal(9, 1, vec![trimmed]);
    let lost = |store: &Store| read(store, NOW).readings.lost;
    ingest(&store, &[&says_so], NOW);
    ingest(&store, &[&says_so], NOW);
    assert_eq!(lost(&store), 0);
    ingest(&store, &[&marker(1, &[1]), &says_so], NOW);
    assert_eq!(lost(&store), 0);
    let answers = ingest(&store, &[&marker(2, &[1]), &says_so], NOW);
    assert_eq!(lost(&store), 30);
    assert_ne!(read(&store, NOW).verdict, Verdict::Balanced);
    let stored_log = &answers[0].1.logs[0];
    assert_eq!(stored_log.accounted.ranges(), [(0, 4)]);
    assert_eq!(stored_log.totals.unwrap().accounted(), times(BATCH, 4));
    assert_eq!(answers[0].1.marker, Some((5, 2)));
    // It stays lost, and what comes later is not counted again.
    let store = open(&drive.survivor());
    ingest(&store, &[&batch(1, 0), &batch(1, 4)], NOW);
    assert_eq!(lost(&store), 30);
    assert_eq!(store.read().logs[&LogId(1)].totals.accounted(), times(BATCH, 5));
}

#[test]
fn a_hole_that_is_filled_between_the_reports_is_not_lost() {
    let (_, store) = store();
    let mut trimmed = log(1, 2, None);
    trimmed.oldest = 2;
    trimmed.before_oldest = times(BATCH, 2);
    let says_so = journal(9, 1, vec![trimmed]);
    ingest(&store, &[&batch(1, 0), &says_so, &marker(1, &[]), &marker(2, &[])], NOW);
    ingest(&store, &[&batch(1, 1), &says_so], NOW);
    assert_eq!(store.read().logs[&LogId(1)].totals, stored(times(BATCH, 2)));
}

#[test]
fn a_comparison_with_more_than_the_store_has_is_not_believed() {
    let (_, store) = store();
    ingest(&store, &[&batch(1, 0)], NOW);
    let both = times(BATCH, 2);
    ingest(&store, &[&journal(9, 1, vec![log(1, 2, Some((both, stored(both))))])], NOW);
    let sheet = ledger(&store.read(), store.instance(), NOW);
    assert_eq!(sheet.verdict, Verdict::Unknown);
    assert!(sheet.reasons[0].contains("put back to an older state"), "{:?}", sheet.reasons);
}

#[test]
fn a_journal_that_was_gone_before_an_update_is_no_trouble_after_it() {
    const JOURNALS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("journals");
    let (drive, store) = store();
    ingest(&store, &[&batch(1, 0)], NOW);
    ingest(&store, &[&journal(9, 1, vec![log(1, 1, Some((BATCH, stored(BATCH))))])], NOW);
    let younger = journal(10, NOW.0 + 1, vec![]);
    ingest(&store, &[&younger], LATER);
    assert_eq!(read(&store, LATER).verdict, Verdict::Balanced);
    drop(store);
    let drive = drive.survivor();
    let disk = Disk::with_backend(drive.clone(), 1 << 20).unwrap();
    // As the program before wrote it down: without who is unsettled, and whether it is written off.
    let shortened = disk.write(|transaction| {
        let mut table = transaction.open_table(JOURNALS)?;
        let mut row = table.get(9)?.expect("a row").value().to_vec();
        let cut = row.split_off(row.len() - 2);
        table.insert(9, row.as_slice())?;
        Ok(cut)
    });
    assert_eq!(shortened.unwrap(), [0, 0]);
    drop(disk);
    let store = open(&drive.survivor());
    ingest(&store, &[&younger], LATER);
    let sheet = read(&store, LATER);
    assert_eq!(sheet.verdict, Verdict::Balanced, "{:?}", sheet.reasons);
    assert_eq!(sheet.readings.accepted, BATCH.readings);
}

#[test]
fn a_marker_is_answered_also_about_logs_that_nothing_came_of() {
    let (_, store) = store();
    let answers = ingest(&store, &[&marker(3, &[77])], NOW);
    let report = &answers[0].1;
    assert_eq!((report.instance, report.marker), (store.instance(), Some((5, 3))));
    assert_eq!(report.logs[0].log, LogId(77));
    assert!(report.logs[0].accounted.is_empty());
    assert_eq!(report.logs[0].totals, Some(Totals::default()));
}
