//! `RangeSet` against a set that keeps every number.

use std::collections::BTreeSet;

use proptest::prelude::*;
use vigia_protocol::batch;
use vigia_protocol::ranges::RangeSet;

#[derive(Debug, Clone)]
enum Op {
    Insert(u64),
    InsertRange(u64, u64),
    RemoveRange(u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let number = 0..48u64;
    prop_oneof![
        3 => number.clone().prop_map(Op::Insert),
        1 => (number.clone(), 0..60u64).prop_map(|(from, to)| Op::InsertRange(from, to)),
        1 => (number, 0..60u64).prop_map(|(from, to)| Op::RemoveRange(from, to)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn it_is_a_set(ops in prop::collection::vec(op(), 0..60), low in 0..60u64, high in 0..60u64) {
        let mut set = RangeSet::default();
        let mut model = BTreeSet::new();
        for op in ops {
            match op {
                Op::Insert(value) => prop_assert_eq!(set.insert(value), model.insert(value)),
                Op::InsertRange(from, to) => {
                    set.insert_range(from, to);
                    model.extend(from..to);
                }
                Op::RemoveRange(from, to) => {
                    set.remove_range(from, to);
                    model.retain(|value| !(from..to).contains(value));
                }
            }
            // One form for one set: ascending, disjoint, not even touching.
            let kept = RangeSet::from_ranges(set.ranges().to_vec());
            prop_assert_eq!(kept.as_ref(), Some(&set));
        }
        let has: Vec<u64> = set.ranges().iter().flat_map(|(from, to)| *from..*to).collect();
        prop_assert_eq!(&has, &model.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(set.len(), model.len() as u64);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert_eq!(set.end(), model.last().map_or(0, |last| last + 1));
        prop_assert!((0..64).all(|value| set.contains(value) == model.contains(&value)));
        let watermark = (low..).find(|value| !model.contains(value)).unwrap();
        prop_assert_eq!(set.contiguous_from(low), watermark);
        let missing: Vec<u64> = set.missing_within(low, high).iter().flat_map(|(from, to)| *from..*to).collect();
        prop_assert_eq!(missing, (low..high).filter(|value| !model.contains(value)).collect::<Vec<_>>());
        let cut = set.truncated(2);
        prop_assert_eq!(cut.ranges(), &set.ranges()[..set.ranges().len().min(2)]);
        prop_assert_eq!(batch::decode::<RangeSet>(&batch::encode(&set)), Ok(set));
    }

    #[test]
    fn what_is_no_set_is_not_decoded(ranges in prop::collection::vec((0..9u64, 0..9u64), 0..4)) {
        let expected = RangeSet::from_ranges(ranges.clone());
        prop_assert_eq!(batch::decode::<RangeSet>(&batch::encode(&ranges)).ok(), expected);
    }
}

#[test]
fn the_largest_numbers_do_no_harm() {
    let mut set = RangeSet::default();
    assert!(set.insert(u64::MAX - 1));
    assert!(!set.insert(u64::MAX), "it has no place in a half-open range");
    assert!(!set.contains(u64::MAX));
    set.insert_range(0, u64::MAX);
    assert_eq!((set.len(), set.end(), set.ranges().len()), (u64::MAX, u64::MAX, 1));
    assert_eq!(set.contiguous_from(3), u64::MAX);
    assert_eq!(set.contiguous_from(u64::MAX), u64::MAX);
    assert!(set.missing_within(5, u64::MAX).is_empty());
    set.remove_range(1, u64::MAX);
    assert_eq!(set.ranges(), [(0, 1)]);
}
