//! `vigia drill`: breaks the system on purpose and lets an oracle judge.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::runtime::Builder;
use vigia_drills::catalog::{CONTROLS, DRILLS, Drill, find};
use vigia_drills::live::{self, NotRunning};
use vigia_drills::load::NoSensorProgram;
use vigia_drills::report::{Verdict, markdown};
use vigia_drills::run_all;
use vigia_kit::config::ConfigError;
use vigia_kit::shutdown::Shutdown;

use crate::exit::{Answer, Outcome, Unavailable};
use crate::table::{columns, print};
use crate::{duration, leash};

/// What `short` has less of.
const SHORT_TIMES: u32 = 2;
const SHORT_DOWN: Duration = Duration::from_secs(5);

/// `vigia drill`
#[derive(Debug, Args)]
#[command(after_help = "\
Each drill makes a site of its own, starts the real system and real sensors, injects a fault, and compares
what the sensors were acknowledged with what the API exports. It prints one line of JSON.

Exits 0 only if every verdict is pass; for negative controls, which need a program with
deliberate defects in it (cargo build --release --features sabotage), only if the oracle saw every one.
The verdict is unknown, which is no pass, where the machine does not let something be tried.

With --site nothing is made: a drill adds two sensors to the site, with the highest free numbers, judges by
them, and revokes them at the end. Their readings stay in the store. Losing the journal and restoring the
store are not among these drills, as they would destroy the site's data.

Examples:
  vigia drill list
  vigia drill kill-store --seed 7
  vigia drill short                            one of each kind of fault, few times: minutes
  vigia drill all --report drills.md
  vigia drill chaos --for 10m --seed 3
  vigia drill list --site /srv/vigia
  vigia drill all --site /srv/vigia            on a site that 'vigia up' runs, with 'allowed = true' under [drills]
  vigia drill chaos --for 5m --site /srv/vigia
  vigia drill all --compose                    on containers: compose.yaml with compose/drills.yaml, up and running
  vigia drill controls")]
pub struct Options {
    /// Its name; or list, short, all, controls
    name: String,
    /// Decides the moments of faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Only the line of JSON
    #[arg(long)]
    json: bool,
    /// Keep the site directory (with --site: what the drill's sensors wrote) and say where it is; it is kept
    /// anyway if a drill does not pass
    #[arg(long)]
    keep: bool,
    /// How often the fault comes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    times: Option<u32>,
    /// How long the system is down, where it is (500ms, 30s, 5m)
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    down: Option<Duration>,
    /// How long random faults go on
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Option<Duration>,
    /// Drill this site of processes, which runs under `vigia up` and allows it, instead of one made for it
    #[arg(long, value_name = "DIR", conflicts_with = "compose")]
    site: Option<PathBuf>,
    /// Drill a Docker Compose project that runs and allows it, instead of a site made for it
    #[arg(long, value_name = "PROJECT", num_args = 0..=1, require_equals = true, default_missing_value = "vigia")]
    compose: Option<String>,
    /// Also write what was done and found to this file, as Markdown
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Runs what was asked for.
pub fn run(options: &Options) -> Outcome {
    leash::forbid_core_files()?;
    // One thread: the processes it starts are tied to the thread that starts them (see `leash`).
    let runtime =
        Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut shutdown = Shutdown::on_signals().context("cannot watch signals")?;
        tokio::select! {
            // What is dropped with it ends every process it started.
            () = shutdown.ended() => {
                Err(Unavailable("interrupted; every process it started has been ended".to_owned()).into())
            }
            outcome = drill(options) => outcome.map_err(as_unavailable),
        }
    })
}

async fn drill(options: &Options) -> Outcome {
    let how = vigia_drills::Options {
        seed: options.seed,
        account: !options.json,
        keep: options.keep,
        times: options.times,
        down: options.down,
        time: options.time,
    };
    let (reports, good) = match (options.name.as_str(), &options.site, &options.compose) {
        ("list", ..) => {
            print(&list(options))?;
            return Ok(Answer::Yes);
        }
        (name, Some(site), _) => live::on_site(site, name, &how).await?,
        (name, _, Some(project)) => live::on_project(project, name, &how).await?,
        ("short", ..) => {
            let less = vigia_drills::Options {
                times: how.times.or(Some(SHORT_TIMES)),
                down: how.down.or(Some(SHORT_DOWN)),
                ..how
            };
            run_all(DRILLS.iter().filter(|drill| drill.short), &less).await?
        }
        ("all", ..) => run_all(DRILLS.iter().filter(|drill| drill.is_built()), &how).await?,
        ("controls", ..) => run_all(CONTROLS, &how).await?,
        (name, ..) => {
            let drill = find(name).ok_or_else(|| {
                ConfigError(format!("there is no drill {name:?}; 'vigia drill list' shows all"))
            })?;
            let report = vigia_drills::run(drill, &how).await?;
            let good = report.verdict == Verdict::Pass;
            (vec![report], good)
        }
    };
    if let Some(file) = &options.report {
        fs::write(file, markdown(&reports)).with_context(|| format!("{}", file.display()))?;
    }
    Ok(if good { Answer::Yes } else { Answer::No })
}

fn list(options: &Options) -> String {
    let live = match (&options.site, &options.compose) {
        (Some(_), _) => Some(live::site_faults()),
        (None, Some(_)) => Some(live::project_faults()),
        (None, None) => None,
    };
    let row = |drill: &Drill| vec![drill.name.to_owned(), drill.sentence.to_owned()];
    let rows: Vec<Vec<String>> = match live {
        Some(faults) => faults.iter().map(|fault| vec![fault.name(), fault.sentence()]).collect(),
        None => DRILLS.iter().chain(CONTROLS).map(row).collect(),
    };
    columns(&rows)
}

fn as_unavailable(error: anyhow::Error) -> anyhow::Error {
    if error.is::<NoSensorProgram>() || error.is::<NotRunning>() {
        return Unavailable(error.to_string()).into();
    }
    error
}
