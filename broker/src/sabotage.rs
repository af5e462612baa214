//! Deliberate defects, for the negative controls: without them nobody knows that the oracle sees.

use std::collections::VecDeque;

use vigia_protocol::position::LogId;

/// What a publisher believes that takes a PUBACK for safety.
#[derive(Debug, Default)]
pub struct Believed(VecDeque<(u64, LogId, u64)>);

impl Believed {
    /// A row went out as this message.
    pub fn published(&mut self, number: u64, log: LogId, n: u64) {
        self.0.push_back((number, log, n));
    }

    /// The rows whose messages the broker has acknowledged.
    pub fn settled(&mut self, settled: u64) -> Vec<(LogId, u64)> {
        let mut rows = Vec::new();
        while let Some((_, log, n)) = self.0.pop_front_if(|(number, ..)| *number <= settled) {
            rows.push((log, n));
        }
        rows
    }
}
