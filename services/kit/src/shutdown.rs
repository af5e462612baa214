//! One switch that tells every task of a process to end.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Waits for the end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Ends everything that holds the [`Shutdown`] made with it.
#[derive(Debug)]
pub struct Switch(watch::Sender<bool>);

impl Shutdown {
    /// A switch and what waits for it.
    pub fn new() -> (Switch, Self) {
        let (sender, receiver) = watch::channel(false);
        (Switch(sender), Self(receiver))
    }

    /// Ends on SIGTERM or SIGINT.
    ///
    /// # Errors
    /// If the signals cannot be watched.
    pub fn on_signals() -> std::io::Result<Self> {
        let (switch, shutdown) = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            switch.end();
        });
        Ok(shutdown)
    }

    /// Returns when the end has come.
    pub async fn ended(&mut self) {
        // A switch that was dropped will never be thrown; that too is an end.
        let _ = self.0.wait_for(|ended| *ended).await;
    }

    /// Whether the end has come.
    pub fn is_ended(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl Switch {
    /// Throws the switch.
    pub fn end(self) {
        self.0.send_replace(true);
        // Keep the channel: receivers made later must see the value, not a closed channel only.
    }
}
