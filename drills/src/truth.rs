//! What a sensor wrote down about itself: what it sent, and what was acknowledged to it.
//!
//! ```text
//! sent STREAM SEQ TIME_US TEMPERATURE PRESSURE HUMIDITY
//! ack STREAM SEQ                                          everything of STREAM below SEQ is in custody
//! gap STREAM SEQ COUNT REASON                             dropped, and declared to the ingress
//! ```
//!
//! A line is written before the frame it speaks of leaves. A sensor that was killed in between tells of
//! the same number again, perhaps with another reading: the first was never sent.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// Where a reading stands: its stream, and its number there.
pub type Place = (u32, u64);

/// The quantities of the profile that drills use, in its order.
pub const QUANTITIES: [&str; 3] = ["temperature", "pressure", "humidity"];

/// A physical reading. Times of one sensor are strictly increasing, so that one time is one reading.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// By the sensor's clock, µs since the epoch.
    pub time: i64,
    /// In the order of [`QUANTITIES`]; `None` where there is no number.
    pub values: [Option<f32>; 3],
}

/// What one sensor claims.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// What it sent.
    pub sent: HashMap<Place, Measured>,
    /// Per stream: every number below is acknowledged.
    pub acknowledged: BTreeMap<u32, u64>,
    /// What it dropped and said so: first number and count.
    pub gaps: Vec<(Place, u64)>,
    /// Lines that are none of these.
    pub unreadable: Vec<String>,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

impl Truth {
    /// Takes the file's next bytes in.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.begun.extend_from_slice(bytes);
        let Some(end) = self.begun.iter().rposition(|byte| *byte == b'\n') else { return };
        let rest = self.begun.split_off(end + 1);
        let lines = std::mem::replace(&mut self.begun, rest);
        for line in String::from_utf8_lossy(&lines).lines() {
            if self.take(line).is_none() {
                self.unreadable.push(line.to_owned());
            }
        }
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let stream = words.next()?.parse().ok()?;
        let seq = words.next()?.parse().ok()?;
        match kind {
            "sent" => {
                let time = words.next()?.parse().ok()?;
                let mut values = [None; 3];
                for value in &mut values {
                    let number: f32 = words.next()?.parse().ok()?;
                    *value = Some(number).filter(|number| !number.is_nan());
                }
                self.sent.insert((stream, seq), Measured { time, values });
            }
            "ack" => {
                let below = self.acknowledged.entry(stream).or_default();
                *below = seq.max(*below);
            }
            "gap" => {
                let count = words.next()?.parse().ok()?;
                words.next()?;
                self.gaps.push(((stream, seq), count));
            }
            _ => return None,
        }
        words.next().is_none().then_some(())
    }

    /// How far acknowledgements have come: the newest stream that has any, and its number.
    pub fn front(&self) -> Place {
        self.acknowledged.last_key_value().map_or((0, 0), |(stream, below)| (*stream, *below))
    }

    /// Numbers acknowledged in all streams; grows with every acknowledgement.
    pub fn acknowledgements(&self) -> u64 {
        self.acknowledged.values().map(|below| below.saturating_sub(1)).sum()
    }

    /// Whether the number is acknowledged.
    pub fn is_acknowledged(&self, (stream, seq): Place) -> bool {
        self.acknowledged.get(&stream).is_some_and(|below| seq < *below)
    }
}

/// A truth file that is read while its sensor writes it.
#[derive(Debug)]
pub struct TruthFile {
    path: PathBuf,
    read: u64,
    /// What it says so far.
    pub truth: Truth,
}

impl TruthFile {
    /// A file that need not be there yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: 0, truth: Truth::default() }
    }

    /// Reads what is new.
    ///
    /// # Errors
    /// What the file system says, except that the file is not there yet.
    pub fn catch_up(&mut self) -> io::Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        self.read += file.read_to_end(&mut bytes)? as u64;
        self.truth.feed(&bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"sent 1 1 100 21.5 1013.25 46\nsent 1 2 110 nan nan nan\nack 1 3\n\
        sent 1 3 120 21.6000004 1013 45\ngap 1 4 7 1\nsent 2 1 130 1 2 3\nack 2 2\nack 1 2\n";

    #[test]
    fn every_kind_of_line_is_understood_however_the_file_grows() {
        for cut in 0..TEXT.len() {
            let mut truth = Truth::default();
            truth.feed(&TEXT[..cut]);
            truth.feed(&TEXT[cut..]);
            let values = [Some(21.6_f32), Some(1013.0), Some(45.0)];
            assert_eq!(truth.sent[&(1, 3)], Measured { time: 120, values });
            assert_eq!(truth.sent[&(1, 2)].values, [None; 3]);
            assert_eq!(truth.gaps, [((1, 4), 7)]);
            assert_eq!(truth.front(), (2, 2));
            assert_eq!(truth.acknowledgements(), 3);
            assert!(truth.is_acknowledged((1, 2)) && !truth.is_acknowledged((1, 3)));
            assert!(truth.unreadable.is_empty());
        }
    }

    #[test]
    fn what_was_never_sent_is_replaced_and_nonsense_is_named() {
        let mut truth = Truth::default();
        truth.feed(
            b"sent 1 1 100 1 2 3\nsent 1 1 101 4 5 6\nsent 1 2 1\nhello 1 1\nack 1 x\nack 1 2 3\n",
        );
        assert_eq!(truth.sent[&(1, 1)].time, 101);
        assert_eq!(truth.unreadable, ["sent 1 2 1", "hello 1 1", "ack 1 x", "ack 1 2 3"]);
    }
}
