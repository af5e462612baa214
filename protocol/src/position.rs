//! Where a batch stands: in which log of which journal, and at which number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Made at random at every opening of a journal, so that positions never repeat, whatever disk is
/// replaced, restored or cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub u64);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a log: expected 16 hexadecimal digits")]
pub struct NotALog(pub String);

impl FromStr for LogId {
    type Err = NotALog;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 16 {
            return Err(NotALog(text.to_owned()));
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotALog(text.to_owned()))
    }
}

/// The position of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Which log.
    pub log: LogId,
    /// Which batch of it; dense from 0.
    pub n: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.log, self.n)
    }
}
