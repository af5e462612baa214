//! What is expected after a fault.

use std::time::Duration;

use anyhow::{bail, ensure};

use super::{LONGEST_SILENCE, RECOVERED_WITHIN, Scene};
use crate::truth::Place;

impl Scene {
    /// A reading that is acknowledged from now on can be queried, not later than this after what the
    /// fault had hit was there again. What is reported counts from the fault itself.
    ///
    /// # Errors
    /// If it cannot, or later.
    pub async fn recovers_within(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.listen()?;
        let before = self.load.fronts();
        let mut answer = None;
        loop {
            if let Some((sensor, place)) = first_newer(&before, &self.load.fronts()) {
                let latest = self.api.latest(sensor).await;
                if latest.as_ref().is_ok_and(|latest| *latest >= place) {
                    break;
                }
                answer = Some(latest);
            }
            if self.repair.elapsed() >= RECOVERED_WITHIN {
                bail!(
                    "{RECOVERED_WITHIN:?} after the repair no newly acknowledged reading can be queried: {answer:?}"
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.listen()?;
        }
        let (took, after_repair) = (self.fault.elapsed(), self.repair.elapsed());
        self.recovery = self.recovery.max(Some(took));
        self.say(&format!(
            "recovered {:.2} s after the fault, {:.2} s after its repair",
            took.as_secs_f64(),
            after_repair.as_secs_f64()
        ));
        ensure!(
            after_repair <= limit,
            "recovered {:.2} s after the repair, expected at most {limit:?}",
            after_repair.as_secs_f64()
        );
        Ok(())
    }

    /// Since the fault, sensors were not kept waiting.
    ///
    /// # Errors
    /// If they were.
    pub fn acknowledgements_went_on(&mut self) -> anyhow::Result<()> {
        self.listen()?;
        let longest = self.silence.longest;
        self.say(&format!("no sensor waited longer than {} ms meanwhile", longest.as_millis()));
        ensure!(
            longest <= LONGEST_SILENCE,
            "nothing was acknowledged for {:.1} s although the broker ran",
            longest.as_secs_f64()
        );
        Ok(())
    }
}

/// The first reading that was acknowledged between the two, and whose it is.
pub(crate) fn first_newer(before: &[(i16, Place)], now: &[(i16, Place)]) -> Option<(i16, Place)> {
    let mut pairs = before.iter().zip(now);
    pairs.find_map(|((sensor, (old_stream, old_below)), (_, (stream, below)))| {
        let first = if stream == old_stream { (*old_below).max(1) } else { 1 };
        (*below > first).then_some((*sensor, (*stream, first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reading_after_a_fault_is_found_in_the_old_stream_and_in_a_new_one() {
        let before = [(1, (1, 10)), (2, (1, 20)), (3, (0, 0))];
        assert_eq!(first_newer(&before, &before), None);
        let later = |fronts: [Place; 3]| {
            let ids = before.map(|(id, _)| id);
            let now: Vec<_> = ids.into_iter().zip(fronts).collect();
            first_newer(&before, &now)
        };
        assert_eq!(later([(1, 10), (1, 25), (0, 0)]), Some((2, (1, 20))));
        assert_eq!(later([(1, 10), (2, 1), (0, 0)]), None);
        assert_eq!(later([(1, 10), (2, 3), (0, 0)]), Some((2, (2, 1))));
        assert_eq!(later([(1, 10), (1, 20), (1, 2)]), Some((3, (1, 1))));
    }
}
