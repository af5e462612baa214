//! The spool: what was said to be durable is there at the next opening.

use std::collections::BTreeMap;
use std::path::Path;

use vigia_disk::power_cut::Drive;
use vigia_disk::{Disk, Unsynced};
use vigia_modbus::spool::{Kept, Spool};
use vigia_protocol::header::SensorId;
use vigia_protocol::held::{Change, Held};

const READING: [u8; 20] = [7; 20];
const SENSORS: [SensorId; 2] = [SensorId(-3), SensorId(21)];

fn open(directory: &Path) -> (Spool, BTreeMap<SensorId, Kept>) {
    Spool::open(directory, Unsynced::Process).unwrap()
}

/// What a memory of so many readings has gone through, and the memory.
fn taken(count: usize) -> (Vec<Change>, Held) {
    let (mut held, mut changes) = (Held::new(1 << 20), Vec::new());
    for _ in 0..count {
        held.take(&READING, &mut changes);
    }
    (changes, held)
}

#[tokio::test]
async fn what_was_durable_makes_the_same_memory_again() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, kept) = open(directory.path());
    assert!(kept.is_empty());
    let (keeper, writer) = spool.serve().unwrap();
    let mut done = Vec::new();
    for (sensor, count) in SENSORS.into_iter().zip([3, 5]) {
        done.push(keeper.keep(sensor, taken(count).0, false).await.unwrap());
    }
    for one in done {
        one.await.unwrap();
    }
    drop(keeper);
    writer.join().unwrap();

    let (spool, kept) = open(directory.path());
    let found: Vec<_> = kept.iter().map(|(id, kept)| (*id, kept.held.len(), kept.rows)).collect();
    assert_eq!(found, [(SENSORS[0], 3, 3), (SENSORS[1], 5, 5)]);

    // A shorter history in place of the long one; what comes after follows on.
    let (keeper, writer) = spool.serve().unwrap();
    let (_, mut held) = taken(5);
    let mut changes = Vec::new();
    held.in_custody(6);
    held.forget(6, &mut changes);
    let history = held.history();
    let rows = history.len();
    keeper.keep(SENSORS[1], history, true).await.unwrap().await.unwrap();
    let mut changes = Vec::new();
    held.take(&READING, &mut changes);
    keeper.keep(SENSORS[1], changes, false).await.unwrap().await.unwrap();
    drop(keeper);
    writer.join().unwrap();
    let (_, kept) = open(directory.path());
    assert_eq!(kept[&SENSORS[0]].held.len(), 3, "the other's rows are untouched");
    assert_eq!(kept[&SENSORS[1]].rows, rows + 1);
    assert_eq!((kept[&SENSORS[1]].held.oldest().seq, kept[&SENSORS[1]].held.len()), (6, 1));
}

#[tokio::test]
async fn rows_that_are_no_history_are_refused_with_the_sensor() {
    let directory = tempfile::tempdir().unwrap();
    let (keeper, writer) = open(directory.path()).0.serve().unwrap();
    let wrong = vec![Change::Taken(9, READING.into())];
    keeper.keep(SENSORS[1], wrong, false).await.unwrap().await.unwrap();
    drop(keeper);
    writer.join().unwrap();
    let error = Spool::open(directory.path(), Unsynced::Kernel).unwrap_err();
    let sentence = format!("{error:#}");
    assert!(sentence.contains("spool.redb") && sentence.contains("sensor 21"), "{sentence}");
}

#[tokio::test]
async fn fifty_devices_are_not_fifty_commits() {
    let drive = Drive::default();
    let (spool, _) = Spool::of(Disk::with_backend(drive.clone(), 1 << 20).unwrap()).unwrap();
    let (keeper, writer) = spool.serve().unwrap();
    let before = drive.syncs();
    keeper.keep(SensorId(0), taken(1).0, false).await.unwrap().await.unwrap();
    let one_commit = drive.syncs() - before;
    assert!(one_commit > 0);
    let mut done = Vec::new();
    for sensor in 1..=50 {
        done.push(keeper.keep(SensorId(sensor), taken(1).0, false).await.unwrap());
    }
    for one in done {
        one.await.unwrap();
    }
    let commits = (drive.syncs() - before) / one_commit;
    assert!((2..=4).contains(&commits), "{commits} commits");
    drop(keeper);
    writer.join().unwrap();
}
