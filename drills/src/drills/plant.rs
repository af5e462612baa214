//! Modbus devices that fail.

use std::time::Duration;

use vigia_kit::site::Role;

use crate::plant::TROUBLED;
use crate::scene::Scene;

/// Of the broker, one right after the other.
const KILLS: u32 = 2;
const RECOVERY: Duration = Duration::from_secs(5);

/// The dead, the slow and the lying stay so throughout; one is restarted while the broker dies.
pub async fn fails(scene: &mut Scene) -> anyhow::Result<()> {
    let [dead, slow, lying, restarted] = TROUBLED;
    scene.random_moment().await;
    for (device, fault) in [(dead, "dead"), (slow, "delay:600ms"), (lying, "garbage")] {
        scene.device_does(device, fault).await?;
    }
    for _ in 0..scene.times(2) {
        scene.device_does(restarted, "dead").await?;
        scene.random_moment().await;
        // Its supervisor pauses ever longer: it is away for several ticks.
        for _ in 0..KILLS {
            scene.kill(Role::Broker).await?;
        }
        scene.recovers_within(RECOVERY).await?;
        scene.load_goes_on_for(Duration::from_secs(1)).await?;
        scene.device_is_mended(restarted).await?;
        scene.answers_again(restarted).await?;
    }
    for device in [dead, slow, lying] {
        scene.device_is_mended(device).await?;
    }
    for device in [dead, slow, lying] {
        scene.answers_again(device).await?;
    }
    Ok(())
}
