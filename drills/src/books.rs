//! The system's own ledger, as far as it is held against what the oracle finds.

use std::time::Duration;

use serde::Deserialize;

/// `GET /api/v1/ledger`
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Books {
    /// `balanced`, `unbalanced` or `unknown`.
    pub verdict: String,
    /// Which store says so.
    #[serde(default)]
    pub instance: String,
    /// Why it is not balanced.
    #[serde(default)]
    pub reasons: Vec<String>,
    /// What became of what was accepted.
    pub readings: Counts,
    /// Holes in the sensors' numbering.
    pub gaps: Gaps,
    /// Per log of a journal.
    #[serde(default)]
    pub logs: Vec<Log>,
    /// Logs whose journal is gone.
    #[serde(default)]
    pub orphaned_logs: Vec<Log>,
    /// Duplicates that say something else than what is stored.
    #[serde(default)]
    pub conflicts: u64,
    /// The journals that report.
    #[serde(default)]
    pub journals: Vec<Journal>,
}

/// Readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Counts {
    /// By the journal; absent if it is silent.
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

/// Readings missing in the numbering of sensors.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Gaps {
    /// Declared by the sensor.
    pub declared: u64,
    /// By nobody.
    pub unexplained: u64,
}

/// One opening of a journal.
#[derive(Debug, Clone, Deserialize)]
pub struct Log {
    /// Its id.
    pub log: String,
}

/// One journal.
#[derive(Debug, Clone, Deserialize)]
pub struct Journal {
    /// Its id.
    pub journal: String,
    /// How old its last report is.
    #[serde(default)]
    pub age_ms: Option<u64>,
}

/// Under way from the journal to the store, at most.
const REPORT_TRAVELS: Duration = Duration::from_millis(250);

impl Counts {
    /// Of which it is known what became of them.
    pub fn accounted(&self) -> u64 {
        self.stored + self.quarantined + self.duplicate + self.lost
    }
}

impl Books {
    /// Whether the journal has spoken since this long ago, and is understood.
    pub fn are_known_since(&self, since: Duration) -> bool {
        let newest = self.journals.iter().filter_map(|journal| journal.age_ms).min();
        let is_fresh =
            newest.is_some_and(|age| Duration::from_millis(age) + REPORT_TRAVELS <= since);
        is_fresh && self.verdict != "unknown"
    }

    /// Whether the journal has spoken since this long ago, and everything it has taken is accounted for:
    /// it may have taken more than it has acknowledged.
    pub fn are_settled(&self, acknowledged: u64, since: Duration) -> bool {
        self.are_known_since(since)
            && self.readings.in_flight == Some(0)
            && self.readings.accepted.is_some_and(|accepted| accepted >= acknowledged)
    }

    /// What is wrong now and was not before, in sentences.
    pub fn worse_than(&self, before: &Self) -> Vec<String> {
        let wrong = |books: &Self| {
            [
                (books.readings.lost, "are lost"),
                (books.readings.quarantined, "are in quarantine"),
                (books.readings.duplicate, "came twice"),
                (books.gaps.unexplained, "are missing unexplained"),
                (books.conflicts, "came twice and say something else"),
                (books.orphaned_logs.len() as u64, "logs are without a journal"),
            ]
        };
        let grown = wrong(self).into_iter().zip(wrong(before)).filter(|(now, old)| now.0 > old.0);
        let mut found: Vec<String> = grown
            .map(|((now, what), (old, _))| format!("the ledger says {now} {what}, {old} before"))
            .collect();
        if self.verdict != "balanced" && self.verdict != before.verdict {
            found.push(format!("the ledger is {}, {} before", self.verdict, before.verdict));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_wrong_before_is_worse() {
        let before = Books {
            verdict: "unbalanced".to_owned(),
            readings: Counts { stored: 5, lost: 2, ..Counts::default() },
            ..Books::default()
        };
        let mut now = before.clone();
        now.readings.stored = 9;
        assert!(now.worse_than(&before).is_empty());
        assert!(
            Books { verdict: "balanced".to_owned(), ..now.clone() }.worse_than(&before).is_empty()
        );
        now.readings.lost = 3;
        now.gaps.unexplained = 1;
        now.verdict = "unknown".to_owned();
        assert_eq!(
            now.worse_than(&before),
            [
                "the ledger says 3 are lost, 2 before",
                "the ledger says 1 are missing unexplained, 0 before",
                "the ledger is unknown, unbalanced before",
            ]
        );
    }
}
