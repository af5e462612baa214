//! SIGSTOP and SIGTERM.

use std::time::Duration;

use vigia_kit::site::Role;
use vigia_protocol::limits::BUS_LOG_BYTES;

use crate::scene::Scene;

/// No line of `text` is shorter: its two times, its names and its numbers are there always.
const LEAST_TEXT_BYTES: u64 = 200;
const BROKER_BYTES: u64 = 150 << 20;
/// With the backlog in front of what comes new.
const RECOVERY: Duration = Duration::from_secs(30);

pub async fn store(scene: &mut Scene) -> anyhow::Result<()> {
    let log_bytes = BUS_LOG_BYTES as u64;
    let readings = (3 * log_bytes).div_ceil(LEAST_TEXT_BYTES);
    scene.random_moment().await;
    scene.stop_while_acknowledged(Role::Store, readings).await?;
    scene.saw(format!(
        "that is at least {} bytes of text, {} times the broker's log of {log_bytes}",
        readings * LEAST_TEXT_BYTES,
        readings * LEAST_TEXT_BYTES / log_bytes
    ));
    scene.recovers_within(RECOVERY).await?;
    scene.acknowledgements_went_on()?;
    scene.memory_stays_below(Role::Broker, BROKER_BYTES)
}

pub async fn in_any_order(scene: &mut Scene) -> anyhow::Result<()> {
    for _ in 0..scene.times(5) {
        scene.random_moment().await;
        let stopped = scene.terminate_everything().await?;
        scene.start_again(&stopped).await?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}
