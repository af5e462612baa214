//! Readings of one stream with consecutive numbers and one profile, in columns.
//!
//! Encoded (little-endian): version u8 = 2 · profile u16 · has status u8 · count u32 · times i64 ·
//! received i64 · flags u16 · if it has status: per reading and quantity u16 · per quantity f32 or f64.
//! · checksum ([`checked`]), which version 1 has not. A value that is not a number is stored as NaN.

use serde::{Deserialize, Serialize};
use vigia_protocol::profile::{Number, Profile};

use crate::tables::{Corrupt, checked};

const VERSION: u8 = 2;
const WITHOUT_CHECKSUM: u8 = 1;

/// One reading, seen where it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample<'a> {
    /// Its number.
    pub seq: u64,
    /// Its profile's number in this store.
    pub profile: u16,
    /// By the sensor's clock, µs.
    pub time: i64,
    /// By the ingress's clock, µs.
    pub received: i64,
    /// How it was taken.
    pub flags: u16,
    /// Per quantity; empty if all are good.
    pub status: &'a [u16],
    /// Per quantity; NaN where there is no number.
    pub values: &'a [f64],
}

#[derive(Debug, Clone, PartialEq)]
enum Column {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Column {
    fn get(&self, at: usize) -> f64 {
        match self {
            Self::F32(values) => f64::from(values[at]),
            Self::F64(values) => values[at],
        }
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The number of its first reading.
    pub first: u64,
    /// The number of its profile in this store.
    pub profile: u16,
    time: Vec<i64>,
    received: Vec<i64>,
    flags: Vec<u16>,
    /// Empty as long as everything is good.
    status: Vec<u16>,
    values: Vec<Column>,
}

impl Run {
    /// An empty run that begins with the number of `sample`.
    pub fn new(sample: &Sample<'_>, profile: &Profile) -> Self {
        let column = |number| match number {
            Number::F32 => Column::F32(Vec::new()),
            Number::F64 => Column::F64(Vec::new()),
        };
        Self {
            first: sample.seq,
            profile: sample.profile,
            time: Vec::new(),
            received: Vec::new(),
            flags: Vec::new(),
            status: Vec::new(),
            values: profile.quantities().iter().map(|quantity| column(quantity.number)).collect(),
        }
    }

    /// Appends; the number is the next one.
    pub fn push(&mut self, sample: &Sample<'_>) {
        let quantities = self.values.len();
        if !sample.status.is_empty() && self.status.is_empty() {
            self.status.resize(self.time.len() * quantities, 0);
        }
        if !self.status.is_empty() || !sample.status.is_empty() {
            let statuses = (0..quantities).map(|at| sample.status.get(at).copied().unwrap_or(0));
            self.status.extend(statuses);
        }
        self.time.push(sample.time);
        self.received.push(sample.received);
        self.flags.push(sample.flags);
        for (column, value) in self.values.iter_mut().zip(sample.values) {
            match column {
                Column::F32(values) => values.push(*value as f32),
                Column::F64(values) => values.push(*value),
            }
        }
    }

    /// Keeps only the first `length` readings.
    pub fn truncate(&mut self, length: usize) {
        self.time.truncate(length);
        self.received.truncate(length);
        self.flags.truncate(length);
        self.status.truncate(length * self.values.len());
        for column in &mut self.values {
            match column {
                Column::F32(values) => values.truncate(length),
                Column::F64(values) => values.truncate(length),
            }
        }
    }

    /// How many readings.
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// The number after its last.
    pub fn end(&self) -> u64 {
        self.first + self.time.len() as u64
    }

    /// Bytes its readings take.
    pub fn bytes(&self) -> usize {
        let values: usize = self
            .values
            .iter()
            .map(|column| match column {
                Column::F32(values) => values.capacity() * 4,
                Column::F64(values) => values.capacity() * 8,
            })
            .sum();
        self.time.capacity() * 16 + self.flags.capacity() * 2 + self.status.capacity() * 2 + values
    }

    /// Its quantities' number.
    pub fn quantities(&self) -> usize {
        self.values.len()
    }

    /// When reading `at` was taken.
    pub fn time(&self, at: usize) -> i64 {
        self.time[at]
    }

    /// Value `quantity` of reading `at`; NaN where there is no number.
    pub fn value(&self, at: usize, quantity: usize) -> f64 {
        self.values[quantity].get(at)
    }

    /// Calls `each` for reading `at`; `values` is a buffer.
    pub fn with<T>(
        &self,
        at: usize,
        values: &mut Vec<f64>,
        each: impl FnOnce(&Sample<'_>) -> T,
    ) -> T {
        values.clear();
        values.extend(self.values.iter().map(|column| column.get(at)));
        let quantities = self.values.len();
        let status = if self.status.is_empty() {
            &[]
        } else {
            &self.status[at * quantities..(at + 1) * quantities]
        };
        let good = status.iter().all(|status| *status == 0);
        each(&Sample {
            seq: self.first + at as u64,
            profile: self.profile,
            time: self.time[at],
            received: self.received[at],
            flags: self.flags[at],
            status: if good { &[] } else { status },
            values,
        })
    }

    /// Its bytes, without its key.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + self.bytes());
        out.push(VERSION);
        out.extend_from_slice(&self.profile.to_le_bytes());
        out.push(u8::from(!self.status.is_empty()));
        out.extend_from_slice(&(self.time.len() as u32).to_le_bytes());
        self.time.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.received.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.flags.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        self.status.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        for column in &self.values {
            match column {
                Column::F32(values) => {
                    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
                }
                Column::F64(values) => {
                    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
                }
            }
        }
        checked::seal(out)
    }

    /// The number of the profile alone.
    pub fn profile_of(bytes: &[u8]) -> Result<u16, Corrupt> {
        match bytes {
            [VERSION | WITHOUT_CHECKSUM, low, high, ..] => Ok(u16::from_le_bytes([*low, *high])),
            _ => Err(Corrupt("a block's head")),
        }
    }

    /// Reads a run whose profile is `profile`.
    pub fn decode(first: u64, profile: &Profile, bytes: &[u8]) -> Result<Self, Corrupt> {
        let number = Self::profile_of(bytes)?;
        let corrupt = Corrupt("a block");
        let bytes = match bytes {
            [WITHOUT_CHECKSUM, ..] => bytes,
            _ => checked::open(bytes, "a block")?,
        };
        let (head, rest) = bytes.split_at_checked(8).ok_or(corrupt)?;
        let count = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let quantities = profile.quantities();
        let mut rest = rest;
        let time = column(&mut rest, count, i64::from_le_bytes)?;
        let received = column(&mut rest, count, i64::from_le_bytes)?;
        let flags = column(&mut rest, count, u16::from_le_bytes)?;
        let statuses = if head[3] == 0 { 0 } else { count.saturating_mul(quantities.len()) };
        let status = column(&mut rest, statuses, u16::from_le_bytes)?;
        let values = quantities
            .iter()
            .map(|quantity| {
                Ok(match quantity.number {
                    Number::F32 => Column::F32(column(&mut rest, count, f32::from_le_bytes)?),
                    Number::F64 => Column::F64(column(&mut rest, count, f64::from_le_bytes)?),
                })
            })
            .collect::<Result<_, Corrupt>>()?;
        if !rest.is_empty() {
            return Err(corrupt);
        }
        Ok(Self { first, profile: number, time, received, flags, status, values })
    }

    /// Its statistics.
    pub fn stats(&self) -> Stats {
        let bounds = |values: &[i64]| {
            let least = values.iter().copied().min().unwrap_or_default();
            (least, values.iter().copied().max().unwrap_or_default())
        };
        let quantity = |column: &Column| {
            let mut all = Summary::default();
            (0..self.len()).for_each(|at| all.add(column.get(at)));
            all
        };
        Stats {
            profile: self.profile,
            count: self.len() as u64,
            time: bounds(&self.time),
            received: bounds(&self.received),
            quantities: self.values.iter().map(quantity).collect(),
        }
    }
}

fn column<T, const N: usize>(
    bytes: &mut &[u8],
    count: usize,
    value: impl Fn([u8; N]) -> T,
) -> Result<Vec<T>, Corrupt> {
    let length = count.checked_mul(N).ok_or(Corrupt("a block's length"))?;
    let (head, rest) = bytes.split_at_checked(length).ok_or(Corrupt("a block's length"))?;
    *bytes = rest;
    let (parts, _) = head.as_chunks::<N>();
    Ok(parts.iter().map(|part| value(*part)).collect())
}

/// What a query can know about a run without reading it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The number of its profile.
    pub profile: u16,
    /// How many readings.
    pub count: u64,
    /// Their first and last time, by the sensor's clock.
    pub time: (i64, i64),
    /// The same by the ingress's clock.
    pub received: (i64, i64),
    /// In the profile's order.
    pub quantities: Vec<Summary>,
}

/// Count, extremes, sum, first and last of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// How many numbers; what is no number does not count.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The sum.
    pub sum: f64,
    /// The first.
    pub first: f64,
    /// The last.
    pub last: f64,
}

impl Summary {
    /// Adds a number, if it is one.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.merge(&Self {
            count: 1,
            min: value,
            max: value,
            sum: value,
            first: value,
            last: value,
        });
    }

    /// Adds what comes after.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.last = other.last;
    }
}
