//! Lines, and how one follows another.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use vigia_protocol::time::Micros;

const CONTEXT: &str = "vigia v1 audit line";
/// Between what is hashed and the hash.
const JOINT: &str = ",\"hash\":\"";

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// From 1, without a hole.
    pub seq: u64,
    /// When; RFC 3339.
    pub time: String,
    /// What happened.
    pub event: String,
    /// To whom, from where, and so on.
    pub fields: BTreeMap<String, String>,
    /// The hash of the line before; zeros in the first.
    pub previous: String,
    /// The hash of this one.
    #[serde(default, skip_serializing)]
    pub hash: String,
}

/// Where a chain ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// The number of the last line; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Default for End {
    fn default() -> Self {
        Self { seq: 0, hash: "0".repeat(64) }
    }
}

impl End {
    /// The next line, with its line break, and the end that it makes.
    pub fn followed_by(
        &self,
        time: Micros,
        event: &str,
        fields: BTreeMap<String, String>,
    ) -> (String, Self) {
        let line = Line {
            seq: self.seq + 1,
            time: time.to_string(),
            event: event.to_owned(),
            fields,
            previous: self.hash.clone(),
            hash: String::new(),
        };
        let body = serde_json::to_string(&line).expect("strings have an encoding");
        let body = body.strip_suffix('}').expect("an object");
        let hash = hash(body);
        (format!("{body}{JOINT}{hash}\"}}\n"), Self { seq: line.seq, hash })
    }
}

impl Line {
    /// Reads a line, without its line break, and checks its hash.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let line: Self = serde_json::from_str(text)
            .map_err(|error| format!("is no line of an audit log: {error}"))?;
        let (body, _) = text.rsplit_once(JOINT).ok_or("has no hash at its end")?;
        if text[body.len()..] != format!("{JOINT}{}\"}}", hash(body)) {
            return Err("was changed: its hash is not that of its text".to_owned());
        }
        Ok(line)
    }
}

fn hash(body: &str) -> String {
    blake3::Hasher::new_derive_key(CONTEXT).update(body.as_bytes()).finalize().to_string()
}

/// The end of the chain in this file; none if it is empty. Half a line at its end, of a crash, is cut off
/// and a line about that appended.
///
/// # Errors
/// What the file system says.
pub fn end(path: &Path, file: &mut File) -> io::Result<Option<End>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let end = last_line(&bytes[..whole]);
    let removed = bytes.len() - whole;
    if removed == 0 {
        return Ok(end);
    }
    tracing::warn!(path = %path.display(), removed, "half a line at the audit log's end is cut off");
    file.set_len(whole as u64)?;
    let before = end.unwrap_or_default();
    let fields = BTreeMap::from([("bytes_removed".to_owned(), removed.to_string())]);
    let (line, end) = before.followed_by(crate::clock::now(), "audit-repaired", fields);
    io::Write::write_all(file, line.as_bytes())?;
    Ok(Some(end))
}

/// The end of the chain in a file that is not written to; none if it is empty or not there.
///
/// # Errors
/// What the file system says.
pub fn last_of(path: &Path) -> io::Result<Option<End>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(last_line(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Also of a line that somebody has tampered with: the chain goes on from what it says, and verifying
/// names it.
fn last_line(bytes: &[u8]) -> Option<End> {
    let text = String::from_utf8_lossy(bytes);
    let last = text.lines().next_back()?;
    let line: Option<Line> = serde_json::from_str(last).ok();
    Some(line.map_or_else(End::default, |line| End { seq: line.seq, hash: line.hash }))
}
