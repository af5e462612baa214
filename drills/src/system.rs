//! The real system: `vigia up`, its roles, and every way to end them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use tokio::process::{Child, Command};
use vigia_kit::site::Role;

use crate::process::Process;
use crate::roster::{Pids, Roster};
use crate::site::Site;
use crate::wait;

/// Time from the start of `vigia up` to all ports.
const STARTED_WITHIN: Duration = Duration::from_secs(30);
/// Every role has 10 s; they are stopped one after the other.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
/// Every role ends this soon after SIGTERM.
const ENDED_WITHIN: Duration = Duration::from_secs(10);
/// At the very end, nothing is waited for longer than this.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);

/// A running site.
#[derive(Debug)]
pub struct System {
    site: PathBuf,
    up: Option<Child>,
    /// Every process it was ever seen to have.
    seen: Vec<Process>,
}

impl System {
    /// Nothing yet.
    pub fn new(site: &Site) -> Self {
        Self { site: site.path().to_owned(), up: None, seen: Vec::new() }
    }

    /// Starts `vigia up` and waits until everything listens.
    ///
    /// # Errors
    /// What did not come.
    pub async fn start(&mut self, site: &Site) -> anyhow::Result<()> {
        self.launch(site)?;
        let what = || format!("every role listens; {}", self.log().display());
        wait::until(STARTED_WITHIN, what, async || {
            let pids = self.pids();
            Ok((pids.len() == Role::ALL.len() && site.addresses().is_some()).then_some(()))
        })
        .await?;
        self.remember();
        Ok(())
    }

    /// Starts `vigia up`, whatever becomes of it.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn launch(&mut self, site: &Site) -> anyhow::Result<()> {
        // Tied to this process, so that it goes even if this process is killed.
        let up = Command::new(&site.executable)
            .args(["leash", "--to", &std::process::id().to_string(), "--"])
            .arg(&site.executable)
            .args(["up", "--site"])
            .arg(site.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(append(&self.log())?)
            .process_group(0)
            .spawn()
            .context("cannot start vigia up")?;
        self.up = Some(up);
        Ok(())
    }

    /// Where all roles' lines go.
    pub fn log(&self) -> PathBuf {
        self.site.join("up.log")
    }

    /// The supervisor.
    fn supervisor(&self) -> Option<Process> {
        self.up.as_ref().and_then(|up| Process::new(up.id()?))
    }

    fn roster(&self) -> Option<Roster> {
        // What another supervisor wrote is not this one's.
        Roster::read(&self.site).filter(|roster| roster.supervisor() == self.supervisor())
    }

    /// How often the role was started after it had died.
    pub fn restarts(&self, role: Role) -> u64 {
        self.roster().map_or(0, |roster| roster.restarts(role))
    }

    /// The roles that are alive.
    pub fn pids(&self) -> Pids {
        self.roster().map_or_else(Pids::new, |roster| roster.pids())
    }

    /// One role.
    ///
    /// # Errors
    /// If it does not run.
    pub fn role(&self, role: Role) -> anyhow::Result<Process> {
        self.pids()
            .get(role.name())
            .copied()
            .with_context(|| format!("{} does not run", role.name()))
    }

    /// kill -9 of one role. Returns what was killed.
    ///
    /// # Errors
    /// If it does not run.
    pub fn kill(&mut self, role: Role) -> anyhow::Result<Process> {
        self.remember();
        let process = self.role(role)?;
        process.kill();
        Ok(process)
    }

    /// The process that has taken this one's place, once there is one.
    pub fn replacement(&mut self, role: Role, old: Process) -> Option<Process> {
        let new = self.pids().get(role.name()).copied().filter(|process| *process != old)?;
        self.seen.push(new);
        Some(new)
    }

    /// kill -9 of everything at once, when `moment` returns. The supervisor is stopped before, so that
    /// it repairs nothing and no role hears of its end.
    ///
    /// # Errors
    /// If it does not run, or does not die; or what `moment` says.
    pub async fn kill_all(
        &mut self,
        moment: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<Pids> {
        let up = self.supervisor().context("vigia up does not run")?;
        up.signal(Signal::STOP)?;
        self.remember();
        let pids = self.pids();
        moment()?;
        pids.values().for_each(|process| process.kill());
        up.kill();
        self.reap().await?;
        for process in pids.values() {
            process.gone().await?;
        }
        Ok(pids)
    }

    /// SIGTERM to the supervisor, which stops everything in order. Returns how long that took.
    ///
    /// # Errors
    /// If it does not run, or does not end.
    pub async fn stop(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.remember();
        self.supervisor().context("vigia up does not run")?.signal(Signal::TERM)?;
        self.reap().await?;
        Ok(begun.elapsed())
    }

    /// SIGTERM to every role in this order, without its supervisor; then that is killed. Returns who
    /// they were, and how long the slowest took.
    ///
    /// # Errors
    /// If one does not end in time.
    pub async fn terminate(&mut self, order: &[Role]) -> anyhow::Result<(Pids, Duration)> {
        let up = self.supervisor().context("vigia up does not run")?;
        up.signal(Signal::STOP)?;
        self.remember();
        let pids = self.pids();
        let begun = Instant::now();
        for role in order {
            pids.get(role.name()).context("not every role runs")?.signal(Signal::TERM)?;
        }
        let what = || format!("every role has ended; {pids:?}");
        wait::until(ENDED_WITHIN, what, async || {
            Ok(pids.values().all(|process| process.state().is_none()).then_some(()))
        })
        .await?;
        let took = begun.elapsed();
        up.kill();
        self.reap().await?;
        Ok((pids, took))
    }

    /// How often these words stand in what all processes have written so far.
    pub fn said(&self, words: &str) -> usize {
        fs::read(self.log()).map_or(0, |log| String::from_utf8_lossy(&log).matches(words).count())
    }

    /// The number after `name` in the newest line with these words.
    pub fn newest_number(&self, words: &str, name: &str) -> Option<u64> {
        let log = fs::read(self.log()).ok()?;
        let log = String::from_utf8_lossy(&log);
        let line = log.lines().rev().find(|line| line.contains(words))?;
        let (_, rest) = line.split_once(name)?;
        let digits = rest.split(|one: char| !one.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    /// The newest line that a role ended with: an error, or its last words.
    pub fn newest_error(&self) -> Option<String> {
        let log = fs::read(self.log()).ok()?;
        let log = String::from_utf8_lossy(&log);
        let is_one =
            |line: &&str| ["ERROR", "vigia: ", "panicked"].iter().any(|word| line.contains(word));
        log.lines().rev().find(is_one).map(|line| line.trim().to_owned())
    }

    async fn reap(&mut self) -> anyhow::Result<()> {
        if let Some(up) = &mut self.up {
            let ended = tokio::time::timeout(STOPPED_WITHIN, up.wait()).await;
            ended.context("vigia up does not end")?.context("vigia up cannot be watched")?;
        }
        self.up = None;
        Ok(())
    }

    fn remember(&mut self) {
        let pids = self.pids();
        let new: Vec<Process> =
            pids.into_values().filter(|process| !self.seen.contains(process)).collect();
        self.seen.extend(new);
    }
}

/// Whatever happened: nothing it started is left.
impl Drop for System {
    fn drop(&mut self) {
        if let Some(up) = self.supervisor() {
            // Stopped, it starts nothing new while its roles are looked up.
            let _ = up.signal(Signal::STOP);
            self.remember();
            up.kill();
        }
        let ours = self.site.as_os_str().as_bytes();
        let left: Vec<Process> =
            self.seen.iter().copied().filter(|process| process.has_argument(ours)).collect();
        left.iter().for_each(|process| process.kill());
        let begun = Instant::now();
        while left.iter().any(|process| process.state().is_some())
            && begun.elapsed() < CLEARED_WITHIN
        {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A file to which processes append their lines.
///
/// # Errors
/// What the file system says.
pub fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
