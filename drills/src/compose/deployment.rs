//! A Compose project as a drill sees it: its roles, its sensors, and its API.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use vigia_kit::api::client;
use vigia_kit::config::{Config, ConfigError};
use vigia_kit::site::Role;
use vigia_kit::tokens::BearerToken;

use super::docker::{self, Container};
use crate::api::{ANSWER_WITHIN, Api};
use crate::scene::recovery::first_newer;
use crate::truth::{Place, Truth, TruthFile};
use crate::wait;

/// A deployment that has not recovered by then is not waited for.
pub const RECOVERED_WITHIN: Duration = Duration::from_secs(90);
/// The port of the API within its container.
const API_PORT: u16 = 8080;

/// See the module.
#[derive(Debug)]
pub struct Deployment {
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

impl Deployment {
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
        let mut deployment = Self { roles, sensors, config, directory };
        deployment.catch_up().await.context(
            "the sensors write no truth files, by which an oracle could judge; compose/drills.yaml has such",
        )?;
        Ok(deployment)
    }

    /// The container of a role.
    pub fn role(&self, role: Role) -> &Container {
        &self.roles[role.name()]
    }

    /// The containers of all roles, in the order in which they are started.
    pub fn all_roles(&self) -> Vec<Container> {
        Role::ALL.iter().map(|role| self.role(*role).clone()).collect()
    }

    fn sensor_containers(&self) -> Vec<Container> {
        self.sensors.values().map(|sensor| sensor.container.clone()).collect()
    }

    /// Lets sensors measure.
    ///
    /// # Errors
    /// As Docker says.
    pub async fn start_sensors(&self) -> anyhow::Result<()> {
        docker::all("start", &self.sensor_containers()).await
    }

    /// Ends the sensors, once they have delivered what they hold.
    ///
    /// # Errors
    /// If one does not.
    pub async fn stop_sensors(&mut self) -> anyhow::Result<()> {
        docker::stop_patiently(&self.sensor_containers()).await?;
        for (id, sensor) in &self.sensors {
            let code = sensor.container.inspect("{{.State.ExitCode}}").await?;
            ensure!(code == "0", "sensor {id} ended with code {code}, expected 0");
        }
        self.catch_up().await
    }

    /// Reads what the sensors have written since.
    ///
    /// # Errors
    /// If a truth file cannot be had.
    pub async fn catch_up(&mut self) -> anyhow::Result<()> {
        for (id, sensor) in &mut self.sensors {
            let copy = self.directory.path().join(format!("sensor-{id}"));
            let copy = copy.to_str().context("a path in UTF-8")?;
            sensor.container.copy_out("/sensor/truth.txt", copy).await?;
            sensor.truth.catch_up()?;
        }
        Ok(())
    }

    /// What each sensor claims.
    pub fn claims(&self) -> BTreeMap<i16, Vec<&Truth>> {
        self.sensors.iter().map(|(id, sensor)| (*id, vec![&sensor.truth.truth])).collect()
    }

    /// Numbers acknowledged to all sensors.
    pub fn acknowledged(&self) -> u64 {
        self.sensors.values().map(|sensor| sensor.truth.truth.acknowledgements()).sum()
    }

    /// How far acknowledgements have come, per sensor.
    pub fn fronts(&self) -> Vec<(i16, Place)> {
        self.sensors.iter().map(|(id, sensor)| (*id, sensor.truth.truth.front())).collect()
    }

    /// The API where it is published now, with the token of alert, which may read.
    ///
    /// # Errors
    /// If the store does not run, or the containers of a role are not what is expected.
    pub async fn api(&self) -> anyhow::Result<Api> {
        let address = self.role(Role::Store).published(API_PORT).await?;
        let copy = |name: &str| self.directory.path().join(name);
        let (token, authority) = (copy("token"), copy("ca.pem"));
        let alert = self.role(Role::Alert);
        let path = |path: &Path| path.to_string_lossy().into_owned();
        alert.copy_out("/site/keys/alert/api.token", &path(&token)).await?;
        let token = BearerToken::load(&token)?;
        let tls = self.config.store.tls;
        if tls {
            alert.copy_out("/site/tls/ca.pem", &path(&authority)).await?;
        }
        let client = client(tls.then_some(authority.as_path()), Some(&token), ANSWER_WITHIN)?;
        let scheme = if tls { "https" } else { "http" };
        Ok(Api::at(client, &format!("{scheme}://{address}")))
    }

    /// Waits until a reading that is acknowledged from now on can be queried.
    ///
    /// # Errors
    /// If none can.
    pub async fn recovers(&mut self) -> anyhow::Result<()> {
        self.catch_up().await?;
        let before = self.fronts();
        let what = || "a newly acknowledged reading can be queried".to_owned();
        let mut api = None;
        wait::until(RECOVERED_WITHIN, what, async || {
            self.catch_up().await?;
            let Some((sensor, place)) = first_newer(&before, &self.fronts()) else {
                return Ok(None);
            };
            if api.is_none() {
                api = self.api().await.ok();
            }
            let Some(api) = &api else { return Ok(None) };
            let latest = api.latest(sensor).await;
            Ok(latest.is_ok_and(|latest| latest >= place).then_some(()))
        })
        .await
    }
}
