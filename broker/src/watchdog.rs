//! Sends itself a message through the embedded broker. A router that is dead inside a living process
//! answers nobody, while its port still accepts: so the process ends, and is started anew.

use tokio::time::{Instant, sleep_until, timeout};
use vigia_kit::bus::{BusError, BusLogin, Consumer, Producer};
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::topic::{NodeName, watchdog};

use crate::limits::{WATCHDOG_EVERY, WATCHDOG_MISSES};

/// Watches until the end, or ends the process.
pub async fn watch(mut login: BusLogin, node: NodeName, mut shutdown: Shutdown) {
    // It looks after the broker; the publisher is who says that the broker is there.
    login.status = None;
    let mut misses = 0;
    let mut line = None;
    loop {
        let began = Instant::now();
        let round = tokio::select! {
            () = shutdown.ended() => return,
            round = timeout(WATCHDOG_EVERY, round_trip(&login, &node, &mut line)) => round,
        };
        match round {
            Ok(Ok(())) => misses = 0,
            Ok(Err(error)) => {
                line = None;
                misses += 1;
                tracing::warn!(misses, %error, "the broker does not answer its watchdog");
            }
            Err(_) => {
                line = None;
                misses += 1;
                tracing::warn!(misses, "the broker does not answer its watchdog");
            }
        }
        if misses >= WATCHDOG_MISSES {
            tracing::error!("the broker is dead inside this process; ending it");
            std::process::abort();
        }
        tokio::select! {
            () = shutdown.ended() => return,
            () = sleep_until(began + WATCHDOG_EVERY) => {}
        }
    }
}

/// A connection each way, kept while it works.
type Line = (Producer, Consumer);

async fn round_trip(
    login: &BusLogin,
    node: &NodeName,
    line: &mut Option<Line>,
) -> Result<(), BusError> {
    let topic = watchdog(node);
    let (producer, consumer) = match line {
        Some(line) => line,
        None => {
            let consumer =
                Consumer::connect(login, "watchdog-in", std::slice::from_ref(&topic)).await?;
            line.insert((Producer::connect(login, "watchdog-out").await?, consumer))
        }
    };
    let sent: [u8; 16] = vigia_kit::clock::random();
    producer.publish(&topic, sent.to_vec()).await?;
    loop {
        let delivery = consumer.receive().await?;
        consumer.acknowledge(&delivery).await?;
        if delivery.payload()[..] == sent {
            return Ok(());
        }
    }
}

const _: () = assert!(WATCHDOG_EVERY.as_millis() * (WATCHDOG_MISSES as u128 + 2) < 20_000);
