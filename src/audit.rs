//! `vigia audit`: what the roles and the commands have noted, and whether it is as they wrote it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;
use vigia_kit::audit::{self, Audit, Fault, Fields, Line};
use vigia_kit::config::ConfigError;
use vigia_kit::site::Site;

use crate::exit::{Answer, Outcome};
use crate::table::{columns, print};

/// `vigia audit`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia audit show --site /srv/vigia
  vigia audit show --json | grep login-refused
  vigia audit verify                  exits 0 only if no line was changed, removed, added or reordered

Keep what `verify` prints somewhere else: a later log must still contain those hashes.")]
pub struct Options {
    /// The site directory
    #[arg(long, value_name = "DIR", default_value = "site", global = true)]
    site: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show all lines, by time
    #[command(after_help = "\
Examples:
  vigia audit show --site /srv/vigia
  vigia audit show --json | grep login-refused")]
    Show {
        /// As JSON, a line each
        #[arg(long)]
        json: bool,
    },
    /// Check every log's chain of hashes
    #[command(after_help = "\
Examples:
  vigia audit verify --site /srv/vigia")]
    Verify,
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let logs = logs(&options.site)?;
    match options.action {
        Action::Show { json } => show(&logs, json),
        Action::Verify => verify(&logs),
    }
}

/// Notes a change of the site that a command has made.
///
/// # Errors
/// If the log cannot be opened.
pub fn note(site: &Site, event: &str, fields: &Fields<'_>) -> anyhow::Result<()> {
    let audit = Audit::of_site(site).context("it is done, but the audit log cannot be opened")?;
    let user = rustix::process::getuid().as_raw();
    audit.note(event, &[fields, &[("uid", &user)]].concat());
    Ok(())
}

/// The directories that have a log, with their names.
///
/// # Errors
/// If this is no site, or somebody else's.
pub fn logs(site: &Path) -> Result<Vec<(String, PathBuf)>, ConfigError> {
    let data = site.join("data");
    let entries = fs::read_dir(&data)
        .map_err(|error| ConfigError(format!("{}: {error}, expected a site", data.display())))?;
    let mut logs: Vec<(String, PathBuf)> = entries
        .flatten()
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(_, directory)| !audit::files(directory).is_empty())
        .collect();
    logs.sort();
    Ok(logs)
}

fn verify(logs: &[(String, PathBuf)]) -> Outcome {
    let mut answer = Answer::Yes;
    for (name, directory) in logs {
        let said = match audit::verify(directory, |_| ()) {
            Ok((seq, hash)) => format!("{name}: as it was written, {seq} lines, newest {hash}\n"),
            Err(fault) => {
                answer = Answer::No;
                format!("{name}: {fault}\n")
            }
        };
        print(&said)?;
    }
    if logs.is_empty() {
        print("No audit log has been begun.\n")?;
    }
    Ok(answer)
}

/// A line, as `show --json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    log: &'a str,
    #[serde(flatten)]
    line: Line,
}

fn show(logs: &[(String, PathBuf)], json: bool) -> Outcome {
    let mut all = Vec::new();
    let mut faults: Vec<Fault> = Vec::new();
    for (log, directory) in logs {
        let read = audit::verify(directory, |line| all.push(Shown { log, line: line.clone() }));
        faults.extend(read.err());
    }
    all.sort_by(|a, b| a.line.time.cmp(&b.line.time));
    if json {
        for shown in &all {
            print(&format!("{}\n", serde_json::to_string(shown)?))?;
        }
    } else {
        let mut rows = vec![["TIME", "LOG", "EVENT", "WHAT"].map(str::to_owned).to_vec()];
        rows.extend(all.into_iter().map(|Shown { log, line }| {
            let fields = line.fields.iter().map(|(name, value)| format!("{name}={value:?}"));
            let fields: Vec<String> = fields.collect();
            vec![line.time, log.to_owned(), line.event, fields.join(" ")]
        }));
        print(&columns(&rows))?;
    }
    // What stands behind a fault is not believed, and so not shown.
    for fault in &faults {
        eprintln!("vigia: {fault}");
    }
    Ok(if faults.is_empty() { Answer::Yes } else { Answer::No })
}
