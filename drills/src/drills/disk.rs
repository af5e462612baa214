//! Full disks and failing ones.

use std::time::Duration;

use vigia_kit::site::Role;

use crate::scene::Scene;

/// Acknowledged to the first sensor before its readings are looked at: some of its blocks are full by then.
const SERVED: u64 = 2_500;
const DOWN: Duration = Duration::from_secs(5);
/// Of the supervisor, before it starts again what dies at its start; and the start.
const RECOVERY: Duration = Duration::from_secs(20);

/// Nearly full, nothing more is taken; wholly full, the broker ends. Both pass when there is room.
pub async fn of_the_journal_is_full(scene: &mut Scene) -> anyhow::Result<()> {
    let down = scene.down_time(DOWN);
    scene.random_moment().await;
    scene.fill_disk(8)?;
    scene.falls_silent().await?;
    scene.nobody_answers_for(down).await?;
    scene.clear_disk()?;
    scene.recovers_within(RECOVERY).await?;
    let pids = scene.pids();
    scene.random_moment().await;
    scene.fill_disk(0)?;
    scene.falls_silent().await?;
    scene.nobody_answers_for(down).await?;
    scene.clear_disk()?;
    scene.recovers_within(RECOVERY).await?;
    scene.tells_who_was_replaced(&pids);
    Ok(())
}

pub async fn of_the_store_is_full(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..scene.times(2) {
        let pids = scene.pids();
        scene.random_moment().await;
        scene.fill_disk(0)?;
        scene.ends_by_itself(Role::Store, &pids).await?;
        scene.load_goes_on_for(scene.down_time(DOWN)).await?;
        scene.acknowledgements_went_on()?;
        scene.clear_disk()?;
        scene.is_replaced(Role::Store, &pids).await?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

/// Of each file, one bit at a time.
pub async fn turns_bits_over(scene: &mut Scene) -> anyhow::Result<()> {
    scene.fault_ends()?;
    scene.is_served(1, SERVED).await?;
    let kept = scene.rests_with_everything_stored().await?;
    for _ in 0..scene.times(8) {
        for file in ["store/store.redb", "broker/journal.redb"] {
            scene.bears_a_bit_in(&kept, file).await?;
        }
    }
    scene.goes_on_with(&kept).await
}

pub async fn of_the_journal_fails(scene: &mut Scene) -> anyhow::Result<()> {
    fails(scene, Role::Broker).await
}

pub async fn of_the_store_fails(scene: &mut Scene) -> anyhow::Result<()> {
    fails(scene, Role::Store).await
}

async fn fails(scene: &mut Scene, role: Role) -> anyhow::Result<()> {
    for nth in 1..=scene.times(10) {
        scene.random_moment().await;
        scene.fail_sync(role, nth).await?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}
