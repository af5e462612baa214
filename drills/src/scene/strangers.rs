//! Sensors that must not be let in, and sensors whose memory is not what it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

use super::Scene;
use crate::load::{Load, copy_files};
use crate::wait;

const REFUSED: &str = "connection refused at the sensor port";
const REFUSED_WITHIN: Duration = Duration::from_secs(15);
const SETTLED_WITHIN: Duration = Duration::from_secs(30);

impl Scene {
    /// Registers one more sensor, which does not run yet.
    ///
    /// # Errors
    /// What the command says.
    pub async fn register(&mut self, id: i16) -> anyhow::Result<PathBuf> {
        self.site.sensor("add", id).await?;
        let key = self.site.file(&format!("devices/{id}.key"));
        // Rotating writes a new one in its place.
        let kept = self.site.file(&format!("devices/{id}.kept"));
        fs::copy(&key, &kept).with_context(|| format!("cannot copy {}", key.display()))?;
        Ok(kept)
    }

    /// Another key file, with one line changed.
    ///
    /// # Errors
    /// If there is no such line.
    pub fn forge(&self, key: &Path, name: &str, line: &str) -> anyhow::Result<PathBuf> {
        let text = fs::read_to_string(key).with_context(|| format!("{}", key.display()))?;
        let is_it = |candidate: &&str| candidate.split('=').next().map(str::trim) == Some(name);
        let old = text.lines().find(is_it).with_context(|| format!("no {name} in a key file"))?;
        let forged = key.with_extension("forged");
        fs::copy(key, &forged)?;
        fs::write(&forged, text.replace(old, line))?;
        Ok(forged)
    }

    /// Runs a sensor with this key, from which nothing is expected.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn admit(&mut self, id: i16, key: PathBuf) -> anyhow::Result<()> {
        self.load.add(id, key, false);
        self.load.start_blindly()
    }

    /// Waits until the sensor has been acknowledged so many.
    ///
    /// # Errors
    /// If it is not.
    pub async fn is_served(&mut self, id: i16, readings: u64) -> anyhow::Result<()> {
        let what = || format!("sensor {id} is served");
        wait::until(SETTLED_WITHIN, what, async || {
            self.listen()?;
            let served = self.load.truth(id).map_or(0, crate::truth::Truth::acknowledgements);
            Ok((served >= readings).then_some(()))
        })
        .await
    }

    /// `vigia sensor ACTION ID`, and the sensor starts again with what it has.
    ///
    /// # Errors
    /// What the command says.
    pub async fn restart_after(&mut self, action: &str, id: i16) -> anyhow::Result<()> {
        self.site.sensor(action, id).await?;
        self.load.kill(|own| own == id).await?;
        self.load.start_blindly()?;
        self.say(&format!("sensor {id}: {action}"));
        Ok(())
    }

    /// Does that, and waits until more connections were refused than before; and meanwhile nothing is
    /// acknowledged to this sensor.
    ///
    /// # Errors
    /// If that does not come.
    pub async fn refuses(
        &mut self,
        id: i16,
        why: &str,
        act: impl AsyncFnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let served = |scene: &mut Self| -> anyhow::Result<u64> {
            scene.load.catch_up()?;
            Ok(scene.load.truth(id).map_or(0, crate::truth::Truth::acknowledgements))
        };
        act(self).await?;
        let (before, refused) = (served(self)?, self.system.said(REFUSED));
        let what = || format!("sensor {id} ({why}) is refused");
        // More than one: the first may be another's.
        let count = wait::until(REFUSED_WITHIN, what, async || {
            self.listen()?;
            Ok(Some(self.system.said(REFUSED)).filter(|now| *now >= refused + 3))
        })
        .await?;
        let after = served(self)?;
        ensure!(before == after, "sensor {id} ({why}) was acknowledged {}", after - before);
        self.saw(format!("sensor {id} ({why}): {} connections refused", count - refused));
        self.load.retire(id).await
    }

    /// kill -9 of one sensor.
    ///
    /// # Errors
    /// If it does not die.
    pub async fn kill_sensor(&mut self, id: i16) -> anyhow::Result<()> {
        self.load.kill(|own| own == id).await?;
        Ok(())
    }

    /// Takes a dead sensor's memory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn lose_spool(&mut self, id: i16) -> anyhow::Result<()> {
        self.load.destroy_spool(id)
    }

    /// Copies a dead sensor's memory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn copy_spool(&mut self, id: i16) -> anyhow::Result<PathBuf> {
        let copy = self.site.file(&format!("spools/{id}-copy"));
        copy_files(&self.load.spool(id), &copy)?;
        Ok(copy)
    }

    /// Puts a copy of its memory in the place of a dead sensor's.
    ///
    /// # Errors
    /// What the file system says.
    pub fn restore_spool(&mut self, id: i16, copy: &Path) -> anyhow::Result<()> {
        self.load.destroy_spool(id)?;
        copy_files(copy, &self.load.spool(id))
    }

    /// Runs the sensors that do not run.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_sensors(&mut self) -> anyhow::Result<()> {
        self.load.start_blindly()
    }

    /// Waits until the sensor is acknowledged something in a newer stream than it had.
    ///
    /// # Errors
    /// If it stays in its old one.
    pub async fn opens_a_new_stream(&mut self, id: i16) -> anyhow::Result<()> {
        let (old, _) = self.load.truth(id).map_or((0, 0), crate::truth::Truth::front);
        let load = &mut self.load;
        let what = || format!("sensor {id} opens a stream after {old}");
        let new = wait::until(SETTLED_WITHIN, what, async || {
            load.catch_up()?;
            Ok(load.truth(id).map(|truth| truth.front().0).filter(|stream| *stream > old))
        })
        .await?;
        self.saw(format!("sensor {id} goes on in stream {new}, after {old}"));
        Ok(())
    }

    /// A dead sensor comes back twice, each with the same memory. Returns when both were acknowledged
    /// something, so that both have been let in.
    ///
    /// # Errors
    /// If one is not.
    pub async fn comes_back_twice(&mut self, id: i16) -> anyhow::Result<()> {
        self.load.clone_sensor(id)?;
        self.load.catch_up()?;
        let served = |load: &Load| -> Vec<u64> {
            let both = load.truths().filter(|(own, _)| *own == id);
            both.map(|(_, file)| file.truth.acknowledgements()).collect()
        };
        let before = served(&self.load);
        self.load.start_blindly()?;
        let load = &mut self.load;
        let what = || format!("sensor {id} and its clone are both served");
        let after = wait::until(SETTLED_WITHIN, what, async || {
            load.catch_up()?;
            let after = served(load);
            Ok(after.iter().zip(&before).all(|(after, before)| after > before).then_some(after))
        })
        .await?;
        self.saw(format!("sensor {id} and its clone were acknowledged {before:?}, now {after:?}"));
        Ok(())
    }
}
