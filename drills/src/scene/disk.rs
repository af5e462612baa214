//! Disks that are full, and disks that fail.

use std::time::Duration;

use anyhow::{Context, ensure};
use vigia_kit::site::Role;

use super::Scene;
use crate::roster::Pids;
use crate::strace::Strace;
use crate::wait;

/// A full disk, a failing sync and a dead router are noticed this soon.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// Its last words.
const WATCHDOG: &str = "the broker is dead inside this process";

impl Scene {
    /// Fills the role's small disk, so that no more than this is left.
    ///
    /// # Errors
    /// If it cannot be filled.
    pub fn fill_disk(&mut self, leave_mib: u64) -> anyhow::Result<()> {
        self.fault_comes()?;
        let free = self.site.small_disk().fill(leave_mib)?;
        self.saw(format!("the disk is filled, {free} bytes are free"));
        Ok(())
    }

    /// Gives the room back. Recovery counts from here.
    ///
    /// # Errors
    /// What the file system says.
    pub fn clear_disk(&mut self) -> anyhow::Result<()> {
        let free = self.site.small_disk().clear()?;
        self.fault_ends()?;
        self.say(&format!("there is room again: {free} bytes"));
        Ok(())
    }

    /// Waits until a process of the role has ended by itself.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ends_by_itself(&mut self, role: Role, old: &Pids) -> anyhow::Result<()> {
        let old = *old.get(role.name()).context("it did not run")?;
        let what = || format!("{}, process {old}, ends", role.name());
        wait::until(NOTICED_WITHIN, what, async || Ok(old.state().is_none().then_some(()))).await?;
        let after = self.fault.elapsed().as_secs_f64();
        self.saw(format!("{}: process {old} ended by itself after {after:.2} s", role.name()));
        Ok(())
    }

    /// Waits until the supervisor has replaced it.
    ///
    /// # Errors
    /// If it does not.
    pub async fn is_replaced(&mut self, role: Role, old: &Pids) -> anyhow::Result<()> {
        let old = *old.get(role.name()).context("it did not run")?;
        let what = || format!("{} runs again", role.name());
        let system = &mut self.system;
        let new = wait::until(NOTICED_WITHIN, what, async || Ok(system.replacement(role, old)));
        let new = new.await?;
        self.repaired();
        self.say(&format!("{}: {new} took its place", role.name()));
        Ok(())
    }

    /// The `nth` sync of the role from now on fails with EIO. Returns when the role has ended of it.
    ///
    /// # Errors
    /// If it cannot be injected, or the role lives on.
    pub async fn fail_sync(&mut self, role: Role, nth: u32) -> anyhow::Result<()> {
        let pids = self.system.pids();
        let process = self.system.role(role)?.to_string();
        let injection = format!("inject=fdatasync,fsync:error=EIO:when={nth}");
        let strace = Strace::attach(self.site.path(), &process, true, &injection).await?;
        self.fault_comes()?;
        self.ends_by_itself(role, &pids).await?;
        let seen = strace.injected().context("strace saw no failed sync")?;
        self.saw(format!("{}: {seen}", role.name()));
        self.is_replaced(role, &pids).await
    }

    /// The broker's router hangs in its next system call, and nothing else does.
    ///
    /// # Errors
    /// If it cannot be made to.
    pub async fn hang_router(&mut self) -> anyhow::Result<Strace> {
        let broker = self.system.role(Role::Broker)?;
        let thread = broker.thread("router-0").context("the broker has no thread router-0")?;
        self.fault_comes()?;
        let injection = "inject=all:delay_enter=100000000";
        let strace =
            Strace::attach(self.site.path(), &thread.to_string(), false, injection).await?;
        ensure!(broker.state().is_some_and(|state| state != 'T'), "the broker itself is stopped");
        self.saw(format!(
            "thread router-0 ({thread}) of broker {broker} hangs in its system calls"
        ));
        Ok(strace)
    }

    /// Waits until the broker's watchdog has had enough; then what hangs is let go, as strace would hold
    /// the dead process.
    ///
    /// # Errors
    /// If it does not notice.
    pub async fn watchdog_notices(&mut self, hanging: Strace) -> anyhow::Result<()> {
        let system = &self.system;
        let before = self.watchdog;
        let what = || "the watchdog ends the broker".to_owned();
        self.watchdog = wait::until(NOTICED_WITHIN, what, async || {
            Ok(Some(system.said(WATCHDOG)).filter(|now| *now > before))
        })
        .await?;
        drop(hanging);
        let after = self.fault.elapsed().as_secs_f64();
        self.saw(format!("after {after:.1} s the log says: {WATCHDOG}"));
        Ok(())
    }

    /// It took no longer than this since the fault.
    ///
    /// # Errors
    /// If it did.
    pub fn took_at_most(&mut self, limit: Duration) -> anyhow::Result<()> {
        let took = self.fault.elapsed();
        ensure!(took <= limit, "it took {:.1} s, expected {limit:?}", took.as_secs_f64());
        Ok(())
    }
}
