//! Times as microseconds since the epoch, and as RFC 3339 text: UTC, `Z`, microseconds.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::{Deserialize, Serialize};

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Micros(pub i64);

const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

impl Micros {
    /// The first and the last time that has a text. A clock beyond them is shown as the nearest.
    fn printable(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 {
            Timestamp::MIN
        } else {
            Timestamp::MAX
        })
    }

    /// Appends the text form.
    pub fn write_to(self, out: &mut String) {
        // Writing into a String cannot fail.
        let _ = PRINTER.print_timestamp(&self.printable(), out);
    }
}

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(32);
        self.write_to(&mut text);
        f.write_str(&text)
    }
}

/// The text is no RFC 3339 date-time with an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an RFC 3339 date-time with an offset, such as 2026-01-31T08:30:00Z")]
pub struct NotATime(pub String);

impl FromStr for Micros {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<Timestamp>()
            .map(|time| Self(time.as_microsecond()))
            .map_err(|_| NotATime(text.to_owned()))
    }
}
