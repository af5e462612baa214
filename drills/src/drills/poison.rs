//! Messages of which their reader dies.

use std::time::Duration;

use vigia_kit::limits::DEATHS_OF_POISON;
use vigia_kit::site::Role;

use crate::scene::Scene;

/// With the supervisor's pauses.
const RECOVERY: Duration = Duration::from_secs(10);

pub async fn is_quarantined(scene: &mut Scene) -> anyhow::Result<()> {
    scene.fault_ends()?;
    let mut already = 0;
    for role in [Role::Verify, Role::Transform] {
        scene.dies_by_itself(role, DEATHS_OF_POISON as u64).await?;
        scene
            .ledger_shows("readings in quarantine", |books| {
                let now = books.readings.quarantined;
                (now > already).then(|| now.to_string())
            })
            .await?;
        already = scene.quarantined().await?;
    }
    scene.recovers_within(RECOVERY).await?;
    scene.acknowledgements_went_on()?;
    for role in [Role::Verify, Role::Transform] {
        scene.has_died(role, DEATHS_OF_POISON as u64)?;
    }
    Ok(())
}
