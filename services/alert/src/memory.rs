//! What the alert role remembers, on disk: how far it has looked, each limit's state, the events that are
//! not published yet, and the last that were: a broker that dies may have forgotten them. All change in one
//! transaction, so that every alarm is raised once.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | `version` | u64 |
//! | `looked` | log | one past the last batch looked at |
//! | `states` | (rule, sensor) | [`State`], JSON |
//! | `outbox` | number | [`Event`], JSON |
//! | `said` | (rule, sensor) | the last [`Event`] that the broker had, JSON; since version 2 |

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use vigia_disk::redb::{self, ReadableTable, TableDefinition};
use vigia_disk::{Disk, Failed, Opening};
use vigia_kit::config::Limit;
use vigia_kit::rules::{Event, Sample, Side, State, look, watches, withdraw};
use vigia_protocol::header::SensorId;
use vigia_protocol::position::{LogId, Position};
use vigia_protocol::time::Micros;

use crate::limits::{ALARMS_SAID_AGAIN, CACHE_BYTES};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const LOOKED: TableDefinition<u64, u64> = TableDefinition::new("looked");
const STATES: TableDefinition<(&str, i16), &[u8]> = TableDefinition::new("states");
const OUTBOX: TableDefinition<u64, &[u8]> = TableDefinition::new("outbox");
const SAID: TableDefinition<(&str, i16), &[u8]> = TableDefinition::new("said");

const VERSION: u64 = 2;

/// A limit at a sensor.
type Key = (String, SensorId);

/// The memory, in memory and on disk.
#[derive(Debug)]
pub struct Memory {
    disk: Disk,
    looked: HashMap<LogId, u64>,
    states: HashMap<Key, State>,
    outbox: BTreeMap<u64, Event>,
    said: HashMap<Key, Event>,
    next_event: u64,
    changed_logs: HashMap<LogId, u64>,
    changed_states: HashMap<Key, State>,
    changed_said: HashSet<Key>,
    new_events: Vec<u64>,
    published: Vec<u64>,
}

impl Memory {
    /// Opens the file.
    ///
    /// # Errors
    /// If it cannot be opened or read, or a newer program made it.
    pub fn open(directory: &Path, unsynced: vigia_disk::Unsynced) -> anyhow::Result<Self> {
        let opening = Opening { cache_bytes: CACHE_BYTES, unsynced };
        let disk = Disk::open(&directory.join("alert.redb"), opening)?;
        disk.write(|transaction| {
            transaction.open_table(LOOKED)?;
            transaction.open_table(STATES)?;
            transaction.open_table(OUTBOX)?;
            transaction.open_table(SAID)?;
            let mut meta = transaction.open_table(META)?;
            let version = meta.get("version")?.map_or(0, |version| version.value());
            if version < VERSION {
                meta.insert("version", VERSION)?;
            }
            Ok(())
        })?;
        let mut memory = Self {
            disk,
            looked: HashMap::new(),
            states: HashMap::new(),
            outbox: BTreeMap::new(),
            said: HashMap::new(),
            next_event: 0,
            changed_logs: HashMap::new(),
            changed_states: HashMap::new(),
            changed_said: HashSet::new(),
            new_events: Vec::new(),
            published: Vec::new(),
        };
        memory.read()?;
        Ok(memory)
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let transaction = self.disk.begin_read()?;
        let version =
            transaction.open_table(META)?.get("version")?.map_or(0, |value| value.value());
        anyhow::ensure!(
            version <= VERSION,
            "alert.redb has format version {version}, this program knows up to {VERSION}"
        );
        for entry in transaction.open_table(LOOKED)?.iter()? {
            let (log, end) = entry?;
            self.looked.insert(LogId(log.value()), end.value());
        }
        for entry in transaction.open_table(STATES)?.iter()? {
            let (key, bytes) = entry?;
            let (rule, sensor) = key.value();
            let state = serde_json::from_slice(bytes.value())?;
            self.states.insert((rule.to_owned(), SensorId(sensor)), state);
        }
        for entry in transaction.open_table(OUTBOX)?.iter()? {
            let (number, bytes) = entry?;
            self.outbox.insert(number.value(), serde_json::from_slice(bytes.value())?);
            self.next_event = number.value() + 1;
        }
        for entry in transaction.open_table(SAID)?.iter()? {
            let (_, bytes) = entry?;
            let event = serde_json::from_slice(bytes.value())?;
            self.said.insert(key(&event), event);
        }
        Ok(())
    }

    /// Whether something of this log was looked at.
    pub fn knows(&self, log: LogId) -> bool {
        self.looked.contains_key(&log)
    }

    /// The next batch of a log that was not looked at.
    pub fn looked(&self, log: LogId) -> u64 {
        self.looked.get(&log).copied().unwrap_or(0)
    }

    /// The batch at this position was looked at.
    pub fn has_looked(&mut self, position: Position) {
        let end = position.n + 1;
        self.looked.insert(position.log, end);
        self.changed_logs.insert(position.log, end);
    }

    /// Looks at one value.
    pub fn look(&mut self, limits: &[Limit], sample: &Sample<'_>) {
        for limit in limits.iter().filter(|limit| watches(limit, sample)) {
            let key = (limit.name.clone(), sample.sensor);
            let state = self.states.entry(key.clone()).or_default();
            let was_active = state.active;
            let events = look(limit, state, sample);
            if state.active != was_active || !events.is_empty() {
                self.changed_states.insert(key, *state);
            }
            for event in events {
                self.tell(event);
            }
        }
    }

    /// Ends the alarms that no limit watches any more: renamed, taken away, or of another sensor or
    /// quantity now. Their numbers are kept: should the limit come back, its events are new ones.
    pub fn withdraw(&mut self, limits: &[Limit]) {
        let mut raised: HashMap<Key, Event> = self.said.clone();
        raised.extend(self.outbox.values().map(|event| (key(event), event.clone())));
        let active = self.states.iter().filter(|(_, state)| state.active.is_some());
        let active: Vec<(Key, State)> = active.map(|(key, state)| (key.clone(), *state)).collect();
        for ((rule, sensor), mut state) in active {
            let raised = raised.remove(&(rule.clone(), sensor));
            let is_watched = limits.iter().any(|limit| {
                limit.name == rule
                    && limit.sensor.is_none_or(|only| only == sensor)
                    && raised.as_ref().is_none_or(|event| event.quantity == limit.quantity)
            });
            if is_watched {
                continue;
            }
            let raised = raised.unwrap_or_else(|| unknown(&rule, sensor, &state));
            let event = withdraw(&mut state, &raised);
            self.states.insert((rule.clone(), sensor), state);
            self.changed_states.insert((rule, sensor), state);
            self.tell(event);
        }
    }

    fn tell(&mut self, event: Event) {
        tracing::info!(id = event.id, value = event.value, limit = event.limit, "alarm");
        self.outbox.insert(self.next_event, event);
        self.new_events.push(self.next_event);
        self.next_event += 1;
    }

    /// The alarms that are raised: rule and sensor.
    pub fn active(&self) -> impl Iterator<Item = (String, String)> {
        let active = self.states.iter().filter(|(_, state)| state.active.is_some());
        active.map(|((rule, sensor), _)| (rule.clone(), sensor.to_string()))
    }

    /// Events that the broker does not have yet.
    pub fn unpublished(&self) -> usize {
        self.outbox.len()
    }

    /// Whether something is not on disk yet.
    pub fn is_dirty(&self) -> bool {
        !(self.changed_logs.is_empty() && self.published.is_empty() && self.new_events.is_empty())
    }

    /// Whether new events wait to become durable, and so to be published.
    pub fn has_news(&self) -> bool {
        !self.new_events.is_empty()
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// [`Failed`]: the process must end.
    pub fn commit(&mut self) -> Result<(), Failed> {
        // `looked_at` of quiet limits follows the position: what was looked at is not looked at again.
        self.disk.write(|transaction| {
            let mut looked = transaction.open_table(LOOKED)?;
            for (log, end) in &self.changed_logs {
                looked.insert(log.0, end)?;
            }
            let mut states = transaction.open_table(STATES)?;
            for ((rule, sensor), state) in &self.changed_states {
                states.insert((rule.as_str(), sensor.0), json(state).as_slice())?;
            }
            let mut outbox = transaction.open_table(OUTBOX)?;
            for number in &self.new_events {
                if let Some(event) = self.outbox.get(number) {
                    outbox.insert(number, json(event).as_slice())?;
                }
            }
            for number in &self.published {
                outbox.remove(number)?;
            }
            let mut said = transaction.open_table(SAID)?;
            for changed in &self.changed_said {
                let (rule, sensor) = (changed.0.as_str(), changed.1.0);
                match self.said.get(changed) {
                    Some(event) => said.insert((rule, sensor), json(event).as_slice())?,
                    None => said.remove((rule, sensor))?,
                };
            }
            Ok::<(), redb::Error>(())
        })?;
        self.changed_logs.clear();
        self.changed_states.clear();
        self.changed_said.clear();
        self.new_events.clear();
        self.published.clear();
        Ok(())
    }

    /// Durable events from `from` on, in order, that are not published yet.
    pub fn to_publish(&self, from: u64) -> Vec<(u64, Event)> {
        self.outbox
            .range(from..)
            .filter(|(number, _)| !self.new_events.contains(number))
            .map(|(number, event)| (*number, event.clone()))
            .collect()
    }

    /// The broker has this event.
    pub fn has_published(&mut self, number: u64) {
        let Some(event) = self.outbox.remove(&number) else { return };
        self.published.push(number);
        let last = key(&event);
        self.said.insert(last.clone(), event);
        self.changed_said.insert(last);
        if self.said.len() > ALARMS_SAID_AGAIN {
            let ended = self.said.iter().find(|(_, event)| !event.active);
            if let Some(ended) = ended.map(|(ended, _)| ended.clone()) {
                self.said.remove(&ended);
                self.changed_said.insert(ended);
            }
        }
    }

    /// The last event of each alarm that the broker had, but of those that have a newer one.
    pub fn said(&self) -> impl Iterator<Item = &Event> {
        let newer: HashSet<Key> = self.outbox.values().map(key).collect();
        self.said.iter().filter(move |(last, _)| !newer.contains(last)).map(|(_, event)| event)
    }
}

/// What raised an alarm, if a file of version 1 says that it is raised: that has no more.
fn unknown(rule: &str, sensor: SensorId, state: &State) -> Event {
    Event {
        id: String::new(),
        sensor,
        rule: rule.to_owned(),
        active: true,
        side: state.active.unwrap_or(Side::High),
        quantity: String::new(),
        value: 0.0,
        limit: 0.0,
        time: Micros::default().to_string(),
        place: state.looked_at,
    }
}

fn key(event: &Event) -> Key {
    (event.rule.clone(), event.sensor)
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data has an encoding")
}
