//! The publisher against a bus that loses, repeats and forgets, and a store that dies and is restored.
//!
//! Three hops lie between journal and store, one back. As in rumqttd, each keeps order, drops what is
//! published while nobody subscribes, gives again what was not acknowledged, and loses everything when
//! it restarts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use vigia_protocol::batch::{Count, Marker};
use vigia_protocol::limits::{
    BATCH_TEXT_BYTES, BUS_LOG_BYTES, CREDIT_TEXT_BYTES, MARKER_RETRY_MAX_MICROS,
    MAX_LOGS_PER_MARKER, MAX_REPORTED_RANGES, MAX_UNECHOED_MARKERS,
};
use vigia_protocol::position::LogId;
use vigia_protocol::publisher::{Next, Publisher};
use vigia_protocol::ranges::RangeSet;
use vigia_protocol::report::{StoreReport, StoredLog, Totals};
use vigia_protocol::time::Micros;

#[derive(Debug, Clone)]
enum Message {
    Row(LogId, u64, usize),
    Marker(Marker),
}

/// A subscription: its messages, of which the first few were given and are not acknowledged.
#[derive(Debug)]
struct Hop<T> {
    subscribed: bool,
    queue: VecDeque<T>,
    given: usize,
}

impl<T> Default for Hop<T> {
    fn default() -> Self {
        Self { subscribed: true, queue: VecDeque::new(), given: 0 }
    }
}

impl<T: Clone> Hop<T> {
    fn publish(&mut self, message: T) {
        if self.subscribed {
            self.queue.push_back(message);
        }
    }

    fn take(&mut self) -> Option<T> {
        let message = self.queue.get(self.given).filter(|_| self.subscribed).cloned()?;
        self.given += 1;
        Some(message)
    }

    fn acknowledge(&mut self) {
        self.queue.drain(..self.given);
        self.given = 0;
    }
}

#[derive(Debug, Clone, Default)]
struct Store {
    instance: u64,
    accounted: BTreeMap<LogId, RangeSet>,
}

struct Log {
    id: LogId,
    /// Worst-case text bytes of each row.
    rows: Vec<usize>,
    oldest: u64,
}

#[derive(Debug, Clone)]
enum Op {
    /// So many rows of so many KiB of text.
    Journal(u8, u16),
    Pass(u16),
    /// The publisher sends at most so much.
    Pump(u8),
    /// A consumer takes so many messages.
    Work(u8, u8),
    Acknowledge(u8),
    /// The store commits and reports.
    Commit,
    /// The publisher reads so many reports.
    Hear(u8),
    Disconnect,
    Connect,
    RestartBus,
    Subscribe(u8),
    RestartJournal,
    Trim,
    KeepStore,
    RestoreStore,
    /// A consumer connects again: what it had not acknowledged comes once more.
    Again(u8),
    /// The oldest messages of a subscription roll out of the bus's log.
    Roll(u8, u8),
}

struct World {
    now: Micros,
    next_id: u64,
    publisher: Publisher,
    session: u64,
    connected: bool,
    /// Markers of this connection, and whether one was echoed.
    markers: BTreeSet<u64>,
    echoed: bool,
    logs: Vec<Log>,
    hops: [Hop<Message>; 3],
    back: Hop<StoreReport>,
    store: Store,
    kept: Store,
    /// What the next report will tell.
    changed: BTreeSet<LogId>,
    marker: Option<(u64, u64)>,
    /// Rows on their way, as far as the reports tell that were heard.
    open: BTreeMap<(LogId, u64), usize>,
    /// The store that was heard last.
    heard: Option<u64>,
    /// Nothing comes twice by itself: then nothing may be sent that is there or under way.
    strict: bool,
    sent_rows: usize,
    sent_markers: usize,
}

impl World {
    fn new(strict: bool) -> Self {
        let mut world = Self {
            now: Micros(0),
            next_id: 1,
            publisher: Publisher::new(0),
            session: 0,
            connected: false,
            markers: BTreeSet::new(),
            echoed: false,
            logs: Vec::new(),
            hops: Default::default(),
            back: Hop::default(),
            store: Store::default(),
            kept: Store::default(),
            changed: BTreeSet::new(),
            marker: None,
            open: BTreeMap::new(),
            heard: None,
            strict,
            sent_rows: 0,
            sent_markers: 0,
        };
        world.restart_journal();
        world
    }

    fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Journal(rows, kib) => self.journal(usize::from(rows), usize::from(kib) * 1024),
            Op::Pass(ms) => self.now.0 += i64::from(ms) * 1000,
            Op::Pump(most) => self.pump(usize::from(most)),
            Op::Work(hop, count) => self.work(usize::from(hop % 3), usize::from(count)),
            Op::Acknowledge(hop) => match hop % 4 {
                3 => self.back.acknowledge(),
                hop => self.hops[usize::from(hop)].acknowledge(),
            },
            Op::Commit => self.commit(),
            Op::Hear(count) => self.hear(usize::from(count)),
            Op::Disconnect => self.disconnect(),
            Op::Connect => self.connect(),
            Op::RestartBus => self.restart_bus(),
            Op::Subscribe(hop) => match hop % 4 {
                3 => self.back.subscribed = true,
                hop => self.hops[usize::from(hop)].subscribed = true,
            },
            Op::RestartJournal => {
                // The embedded bus dies with its process.
                self.restart_bus();
                self.restart_journal();
            }
            Op::Trim => self.trim(),
            Op::KeepStore => self.kept = self.store.clone(),
            Op::RestoreStore => {
                self.store = Store { instance: self.fresh(), ..self.kept.clone() };
                self.changed.clear();
                self.marker = None;
            }
            Op::Again(hop) => match hop % 4 {
                3 => self.back.given = 0,
                hop => self.hops[usize::from(hop)].given = 0,
            },
            Op::Roll(hop, count) => {
                let hop = &mut self.hops[usize::from(hop % 3)];
                hop.queue.drain(..usize::from(count).min(hop.queue.len()));
                hop.given = hop.given.saturating_sub(usize::from(count));
            }
        }
    }

    fn journal(&mut self, rows: usize, text_bytes: usize) {
        let log = self.logs.last_mut().expect("always one");
        log.rows.extend(std::iter::repeat_n(text_bytes, rows));
        self.publisher.journaled(log.rows.len() as u64);
    }

    fn restart_journal(&mut self) {
        let id = LogId(self.fresh());
        self.logs.push(Log { id, rows: Vec::new(), oldest: 0 });
        self.session = self.fresh();
        self.publisher = Publisher::new(self.session);
        for log in &self.logs {
            self.publisher.add_log(log.id, log.oldest, log.rows.len() as u64);
        }
        self.connected = false;
        self.echoed = false;
        self.open.clear();
        self.heard = None;
    }

    fn trim(&mut self) {
        for log in &mut self.logs {
            log.oldest = log.oldest.max(self.publisher.watermark(log.id));
            self.publisher.trimmed(log.id, log.oldest);
        }
    }

    fn disconnect(&mut self) {
        self.publisher.disconnected();
        self.connected = false;
        self.echoed = false;
        self.back.given = 0;
    }

    fn connect(&mut self) {
        self.disconnect();
        self.publisher.connected();
        self.connected = true;
        self.back.subscribed = true;
        self.markers.clear();
    }

    fn restart_bus(&mut self) {
        for hop in &mut self.hops {
            *hop = Hop { subscribed: false, ..Hop::default() };
        }
        self.back = Hop { subscribed: false, ..Hop::default() };
        self.disconnect();
    }

    fn pump(&mut self, most: usize) {
        for _ in 0..most {
            match self.publisher.next(self.now) {
                Next::Wait(until) => {
                    assert!(until > self.now, "waits for what is past");
                    return;
                }
                Next::Marker(marker) => {
                    assert!(self.connected && marker.logs.len() <= MAX_LOGS_PER_MARKER);
                    assert_eq!(marker.session, self.session);
                    self.markers.insert(marker.number);
                    self.sent_markers += 1;
                    self.hops[0].publish(Message::Marker(marker));
                }
                Next::Row(id, n) => self.send(id, n),
            }
        }
    }

    fn send(&mut self, id: LogId, n: u64) {
        assert!(
            self.connected && self.echoed,
            "a row before a marker of this connection was echoed"
        );
        let log = self.logs.iter().find(|log| log.id == id).expect("a log of the journal");
        assert!((log.oldest..log.rows.len() as u64).contains(&n), "a row that is not there");
        let text_bytes = log.rows[n as usize];
        if self.strict {
            let there = self.store.accounted.get(&id).is_some_and(|set| set.contains(n));
            let under_way = self.hops.iter().flat_map(|hop| &hop.queue).any(
                |message| matches!(message, Message::Row(other, m, _) if (*other, *m) == (id, n)),
            );
            assert!(!there && !under_way, "{id}/{n} was neither lost nor new");
        }
        self.sent_rows += 1;
        self.open.insert((id, n), text_bytes);
        self.hops[0].publish(Message::Row(id, n, text_bytes));
        self.publisher.published(id, n, text_bytes);
        let open: usize = self.open.values().sum();
        assert!(open < CREDIT_TEXT_BYTES + BATCH_TEXT_BYTES, "{open} bytes are not accounted for");
        assert!(self.publisher.credit_used() <= open, "more credit used than was given");
        if self.strict {
            for hop in &self.hops {
                let bytes: usize = hop
                    .queue
                    .iter()
                    .map(|message| match message {
                        Message::Row(_, _, bytes) => *bytes,
                        Message::Marker(_) => 0,
                    })
                    .sum();
                assert!(bytes <= BUS_LOG_BYTES, "{bytes} bytes in one of the bus's logs");
            }
        }
    }

    fn work(&mut self, hop: usize, count: usize) {
        for _ in 0..count {
            let Some(message) = self.hops[hop].take() else { return };
            match (hop, message) {
                (0 | 1, message) => self.hops[hop + 1].publish(message),
                (_, Message::Row(id, n, _)) => {
                    self.store.accounted.entry(id).or_default().insert(n);
                    self.changed.insert(id);
                }
                (_, Message::Marker(marker)) => {
                    self.marker = Some((marker.session, marker.number));
                    self.changed.extend(marker.logs);
                }
            }
        }
    }

    fn commit(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        let logs = std::mem::take(&mut self.changed).into_iter().map(|log| {
            let accounted = self.store.accounted.get(&log).cloned().unwrap_or_default();
            let count = Count { readings: accounted.len(), frames: accounted.len() };
            let totals = Totals { stored: count, ..Totals::default() };
            let is_whole = accounted.ranges().len() <= MAX_REPORTED_RANGES;
            let accounted = accounted.truncated(MAX_REPORTED_RANGES);
            StoredLog { log, accounted, totals: is_whole.then_some(totals) }
        });
        let logs = logs.collect();
        self.back.publish(StoreReport {
            instance: self.store.instance,
            replaces: Vec::new(),
            marker: self.marker,
            logs,
        });
    }

    fn hear(&mut self, count: usize) {
        for _ in 0..count {
            let Some(report) = self.back.take().filter(|_| self.connected) else { return };
            self.publisher.reported(&report, self.now);
            if self.heard.replace(report.instance).is_some_and(|before| before != report.instance) {
                self.open.clear();
            }
            for log in &report.logs {
                self.open.retain(|(id, n), _| *id != log.log || !log.accounted.contains(*n));
            }
            if let Some((session, number)) = report.marker
                && session == self.session
                && self.markers.contains(&number)
            {
                self.echoed = self.connected;
            }
        }
        self.back.acknowledge();
    }

    /// Whether every row that the journal holds is accounted for.
    fn is_complete(&self) -> bool {
        self.logs.iter().all(|log| {
            let end = log.rows.len() as u64;
            let accounted = self.store.accounted.get(&log.id);
            accounted.map_or(log.oldest == end, |set| set.contiguous_from(log.oldest) >= end)
        })
    }

    fn round(&mut self) {
        self.pump(1000);
        for hop in 0..3 {
            self.work(hop, usize::MAX);
            self.hops[hop].acknowledge();
        }
        self.commit();
        self.hear(usize::MAX);
        self.now.0 += 20_000;
    }

    /// No more faults: within bounded time everything held is accounted for.
    fn settle(&mut self) {
        for hop in &mut self.hops {
            hop.subscribed = true;
        }
        self.connect();
        let rows: usize = self.logs.iter().map(|log| log.rows.len()).sum();
        let logs = self.logs.len();
        let mut rounds = 0;
        while !self.is_complete() {
            rounds += 1;
            assert!(rounds < 100 + rows + 20 * logs, "rows are missing for ever");
            self.round();
        }
        // And the publisher comes to know it, and rests.
        for _ in 0..200 {
            self.round();
        }
        assert_eq!(self.publisher.credit_used(), 0);
        let sent = self.sent_rows;
        for _ in 0..200 {
            self.round();
        }
        assert_eq!(self.sent_rows, sent, "rows go out although all are there");
        for log in &self.logs {
            assert_eq!(self.publisher.watermark(log.id), log.rows.len() as u64);
        }
    }
}

fn ordinary() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..20u8, prop_oneof![1..4u16, Just((BATCH_TEXT_BYTES / 1024) as u16)]).prop_map(|(rows, kib)| Op::Journal(rows, kib)),
        4 => (1..700u16).prop_map(Op::Pass),
        8 => (1..60u8).prop_map(Op::Pump),
        10 => (0..3u8, 1..40u8).prop_map(|(hop, count)| Op::Work(hop, count)),
        6 => (0..4u8).prop_map(Op::Acknowledge),
        6 => Just(Op::Commit),
        6 => (1..9u8).prop_map(Op::Hear),
        1 => Just(Op::Disconnect),
        4 => Just(Op::Connect),
        1 => Just(Op::RestartBus),
        6 => (0..4u8).prop_map(Op::Subscribe),
        1 => Just(Op::RestartJournal),
        1 => Just(Op::Trim),
    ]
}

fn restored() -> impl Strategy<Value = Op> {
    prop_oneof![2 => Just(Op::KeepStore), 1 => Just(Op::RestoreStore)]
}

fn repeated() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..4u8).prop_map(Op::Again),
        (0..3u8, 1..30u8).prop_map(|(hop, count)| Op::Roll(hop, count)),
    ]
}

fn cases(default: u32) -> ProptestConfig {
    let wanted = std::env::var("CASES").ok().and_then(|text| text.parse().ok());
    let cases = wanted.unwrap_or(default);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..<_>::default() }
}

proptest! {
    #![proptest_config(cases(600))]

    #[test]
    fn what_the_bus_loses_goes_out_again_and_nothing_else(
        ops in prop::collection::vec(prop_oneof![20 => ordinary(), 1 => restored()], 1..200),
    ) {
        let mut world = World::new(true);
        for op in &ops {
            world.run(op);
        }
        world.settle();
    }

    #[test]
    fn what_comes_twice_is_accounted_once(
        ops in prop::collection::vec(prop_oneof![12 => ordinary(), 1 => restored(), 1 => repeated()], 1..200),
    ) {
        let mut world = World::new(false);
        for op in &ops {
            world.run(op);
        }
        world.settle();
    }
}

/// A world with a backlog of so many rows, where data flows.
fn flowing(rows: usize, text_bytes: usize) -> World {
    let mut world = World::new(true);
    world.journal(rows, text_bytes);
    world.connect();
    while !world.echoed {
        world.round();
    }
    world
}

#[test]
fn a_store_that_is_down_for_hours_is_asked_now_and_then() {
    let mut world = flowing(0, 0);
    let hours = 3;
    let until = world.now.0 + hours * 3_600_000_000;
    let before = world.sent_markers;
    world.journal(5, 1024);
    while world.now.0 < until {
        world.pump(1000);
        world.now = match world.publisher.next(world.now) {
            Next::Wait(next) => next,
            other => panic!("{other:?} after a full pump"),
        };
    }
    let most = hours * 3_600_000_000 / MARKER_RETRY_MAX_MICROS + 10;
    assert!((world.sent_markers - before) as i64 <= most, "{} markers", world.sent_markers);
    assert!(world.sent_markers > MAX_UNECHOED_MARKERS);
    assert_eq!(world.sent_rows, 5, "nothing was lost as far as anybody knows");
    world.settle();
}

#[test]
fn an_idle_pipeline_is_probed_and_nothing_else() {
    let mut world = flowing(3, 1024);
    world.settle();
    let (before, began) = (world.sent_markers, world.now);
    for _ in 0..3000 {
        world.round();
    }
    let seconds = (world.now.0 - began.0) / 1_000_000;
    assert!((world.sent_markers - before) as i64 <= seconds + 1);
    assert!((world.sent_markers - before) as i64 >= seconds / 2);
}

#[test]
fn a_flood_does_not_keep_a_loss_from_being_found() {
    let mut world = flowing(5, 1024);
    world.pump(5);
    world.run(&Op::Roll(0, 2));
    let began = world.now.0;
    // Rows come faster than anybody can send them: there is always one more to send.
    while world.store.accounted.values().next().is_none_or(|set| !set.contains(0)) {
        world.journal(20, 64);
        world.pump(10);
        for hop in 0..3 {
            world.work(hop, usize::MAX);
            world.hops[hop].acknowledge();
        }
        world.commit();
        world.hear(usize::MAX);
        world.now.0 += 20_000;
        assert!(world.now.0 - began < 5_000_000, "a row is lost and nobody asks");
    }
}

#[test]
fn a_report_between_the_choice_of_a_row_and_its_sending_changes_nothing() {
    let mut world = flowing(4, 1024);
    let log = world.logs[0].id;
    let row = |n| Next::Row(log, n);
    assert_eq!(world.publisher.next(world.now), row(0));
    // Another store speaks: everything begins anew, and row 0 must not pass for sent to it.
    let report = StoreReport { instance: 77, replaces: vec![], marker: None, logs: vec![] };
    world.publisher.reported(&report, world.now);
    world.publisher.published(log, 0, 1024);
    world.store.instance = 77;
    world.settle();

    // What the store has meanwhile is not chosen again.
    let mut world = flowing(4, 1024);
    let log = world.logs[0].id;
    world.pump(2);
    assert_eq!(world.publisher.next(world.now), Next::Row(log, 2));
    let mut accounted = RangeSet::default();
    accounted.insert_range(0, 4);
    let logs = vec![StoredLog { log, accounted, totals: Some(Totals::default()) }];
    let report = StoreReport { instance: 0, replaces: vec![], marker: None, logs };
    world.publisher.reported(&report, world.now);
    world.publisher.published(log, 2, 1024);
    assert!(!matches!(world.publisher.next(world.now), Next::Row(..)));
    assert_eq!(world.publisher.credit_used(), 0);
}

#[test]
fn a_store_that_was_put_back_to_an_older_state_is_filled_again() {
    let mut world = flowing(6, 1024);
    world.settle();
    let log = world.logs[0].id;
    let sent = world.sent_rows;
    world.store.accounted.get_mut(&log).unwrap().remove_range(2, 6);
    world.settle();
    assert!(world.store.accounted[&log].has_all(0, 6));
    assert_eq!(world.sent_rows - sent, 4, "what it lacks, and no more");
}

#[test]
fn what_an_older_store_lacks_of_older_logs_is_noticed_though_nothing_new_comes() {
    let mut world = World::new(true);
    for _ in 0..2 * MAX_LOGS_PER_MARKER {
        world.journal(3, 1024);
        world.restart_journal();
    }
    world.connect();
    world.settle();
    for at in [0, MAX_LOGS_PER_MARKER] {
        let log = world.logs[at].id;
        world.store.accounted.get_mut(&log).unwrap().remove_range(1, 3);
        let put_back = world.now;
        while !world.store.accounted[&log].has_all(0, 3) {
            world.round();
            assert!(world.now.0 - put_back.0 < 60_000_000, "nobody asks");
        }
        world.settle();
    }
}

#[test]
fn an_old_report_that_comes_again_is_no_older_store() {
    let mut world = flowing(6, 1024);
    let (log, session) = (world.logs[0].id, world.session);
    world.settle();
    let sent = world.sent_rows;
    let totals = Some(Totals::default());
    for marker in [None, Some((session, 1)), Some((session + 1, 1_000_000))] {
        let logs = vec![StoredLog { log, accounted: RangeSet::default(), totals }];
        let report = StoreReport { instance: 0, replaces: vec![], marker, logs };
        assert!(!world.publisher.reported(&report, world.now));
    }
    world.settle();
    assert_eq!(world.sent_rows, sent);
}

#[test]
fn an_echo_of_what_was_never_sent_says_nothing() {
    let mut world = flowing(0, 0);
    for number in [u64::MAX, 1000] {
        let marker = Some((world.session, number));
        let report = StoreReport { instance: 0, replaces: vec![], marker, logs: vec![] };
        world.publisher.reported(&report, world.now);
    }
    world.journal(3, 1024);
    world.settle();
}

#[test]
fn more_logs_than_a_marker_can_ask_about_are_asked_about_in_turn() {
    let mut world = World::new(true);
    for _ in 0..3 * MAX_LOGS_PER_MARKER {
        world.journal(2, 1024);
        world.restart_journal();
    }
    world.connect();
    world.settle();
    assert_eq!(world.sent_rows, 6 * MAX_LOGS_PER_MARKER, "each row once");
}

#[test]
fn a_store_with_more_holes_than_a_report_tells_is_filled() {
    let mut world = flowing(4 * MAX_REPORTED_RANGES, 1024);
    world.pump(4 * MAX_REPORTED_RANGES);
    // Every second row is lost.
    let mut index = 0;
    world.hops[0].queue.retain(|message| {
        index += 1;
        !matches!(message, Message::Row(..)) || index % 2 == 0
    });
    world.settle();
    assert_eq!(world.sent_rows, 6 * MAX_REPORTED_RANGES, "what was lost, and only that, twice");
}
