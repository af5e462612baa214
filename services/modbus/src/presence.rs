//! That the role is there: a connection to the bus, by which people and health checks see it.

use vigia_kit::bus::{BusError, BusLogin, Producer};
use vigia_kit::limits::RECONNECT_PAUSE;

/// Stays connected, for ever.
pub async fn show(login: BusLogin) {
    let mut pause = RECONNECT_PAUSE.0;
    loop {
        let Err(error) = stay(&login, &mut pause).await;
        tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "connecting again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_PAUSE.1);
    }
}

async fn stay(
    login: &BusLogin,
    pause: &mut std::time::Duration,
) -> Result<std::convert::Infallible, BusError> {
    let mut producer = Producer::connect(login, "out").await?;
    tracing::info!("connected");
    *pause = RECONNECT_PAUSE.0;
    loop {
        producer.settling().await?;
    }
}
