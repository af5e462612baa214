//! Power off.

use std::time::Duration;

use crate::scene::Scene;

const RECOVERY: Duration = Duration::from_secs(15);

/// Half of the sensors stay, and deliver again what was not stored; the others can not.
pub async fn off(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..scene.times(3) {
        let logs = scene.logs().await?;
        scene.random_moment().await;
        let killed = scene.cut_the_power(|sensor| sensor % 2 == 0).await?;
        scene.start_again(&killed).await?;
        scene.recovers_within(RECOVERY).await?;
        scene
            .ledger_shows("the log of the new opening", |books| {
                books.logs.iter().map(|log| log.log.clone()).find(|log| !logs.contains(log))
            })
            .await?;
    }
    Ok(())
}
