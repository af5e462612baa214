//! Random faults, one after the other. The seed decides which, and in which order.

use std::time::{Duration, Instant};

use vigia_kit::site::Role;

use crate::drills::network::ON_THE_BUS;
use crate::proxy::{BOTH, Way};
use crate::random::Random;
use crate::scene::Scene;
use crate::scene::network::Wire;

const USUALLY: Duration = Duration::from_secs(60);
/// A role that is stopped or cut off is so for a time between these.
const HINDERED: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(4));
/// With the supervisor's longest pause, and a backlog.
const RECOVERY: Duration = Duration::from_secs(30);

/// One of them.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill(Role),
    Pause(Role, Duration),
    Cut(Role, &'static [Way], Duration),
    CutSensors(Duration),
    Reset(Wire),
    RestartSensors,
    Terminate,
    KillAll,
    /// With every so manieth sensor destroyed.
    PowerOff(i16),
}

/// The faults of a seed, without end.
fn faults(seed: u64) -> impl Iterator<Item = Fault> {
    let mut random = Random::new(seed);
    std::iter::repeat_with(move || {
        let role = random.pick(&Role::ALL);
        let time = random.between(HINDERED.0, HINDERED.1);
        let ways = random.pick(&[BOTH, &[Way::Up], &[Way::Down]]);
        // What is frequent in life is frequent here.
        match random.below(16) {
            0..5 => Fault::Kill(role),
            5..7 => Fault::Pause(role, time),
            7..10 => Fault::Cut(random.pick(&ON_THE_BUS), ways, time),
            10 => Fault::CutSensors(time),
            11 => Fault::Reset(random.pick(&[Wire::Sensors, Wire::Bus])),
            12 => Fault::RestartSensors,
            13 => Fault::Terminate,
            14 => Fault::KillAll,
            _ => Fault::PowerOff(random.pick(&[2, 3])),
        }
    })
}

/// Brings them on, each after the system has recovered from the last.
pub async fn play(scene: &mut Scene) -> anyhow::Result<()> {
    let time = scene.time(USUALLY);
    let begun = Instant::now();
    let faults = faults(scene.seed());
    for fault in faults {
        if begun.elapsed() >= time {
            break;
        }
        scene.random_moment().await;
        bring(scene, fault).await?;
        scene.recovers_within(RECOVERY).await?;
    }
    Ok(())
}

async fn bring(scene: &mut Scene, fault: Fault) -> anyhow::Result<()> {
    match fault {
        Fault::Kill(role) => scene.kill(role).await,
        Fault::Pause(role, time) => scene.pause(role, time).await,
        Fault::Cut(role, ways, time) => {
            scene.link(Wire::Bus, role.name()).await?;
            scene.cut(Wire::Bus, &[role.name()], ways)?;
            tokio::time::sleep(time).await;
            scene.heal()
        }
        Fault::CutSensors(time) => {
            scene.cut(Wire::Sensors, &[""], BOTH)?;
            tokio::time::sleep(time).await;
            scene.heal()
        }
        Fault::Reset(wire) => {
            scene.fault_ends()?;
            scene.reset_any(wire);
            Ok(())
        }
        Fault::RestartSensors => {
            scene.fault_ends()?;
            scene.restart_sensors().await
        }
        Fault::Terminate => {
            let stopped = scene.terminate_everything().await?;
            scene.start_again(&stopped).await
        }
        Fault::KillAll => {
            let killed = scene.kill_everything().await?;
            scene.start_again(&killed).await
        }
        Fault::PowerOff(nth) => {
            let killed = scene.cut_the_power(|id| id % nth == 0).await?;
            scene.start_again(&killed).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_faults_and_another_has_others() {
        let words = |seed| faults(seed).take(50).map(|fault| format!("{fault:?}")).collect();
        let (first, again, other): (Vec<_>, Vec<_>, Vec<_>) = (words(1), words(1), words(2));
        assert_eq!(first, again);
        assert_ne!(first, other);
        for kind in ["Kill(", "Pause(", "Cut(", "CutSensors", "Reset", "RestartSensors", "PowerOff"]
        {
            assert!(first.iter().any(|fault| fault.starts_with(kind)), "{kind}");
        }
    }
}
