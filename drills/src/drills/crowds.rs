//! Crowds at the ports.

use std::time::Duration;

use vigia_kit::site::Role;

use crate::scene::Scene;

const RECOVERY: Duration = Duration::from_secs(5);
const FLOOD_CONNECTIONS: usize = 5_000;
const FLOOD: Duration = Duration::from_secs(10);
const FUZZ: Duration = Duration::from_secs(60);
/// Slow connections at each port, and how long one of them may be borne.
const SLOW: usize = 50;
const BORNE: Duration = Duration::from_secs(35);
const BROKER_BYTES: u64 = 150 << 20;
const ROLE_BYTES: u64 = 200 << 20;

pub async fn flood(scene: &mut Scene) -> anyhow::Result<()> {
    let pids = scene.pids();
    scene.random_moment().await;
    scene.is_flooded(FLOOD_CONNECTIONS, scene.time(FLOOD)).await?;
    scene.recovers_within(RECOVERY).await?;
    scene.acknowledgements_went_on()?;
    scene.memory_stays_below(Role::Broker, BROKER_BYTES)?;
    scene.nobody_has_died(&pids)
}

pub async fn crawl(scene: &mut Scene) -> anyhow::Result<()> {
    let pids = scene.pids();
    scene.random_moment().await;
    scene.is_crawled_upon(SLOW, BORNE).await?;
    scene.recovers_within(RECOVERY).await?;
    scene.acknowledgements_went_on()?;
    scene.nobody_has_died(&pids)
}

pub async fn babble(scene: &mut Scene) -> anyhow::Result<()> {
    let pids = scene.pids();
    scene.random_moment().await;
    scene.is_babbled_at(scene.time(FUZZ)).await?;
    scene.recovers_within(RECOVERY).await?;
    scene.acknowledgements_went_on()?;
    scene.all_memory_stays_below(ROLE_BYTES)?;
    scene.nobody_has_died(&pids)
}
