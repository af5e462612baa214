//! The router inside the broker.

use std::time::Duration;

use vigia_kit::site::Role;

use crate::scene::Scene;

const REPLACED: Duration = Duration::from_secs(20);
const RECOVERY: Duration = Duration::from_secs(15);

pub async fn hangs(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..scene.times(2) {
        let pids = scene.pids();
        scene.random_moment().await;
        let hanging = scene.hang_router().await?;
        scene.watchdog_notices(hanging).await?;
        scene.is_replaced(Role::Broker, &pids).await?;
        scene.took_at_most(REPLACED)?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}
