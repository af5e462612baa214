//! A backup holds one moment of a store that goes on; what it misses comes again, or is named as lost.

mod common;

use std::path::{Path, PathBuf};

use common::{Frame, count, head, ingest, marker, report, text};
use vigia_protocol::batch::Count;
use vigia_protocol::position::LogId;
use vigia_protocol::report::{Checked, JournalLog, JournalReport};
use vigia_protocol::time::Micros;
use vigia_protocol::topic::NodeName;
use vigia_store::backup::restore::restore;
use vigia_store::ledger::{Ledger, Verdict, ledger};
use vigia_store::store::{Store, Unsynced};

const NOW: Micros = Micros(1_700_000_200_000_000);
const BATCHES: u64 = 20;

fn node() -> NodeName {
    NodeName::new("node-1").unwrap()
}

fn frames(n: u64) -> Vec<Frame> {
    vec![Frame::Readings { sensor: 7, stream: 1, seq: 1 + n * 8, count: 8, tint: 0 }]
}

/// What the log has accepted before its batch `n`.
fn before(n: u64) -> Count {
    (0..n).fold(Count::default(), |sum, n| sum.plus(count(&frames(n))))
}

fn batch(n: u64) -> Vec<u8> {
    text(&head(1, n, before(n), count(&frames(n))), &frames(n))
}

fn fill(store: &Store, positions: std::ops::Range<u64>) {
    for n in positions {
        ingest(store, &[&batch(n)], NOW);
    }
}

/// The journal has accepted all, and holds what is not below `oldest`.
fn journal(oldest: u64, store: &Store) -> Vec<u8> {
    let account = store.read().logs.get(&LogId(1)).map(|account| account.totals);
    let by_store = account.unwrap_or_default();
    report(&JournalReport {
        journal: 9,
        created: Micros(1),
        time: NOW,
        logs: vec![JournalLog {
            log: LogId(1),
            opened: NOW,
            batches: BATCHES,
            oldest,
            accepted: before(BATCHES),
            before_oldest: before(oldest),
            checked: Some(Checked { by_journal: by_store.accounted(), by_store }),
        }],
        bytes: (1, 2),
        online: Vec::new(),
        store: None,
        echo: None,
        unsettled: Vec::new(),
    })
}

fn read(store: &Store) -> Ledger {
    ledger(&store.read(), store.instance(), NOW)
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self) -> Store {
        Store::open(&self.file("store.redb"), Unsynced::Kernel, None, NOW).unwrap()
    }

    /// A store with all batches, and the backup of when it had half of them. Gives its instance.
    fn with_backup(&self, backup: &Path) -> u64 {
        let store = self.open();
        fill(&store, 0..BATCHES / 2);
        let mut told = Vec::new();
        let label = store.back_up(&node(), backup, NOW, &mut |progress| {
            // It goes on meanwhile.
            let n = BATCHES / 2 + told.len() as u64;
            fill(&store, n..n + 1);
            told.push(progress);
            Ok(())
        });
        let label = label.unwrap();
        assert_eq!(label.readings, before(BATCHES / 2).readings);
        assert_eq!((label.logs.len(), label.logs[0].end), (1, BATCHES / 2));
        assert!(told.is_sorted_by_key(|progress| progress.rows));
        assert_eq!(told.last().map(|last| last.rows), told.last().map(|last| last.of));
        fill(&store, 0..BATCHES);
        store.instance()
    }

    fn restored(&self, backup: &Path) -> Store {
        restore(backup, self.dir.path(), &node(), NOW).unwrap();
        self.open()
    }
}

#[test]
fn a_restored_store_is_filled_again_without_counting_twice() {
    let place = Place::new();
    let backup = place.file("backup");
    let old = place.with_backup(&backup);
    let store = place.restored(&backup);
    assert_ne!(store.instance(), old);
    let answers = ingest(&store, &[&marker(1, &[1])], NOW);
    let said = &answers[0].1;
    assert!(said.replaces.contains(&old), "{said:?}");
    assert_eq!(said.logs[0].accounted.ranges(), [(0, BATCHES / 2)]);
    ingest(&store, &[&journal(0, &store)], NOW);
    assert_eq!(read(&store).readings.in_flight, before(BATCHES / 2).readings);
    fill(&store, 0..BATCHES);
    ingest(&store, &[&journal(0, &store)], NOW);
    let sheet = read(&store);
    assert_eq!(sheet.verdict, Verdict::Balanced, "{:?}", sheet.reasons);
    assert_eq!(sheet.readings.stored, before(BATCHES).readings);
    assert_eq!((sheet.readings.duplicate, sheet.gaps.unexplained), (0, 0));
    // Restored once more, it stands also in the place of the one it is put over.
    let first = store.instance();
    drop(store);
    let store = place.restored(&backup);
    let answers = ingest(&store, &[&marker(1, &[1])], NOW);
    assert_eq!(answers[0].1.replaces, [old, first]);
}

#[test]
fn what_the_journal_has_no_more_is_named_as_lost() {
    for oldest in [BATCHES / 2 + 3, BATCHES] {
        let place = Place::new();
        let backup = place.file("backup");
        place.with_backup(&backup);
        let store = place.restored(&backup);
        for number in 1..=3 {
            ingest(&store, &[&marker(number, &[1]), &journal(oldest, &store)], NOW);
        }
        fill(&store, oldest..BATCHES);
        ingest(&store, &[&journal(oldest, &store)], NOW);
        let sheet = read(&store);
        let lost = before(oldest).minus(before(BATCHES / 2)).unwrap();
        assert_eq!((sheet.readings.lost, sheet.frames.lost), (lost.readings, lost.frames));
        assert_eq!(sheet.verdict, Verdict::Unbalanced);
        assert!(sheet.reasons[0].contains("are lost"), "{:?}", sheet.reasons);
    }
}

#[test]
fn a_backup_that_is_broken_off_leaves_nothing() {
    let place = Place::new();
    let store = place.open();
    fill(&store, 0..3);
    let before = std::fs::read_dir(place.dir.path()).unwrap().count();
    let mut stop = |_| anyhow::bail!("enough");
    let error = store.back_up(&node(), &place.file("backup"), NOW, &mut stop).unwrap_err();
    assert_eq!(error.to_string(), "enough");
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), before);
}
