//! A site of processes under `vigia up`, which starts again what ends.
//!
//! It goes on with whatever sensors it has; the oracle judges by a drill's own. Deliberately absent: what
//! would destroy data, such as losing the journal or replacing the store.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use vigia_kit::config::{ConfigError, within_this_machine};
use vigia_kit::site::{Role, Site, SiteLock};
use vigia_kit::tls;

use super::guests::Guests;
use super::{Deployment, Fault, Trial};
use crate::api::Api;
use crate::books::Books;
use crate::judgement::judge_guests;
use crate::load::{Load, find_program};
use crate::process::Process;
use crate::report::Report;
use crate::roster::Roster;
use crate::scene::faults::REPLACED_WITHIN;
use crate::site::Addresses;
use crate::truth::Place;
use crate::wait;

/// Sensors that are added for the drill.
const SENSORS: usize = 2;
/// Readings per second of each.
const HERTZ: u32 = 250;
const FROZEN_WITHIN: Duration = Duration::from_secs(2);

/// There is nothing to drill.
#[derive(Debug, thiserror::Error)]
#[error("the site {0} does not run: 'vigia up --site {0}' first, and let it run")]
pub struct NotRunning(String);

/// See the module. Its parts end in this order.
#[derive(Debug)]
pub struct RunningSite {
    load: Load,
    _guests: Guests,
    directory: TempDir,
    site: Site,
    _the_only_one: SiteLock,
}

impl RunningSite {
    /// Adds sensors to a site that runs.
    ///
    /// # Errors
    /// A site that does not run or does not allow drills, or is being drilled already.
    pub fn find(dir: &Path, seed: u64) -> anyhow::Result<Self> {
        // As its roles have it in their command lines.
        let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let site = Site::open(&dir)?;
        let shown = dir.display();
        if !site.config.drills.allowed {
            return Err(ConfigError(format!(
                "the site {shown} does not allow drills, which break things: expected 'allowed = true' \
                 under [drills] in its vigia.toml"
            ))
            .into());
        }
        let runs = Roster::read(&dir).is_some_and(|roster| !roster.pids().is_empty());
        let addresses = Addresses::read(&dir).filter(|_| runs);
        let addresses = addresses.ok_or_else(|| NotRunning(shown.to_string()))?;
        let the_only_one = site.lock("drill")?;
        let program = find_program()?;
        let executable = env::current_exe().context("cannot find the running program's file")?;
        let directory = tempfile::Builder::new().prefix("drill-").tempdir();
        let directory = directory.context("no temporary directory")?;
        let ingress = within_this_machine(addresses.sensor);
        let guests = Guests::register(executable.clone(), &site, SENSORS)?;
        let mut load = Load::within(directory.path(), executable, ingress, program, HERTZ, seed)?;
        guests.keys().for_each(|(id, key)| load.add(id, key, true));
        Ok(Self { load, _guests: guests, directory, site, _the_only_one: the_only_one })
    }

    fn role(&self, role: Role) -> Option<Process> {
        Roster::read(self.site.dir())?.role(role)
    }

    /// Ends these roles with a signal, all at once, and waits until others have taken their places.
    async fn end(
        &mut self,
        roles: &[Role],
        signal: Signal,
        trial: &mut Trial<'_>,
    ) -> anyhow::Result<()> {
        let find = |role: &Role| {
            let process = self.role(*role).with_context(|| format!("{} does not run", role.name()));
            Ok((*role, process?))
        };
        let old: Vec<(Role, Process)> = roles.iter().map(find).collect::<anyhow::Result<_>>()?;
        for (_, process) in &old {
            process.signal(signal)?;
        }
        for (role, old) in old {
            let what = || format!("{} runs again", role.name());
            let new = wait::until(REPLACED_WITHIN, what, async || {
                Ok(self.role(role).filter(|new| *new != old))
            });
            let new = new.await?;
            let done = if signal == Signal::KILL { "killed" } else { "told to end" };
            trial.saw(format!("{}: process {old} {done}, {new} took its place", role.name()));
        }
        trial.repaired();
        Ok(())
    }

    async fn pause(&mut self, role: Role, trial: &mut Trial<'_>) -> anyhow::Result<()> {
        let name = role.name();
        let process = self.role(role).with_context(|| format!("{name} does not run"))?;
        let frozen = Frozen::new(process)?;
        let what = || format!("{name} is frozen");
        wait::until(FROZEN_WITHIN, what, async || Ok(frozen.holds().then_some(()))).await?;
        trial.stays(self).await?;
        ensure!(frozen.holds(), "process {process} did not stay frozen");
        drop(frozen);
        trial.repaired();
        trial.saw(format!("{name}: process {process} in state T for {:?}", trial.down));
        Ok(())
    }
}

impl Deployment for RunningSite {
    fn faults() -> Vec<Fault> {
        let each = Fault::of_each_role(&[Fault::Kill, Fault::Stop, Fault::Pause]);
        each.chain([Fault::PowerOff, Fault::Chaos]).collect()
    }

    async fn start_sensors(&mut self) -> anyhow::Result<()> {
        self.load.start().await
    }

    async fn stop_sensors(&mut self) -> anyhow::Result<()> {
        self.load.stop().await
    }

    async fn catch_up(&mut self) -> anyhow::Result<()> {
        self.load.catch_up()
    }

    fn acknowledged(&self) -> u64 {
        self.load.acknowledgements()
    }

    fn fronts(&self) -> Vec<(i16, Place)> {
        self.load.fronts()
    }

    async fn api(&self) -> anyhow::Result<Api> {
        let dir = self.site.dir();
        let address = Addresses::read(dir).context("the site has no addresses")?.api;
        let token = self.site.api_token_path();
        Api::of(&self.site.config.store, address, &token, &tls::authority(dir))
    }

    async fn bring(&mut self, trial: &mut Trial<'_>) -> anyhow::Result<()> {
        match trial.fault {
            Fault::Kill(role) => self.end(&[role], Signal::KILL, trial).await,
            Fault::Stop(role) => self.end(&[role], Signal::TERM, trial).await,
            Fault::PowerOff => self.end(&Role::ALL, Signal::KILL, trial).await,
            Fault::Pause(role) => self.pause(role, trial).await,
            other => bail!("{} is not for a site of processes", other.name()),
        }
    }

    async fn judge(&mut self, _: Fault, before: &Books, report: &mut Report) -> anyhow::Result<()> {
        judge_guests(&self.api().await?, self.load.claims(), before, report).await
    }

    fn keep(&mut self) -> Option<PathBuf> {
        self.directory.disable_cleanup(true);
        Some(self.directory.path().to_owned())
    }
}

/// A process under SIGSTOP; whatever happens, it goes on when this is dropped.
struct Frozen(Process);

impl Frozen {
    fn new(process: Process) -> anyhow::Result<Self> {
        process.signal(Signal::STOP)?;
        Ok(Self(process))
    }

    fn holds(&self) -> bool {
        self.0.state() == Some('T')
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // To a process that is not stopped it is nothing.
        let _ = self.0.signal(Signal::CONT);
    }
}
