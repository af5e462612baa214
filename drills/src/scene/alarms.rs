//! Limits that the load crosses.

use std::fs::OpenOptions;
use std::io::Write;

use anyhow::Context;
use vigia_kit::site::Role;

use super::Scene;
use crate::alarms::{Alarms, Limit, PRESSURE, RULE};
use crate::truth::TruthFile;

/// Little enough for noise to cross it there and back many times a minute.
const HYSTERESIS: f64 = 0.0078125;
/// Half the distance of two neighbouring f32 around 1000: no pressure equals a limit, nor does the decimal
/// number as which it is shown and compared.
const BETWEEN: f64 = 0.000030517578125;

impl Scene {
    /// Puts a limit at every sensor's present pressure, where it is crossed all the time, and kills alert,
    /// which so learns of the limits. Judged at the end is what the API says of the alarms.
    ///
    /// # Errors
    /// If the configuration cannot be changed.
    pub async fn set_limits(&mut self) -> anyhow::Result<()> {
        self.configure_limits()?;
        self.kill(Role::Alert).await
    }

    /// As [`Scene::set_limits`], and listens for alarms: judged is every one. Only while the broker lives.
    ///
    /// # Errors
    /// If the configuration cannot be changed, or the broker not be reached.
    pub async fn watch_limits(&mut self) -> anyhow::Result<()> {
        self.configure_limits()?;
        let mut alarms = Alarms::listen(&self.site, self.limits.clone()).await?;
        self.kill(Role::Alert).await?;
        self.load.catch_up()?;
        let newest = |file: &TruthFile| file.truth.sent.keys().max().copied().unwrap_or_default();
        // What was not sent when the old process was dead, only the new one can have looked at.
        let unsent = |file: &TruthFile| (newest(file).0, newest(file).1 + 1);
        alarms.known_from(self.load.truths().map(|(id, file)| (id, unsent(file))).collect());
        self.alarms = Some(alarms);
        Ok(())
    }

    fn configure_limits(&mut self) -> anyhow::Result<()> {
        self.load.catch_up()?;
        let mut text = String::new();
        for (sensor, file) in self.load.truths() {
            let newest = file.truth.sent.iter().max_by_key(|(place, _)| **place);
            let high = newest.and_then(|(_, newest)| newest.values[PRESSURE]);
            let high = f64::from(high.context("a sensor has no pressure yet")?) + BETWEEN;
            self.limits.push(Limit { sensor, high, hysteresis: HYSTERESIS });
            text.push_str(&format!(
                "\n[[alert.limits]]\nname = \"{RULE}\"\nsensor = {sensor}\nquantity = \"pressure\"\n\
                 high = {high:?}\nhysteresis = {HYSTERESIS}\n"
            ));
        }
        let mut file = OpenOptions::new().append(true).open(self.site.file("vigia.toml"))?;
        file.write_all(text.as_bytes()).context("cannot configure limits")
    }
}
