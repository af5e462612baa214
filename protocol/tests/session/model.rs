//! A sensor, its clones, an ingress with a journal and a store, in virtual time.
//!
//! Only [`Device`], [`Ingress`], [`Held`] and [`Grant`] are real. The journal is a list, its sync a line
//! of code, and everything between them is lost, late or cut as the operations say.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use vigia_protocol::decoder::Frame;
use vigia_protocol::device::Device;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::held::{Change, Held};
use vigia_protocol::ingress::{Event, Grant, Ingress, Offer};
use vigia_protocol::keys::{DeviceKey, Secret};
use vigia_protocol::limits::WINDOW_FRAMES;
use vigia_protocol::sealed::{Opened, nonce_of, open};
use vigia_protocol::time::Micros;

pub const SENSOR: SensorId = SensorId(7);
pub const READING_BYTES: usize = 24;

pub fn key() -> DeviceKey {
    DeviceKey(Secret::new([7; 32]))
}

/// What can happen. Numbers choose among what is there.
#[derive(Debug, Clone)]
pub enum Op {
    Take(u8),
    /// Connects, whether or not the last connection is known to be gone at the other end.
    Connect(u8),
    Up(u8, u16),
    Down(u8, u16),
    /// Cuts a connection; what is on its way is lost.
    Cut(u8),
    Pass(u16),
    /// A whole round trip without a fault, but for the store, which hears nothing.
    Round(u8),
    /// The journal decides on what is queued, and syncs it.
    Sync,
    /// So many of the journal's answers reach their sessions.
    Tell(u8),
    Busy(bool),
    /// The store takes over so many frames of the journal.
    Store(u8),
    /// The broker dies: before or after the sync of what is queued.
    CrashBroker(bool),
    /// The device dies: before its changes are durable, or after and before its bytes leave.
    CrashDevice(u8, bool),
    /// As a crash, and the key is rotated.
    Rotate(u8),
    LoseJournal,
    KeepJournal,
    RestoreJournal,
    Clone(u8),
    KeepMemory(u8),
    RollBack(u8),
    LoseMemory(u8),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Reading(u64),
    Gap,
}

/// What a journal file has.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    grant: Grant,
    frames: Vec<(Place, Vec<Content>)>,
    contents: BTreeMap<Place, Content>,
    /// How many frames the store has taken over.
    stored: usize,
}

impl Journal {
    fn stored_mark(&self) -> Place {
        let last = self.frames[..self.stored].last();
        last.map_or_else(Place::default, |(place, has)| Place {
            stream: place.stream,
            seq: place.seq + has.len() as u64,
        })
    }

    fn grant(&self) -> Grant {
        Grant { stored: self.stored_mark().within(self.grant.next.stream), ..self.grant }
    }
}

enum Request {
    Greet(usize, Place),
    Frame(usize, Frame, [u8; 24]),
}

enum Reply {
    Grant(usize, Grant),
    Journaled(usize, Place),
    TurnedAway(usize, Place, Option<u32>),
}

/// One TCP connection.
struct Connection {
    sensor: usize,
    ingress: Option<Ingress>,
    /// The device still reads and writes here.
    attached: bool,
    established: bool,
    up: VecDeque<u8>,
    down: VecDeque<u8>,
}

/// One memory of the sensor, and whoever runs on it.
pub struct Sensor {
    pub device: Device,
    epoch: u16,
    bound: usize,
    /// What its disk has.
    pub durable: Vec<Change>,
    kept: Vec<Change>,
    connection: Option<usize>,
    /// Which reading stands where in the present stream.
    numbers: BTreeMap<u64, u64>,
    stream: u32,
}

pub struct World {
    pub now: Micros,
    random: u64,
    next_reading: u64,
    pub sensors: Vec<Sensor>,
    connections: Vec<Connection>,
    pub journal: Journal,
    kept_journal: Option<Journal>,
    queue: VecDeque<Request>,
    replies: VecDeque<Reply>,
    busy: bool,
    pub store: BTreeMap<Place, Content>,
    /// Two contents of one identity came to the store.
    pub conflicts: Vec<Place>,
    acknowledged: BTreeSet<u64>,
    /// Readings whose only copy behind the wire went with a journal.
    destroyed: BTreeSet<u64>,
    pub new_streams: usize,
    /// All bytes that a device ever sent, by connection: for replays.
    pub sent: Vec<Vec<u8>>,
}

impl World {
    pub fn new(spool_readings: usize) -> Self {
        let bound = spool_readings * READING_BYTES;
        Self {
            now: Micros(1_767_225_600_000_000),
            random: 1,
            next_reading: 1,
            sensors: vec![Sensor {
                device: Device::new(&key(), SENSOR, 1, Held::new(bound)),
                epoch: 1,
                bound,
                durable: Vec::new(),
                kept: Vec::new(),
                connection: None,
                numbers: BTreeMap::new(),
                stream: 1,
            }],
            connections: Vec::new(),
            journal: Journal::default(),
            kept_journal: None,
            queue: VecDeque::new(),
            replies: VecDeque::new(),
            busy: false,
            store: BTreeMap::new(),
            conflicts: Vec::new(),
            acknowledged: BTreeSet::new(),
            destroyed: BTreeSet::new(),
            new_streams: 0,
            sent: Vec::new(),
        }
    }

    fn draw(&mut self) -> u64 {
        self.random += 1;
        scrambled(self.random)
    }

    fn sensor_at(&self, number: u8) -> usize {
        usize::from(number) % self.sensors.len()
    }

    pub fn run(&mut self, op: &Op) {
        match *op {
            Op::Take(which) => self.take(self.sensor_at(which)),
            Op::Connect(which) => self.connect(self.sensor_at(which)),
            Op::Up(which, bytes) => self.up(usize::from(which), usize::from(bytes)),
            Op::Down(which, bytes) => self.down(usize::from(which), usize::from(bytes)),
            Op::Cut(which) => self.cut(usize::from(which)),
            Op::Pass(ms) => self.pass(i64::from(ms) * 1000),
            Op::Round(which) => self.round(self.sensor_at(which)),
            Op::Sync => self.sync(),
            Op::Tell(count) => self.tell(usize::from(count)),
            Op::Busy(busy) => self.busy = busy,
            Op::Store(count) => self.store(usize::from(count)),
            Op::CrashBroker(synced) => self.crash_broker(synced),
            Op::CrashDevice(which, durable) => self.crash_device(self.sensor_at(which), durable, 0),
            Op::Rotate(which) => self.crash_device(self.sensor_at(which), true, 1),
            Op::LoseJournal => self.replace_journal(Journal::default()),
            Op::KeepJournal => self.kept_journal = Some(self.journal.clone()),
            Op::RestoreJournal => {
                if let Some(kept) = self.kept_journal.clone() {
                    self.replace_journal(kept);
                }
            }
            Op::Clone(which) => self.clone_memory(self.sensor_at(which)),
            Op::KeepMemory(which) => {
                let sensor = self.sensor_at(which);
                self.sensors[sensor].kept = self.sensors[sensor].durable.clone();
            }
            Op::RollBack(which) => {
                let sensor = self.sensor_at(which);
                let kept = self.sensors[sensor].kept.clone();
                self.set_memory(sensor, kept);
            }
            Op::LoseMemory(which) => self.set_memory(self.sensor_at(which), Vec::new()),
        }
        self.check();
    }

    fn take(&mut self, sensor: usize) {
        let id = self.next_reading;
        self.next_reading += 1;
        let mut bytes = vec![0; READING_BYTES];
        bytes[..8].copy_from_slice(&id.to_le_bytes());
        let place = self.sensors[sensor].device.take(&bytes);
        let at = &mut self.sensors[sensor];
        at.numbers.insert(place.seq, id);
        // What the device declares dropped it no longer expects anybody to have.
        for change in at.device.held().history() {
            if let Change::Evicted { first, dropped } = change {
                at.numbers.retain(|seq, _| !(first..first + dropped).contains(seq));
            }
        }
        self.pump(sensor);
    }

    /// Everything the device does of itself: sends, makes its changes durable, then lets bytes leave.
    fn pump(&mut self, sensor: usize) {
        let now = self.now;
        let mut random = self.draw();
        let at = &mut self.sensors[sensor];
        at.device.send(now, || {
            random = scrambled(random);
            let mut bytes = [0; 24];
            bytes[..8].copy_from_slice(&random.to_le_bytes());
            bytes
        });
        at.durable.extend(at.device.poll_changes());
        if let Some(bytes) = at.device.poll_transmit()
            && let Some(connection) = at.connection
        {
            self.sent[connection].extend(&bytes);
            self.connections[connection].up.extend(bytes);
        }
        let replayed = Held::replay(at.bound, at.durable.iter().cloned()).expect("a history");
        let mut held = at.device.held().clone();
        held.reset_custody(held.oldest().seq);
        assert!(replayed == held, "the durable changes do not make the memory");
        let again = Held::replay(at.bound, held.history()).expect("a short history");
        assert!(again == held, "the short history does not make the memory");
    }

    fn connect(&mut self, sensor: usize) {
        self.detach(sensor);
        let now = self.now;
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.draw().to_le_bytes());
        self.connections.push(Connection {
            sensor,
            ingress: Some(Ingress::new(now)),
            attached: true,
            established: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
        });
        self.sent.push(Vec::new());
        self.sensors[sensor].connection = Some(self.connections.len() - 1);
        self.sensors[sensor].device.connected(nonce, now);
        self.pump(sensor);
    }

    /// The device leaves its connection. The other end does not know yet.
    fn detach(&mut self, sensor: usize) {
        self.sensors[sensor].device.disconnected();
        if let Some(old) = self.sensors[sensor].connection.take() {
            self.connections[old].attached = false;
            self.connections[old].down.clear();
        }
    }

    /// The connections that anything can happen on.
    fn alive(&self) -> Vec<usize> {
        let alive =
            |at: &usize| self.connections[*at].attached || self.connections[*at].ingress.is_some();
        (0..self.connections.len()).filter(alive).collect()
    }

    fn up(&mut self, which: usize, bytes: usize) {
        let alive = self.alive();
        let Some(&at) = alive.get(which % alive.len().max(1)) else { return };
        let connection = &mut self.connections[at];
        let chunk: Vec<u8> = connection.up.drain(..bytes.min(connection.up.len())).collect();
        let Some(ingress) = &mut connection.ingress else { return };
        let ended = ingress.receive(&chunk, self.now).is_err();
        assert!(ingress.under_way() <= usize::from(WINDOW_FRAMES));
        self.attend(at);
        let closed = !self.connections[at].attached && self.connections[at].up.is_empty();
        if ended || closed {
            self.end_session(at);
        }
    }

    fn end_session(&mut self, at: usize) {
        self.flush(at);
        self.connections[at].ingress = None;
        self.connections[at].up.clear();
    }

    /// Serves a session's events.
    fn attend(&mut self, at: usize) {
        while let Some(event) = self.connections[at].ingress.as_mut().and_then(Ingress::poll_event)
        {
            let ingress = self.connections[at].ingress.as_mut().expect("just polled");
            match event {
                Event::Claim { sensor, epoch } => {
                    if ingress.key(Some(key().link(sensor, epoch))).is_err() {
                        return self.end_session(at);
                    }
                }
                Event::Authentic { oldest, .. } => self.queue.push_back(Request::Greet(at, oldest)),
                Event::Established => {
                    self.connections[at].established = true;
                    for other in self.alive() {
                        if other != at && self.connections[other].established {
                            self.end_session(other);
                        }
                    }
                }
                Event::Accepted(frame) => {
                    let after = ingress.comes_after(&frame);
                    self.queue.push_back(Request::Frame(at, frame, after));
                }
                Event::Refused(_) => {}
            }
        }
        self.flush(at);
    }

    fn flush(&mut self, at: usize) {
        let connection = &mut self.connections[at];
        if let Some(bytes) = connection.ingress.as_mut().and_then(Ingress::poll_transmit)
            && connection.attached
        {
            connection.down.extend(bytes);
        }
    }

    fn down(&mut self, which: usize, bytes: usize) {
        let alive = self.alive();
        let Some(&at) = alive.get(which % alive.len().max(1)) else { return };
        if !self.connections[at].attached {
            return;
        }
        let connection = &mut self.connections[at];
        let sensor = connection.sensor;
        let chunk: Vec<u8> = connection.down.drain(..bytes.min(connection.down.len())).collect();
        let closed = connection.ingress.is_none() && connection.down.is_empty();
        let ended = self.sensors[sensor].device.receive(&chunk, self.now).is_err();
        self.note_custody(sensor);
        if ended || closed {
            self.detach(sensor);
        }
        self.pump(sensor);
    }

    /// What the device may now believe to be safe.
    fn note_custody(&mut self, sensor: usize) {
        let sensor = &mut self.sensors[sensor];
        let held = sensor.device.held();
        let stream = held.oldest().stream;
        if stream != sensor.stream {
            self.new_streams += 1;
            sensor.stream = stream;
            sensor.numbers = numbers(held);
            return;
        }
        // An older copy of its memory may hold what the sensor has declared dropped since. That is said of it.
        let is_declared = |seq| {
            let identity = Place { stream, seq };
            let has = |contents: &BTreeMap<_, _>| contents.get(&identity) == Some(&Content::Gap);
            has(&self.journal.contents) || has(&self.store)
        };
        let safe = sensor.numbers.range(..held.custody()).filter(|(seq, _)| !is_declared(**seq));
        self.acknowledged.extend(safe.map(|(_, id)| *id));
    }

    fn cut(&mut self, which: usize) {
        let alive = self.alive();
        let Some(&at) = alive.get(which % alive.len().max(1)) else { return };
        if self.connections[at].attached {
            self.detach(self.connections[at].sensor);
        }
        self.end_session(at);
    }

    pub fn pass(&mut self, micros: i64) {
        self.now.0 += micros;
        for at in self.alive() {
            let late = |ingress: &Ingress| ingress.check_time(self.now).is_err();
            if self.connections[at].ingress.as_ref().is_some_and(late) {
                self.end_session(at);
            }
        }
        for sensor in 0..self.sensors.len() {
            if self.sensors[sensor].device.check_time(self.now).is_err() {
                self.detach(sensor);
            }
            self.pump(sensor);
        }
    }

    /// Decides on what is queued, in order; what is decided is durable, and then said.
    fn sync(&mut self) {
        let mut taken: HashMap<usize, Place> = HashMap::new();
        let mut away: Vec<Reply> = Vec::new();
        let mut greetings = Vec::new();
        for request in std::mem::take(&mut self.queue) {
            match request {
                Request::Greet(at, oldest) => greetings.push((at, oldest)),
                Request::Frame(at, frame, after) => {
                    let place = frame.header.place;
                    match self.journal.grant.judge(place, &after) {
                        Offer::Next if self.busy => {
                            away.push(Reply::TurnedAway(at, place, Some(500)));
                        }
                        Offer::Next => {
                            let end = self.journal_takes(&frame);
                            taken.insert(at, end);
                        }
                        Offer::Behind => {}
                        Offer::Elsewhere => {
                            away.push(Reply::TurnedAway(at, self.journal.grant.next, None));
                        }
                    }
                }
            }
        }
        self.replies.extend(taken.into_iter().map(|(at, end)| Reply::Journaled(at, end)));
        self.replies.extend(away);
        for (at, oldest) in greetings {
            let grant = self.journal.grant().for_sensor_holding(oldest);
            self.replies.push_back(Reply::Grant(at, grant));
        }
    }

    fn journal_takes(&mut self, frame: &Frame) -> Place {
        let place = frame.header.place;
        let count = u64::from(frame.header.count);
        let end = Place { stream: place.stream, seq: place.seq + count };
        let contents = match open(&key().reading(SENSOR, frame.header.epoch), frame) {
            Ok(Opened::Readings { bytes, each }) => bytes.chunks(each).map(reading_of).collect(),
            Ok(Opened::Gap(_)) => vec![Content::Gap; frame.header.count.into()],
            Err(error) => panic!("the journal took what nobody sealed: {error}"),
        };
        for (seq, content) in (place.seq..).zip(&contents) {
            let identity = Place { stream: place.stream, seq };
            let before = self.journal.contents.insert(identity, content.clone());
            assert_eq!(before, None, "one journal took {identity:?} twice");
            if let Content::Reading(id) = content {
                self.destroyed.remove(id);
            }
        }
        self.journal.frames.push((place, contents));
        self.journal.grant = Grant { next: end, last_nonce: nonce_of(&frame.bytes), stored: 0 };
        end
    }

    fn tell(&mut self, count: usize) {
        for _ in 0..count {
            let Some(reply) = self.replies.pop_front() else { return };
            let (Reply::Grant(at, _) | Reply::Journaled(at, _) | Reply::TurnedAway(at, ..)) = reply;
            let stored = self.journal.stored_mark();
            let Some(ingress) = &mut self.connections[at].ingress else { continue };
            match reply {
                Reply::Grant(_, grant) => {
                    let mut nonce = [0; 16];
                    self.random += 1;
                    nonce[..8].copy_from_slice(&self.random.to_le_bytes());
                    if ingress.welcome(grant, nonce, self.now).is_err() {
                        self.end_session(at);
                        continue;
                    }
                }
                Reply::Journaled(_, custody) => ingress.journaled(custody, stored, self.now),
                Reply::TurnedAway(_, next, retry_ms) => ingress.turned_away(next, retry_ms),
            }
            self.attend(at);
        }
    }

    fn store(&mut self, count: usize) {
        let until = self.journal.stored.saturating_add(count).min(self.journal.frames.len());
        for (place, contents) in &self.journal.frames[self.journal.stored..until] {
            for (seq, content) in (place.seq..).zip(contents) {
                let identity = Place { stream: place.stream, seq };
                match (self.store.get(&identity), content) {
                    // What is stored beats what was declared.
                    (None | Some(Content::Gap), content) => {
                        self.store.insert(identity, content.clone());
                    }
                    (Some(Content::Reading(_)), Content::Gap) => {}
                    (Some(before), content) if before != content => self.conflicts.push(identity),
                    _ => {}
                }
            }
        }
        self.journal.stored = until;
        for at in self.alive() {
            let stored = self.journal.stored_mark();
            if let Some(ingress) = &mut self.connections[at].ingress {
                ingress.journaled(Place::default(), stored, self.now);
            }
            self.flush(at);
        }
    }

    fn crash_broker(&mut self, synced: bool) {
        if synced {
            self.sync();
        }
        self.queue.clear();
        self.replies.clear();
        for at in self.alive() {
            self.end_session(at);
        }
    }

    fn replace_journal(&mut self, journal: Journal) {
        self.crash_broker(false);
        let before = self.safe();
        self.journal = journal;
        self.destroyed.extend(before.difference(&self.safe()));
    }

    fn crash_device(&mut self, sensor: usize, durable: bool, epochs: u16) {
        let mut random = self.draw();
        let now = self.now;
        let at = &mut self.sensors[sensor];
        // It dies in the middle of its work.
        at.device.take(&[random as u8; READING_BYTES]);
        at.device.send(now, || {
            random = scrambled(random);
            [random as u8; 24]
        });
        if durable {
            at.durable.extend(at.device.poll_changes());
        }
        at.epoch += epochs;
        let history = at.durable.clone();
        self.set_memory(sensor, history);
    }

    fn set_memory(&mut self, sensor: usize, history: Vec<Change>) {
        self.detach(sensor);
        let at = &mut self.sensors[sensor];
        let held = Held::replay(at.bound, history.iter().cloned()).expect("a history");
        at.stream = held.oldest().stream;
        at.numbers = numbers(&held);
        at.device = Device::new(&key(), SENSOR, at.epoch, held);
        at.durable = history;
    }

    fn clone_memory(&mut self, sensor: usize) {
        if self.sensors.len() >= 3 {
            return;
        }
        let at = &self.sensors[sensor];
        let held = Held::replay(at.bound, at.durable.iter().cloned()).expect("a history");
        self.sensors.push(Sensor {
            stream: held.oldest().stream,
            numbers: numbers(&held),
            device: Device::new(&key(), SENSOR, at.epoch, held),
            epoch: at.epoch,
            bound: at.bound,
            durable: at.durable.clone(),
            kept: at.kept.clone(),
            connection: None,
        });
    }

    /// What journal or store have.
    fn safe(&self) -> BTreeSet<u64> {
        let contents = self.journal.contents.values().chain(self.store.values());
        let id = |content: &Content| match content {
            Content::Reading(id) => Some(*id),
            Content::Gap => None,
        };
        contents.filter_map(id).collect()
    }

    /// What a device believes to be in custody is there, or was destroyed with the journal that had it.
    fn check(&self) {
        let safe = self.safe();
        for id in self.acknowledged.difference(&self.destroyed) {
            assert!(safe.contains(id), "reading {id} was acknowledged and is nowhere");
        }
    }

    fn round(&mut self, sensor: usize) {
        if self.sensors[sensor].connection.is_none() {
            self.connect(sensor);
        }
        for at in 0..self.alive().len() {
            self.up(at, usize::MAX);
        }
        self.sync();
        self.tell(usize::MAX);
        for at in 0..self.alive().len() {
            self.down(at, usize::MAX);
        }
    }

    /// How many readings were taken, by all sensors.
    pub fn taken(&self) -> u64 {
        self.next_reading - 1
    }

    /// No more faults: everything held is delivered and acknowledged within bounded steps, and so far as
    /// the journal still speaks of the same stream, the sensor hears that it is stored.
    pub fn settle(&mut self) {
        self.busy = false;
        for sensor in 0..self.sensors.len() {
            self.connect(sensor);
            let mut rounds = 0;
            while self.sensors[sensor].is_waiting() {
                rounds += 1;
                assert!(rounds < 40, "what is held is not delivered");
                self.round(sensor);
                self.pass(600_000);
                self.check();
            }
            self.store(usize::MAX);
            self.round(sensor);
        }
    }
}

impl Sensor {
    fn is_waiting(&self) -> bool {
        let held = self.device.held();
        !self.device.is_open() || held.custody() < held.next().seq
    }
}

fn reading_of(bytes: &[u8]) -> Content {
    Content::Reading(u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")))
}

fn numbers(held: &Held) -> BTreeMap<u64, u64> {
    let readings = held.history().into_iter().filter_map(|change| match change {
        Change::Taken(seq, bytes) => match reading_of(&bytes) {
            Content::Reading(id) => Some((seq, id)),
            Content::Gap => None,
        },
        _ => None,
    });
    readings.collect()
}

/// A number that looks random (splitmix64).
fn scrambled(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
