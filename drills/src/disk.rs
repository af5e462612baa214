//! A disk that can be filled without harm to others: a small file system in memory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::NotHere;

const SIZE_MIB: u64 = 96;
/// The broker keeps so much free for itself, so that a disk can be nearly full as well as full.
pub const SMALL_RESERVE_MIB: u64 = 16;
const BALLAST_BYTES: usize = 1 << 20;

/// See the module. Unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts it on this directory, which is made.
    ///
    /// # Errors
    /// [`NotHere`] if that is not allowed, or what the file system says.
    pub fn mount(place: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&place).with_context(|| format!("{}", place.display()))?;
        let options = format!("size={SIZE_MIB}m,mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "vigia-drill"])
            .arg(&place)
            .stderr(Stdio::null())
            .status();
        if !mounted.is_ok_and(|status| status.success()) {
            return Err(NotHere("mounting a small disk is not allowed here: run it as root").into());
        }
        Ok(Self(place))
    }

    /// Fills it until no more than so much is free.
    ///
    /// # Errors
    /// If it cannot be filled.
    pub fn fill(&self, leave_mib: u64) -> anyhow::Result<u64> {
        let mut file = File::options().create(true).append(true).open(self.ballast())?;
        let block = vec![0; BALLAST_BYTES];
        while self.free_bytes()? > leave_mib << 20 {
            match file.write(&block) {
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                written => written.context("cannot fill the small disk")?,
            };
        }
        let free = self.free_bytes()?;
        ensure!(free <= leave_mib << 20, "{free} bytes are still free");
        Ok(free)
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// What the file system says.
    pub fn clear(&self) -> anyhow::Result<u64> {
        fs::remove_file(self.ballast()).context("cannot clear the small disk")?;
        self.free_bytes()
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    fn free_bytes(&self) -> anyhow::Result<u64> {
        free_bytes(&self.0)
    }
}

fn free_bytes(place: &Path) -> anyhow::Result<u64> {
    let found = rustix::fs::statvfs(place).with_context(|| format!("{}", place.display()))?;
    Ok(found.f_bavail * found.f_frsize)
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: who still has a file open keeps it until then.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
