//! What the bus did not bring, from the store: log by log, oldest first.
//!
//! Every start of the broker begins a new log, and the last of the old one may have passed while nobody
//! listened here. So the first batch of a log on a connection, and one after a hole, are not looked at as
//! they come: first the store must have them. Every hop keeps order, so it then also has what came before,
//! in whichever log, and all of that is looked at in its order. An alarm depends on it: a sensor's older
//! readings change nothing any more.

use std::collections::HashSet;

use tokio::time::Instant;
use vigia_kit::config::Limit;
use vigia_kit::rules::Sample;
use vigia_protocol::position::{LogId, Position};

use crate::limits::{ASK_EVERY, COMPLAINT_SPACING};
use crate::memory::Memory;
use crate::store::{Batch, Store};

/// See the module.
#[derive(Debug)]
pub struct CatchUp {
    store: Store,
    /// Logs of which everything was heard since the connection was made, or fetched.
    following: HashSet<LogId>,
    /// When the store was last asked.
    asked: Option<Instant>,
    /// Since when a batch is waited for, or when that was last told.
    waiting: Option<Instant>,
}

impl CatchUp {
    /// From this store.
    pub fn new(store: Store) -> Self {
        Self { store, following: HashSet::new(), asked: None, waiting: None }
    }

    /// A new connection to the bus: what came before it may have been missed.
    pub fn connected(&mut self) {
        self.following.clear();
        self.asked = None;
        self.waiting = None;
    }

    /// Whether nothing is missing between what was looked at and this batch.
    pub fn follows(&self, memory: &Memory, position: Position) -> bool {
        self.following.contains(&position.log) && memory.looked(position.log) == position.n
    }

    /// Looks at this batch and all before it; `false` if the store does not have them all yet.
    pub async fn reach(
        &mut self,
        memory: &mut Memory,
        limits: &[Limit],
        position: Position,
    ) -> bool {
        let result = self.finish(memory, limits, Some(position.log)).await;
        if memory.looked(position.log) > position.n {
            self.following.insert(position.log);
            self.waiting = None;
            return true;
        }
        let now = Instant::now();
        let since = *self.waiting.get_or_insert(now);
        if now.duration_since(since) >= COMPLAINT_SPACING {
            let why = result.err().map_or_else(|| "it is behind".to_owned(), |e| e.to_string());
            tracing::warn!(%position, why, "waits for the store, and watches nothing meanwhile");
            self.waiting = Some(now);
        }
        false
    }

    /// Looks at what the store has, if it was not asked for a while: sensors may have been silent since
    /// something was missed.
    pub async fn look_round(&mut self, memory: &mut Memory, limits: &[Limit]) {
        if self.asked.is_some_and(|asked| asked.elapsed() < ASK_EVERY) {
            return;
        }
        if let Err(error) = self.finish(memory, limits, None).await {
            tracing::warn!(%error, "cannot ask the store for what was missed");
        }
    }

    /// Looks at all that the store has. A memory that knows no log yet begins with `heard`, or the newest.
    async fn finish(
        &mut self,
        memory: &mut Memory,
        limits: &[Limit],
        heard: Option<LogId>,
    ) -> anyhow::Result<()> {
        self.asked = Some(Instant::now());
        let logs = self.store.logs().await?;
        let first = logs.iter().position(|log| memory.knows(log.id) || Some(log.id) == heard);
        let first = first.unwrap_or(logs.len().saturating_sub(1));
        for log in &logs[first..] {
            while memory.looked(log.id) < log.end {
                let batches = self.store.batches(log.id, memory.looked(log.id)).await?;
                for batch in &batches {
                    look_at(memory, limits, batch);
                    memory.has_looked(Position { log: log.id, n: batch.n });
                }
                if batches.is_empty() {
                    memory.has_looked(Position { log: log.id, n: log.end - 1 });
                }
            }
        }
        Ok(())
    }
}

fn look_at(memory: &mut Memory, limits: &[Limit], batch: &Batch) {
    for reading in &batch.readings {
        let (sensor, place, time) = reading.identity();
        for (quantity, value) in &reading.values {
            let Some(value) = *value else { continue };
            memory.look(limits, &Sample { sensor, place, time, quantity, value });
        }
    }
}
