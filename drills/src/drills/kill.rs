//! kill -9.

use std::time::Duration;

use vigia_kit::site::Role;

use crate::scene::Scene;

const RECOVERY: Duration = Duration::from_secs(5);
/// Of the supervisor, before it starts again what dies at its start.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// With the start of everything.
const RECOVERY_OF_ALL: Duration = Duration::from_secs(15);

pub async fn broker(scene: &mut Scene) -> anyhow::Result<()> {
    scene.set_limits().await?;
    scene.recovers_within(RECOVERY).await?;
    for _ in 0..scene.times(5) {
        scene.random_moment().await;
        scene.kill(Role::Broker).await?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

pub async fn store(scene: &mut Scene) -> anyhow::Result<()> {
    behind_the_broker(scene, Role::Store).await
}

pub async fn verify(scene: &mut Scene) -> anyhow::Result<()> {
    behind_the_broker(scene, Role::Verify).await
}

pub async fn transform(scene: &mut Scene) -> anyhow::Result<()> {
    behind_the_broker(scene, Role::Transform).await
}

pub async fn alert(scene: &mut Scene) -> anyhow::Result<()> {
    scene.watch_limits().await?;
    scene.recovers_within(RECOVERY).await?;
    behind_the_broker(scene, Role::Alert).await
}

pub async fn modbus(scene: &mut Scene) -> anyhow::Result<()> {
    behind_the_broker(scene, Role::Modbus).await
}

async fn behind_the_broker(scene: &mut Scene, role: Role) -> anyhow::Result<()> {
    for _ in 0..scene.times(5) {
        scene.random_moment().await;
        scene.kill(role).await?;
        scene.recovers_within(RECOVERY).await?;
        scene.acknowledgements_went_on()?;
    }
    Ok(())
}

pub async fn all(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..scene.times(3) {
        scene.random_moment().await;
        let killed = scene.kill_everything().await?;
        scene.start_again(&killed).await?;
        scene.recovers_within(RECOVERY_OF_ALL).await?;
    }
    Ok(())
}

/// What rumqttd has acknowledged is still in its memory when that dies.
pub async fn broker_and_store(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..scene.times(2) {
        scene.random_moment().await;
        scene.stop_while_acknowledged(Role::Store, 500).await?;
        scene.kill(Role::Broker).await?;
        scene.kill(Role::Store).await?;
        scene.recovers_within(RECOVERY_OF_ALL).await?;
    }
    Ok(())
}

/// Its supervisor pauses 0, 0.2, 0.4, 0.8 … 10 s.
pub async fn at_start(scene: &mut Scene) -> anyhow::Result<()> {
    let times = scene.times(10);
    let pause = |nth: u32| Duration::from_millis(100 << nth.min(7)).min(LONGEST_PAUSE);
    scene.random_moment().await;
    scene.spoil_secrets(Role::Transform)?;
    scene.crashes_at_start(Role::Transform, times, (1..times).map(pause).sum()).await?;
    scene.acknowledgements_went_on()?;
    scene.repair_secrets(Role::Transform)?;
    scene.recovers_within(LONGEST_PAUSE + RECOVERY_OF_ALL).await
}
