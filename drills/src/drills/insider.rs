//! Somebody with an MQTT account of the site.

use std::time::Duration;

use crate::scene::Scene;

const RECOVERY: Duration = Duration::from_secs(5);

pub async fn is_refused(scene: &mut Scene) -> anyhow::Result<()> {
    let pids = scene.pids();
    let recorded = scene.records_every_arrow().await?;
    scene.random_moment().await;
    scene.fault_ends()?;
    scene.hears_nothing_of_others().await?;
    scene.publishes_without_permission(&recorded).await?;
    let mut for_store = 0;
    for _ in 0..scene.times(3) {
        scene.random_moment().await;
        for_store += scene.forges_with_permission(&recorded).await?;
        scene.plays_messages_again(&recorded).await?;
    }
    scene.store_drops(for_store).await?;
    scene.acknowledgements_went_on()?;
    scene.fault_ends()?;
    scene.recovers_within(RECOVERY).await?;
    scene.nobody_has_died(&pids)
}
