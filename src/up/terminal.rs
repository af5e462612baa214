//! Standard error as people see it: lines that stay, and below them, on a terminal, one that changes.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// What stands in the last line now.
static STATUS: Mutex<String> = Mutex::new(String::new());

/// Begins the line again and empties it.
const CLEAR: &str = "\r\x1b[K";

/// A writer of whole lines, which stay.
pub fn lines() -> impl Write {
    Lines
}

/// Prints a line that stays.
pub fn line(text: &str) {
    let _ = Lines.write_all(format!("{text}\n").as_bytes());
}

/// Puts this in the last line; nothing, if it is empty.
pub fn show(status: String) {
    let mut shown = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
    if *shown != status {
        let mut out = io::stderr().lock();
        let _ = write!(out, "{CLEAR}{status}").and_then(|()| out.flush());
        *shown = status;
    }
}

struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let shown = STATUS.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = io::stderr().lock();
        if shown.is_empty() {
            out.write_all(bytes)?;
        } else {
            out.write_all(&[CLEAR.as_bytes(), bytes, shown.as_bytes()].concat())?;
        }
        out.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
