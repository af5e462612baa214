//! `run/up.json`: which processes make up a running site.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vigia_kit::site::Role;

use crate::process::Process;

/// The processes of all roles at one moment.
pub type Pids = BTreeMap<&'static str, Process>;

/// See the module.
#[derive(Debug, Deserialize)]
pub struct Roster {
    #[serde(skip)]
    site: PathBuf,
    up: u32,
    roles: BTreeMap<String, Listed>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Listed {
    pid: Option<u32>,
    restarts: u64,
}

impl Roster {
    /// What the supervisor of the site in this directory, an absolute path, has written last.
    pub fn read(site: &Path) -> Option<Self> {
        let text = fs::read_to_string(site.join("run/up.json")).ok()?;
        let roster: Self = serde_json::from_str(&text).ok()?;
        Some(Self { site: site.to_owned(), ..roster })
    }

    /// Who wrote it.
    pub fn supervisor(&self) -> Option<Process> {
        Process::new(self.up)
    }

    /// How often the role was started after it had died.
    pub fn restarts(&self, role: Role) -> u64 {
        self.roles.get(role.name()).map_or(0, |listed| listed.restarts)
    }

    /// The role, if it is alive. Its command line must say that it is this role of this site under this
    /// supervisor: numbers are used again.
    pub fn role(&self, role: Role) -> Option<Process> {
        let process = Process::new(self.roles.get(role.name())?.pid?)?;
        let up = self.up.to_string();
        let site = self.site.as_os_str().as_bytes();
        let expected = [role.name().as_bytes(), b"--site", site, b"--supervised", up.as_bytes()];
        process.arguments().iter().skip(1).eq(expected.iter()).then_some(process)
    }

    /// The roles that are alive.
    pub fn pids(&self) -> Pids {
        let alive = |role: Role| Some((role.name(), self.role(role)?));
        Role::ALL.into_iter().filter_map(alive).collect()
    }
}
