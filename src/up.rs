//! `vigia up`: the supervisor of a site.

mod backoff;
mod demo;
mod keeper;
mod leftovers;
mod plant;
pub mod run_state;
mod status;
mod summary;
mod supervisor;
mod terminal;
mod truth;
mod welcome;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_kit::telemetry;
use vigia_protocol::topic::NodeName;

use crate::addresses::{Addresses, Bound};
use crate::exit::{Answer, Outcome, Unavailable};
use crate::{duration, leash};
use demo::Demo;
use status::Status;
use supervisor::Supervisor;

/// How long a run that ends by itself waits for its roles to listen.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often what is not there yet is named.
const REMIND_EVERY: Duration = Duration::from_secs(10);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// `vigia up`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia up --site /srv/vigia                      run until SIGTERM or Ctrl-C
  vigia up --demo 4                               with 4 simulated sensors; makes ./site if it is not there
  vigia up --demo 4 --rate 500 --for 30s --json   a measured half minute, and its books as JSON

With --for the exit code is 0 only if every acknowledged reading is accounted for and nothing is lost.")]
pub struct Options {
    /// The site directory, made by `vigia init`
    #[arg(long, value_name = "DIR", default_value = "site")]
    site: PathBuf,
    /// Also run sensors 1 to N, simulated
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..=1000))]
    demo: Option<i16>,
    /// Readings per second of each simulated sensor
    #[arg(long, value_name = "HZ", default_value = "50", value_parser = rate)]
    rate: f64,
    /// End after this time (500ms, 30s, 5m, 2h): sensors first, then, when all is accounted for, the rest
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Option<Duration>,
    /// With --for: the summary as JSON, the only line on standard output
    #[arg(long)]
    json: bool,
    /// The program that simulates a sensor; by default beside `vigia`, or as `make build` leaves it
    #[arg(long, value_name = "PATH")]
    sensor_binary: Option<PathBuf>,
}

/// Runs the site.
pub fn run(options: &Options) -> Outcome {
    leash::forbid_core_files()?;
    telemetry::start(terminal::lines);
    // One thread: children are tied to the thread that starts them (see `leash`).
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(supervise(options))
}

async fn supervise(options: &Options) -> Outcome {
    let mut shutdown = Shutdown::on_signals().context("cannot watch signals")?;
    let site = open(options)?;
    let _the_only_one = site.lock("up")?;
    // Faster and clearer told here than by the roles.
    let (roles, absent): (Vec<Role>, Vec<Role>) =
        Role::ALL.into_iter().partition(|role| site.has(*role));
    for role in &roles {
        site.secrets(*role)?;
    }
    for role in absent {
        let (role, dir) = (role.name(), site.dir().display());
        tracing::warn!(
            "the site was made before the role {role} was, and runs without it: 'vigia init {dir} --complete' adds it"
        );
    }
    let demo = match options.demo {
        Some(count) => {
            Some(Demo::prepare(&site, count, options.rate, options.sensor_binary.as_deref())?)
        }
        None => None,
    };
    leftovers::wait_for_their_end(&site).await?;
    Addresses::forget(&site).context("cannot remove run/addresses.json")?;

    let mut supervisor = Supervisor::new(&site)?;
    // Before who polls them.
    if demo.as_ref().is_some_and(|demo| demo.devices) {
        plant::start(&site, &mut supervisor);
    }
    for role in roles {
        supervisor.start_role(role);
    }
    let result = attend(options, &site, demo.as_ref(), &mut supervisor, &mut shutdown).await;
    supervisor.stop().await;
    result
}

/// The life of a site between its start and its stop.
async fn attend(
    options: &Options,
    site: &Site,
    demo: Option<&Demo>,
    supervisor: &mut Supervisor,
    shutdown: &mut Shutdown,
) -> Outcome {
    let bound = tokio::select! {
        () = shutdown.ended() => return Ok(Answer::Yes),
        refusal = supervisor.refusal() => return Err(refusal),
        bound = until_bound(site, options.time.map(|_| READY_WITHIN)) => bound?,
    };
    welcome::print(site, &bound, demo, options.json)?;
    let status = Status::begin(site, supervisor.state());
    let begun = Instant::now();
    if let Some(demo) = demo {
        demo.start(supervisor, bound.sensor);
    }
    let Some(time) = options.time else {
        return tokio::select! {
            () = shutdown.ended() => Ok(Answer::Yes),
            refusal = supervisor.refusal() => Err(refusal),
        };
    };
    // A signal ends a timed run early; its books are closed all the same.
    tokio::select! {
        () = shutdown.ended() => {}
        () = tokio::time::sleep(time) => {}
        refusal = supervisor.refusal() => return Err(refusal),
    }
    supervisor.stop_sensors().await;
    drop(status);
    let summary = summary::settle(site, begun, supervisor.restarts()).await?;
    summary.print(options.json)?;
    Ok(if summary.is_good() { Answer::Yes } else { Answer::No })
}

fn open(options: &Options) -> anyhow::Result<Site> {
    let dir = &options.site;
    if options.demo.is_some() && !dir.join("vigia.toml").exists() {
        let node = NodeName::new("node1").expect("a node name");
        plant::make_site(dir, &node)?;
        tracing::info!(dir = %dir.display(), "made the site, as 'vigia init --ports auto' does");
    }
    // Children get the absolute path, which also tells them from those of other sites.
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.clone());
    Ok(Site::open(&dir)?)
}

async fn until_bound(site: &Site, limit: Option<Duration>) -> anyhow::Result<Bound> {
    let begun = Instant::now();
    let mut remind_at = REMIND_EVERY;
    loop {
        let addresses = Addresses::read(site);
        if let Some(bound) = addresses.bound() {
            return Ok(bound);
        }
        let missing = addresses.missing().join(", ");
        if limit.is_some_and(|limit| begun.elapsed() >= limit) {
            return Err(Unavailable(format!(
                "after {READY_WITHIN:?} still not listening: {missing}"
            ))
            .into());
        }
        if begun.elapsed() >= remind_at {
            tracing::warn!(missing, "still waiting for roles to listen");
            remind_at += REMIND_EVERY;
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (0.001..=100_000.0).contains(rate))
        .ok_or_else(|| "expected a number from 0.001 to 100000".to_owned())
}
