//! What each role costs, from the kernel's own books.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

const TICKS_PER_SECOND: f64 = 100.0;

/// One process, since its start.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Cost {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Most memory ever resident.
    pub peak_mib: f64,
    /// Bytes that went to the disk.
    pub written_bytes: u64,
}

impl Cost {
    /// Of a process that is running; `None` if it is not.
    pub fn of(pid: u32) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let stat = read("stat")?;
        // The name in parentheses may contain anything; what follows it does not.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let field = |text: &str, key: &str| -> Option<u64> {
            let line = text.lines().find(|line| line.starts_with(key))?;
            line.split_once(':')?.1.split_whitespace().next()?.parse().ok()
        };
        Some(Self {
            cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND,
            peak_mib: field(&read("status")?, "VmHWM")? as f64 / 1024.0,
            written_bytes: field(&read("io")?, "write_bytes")?,
        })
    }
}

/// The costs of all these processes, by role.
pub fn costs(pids: &BTreeMap<String, u32>) -> BTreeMap<String, Cost> {
    pids.iter().filter_map(|(role, pid)| Some((role.clone(), Cost::of(*pid)?))).collect()
}
