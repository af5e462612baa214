//! The end: everything delivered, accounted for, and judged.

use anyhow::{Context, bail};

use super::Scene;
use crate::alarms;
use crate::judgement::{self, find, judge};
use crate::oracle::Findings;
use crate::report::{Report, Verdict};

impl Scene {
    /// Ends the load, waits until everything is accounted for, and lets the oracle judge. `played` is
    /// how the drill itself went.
    pub async fn close(mut self, played: anyhow::Result<()>) -> Report {
        let mut report = Report {
            evidence: std::mem::take(&mut self.evidence),
            recovery_s: self.recovery.map(|time| (time.as_secs_f64() * 1000.0).round() / 1000.0),
            ..Report::new(self.drill.name, self.drill.sentence, self.options.seed)
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
        if self.plant.is_some() {
            self.plant_leaves().await.context("at the end")?;
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
        if !self.limits.is_empty() {
            match alarms::judge_present(&self.api, &self.limits).await {
                Ok(evidence) => report.evidence.push(evidence),
                Err(error) => report.reasons.push(format!("{error:#}")),
            }
        }
        let polled = match &self.plant {
            Some(plant) => plant.judge(&self.api, report).await?,
            None => 0,
        };
        judge(&self.api, self.load.claims(), polled, self.drill.expected, report).await
    }

    /// What the oracle finds in what the API exports now.
    pub(super) async fn exported_findings(&self) -> anyhow::Result<Findings> {
        find(&self.api, self.load.claims()).await
    }

    /// Waits until everything acknowledged is accounted for; or nothing moves any more.
    pub(super) async fn drained(&mut self, acknowledged: u64) -> anyhow::Result<()> {
        let time = judgement::drained(&self.api, acknowledged).await?;
        self.say(&format!("drained after {:.1} s", time.as_secs_f64()));
        Ok(())
    }
}
