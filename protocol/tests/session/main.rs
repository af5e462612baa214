//! Device and ingress against each other, with every fault between them and under them.
//!
//! What the protocol can prevent, and is held to here:
//!
//! * Whatever happens to connections, processes and journals: what was acknowledged is somewhere, or was
//!   destroyed with the only disk that had it, or is declared by a GAP.
//! * With the sensor's memory in one piece, its readings stay in one stream, so none comes twice under
//!   two identities; and one identity never has two contents.
//! * With clones, roll-backs and losses of the sensor's memory, as long as the journal keeps its own: no
//!   identity has two contents. Readings may then come again in a new stream.
//!
//! What it cannot prevent: a memory that was cloned, rolled back or lost *and* a journal that was lost or
//! restored. Then nobody is left who could tell the two memories apart, and the store may be shown two
//! contents of one identity. It keeps the first and names the other.

mod model;

use std::collections::BTreeSet;

use model::{Content, Op, SENSOR, World, key};
use proptest::prelude::*;
use vigia_protocol::ingress::{Event, Grant, Ingress};
use vigia_protocol::time::Micros;

fn ordinary() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![3 => 1..200u16, 2 => Just(u16::MAX)];
    prop_oneof![
        8 => (0..3u8).prop_map(Op::Take),
        3 => (0..3u8).prop_map(Op::Connect),
        10 => (0..4u8, bytes.clone()).prop_map(|(which, bytes)| Op::Up(which, bytes)),
        10 => (0..4u8, bytes).prop_map(|(which, bytes)| Op::Down(which, bytes)),
        1 => (0..4u8).prop_map(Op::Cut),
        2 => (1..8000u16).prop_map(Op::Pass),
        4 => (0..3u8).prop_map(Op::Round),
        8 => Just(Op::Sync),
        8 => (1..5u8).prop_map(Op::Tell),
        1 => any::<bool>().prop_map(Op::Busy),
        3 => (1..6u8).prop_map(Op::Store),
        1 => any::<bool>().prop_map(Op::CrashBroker),
        1 => (0..3u8, any::<bool>()).prop_map(|(which, durable)| Op::CrashDevice(which, durable)),
        1 => (0..3u8).prop_map(Op::Rotate),
    ]
}

fn journal_faults() -> impl Strategy<Value = Op> {
    prop_oneof![Just(Op::LoseJournal), Just(Op::KeepJournal), Just(Op::RestoreJournal)]
}

fn memory_faults() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..3u8).prop_map(Op::Clone),
        (0..3u8).prop_map(Op::KeepMemory),
        (0..3u8).prop_map(Op::RollBack),
        (0..3u8).prop_map(Op::LoseMemory),
    ]
}

/// Some sessions need a long run-up: bring the pair to where frames are under way.
fn run(spool: usize, ops: &[Op]) -> World {
    let mut world = World::new(spool);
    for op in ops {
        world.run(op);
    }
    world.settle();
    world
}

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..<_>::default()
    }
}

proptest! {
    #![proptest_config(cases(cases_wanted(1500)))]

    #[test]
    fn a_memory_in_one_piece_stays_in_one_stream(
        spool in 4..40usize,
        ops in prop::collection::vec(prop_oneof![25 => ordinary(), 1 => journal_faults()], 1..160),
    ) {
        let world = run(spool, &ops);
        prop_assert!(world.sensors[0].device.held().is_empty());
        prop_assert_eq!(world.new_streams, 0, "a new stream, and readings that come twice");
        prop_assert!(world.conflicts.is_empty(), "two contents: {:?}", world.conflicts);
    }

    #[test]
    fn with_room_for_all_of_them_every_reading_arrives(
        ops in prop::collection::vec(prop_oneof![25 => ordinary(), 1 => journal_faults()], 1..160),
    ) {
        let world = run(1000, &ops);
        let stored: BTreeSet<u64> = world.store.values().filter_map(|content| match content {
            Content::Reading(id) => Some(*id),
            Content::Gap => None,
        }).collect();
        prop_assert!((1..=world.taken()).all(|id| stored.contains(&id)));
        let arrived: Vec<u64> = world.store.keys().map(|place| place.seq).collect();
        let dense: Vec<u64> = (1..=arrived.len() as u64).collect();
        prop_assert_eq!(arrived, dense);
    }

    #[test]
    fn a_journal_in_one_piece_tells_memories_apart(
        spool in 4..40usize,
        ops in prop::collection::vec(prop_oneof![16 => ordinary(), 1 => memory_faults()], 1..160),
    ) {
        let world = run(spool, &ops);
        prop_assert!(world.conflicts.is_empty(), "two contents: {:?}", world.conflicts);
    }

    #[test]
    fn acknowledged_readings_survive_everything_but_their_last_disk(
        spool in 4..40usize,
        ops in prop::collection::vec(
            prop_oneof![20 => ordinary(), 1 => journal_faults(), 1 => memory_faults()], 1..160,
        ),
    ) {
        run(spool, &ops);
    }
}

/// `CASES=…` looks longer.
fn cases_wanted(default: u32) -> u32 {
    std::env::var("CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn greeted(grant: Grant, bytes: &[u8]) -> (Ingress, Vec<Event>, bool) {
    let mut ingress = Ingress::new(Micros(0));
    let mut events = Vec::new();
    let mut ended = ingress.receive(&bytes[..58.min(bytes.len())], Micros(0)).is_err();
    while let Some(event) = ingress.poll_event() {
        match event {
            Event::Claim { epoch, .. } => {
                ended |= ingress.key(Some(key().link(SENSOR, epoch))).is_err()
            }
            Event::Authentic { .. } => ended |= ingress.welcome(grant, [9; 16], Micros(0)).is_err(),
            other => events.push(other),
        }
    }
    if !ended && bytes.len() > 58 {
        ended |= ingress.receive(&bytes[58..], Micros(0)).is_err();
    }
    events.extend(std::iter::from_fn(|| ingress.poll_event()));
    (ingress, events, ended)
}

#[test]
fn what_an_old_connection_sent_opens_nothing_anew() {
    let mut world = World::new(100);
    for _ in 0..20 {
        world.run(&Op::Take(0));
        world.settle();
    }
    assert!(world.sent.iter().any(|bytes| bytes.len() > 58));
    for bytes in &world.sent {
        let (_, events, ended) = greeted(Grant::default(), bytes);
        assert!(events.is_empty(), "replayed: {events:?}");
        assert!(ended || bytes.len() == 58, "a replay goes on");
    }
}

/// A spool is full, its oldest reading is declared dropped, and a copy from before brings it: the journal knows the
/// frames behind it, which are the same.
#[test]
fn what_an_older_copy_of_a_memory_holds_may_have_been_declared_dropped() {
    let mut world = World::new(6);
    let sent = [Op::Rotate(0), Op::Take(0), Op::Busy(true), Op::Take(0), Op::Round(0), Op::Take(0)];
    let kept = [Op::CrashDevice(0, true), Op::KeepMemory(0), Op::Round(0), Op::Round(0)];
    let evicted = [Op::Take(0), Op::Take(0), Op::Clone(0), Op::Busy(false), Op::RollBack(1)];
    let taken =
        [Op::Connect(1), Op::Pass(500), Op::Up(0, 271), Op::Up(1, 58), Op::Up(2, 139), Op::Sync];
    for op in sent.iter().chain(&kept).chain(&evicted).chain(&taken) {
        world.run(op);
    }
    world.settle();
    assert!(world.store.values().any(|content| *content == Content::Gap), "nothing was declared");
    assert!(world.conflicts.is_empty());
}
