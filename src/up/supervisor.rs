//! All children of a site: who is started, and in which order they are stopped.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;
use vigia_kit::config::ConfigError;
use vigia_kit::site::{Role, Site};

use super::keeper::{Kept, Program, Refusal};
use super::run_state::{Name, RunState};
use crate::exit::{self, Unavailable};

/// From the sensors' end on, and the broker last, because all others talk by it. Any order is safe.
const STOP_ORDER: [Role; 6] =
    [Role::Modbus, Role::Alert, Role::Verify, Role::Transform, Role::Store, Role::Broker];

/// The children.
#[derive(Debug)]
pub struct Supervisor {
    executable: PathBuf,
    site_dir: PathBuf,
    state: Arc<RunState>,
    refusals: mpsc::UnboundedReceiver<Refusal>,
    refuse: mpsc::UnboundedSender<Refusal>,
    roles: Vec<(Role, Kept)>,
    sensors: Vec<Kept>,
    devices: Option<Kept>,
}

impl Supervisor {
    /// Without children yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(site: &Site) -> anyhow::Result<Self> {
        let (refuse, refusals) = mpsc::unbounded_channel();
        Ok(Self {
            executable: env::current_exe().context("cannot find the running program's file")?,
            site_dir: site.dir().to_owned(),
            state: Arc::new(RunState::new(site).context("cannot make the run directory")?),
            refusals,
            refuse,
            roles: Vec::new(),
            sensors: Vec::new(),
            devices: None,
        })
    }

    /// Starts a role and keeps it alive.
    pub fn start_role(&mut self, role: Role) {
        let arguments: Vec<OsString> = vec![
            role.name().into(),
            "--site".into(),
            self.site_dir.clone().into(),
            "--supervised".into(),
            std::process::id().to_string().into(),
        ];
        let kept = self.start(Name::Role(role), arguments);
        self.roles.push((role, kept));
    }

    /// Starts a simulated sensor and keeps it alive.
    pub fn start_sensor(&mut self, id: i16, program: PathBuf, arguments: Vec<OsString>) {
        let leash =
            ["leash".into(), "--to".into(), std::process::id().to_string().into(), "--".into()];
        let arguments = leash.into_iter().chain([program.into()]).chain(arguments).collect();
        let kept = self.start(Name::Sensor(id), arguments);
        self.sensors.push(kept);
    }

    /// Starts the simulated Modbus devices, which are this program, and keeps them alive.
    pub fn start_devices(&mut self, arguments: Vec<OsString>) {
        let leash =
            ["leash".into(), "--to".into(), std::process::id().to_string().into(), "--".into()];
        let own = [self.executable.clone().into()];
        let arguments = leash.into_iter().chain(own).chain(arguments).collect();
        self.devices = Some(self.start(Name::Devices, arguments));
    }

    fn start(&self, name: Name, arguments: Vec<OsString>) -> Kept {
        let program = Program { name, path: self.executable.clone(), arguments };
        Kept::start(program, Arc::clone(&self.state), self.refuse.clone())
    }

    /// Waits for a child that refuses to work; its sentence becomes the supervisor's. Children that
    /// die later are repaired and never show here.
    pub async fn refusal(&mut self) -> anyhow::Error {
        let Refusal { name, code, words } =
            self.refusals.recv().await.expect("the supervisor holds a sender");
        let words = words.strip_prefix("vigia: ").unwrap_or(&words);
        let sentence = format!("{name} does not start: {words}");
        match code {
            exit::USAGE => ConfigError(sentence).into(),
            _ => Unavailable(sentence).into(),
        }
    }

    /// What runs now.
    pub fn state(&self) -> Arc<RunState> {
        Arc::clone(&self.state)
    }

    /// How often children were started after they had died.
    pub fn restarts(&self) -> u64 {
        self.state.restarts()
    }

    /// Stops the sensors, all at once: they take nothing new and deliver what they hold.
    pub async fn stop_sensors(&mut self) {
        let stopping: Vec<_> =
            self.sensors.drain(..).map(|kept| tokio::spawn(kept.stop())).collect();
        for sensor in stopping {
            let _ = sensor.await;
        }
    }

    /// Stops everything in order.
    pub async fn stop(mut self) {
        self.stop_sensors().await;
        for role in STOP_ORDER {
            while let Some(index) = self.roles.iter().position(|(kept, _)| *kept == role) {
                self.roles.swap_remove(index).1.stop().await;
            }
        }
        if let Some(devices) = self.devices {
            devices.stop().await;
        }
    }
}
