//! What a drill found, as one line of JSON and as text for people.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::oracle::Findings;

/// With fewer acknowledged readings nothing has been shown.
pub const LEAST_ACKNOWLEDGED: u64 = 1_000;

/// How a drill ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The promise was kept under a fault that was seen.
    Pass,
    /// It was not.
    Fail,
    /// Nothing wrong was seen, but too little was.
    Unknown,
}

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Which one.
    pub drill: String,
    /// What it does and what is promised; for people.
    #[serde(skip)]
    pub sentence: String,
    /// What decided its moments.
    pub seed: u64,
    /// How the fault was seen.
    pub evidence: Vec<String>,
    /// Physical readings acknowledged to sensors.
    pub acknowledged: u64,
    /// Readings exported by the API.
    pub stored: u64,
    /// Acknowledged, not exported.
    pub lost: u64,
    /// Exported more than once.
    pub duplicated: u64,
    /// Exported, never sent like that.
    pub unexpected: u64,
    /// The longest time from a fault until a reading acknowledged after it could be queried.
    pub recovery_s: Option<f64>,
    /// How it ended.
    pub verdict: Verdict,
    /// What the system's own ledger said.
    pub ledger: String,
    /// How long it took.
    pub seconds: f64,
    /// Why it is no pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Where the site is, or what a drill's sensors on another's site wrote, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<PathBuf>,
    /// What was done, in order; for people.
    #[serde(skip)]
    pub account: Vec<String>,
}

impl Report {
    /// Of a drill of which nothing is known yet.
    pub fn new(drill: impl Into<String>, sentence: impl Into<String>, seed: u64) -> Self {
        Self {
            drill: drill.into(),
            sentence: sentence.into(),
            seed,
            evidence: Vec::new(),
            acknowledged: 0,
            stored: 0,
            lost: 0,
            duplicated: 0,
            unexpected: 0,
            recovery_s: None,
            verdict: Verdict::Unknown,
            ledger: "unknown".to_owned(),
            seconds: 0.0,
            reasons: Vec::new(),
            site: None,
            account: Vec::new(),
        }
    }

    /// Takes over what the oracle counted.
    pub fn found(&mut self, findings: &Findings) {
        self.acknowledged = findings.acknowledged;
        self.stored = findings.stored;
        self.lost = findings.lost;
        self.duplicated = findings.duplicated;
        self.unexpected = findings.unexpected;
    }

    /// Decides. What is wrong weighs more than what was not seen.
    pub fn decide(&mut self) {
        if !self.reasons.is_empty() {
            self.verdict = Verdict::Fail;
            return;
        }
        if self.acknowledged < LEAST_ACKNOWLEDGED {
            self.reasons
                .push(format!("fewer than {LEAST_ACKNOWLEDGED} readings were acknowledged"));
        }
        if self.evidence.is_empty() {
            self.reasons.push("the fault left no evidence".to_owned());
        }
        self.verdict = if self.reasons.is_empty() { Verdict::Pass } else { Verdict::Unknown };
    }

    /// The one line.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("plain data has an encoding")
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Unknown => "unknown",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.evidence {
            writeln!(f, "  evidence      {line}")?;
        }
        writeln!(f, "  acknowledged  {}", self.acknowledged)?;
        writeln!(f, "  stored        {}", self.stored)?;
        let Self { lost, duplicated, unexpected, .. } = self;
        writeln!(
            f,
            "  oracle        {lost} lost, {duplicated} duplicated, {unexpected} unexpected"
        )?;
        writeln!(f, "  ledger        {}", self.ledger)?;
        if let Some(seconds) = self.recovery_s {
            writeln!(f, "  recovery      {seconds:.2} s at most")?;
        }
        for reason in &self.reasons {
            writeln!(f, "  because       {reason}")?;
        }
        if let Some(site) = &self.site {
            writeln!(f, "  site          {}", site.display())?;
        }
        writeln!(f, "  verdict       {} after {:.1} s", self.verdict, self.seconds)
    }
}

/// All reports as one document, in Markdown.
pub fn markdown(reports: &[Report]) -> String {
    let mut text = "# Failure drills\n\n\
        | drill | verdict | acknowledged | lost | duplicated | unexpected | recovery |\n\
        |---|---|---|---|---|---|---|\n"
        .to_owned();
    for report in reports {
        let Report { acknowledged, lost, duplicated, unexpected, verdict, .. } = report;
        let name = &report.drill;
        let recovery = report.recovery_s.map_or("–".to_owned(), |time| format!("{time:.2} s"));
        text.push_str(&format!(
            "| [{name}](#{name}) | {verdict} | {acknowledged} | {lost} | {duplicated} | {unexpected} | \
             {recovery} |\n"
        ));
    }
    for report in reports {
        let Report { seed, ledger, seconds, stored, .. } = report;
        let mut chapter = |title: &str, lines: &[String]| {
            if !lines.is_empty() {
                text.push_str(&format!("\n{title}\n\n"));
                lines.iter().for_each(|line| text.push_str(&format!("* {line}\n")));
            }
        };
        chapter(
            &format!("## {}\n\n{}", report.drill, report.sentence),
            &[
                format!("verdict: **{}** after {seconds:.1} s, with seed {seed}", report.verdict),
                format!("acknowledged {}, stored {stored}", report.acknowledged),
                format!("the system's own ledger: {ledger}"),
            ],
        );
        chapter("Why it is no pass:", &report.reasons);
        chapter("Evidence that the fault came:", &report.evidence);
        chapter("What was done:", &report.account);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            evidence: vec!["seen".to_owned()],
            acknowledged: LEAST_ACKNOWLEDGED,
            stored: LEAST_ACKNOWLEDGED,
            ledger: "balanced".to_owned(),
            ..Report::new("kill-store", "the store killed: nothing is lost", 1)
        }
    }

    fn decided(change: impl FnOnce(&mut Report)) -> Verdict {
        let mut report = report();
        change(&mut report);
        report.decide();
        report.verdict
    }

    #[test]
    fn only_enough_readings_and_a_fault_that_was_seen_pass() {
        assert_eq!(decided(|_| {}), Verdict::Pass);
        assert_eq!(decided(|report| report.acknowledged -= 1), Verdict::Unknown);
        assert_eq!(decided(|report| report.evidence.clear()), Verdict::Unknown);
    }

    #[test]
    fn what_is_wrong_weighs_more_than_what_was_not_seen() {
        let wrong = |report: &mut Report| {
            report.evidence.clear();
            report.reasons.push("1 lost".to_owned());
        };
        assert_eq!(decided(wrong), Verdict::Fail);
    }

    #[test]
    fn the_line_has_the_agreed_names() {
        let line: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        let names = [
            "drill",
            "seed",
            "evidence",
            "acknowledged",
            "stored",
            "lost",
            "duplicated",
            "unexpected",
            "recovery_s",
            "verdict",
            "ledger",
            "seconds",
        ];
        assert!(names.iter().all(|name| line.get(name).is_some()));
        assert_eq!(line.as_object().unwrap().len(), names.len());
        assert_eq!((&line["verdict"], &line["drill"]), (&"unknown".into(), &"kill-store".into()));
    }

    #[test]
    fn the_document_has_a_row_and_a_chapter_for_each() {
        let mut bad = report();
        bad.reasons.push("1 lost | or two".to_owned());
        bad.decide();
        let text = markdown(&[report(), bad]);
        assert_eq!(text.matches("\n## kill-store\n").count(), 2);
        assert!(text.contains("| [kill-store](#kill-store) | fail |"), "{text}");
        assert!(text.contains("1 lost | or two"), "{text}");
    }
}
