//! How a running store is asked for a backup: by a socket in its directory, which nobody else may enter.
//! Only the store can read its file while it runs, and what the API lets in from elsewhere is not to
//! write files here.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream as Asked};
use tokio::sync::mpsc;
use tokio::time::timeout;
use vigia_kit::audit::Audit;
use vigia_kit::clock::now;
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::topic::NodeName;

use super::{Label, Progress, note};
use crate::limits::{BACKUP_ASKED_WITHIN, BACKUP_REQUEST_BYTES, BACKUP_TOLD_WITHIN};
use crate::store::Store;

const SOCKET: &str = "backup.sock";

/// What the store answers, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Said {
    Progress(Progress),
    Done(Label),
    Failed(String),
}

/// Answers one request after the other until the end.
pub async fn serve(
    directory: &Path,
    store: Arc<Store>,
    node: NodeName,
    audit: Arc<Audit>,
    mut shutdown: Shutdown,
) {
    let listener = match listen(directory) {
        Ok(listener) => listener,
        Err(error) => {
            // Readings are more important than backups of them.
            tracing::error!(%error, "no backup can be asked for while this store runs");
            return shutdown.ended().await;
        }
    };
    let serving = async {
        loop {
            let answered = match listener.accept().await {
                Ok((stream, _)) => answer(stream, &store, &node, &audit).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = answered {
                tracing::warn!(error = format!("{error:#}"), "a backup was not finished");
            }
        }
    };
    tokio::select! {
        () = shutdown.ended() => {}
        () = serving => {}
    }
}

/// Paths of sockets are at most some 100 bytes long; those of sites may be longer.
fn with_short_path<T>(
    directory: &Path,
    what: impl FnOnce(PathBuf) -> io::Result<T>,
) -> io::Result<T> {
    let opened = File::open(directory)?;
    what(PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd())))
}

fn listen(directory: &Path) -> io::Result<UnixListener> {
    // It is the last store's: this one has the lock.
    match fs::remove_file(directory.join(SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    with_short_path(directory, UnixListener::bind)
}

async fn answer(
    mut stream: Asked,
    store: &Arc<Store>,
    node: &NodeName,
    audit: &Arc<Audit>,
) -> anyhow::Result<()> {
    let (read, mut write) = stream.split();
    let mut request = String::new();
    let mut read = tokio::io::BufReader::new(read.take(BACKUP_REQUEST_BYTES));
    timeout(BACKUP_ASKED_WITHIN, read.read_line(&mut request)).await??;
    let file: PathBuf = serde_json::from_str(&request).context("not a request")?;
    let (says, mut heard) = mpsc::channel(1);
    let (store, node, audit) = (store.clone(), node.clone(), audit.clone());
    let task = tokio::task::spawn_blocking(move || {
        let mut tell = |progress| {
            says.blocking_send(Said::Progress(progress)).context("nobody waits for it any more")
        };
        let last = match store.back_up(&node, &file, now(), &mut tell) {
            Ok(label) => {
                note(&audit, "store-backed-up", &file, &label);
                Said::Done(label)
            }
            Err(error) => Said::Failed(format!("{error:#}")),
        };
        // Who asked may be gone.
        let _ = says.blocking_send(last);
    });
    let mut told = Ok(());
    while let Some(said) = heard.recv().await {
        let line = format!("{}\n", serde_json::to_string(&said)?);
        told = match timeout(BACKUP_TOLD_WITHIN, write.write_all(line.as_bytes())).await {
            Ok(written) => written.context("who asked is gone"),
            Err(_) => Err(anyhow::anyhow!("who asked does not listen")),
        };
        if told.is_err() {
            break;
        }
    }
    // That stops the copy; the next must not meet it.
    drop(heard);
    task.await?;
    told
}

/// Has the store that runs in this directory write a backup, and waits for it.
///
/// # Errors
/// If it does not answer, or what it says.
pub fn ask(directory: &Path, file: &Path, mut tell: impl FnMut(Progress)) -> anyhow::Result<Label> {
    let mut stream = with_short_path(directory, UnixStream::connect)
        .with_context(|| format!("the store does not answer in {}", directory.display()))?;
    stream.write_all(format!("{}\n", serde_json::to_string(file)?).as_bytes())?;
    for line in BufReader::new(stream).lines() {
        match serde_json::from_str(&line?).context("not what a store answers")? {
            Said::Progress(progress) => tell(progress),
            Said::Done(label) => return Ok(label),
            Said::Failed(reason) => bail!("{reason}"),
        }
    }
    bail!("the store ended before the backup did: {} is not there", file.display())
}
