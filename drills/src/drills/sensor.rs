//! Sensors that die.

use std::time::Duration;

use crate::scene::Scene;

const DOWN: Duration = Duration::from_secs(60);
const RECOVERY: Duration = Duration::from_secs(15);

pub async fn restart(scene: &mut Scene) -> anyhow::Result<()> {
    let half = scene.down_time(DOWN) / 2;
    scene.random_moment().await;
    let stopped = scene.stop_system().await?;
    scene.nobody_answers_for(half).await?;
    scene.restart_sensors().await?;
    scene.nobody_answers_for(half).await?;
    scene.fault_ends()?;
    scene.start_again(&stopped).await?;
    scene.recovers_within(RECOVERY).await
}
