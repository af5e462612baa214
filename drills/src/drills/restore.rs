//! The store's disk, and its backup.

use std::time::Duration;

use crate::scene::Scene;

/// Stored between the backup and the restore, at least.
const MORE: u64 = 1_000;
const RECOVERY: Duration = Duration::from_secs(15);

/// A second backup is taken of a store that came of one.
pub async fn store(scene: &mut Scene) -> anyhow::Result<()> {
    for nth in 1..=scene.times(2) {
        scene.random_moment().await;
        scene.back_up(&format!("backup-{nth}")).await?;
        scene.more_is_stored(MORE).await?;
        let stopped = scene.stop_system().await?;
        scene.restore(&format!("backup-{nth}")).await?;
        scene.start_again(&stopped).await?;
        scene.recovers_within(RECOVERY).await?;
        scene.is_filled_again().await?;
    }
    Ok(())
}
