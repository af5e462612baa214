//! What the devices' readings wait in: `spool.redb`, the memory of every sensor that the role is.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `version` | u64 |
//! | `changes` | (sensor, n) | [`Change`], postcard |
//!
//! A sensor's rows, in their order, are the history of its memory; replayed, they make it again. Where the history has
//! become much longer than it need be, the shortest one replaces it. One thread writes, and commits what has queued
//! meanwhile: fifty devices are ten commits a second, not fifty.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::Context;
use tokio::sync::{mpsc, oneshot};
use vigia_disk::redb::{self, ReadableTable, TableDefinition};
use vigia_disk::{Disk, EXIT_IO_ERROR, Opening, Unsynced};
use vigia_protocol::header::SensorId;
use vigia_protocol::held::{Change, Held};

use crate::limits::{COMMIT_SPACING, MAX_DEVICES, SPOOL_BYTES_PER_DEVICE, SPOOL_CACHE_BYTES};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const CHANGES: TableDefinition<(i16, u64), &[u8]> = TableDefinition::new("changes");
const VERSION: u64 = 1;

/// What a sensor had in the spool.
#[derive(Debug)]
pub struct Kept {
    /// Its memory.
    pub held: Held,
    /// How many rows it takes.
    pub rows: usize,
}

/// An open spool.
#[derive(Debug)]
pub struct Spool {
    disk: Disk,
    next: BTreeMap<SensorId, u64>,
}

/// The way to the writer. It ends when all are gone.
#[derive(Debug, Clone)]
pub struct Keeper(mpsc::Sender<Request>);

/// The writer is gone: the process ends.
#[derive(Debug, thiserror::Error)]
#[error("the spool's writer is gone")]
pub struct Gone;

/// Something to be written down.
#[derive(Debug)]
struct Request {
    sensor: SensorId,
    rows: Vec<Change>,
    /// Whether the rows replace those that are there.
    whole: bool,
    done: oneshot::Sender<()>,
}

impl Spool {
    /// Opens the file, and reads what it holds of each sensor.
    ///
    /// # Errors
    /// If it cannot be opened or read, or a newer program made it.
    pub fn open(
        directory: &Path,
        unsynced: Unsynced,
    ) -> anyhow::Result<(Self, BTreeMap<SensorId, Kept>)> {
        let path = directory.join("spool.redb");
        let disk = Disk::open(&path, Opening { cache_bytes: SPOOL_CACHE_BYTES, unsynced })?;
        Self::of(disk).with_context(|| format!("{}", path.display()))
    }

    /// The spool on this disk.
    ///
    /// # Errors
    /// As [`Spool::open`], without the file's name.
    pub fn of(disk: Disk) -> anyhow::Result<(Self, BTreeMap<SensorId, Kept>)> {
        disk.write(|transaction| {
            transaction.open_table(CHANGES)?;
            let mut meta = transaction.open_table(META)?;
            if meta.get("version")?.is_none() {
                meta.insert("version", VERSION)?;
            }
            Ok(())
        })?;
        let transaction = disk.begin_read()?;
        let version = transaction.open_table(META)?.get("version")?.map_or(0, |it| it.value());
        anyhow::ensure!(
            version <= VERSION,
            "the spool has format version {version}, this program knows up to {VERSION}"
        );
        let mut histories: BTreeMap<SensorId, Vec<Change>> = BTreeMap::new();
        let mut next = BTreeMap::new();
        for row in transaction.open_table(CHANGES)?.iter()? {
            let (key, bytes) = row?;
            let (sensor, n) = key.value();
            let change = postcard::from_bytes(bytes.value())
                .with_context(|| format!("row {n} of sensor {sensor}"))?;
            histories.entry(SensorId(sensor)).or_default().push(change);
            next.insert(SensorId(sensor), n + 1);
        }
        let mut kept = BTreeMap::new();
        for (sensor, history) in histories {
            let rows = history.len();
            let held = Held::replay(SPOOL_BYTES_PER_DEVICE, history)
                .with_context(|| format!("the rows of sensor {sensor}"))?;
            kept.insert(sensor, Kept { held, rows });
        }
        Ok((Self { disk, next }, kept))
    }

    /// Writes from now on, in a thread of its own. A write that fails ends the process.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn serve(mut self) -> std::io::Result<(Keeper, JoinHandle<()>)> {
        // Each sensor waits for its last request before it sends another.
        let (sender, mut requests) = mpsc::channel::<Request>(MAX_DEVICES);
        let write = move || {
            let mut last: Option<Instant> = None;
            while let Some(first) = requests.blocking_recv() {
                if let Some(pause) = last.and_then(|at| COMMIT_SPACING.checked_sub(at.elapsed())) {
                    std::thread::sleep(pause);
                }
                last = Some(Instant::now());
                let mut batch = vec![first];
                batch.extend(std::iter::from_fn(|| requests.try_recv().ok()));
                if let Err(failed) = self.write(&batch) {
                    tracing::error!(error = %failed, "spool.redb cannot be written; this process ends");
                    std::process::exit(EXIT_IO_ERROR);
                }
                // Who does not wait any more has no use for it either.
                for request in batch {
                    let _ = request.done.send(());
                }
            }
        };
        let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(write)?;
        Ok((Keeper(sender), thread))
    }

    fn write(&mut self, batch: &[Request]) -> Result<(), vigia_disk::Failed> {
        let next = &mut self.next;
        self.disk.write(|transaction| {
            let mut table = transaction.open_table(CHANGES)?;
            for Request { sensor, rows, whole, .. } in batch {
                if *whole {
                    table.retain_in((sensor.0, 0)..=(sensor.0, u64::MAX), |_, _| false)?;
                }
                let n = next.entry(*sensor).or_default();
                for change in rows {
                    let bytes = postcard::to_stdvec(change).expect("plain data has an encoding");
                    table.insert((sensor.0, *n), bytes.as_slice())?;
                    *n += 1;
                }
            }
            Ok::<(), redb::Error>(())
        })
    }
}

impl Keeper {
    /// Hands changes of a sensor's memory over, to be added to those that are there, or to replace them. What is
    /// returned says when they are durable.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn keep(
        &self,
        sensor: SensorId,
        rows: Vec<Change>,
        whole: bool,
    ) -> Result<oneshot::Receiver<()>, Gone> {
        let (done, is_done) = oneshot::channel();
        let request = Request { sensor, rows, whole, done };
        self.0.send(request).await.map_err(|_| Gone)?;
        Ok(is_done)
    }
}
