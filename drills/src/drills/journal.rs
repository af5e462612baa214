//! The journal's disk.

use std::time::Duration;

use crate::scene::Scene;

const RECOVERY: Duration = Duration::from_secs(15);

pub async fn lose(scene: &mut Scene) -> anyhow::Result<()> {
    scene.random_moment().await;
    let journals = scene.journals().await?;
    let killed = scene.kill_everything().await?;
    scene.destroy("data/broker/journal.redb")?;
    scene.start_again(&killed).await?;
    scene.recovers_within(RECOVERY).await?;
    scene
        .ledger_shows("a new journal", |books| {
            books.journals.iter().map(|one| one.journal.clone()).find(|one| !journals.contains(one))
        })
        .await?;
    scene
        .ledger_shows("a log whose journal is gone", |books| {
            books.orphaned_logs.first().map(|log| log.log.clone())
        })
        .await
}
