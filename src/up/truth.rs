//! What simulated sensors wrote down about themselves: `run/truth/ID.txt`.
//!
//! `sent STREAM SEQ TIME VALUE…` for every reading, `ack STREAM SEQ` when everything below is in the
//! ingress's custody, `gap STREAM SEQ COUNT REASON` for what was dropped and declared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use vigia_kit::site::Site;
use vigia_protocol::ranges::RangeSet;

/// Readings by the sensors' own account, of all runs on this site.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Sent at least once.
    pub sent: u64,
    /// Sent and acknowledged.
    pub acknowledged: u64,
}

/// Where the files are.
pub fn dir(site: &Path) -> PathBuf {
    site.join("run/truth")
}

/// Counts all sensors' files.
///
/// # Errors
/// What the file system says.
pub fn count(site: &Site) -> io::Result<Told> {
    let mut all = Told::default();
    let files = match fs::read_dir(dir(site.dir())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
        files => files?,
    };
    for file in files {
        let told = count_lines(BufReader::new(File::open(file?.path())?))?;
        all.sent += told.sent;
        all.acknowledged += told.acknowledged;
    }
    Ok(all)
}

/// A reading may be told more than once: a sensor that was killed does not know what it wrote last.
fn count_lines(lines: impl BufRead) -> io::Result<Told> {
    let mut streams: BTreeMap<u32, (RangeSet, u64)> = BTreeMap::new();
    for line in lines.lines() {
        let line = line?;
        let mut words = line.split(' ');
        let kind = words.next();
        let place = words
            .next()
            .and_then(|word| word.parse().ok())
            .zip(words.next().and_then(|word| word.parse().ok()));
        // A line that was cut short by a crash.
        let Some((stream, seq)) = place else { continue };
        let (sent, acknowledged) = streams.entry(stream).or_default();
        match kind {
            Some("sent") => {
                sent.insert(seq);
            }
            Some("ack") => *acknowledged = (*acknowledged).max(seq),
            _ => {}
        }
    }
    let mut told = Told::default();
    for (mut sent, acknowledged) in streams.into_values() {
        told.sent += sent.len();
        sent.remove_range(acknowledged, u64::MAX);
        told.acknowledged += sent.len();
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_gaps_streams_and_cut_lines_are_counted_right() {
        let text = "sent 1 1 100 2.5\nsent 1 2 101 nan\nack 1 3\nsent 1 2 101 nan\ngap 1 3 7 1\nack 1 10\n\
                    sent 1 10 102 1\nsent 2 1 103 1\nack 2 1\nsent 2";
        assert_eq!(count_lines(text.as_bytes()).unwrap(), Told { sent: 4, acknowledged: 2 });
    }
}
