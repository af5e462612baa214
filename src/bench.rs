//! `vigia bench`: how fast this machine keeps the promise, and what it costs.
//!
//! Every role runs as in service, on a site of its own on a real disk. The load comes through sockets
//! from the device state machine that Rust sensors use; each frame is sealed as it is sent. Counted as
//! stored is only what the API returns, and only if the system had drained within two seconds.

mod disk;
mod generator;
mod machine;
mod phase;
mod processes;
mod report;
mod site;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::duration;
use crate::exit::{Answer, Outcome};

/// What to measure.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia bench                        three loads of 30 s each, as a table
  vigia bench --json                 the same, as one JSON document
  vigia bench --for 10s --connections 10

Three loads are measured, each on a fresh site: 2,000 readings/s (latency and bytes written), as fast as
possible with one reading a frame, and as fast as possible with 32.")]
pub struct Options {
    /// How long each load lasts
    #[arg(long = "for", default_value = "30s", value_parser = duration::parse, value_name = "TIME")]
    lasting: Duration,
    /// Sensors that are connected at once
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Where the sites are made; a real disk
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    dir: PathBuf,
    /// One JSON document on standard output
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark. The answer is no if a reading was lost, counted twice, or not there in time.
///
/// # Errors
/// A directory that will not do, roles that do not start.
pub fn run(options: &Options) -> Outcome {
    disk::refuse_memory(&options.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime")?;
    let fsync = disk::measure_fsync(&options.dir)?;
    let mut measured = Vec::new();
    for (at, load) in phase::LOADS.into_iter().enumerate() {
        let of = phase::LOADS.len();
        eprintln!("vigia bench: {} of {of}, {} for {:?}", at + 1, load.name, options.lasting);
        let outcome = runtime.block_on(phase::run(load, options))?;
        eprintln!("vigia bench: {}", outcome.line());
        measured.push(outcome);
    }
    let report =
        report::Report { machine: machine::describe(&options.dir), fsync, loads: measured };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(if report.kept_the_promise() { Answer::Yes } else { Answer::No })
}
