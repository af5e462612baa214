//! Bad networks.

use std::time::{Duration, Instant};

use anyhow::ensure;

use vigia_kit::site::Role;

use crate::proxy::{BOTH, Tampering, Way};
use crate::scene::Scene;
use crate::scene::network::Wire;

const RECOVERY: Duration = Duration::from_secs(15);
/// One and a half keep-alives of at most 10 s, on both wires; and a second for those who look once a second.
const BY_ITS_PARTNER: Duration = Duration::from_secs(16);
/// Two of them: an MQTT client asks after one, and gives up after the next. That, too, ends a sensor's
/// old session at the broker, when its next one begins.
const BY_ITSELF: Duration = Duration::from_secs(21);
const LATENCY: Duration = Duration::from_millis(200);
/// Connections that one reset may lead to: who loses one of its two drops both, and may be reset again
/// before they stand.
const CONNECTIONS_PER_RESET: usize = 4;
/// How many times faster than it came a backlog is delivered.
const FASTER: f64 = 5.0;

/// Who can be cut off from the broker.
pub const ON_THE_BUS: [Role; 5] =
    [Role::Verify, Role::Transform, Role::Store, Role::Alert, Role::Modbus];

pub async fn cut_from_sensors(scene: &mut Scene) -> anyhow::Result<()> {
    scene.random_moment().await;
    scene.cut(Wire::Sensors, &[""], BOTH)?;
    scene.falls_silent().await?;
    scene.nobody_answers_for(scene.down_time(Duration::from_secs(30))).await?;
    scene.heal()?;
    scene.backlog_drains(FASTER).await?;
    scene.recovers_within(RECOVERY).await
}

pub async fn cut_from_roles(scene: &mut Scene) -> anyhow::Result<()> {
    for role in ON_THE_BUS {
        for ways in [BOTH, &[Way::Up], &[Way::Down]] {
            scene.random_moment().await;
            scene.cut(Wire::Bus, &[role.name()], ways)?;
            scene.load_goes_on_for(scene.down_time(Duration::from_secs(3))).await?;
            scene.heal()?;
            scene.recovers_within(RECOVERY).await?;
            scene.acknowledgements_went_on()?;
        }
    }
    Ok(())
}

pub async fn is_slow_and_resets(scene: &mut Scene) -> anyhow::Result<()> {
    let down = scene.down_time(Duration::from_secs(60));
    for wire in [Wire::Sensors, Wire::Bus] {
        let before = scene.connections(wire);
        let begun = Instant::now();
        let mut resets = 0;
        scene.delay_everything(LATENCY);
        while begun.elapsed() < down / 2 {
            scene.random_moment().await;
            resets += usize::from(scene.reset_any(wire));
        }
        let more = scene.connections(wire) - before;
        scene.saw(format!("{wire:?}: {LATENCY:?} late, {resets} resets, {more} new connections"));
        ensure!(more <= CONNECTIONS_PER_RESET * resets, "{more} connections for {resets} resets");
        scene.fault_ends()?;
        scene.heal()?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

pub async fn swallows_a_peer(scene: &mut Scene) -> anyhow::Result<()> {
    for (wire, whose, there, here) in [
        (Wire::Sensors, "1", BY_ITS_PARTNER, BY_ITSELF),
        (Wire::Bus, "verify", BY_ITSELF, BY_ITS_PARTNER),
        (Wire::Bus, "store", BY_ITSELF, BY_ITS_PARTNER),
    ] {
        scene.random_moment().await;
        scene.vanish(wire, whose, there, here).await?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

pub async fn flips_bits(scene: &mut Scene) -> anyhow::Result<()> {
    for nth in 0..scene.times(10) {
        let (way, bit) = (BOTH[nth as usize % 2], scene.random().below(1 << 16));
        scene.random_moment().await;
        scene.tamper("1", way, Tampering::Flip(bit)).await?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

/// A whole connection, one frame of it in another connection, and what the broker had said.
pub async fn plays_again(scene: &mut Scene) -> anyhow::Result<()> {
    const HELLO: usize = 58;
    const WELCOME: usize = 100;
    for _ in 0..scene.times(3) {
        let link = scene.link(Wire::Sensors, "1").await?;
        scene.random_moment().await;
        let (sent, answered) = (link.recorded(Way::Up), link.recorded(Way::Down));
        ensure!(sent.len() > HELLO && answered.len() > WELCOME, "too little was recorded");
        let answer = scene.replay(&sent).await?;
        ensure!(answer.len() <= WELCOME, "{} bytes were answered to a replay", answer.len());
        scene.saw(format!(
            "{} recorded bytes of sensor 1 played again: {} bytes answered, then closed",
            sent.len(),
            answer.len()
        ));
        let data = frame(&sent[HELLO..])?;
        scene.tamper("1", Way::Up, Tampering::Insert(data)).await?;
        scene.recovers_within(RECOVERY).await?;
        let answer = frame(&answered[WELCOME..])?;
        scene.tamper("1", Way::Down, Tampering::Insert(answer)).await?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

/// The first frame of these.
fn frame(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    ensure!(bytes.len() > 6, "no frame was recorded");
    let length = u16::from_le_bytes([bytes[4], bytes[5]]).into();
    ensure!(bytes.len() >= length, "no whole frame was recorded");
    Ok(bytes[..length].to_vec())
}
