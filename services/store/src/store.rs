//! The store: one file, the state derived from it, and the one door through which both change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;
pub use vigia_disk::Unsynced;
use vigia_disk::{Disk, Failed, Opening};
use vigia_kit::config::Sabotage;
use vigia_protocol::position::LogId;
use vigia_protocol::report::{StoreReport, StoredLog};
use vigia_protocol::time::Micros;
use vigia_protocol::topic::NodeName;

use crate::account::LogAccount;
use crate::backup::{self, Label, Progress, Watermark};
use crate::batch::Intake;
use crate::duplicates::Duplicates;
use crate::limits::CACHE_BYTES;
use crate::query::Snapshot;
use crate::state::State;
use crate::tables::{self, CannotLoad, Writes};

/// See the module.
#[derive(Debug)]
pub struct Store {
    disk: Disk,
    state: RwLock<State>,
    arrived: watch::Sender<u64>,
    instance: u64,
    replaces: Vec<u64>,
}

/// A report for a node's broker.
pub type Answer = (NodeName, StoreReport);

impl Store {
    /// Opens the file, or makes it, and replays what is not packed.
    ///
    /// # Errors
    /// A file that cannot be opened, is newer than this program, or cannot be read.
    pub fn open(
        path: &Path,
        unsynced: Unsynced,
        defect: Option<Sabotage>,
        now: Micros,
    ) -> anyhow::Result<Self> {
        let disk = Disk::open(path, Opening { cache_bytes: CACHE_BYTES, unsynced })?;
        Ok(Self::on(disk, defect, now)?)
    }

    /// Serves what `disk` holds.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn on(disk: Disk, defect: Option<Sabotage>, now: Micros) -> Result<Self, CannotLoad> {
        let random = u64::from_le_bytes(vigia_kit::clock::random());
        let loaded = tables::load(&disk, random)?;
        let (instance, packed) = (loaded.instance, loaded.packed);
        let replaces = loaded.replaces.clone();
        let mut state = State::new(loaded, defect, now);
        tables::replay(&disk, packed, |arrival, row| state.replay(arrival, row))?;
        let arrived = watch::Sender::new(state.next_arrival());
        Ok(Self { disk, state: RwLock::new(state), arrived, instance, replaces })
    }

    /// Takes messages in, in their order, in one transaction. When this returns, they may be
    /// acknowledged, and then the answers published.
    ///
    /// # Errors
    /// [`Failed`]: end the process.
    pub fn ingest(&self, intakes: &[Intake<'_>], now: Micros) -> Result<Vec<Answer>, Failed> {
        // Held until the commit: no reader sees what is not durable.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut writes = Writes::default();
        let mut duplicates = Duplicates::new(&self.disk);
        let mut answers: BTreeMap<&NodeName, BTreeSet<LogId>> = BTreeMap::new();
        for intake in intakes {
            match intake {
                Intake::Batch(node, head, batch, raw) => {
                    answers.entry(node).or_default().insert(head.position.log);
                    if !state.has(head.position.log, head.position.n) {
                        let from = (node.as_str(), *head);
                        state
                            .take_batch(from, batch, (raw, now), &mut duplicates, &mut writes)
                            .map_err(|error| self.disk.failed(error))?;
                    }
                }
                Intake::Malformed(node, head, raw) => {
                    answers.entry(node).or_default().insert(head.position.log);
                    if !state.has(head.position.log, head.position.n) {
                        tracing::error!(position = %head.position, "a malformed batch");
                        state.take_malformed((node.as_str(), *head), raw, now, &mut writes);
                    }
                }
                Intake::Marker(node, marker) => {
                    answers.entry(node).or_default().extend(&marker.logs);
                    state.journals.mark(node, (marker.session, marker.number));
                }
                Intake::Journal(node, report) => {
                    let State { journals, logs, .. } = &mut *state;
                    for (log, extents) in journals.hear(node, report.clone(), now, logs) {
                        tracing::error!(%log, ?extents, "held by no one any more: lost");
                        answers.entry(node).or_default().insert(log);
                        state.take_lost(log, extents, &mut writes);
                    }
                }
            }
        }
        state.journals.collect(now, &mut writes);
        if state.is_checkpoint_due(now) {
            state.checkpoint(now, &mut writes);
        }
        self.commit(&mut state, &writes)?;
        Ok(answers
            .into_iter()
            .map(|(node, logs)| (node.clone(), self.report(&state, node, &logs)))
            .collect())
    }

    /// Packs everything, so that the next opening replays nothing.
    ///
    /// # Errors
    /// [`Failed`]: end the process.
    pub fn checkpoint(&self, now: Micros) -> Result<(), Failed> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut writes = Writes::default();
        state.checkpoint(now, &mut writes);
        self.commit(&mut state, &writes)
    }

    /// Gives up on what a journal had acknowledged that is gone: the ledger does not ask for it any more. Whether there
    /// is such a journal.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn write_off(&self, journal: u64, now: Micros) -> Result<bool, Failed> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let is_there = state.journals.write_off(journal);
        let mut writes = Writes::default();
        state.journals.collect(now, &mut writes);
        self.commit(&mut state, &writes)?;
        Ok(is_there)
    }

    /// What is committed now, for a query about at most one sensor's readings.
    ///
    /// # Errors
    /// What redb says.
    pub fn snapshot(
        &self,
        sensor: Option<vigia_protocol::header::SensorId>,
    ) -> Result<Snapshot, vigia_disk::redb::Error> {
        let state = self.read();
        Ok(Snapshot::new(&state, self.disk.begin_read()?, sensor))
    }

    /// Writes what is committed now to a new file. `tell` hears of the progress, and may stop it.
    ///
    /// # Errors
    /// If the file is there already, cannot be written, or `tell` stopped it.
    pub fn back_up(
        &self,
        node: &NodeName,
        file: &Path,
        now: Micros,
        tell: &mut dyn FnMut(Progress) -> anyhow::Result<()>,
    ) -> anyhow::Result<Label> {
        let (transaction, label) = {
            let state = self.read();
            (self.disk.begin_read()?, self.label(&state, node, now))
        };
        backup::write(&transaction, &label, file, tell)?;
        Ok(label)
    }

    fn label(&self, state: &State, node: &NodeName, now: Micros) -> Label {
        let watermark = |(log, account): (&LogId, &LogAccount)| Watermark {
            log: log.to_string(),
            end: account.extents.watermark(),
        };
        Label {
            node: node.to_string(),
            instance: LogId(self.instance).to_string(),
            made: now.to_string(),
            readings: state.logs.values().map(|account| account.totals.stored.readings).sum(),
            logs: state.logs.iter().map(watermark).collect(),
        }
    }

    /// The state as of the last commit. Hold it shortly: ingest waits.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next row of the log, as of the last commit; changes with every commit that adds some.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Which store this is.
    pub fn instance(&self) -> u64 {
        self.instance
    }

    fn commit(&self, state: &mut State, writes: &Writes) -> Result<(), Failed> {
        if !writes.is_empty() {
            let removed = self.disk.write(|transaction| writes.put(transaction))?;
            state.log_rows_removed(removed);
            let next = state.next_arrival();
            self.arrived.send_if_modified(|arrived| std::mem::replace(arrived, next) != next);
        }
        Ok(())
    }

    fn report(&self, state: &State, node: &NodeName, logs: &BTreeSet<LogId>) -> StoreReport {
        let nothing = LogAccount::new(node.as_str(), Micros::default());
        let logs = logs
            .iter()
            .map(|log| state.logs.get(log).unwrap_or(&nothing).report(*log))
            .collect::<Vec<StoredLog>>();
        StoreReport {
            instance: self.instance,
            replaces: self.replaces.clone(),
            marker: state.journals.last_marker(node),
            logs,
        }
    }
}
