//! Sensors that are on a site for a drill only.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use vigia_kit::config::ConfigError;
use vigia_kit::sensors::{Holder, Sensors};
use vigia_kit::site::Site;
use vigia_protocol::header::SensorId;

/// Registered by the real command; revoked, whatever happens, when this is dropped.
#[derive(Debug)]
pub struct Guests {
    executable: PathBuf,
    site: Site,
    ids: Vec<i16>,
}

impl Guests {
    /// So many, with the highest numbers that are free.
    ///
    /// # Errors
    /// If no numbers are free, or what the command says.
    pub fn register(executable: PathBuf, site: &Site, count: usize) -> anyhow::Result<Self> {
        let known = Sensors::of(site).all()?;
        let free = (i16::MIN..=i16::MAX).rev().filter(|id| !known.contains_key(&SensorId(*id)));
        let mut guests = Self { executable, site: site.clone(), ids: Vec::new() };
        for id in free.take(count) {
            guests.command(id, &["add", "--name", "drill"])?;
            guests.ids.push(id);
        }
        if guests.ids.len() < count {
            return Err(ConfigError("the site has no free sensor numbers".to_owned()).into());
        }
        Ok(guests)
    }

    /// Their numbers and the files of their keys.
    pub fn keys(&self) -> impl Iterator<Item = (i16, PathBuf)> {
        self.ids
            .iter()
            .map(|id| (*id, Sensors::of(&self.site).device_path(SensorId(*id), Holder::Device)))
    }

    /// `vigia sensor …`, to its end: a destructor cannot wait otherwise.
    fn command(&self, id: i16, action: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.executable);
        command.arg("sensor").args(action).arg(id.to_string());
        command.arg("--site").arg(self.site.dir()).stdin(Stdio::null());
        // Another Ctrl-C is not for it.
        let output = command.process_group(0).output();
        let output = output.with_context(|| format!("cannot run {}", self.executable.display()))?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "'vigia sensor {}' of {id}: {}", action[0], words.trim());
        Ok(())
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        for (id, key) in self.keys() {
            if let Err(error) = self.command(id, &["revoke"]) {
                eprintln!(
                    "vigia: sensor {id} was added for a drill and is to be revoked: {error:#}"
                );
            }
            let _ = fs::remove_file(key);
        }
    }
}
