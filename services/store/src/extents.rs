//! The accounted positions of one log, with the journal's running count at every edge.
//!
//! A batch says what its log had accepted before it. So what stands in a hole is known exactly although
//! nobody has it any more: the count at its upper edge less the count at its lower.

use serde::{Deserialize, Serialize};
use vigia_protocol::batch::{BatchHead, Count};
use vigia_protocol::ranges::RangeSet;

/// The positions `[start, end)` and what the log had accepted at both edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The first position.
    pub start: u64,
    /// One more than the last.
    pub end: u64,
    /// Accepted before `start`.
    pub before: Count,
    /// Accepted before `end`.
    pub after: Count,
}

impl Extent {
    /// The place of one batch.
    pub fn of(head: &BatchHead) -> Self {
        Self {
            start: head.position.n,
            end: head.position.n.saturating_add(1),
            before: head.before,
            after: head.before.plus(head.has),
        }
    }

    /// What stands in it; `None` if the edges contradict each other.
    pub fn count(&self) -> Option<Count> {
        self.after.minus(self.before)
    }
}

/// Ascending, disjoint, non-adjacent extents.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Extents(Vec<Extent>);

impl Extents {
    /// Whether position `n` is accounted for.
    pub fn contains(&self, n: u64) -> bool {
        let after = self.0.partition_point(|extent| extent.start <= n);
        after > 0 && n < self.0[after - 1].end
    }

    /// Adds positions of which none is accounted for yet.
    pub fn add(&mut self, new: Extent) {
        let at = self.0.partition_point(|extent| extent.start < new.start);
        self.0.insert(at, new);
        if self.0.get(at + 1).is_some_and(|next| next.start == new.end) {
            let next = self.0.remove(at + 1);
            self.0[at].end = next.end;
            self.0[at].after = next.after;
        }
        if at > 0 && self.0[at - 1].end == new.start {
            let joined = self.0.remove(at);
            self.0[at - 1].end = joined.end;
            self.0[at - 1].after = joined.after;
        }
    }

    /// The holes below `oldest`, where the journal had accepted `before_oldest`.
    pub fn holes_below(&self, oldest: u64, before_oldest: Count) -> Vec<Extent> {
        let mut holes = Vec::new();
        let (mut start, mut before) = (0, Count::default());
        for extent in &self.0 {
            if extent.start >= oldest {
                break;
            }
            if start < extent.start {
                holes.push(Extent { start, end: extent.start, before, after: extent.before });
            }
            (start, before) = (extent.end, extent.after);
        }
        if start < oldest {
            holes.push(Extent { start, end: oldest, before, after: before_oldest });
        }
        holes
    }

    /// The same positions without the counts.
    pub fn positions(&self) -> RangeSet {
        RangeSet::from_ranges(self.0.iter().map(|extent| (extent.start, extent.end)).collect())
            .unwrap_or_default()
    }

    /// The first position from 0 on that is not accounted for.
    pub fn watermark(&self) -> u64 {
        self.0.first().filter(|extent| extent.start == 0).map_or(0, |extent| extent.end)
    }
}
