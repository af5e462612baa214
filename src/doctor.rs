//! `vigia doctor`: looks a site over, and says what to do. It changes nothing, and needs nothing to run.

mod books;
mod certificates;
mod check;
mod listeners;
mod machine;
mod processes;
mod roles;
mod secrets;

use std::io;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use vigia_kit::site::{Role, Site};

use crate::colour::Colours;
use crate::exit::{Answer, Outcome};
use crate::leash;
use crate::table::print;
use check::{Check, Verdict};
use processes::Processes;

/// `vigia doctor`
#[derive(Debug, Args)]
#[command(after_help = "\
Looks at the configuration, secrets, certificates, ports, disks, limits, clocks, running roles, the ledger and the audit
logs, as the user who owns the site. A line each: ok; warn, to be looked at; fail, with what to do.

Exits 0 unless something fails, else 1.

Examples:
  vigia doctor --site /srv/vigia
  vigia doctor --site /srv/vigia --json")]
pub struct Options {
    /// The site directory
    #[arg(long, value_name = "DIR", default_value = "site")]
    site: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Everything that was found, as `--json` shows it.
#[derive(Serialize)]
struct Report {
    /// The worst.
    verdict: Verdict,
    checks: Vec<Check>,
}

/// Looks the site over.
pub fn run(options: &Options) -> Outcome {
    // It reads the roles' keys.
    leash::forbid_core_files()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let checks = runtime.block_on(look(options));
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    if options.json {
        let report = Report { verdict, checks };
        print(&format!("{}\n", serde_json::to_string(&report)?))?;
    } else {
        let colours = Colours::of(&io::stdout());
        let mut text = String::new();
        for check in &checks {
            text.push_str(&check.line(colours));
            text.push('\n');
        }
        let count = |verdict| checks.iter().filter(|check| check.verdict == verdict).count();
        let [fail, warn, ok] = [Verdict::Fail, Verdict::Warn, Verdict::Ok].map(count);
        text.push_str(&format!("\n{fail} fail, {warn} to be looked at, {ok} ok\n"));
        print(&text)?;
    }
    Ok(if verdict == Verdict::Fail { Answer::No } else { Answer::Yes })
}

async fn look(options: &Options) -> Vec<Check> {
    let site = match Site::open(&options.site) {
        Ok(site) => site,
        Err(error) => {
            let todo = "mend it; nothing else can be looked at before that";
            return vec![Check::fail("configuration", error.to_string(), todo)];
        }
    };
    let processes = Processes::of(&site);
    let found = format!("{} can be used", site.dir().join("vigia.toml").display());
    let mut checks = vec![Check::ok("configuration", found)];
    checks.extend(secrets::checks(&site));
    checks.extend(certificates::checks(&site));
    checks.extend(listeners::checks(&site, &processes));
    checks.extend(machine::disks(&site));
    checks.extend(machine::open_files(&site, &processes));
    checks.push(machine::clock().await);
    checks.extend(roles::checks(&site, &processes).await);
    checks.extend(books::checks(&site, processes.pid(Role::Store).is_some()).await);
    checks.push(books::audits(&site));
    checks
}
