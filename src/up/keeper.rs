//! Keeps one child process alive until it is told to stop.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vigia_kit::shutdown::{Shutdown, Switch};

use super::backoff::Backoff;
use super::run_state::{Name, RunState};
use super::terminal;
use crate::{exit, heap};

/// A first life that ends within this time with such an exit code is a refusal.
const START_WITHIN: Duration = Duration::from_secs(10);
/// Time between SIGTERM and SIGKILL.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// Time for the last lines of a dead child.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// In front of its lines and in the log.
    pub name: Name,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments. No secrets: everybody on the machine can read them.
    pub arguments: Vec<OsString>,
}

/// A child that says at the start of its very first life that it cannot work: a wrong configuration, a port in use.
/// Starting it again would not help.
#[derive(Debug)]
pub struct Refusal {
    /// Which child.
    pub name: Name,
    /// Its exit code, one of [`exit::USAGE`] and [`exit::UNAVAILABLE`].
    pub code: u8,
    /// Its own words.
    pub words: String,
}

/// A child that is kept alive.
#[derive(Debug)]
pub struct Kept {
    stop: Switch,
    task: JoinHandle<()>,
}

impl Kept {
    /// Starts it, and again whenever it dies.
    pub fn start(
        program: Program,
        state: Arc<RunState>,
        refusals: mpsc::UnboundedSender<Refusal>,
    ) -> Self {
        let (stop, stopped) = Shutdown::new();
        Self { stop, task: tokio::spawn(keep(program, state, refusals, stopped)) }
    }

    /// SIGTERM, and SIGKILL if that does not help; returns when it is gone.
    pub async fn stop(self) {
        self.stop.end();
        let _ = self.task.await;
    }
}

async fn keep(
    program: Program,
    state: Arc<RunState>,
    refusals: mpsc::UnboundedSender<Refusal>,
    mut stopped: Shutdown,
) {
    let name = program.name;
    let mut backoff = Backoff::default();
    let mut first = true;
    while !stopped.is_ended() {
        let begun = Instant::now();
        let (reason, code, words) = match spawn(&program) {
            Ok(mut child) => {
                state.started(name, child.id());
                let lines = tokio::spawn(pass_on(name, child.stderr.take()));
                let status = tokio::select! {
                    status = child.wait() => status,
                    () = stopped.ended() => {
                        end(name, &mut child).await;
                        state.stopped(name);
                        let _ = timeout(LAST_LINES_WITHIN, lines).await;
                        return;
                    }
                };
                let words = timeout(LAST_LINES_WITHIN, lines).await.ok().and_then(Result::ok);
                match status {
                    Ok(status) => (describe(status), status.code(), words.unwrap_or_default()),
                    Err(error) => (format!("cannot be watched: {error}"), None, String::new()),
                }
            }
            Err(error) => (format!("cannot be started: {error}"), None, String::new()),
        };
        state.died(name);
        let refusing =
            [exit::USAGE, exit::UNAVAILABLE].into_iter().find(|&known| code == Some(known.into()));
        if let Some(code) = refusing.filter(|_| first && begun.elapsed() < START_WITHIN) {
            let _ = refusals.send(Refusal { name, code, words });
            return;
        }
        first = false;
        let pause = backoff.after(begun.elapsed());
        let pause_ms = pause.as_millis() as u64;
        tracing::warn!(child = %name, reason, pause_ms, "child ended, starting it again");
        tokio::select! {
            () = stopped.ended() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn spawn(program: &Program) -> io::Result<Child> {
    Command::new(&program.path)
        .args(&program.arguments)
        // A role need not start itself anew for them, and so is from its beginning what it says it is.
        .envs(heap::missing())
        .stdin(Stdio::null())
        // Standard output is the supervisor's own: its last line is the summary.
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C is for the supervisor, which then stops its children in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Passes on a child's lines with its name in front; returns the last one.
async fn pass_on(name: Name, from: Option<impl AsyncRead + Unpin>) -> String {
    let mut last = String::new();
    let Some(from) = from else { return last };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        last = String::from_utf8_lossy(&line).trim_end().to_owned();
        terminal::line(&format!("{name} | {last}"));
        line.clear();
    }
    last
}

async fn end(name: Name, child: &mut Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    if let Some(pid) = pid
        && let Err(error) = kill_process(pid, Signal::TERM)
    {
        tracing::warn!(child = %name, %error, "cannot send SIGTERM");
    }
    match timeout(STOP_WITHIN, child.wait()).await {
        Ok(Ok(status)) => tracing::info!(child = %name, reason = describe(status), "stopped"),
        Ok(Err(error)) => tracing::warn!(child = %name, %error, "cannot be watched"),
        Err(_) => {
            tracing::error!(child = %name, "did not stop within {STOP_WITHIN:?}; SIGKILL");
            let _ = child.kill().await;
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}
