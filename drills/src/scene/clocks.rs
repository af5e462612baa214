//! Sensors whose clocks are wrong.

use std::fmt::Write;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};

use super::Scene;
use crate::wait;

const STORED_WITHIN: Duration = Duration::from_secs(10);

/// How a clock is wrong.
#[derive(Debug, Clone, Copy)]
pub enum Clock {
    /// By so much ahead.
    Fast(Duration),
    /// By so much behind.
    Slow(Duration),
}

impl Clock {
    fn shows(self, time: Timestamp) -> anyhow::Result<Timestamp> {
        let signed = |by: Duration| SignedDuration::try_from(by);
        Ok(match self {
            Self::Fast(by) => time.checked_add(signed(by)?)?,
            Self::Slow(by) => time.checked_sub(signed(by)?)?,
        })
    }
}

impl Scene {
    /// One more sensor, that takes so many readings by such a clock.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn admits_with_clock(
        &mut self,
        id: i16,
        clock: Clock,
        readings: u64,
    ) -> anyhow::Result<()> {
        let key = self.register(id).await?;
        let pace = SignedDuration::from_secs(1) / self.drill.load.hertz.cast_signed();
        let mut time = clock.shows(Timestamp::now())?;
        let mut text = "time,temperature,pressure,humidity\n".to_owned();
        for number in 0..readings {
            writeln!(text, "{time},{},1013,46", 20.0 + number as f32 / 1000.0)?;
            time = time.checked_add(pace)?;
        }
        let file = self.site.file(&format!("measured-{id}.csv"));
        fs::write(&file, text).with_context(|| format!("{}", file.display()))?;
        self.load.add_recorded(id, key, file);
        self.load.start_blindly()?;
        self.say(&format!("sensor {id}: its clock is {clock:?}"));
        Ok(())
    }

    /// Waits until the sensor's newest reading is stored with the mark that clocks differ.
    ///
    /// # Errors
    /// If it has none.
    pub async fn is_marked_as_skewed(&mut self, id: i16) -> anyhow::Result<()> {
        let what = || format!("sensor {id}'s readings are marked as skewed");
        wait::until(STORED_WITHIN, what, async || {
            Ok(self.api.is_skewed(id).await.is_ok_and(|skewed| skewed).then_some(()))
        })
        .await?;
        self.saw(format!("sensor {id}: its newest reading is marked as skewed"));
        Ok(())
    }
}
