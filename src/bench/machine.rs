//! The machine, as far as its numbers depend on it.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// What the numbers were measured on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors available to this process.
    pub cores: usize,
    /// GiB.
    pub memory_gib: u64,
    /// Name and release.
    pub kernel: String,
    /// The file system's magic number, as `stat -f -c %t` prints it.
    pub file_system: String,
}

/// Describes this machine and the file system of `dir`.
pub fn describe(dir: &Path) -> Machine {
    let line = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let found = text.lines().find(|line| line.starts_with(key));
        found.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let uname = rustix::system::uname();
    Machine {
        processor: line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        memory_gib: line("/proc/meminfo", "MemTotal")
            .and_then(|value| value.split(' ').next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib >> 20),
        kernel: format!(
            "{} {}",
            uname.sysname().to_string_lossy(),
            uname.release().to_string_lossy()
        ),
        file_system: rustix::fs::statfs(dir)
            .map_or_else(|_| "unknown".to_owned(), |stat| format!("{:x}", stat.f_type)),
    }
}
