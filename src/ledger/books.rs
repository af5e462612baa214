//! The ledger as the API gives it.

use anyhow::Context;
use serde::Deserialize;
use vigia_protocol::time::Micros;

use crate::table::{columns, grouped};

/// `GET /api/v1/ledger`, as far as it is judged here.
#[derive(Debug, Clone, Deserialize)]
pub struct Books {
    /// `balanced`, `unbalanced`, or `unknown` if one side could not be asked.
    pub verdict: String,
    /// Why it is not balanced.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// When; RFC 3339.
    #[serde(default)]
    time: Option<String>,
    /// Readings.
    pub readings: Counts,
    /// Frames.
    pub frames: Counts,
    /// Holes in sensors' numbering.
    pub gaps: Gaps,
    #[serde(default)]
    orphaned_logs: Vec<serde_json::Value>,
    #[serde(default)]
    conflicts: u64,
}

/// What became of what was accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// By the journal; absent if the journal is silent.
    pub accepted: Option<u64>,
    /// In the store.
    pub stored: u64,
    /// Kept as raw bytes with a reason.
    pub quarantined: u64,
    /// Seen before.
    pub duplicate: u64,
    /// What no one holds any more.
    pub lost: u64,
    /// On its way; absent if the journal is silent.
    pub in_flight: Option<u64>,
}

/// Holes in sensors' numbering.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Gaps {
    /// Those the sensor told of.
    pub declared: u64,
    /// Those nobody told of.
    pub unexplained: u64,
}

impl Counts {
    /// What is accounted for and did not get lost.
    pub fn kept(&self) -> u64 {
        self.stored + self.quarantined + self.duplicate
    }

    /// Whether everything has arrived.
    pub fn is_settled(&self) -> bool {
        self.in_flight == Some(0) && self.accepted == Some(self.kept() + self.lost)
    }
}

impl Books {
    /// Reads the answer.
    ///
    /// # Errors
    /// If it is not a ledger.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).context("the API's answer is not a ledger")
    }

    /// When, by the store's clock.
    pub fn time(&self) -> Option<Micros> {
        self.time.as_deref()?.parse().ok()
    }

    /// Balanced, nothing lost, every gap explained.
    pub fn are_clean(&self) -> bool {
        self.verdict == "balanced"
            && self.readings.lost == 0
            && self.frames.lost == 0
            && self.gaps.unexplained == 0
    }

    /// For people.
    pub fn table(&self, source: &str) -> String {
        let known = |count: Option<u64>| count.map_or("unknown".to_owned(), grouped);
        let row = |name: &str, of: &dyn Fn(&Counts) -> String| {
            let cells = [of(&self.readings), of(&self.frames)];
            [format!("  {name}"), format!("{:>15}", cells[0]), format!("{:>15}", cells[1])].to_vec()
        };
        let rows = [
            ["".to_owned(), format!("{:>15}", "readings"), format!("{:>15}", "frames")].to_vec(),
            row("accepted", &|counts| known(counts.accepted)),
            row("= stored", &|counts| grouped(counts.stored)),
            row("+ quarantined", &|counts| grouped(counts.quarantined)),
            row("+ duplicate", &|counts| grouped(counts.duplicate)),
            row("+ lost", &|counts| grouped(counts.lost)),
            row("+ in flight", &|counts| known(counts.in_flight)),
        ];
        let mut text = format!("Ledger of {source}");
        if let Some(time) = &self.time {
            text.push_str(&format!(" at {time}"));
        }
        text.push_str(&format!("\n\n{}\n", columns(&rows)));
        let Gaps { declared, unexplained } = self.gaps;
        text.push_str(&format!(
            "  gaps: {} readings declared by their sensors, {} unexplained\n",
            grouped(declared),
            grouped(unexplained)
        ));
        if !self.orphaned_logs.is_empty() {
            text.push_str(&format!("  logs whose journal is gone: {}\n", self.orphaned_logs.len()));
        }
        if self.conflicts > 0 {
            text.push_str(&format!("  conflicts: {}\n", grouped(self.conflicts)));
        }
        text.push_str(&format!("\nVerdict: {}\n", self.verdict));
        for reason in &self.reasons {
            text.push_str(&format!("  {reason}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(verdict: &str, lost: u64, unexplained: u64, in_flight: &str) -> Books {
        let counts = format!(
            r#"{{"accepted":1234,"stored":{},"quarantined":0,"duplicate":0,"lost":{lost},"in_flight":{in_flight}}}"#,
            1234 - lost
        );
        let text = format!(
            r#"{{"verdict":"{verdict}","reasons":["because"],"time":"2026-01-01T00:00:00Z",
                "readings":{counts},"frames":{counts},"logs":[],
                "gaps":{{"declared":3,"unexplained":{unexplained}}},
                "orphaned_logs":[],"conflicts":0,"journals":[]}}"#
        );
        Books::parse(&text).unwrap()
    }

    #[test]
    fn only_balanced_books_without_loss_and_unexplained_gaps_are_clean() {
        assert!(answer("balanced", 0, 0, "0").are_clean());
        assert!(!answer("unbalanced", 0, 0, "0").are_clean());
        assert!(!answer("unknown", 0, 0, "null").are_clean());
        assert!(!answer("balanced", 1, 0, "0").are_clean());
        assert!(!answer("balanced", 0, 1, "0").are_clean());
    }

    #[test]
    fn books_are_settled_when_nothing_is_in_flight() {
        assert!(answer("balanced", 0, 0, "0").readings.is_settled());
        assert!(!answer("balanced", 0, 0, "5").readings.is_settled());
        assert!(!answer("unknown", 0, 0, "null").readings.is_settled());
    }

    #[test]
    fn the_table_shows_every_term_and_the_reasons() {
        let table = answer("unknown", 2, 7, "null").table("http://here");
        for part in ["1,234", "1,232", "+ lost", "unknown", "7 unexplained", "because"] {
            assert!(table.contains(part), "{part:?} is missing in\n{table}");
        }
    }
}
