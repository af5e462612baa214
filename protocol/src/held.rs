//! What a sensor holds: its readings, the declared gaps among them, and how they were cut.
//!
//! This is the memory that must survive: whoever keeps it on disk writes down every [`Change`] before
//! the bytes that follow from it leave.

use std::collections::VecDeque;

use crate::header::{NONCE_BYTES, Place};
use crate::limits::{MAX_FRAME_BYTES, MAX_READINGS_PER_FRAME};
use crate::sealed::{Cut, GapReason};

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A reading was taken.
    Taken(u64, Box<[u8]>),
    /// A frame was cut.
    Cut(Cut),
    /// Everything below was stored and is forgotten.
    Forgotten(u64),
    /// The first readings were evicted; a gap stands in their place if nobody had them.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    stream: u32,
    first: u64,
    next: u64,
    items: VecDeque<(u64, Item)>,
    cuts: VecDeque<Cut>,
    /// The last cut that ended at or below `first`: WELCOME may name it.
    past: Option<Cut>,
    custody: u64,
    bytes: usize,
    bound: usize,
}

impl Held {
    /// A new sensor's memory, bounded in bytes of readings.
    pub fn new(bound: usize) -> Self {
        Self {
            stream: 1,
            first: 1,
            next: 1,
            items: VecDeque::new(),
            cuts: VecDeque::new(),
            past: None,
            custody: 1,
            bytes: 0,
            bound,
        }
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
    pub fn take(&mut self, reading: &[u8], changes: &mut Vec<Change>) -> Place {
        while self.bytes + reading.len() > self.bound && self.evict(changes) {}
        let place = self.next();
        let reading: Box<[u8]> = reading.into();
        changes.push(Change::Taken(place.seq, reading.clone()));
        self.bytes += reading.len();
        self.items.push_back((place.seq, Item::Reading(reading)));
        self.next += 1;
        place
    }

    /// Lets the oldest reading go; `false` if there is none.
    fn evict(&mut self, changes: &mut Vec<Change>) -> bool {
        let gone = match self.items.front() {
            Some((_, Item::Dropped(count, _))) => *count,
            _ => 0,
        };
        let at = usize::from(gone > 0);
        let Some((seq, Item::Reading(bytes))) = self.items.get(at).cloned() else {
            return false;
        };
        if gone > 0 && self.custody >= seq {
            // The declaration itself is in the journal: it goes before any reading behind it.
            self.items.pop_front();
            self.first = seq;
            changes.push(Change::Forgotten(seq));
            self.settle_cuts();
            return true;
        }
        self.bytes -= bytes.len();
        self.items.remove(at);
        if seq < self.custody {
            self.first = seq + 1;
            changes.push(Change::Evicted { first: self.first, dropped: 0 });
            self.settle_cuts();
            return true;
        }
        match self.items.front_mut() {
            Some((_, Item::Dropped(count, _))) if gone > 0 => *count += 1,
            _ => self.items.push_front((seq, Item::Dropped(1, GapReason::SpoolFull))),
        }
        changes.push(Change::Evicted { first: self.first, dropped: gone + 1 });
        true
    }

    /// Whether the ingress that names this position and nonce speaks of this memory.
    pub fn knows(&self, place: Place, nonce: &[u8; NONCE_BYTES]) -> bool {
        if *nonce == [0; NONCE_BYTES] {
            return place == self.oldest();
        }
        place.stream == self.stream
            && self
                .past
                .iter()
                .chain(&self.cuts)
                .any(|cut| end(cut) == place.seq && cut.nonce == *nonce)
    }

    /// Opens a stream of its own after `stream`: everything held is numbered anew.
    pub fn renumber(&mut self, stream: u32, changes: &mut Vec<Change>) {
        self.stream = stream.max(self.stream).saturating_add(1);
        let mut seq = 1;
        for (at, item) in &mut self.items {
            *at = seq;
            seq += item.span();
        }
        self.first = 1;
        self.next = seq;
        self.custody = 1;
        self.cuts.clear();
        self.past = None;
        changes.push(Change::Stream(self.stream));
    }

    /// A journal has everything below, and nothing else: what WELCOME says, for better or worse.
    pub fn reset_custody(&mut self, seq: u64) {
        self.custody = seq.min(self.next);
    }

    /// Everything below is in a journal. Never goes back.
    pub fn in_custody(&mut self, seq: u64) {
        self.custody = self.custody.max(seq.min(self.next));
    }

    /// Everything below is stored: forget it.
    pub fn forget(&mut self, seq: u64, changes: &mut Vec<Change>) {
        let seq = seq.min(self.custody);
        if seq <= self.first {
            return;
        }
        while let Some((at, item)) = self.items.front_mut() {
            match item {
                Item::Reading(bytes) if *at < seq => self.bytes -= bytes.len(),
                Item::Dropped(count, _) if *at + *count > seq => {
                    *count -= seq.saturating_sub(*at);
                    *at = (*at).max(seq);
                    break;
                }
                Item::Dropped(..) => {}
                Item::Reading(_) => break,
            }
            self.items.pop_front();
        }
        self.first = seq;
        self.settle_cuts();
        changes.push(Change::Forgotten(seq));
    }

    /// Keeps, of the cuts that lie behind, only the last.
    fn settle_cuts(&mut self) {
        while self.cuts.front().is_some_and(|cut| end(cut) <= self.first) {
            self.past = self.cuts.pop_front();
        }
    }

    /// The frame that begins at `seq`: the cut it was given before, or a new one with `fresh`'s
    /// epoch and random bytes. `None` if nothing is held there.
    pub fn frame_at(&mut self, seq: u64) -> Option<Planned> {
        if seq < self.first || seq >= self.next {
            return None;
        }
        if let Some(index) = self.cuts.iter().position(|cut| end(cut) > seq) {
            let cut = self.cuts[index];
            if cut.place.seq == seq
                && let Some(body) = self.body(seq, cut.count)
                && matches!(body, Body::Gap(_)) == cut.gap
            {
                return Some(Planned { count: cut.count, body, cut: Some(cut) });
            }
            // The ingress stands in its middle, or part of it was evicted meanwhile. So it was never
            // accepted, nor were those behind it: all are void.
            self.cuts.truncate(index);
        }
        let at = self.items.partition_point(|(start, item)| *start + item.span() <= seq);
        let (start, item) = self.items.get(at)?;
        let count = match item {
            Item::Dropped(count, _) => {
                u16::try_from(*start + *count - seq).unwrap_or(u16::MAX)
            }
            Item::Reading(first) => {
                let fits = (MAX_FRAME_BYTES - crate::header::SEALED_OVERHEAD) / first.len();
                let most = fits.min(usize::from(MAX_READINGS_PER_FRAME));
                let run = self.items.range(at..).take(most);
                run.take_while(|(_, item)| matches!(item, Item::Reading(_))).count() as u16
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

    /// Remembers a new cut.
    pub fn remember(&mut self, cut: Cut, changes: &mut Vec<Change>) {
        self.cuts.push_back(cut);
        changes.push(Change::Cut(cut));
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

fn end(cut: &Cut) -> u64 {
    cut.place.seq + u64::from(cut.count)
}
