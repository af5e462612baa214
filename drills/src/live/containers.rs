//! A Compose project: `kill`, `stop`, `pause`, `network disconnect`, and volumes.
//!
//! It needs nothing but the `docker` command, and works on what `docker compose up` has made, with
//! sensors that write truth files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use vigia_kit::config::{Config, ConfigError};
use vigia_kit::site::Role;

use super::docker::{self, Container};
use super::{Deployment, Fault, Trial};
use crate::api::Api;
use crate::books::Books;
use crate::judgement::{drained, judge};
use crate::report::Report;
use crate::truth::{Place, Truth, TruthFile};

/// The port of the API within its container.
const API_PORT: u16 = 8080;
/// The network between the roles, as compose.yaml calls it.
const BUS: &str = "bus";

/// See the module.
#[derive(Debug)]
pub struct Project {
    roles: BTreeMap<&'static str, Container>,
    sensors: BTreeMap<i16, Sensor>,
    config: Config,
    /// Copies of the truth files.
    directory: TempDir,
}

#[derive(Debug)]
struct Sensor {
    container: Container,
    truth: TruthFile,
}

impl Project {
    /// Finds the containers of a project that runs.
    ///
    /// # Errors
    /// A project that is not there, is not complete, or does not allow drills.
    pub async fn find(project: &str) -> anyhow::Result<Self> {
        let found = docker::containers(project).await?;
        let directory = tempfile::tempdir().context("no temporary directory")?;
        let (mut roles, mut sensors) = (BTreeMap::new(), BTreeMap::new());
        for (service, container) in found {
            if let Some(role) = Role::ALL.iter().find(|role| role.name() == service) {
                roles.insert(role.name(), container);
            } else if let Some(id) = service.strip_prefix("sensor-").and_then(|id| id.parse().ok())
            {
                let truth = TruthFile::new(directory.path().join(&service));
                sensors.insert(id, Sensor { container, truth });
            }
        }
        if roles.len() < Role::ALL.len() {
            return Err(ConfigError(format!(
                "the Compose project {project:?} has containers of {} roles, expected {}: \
                 'docker compose up' first, and --compose=PROJECT names it",
                roles.len(),
                Role::ALL.len()
            ))
            .into());
        }
        let text = roles["broker"].run(&["cat", "/site/vigia.toml"]).await?;
        let config = Config::parse(&text)?;
        if !config.drills.allowed {
            return Err(ConfigError(format!(
                "the Compose project {project:?} does not allow drills, which break things: expected \
                 'allowed = true' under [drills] in its configuration, as compose/drills.yaml brings it"
            ))
            .into());
        }
        let mut found = Self { roles, sensors, config, directory };
        found.catch_up().await.context(
            "the sensors write no truth files, by which an oracle could judge; compose/drills.yaml has such",
        )?;
        Ok(found)
    }

    fn role(&self, role: Role) -> &Container {
        &self.roles[role.name()]
    }

    fn all_roles(&self) -> Vec<Container> {
        Role::ALL.iter().map(|role| self.role(*role).clone()).collect()
    }

    fn sensor_containers(&self) -> Vec<Container> {
        self.sensors.values().map(|sensor| sensor.container.clone()).collect()
    }

    /// What each sensor claims.
    fn claims(&self) -> BTreeMap<i16, Vec<&Truth>> {
        self.sensors.iter().map(|(id, sensor)| (*id, vec![&sensor.truth.truth])).collect()
    }
}

impl Deployment for Project {
    fn faults() -> Vec<Fault> {
        let each = Fault::of_each_role(&[Fault::Kill, Fault::Stop, Fault::Pause, Fault::Cut]);
        each.chain([Fault::PowerOff, Fault::RestoreStore, Fault::LoseJournal]).collect()
    }

    async fn start_sensors(&mut self) -> anyhow::Result<()> {
        docker::all("start", &self.sensor_containers()).await
    }

    async fn stop_sensors(&mut self) -> anyhow::Result<()> {
        docker::stop_patiently(&self.sensor_containers()).await?;
        for (id, sensor) in &self.sensors {
            let code = sensor.container.inspect("{{.State.ExitCode}}").await?;
            ensure!(code == "0", "sensor {id} ended with code {code}, expected 0");
        }
        self.catch_up().await
    }

    async fn catch_up(&mut self) -> anyhow::Result<()> {
        for (id, sensor) in &mut self.sensors {
            let copy = self.directory.path().join(format!("sensor-{id}"));
            let copy = copy.to_str().context("a path in UTF-8")?;
            sensor.container.copy_out("/sensor/truth.txt", copy).await?;
            sensor.truth.catch_up()?;
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.sensors.values().map(|sensor| sensor.truth.truth.acknowledgements()).sum()
    }

    fn fronts(&self) -> Vec<(i16, Place)> {
        self.sensors.iter().map(|(id, sensor)| (*id, sensor.truth.truth.front())).collect()
    }

    async fn api(&self) -> anyhow::Result<Api> {
        let address = self.role(Role::Store).published(API_PORT).await?;
        let copy = |name: &str| self.directory.path().join(name);
        let (token, authority) = (copy("token"), copy("ca.pem"));
        let alert = self.role(Role::Alert);
        let path = |path: &Path| path.to_string_lossy().into_owned();
        alert.copy_out("/site/keys/alert/api.token", &path(&token)).await?;
        if self.config.store.tls {
            alert.copy_out("/site/tls/ca.pem", &path(&authority)).await?;
        }
        Api::of(&self.config.store, address.parse()?, &token, &authority)
    }

    async fn bring(&mut self, trial: &mut Trial<'_>) -> anyhow::Result<()> {
        const PID: &str = "{{.State.Pid}}";
        match trial.fault {
            Fault::Kill(role) | Fault::Stop(role) => {
                let container = self.role(role).clone();
                let old = container.inspect(PID).await?;
                let verb = if matches!(trial.fault, Fault::Kill(_)) { "kill" } else { "stop" };
                container.to(verb).await?;
                let code =
                    container.inspect("{{.State.Status}} with code {{.State.ExitCode}}").await?;
                trial.stays(self).await?;
                container.to("start").await?;
                trial.repaired();
                let new = container.inspect(PID).await?;
                ensure!(new != old, "{} is still process {old}", role.name());
                trial.saw(format!("{}: {code}; process {old}, then {new}", role.name()));
            }
            Fault::Pause(role) => {
                let container = self.role(role).clone();
                container.to("pause").await?;
                let state = container.inspect("{{.State.Status}}").await?;
                ensure!(state == "paused", "{} is {state}, expected paused", role.name());
                trial.stays(self).await?;
                container.to("unpause").await?;
                trial.repaired();
                trial.saw(format!("{}: was {state}", role.name()));
            }
            Fault::Cut(role) => {
                let container = self.role(role).clone();
                let network = container.network(BUS).await?;
                container.disconnect(&network).await?;
                let is_off = container.network(BUS).await.is_err();
                ensure!(is_off, "{} is still in {network}", role.name());
                trial.stays(self).await?;
                container.connect(&network, role.name()).await?;
                trial.repaired();
                trial.saw(format!("{}: was not in {network}", role.name()));
            }
            Fault::PowerOff => {
                let roles = self.all_roles();
                docker::all("kill", &roles).await?;
                for container in &roles {
                    let state = container.inspect("{{.State.Status}}").await?;
                    ensure!(state == "exited", "a role is {state}, expected exited");
                }
                trial.stays(self).await?;
                docker::all("start", &roles).await?;
                trial.repaired();
                trial.saw(format!("{} containers had exited", roles.len()));
            }
            Fault::RestoreStore => {
                const BACKUP: &str = "/site/data/store/drill.backup";
                let store = self.role(Role::Store).clone();
                let vigia = |verb| ["vigia", "store", verb, BACKUP, "--site", "/site"];
                let backed_up = store.run(&vigia("backup")).await?;
                trial.stays(self).await?;
                store.to("stop").await?;
                let restored = store.run_beside(&vigia("restore")).await;
                store.run_beside(&["rm", BACKUP]).await?;
                for said in [backed_up, restored?] {
                    trial.saw(said.trim_end().to_owned());
                }
                store.to("start").await?;
                trial.repaired();
            }
            Fault::LoseJournal => {
                let broker = self.role(Role::Broker).clone();
                let before = self.api().await?.ledger().await?.logs.len();
                broker.to("kill").await?;
                broker.run_beside(&["rm", "/site/data/broker/journal.redb"]).await?;
                broker.to("start").await?;
                trial.repaired();
                trial.saw(format!("the journal's file is removed; it had {before} logs"));
            }
            Fault::Chaos => bail!("{} is not for containers", trial.fault.name()),
        }
        Ok(())
    }

    async fn judge(
        &mut self,
        fault: Fault,
        before: &Books,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let api = self.api().await?;
        let waited = drained(&api, self.acknowledged()).await?;
        report.account.push(format!("drained after {:.1} s", waited.as_secs_f64()));
        let mut expected = fault.expected();
        // The ledger remembers those of drills before.
        expected.duplicates |= before.readings.duplicate > 0;
        judge(&api, self.claims(), 0, expected, report).await
    }

    fn keep(&mut self) -> Option<PathBuf> {
        None
    }
}
