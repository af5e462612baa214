//! The disk under the benchmark: a real one, and how long its own sync takes.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;
use vigia_kit::config::ConfigError;

use super::report::Quantiles;

const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;
const SYNCS: usize = 300;

/// What the disk itself takes for 160 bytes and an fdatasync.
#[derive(Debug, Clone, Serialize)]
pub struct Fsync {
    /// In milliseconds.
    pub milliseconds: Quantiles,
}

/// Makes the directory, and refuses one that lies in memory: its numbers would be no numbers.
///
/// # Errors
/// A directory that cannot be made or lies in memory.
pub fn refuse_memory(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let kind = rustix::fs::statfs(dir).context("statfs")?.f_type as i64;
    if kind == TMPFS_MAGIC || kind == RAMFS_MAGIC {
        return Err(ConfigError(format!(
            "--dir {} lies in memory (tmpfs), expected a directory on a disk",
            dir.display()
        ))
        .into());
    }
    Ok(())
}

/// Measures appends of 160 bytes, each synced.
///
/// # Errors
/// What the file system says.
pub fn measure_fsync(dir: &Path) -> anyhow::Result<Fsync> {
    let path = dir.join(format!("fsync-{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let mut took: Vec<Duration> = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0x5a; 160])?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    fs::remove_file(&path)?;
    Ok(Fsync { milliseconds: Quantiles::of(&mut took) })
}
