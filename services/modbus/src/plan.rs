//! Which elements are read together.
//!
//! A request costs a device more than the registers in it. So neighbours are read with one request, up to the
//! standard's bound, and a gap between them is read along, up to a size that the map sets: a device may refuse a
//! request that touches an address it does not have (MAP 6.3, exception 2), so by default no gap is bridged.
//! A point is never split: its registers belong to one moment.

use crate::register::{Cells, Span};

/// Requests, and where in their answers each point stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    requests: Vec<Span>,
    cuts: Vec<Cut>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    request: usize,
    offset: usize,
    count: usize,
}

impl Plan {
    /// Plans the reading of `points`; up to `gap` elements between two of them are read along.
    pub fn new(points: &[Span], gap: u16) -> Self {
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by_key(|index| points[*index]);
        let mut requests: Vec<Span> = Vec::new();
        let mut cuts = vec![Cut { request: 0, offset: 0, count: 0 }; points.len()];
        for index in order {
            let point = points[index];
            let joined = requests.last().and_then(|last| join(*last, point, gap));
            match (joined, requests.last_mut()) {
                (Some(joined), Some(last)) => *last = joined,
                _ => requests.push(point),
            }
            let request = requests.len() - 1;
            cuts[index] = Cut {
                request,
                offset: usize::from(point.start() - requests[request].start()),
                count: point.count().into(),
            };
        }
        Self { requests, cuts }
    }

    /// What to ask, by kind and address.
    pub fn requests(&self) -> &[Span] {
        &self.requests
    }

    /// Which request reads the point with this index.
    pub fn request_of(&self, point: usize) -> usize {
        self.cuts[point].request
    }

    /// The point's elements, out of the answer to its request. `None` if the answer is too short.
    pub fn cut<'a>(&self, point: usize, answer: Cells<'a>) -> Option<Cells<'a>> {
        let Cut { offset, count, .. } = self.cuts[point];
        let range = offset..offset + count;
        match answer {
            Cells::Bits(bits) => bits.get(range).map(Cells::Bits),
            Cells::Words(words) => words.get(range).map(Cells::Words),
        }
    }
}

/// `request` and `point`, which does not start before it, in one request, if that may be.
fn join(request: Span, point: Span, gap: u16) -> Option<Span> {
    let near = u32::from(point.start()) <= request.end() + u32::from(gap);
    let count = u16::try_from(request.end().max(point.end()) - u32::from(request.start())).ok()?;
    (request.kind() == point.kind() && near && count <= request.kind().most_per_request())
        .then(|| Span::new(request.kind(), request.start(), count))?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::register::Kind;

    fn span(kind: Kind, start: u16, count: u16) -> Span {
        Span::new(kind, start, count).unwrap()
    }

    fn holding(start: u16, count: u16) -> Span {
        span(Kind::Holding, start, count)
    }

    #[test]
    fn neighbours_are_read_together_and_gaps_only_if_wanted() {
        let points = [holding(4, 2), holding(0, 2), holding(2, 1)];
        assert_eq!(Plan::new(&points, 0).requests(), [holding(0, 3), holding(4, 2)]);
        assert_eq!(Plan::new(&points, 1).requests(), [holding(0, 6)]);
    }

    #[test]
    fn kinds_stay_apart() {
        let points = [holding(0, 1), span(Kind::Input, 1, 1), span(Kind::Coil, 2, 1)];
        assert_eq!(Plan::new(&points, u16::MAX).requests().len(), 3);
    }

    #[test]
    fn the_bounds_of_the_standard_hold_to_the_element() {
        let reaching = |most: u16, kind| {
            let plan = |end| Plan::new(&[span(kind, 0, 1), span(kind, end - 1, 1)], u16::MAX);
            assert_eq!(plan(most).requests(), [span(kind, 0, most)]);
            assert_eq!(plan(most + 1).requests().len(), 2);
        };
        reaching(125, Kind::Holding);
        reaching(125, Kind::Input);
        reaching(2000, Kind::Coil);
        reaching(2000, Kind::Discrete);
    }

    #[test]
    fn the_last_addresses_and_overlaps() {
        let points = [holding(65_532, 4), holding(65_534, 1), holding(65_535, 1)];
        let plan = Plan::new(&points, u16::MAX);
        assert_eq!(plan.requests(), [holding(65_532, 4)]);
        let answer = [10, 11, 12, 13];
        assert_eq!(plan.cut(1, Cells::Words(&answer)), Some(Cells::Words(&[12])));
        assert_eq!(plan.cut(2, Cells::Words(&answer[..3])), None);
    }

    fn points() -> impl Strategy<Value = Vec<Span>> {
        let kinds =
            prop::sample::select(vec![Kind::Coil, Kind::Discrete, Kind::Input, Kind::Holding]);
        // Dense enough to meet, and at both ends of the addresses.
        let start = prop_oneof![0..400_u16, 65_000..=65_535_u16, any::<u16>()];
        let point = (kinds, start, prop::sample::select(vec![1_u16, 2, 4]));
        let point = point.prop_map(|(kind, start, count)| {
            let count = if kind.is_bit() { 1 } else { count };
            span(kind, start.min(u16::MAX - count + 1), count)
        });
        prop::collection::vec(point, 0..100)
    }

    /// What a device has at an address: a mark that is its own.
    fn word(kind: Kind, address: u32) -> u16 {
        (address as u16).wrapping_mul(31).wrapping_add(kind as u16)
    }

    proptest! {
        #[test]
        fn every_point_can_be_cut_out_of_the_answers(points in points(), gap in 0..200_u16) {
            let plan = Plan::new(&points, gap);
            let wanted: BTreeSet<(Kind, u32)> = points
                .iter()
                .flat_map(|point| (point.start().into()..point.end()).map(|at| (point.kind(), at)))
                .collect();
            let mut asked = BTreeSet::new();
            for request in plan.requests() {
                prop_assert!(request.count() <= request.kind().most_per_request());
                let mut unwanted = 0;
                for at in request.start().into()..request.end() {
                    prop_assert!(asked.insert((request.kind(), at)) || !request.kind().is_bit());
                    unwanted =
                        if wanted.contains(&(request.kind(), at)) { 0 } else { unwanted + 1 };
                    prop_assert!(unwanted <= gap);
                }
                prop_assert_eq!(unwanted, 0, "nothing is read along behind the last point");
            }
            prop_assert!(asked.is_superset(&wanted));
            for (index, point) in points.iter().enumerate() {
                let request = plan.requests()[plan.request_of(index)];
                prop_assert_eq!(request.kind(), point.kind());
                let of = |span: Span| -> Vec<u16> {
                    (span.start().into()..span.end()).map(|at| word(span.kind(), at)).collect()
                };
                let (answer, expected) = (of(request), of(*point));
                if point.kind().is_bit() {
                    let bits = |words: Vec<u16>| -> Vec<bool> {
                        words.into_iter().map(|word| word.count_ones() % 2 == 1).collect()
                    };
                    let (answer, expected) = (bits(answer), bits(expected));
                    let cut = plan.cut(index, Cells::Bits(&answer));
                    prop_assert_eq!(cut, Some(Cells::Bits(&expected)));
                } else {
                    let cut = plan.cut(index, Cells::Words(&answer));
                    prop_assert_eq!(cut, Some(Cells::Words(&expected)));
                    // Nothing of the answer may be missing.
                    let most = plan.cuts[index].offset + expected.len() - 1;
                    prop_assert_eq!(plan.cut(index, Cells::Words(&answer[..most])), None);
                }
            }
        }
    }
}
