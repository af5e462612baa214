//! Which roles run here, and as which process: who holds the site's locks, as the kernel tells it.
//!
//! Taking a lock to try would keep a role that starts at that moment from it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vigia_kit::site::{Role, Site};

/// The processes of roles by name.
#[derive(Debug, Default)]
pub struct Processes(BTreeMap<&'static str, u32>);

impl Processes {
    /// Those of this site, on this machine.
    pub fn of(site: &Site) -> Self {
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let run = site.dir().join("run");
        let holder = |role: Role| {
            let inode = fs::metadata(run.join(format!("{}.lock", role.name()))).ok()?.ino();
            Some((role.name(), holder(&locks, inode)?))
        };
        Self(Role::ALL.into_iter().filter_map(holder).collect())
    }

    /// The role's process, if it runs.
    pub fn pid(&self, role: Role) -> Option<u32> {
        self.0.get(role.name()).copied()
    }

    /// Whether none runs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the process has this socket; nothing if it does not let itself be looked at.
    pub fn has_socket(&self, pid: u32, inode: u64) -> Option<bool> {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let wanted = format!("socket:[{inode}]");
        let mut links = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
        Some(links.any(|link| link == Path::new(&wanted)))
    }

    /// How many files the role's process may open at once.
    pub fn open_files(&self, role: Role) -> Option<u64> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.pid(role)?)).ok()?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        match line.split_whitespace().next()? {
            "unlimited" => Some(u64::MAX),
            number => number.parse().ok(),
        }
    }

    /// Whether the role runs a program that was replaced on disk since.
    pub fn is_replaced(&self, role: Role) -> bool {
        let program = self.pid(role).map(|pid| fs::read_link(format!("/proc/{pid}/exe")));
        program.is_some_and(|path| {
            path.is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
        })
    }
}

/// Who has a lock of flock(2) on this file. The device is not compared: some file systems show another one there.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, file, ..] = fields.as_slice() else { return None };
        let found: u64 = file.rsplit(':').next()?.parse().ok()?;
        if found == inode { pid.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_known_without_taking_it() {
        let locks = "1: OFDLCK ADVISORY  WRITE -1 fe:00:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 30 fe:00:7 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 31 fe:00:8 0 EOF\n";
        assert_eq!(holder(locks, 7), Some(30));
        assert_eq!(holder(locks, 8), None, "it waits for the lock");
        assert_eq!(holder(locks, 9), None);
    }
}
