//! One stream of one sensor: which of its readings are stored, which are declared dropped, and the
//! newest of them that are not in a full block yet.

use serde::{Deserialize, Serialize};
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::Profile;
use vigia_protocol::ranges::RangeSet;

use crate::limits::{BLOCK_READINGS, RUN_OVERHEAD_BYTES};
use crate::run::{Run, Sample};

/// Names a stream. Ordered by sensor, so that a sensor's streams stand together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamId {
    /// Whose.
    pub sensor: SensorId,
    /// Which of its numberings.
    pub stream: u32,
}

/// What is known about the readings of a stream, by their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StreamAccount {
    /// Stored.
    pub stored: RangeSet,
    /// Declared dropped by the sensor. Stored beats declared, so both may have a number.
    pub declared: RangeSet,
    /// Duplicates whose contents differed from what was stored.
    pub conflicts: u64,
}

/// Readings that are missing in a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    /// The sensor said so.
    pub declared: u64,
    /// Nobody said so.
    pub unexplained: u64,
    /// The first of the latter.
    pub first_unexplained: Option<u64>,
}

impl StreamAccount {
    /// Counts what is missing from 1 up to the largest number heard of.
    pub fn gaps(&self) -> Gaps {
        let unexplained = self.unexplained();
        Gaps {
            declared: length(self.missing_declared()),
            first_unexplained: unexplained.first().map(|&(start, _)| start),
            unexplained: length(unexplained),
        }
    }

    /// The numbers that are missing although nobody declared them dropped.
    pub fn unexplained(&self) -> Vec<(u64, u64)> {
        let mut known = self.stored.clone();
        for &(start, end) in self.declared.ranges() {
            known.insert_range(start, end);
        }
        known.missing_within(1, known.end())
    }

    /// How many of these numbers are neither stored nor declared dropped.
    pub fn missing_within(&self, from: u64, to: u64) -> u64 {
        let declared =
            self.missing_declared().map(|(start, end)| end.min(to).saturating_sub(start.max(from)));
        length(self.stored.missing_within(from, to)).saturating_sub(declared.sum())
    }

    /// The numbers that are missing because the sensor dropped them.
    pub fn missing_declared(&self) -> impl Iterator<Item = (u64, u64)> {
        let declared = self.declared.ranges().iter();
        declared.flat_map(|&(start, end)| self.stored.missing_within(start, end))
    }
}

fn length(ranges: impl IntoIterator<Item = (u64, u64)>) -> u64 {
    ranges.into_iter().map(|(start, end)| end - start).sum()
}

/// A run that may still grow.
#[derive(Debug, Clone)]
pub struct OpenRun {
    /// Its readings.
    pub run: Run,
    /// How many of them a checkpoint has written.
    pub written: usize,
}

impl OpenRun {
    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        RUN_OVERHEAD_BYTES + self.run.bytes()
    }
}

/// A stream in memory.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    /// The numbers.
    pub account: StreamAccount,
    /// Runs that are not full. Usually one; more where something arrived out of order.
    pub open: Vec<OpenRun>,
    /// Whether there is something that the last checkpoint has not written.
    pub changed: bool,
}

/// What taking a reading in changed.
#[derive(Debug, Default)]
pub struct Grown {
    /// Change of the memory held.
    pub bytes: isize,
    /// A run that is full now and left memory.
    pub full: Option<Run>,
}

impl Stream {
    /// Appends a new reading to the run it continues, or begins one. A run never has a hole, so runs
    /// never overlap, in whatever order readings come.
    pub fn push(&mut self, sample: &Sample<'_>, profile: &Profile) -> Grown {
        self.changed = true;
        let continued = self
            .open
            .iter()
            .rposition(|open| open.run.end() == sample.seq && open.run.profile == sample.profile);
        let (at, before) = match continued {
            Some(at) => (at, self.open[at].bytes()),
            None => {
                self.open.push(OpenRun { run: Run::new(sample, profile), written: 0 });
                (self.open.len() - 1, 0)
            }
        };
        let open = &mut self.open[at];
        open.run.push(sample);
        if open.run.len() < BLOCK_READINGS {
            return Grown { bytes: open.bytes() as isize - before as isize, full: None };
        }
        let full = self.open.remove(at).run;
        Grown { bytes: -(before as isize), full: Some(full) }
    }
}
