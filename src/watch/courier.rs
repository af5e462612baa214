//! Tells events to a command and a webhook, one after the other and in order, while polling goes on.
//!
//! Nothing here can hold the watch up or end it: what fails is said on standard error. The command gets what it
//! is told in environment variables, so that no value is ever read as a program.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vigia_kit::api;
use vigia_kit::config::ConfigError;

use super::event::Event;
use super::limits::{
    COMMAND_WITHIN, LAST_EVENTS_WITHIN, WAITING_EVENTS, WEBHOOK_AGAIN, WEBHOOK_WITHIN,
};

/// Whom to tell.
pub struct Hooks {
    /// A program.
    pub command: Option<PathBuf>,
    /// Who takes JSON by POST.
    pub webhook: Option<Webhook>,
}

/// Who takes JSON by POST.
pub struct Webhook {
    client: reqwest::Client,
    url: reqwest::Url,
}

/// Carries events to them.
pub struct Courier {
    queue: mpsc::Sender<Event>,
    task: JoinHandle<()>,
}

impl Webhook {
    /// At this URL. It is shown no token.
    ///
    /// # Errors
    /// A URL that is none, or a file without certificates.
    pub fn new(url: &str, ca: Option<&std::path::Path>) -> Result<Self, ConfigError> {
        let bad = |expected: &str| ConfigError(format!("--webhook {url:?}: expected {expected}"));
        let parsed = reqwest::Url::parse(url).map_err(|_| bad("an http or https URL"))?;
        match (parsed.scheme(), ca) {
            ("http", _) | ("https", Some(_)) => {}
            ("https", None) => return Err(bad("--ca with the authority of its certificate")),
            _ => return Err(bad("an http or https URL")),
        }
        Ok(Self { client: api::client(ca, None, WEBHOOK_WITHIN)?, url: parsed })
    }

    async fn post(&self, event: &Event) -> anyhow::Result<()> {
        let mut pauses = WEBHOOK_AGAIN.iter();
        loop {
            let answer = self.client.post(self.url.clone()).json(event).send().await;
            let error = match answer.and_then(reqwest::Response::error_for_status) {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => anyhow::anyhow!("it answers {}", answer.status()),
                Err(error) => error.without_url().into(),
            };
            match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(error),
            }
        }
    }
}

impl Hooks {
    async fn tell(&self, event: &Event) {
        if let Some(command) = &self.command
            && let Err(error) = run(command, event).await
        {
            eprintln!("vigia: {}: {error:#}", command.display());
        }
        if let Some(webhook) = &self.webhook
            && let Err(error) = webhook.post(event).await
        {
            eprintln!("vigia: the webhook {} was not told: {error:#}", webhook.url);
        }
    }
}

/// Runs the command to its end, which must come in time: else it is killed, with all that it has started.
async fn run(command: &PathBuf, event: &Event) -> anyhow::Result<()> {
    // Standard output is the watch's own.
    let output = Stdio::from(io::stderr().as_fd().try_clone_to_owned()?);
    let mut child = Command::new(command)
        .envs(event.environment())
        .stdin(Stdio::null())
        .stdout(output)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot be started")?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    match timeout(COMMAND_WITHIN, child.wait()).await {
        Ok(status) => {
            let status = status?;
            anyhow::ensure!(status.success(), "ended with {status}");
            Ok(())
        }
        Err(_) => {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
            anyhow::bail!("did not end within {COMMAND_WITHIN:?} and was killed")
        }
    }
}

impl Courier {
    /// Starts it.
    pub fn start(hooks: Hooks) -> Self {
        let (queue, mut events) = mpsc::channel::<Event>(WAITING_EVENTS);
        let task = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                hooks.tell(&event).await;
            }
        });
        Self { queue, task }
    }

    /// Takes an event along.
    pub fn take(&self, event: Event) {
        if let Err(error) = self.queue.try_send(event) {
            let event = error.into_inner();
            eprintln!("vigia: command and webhook are too slow, not told: {}", event.message);
        }
    }

    /// Waits until all is told, but not for ever.
    pub async fn finish(self) {
        drop(self.queue);
        if timeout(LAST_EVENTS_WITHIN, self.task).await.is_err() {
            eprintln!("vigia: not everything was told within {LAST_EVENTS_WITHIN:?}");
        }
    }
}
