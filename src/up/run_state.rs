//! `run/up.json`: which processes make up the running site, for drills and for people.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vigia_kit::private::write_public;
use vigia_kit::site::{Role, Site};

/// Which child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// A role.
    Role(Role),
    /// A simulated sensor.
    Sensor(i16),
    /// The simulated Modbus devices.
    Devices,
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Role(role) => f.write_str(role.name()),
            Self::Sensor(id) => write!(f, "sensor-{id}"),
            Self::Devices => f.write_str("devices"),
        }
    }
}

/// The file: `{"up":1,"roles":{"broker":{"pid":2,"restarts":0},…},"sensors":{"1":{…},…}}`.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Processes {
    /// The supervisor.
    pub up: u32,
    /// Roles by name.
    pub roles: BTreeMap<String, Process>,
    /// Simulated sensors by number.
    pub sensors: BTreeMap<i16, Process>,
    /// The simulated Modbus devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<Process>,
}

/// One child.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Process {
    /// Its process, while it has one.
    pub pid: Option<u32>,
    /// How often it was started after it had died.
    pub restarts: u64,
}

/// What runs, and the file that says so. The file goes when the supervisor stops in order.
#[derive(Debug)]
pub struct RunState {
    path: PathBuf,
    processes: Mutex<Processes>,
}

impl Processes {
    /// What an earlier supervisor has left, if it did not stop in order.
    pub fn read(site: &Site) -> Option<Self> {
        let text = fs::read_to_string(path(site)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The processes that were alive.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.roles
            .values()
            .chain(self.sensors.values())
            .chain(&self.devices)
            .filter_map(|process| process.pid)
    }

    fn of(&mut self, name: Name) -> &mut Process {
        match name {
            Name::Role(role) => self.roles.entry(role.name().to_owned()).or_default(),
            Name::Sensor(id) => self.sensors.entry(id).or_default(),
            Name::Devices => self.devices.get_or_insert_default(),
        }
    }
}

impl RunState {
    /// Of a site on which nothing runs yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(site: &Site) -> std::io::Result<Self> {
        site.run_dir()?;
        let processes = Processes { up: std::process::id(), ..Processes::default() };
        Ok(Self { path: path(site), processes: Mutex::new(processes) })
    }

    /// A child has been started.
    pub fn started(&self, name: Name, pid: Option<u32>) {
        self.change(name, |process| process.pid = pid);
    }

    /// A child has died and will be started again.
    pub fn died(&self, name: Name) {
        self.change(name, |process| {
            *process = Process { pid: None, restarts: process.restarts + 1 }
        });
    }

    /// A child has been stopped.
    pub fn stopped(&self, name: Name) {
        self.change(name, |process| process.pid = None);
    }

    /// How often children were started after they had died.
    pub fn restarts(&self) -> u64 {
        let processes = self.processes();
        processes
            .roles
            .values()
            .chain(processes.sensors.values())
            .chain(&processes.devices)
            .map(|process| process.restarts)
            .sum()
    }

    /// How many roles have a process now.
    pub fn running_roles(&self) -> usize {
        self.processes().roles.values().filter(|process| process.pid.is_some()).count()
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: Name, change: impl FnOnce(&mut Process)) {
        let mut processes = self.processes();
        change(processes.of(name));
        let mut text = serde_json::to_string(&*processes).expect("plain data has an encoding");
        text.push('\n');
        // The site runs without this file too.
        if let Err(error) = write_public(&self.path, &text) {
            tracing::warn!(%error, file = %self.path.display(), "cannot write");
        }
    }
}

impl Drop for RunState {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn path(site: &Site) -> PathBuf {
    site.dir().join("run").join("up.json")
}
