//! What the API says: the ledger, the journals' room, its clock; and the audit logs.

use anyhow::Context;
use serde::Deserialize;
use vigia_kit::site::Site;
use vigia_kit::{audit, clock};

use super::check::Check;
use crate::audit::logs;
use crate::ledger::{Api, Books};

/// Clocks that differ by more should be looked at, and by much more are wrong.
const CLOCKS_DIFFER_MICROS: (u64, u64) = (2_000_000, 5 * 60 * 1_000_000);

#[derive(Deserialize)]
struct Journals {
    #[serde(default)]
    journals: Vec<Journal>,
}

#[derive(Deserialize)]
struct Journal {
    node: String,
    bytes: u64,
    bytes_max: u64,
    store_adopted: bool,
    age_ms: i64,
    echo_round_trip_ms: Option<f64>,
}

/// The ledger and what stands in it. Nothing if nothing runs here and nobody answers.
pub async fn checks(site: &Site, must_answer: bool) -> Vec<Check> {
    match ask(site).await {
        Ok((books, journals)) => {
            let mut checks = vec![ledger(&books)];
            checks.extend(books.time().map(|theirs| clocks(theirs.0.abs_diff(clock::now().0))));
            checks.extend(journals.iter().map(journal));
            checks
        }
        Err(error) if must_answer => vec![Check::fail(
            "api",
            format!("{error:#}"),
            "see 'role store'; if it runs elsewhere, alert.api in vigia.toml says where",
        )],
        Err(error) => {
            vec![Check::warn("ledger", format!("not asked: {error:#}"), "ask again when it runs")]
        }
    }
}

async fn ask(site: &Site) -> anyhow::Result<(Books, Vec<Journal>)> {
    let token = Some(site.api_token_path()).filter(|path| path.exists());
    let text = Api::of(site, token.as_deref())?.ledger().await?;
    let Journals { journals } =
        serde_json::from_str(&text).context("the API's answer is not a ledger")?;
    Ok((Books::parse(&text)?, journals))
}

fn ledger(books: &Books) -> Check {
    let verdict = &books.verdict;
    let reasons = books.reasons.join("; ");
    let (lost, missing) = (books.readings.lost, books.gaps.unexplained);
    let todo = "'vigia ledger' shows it; docs/OPERATIONS.md has what to do";
    match verdict.as_str() {
        _ if books.are_clean() => Check::ok("ledger", "balanced, nothing lost, no unexplained gap"),
        "unknown" => Check::warn("ledger", format!("unknown: {reasons}"), "ask again soon"),
        _ => {
            let found = format!("{verdict}, {lost} lost, {missing} unexplained; {reasons}");
            Check::fail("ledger", found.trim_end_matches("; "), todo)
        }
    }
}

fn clocks(differ: u64) -> Check {
    let found = format!("{:.1} s between the store's and this machine's", differ as f64 / 1e6);
    let todo = "run an NTP client on every machine of the site";
    match differ {
        differ if differ > CLOCKS_DIFFER_MICROS.1 => Check::fail("clocks", found, todo),
        differ if differ > CLOCKS_DIFFER_MICROS.0 => Check::warn("clocks", found, todo),
        _ => Check::ok("clocks", found),
    }
}

fn journal(journal: &Journal) -> Check {
    let check = format!("journal of {}", journal.node);
    let percent = journal.bytes.saturating_mul(100) / journal.bytes_max.max(1);
    let trip =
        journal.echo_round_trip_ms.map_or("no marker has come back yet".to_owned(), |trip| {
            format!("a marker went all the way in {trip:.0} ms")
        });
    let found = format!("{percent} % full, heard of {} ms ago, {trip}", journal.age_ms);
    if !journal.store_adopted {
        let todo = "see 'vigia broker adopt-store --help'";
        return Check::fail(check, format!("this store does not free it; {found}"), todo);
    }
    // What is stored is kept there for a while too: a full journal is no fault.
    Check::ok(check, found)
}

/// The audit logs of all that write one here.
pub fn audits(site: &Site) -> Check {
    let todo = "'vigia audit show' tells where; compare with hashes that were kept elsewhere";
    let logs = match logs(site.dir()) {
        Ok(logs) => logs,
        Err(error) => return Check::warn("audit logs", error.to_string(), "see 'secrets'"),
    };
    for (_, directory) in &logs {
        if let Err(fault) = audit::verify(directory, |_| ()) {
            return Check::fail("audit logs", fault.to_string(), todo);
        }
    }
    Check::ok("audit logs", format!("{} as they were written", logs.len()))
}
