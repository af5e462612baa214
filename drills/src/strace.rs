//! System calls that fail or hang: `strace` injects it into a running process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, Command};

use crate::NotHere;
use crate::wait;

const ATTACHED_WITHIN: Duration = Duration::from_secs(10);

/// A running `strace`. What it holds on to goes on when it is dropped.
#[derive(Debug)]
pub struct Strace {
    child: Child,
    log: PathBuf,
    messages: PathBuf,
}

/// Whether it can be used here.
///
/// # Errors
/// [`NotHere`].
pub fn check() -> anyhow::Result<()> {
    let version = std::process::Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(NotHere("there is no strace: apt-get install strace").into())
}

impl Strace {
    /// Attaches to a process with all its threads, or to one thread, and injects.
    ///
    /// # Errors
    /// If it cannot attach.
    pub async fn attach(
        directory: &Path,
        number: &str,
        all_threads: bool,
        injection: &str,
    ) -> anyhow::Result<Self> {
        let log = directory.join(format!("strace-{number}.log"));
        let messages = directory.join(format!("strace-{number}.err"));
        let child = Command::new("strace")
            .args(all_threads.then_some("-f"))
            .args(["-p", number, "-e", injection, "-e", "signal=none", "-o"])
            .arg(&log)
            .stdin(Stdio::null())
            .stderr(fs::File::create(&messages)?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start strace")?;
        let mut strace = Self { child, log, messages };
        let what = || format!("strace has attached to {number}");
        wait::until(ATTACHED_WITHIN, what, async || {
            let ended = strace.child.try_wait()?;
            // It also ends with what it was attached to, which may be as soon as it injects.
            let attached = strace.words().contains("attached");
            anyhow::ensure!(attached || ended.is_none(), "strace ended: {}", strace.words());
            Ok(attached.then_some(()))
        })
        .await?;
        Ok(strace)
    }

    fn words(&self) -> String {
        fs::read_to_string(&self.messages).unwrap_or_default().trim().to_owned()
    }

    /// The first call it has tampered with.
    pub fn injected(&self) -> Option<String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines()
            .find(|line| line.contains("INJECTED") || line.contains("DELAYED"))
            .map(str::to_owned)
    }
}
