//! Retained messages: the newest of each topic, for who subscribes later (MQTT 5.0, 3.3.1.3).
//!
//! In memory, and conflated to a file now and then: what a topic said last before the broker was
//! killed may be some seconds old when it starts again, until it is said anew.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use vigia_disk::redb::{self, ReadableTable, TableDefinition};
use vigia_disk::{Disk, Failed, Opening, Unsynced};
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::filter::Filter;
use vigia_protocol::topic::status_filter;

use super::message::Message;
use crate::limits::{
    RETAINED_BYTES, RETAINED_CACHE_BYTES, RETAINED_FLUSH, RETAINED_MESSAGE_BYTES, RETAINED_TOPICS,
};

const MESSAGES: TableDefinition<&str, &[u8]> = TableDefinition::new("retained");

/// All retained messages.
pub struct RetainedMessages {
    memory: RwLock<Memory>,
    disk: Disk,
    flushing: Mutex<()>,
}

#[derive(Default)]
struct Memory {
    messages: BTreeMap<String, Message>,
    bytes: usize,
    /// Topics whose newest message is not in the file yet.
    changed: BTreeSet<String>,
}

/// Why a message is not retained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl RetainedMessages {
    /// Opens the file.
    ///
    /// # Errors
    /// If it cannot be opened or read.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let opening = Opening { cache_bytes: RETAINED_CACHE_BYTES, unsynced: Unsynced::Kernel };
        let disk = Disk::open(&directory.join("retained.redb"), opening)?;
        disk.write(|transaction| transaction.open_table(MESSAGES).map(|_| ()).map_err(Into::into))?;
        let mut memory = Memory::default();
        let statuses = Filter::parse(&status_filter())?;
        let transaction = disk.begin_read()?;
        for row in transaction.open_table(MESSAGES)?.iter()? {
            let (topic, sealed) = row?;
            let name = Bytes::copy_from_slice(topic.value().as_bytes());
            let sealed = Bytes::copy_from_slice(sealed.value());
            // Who is there now will say so again; who is gone cannot.
            if statuses.matches(topic.value()) {
                memory.changed.insert(topic.value().to_owned());
            } else if let Some(message) = Message::open(name, &sealed) {
                memory.bytes += message.size();
                memory.messages.insert(topic.value().to_owned(), message);
            }
        }
        Ok(Self { memory: RwLock::new(memory), disk, flushing: Mutex::default() })
    }

    /// Keeps the message as its topic's newest; an empty one clears the topic.
    ///
    /// # Errors
    /// [`Full`], if there is no room for one more topic or for so large a message.
    pub fn keep(&self, message: &Message) -> Result<(), Full> {
        let mut memory = self.write();
        let old = memory.messages.get(message.topic()).map(Message::size);
        let room = old.is_some() || memory.messages.len() < RETAINED_TOPICS;
        if message.payload.is_empty() {
            if let Some(old) = old {
                memory.messages.remove(message.topic());
                memory.bytes -= old;
                memory.changed.insert(message.topic().to_owned());
            }
            return Ok(());
        }
        let bytes = memory.bytes - old.unwrap_or(0) + message.size();
        if !room || bytes > RETAINED_BYTES || message.size() > RETAINED_MESSAGE_BYTES {
            return Err(Full);
        }
        memory.bytes = bytes;
        memory.changed.insert(message.topic().to_owned());
        memory.messages.insert(message.topic().to_owned(), message.clone());
        Ok(())
    }

    /// The first message after this topic, in the order of topics, that one of the filters matches.
    pub fn after(&self, topic: Option<&str>, filters: &[Filter], now_ms: u64) -> Option<Message> {
        let memory = self.read();
        let first = |filter: &Filter| {
            // Only topics that begin as the filter does are looked at.
            let stem = stem(filter);
            let from = match topic {
                Some(topic) if topic >= stem => Bound::Excluded(topic),
                _ => Bound::Included(stem),
            };
            memory
                .messages
                .range::<str, _>((from, Bound::Unbounded))
                .take_while(|(topic, _)| topic.starts_with(stem))
                .find(|(topic, message)| !message.expired(now_ms) && filter.matches(topic))
        };
        let next = filters.iter().filter_map(first).min_by_key(|(topic, _)| *topic);
        next.map(|(_, message)| message.clone())
    }

    /// How many there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let memory = self.read();
        (memory.messages.len(), memory.bytes)
    }

    /// Brings the file up to date every now and then, until the end. On a thread of its own: nothing
    /// waits for this disk.
    pub async fn keep_up(self: Arc<Self>, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.ended() => return,
                () = tokio::time::sleep(RETAINED_FLUSH) => {}
            }
            let own = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || own.flush()).await;
        }
    }

    /// Brings the file up to date.
    pub fn flush(&self) {
        let _one_at_a_time = self.flushing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = self.write_changes(now_ms()) {
            // They live in memory; a journal on a disk in this state ends the process itself.
            tracing::error!(%error, "cannot write retained messages");
        }
    }

    fn write_changes(&self, now_ms: u64) -> Result<(), Failed> {
        let changed: Vec<(String, Option<Bytes>)> = {
            let mut memory = self.write();
            let over: Vec<String> = memory
                .messages
                .iter()
                .filter(|(_, message)| message.expired(now_ms))
                .map(|(topic, _)| topic.clone())
                .collect();
            for topic in over {
                if let Some(message) = memory.messages.remove(&topic) {
                    memory.bytes -= message.size();
                }
                memory.changed.insert(topic);
            }
            let changed = std::mem::take(&mut memory.changed);
            changed
                .into_iter()
                .map(|topic| {
                    let sealed = memory.messages.get(&topic).map(Message::seal);
                    (topic, sealed)
                })
                .collect()
        };
        if changed.is_empty() {
            return Ok(());
        }
        let written = self.disk.write(|transaction| {
            let mut table = transaction.open_table(MESSAGES)?;
            for (topic, sealed) in &changed {
                match sealed {
                    Some(sealed) => table.insert(topic.as_str(), &sealed[..])?,
                    None => table.remove(topic.as_str())?,
                };
            }
            Ok::<_, redb::Error>(())
        });
        if written.is_err() {
            // Next time, then.
            self.write().changed.extend(changed.into_iter().map(|(topic, _)| topic));
        }
        written
    }

    fn read(&self) -> RwLockReadGuard<'_, Memory> {
        self.memory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Memory> {
        self.memory.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What every topic begins with that the filter matches: its levels before the first wildcard. `a/#`
/// matches `a` as well.
fn stem(filter: &Filter) -> &str {
    let text = filter.as_str();
    let stem = text.find(['+', '#']).map_or(text, |wildcard| &text[..wildcard]);
    if text.ends_with('#') { stem.strip_suffix('/').unwrap_or(stem) } else { stem }
}

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    (vigia_kit::clock::now().0 / 1000).max(0) as u64
}
