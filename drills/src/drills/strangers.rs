//! Sensors that must not be let in.

use std::time::Duration;

use crate::scene::Scene;

const RECOVERY: Duration = Duration::from_secs(5);
/// Acknowledged to those who were let in before they were not.
const SERVED: u64 = 200;

pub async fn are_refused(scene: &mut Scene) -> anyhow::Result<()> {
    scene.random_moment().await;
    scene.fault_ends()?;
    let revoked = scene.register(101).await?;
    let rotated = scene.register(102).await?;
    scene.admit(101, revoked)?;
    scene.admit(102, rotated)?;
    scene.is_served(101, SERVED).await?;
    scene.is_served(102, SERVED).await?;
    scene.refuses(101, "revoked", async |scene| scene.restart_after("revoke", 101).await).await?;
    let old = async |scene: &mut Scene| scene.restart_after("rotate", 102).await;
    scene.refuses(102, "with the key of an old epoch", old).await?;
    let key = scene.register(103).await?;
    let other = format!("key = \"{}\"", "5a".repeat(32));
    let wrong = scene.forge(&key, "key", &other)?;
    scene.refuses(103, "with a wrong key", async |scene| scene.admit(103, wrong)).await?;
    let unknown = scene.forge(&key, "sensor", "sensor = 104")?;
    scene.refuses(104, "unknown", async |scene| scene.admit(104, unknown)).await?;
    scene.acknowledgements_went_on()?;
    scene.fault_ends()?;
    scene.recovers_within(RECOVERY).await
}
