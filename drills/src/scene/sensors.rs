//! What is done to sensors.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::Scene;
use crate::wait;

/// Nothing new is taken any more, and what was under way has been answered.
const SILENT_FOR: Duration = Duration::from_secs(1);
const SILENT_WITHIN: Duration = Duration::from_secs(10);

impl Scene {
    /// Waits until acknowledgements have ended.
    ///
    /// # Errors
    /// If they go on.
    pub async fn falls_silent(&mut self) -> anyhow::Result<()> {
        let mut last = (0, Instant::now());
        let load = &mut self.load;
        let what = || "nothing is acknowledged any more".to_owned();
        wait::until(SILENT_WITHIN, what, async || {
            load.catch_up()?;
            let now = load.acknowledgements();
            if now != last.0 {
                last = (now, Instant::now());
            }
            Ok((last.1.elapsed() >= SILENT_FOR).then_some(()))
        })
        .await
    }

    /// Lets the load run, and listens for how long sensors are kept waiting.
    ///
    /// # Errors
    /// What the file system says.
    pub async fn load_goes_on_for(&mut self, time: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < time {
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.listen()?;
        }
        Ok(())
    }

    /// Lets the load run with nobody to answer.
    ///
    /// # Errors
    /// If somebody answers.
    pub async fn nobody_answers_for(&mut self, time: Duration) -> anyhow::Result<()> {
        self.load.catch_up()?;
        let before = self.load.acknowledgements();
        tokio::time::sleep(time).await;
        self.load.catch_up()?;
        let after = self.load.acknowledgements();
        ensure!(before == after, "{} were acknowledged by nobody", after - before);
        Ok(())
    }

    /// kill -9 of all sensors, which then start again with the spools they have.
    ///
    /// # Errors
    /// If they do not die, or cannot be started.
    pub async fn restart_sensors(&mut self) -> anyhow::Result<()> {
        let killed = self.load.kill(|_| true).await?;
        self.load.start_blindly()?;
        let pairs: Vec<String> = killed
            .iter()
            .zip(self.load.processes())
            .map(|((id, old), (_, new))| format!("{id}: {old} → {new}"))
            .collect();
        self.saw(format!("sensors killed and started again: {}", pairs.join(", ")));
        Ok(())
    }
}
