//! Sensors that die.

use std::time::Duration;

use crate::scene::Scene;

/// The sensor to which it happens.
const ONE: i16 = 1;
/// A sensor and its clone throw each other out so long.
const TOGETHER: Duration = Duration::from_secs(10);
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

pub async fn forgets(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..scene.times(3) {
        scene.random_moment().await;
        scene.kill_sensor(ONE).await?;
        scene.lose_spool(ONE)?;
        scene.start_sensors()?;
        scene.opens_a_new_stream(ONE).await?;
        scene.fault_ends()?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

/// Between the copy and its return the sensor has gone on, so that the copy is of the past.
pub async fn is_rolled_back(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..scene.times(3) {
        scene.random_moment().await;
        scene.kill_sensor(ONE).await?;
        let copy = scene.copy_spool(ONE)?;
        scene.start_sensors()?;
        scene.random_moment().await;
        scene.random_moment().await;
        scene.kill_sensor(ONE).await?;
        scene.restore_spool(ONE, &copy)?;
        scene.start_sensors()?;
        scene.opens_a_new_stream(ONE).await?;
        scene.fault_ends()?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

pub async fn is_cloned(scene: &mut Scene) -> anyhow::Result<()> {
    scene.random_moment().await;
    scene.kill_sensor(ONE).await?;
    scene.comes_back_twice(ONE).await?;
    scene.opens_a_new_stream(ONE).await?;
    scene.load_goes_on_for(scene.down_time(TOGETHER)).await?;
    scene.fault_ends()?;
    scene.recovers_within(RECOVERY).await
}
