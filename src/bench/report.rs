//! What was measured, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::disk::Fsync;
use super::machine::Machine;
use super::processes::Cost;

/// Median and 99th percentile, milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Quantiles {
    /// Half were not slower.
    pub p50: f64,
    /// 99 of 100 were not slower.
    pub p99: f64,
}

impl Quantiles {
    /// Of these; sorts them.
    pub fn of(times: &mut [Duration]) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let index = (times.len() as f64 * share) as usize;
            times
                .get(index.min(times.len().saturating_sub(1)))
                .map_or(0.0, |time| (time.as_secs_f64() * 1e5).round() / 100.0)
        };
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

/// One load's numbers.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// Which load.
    pub load: String,
    /// From its start to the last acknowledgement.
    pub seconds: f64,
    /// Readings acknowledged to sensors.
    pub acknowledged: u64,
    /// Readings the API returned afterwards.
    pub returned_by_api: u64,
    /// Of those, per second.
    pub readings_per_second: f64,
    /// And frames.
    pub frames_per_second: f64,
    /// From the last acknowledgement until everything was stored.
    pub drained_after_seconds: f64,
    /// Whether that was soon enough to count.
    pub drained_in_time: bool,
    /// Acknowledged and not returned.
    pub lost: u64,
    /// Returned or counted more than once.
    pub duplicated: u64,
    /// The ledger's verdict.
    pub ledger: String,
    /// From sealing a frame to its acknowledgement.
    pub ack_milliseconds: Quantiles,
    /// From taking a reading to the API returning it, where that was probed.
    pub queryable_milliseconds: Option<Quantiles>,
    /// What it cost.
    pub resources: Resources,
}

/// What a load cost.
#[derive(Debug, Serialize)]
pub struct Resources {
    /// By role; CPU and bytes during the load, peak memory since the start.
    pub roles: BTreeMap<String, Cost>,
    /// Sum of the roles' peaks.
    pub peak_mib: f64,
    /// Sum of the roles' CPU seconds.
    pub cpu_seconds: f64,
    /// Written to disk per second, MB.
    pub written_mb_per_second: f64,
}

impl Resources {
    /// What was spent between two looks.
    pub fn between(
        before: &BTreeMap<String, Cost>,
        after: &BTreeMap<String, Cost>,
        elapsed: Duration,
    ) -> Self {
        let roles: BTreeMap<String, Cost> = after
            .iter()
            .map(|(role, after)| {
                let before = before.get(role).copied().unwrap_or_default();
                let spent = Cost {
                    cpu_seconds: ((after.cpu_seconds - before.cpu_seconds) * 100.0).round() / 100.0,
                    peak_mib: (after.peak_mib * 10.0).round() / 10.0,
                    written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
                };
                (role.clone(), spent)
            })
            .collect();
        let written: u64 = roles.values().map(|cost| cost.written_bytes).sum();
        let per_second = written as f64 / 1e6 / elapsed.as_secs_f64();
        Self {
            peak_mib: roles.values().map(|cost| cost.peak_mib).sum::<f64>().round(),
            cpu_seconds: roles.values().map(|cost| cost.cpu_seconds).sum::<f64>().round(),
            written_mb_per_second: (per_second * 100.0).round() / 100.0,
            roles,
        }
    }
}

impl Measured {
    /// In one line.
    pub fn line(&self) -> String {
        let queryable = self.queryable_milliseconds.map_or_else(String::new, |times| {
            format!(", queryable p50 {} p99 {} ms", times.p50, times.p99)
        });
        format!(
            "{:.0} readings/s in {:.0} frames/s, ack p50 {} p99 {} ms{queryable}, drained after {:.2} s, \
             lost {}, duplicated {}, {:.0} MiB, {:.1} MB/s written",
            self.readings_per_second,
            self.frames_per_second,
            self.ack_milliseconds.p50,
            self.ack_milliseconds.p99,
            self.drained_after_seconds,
            self.lost,
            self.duplicated,
            self.resources.peak_mib,
            self.resources.written_mb_per_second,
        )
    }

    fn kept_the_promise(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.drained_in_time && self.ledger == "balanced"
    }
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// The disk's own sync.
    pub fsync: Fsync,
    /// Load by load.
    pub loads: Vec<Measured>,
}

impl Report {
    /// Whether nothing was lost or counted twice, and everything was there in time.
    pub fn kept_the_promise(&self) -> bool {
        self.loads.iter().all(Measured::kept_the_promise)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        writeln!(
            f,
            "{} ({} cores), {} GiB, {}; fsync of the disk p50 {} ms, p99 {} ms",
            machine.processor,
            machine.cores,
            machine.memory_gib,
            machine.kernel,
            self.fsync.milliseconds.p50,
            self.fsync.milliseconds.p99
        )?;
        for load in &self.loads {
            writeln!(f, "\n{}\n  {}", load.load, load.line())?;
            writeln!(f, "  {:<12} {:>8} {:>10} {:>12}", "role", "CPU s", "peak MiB", "written MB")?;
            for (role, cost) in &load.resources.roles {
                let written = cost.written_bytes as f64 / 1e6;
                writeln!(
                    f,
                    "  {role:<12} {:>8.1} {:>10.1} {written:>12.1}",
                    cost.cpu_seconds, cost.peak_mib
                )?;
            }
        }
        Ok(())
    }
}
