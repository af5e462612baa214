//! A site of a drill's own: made by the real command, on a real disk, gone afterwards.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::process::Command;
use vigia_kit::config::{Config, ConfigError};
use vigia_kit::site::Role;

use crate::disk::{SMALL_RESERVE_MIB, SmallDisk};

/// File systems that a power cut empties: nothing on them is durable.
const VOLATILE: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// What a drill's site differs in from what `vigia init` makes, and what it needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Unsynced writes die with the process that made them, as in a power cut.
    pub forgetful: bool,
    /// A deliberate defect, by its name in the configuration.
    pub sabotage: Option<&'static str>,
    /// Sensors and roles reach the broker through a network that can be bad.
    pub proxied: bool,
    /// This role has a small disk of its own. Needs root.
    pub small_disk: Option<Role>,
    /// System calls are tampered with. Needs `strace`.
    pub traced: bool,
    /// Modbus devices are simulated, which the modbus role polls.
    pub plant: bool,
}

impl Settings {
    /// As `vigia init` makes it.
    pub const PLAIN: Self = Self {
        forgetful: false,
        sabotage: None,
        proxied: false,
        small_disk: None,
        traced: false,
        plant: false,
    };
}

/// See the module.
#[derive(Debug)]
pub struct Site {
    /// Unmounted before the directory goes.
    disk: Option<SmallDisk>,
    dir: TempDir,
    /// The real system's executable.
    pub executable: PathBuf,
}

/// Where the site's roles listen.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Addresses {
    /// The sensors' port.
    pub sensor: SocketAddr,
    /// The API.
    pub api: SocketAddr,
    /// The broker's, for MQTT clients.
    pub mqtt: SocketAddr,
    /// The broker's, for Prometheus.
    pub metrics: SocketAddr,
    /// The modbus role's, for Prometheus; bound by itself.
    #[serde(rename = "modbus-metrics")]
    pub modbus_metrics: Option<SocketAddr>,
}

impl Addresses {
    /// Of the site in this directory, as soon as all of them are bound.
    pub fn read(site: &Path) -> Option<Self> {
        let text = fs::read_to_string(site.join("run/addresses.json")).ok()?;
        serde_json::from_str(&text).ok()
    }
}

impl Site {
    /// Makes it, with sensors 1 to `sensors`.
    ///
    /// # Errors
    /// If there is no disk to make it on, or what the command says.
    pub async fn make(name: &str, settings: Settings, sensors: i16) -> anyhow::Result<Self> {
        let place = place()?;
        let dir = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&place)
            .with_context(|| format!("cannot make a directory in {}", place.display()))?;
        let executable = env::current_exe().context("cannot find the running program's file")?;
        let mut site = Self { disk: None, dir, executable };
        site.vigia(&[
            "init".as_ref(),
            site.path().as_os_str(),
            "--ports".as_ref(),
            "auto".as_ref(),
        ])
        .await?;
        site.configure(settings)?;
        for id in 1..=sensors {
            site.sensor("add", id).await?;
        }
        if let Some(role) = settings.small_disk {
            site.disk = Some(SmallDisk::mount(site.file(&format!("data/{}", role.name())))?);
        }
        Ok(site)
    }

    /// `vigia sensor ACTION ID`.
    ///
    /// # Errors
    /// What the command says.
    pub async fn sensor(&self, action: &str, id: i16) -> anyhow::Result<()> {
        let id = id.to_string();
        let site = self.path().as_os_str();
        let arguments = ["sensor".as_ref(), action.as_ref(), id.as_ref(), "--site".as_ref(), site];
        self.vigia(&arguments).await.map(drop)
    }

    /// `vigia sensor add ID --modbus`: the site's modbus role is the sensor.
    ///
    /// # Errors
    /// What the command says.
    pub async fn modbus_sensor(&self, id: i16, name: &str) -> anyhow::Result<()> {
        let id = id.to_string();
        let what = ["sensor", "add", &id, "--modbus", "--name", name, "--site"].map(OsStr::new);
        let arguments = [what.as_slice(), &[self.path().as_os_str()]].concat();
        self.vigia(&arguments).await.map(drop)
    }

    /// `vigia store ACTION FILE`. Returns what it printed.
    ///
    /// # Errors
    /// What the command says.
    pub async fn store(&self, action: &str, file: &Path) -> anyhow::Result<String> {
        let site = self.path().as_os_str();
        let arguments =
            ["store".as_ref(), action.as_ref(), file.as_os_str(), "--site".as_ref(), site];
        self.vigia(&arguments).await
    }

    /// The configuration as it is.
    ///
    /// # Errors
    /// If it is none.
    pub fn config(&self) -> anyhow::Result<Config> {
        Ok(Config::load(&self.file("vigia.toml"))?)
    }

    /// The small disk, of a site that was made with one.
    ///
    /// # Panics
    /// If it was not: that is a mistake in the catalog.
    pub fn small_disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("the drill's settings name a small disk")
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A file or directory in it.
    pub fn file(&self, path: &str) -> PathBuf {
        self.path().join(path)
    }

    /// Leaves the directory where it is, whatever happens.
    pub fn keep(&mut self) {
        self.dir.disable_cleanup(true);
    }

    /// What its roles have bound so far.
    pub fn addresses(&self) -> Option<Addresses> {
        Addresses::read(self.path())
    }

    async fn vigia(&self, arguments: &[&OsStr]) -> anyhow::Result<String> {
        let output =
            Command::new(&self.executable).args(arguments).kill_on_drop(true).output().await;
        let output = output.with_context(|| format!("cannot run {}", self.executable.display()))?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr);
            bail!("{} {arguments:?}: {}", self.executable.display(), words.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn configure(&self, settings: Settings) -> anyhow::Result<()> {
        let mut drills = "allowed = true\n".to_owned();
        if settings.forgetful {
            drills.push_str("unsynced = \"process\"\n");
        }
        if let Some(defect) = settings.sabotage {
            drills.push_str(&format!("sabotage = \"{defect}\"\n"));
        }
        self.set("[drills]", &drills)?;
        if settings.small_disk == Some(Role::Broker) {
            self.set("[broker]", &format!("disk_reserve_mib = {SMALL_RESERVE_MIB}\n"))?;
        }
        Ok(())
    }

    /// Writes lines into a section of the configuration.
    ///
    /// # Errors
    /// If there is no such section.
    pub fn set(&self, section: &str, lines: &str) -> anyhow::Result<()> {
        self.rewrite(&format!("\n{section}\n"), &format!("\n{section}\n{lines}"))
    }

    /// Takes lines out of a section again.
    ///
    /// # Errors
    /// If it does not begin with them.
    pub fn unset(&self, section: &str, lines: &str) -> anyhow::Result<()> {
        self.rewrite(&format!("\n{section}\n{lines}"), &format!("\n{section}\n"))
    }

    fn rewrite(&self, old: &str, new: &str) -> anyhow::Result<()> {
        let file = self.file("vigia.toml");
        let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
        if text.matches(old).count() != 1 {
            bail!("{} has no section {:?} to change", file.display(), old.trim());
        }
        fs::write(&file, text.replace(old, new)).with_context(|| format!("{}", file.display()))
    }
}

/// Where sites of drills are made: with the build, if there is one here, or where temporary files go.
fn place() -> anyhow::Result<PathBuf> {
    let here = env::current_dir().context("cannot tell the current directory")?;
    let built = here.join("target");
    let place = if built.is_dir() { built.join("drills") } else { env::temp_dir() };
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let place = fs::canonicalize(&place).with_context(|| format!("{}", place.display()))?;
    let kind = rustix::fs::statfs(&place).with_context(|| format!("{}", place.display()))?.f_type;
    if VOLATILE.contains(&(kind as u64)) {
        return Err(ConfigError(format!(
            "{} is in memory (tmpfs), where nothing is durable: run the drill in a directory on a disk, \
             or let TMPDIR name one",
            place.display()
        ))
        .into());
    }
    Ok(place)
}
