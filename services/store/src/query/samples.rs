//! A sensor's values as time series: by the sensor's clock, in milliseconds, each moment once.
//!
//! Runs are looked at newest first, so that of two values of one moment the one taken last is met first,
//! and so that a block is not read where something newer already stands for all of it.

use std::time::Instant;

use vigia_disk::redb;
use vigia_protocol::header::SensorId;

use super::{Piece, Snapshot, Span};
use crate::run::Run;
use crate::stream::StreamId;

/// A value and its moment in milliseconds.
pub type Point = (i64, f64);

/// What is wanted of a sensor.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// By the sensor's clock, in microseconds.
    pub span: Span,
    /// Per profile of the store and quantity of it: the series it belongs to.
    pub columns: Vec<Vec<Option<usize>>>,
    /// How many series there are.
    pub series: usize,
    /// Where values are looked at, if not everywhere.
    pub grid: Option<Grid>,
    /// At most so many points.
    pub most: usize,
    /// Until when.
    pub deadline: Instant,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// There are more points.
    TooMany,
    /// It takes longer.
    TooLate,
}

/// Equidistant moments at which somebody looks at the last value at or before each; several such rows,
/// where it is not known which one is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grid {
    step: i64,
    phases: Vec<i64>,
}

impl Grid {
    /// The moments that differ from one of the anchors by a multiple of `step`; all in milliseconds.
    pub fn new(step: i64, anchors: &[i64]) -> Self {
        let step = step.max(1);
        let mut phases: Vec<i64> = anchors.iter().map(|anchor| anchor.rem_euclid(step)).collect();
        phases.sort_unstable();
        phases.dedup();
        Self { step, phases }
    }

    /// The interval between two neighbouring moments, its end included, in which `time` is. Each moment
    /// passed adds one, of whichever row it is.
    fn interval(&self, time: i64) -> i64 {
        let passed = |phase: &i64| -phase.saturating_sub(time).div_euclid(self.step);
        self.phases.iter().map(passed).fold(0, i64::saturating_add)
    }
}

/// A run, before it is looked into.
struct Reach {
    id: StreamId,
    first: u64,
    /// Of a block: its profile, and its times in milliseconds.
    block: Option<(u16, (i64, i64))>,
}

/// Series under way, newest first.
struct Gathered<'a> {
    wanted: &'a Wanted,
    series: Vec<Vec<Point>>,
    points: usize,
}

impl Snapshot {
    /// The values of a sensor by series, each by time. With a grid, only those that are the last at or
    /// before one of its moments.
    ///
    /// # Errors
    /// What redb says.
    pub fn samples(
        &self,
        sensor: SensorId,
        wanted: &Wanted,
    ) -> Result<Result<Vec<Vec<Point>>, Cut>, redb::Error> {
        let mut gathered = Gathered { wanted, series: vec![Vec::new(); wanted.series], points: 0 };
        for reach in self.reaches(sensor, wanted)?.iter().rev() {
            if gathered.has_better_than(reach) {
                continue;
            }
            if Instant::now() >= wanted.deadline {
                return Ok(Err(Cut::TooLate));
            }
            let key = (reach.id.stream, reach.first);
            let enough = match self.open.get(&key) {
                Some(run) => gathered.add(run),
                None => gathered.add(&self.block(reach.id, reach.first)?),
            };
            if !enough {
                return Ok(Err(Cut::TooMany));
            }
        }
        gathered.compact();
        Ok(Ok(gathered.series))
    }

    /// The series of which there is anything within the span, by blocks' statistics alone.
    ///
    /// # Errors
    /// What redb says.
    pub fn has_series(&self, sensor: SensorId, wanted: &Wanted) -> Result<Vec<bool>, redb::Error> {
        let mut found = vec![false; wanted.series];
        self.pieces(sensor, None, wanted.span, |piece| {
            let stats = match piece {
                Piece::Open(_, run) => run.stats(),
                Piece::Block(_, _, stats) => stats,
            };
            let columns = wanted.columns.get(usize::from(stats.profile)).into_iter().flatten();
            for (series, summary) in columns.zip(&stats.quantities) {
                if let Some(series) =
                    series.filter(|_| summary.count > 0 && wanted.span.touches(stats.time))
                {
                    found[series] = true;
                }
            }
            Ok(found.iter().any(|found| !found))
        })?;
        Ok(found)
    }

    fn reaches(&self, sensor: SensorId, wanted: &Wanted) -> Result<Vec<Reach>, redb::Error> {
        let mut reaches = Vec::new();
        self.pieces(sensor, None, wanted.span, |piece| {
            match piece {
                Piece::Open(id, run) => reaches.push(Reach { id, first: run.first, block: None }),
                Piece::Block(id, first, stats) => {
                    let columns = wanted.columns.get(usize::from(stats.profile));
                    let mut both = columns.into_iter().flatten().zip(&stats.quantities);
                    if both.any(|(series, summary)| series.is_some() && summary.count > 0) {
                        let times = (millis(stats.time.0), millis(stats.time.1));
                        reaches.push(Reach { id, first, block: Some((stats.profile, times)) });
                    }
                }
            }
            Ok(true)
        })?;
        Ok(reaches)
    }
}

impl Gathered<'_> {
    /// Whether a block can add nothing: all of it is within one interval of the grid, of which each of its
    /// series has a later value.
    fn has_better_than(&self, reach: &Reach) -> bool {
        let (Some(grid), Some((profile, (first, last)))) = (&self.wanted.grid, reach.block) else {
            return false;
        };
        let interval = grid.interval(last);
        let mut columns = self.wanted.columns[usize::from(profile)].iter().flatten();
        grid.interval(first) == interval
            && columns.all(|series| {
                let newest = self.series[*series].last();
                newest.is_some_and(|(time, _)| *time >= last && grid.interval(*time) == interval)
            })
    }

    /// Looks into a run; says no if that makes too many points.
    fn add(&mut self, run: &Run) -> bool {
        let Some(columns) = self.wanted.columns.get(usize::from(run.profile)) else { return true };
        let columns: Vec<(usize, usize)> = columns
            .iter()
            .enumerate()
            .filter_map(|(quantity, series)| Some((quantity, (*series)?)))
            .collect();
        if columns.is_empty() {
            return true;
        }
        for at in (0..run.len()).rev().filter(|at| self.wanted.span.has(run.time(*at))) {
            let time = millis(run.time(at));
            for (quantity, series) in &columns {
                let value = run.value(at, *quantity);
                if value.is_finite() {
                    self.push(*series, (time, value));
                }
            }
        }
        if self.points > self.wanted.most {
            self.compact();
        }
        self.points <= self.wanted.most
    }

    fn push(&mut self, series: usize, new: Point) {
        let same = |one: i64, other: i64| match &self.wanted.grid {
            Some(grid) => grid.interval(one) == grid.interval(other),
            None => one == other,
        };
        match self.series[series].last_mut() {
            Some(known) if same(known.0, new.0) => {
                if new.0 > known.0 {
                    *known = new;
                }
            }
            _ => {
                self.series[series].push(new);
                self.points += 1;
            }
        }
    }

    /// Brings all series into the order of time; of each moment or interval the last value stays. More may
    /// follow: it was taken earlier, and is sorted in behind.
    fn compact(&mut self) {
        let interval = |time| self.wanted.grid.as_ref().map_or(time, |grid| grid.interval(time));
        for series in &mut self.series {
            // Equal times keep their order: that of which the first was taken last.
            series.sort_by_key(|point| point.0);
            series.dedup_by(|next, kept| {
                let same = interval(next.0) == interval(kept.0);
                if same && next.0 > kept.0 {
                    *kept = *next;
                }
                same
            });
        }
        self.points = self.series.iter().map(Vec::len).sum();
    }
}

fn millis(micros: i64) -> i64 {
    micros.div_euclid(1_000)
}
