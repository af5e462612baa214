//! The end: everything delivered, accounted for, and judged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::Scene;
use crate::oracle::{Findings, disagreements, judge};
use crate::report::{Report, Verdict};
use crate::truth::Truth;

/// Everything acknowledged is accounted for this long after the sensors have ended.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// A journal reports every second: where nothing is in flight and nothing changes for so long, nothing will.
const STILL_FOR: Duration = Duration::from_secs(5);

impl Scene {
    /// Ends the load, waits until everything is accounted for, and lets the oracle judge. `played` is
    /// how the drill itself went.
    pub async fn close(mut self, played: anyhow::Result<()>) -> Report {
        let mut report = Report {
            evidence: std::mem::take(&mut self.evidence),
            recovery_s: self.recovery.map(|time| (time.as_secs_f64() * 1000.0).round() / 1000.0),
            ..Report::new(self.drill, self.options.seed)
        };
        let complain = |reasons: &mut Vec<String>, result: anyhow::Result<()>| {
            reasons.extend(result.err().map(|error| format!("{error:#}")));
        };
        complain(&mut report.reasons, played);
        let judged = self.drain_and_judge(&mut report).await;
        complain(&mut report.reasons, judged);
        report.account = std::mem::take(&mut self.account);
        report.decide();
        report.seconds = (self.begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        // A failure that nobody asked for is to be looked into.
        if self.options.keep || (report.verdict != Verdict::Pass && self.drill.control.is_none()) {
            self.site.keep();
            report.site = Some(self.site.path().to_owned());
        }
        report
    }

    async fn drain_and_judge(&mut self, report: &mut Report) -> anyhow::Result<()> {
        if self.system.pids().is_empty() {
            bail!("the system does not run, so that nothing can be judged");
        }
        self.load.stop().await.context("at the end")?;
        let acknowledged = self.load.acknowledgements();
        self.say(&format!("sensors have delivered and ended: {acknowledged} acknowledged"));
        if let Err(error) = self.drained(acknowledged).await {
            report.reasons.push(format!("{error:#}"));
        }
        if let Some(alarms) = &self.alarms {
            report.evidence.push(alarms.judge(&self.api).await?);
        }
        let findings = self.exported_findings().await?;
        let books = self.api.ledger().await?;
        report.ledger = books.verdict.clone();
        report.found(&findings);
        report.reasons.extend(findings.defects(self.drill.expected));
        report.reasons.extend(disagreements(&findings, &books, self.drill.expected));
        // Of poison it complains for good, and with the numbers that have just been compared.
        if !self.drill.expected.poison {
            report.reasons.extend(books.reasons.iter().map(|reason| format!("ledger: {reason}")));
        }
        if report.reasons.is_empty() {
            return Ok(());
        }
        report.reasons.extend(findings.examples.iter().map(|example| format!("such as {example}")));
        Ok(())
    }

    /// What the oracle finds in what the API exports now.
    pub(super) async fn exported_findings(&self) -> anyhow::Result<Findings> {
        let mut claims: BTreeMap<i16, Vec<&Truth>> = BTreeMap::new();
        for (sensor, file) in self.load.truths() {
            claims.entry(sensor).or_default().push(&file.truth);
        }
        let mut exports = Vec::new();
        for sensor in claims.keys() {
            exports.push(self.api.export(*sensor).await?);
        }
        let poison = self.api.poison().await?;
        let sensors = claims.into_iter().zip(&exports);
        Ok(judge(
            sensors.map(|((sensor, truths), export)| (sensor, truths, export.as_slice())),
            &poison,
        ))
    }

    /// Waits until everything acknowledged is accounted for; or nothing moves any more.
    pub(super) async fn drained(&mut self, acknowledged: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut moved = begun;
        let mut before = None;
        loop {
            let asked = begun.elapsed();
            let books = self.api.ledger().await;
            if books.as_ref().is_ok_and(|books| books.are_settled(acknowledged, asked)) {
                self.say(&format!("drained after {:.1} s", begun.elapsed().as_secs_f64()));
                return Ok(());
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
}
