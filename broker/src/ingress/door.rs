//! Accepts sensors' connections within the bounds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::Site;

use super::online::Online;
use super::session::{self, Surroundings};
use crate::journal::Journal;
use crate::limits::{SENSOR_CONNECTIONS, UNAUTHENTICATED_CONNECTIONS};

/// Those who have not shown a key yet, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Waiting(Arc<Mutex<VecDeque<(u64, AbortHandle)>>>);

impl Waiting {
    fn enter(&self, number: u64, task: AbortHandle) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= UNAUTHENTICATED_CONNECTIONS
            && let Some((_, oldest)) = waiting.pop_front()
        {
            oldest.abort();
        }
        waiting.push_back((number, task));
    }

    /// This one has shown its key, or is gone.
    pub fn leave(&self, number: u64) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|(other, _)| *other != number);
    }
}

/// Serves the sensor port until the end.
pub async fn serve(
    listener: TcpListener,
    site: Arc<Site>,
    journal: Journal,
    online: Online,
    mut shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(SENSOR_CONNECTIONS));
    let waiting = Waiting::default();
    let mut number = 0;
    loop {
        let accepted = tokio::select! {
            () = shutdown.ended() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end first.
                tracing::warn!(%error, "cannot accept a sensor's connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, most = SENSOR_CONNECTIONS, "too many sensor connections");
            continue;
        };
        number += 1;
        let surroundings = Surroundings {
            number,
            peer,
            site: Arc::clone(&site),
            journal: journal.clone(),
            online: online.clone(),
            waiting: waiting.clone(),
            shutdown: shutdown.clone(),
        };
        let leaving = waiting.clone();
        let (enter, entered) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            // Not before it stands among the waiting, or it could not leave them.
            let _ = entered.await;
            session::run(stream, surroundings).await;
            leaving.leave(number);
            drop(place);
        });
        waiting.enter(number, task.abort_handle());
        let _ = enter.send(());
    }
}
