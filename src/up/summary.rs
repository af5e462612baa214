//! The end of a timed run: waits until everything is accounted for, and tells how the books stand.

use std::io;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use vigia_kit::site::Site;

use super::truth::{self, Told};
use crate::ledger::{Api, Books};
use crate::table::{grouped, print};

const SETTLE_WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(100);

/// The books at the end, in readings. What counts are about is the whole life of the site: its ledger
/// and all truth files.
#[derive(Debug, Serialize)]
pub struct Summary {
    balanced: bool,
    verdict: String,
    accepted: Option<u64>,
    stored: u64,
    quarantined: u64,
    duplicate: u64,
    lost: u64,
    in_flight: Option<u64>,
    sent: u64,
    acknowledged: u64,
    unexplained_gaps: u64,
    seconds: f64,
    restarts: u64,
    #[serde(skip)]
    is_good: bool,
    #[serde(skip)]
    reasons: Vec<String>,
}

/// Waits until nothing is in flight and everything acknowledged is in the books, for a limited time.
///
/// # Errors
/// If the ledger cannot be had.
pub async fn settle(site: &Site, begun: Instant, restarts: u64) -> anyhow::Result<Summary> {
    let told = truth::count(site).context("cannot read the sensors' truth files")?;
    // Who supervises the roles may speak as one of them.
    let api = Api::of(site, Some(&site.api_token_path()))?;
    let waiting = Instant::now();
    loop {
        let books = match api.ledger().await {
            Ok(text) => Books::parse(&text),
            Err(error) => Err(error),
        };
        let settled = books.as_ref().is_ok_and(|books| is_settled(books, told));
        if settled || waiting.elapsed() >= SETTLE_WITHIN {
            return Ok(Summary::new(books?, told, begun.elapsed(), restarts));
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

fn is_settled(books: &Books, told: Told) -> bool {
    books.verdict == "balanced"
        && books.readings.is_settled()
        && books.readings.accepted >= Some(told.acknowledged)
}

impl Summary {
    fn new(books: Books, told: Told, elapsed: Duration, restarts: u64) -> Self {
        let readings = books.readings;
        let is_good = books.are_clean() && told.acknowledged <= readings.kept();
        Self {
            balanced: books.verdict == "balanced",
            is_good,
            accepted: readings.accepted,
            stored: readings.stored,
            quarantined: readings.quarantined,
            duplicate: readings.duplicate,
            lost: readings.lost,
            in_flight: readings.in_flight,
            sent: told.sent,
            acknowledged: told.acknowledged,
            unexplained_gaps: books.gaps.unexplained,
            seconds: (elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            restarts,
            verdict: books.verdict,
            reasons: books.reasons,
        }
    }

    /// Balanced, nothing lost, every gap explained, and everything acknowledged is accounted for.
    pub fn is_good(&self) -> bool {
        self.is_good
    }

    /// Prints it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn print(&self, json: bool) -> io::Result<()> {
        if json {
            let text = serde_json::to_string(self).expect("plain data has an encoding");
            return print(&format!("{text}\n"));
        }
        print(&self.table())
    }

    fn table(&self) -> String {
        let known = |count: Option<u64>| count.map_or("unknown".to_owned(), grouped);
        let mut text = format!("\nAfter {:.1} s, in readings:\n\n", self.seconds);
        for (name, count) in [
            ("sent by the sensors", grouped(self.sent)),
            ("acknowledged to them", grouped(self.acknowledged)),
            ("accepted", known(self.accepted)),
            ("= stored", grouped(self.stored)),
            ("+ quarantined", grouped(self.quarantined)),
            ("+ duplicate", grouped(self.duplicate)),
            ("+ lost", grouped(self.lost)),
            ("+ in flight", known(self.in_flight)),
            ("in unexplained gaps", grouped(self.unexplained_gaps)),
            ("restarts of processes", grouped(self.restarts)),
        ] {
            text.push_str(&format!("  {name:<22} {count:>13}\n"));
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

    fn books(stored: u64) -> Books {
        let counts = format!(
            r#"{{"accepted":{stored},"stored":{stored},"quarantined":0,"duplicate":0,"lost":0,"in_flight":0}}"#
        );
        Books::parse(&format!(
            r#"{{"verdict":"balanced","readings":{counts},"frames":{counts},"gaps":{{"declared":0,"unexplained":0}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn balanced_books_are_not_good_if_an_acknowledged_reading_is_not_in_them() {
        let told = Told { sent: 10, acknowledged: 10 };
        let summary = |stored| Summary::new(books(stored), told, Duration::from_secs(1), 0);
        assert!(summary(10).is_good());
        assert!(!summary(9).is_good());
        assert!(is_settled(&books(10), told) && !is_settled(&books(9), told));
    }
}
