//! Connections that have not shown who they are: few, and the oldest goes first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// Those who have not shown a key or a password yet, oldest first.
#[derive(Debug, Clone)]
pub struct Waiting {
    most: usize,
    tasks: Arc<Mutex<VecDeque<(u64, AbortHandle)>>>,
}

impl Waiting {
    /// For so many.
    pub fn new(most: usize) -> Self {
        Self { most, tasks: Arc::default() }
    }

    /// Starts a connection's task among the waiting; it leaves them at its end, if not before. One too many,
    /// and the oldest of them ends.
    pub fn admit(&self, number: u64, task: impl Future<Output = ()> + Send + 'static) {
        let (enter, entered) = oneshot::channel::<()>();
        // A future that waits before another would hold it twice.
        let task = Box::pin(task);
        let waiting = self.clone();
        let task = tokio::spawn(async move {
            // Not before it stands among the waiting, or it could not leave them.
            let _ = entered.await;
            task.await;
            waiting.leave(number);
        });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.len() >= self.most
            && let Some((_, oldest)) = tasks.pop_front()
        {
            oldest.abort();
        }
        tasks.push_back((number, task.abort_handle()));
        drop(tasks);
        let _ = enter.send(());
    }

    /// This one has shown who it is, or is gone. Says whether it was still among the waiting: if not,
    /// it has been told to end, and must begin nothing.
    pub fn leave(&self, number: u64) -> bool {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tasks.len();
        tasks.retain(|(other, _)| *other != number);
        tasks.len() < before
    }
}
