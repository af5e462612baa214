//! A set of numbers, kept as its ranges: normally one.

use serde::{Deserialize, Deserializer, Serialize};

/// A set of u64 (but never the largest), as ascending, disjoint, non-adjacent, non-empty ranges
/// `[start, end)`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct RangeSet(Vec<(u64, u64)>);

impl<'de> Deserialize<'de> for RangeSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ranges = Vec::deserialize(deserializer)?;
        Self::from_ranges(ranges).ok_or_else(|| serde::de::Error::custom("not a set of ranges"))
    }
}

impl RangeSet {
    /// Takes ranges from outside; `None` if they are not ascending, disjoint and non-empty.
    pub fn from_ranges(ranges: Vec<(u64, u64)>) -> Option<Self> {
        let ordered = ranges.iter().all(|(start, end)| start < end)
            && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        ordered.then_some(Self(ranges))
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether `value` is in the set.
    pub fn contains(&self, value: u64) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= value);
        after > 0 && value < self.0[after - 1].1
    }

    /// Adds one number; says whether it was new. The largest u64 has no place in a set.
    pub fn insert(&mut self, value: u64) -> bool {
        let Some(end) = value.checked_add(1) else { return false };
        if let Some(last) = self.0.last_mut()
            && last.1 == value
        {
            last.1 = end;
            return true;
        }
        if self.contains(value) {
            return false;
        }
        self.insert_range(value, end);
        true
    }

    /// Adds all of `[start, end)`.
    pub fn insert_range(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let first = self.0.partition_point(|range| range.1 < start);
        let last = self.0.partition_point(|range| range.0 <= end);
        let merged = self.0[first..last]
            .iter()
            .fold((start, end), |all, range| (all.0.min(range.0), all.1.max(range.1)));
        self.0.splice(first..last, [merged]);
    }

    /// Removes all of `[start, end)`.
    pub fn remove_range(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        self.0 = self
            .0
            .iter()
            .flat_map(|&(from, to)| [(from, to.min(start)), (from.max(end), to)])
            .filter(|(from, to)| from < to)
            .collect();
    }

    /// The end of the range that begins at `start`, or `start` if there is none: the watermark.
    pub fn contiguous_from(&self, start: u64) -> u64 {
        self.0
            .iter()
            .find(|range| range.0 <= start && start < range.1)
            .map_or(start, |range| range.1)
    }

    /// One more than the largest number; 0 if empty.
    pub fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.1)
    }

    /// What `[start, end)` has and this set has not.
    pub fn missing_within(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut from = start;
        for &(low, high) in &self.0 {
            if high <= from {
                continue;
            }
            if low >= end {
                break;
            }
            if from < low {
                missing.push((from, low));
            }
            from = high;
        }
        if from < end {
            missing.push((from, end));
        }
        missing
    }

    /// Whether all of `[start, end)` is in the set.
    pub fn has_all(&self, start: u64, end: u64) -> bool {
        self.contiguous_from(start) >= end
    }

    /// How many numbers the set has.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps only the first `count` ranges.
    pub fn truncated(&self, count: usize) -> Self {
        Self(self.0[..self.0.len().min(count)].to_vec())
    }
}
