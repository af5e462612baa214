//! Committed means there after a power cut, wherever it falls; and nothing is half there.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vigia_disk::power_cut::{Drive, Fate};
use vigia_disk::redb::{ReadableTable, TableDefinition};
use vigia_disk::{Disk, Opening, Unsynced};

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
const CACHE_BYTES: usize = 1 << 20;

type Rows = BTreeMap<u64, Vec<u8>>;
/// One transaction: rows to put (`Some` length) or to remove.
type Change = Vec<(u64, Option<usize>)>;

fn apply(disk: &Disk, change: &Change) -> Result<(), vigia_disk::Failed> {
    disk.write(|transaction| {
        let mut table = transaction.open_table(TABLE)?;
        for (key, length) in change {
            match length {
                Some(length) => table.insert(key, row(*key, *length).as_slice())?,
                None => table.remove(key)?,
            };
        }
        Ok(())
    })
}

fn row(key: u64, length: usize) -> Vec<u8> {
    (0..length).map(|at| (key as usize * 31 + length * 7 + at) as u8).collect()
}

fn apply_model(rows: &mut Rows, change: &Change) {
    for (key, length) in change {
        match length {
            Some(length) => rows.insert(*key, row(*key, *length)),
            None => rows.remove(key),
        };
    }
}

fn read(disk: &Disk) -> Rows {
    let transaction = disk.begin_read().unwrap();
    let Ok(table) = transaction.open_table(TABLE) else { return Rows::new() };
    table
        .iter()
        .unwrap()
        .map(|entry| entry.map(|(key, value)| (key.value(), value.value().to_vec())).unwrap())
        .collect()
}

/// Runs `changes` until the cut; says what was committed, and what the change under way would have made.
fn run(drive: &Drive, changes: &[Change]) -> (Rows, Rows) {
    let mut committed = Rows::new();
    let Ok(disk) = Disk::with_backend(drive.clone(), CACHE_BYTES) else {
        return (committed.clone(), committed);
    };
    for change in changes {
        let mut next = committed.clone();
        apply_model(&mut next, change);
        if apply(&disk, change).is_err() {
            return (committed, next);
        }
        committed = next;
    }
    (committed.clone(), committed)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let length = prop_oneof![0..200_usize, 3_000..9_000_usize];
    let entry = (0..40_u64, proptest::option::weighted(0.8, length));
    proptest::collection::vec(proptest::collection::vec(entry, 1..12), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn what_was_committed_survives_a_cut_at_every_sync(changes in changes(), seed: u64) {
        let whole = Drive::default();
        run(&whole, &changes);
        for nth in 1..=whole.syncs() {
            for fate in [Fate::Lost, Fate::Torn(seed ^ nth)] {
                let drive = Drive::default();
                drive.cut_at_sync(nth, fate);
                let (committed, under_way) = run(&drive, &changes);
                prop_assert!(drive.is_dead());
                // A file that was being made when the power went may be no database yet.
                match Disk::with_backend(drive.survivor(), CACHE_BYTES) {
                    Ok(disk) => {
                        let found = read(&disk);
                        prop_assert!(found == committed || found == under_way, "cut {nth} {fate:?}");
                    }
                    Err(error) => prop_assert!(committed.is_empty(), "cut {nth} {fate:?}: {error}"),
                }
            }
        }
    }
}

#[test]
fn writes_that_the_process_holds_back_are_there_after_the_sync_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("held.redb");
    let opening = Opening { cache_bytes: CACHE_BYTES, unsynced: Unsynced::Process };
    let copy = directory.path().join("copy.redb");
    let disk = Disk::open(&path, opening).unwrap();
    let mut rows = Rows::new();
    for round in 0..20_u64 {
        let change: Change =
            (0..10).map(|key| (round * 3 + key, Some(500 * key as usize))).collect();
        apply(&disk, &change).unwrap();
        apply_model(&mut rows, &change);
        // What the file itself holds is what a killed process leaves behind.
        let transaction = disk.begin_write().unwrap();
        transaction.open_table(TABLE).unwrap().insert(u64::MAX, [1_u8; 9_000].as_slice()).unwrap();
        std::fs::copy(&path, &copy).unwrap();
        transaction.abort().unwrap();
        let left = Disk::open(&copy, opening).unwrap();
        assert_eq!(read(&left), rows);
    }
}

#[test]
fn a_file_with_the_mark_of_an_error_is_copied_before_it_is_served() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let opening = Opening { cache_bytes: CACHE_BYTES, unsynced: Unsynced::Kernel };
    let change = vec![(1, Some(100)), (2, Some(9_000))];
    let disk = Disk::open(&path, opening).unwrap();
    apply(&disk, &change).unwrap();
    let error = std::io::Error::other("a test says so");
    let _ = disk.failed(vigia_disk::redb::Error::Io(error));
    drop(disk);
    let mark = directory.path().join("store.redb.ioerror");
    assert!(mark.exists());
    let before = std::fs::metadata(&path).unwrap().ino();
    let disk = Disk::open(&path, opening).unwrap();
    let after = std::fs::metadata(&path).unwrap();
    assert_ne!(before, after.ino());
    assert_eq!(after.permissions().mode() & 0o777, 0o600);
    assert!(!mark.exists());
    let mut rows = Rows::new();
    apply_model(&mut rows, &change);
    assert_eq!(read(&disk), rows);
    assert!(vigia_disk::free_bytes(&path).unwrap() > 0);
}
