//! Prometheus's XOR chunks: samples in few bits, as Gorilla does it (Pelkonen et al., VLDB 2015) with the widths
//! that Prometheus's chunk format (`tsdb/docs/format/chunks.md`) has. Times are written as the change of their
//! distance, values as the bits that differ from the value before.

use super::wire::{Chunk, Sample, XOR};

/// Samples in a chunk, as Prometheus itself has them.
const SAMPLES_PER_CHUNK: usize = 120;

/// How much a change of distance takes: so many ones and a zero, so many bits.
const TIME_WIDTHS: [(u32, u32); 3] = [(1, 14), (2, 17), (3, 20)];

/// Cuts samples, by time, into chunks.
pub fn chunks(samples: &[Sample]) -> Vec<Chunk> {
    samples.chunks(SAMPLES_PER_CHUNK).map(chunk).collect()
}

fn chunk(samples: &[Sample]) -> Chunk {
    let mut bits = Bits::default();
    bits.put(samples.len() as u64, 16);
    // The sample before, and its distance from the one before that.
    let mut before: Option<(Sample, Option<i64>)> = None;
    let mut window = None;
    for sample in samples {
        let distance = match before {
            None => {
                bits.varint(((sample.timestamp << 1) ^ (sample.timestamp >> 63)) as u64);
                bits.put(sample.value.to_bits(), 64);
                None
            }
            Some((last, None)) => {
                let distance = sample.timestamp.wrapping_sub(last.timestamp);
                bits.varint(distance as u64);
                Some(distance)
            }
            Some((last, Some(earlier))) => {
                let distance = sample.timestamp.wrapping_sub(last.timestamp);
                bits.time(distance.wrapping_sub(earlier));
                Some(distance)
            }
        };
        if let Some((last, _)) = before {
            bits.value(sample.value.to_bits() ^ last.value.to_bits(), &mut window);
        }
        before = Some((*sample, distance));
    }
    let time = |sample: Option<&Sample>| sample.map_or(0, |sample| sample.timestamp);
    Chunk {
        min_time_ms: time(samples.first()),
        max_time_ms: time(samples.last()),
        encoding: XOR,
        data: bits.bytes,
    }
}

/// Bits, the highest of a byte first.
#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    /// How many of the last byte are not used yet.
    free: u32,
}

impl Bits {
    /// The lowest `count` bits of `value`.
    fn put(&mut self, value: u64, count: u32) {
        for at in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            let last = self.bytes.len() - 1;
            self.bytes[last] |= ((value >> at & 1) as u8) << self.free;
        }
    }

    /// As protocol buffers have it: seven bits a byte, the lowest first.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.put(value, 8);
    }

    /// The change of a distance.
    fn time(&mut self, change: i64) {
        if change == 0 {
            return self.put(0, 1);
        }
        let fits = |width: u32| {
            let most = 1i64 << (width - 1);
            (1 - most..=most).contains(&change)
        };
        let (ones, width) = match TIME_WIDTHS.iter().find(|(_, width)| fits(*width)) {
            Some(&(ones, width)) => (ones, Some(width)),
            None => (4, None),
        };
        self.put(u64::MAX, ones);
        if let Some(width) = width {
            self.put(0, 1);
            self.put(change as u64, width);
        } else {
            self.put(change as u64, 64);
        }
    }

    /// The bits that differ. They are written without the zeros around them, where possible around the same
    /// place as last time: `window` is how many zeros were left out before and after.
    fn value(&mut self, differing: u64, window: &mut Option<(u32, u32)>) {
        if differing == 0 {
            return self.put(0, 1);
        }
        self.put(1, 1);
        let (before, after) = (differing.leading_zeros().min(31), differing.trailing_zeros());
        if let Some((known_before, known_after)) = *window
            && before >= known_before
            && after >= known_after
        {
            self.put(0, 1);
            return self.put(differing >> known_after, 64 - known_before - known_after);
        }
        *window = Some((before, after));
        let length = 64 - before - after;
        self.put(1, 1);
        self.put(u64::from(before), 5);
        // 64 is written as 0.
        self.put(u64::from(length), 6);
        self.put(differing >> after, length);
    }
}
