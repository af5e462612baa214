//! Clocks that are wrong.

use std::time::Duration;

use crate::scene::{Clock, Scene};

const WRONG_BY: Duration = Duration::from_secs(60 * 60);
const RECOVERY: Duration = Duration::from_secs(5);
/// Of each sensor, taken at the load's pace.
const READINGS: u64 = 1_000;

pub async fn are_wrong(scene: &mut Scene) -> anyhow::Result<()> {
    scene.random_moment().await;
    scene.fault_ends()?;
    for (id, clock) in [(101, Clock::Fast(WRONG_BY)), (102, Clock::Slow(WRONG_BY))] {
        scene.admits_with_clock(id, clock, READINGS).await?;
    }
    for id in [101, 102] {
        scene.is_served(id, READINGS).await?;
        scene.is_marked_as_skewed(id).await?;
    }
    scene.acknowledgements_went_on()?;
    scene.fault_ends()?;
    scene.recovers_within(RECOVERY).await
}
