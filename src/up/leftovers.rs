//! Children of a supervisor that was killed: they have been told to stop and need a moment.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use vigia_kit::site::Site;

use super::run_state::Processes;
use crate::exit::Unavailable;

const WAIT: Duration = Duration::from_secs(15);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Returns when the last supervisor's children are gone.
///
/// # Errors
/// If they do not go.
pub async fn wait_for_their_end(site: &Site) -> anyhow::Result<()> {
    let Some(processes) = Processes::read(site) else { return Ok(()) };
    let begun = Instant::now();
    loop {
        let alive: Vec<String> =
            processes.pids().filter(|&pid| is_of(site, pid)).map(|pid| pid.to_string()).collect();
        if alive.is_empty() {
            return Ok(());
        }
        if begun.elapsed() >= WAIT {
            return Err(Unavailable(format!(
                "processes of an earlier 'vigia up' on this site still run: {}",
                alive.join(", ")
            ))
            .into());
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Whether the process is there and has the site in its command line: numbers are used again.
fn is_of(site: &Site, pid: u32) -> bool {
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let dir = site.dir().as_os_str().as_bytes();
    command.split(|&byte| byte == 0).any(|argument| argument.starts_with(dir))
}
