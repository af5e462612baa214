//! The judgement at the end of a drill: the oracle is given what sensors claim and what the API exports.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::api::Api;
use crate::books::Books;
use crate::oracle::{self, Expected, Findings, disagreements};
use crate::report::Report;
use crate::truth::Truth;
use crate::wait;

/// Everything acknowledged is accounted for this long after the sensors have ended.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// A journal reports every second, and roles that lost the bus meanwhile are back in a few.
const KNOWN_WITHIN: Duration = Duration::from_secs(20);
/// A journal reports every second: where nothing is in flight and nothing changes for so long, nothing will.
const STILL_FOR: Duration = Duration::from_secs(5);

/// Waits until everything acknowledged is accounted for, or nothing moves any more. Returns how long.
///
/// # Errors
/// If not everything is.
pub async fn drained(api: &Api, acknowledged: u64) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    let mut moved = begun;
    let mut before = None;
    loop {
        let asked = begun.elapsed();
        let books = api.ledger().await;
        if books.as_ref().is_ok_and(|books| books.are_settled(acknowledged, asked)) {
            return Ok(begun.elapsed());
        }
        let counts = books.as_ref().ok().map(|books| books.readings);
        if counts != before {
            (before, moved) = (counts, Instant::now());
        }
        let still = counts.is_some_and(|counts| counts.in_flight == Some(0))
            && moved.elapsed() >= STILL_FOR;
        if still || begun.elapsed() >= DRAINED_WITHIN {
            let words = match books {
                Ok(books) => {
                    format!("{}, {:?}, {:?}", books.verdict, books.readings, books.reasons)
                }
                Err(error) => format!("{error:#}"),
            };
            bail!(
                "{:.0} s after the sensors ended not all of {acknowledged} is accounted for: {words}",
                begun.elapsed().as_secs_f64()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until everything that was accepted until now is accounted for, whatever comes in meanwhile.
/// Returns the ledger that says so.
///
/// # Errors
/// If not everything is.
pub async fn caught_up(api: &Api) -> anyhow::Result<Books> {
    let begun = Instant::now();
    let mut accepted = None;
    let what = || "all that was accepted is accounted for".to_owned();
    wait::until(DRAINED_WITHIN, what, async || {
        let asked = begun.elapsed();
        let books = api.ledger().await.ok().filter(|books| books.are_known_since(asked));
        Ok(books.filter(|books| {
            // Until now: by the first report since.
            accepted = accepted.or(books.readings.accepted);
            accepted.is_some_and(|accepted| books.readings.accounted() >= accepted)
        }))
    })
    .await
}

/// The ledger, of reports that came since it was asked for. While the oracle thinks about millions of readings,
/// what comes through this process's proxy stands still: that is not the system's silence.
async fn known(api: &Api) -> anyhow::Result<Books> {
    let begun = Instant::now();
    loop {
        let asked = begun.elapsed();
        let books = api.ledger().await?;
        if books.are_known_since(asked) || asked >= KNOWN_WITHIN {
            return Ok(books);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Exports everything and lets the oracle look at it.
///
/// # Errors
/// If something cannot be exported.
pub async fn find(api: &Api, claims: BTreeMap<i16, Vec<&Truth>>) -> anyhow::Result<Findings> {
    let mut exports = Vec::new();
    for sensor in claims.keys() {
        exports.push(api.export(*sensor).await?);
    }
    let poison = api.poison().await?;
    let sensors = claims.into_iter().zip(&exports);
    let sensors = sensors.map(|((sensor, truths), export)| (sensor, truths, export.as_slice()));
    Ok(oracle::judge(sensors, &poison))
}

/// Writes into the report what the oracle says of these sensors.
///
/// # Errors
/// If something cannot be exported.
pub async fn judge_claims(
    api: &Api,
    claims: BTreeMap<i16, Vec<&Truth>>,
    expected: Expected,
    report: &mut Report,
) -> anyhow::Result<Findings> {
    let findings = find(api, claims).await?;
    report.found(&findings);
    report.reasons.extend(findings.defects(expected));
    Ok(findings)
}

/// Writes into the report what the oracle says of all sensors, and where the ledger says otherwise. `polled` readings
/// are exported besides, of Modbus devices, which are judged elsewhere.
///
/// # Errors
/// If something cannot be exported.
pub async fn judge(
    api: &Api,
    claims: BTreeMap<i16, Vec<&Truth>>,
    polled: u64,
    expected: Expected,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut findings = judge_claims(api, claims, expected, report).await?;
    findings.stored += polled;
    report.stored = findings.stored;
    let books = known(api).await?;
    report.ledger = books.verdict.clone();
    report.reasons.extend(disagreements(&findings, &books, expected));
    // Of poison it complains for good, and with the numbers that have just been compared.
    if !expected.poison {
        report.reasons.extend(books.reasons.iter().map(|reason| format!("ledger: {reason}")));
    }
    give_examples(&findings, report);
    Ok(())
}

/// Writes into the report what the oracle says of some sensors of a site that has others, and what is
/// worse in its ledger than before.
///
/// # Errors
/// If something cannot be exported.
pub async fn judge_guests(
    api: &Api,
    claims: BTreeMap<i16, Vec<&Truth>>,
    before: &Books,
    report: &mut Report,
) -> anyhow::Result<()> {
    let books = caught_up(api).await?;
    report.ledger = books.verdict.clone();
    let findings = judge_claims(api, claims, Expected::NOTHING, report).await?;
    report.reasons.extend(books.worse_than(before));
    give_examples(&findings, report);
    Ok(())
}

fn give_examples(findings: &Findings, report: &mut Report) {
    if !report.reasons.is_empty() {
        report.reasons.extend(findings.examples.iter().map(|example| format!("such as {example}")));
    }
}
