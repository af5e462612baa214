//! What SCADA reads, kept up to date from the bus; the same connection tells people that the role is there.

use std::sync::Arc;
use std::time::Duration;

use vigia_kit::bus::{BusError, BusLogin, Consumer, Producer};
use vigia_kit::limits::RECONNECT_PAUSE;
use vigia_kit::meter::Meter;

use crate::server::feed::{Feed, filters};

/// Follows the bus, for ever, through every loss of it.
pub async fn follow(login: BusLogin, feed: Feed, meter: Arc<Meter>) {
    let mut pause = RECONNECT_PAUSE.0;
    loop {
        let Err(error) = session(&login, &feed, &meter, &mut pause).await;
        meter.set_connected(false);
        tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "connecting again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RECONNECT_PAUSE.1);
    }
}

async fn session(
    login: &BusLogin,
    feed: &Feed,
    meter: &Meter,
    pause: &mut Duration,
) -> Result<std::convert::Infallible, BusError> {
    let mut producer = Producer::connect(login, "out").await?;
    // Only the present counts here: what was said meanwhile is not kept for it.
    let mut consumer = Consumer::look(login, "in", &filters()).await?;
    tracing::info!("connected");
    meter.set_connected(true);
    *pause = RECONNECT_PAUSE.0;
    loop {
        tokio::select! {
            settled = producer.settling() => drop(settled?),
            delivery = consumer.receive() => {
                let delivery = delivery?;
                meter.consumed();
                if let Err(error) = feed.message(delivery.topic(), delivery.payload()) {
                    tracing::debug!(topic = delivery.topic(), %error, "not shown to SCADA");
                }
                consumer.acknowledge(&delivery).await?;
            }
        }
    }
}
