//! The system under load: a fresh site, every role in a process of its own, sensors with keys.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use vigia_kit::device_key::KeyFile;
use vigia_kit::sensors::{Holder, Sensors};
use vigia_kit::site::Site;
use vigia_protocol::header::SensorId;
use vigia_protocol::keys::DeviceKey;
use vigia_protocol::profile::Profile;
use vigia_protocol::topic::NodeName;

use super::processes::{Cost, costs};
use crate::addresses::{Addresses, Bound};
use crate::exit::Unavailable;
use crate::init::{self, PortChoice};
use crate::up::run_state::Processes;

const START_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// A running system. Dropped, it is stopped and its directory removed.
pub struct System {
    dir: PathBuf,
    site: Site,
    supervisor: Child,
    /// Where it listens.
    pub bound: Bound,
}

impl System {
    /// Makes a site below `parent` and starts every role.
    ///
    /// # Errors
    /// What init or the roles say, or roles that do not listen in time.
    pub async fn start(parent: &Path, name: &str) -> anyhow::Result<Self> {
        let dir = parent.join(format!("site-{name}-{}", std::process::id()));
        let node = NodeName::new("bench").context("a node name")?;
        let site = init::make(&dir, &node, PortChoice::Auto, None)?;
        let log = fs::File::create(dir.join("up.log"))?;
        let supervisor = Command::new(std::env::current_exe()?)
            .args(["up", "--site"])
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound = Bound { sensor: nowhere, mqtt: nowhere, api: nowhere };
        let mut system = Self { dir, site, supervisor, bound };
        system.bound = system.await_ready().await?;
        Ok(system)
    }

    async fn await_ready(&mut self) -> anyhow::Result<Bound> {
        let deadline = Instant::now() + START_WITHIN;
        let client = vigia_kit::api::client(None, None, START_WITHIN)?;
        while Instant::now() < deadline {
            if let Some(status) = self.supervisor.try_wait()? {
                bail!("vigia up ended with {status}; see {}", self.dir.join("up.log").display());
            }
            if let Some(bound) = Addresses::read(&self.site).bound() {
                let url = format!("http://{}/api/v1/health/ready", bound.api);
                if client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                    return Ok(bound);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(Unavailable(format!("the roles were not ready within {START_WITHIN:?}")).into())
    }

    /// Adds a sensor and takes its key.
    ///
    /// # Errors
    /// What the file system says.
    pub fn add_sensor(&self, id: SensorId) -> anyhow::Result<DeviceKey> {
        let sensors = Sensors::of(&self.site);
        let path = sensors.issue_key(id, "bench", &Profile::climate(), Holder::Device)?;
        Ok(KeyFile::read(&path)?.key)
    }

    /// What each role has cost since it was started, and the supervisor.
    pub fn costs(&self) -> BTreeMap<String, Cost> {
        let mut pids: BTreeMap<String, u32> = Processes::read(&self.site)
            .map(|processes| {
                let roles = processes.roles.into_iter();
                roles.filter_map(|(role, process)| Some((role, process.pid?))).collect()
            })
            .unwrap_or_default();
        pids.insert("supervisor".to_owned(), self.supervisor.id());
        costs(&pids)
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.supervisor);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let deadline = Instant::now() + STOP_WITHIN;
        while matches!(self.supervisor.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
