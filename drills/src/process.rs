//! One process by its number: signals, and what /proc says about it.

use std::fmt;
use std::fs;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A dead process is gone this soon.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// A process that this harness, or what it started, has started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(Pid);

impl Process {
    /// By its number.
    pub fn new(pid: u32) -> Option<Self> {
        Pid::from_raw(pid.cast_signed()).map(Self)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If there is no such process.
    pub fn signal(self, signal: Signal) -> anyhow::Result<()> {
        kill_process(self.0, signal)
            .with_context(|| format!("cannot send {signal:?} to process {self}"))
    }

    /// SIGKILL, also to one that is stopped; no error if it is gone.
    pub fn kill(self) {
        let _ = kill_process(self.0, Signal::KILL);
    }

    /// The letter that /proc gives; `None` if it is gone. A zombie is gone.
    pub fn state(self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{self}/stat")).ok()?;
        // The name in front is in brackets and may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.chars().next().filter(|state| !matches!(state, 'Z' | 'X'))
    }

    /// Waits until it is gone.
    ///
    /// # Errors
    /// If it is still there.
    pub async fn gone(self) -> anyhow::Result<()> {
        let what = || format!("process {self} is gone");
        wait::until(GONE_WITHIN, what, async || Ok(self.state().is_none().then_some(()))).await
    }

    /// The thread of this name.
    pub fn thread(self, name: &str) -> Option<u32> {
        let threads = fs::read_dir(format!("/proc/{self}/task")).ok()?.flatten();
        let is_it = |path: &std::path::Path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        };
        let found = threads.map(|entry| entry.path()).find(|path| is_it(path))?;
        found.file_name()?.to_str()?.parse().ok()
    }

    /// The most memory it has had, in bytes.
    pub fn peak_bytes(self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{self}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Its command line, program first; empty if it is gone.
    pub fn arguments(self) -> Vec<Vec<u8>> {
        let command = fs::read(format!("/proc/{self}/cmdline")).unwrap_or_default();
        let arguments = command.strip_suffix(b"\0").unwrap_or(&command);
        arguments.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
    }

    /// Whether its command line has an argument that begins like this: numbers are used again.
    pub fn has_argument(self, beginning: &[u8]) -> bool {
        self.arguments().iter().any(|argument| argument.starts_with(beginning))
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.as_raw_nonzero())
    }
}
