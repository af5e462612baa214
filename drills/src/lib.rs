//! Failure drills: the real system in processes, real load, one fault, and an oracle that judges from
//! outside. `vigia drill` runs them.
//!
//! [`catalog`] names them all; a drill is a few sentences of the vocabulary in [`scene`]. The
//! [`oracle`] is pure: it is given what sensors claim and what the API exports, and believes neither
//! the system's counters nor its words.
//!
//! Deliberately absent: any way into the processes. What a drill knows it has from their files, their
//! API and /proc, as anybody could.

pub mod alarms;
pub mod api;
pub mod books;
pub mod catalog;
pub mod chaos;
pub mod crowd;
pub mod disk;
mod drills;
pub mod judgement;
pub mod live;
pub mod load;
pub mod oracle;
pub mod plant;
pub mod polled;
pub mod process;
pub mod proxy;
pub mod random;
pub mod report;
pub mod roster;
pub mod scene;
pub mod site;
pub mod strace;
pub mod system;
pub mod truth;
pub mod wait;

use std::io::Write;
use std::time::Duration;

use vigia_kit::config::ConfigError;

use crate::catalog::{Control, Drill, Shows};
use crate::report::{Report, Verdict};
use crate::scene::Scene;

/// How drills are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides the moments of faults.
    pub seed: u64,
    /// Print an account for people besides the line of JSON.
    pub account: bool,
    /// Keep the site's directory.
    pub keep: bool,
    /// How often the fault comes, instead of what the drill has.
    pub times: Option<u32>,
    /// How long something is down, instead of what the drill has.
    pub down: Option<Duration>,
    /// How long faults go on, instead of what the drill has.
    pub time: Option<Duration>,
}

/// The machine does not let this be tried: nothing is known.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotHere(pub &'static str);

/// Runs a drill and prints what it found.
///
/// # Errors
/// What keeps it from being run: that is no verdict about the system.
pub async fn run(drill: &'static Drill, options: &Options) -> anyhow::Result<Report> {
    if drill.control.is_some() && cfg!(not(feature = "sabotage")) {
        return Err(ConfigError(format!(
            "the negative control {:?} needs a program with deliberate defects in it: \
             cargo build --release --features sabotage",
            drill.name
        ))
        .into());
    }
    if options.account {
        print(&format!("{}: {}", drill.name, drill.sentence));
    }
    let report = match Scene::open(drill, options).await {
        Ok(mut scene) => {
            let played = (drill.play)(&mut scene).await;
            scene.close(played).await
        }
        Err(error) if error.is::<NotHere>() => Report {
            reasons: vec![error.to_string()],
            ..Report::new(drill.name, drill.sentence, options.seed)
        },
        Err(error) => return Err(error),
    };
    tell(&report, options);
    Ok(report)
}

/// Prints what was found.
fn tell(report: &Report, options: &Options) {
    if options.account {
        print(report.to_string().trim_end());
    }
    print(&report.json());
}

/// Runs one drill after the other; says whether all ended as they should.
///
/// # Errors
/// As [`run`].
pub async fn run_all(
    drills: impl IntoIterator<Item = &'static Drill>,
    options: &Options,
) -> anyhow::Result<(Vec<Report>, bool)> {
    let drills: Vec<_> = drills.into_iter().collect();
    let (mut reports, mut good) = (Vec::new(), true);
    for (at, drill) in drills.iter().enumerate() {
        if options.account {
            print(&format!("Drill {} of {}", at + 1, drills.len()));
        }
        let report = run(drill, options).await?;
        good &= is_good(drill, &report);
        reports.push(report);
    }
    Ok((reports, good))
}

/// Whether it ended as it should: a drill with a pass, a negative control with the oracle finding the
/// defect.
fn is_good(drill: &Drill, report: &Report) -> bool {
    match &drill.control {
        None => report.verdict == Verdict::Pass,
        Some(control) => was_caught(control, report),
    }
}

/// Whether the oracle saw the defect, and not only something else went wrong.
fn was_caught(control: &Control, report: &Report) -> bool {
    let shown = match control.shows {
        Shows::Lost => report.lost,
        Shows::Duplicated => report.duplicated,
    };
    report.verdict == Verdict::Fail && shown > 0
}

/// A line on standard output. Who stops reading early is no error.
pub(crate) fn print(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
