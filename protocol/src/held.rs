//! What a sensor holds: its readings, the declared gaps among them, and how they were cut.
//!
//! This is the memory that must survive: whoever keeps it on disk writes down every [`Change`] before
//! the bytes that follow from it leave.

use std::collections::VecDeque;

use crate::header::{NONCE_BYTES, Place, READING_HEAD_BYTES, SEALED_OVERHEAD};
use crate::limits::{MAX_FRAME_BYTES, MAX_QUANTITIES, MAX_READINGS_PER_FRAME};
use crate::sealed::{Cut, GapReason};
use crate::time::Micros;

/// A reading, or readings that are no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The reading's bytes.
    Reading(Box<[u8]>),
    /// So many were dropped.
    Dropped(u64, GapReason),
}

impl Item {
    fn span(&self) -> u64 {
        match self {
            Self::Reading(_) => 1,
            Self::Dropped(count, _) => *count,
        }
    }
}

/// What must be on disk before anything that follows from it leaves.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Change {
    /// A reading was taken.
    Taken(u64, Box<[u8]>),
    /// A frame was cut.
    Cut(Cut),
    /// Everything below was stored and is forgotten.
    Forgotten(u64),
    /// The first readings were evicted; a gap stands in their place if nobody is known to have them.
    Evicted {
        /// The first sequence number now held.
        first: u64,
        /// How many at the front are declared dropped.
        dropped: u64,
    },
    /// A new stream was opened; everything held was renumbered from 1.
    Stream(u32),
}

/// The memory of one sensor.
///
/// A cut is kept for as long as anything it covers is, even when the frame has to be cut anew: what was
/// sent once may still be accepted by an older connection or by another journal, and the WELCOME that
/// names it must find its own memory here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    stream: u32,
    first: u64,
    next: u64,
    items: VecDeque<(u64, Item)>,
    /// Ascending by place; of those at one place, the newest last.
    cuts: VecDeque<Cut>,
    custody: u64,
    bytes: usize,
    bound: usize,
}

/// Cuts kept beyond one for each item: what a full spool evicts under cuts leaves more of them behind.
const SPARE_CUTS: usize = 1024;

/// The changes are not the history of one memory, in order and complete.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot follow what stands before it")]
pub struct NotAHistory(pub Change);

impl Held {
    /// The memory of a sensor that never had another, bounded in bytes of readings.
    pub fn new(bound: usize) -> Self {
        Self {
            stream: 1,
            first: 1,
            next: 1,
            items: VecDeque::new(),
            cuts: VecDeque::new(),
            custody: 1,
            bytes: 0,
            bound,
        }
    }

    /// The memory of a sensor that may have had another before, and forgot it. So may have the ingress: then
    /// nobody could tell this one's readings from those. So its stream is the time, in Unix seconds.
    pub fn begun(bound: usize, now: Micros, changes: &mut Vec<Change>) -> Self {
        let mut held = Self::new(bound);
        let seconds = u32::try_from(now.0 / 1_000_000).unwrap_or_default();
        held.make(Change::Stream(seconds.max(1)), changes);
        held
    }

    /// The memory that these changes made, in their order. What a journal has is not part of it: the
    /// next WELCOME says so anew.
    ///
    /// # Errors
    /// The first change that cannot follow those before it.
    pub fn replay(
        bound: usize,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Self, NotAHistory> {
        let mut held = Self::new(bound);
        for change in changes {
            if !held.can_follow(&change) {
                return Err(NotAHistory(change));
            }
            held.apply(&change);
        }
        held.custody = held.first;
        Ok(held)
    }

    /// The shortest history that makes this memory: for a disk that wants to forget the longer one.
    pub fn history(&self) -> Vec<Change> {
        let mut changes = vec![Change::Stream(self.stream), Change::Forgotten(self.first)];
        for (seq, item) in &self.items {
            changes.push(match item {
                Item::Reading(bytes) => Change::Taken(*seq, bytes.clone()),
                Item::Dropped(count, _) => Change::Evicted { first: *seq, dropped: *count },
            });
        }
        changes.extend(self.cuts.iter().copied().map(Change::Cut));
        changes
    }

    /// The oldest it holds, or its next.
    pub fn oldest(&self) -> Place {
        Place { stream: self.stream, seq: self.first }
    }

    /// One past the newest.
    pub fn next(&self) -> Place {
        Place { stream: self.stream, seq: self.next }
    }

    /// Everything of this stream below is in a journal.
    pub fn custody(&self) -> u64 {
        self.custody
    }

    /// Readings and dropped readings held.
    pub fn len(&self) -> u64 {
        self.next - self.first
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.first == self.next
    }

    /// Takes a reading. If there is no room, the oldest goes: without a word if a journal has it,
    /// otherwise a gap stands in its place.
    ///
    /// # Panics
    /// If the reading is not of a length that some profile has: no frame could ever carry it.
    pub fn take(&mut self, reading: &[u8], changes: &mut Vec<Change>) -> Place {
        assert!(can_be_framed(reading), "a reading of {} bytes", reading.len());
        while self.bytes + reading.len() > self.bound && self.evict(changes) {}
        let place = self.next();
        self.make(Change::Taken(place.seq, reading.into()), changes);
        place
    }

    /// Lets the oldest reading go; `false` if there is none.
    fn evict(&mut self, changes: &mut Vec<Change>) -> bool {
        let gone = match self.items.front() {
            Some((_, Item::Dropped(count, _))) => *count,
            _ => 0,
        };
        let Some((seq, Item::Reading(_))) = self.items.get(usize::from(gone > 0)) else {
            return false;
        };
        let seq = *seq;
        let change = if gone > 0 && self.custody >= seq {
            // The declaration itself is in the journal: it goes before any reading behind it.
            Change::Forgotten(seq)
        } else if seq < self.custody {
            Change::Evicted { first: seq + 1, dropped: 0 }
        } else {
            Change::Evicted { first: self.first, dropped: gone + 1 }
        };
        self.make(change, changes);
        true
    }

    /// Whether the ingress that names this position and nonce speaks of this memory.
    pub fn knows(&self, place: Place, nonce: &[u8; NONCE_BYTES]) -> bool {
        if *nonce == [0; NONCE_BYTES] {
            return place == self.oldest();
        }
        place.stream == self.stream
            && self.cuts.iter().any(|cut| end(cut) == place.seq && cut.nonce == *nonce)
    }

    /// Opens a stream of its own after `stream`: everything held is numbered anew.
    pub fn renumber(&mut self, stream: u32, changes: &mut Vec<Change>) {
        self.make(Change::Stream(stream.max(self.stream).saturating_add(1)), changes);
    }

    /// A journal has everything below, and nothing else: what WELCOME says, for better or worse.
    pub fn reset_custody(&mut self, seq: u64) {
        self.custody = seq.clamp(self.first, self.next);
    }

    /// Everything below is in a journal. Never goes back.
    pub fn in_custody(&mut self, seq: u64) {
        self.custody = self.custody.max(seq.min(self.next));
    }

    /// Everything below is stored: forget it.
    pub fn forget(&mut self, seq: u64, changes: &mut Vec<Change>) {
        let seq = seq.min(self.custody);
        if seq > self.first {
            self.make(Change::Forgotten(seq), changes);
        }
    }

    /// Remembers a new cut.
    pub fn remember(&mut self, cut: Cut, changes: &mut Vec<Change>) {
        self.make(Change::Cut(cut), changes);
    }

    /// What the disk will know and what memory does are one thing.
    fn make(&mut self, change: Change, changes: &mut Vec<Change>) {
        self.apply(&change);
        changes.push(change);
    }

    fn can_follow(&self, change: &Change) -> bool {
        match change {
            Change::Taken(seq, reading) => {
                *seq == self.next && *seq < u64::MAX && can_be_framed(reading)
            }
            Change::Cut(cut) => {
                cut.place.stream == self.stream
                    && cut.count > 0
                    && cut
                        .place
                        .seq
                        .checked_add(cut.count.into())
                        .is_some_and(|end| end <= self.next)
            }
            // A shortened history begins with what is not held any more.
            Change::Forgotten(seq) | Change::Evicted { first: seq, dropped: 0 } => {
                *seq >= self.first && (*seq <= self.next || self.is_empty())
            }
            Change::Evicted { first, dropped } => {
                *first == self.first
                    && first
                        .checked_add(*dropped)
                        .is_some_and(|end| end <= self.next || self.is_empty())
            }
            Change::Stream(stream) => *stream > 0,
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Taken(seq, reading) => {
                self.bytes += reading.len();
                self.items.push_back((*seq, Item::Reading(reading.clone())));
                self.next = seq + 1;
            }
            Change::Cut(cut) => {
                let at = self.cuts.partition_point(|other| other.place.seq <= cut.place.seq);
                self.cuts.insert(at, *cut);
                if self.cuts.len() > self.items.len() + SPARE_CUTS {
                    self.cuts.pop_front();
                }
            }
            Change::Forgotten(seq) | Change::Evicted { first: seq, dropped: 0 } => {
                self.drop_below(*seq)
            }
            Change::Evicted { first, dropped } => {
                self.drop_below(first + dropped);
                self.first = *first;
                self.items.push_front((*first, Item::Dropped(*dropped, GapReason::SpoolFull)));
            }
            Change::Stream(stream) => {
                self.stream = *stream;
                self.first = 1;
                self.next = 1;
                for (at, item) in &mut self.items {
                    *at = self.next;
                    self.next += item.span();
                }
                self.custody = 1;
                self.cuts.clear();
            }
        }
        // A cut that ends where the memory begins is what the next WELCOME may name.
        while self.cuts.front().is_some_and(|cut| end(cut) < self.first) {
            self.cuts.pop_front();
        }
    }

    fn drop_below(&mut self, seq: u64) {
        while let Some((at, item)) = self.items.front_mut()
            && *at < seq
        {
            match item {
                Item::Reading(bytes) => self.bytes -= bytes.len(),
                Item::Dropped(count, _) if *at + *count > seq => {
                    *count -= seq - *at;
                    *at = seq;
                    break;
                }
                Item::Dropped(..) => {}
            }
            self.items.pop_front();
        }
        self.first = seq;
        self.next = self.next.max(seq);
    }

    /// The frame that begins at `seq`: as it was cut before, or as it is to be cut now. `None` if
    /// nothing is held there.
    pub fn frame_at(&self, seq: u64) -> Option<Planned> {
        if seq < self.first || seq >= self.next {
            return None;
        }
        let behind = self.cuts.partition_point(|cut| cut.place.seq <= seq);
        let here = self.cuts.range(..behind).rev().take_while(|cut| cut.place.seq == seq);
        for cut in here {
            // Part of it may have been evicted meanwhile. Then it cannot be repeated.
            if let Some(body) = self.body(seq, cut.count)
                && matches!(body, Body::Gap(_)) == cut.gap
            {
                return Some(Planned { count: cut.count, body, cut: Some(*cut) });
            }
        }
        let at = self.items.partition_point(|(start, item)| *start + item.span() <= seq);
        let (start, item) = self.items.get(at)?;
        let count = match item {
            Item::Dropped(count, _) => u16::try_from(*start + *count - seq).unwrap_or(u16::MAX),
            Item::Reading(first) => {
                let fits = (MAX_FRAME_BYTES - SEALED_OVERHEAD) / first.len();
                // In step again with the cuts behind, so that those can be repeated.
                let until = self.cuts.get(behind).map_or(u64::MAX, |cut| cut.place.seq - seq);
                let most = fits.min(usize::from(MAX_READINGS_PER_FRAME));
                let most = most.min(usize::try_from(until).unwrap_or(usize::MAX));
                // A profile may have changed: the readings of one frame are equally long.
                let alike = |item: &Item| matches!(item, Item::Reading(reading) if reading.len() == first.len());
                self.items.range(at..).take(most).take_while(|(_, item)| alike(item)).count() as u16
            }
        };
        Some(Planned { count, body: self.body(seq, count)?, cut: None })
    }

    fn body(&self, seq: u64, count: u16) -> Option<Body> {
        let at = self.items.partition_point(|(start, item)| *start + item.span() <= seq);
        match self.items.get(at)? {
            (start, Item::Dropped(dropped, reason)) => {
                (seq + u64::from(count) <= start + dropped).then_some(Body::Gap(*reason))
            }
            (_, Item::Reading(first)) => {
                let mut bytes = Vec::with_capacity(first.len() * usize::from(count));
                let mut rest = self.items.range(at..);
                for _ in 0..count {
                    let (_, Item::Reading(reading)) = rest.next()? else { return None };
                    bytes.extend_from_slice(reading);
                }
                Some(Body::Readings(bytes))
            }
        }
    }
}

/// What the frame at a position will carry.
#[derive(Debug)]
pub struct Planned {
    /// Readings, or dropped readings.
    pub count: u16,
    /// What goes into the box.
    pub body: Body,
    /// How it was cut before, if it was.
    pub cut: Option<Cut>,
}

/// What goes into the box.
#[derive(Debug)]
pub enum Body {
    /// Readings, one after the other.
    Readings(Vec<u8>),
    /// Why they were dropped.
    Gap(GapReason),
}

fn can_be_framed(reading: &[u8]) -> bool {
    (READING_HEAD_BYTES + 4..=READING_HEAD_BYTES + 8 * MAX_QUANTITIES).contains(&reading.len())
}

fn end(cut: &Cut) -> u64 {
    cut.place.seq + u64::from(cut.count)
}
