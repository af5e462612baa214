//! What is done to processes and files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use vigia_kit::site::Role;

use super::{LONGEST_SILENCE, RECOVERED_WITHIN, Scene};
use crate::roster::Pids;
use crate::wait;

/// A role that died is there again, with its supervisor's pauses.
pub(crate) const REPLACED_WITHIN: Duration = Duration::from_secs(30);

impl Scene {
    /// kill -9 of a role; the supervisor starts another.
    ///
    /// # Errors
    /// If it is not replaced.
    pub async fn kill(&mut self, role: Role) -> anyhow::Result<()> {
        self.fault_comes()?;
        let old = self.system.kill(role)?;
        let Self { system, load, silence, .. } = self;
        let what = || format!("{} runs again", role.name());
        let new = wait::until(REPLACED_WITHIN, what, async || {
            load.catch_up()?;
            silence.listen(load.acknowledgements());
            Ok(system.replacement(role, old))
        });
        let new = new.await?;
        self.repair = Instant::now();
        self.saw(format!("{}: process {old} killed, {new} took its place", role.name()));
        Ok(())
    }

    /// kill -9 of the supervisor and all roles at once; sensors stay.
    ///
    /// # Errors
    /// If they do not die.
    pub async fn kill_everything(&mut self) -> anyhow::Result<Pids> {
        self.fault_comes()?;
        let pids = self.system.kill_all(|| Ok(())).await?;
        self.say("supervisor and all roles killed at once");
        Ok(pids)
    }

    /// The same right after a sensor that `chosen` names was acknowledged something. Those sensors, too,
    /// are destroyed with all they remember: what was acknowledged to them is in the journal or nowhere.
    ///
    /// # Errors
    /// If something does not die.
    pub async fn cut_the_power(
        &mut self,
        chosen: impl Fn(i16) -> bool + Copy,
    ) -> anyhow::Result<Pids> {
        self.fault_comes()?;
        let load = &mut self.load;
        let pids = self.system.kill_all(|| load.at_an_acknowledgement(chosen)).await?;
        let killed = self.load.kill(chosen).await?;
        for (id, _) in &killed {
            self.load.destroy_spool(*id)?;
        }
        self.say(&format!(
            "power cut: unsynced writes are gone, {} sensors destroyed with their spools",
            killed.len()
        ));
        Ok(pids)
    }

    /// Starts the system again, and the sensors that are down.
    ///
    /// # Errors
    /// If it does not start, or a process that was killed is still there.
    pub async fn start_again(&mut self, killed: &Pids) -> anyhow::Result<()> {
        self.system.start(&self.site).await?;
        self.repair = Instant::now();
        self.load.start_blindly()?;
        let new = self.system.pids();
        for (role, old) in killed {
            ensure!(new.get(role).is_some_and(|new| new != old), "{role} is still process {old}");
        }
        let pairs: Vec<String> = killed
            .iter()
            .filter_map(|(role, old)| Some(format!("{role} {old} → {}", new.get(role)?)))
            .collect();
        self.saw(format!("started again with other processes: {}", pairs.join(", ")));
        Ok(())
    }

    /// SIGTERM to the supervisor, which stops everything in order.
    ///
    /// # Errors
    /// If it does not stop.
    pub async fn stop_system(&mut self) -> anyhow::Result<Pids> {
        let pids = self.system.pids();
        let took = self.system.stop().await?;
        self.say(&format!("system stopped in order, in {:.1} s", took.as_secs_f64()));
        Ok(pids)
    }

    /// Takes a file of the system's away.
    ///
    /// # Errors
    /// What the file system says.
    pub fn destroy(&mut self, path: &str) -> anyhow::Result<()> {
        let path = self.site.file(path);
        let bytes = fs::metadata(&path).with_context(|| format!("{}", path.display()))?.len();
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        self.say(&format!("{} of {bytes} bytes is gone", path.display()));
        Ok(())
    }

    /// SIGSTOP of a role until so many readings have been acknowledged since, then SIGCONT.
    ///
    /// # Errors
    /// If it does not stop, or acknowledgements do not go on.
    pub async fn stop_while_acknowledged(
        &mut self,
        role: Role,
        readings: u64,
    ) -> anyhow::Result<()> {
        self.fault_comes()?;
        let process = self.system.role(role)?;
        process.signal(Signal::STOP)?;
        let what = || format!("{} is stopped", role.name());
        wait::until(LONGEST_SILENCE, what, async || {
            Ok((process.state() == Some('T')).then_some(()))
        })
        .await?;
        self.saw(format!("{}: process {process} in state T", role.name()));
        let stopped = Instant::now();
        let before = self.load.acknowledgements();
        let acknowledged = loop {
            self.listen()?;
            let acknowledged = self.load.acknowledgements() - before;
            if acknowledged >= readings {
                break acknowledged;
            }
            ensure!(
                stopped.elapsed() < RECOVERED_WITHIN,
                "only {acknowledged} of {readings} readings were acknowledged in {RECOVERED_WITHIN:?}"
            );
            ensure!(process.state() == Some('T'), "process {process} did not stay stopped");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        process.signal(Signal::CONT)?;
        self.fault = Instant::now();
        self.repair = self.fault;
        self.saw(format!(
            "{acknowledged} readings acknowledged in {:.1} s meanwhile",
            stopped.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// The role has never had more memory than this.
    ///
    /// # Errors
    /// If it has.
    pub fn memory_stays_below(&mut self, role: Role, bytes: u64) -> anyhow::Result<()> {
        let peak = self.system.role(role)?.peak_bytes().context("no VmHWM in /proc")?;
        let words = format!("{} used {} MiB at its peak", role.name(), peak >> 20);
        ensure!(peak < bytes, "{words}, expected less than {} MiB", bytes >> 20);
        self.saw(words);
        Ok(())
    }

    /// Who runs now.
    pub fn pids(&self) -> Pids {
        self.system.pids()
    }

    /// Whose place others have taken since, if anybody's.
    pub fn tells_who_was_replaced(&mut self, before: &Pids) {
        for (role, new) in self.system.pids() {
            if let Some(old) = before.get(role).filter(|old| **old != new) {
                self.saw(format!("{role}: process {old} ended, {new} took its place"));
            }
        }
    }

    /// SIGSTOP of a role for so long, then SIGCONT.
    ///
    /// # Errors
    /// If it does not stop.
    pub async fn pause(&mut self, role: Role, time: Duration) -> anyhow::Result<()> {
        self.fault_comes()?;
        let process = self.system.role(role)?;
        process.signal(Signal::STOP)?;
        let what = || format!("{} is stopped", role.name());
        wait::until(LONGEST_SILENCE, what, async || {
            Ok((process.state() == Some('T')).then_some(()))
        })
        .await?;
        tokio::time::sleep(time).await;
        process.signal(Signal::CONT)?;
        self.repaired();
        self.saw(format!("{}: process {process} in state T for {time:?}", role.name()));
        Ok(())
    }

    /// SIGTERM to every role, in an order that the seed decides, and each by itself.
    ///
    /// # Errors
    /// If one does not end in 10 s.
    pub async fn terminate_everything(&mut self) -> anyhow::Result<Pids> {
        self.fault_comes()?;
        let order = self.random.shuffled(&Role::ALL);
        let (pids, took) = self.system.terminate(&order).await?;
        let names: Vec<_> = order.iter().map(|role| role.name()).collect();
        self.say(&format!("SIGTERM to {names:?}; all gone after {:.2} s", took.as_secs_f64()));
        Ok(pids)
    }

    /// The role cannot start any more: its secrets are open to others, which it refuses.
    ///
    /// # Errors
    /// What the file system says.
    pub fn spoil_secrets(&mut self, role: Role) -> anyhow::Result<()> {
        self.protect_secrets(role, 0o644)
    }

    /// The role can start again. Recovery counts from here.
    ///
    /// # Errors
    /// What the file system says.
    pub fn repair_secrets(&mut self, role: Role) -> anyhow::Result<()> {
        self.protect_secrets(role, 0o600)?;
        self.fault_ends()
    }

    fn protect_secrets(&mut self, role: Role, mode: u32) -> anyhow::Result<()> {
        let path = self.site.file(&format!("keys/{}/secrets.toml", role.name()));
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("{}", path.display()))?;
        self.say(&format!("{} has mode {mode:o}", path.display()));
        Ok(())
    }

    /// kill -9 of a role that cannot start again. Waits until it was tried so often, which must take at
    /// least `pauses`; all other roles live on.
    ///
    /// # Errors
    /// If it is tried less, or more often, or another role dies.
    pub async fn crashes_at_start(
        &mut self,
        role: Role,
        times: u32,
        pauses: Duration,
    ) -> anyhow::Result<()> {
        self.fault_comes()?;
        let before = self.system.restarts(role);
        let mut others = self.system.pids();
        others.remove(role.name());
        self.system.kill(role)?;
        let begun = Instant::now();
        let Self { system, load, silence, .. } = self;
        let what = || format!("{} was started {times} times", role.name());
        wait::until(pauses * 2 + RECOVERED_WITHIN, what, async || {
            load.catch_up()?;
            silence.listen(load.acknowledgements());
            Ok((system.restarts(role) - before > u64::from(times)).then_some(()))
        })
        .await?;
        let took = begun.elapsed();
        let words = format!(
            "{} died at its start {times} times in {:.1} s",
            role.name(),
            took.as_secs_f64()
        );
        ensure!(took >= pauses, "{words}, which is no backoff: expected {pauses:?} at least");
        let mut now = self.system.pids();
        now.remove(role.name());
        ensure!(now == others, "other roles are not what they were: {others:?}, now {now:?}");
        self.saw(words);
        Ok(())
    }

    /// Waits until the role has died so often since the start of the drill, of what it reads.
    ///
    /// # Errors
    /// If it has not.
    pub async fn dies_by_itself(&mut self, role: Role, times: u64) -> anyhow::Result<()> {
        let what = || format!("{} has died {times} times", role.name());
        wait::until(REPLACED_WITHIN, what, async || {
            self.listen()?;
            Ok((self.system.restarts(role) >= times).then_some(()))
        })
        .await?;
        self.repaired();
        self.saw(format!("{} has died {times} times", role.name()));
        Ok(())
    }

    /// The role has died so often and no more.
    ///
    /// # Errors
    /// If it has.
    pub fn has_died(&self, role: Role, times: u64) -> anyhow::Result<()> {
        let died = self.system.restarts(role);
        ensure!(died == times, "{} has died {died} times, expected {times}", role.name());
        Ok(())
    }
}
