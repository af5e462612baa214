//! Checks passwords that people chose.
//!
//! Such a check is slow on purpose, which makes it the most that a stranger can ask of the broker. So
//! there is one at a time, on a thread that yields to others; after a wrong password there is none for a
//! while; no address has all the places where one waits; and a password that was right is remembered, so that whoever reconnects costs nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::setpriority_process;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;
use vigia_kit::clock;
use vigia_kit::secret_hash::SecretHash;
use zeroize::Zeroizing;

use crate::limits::{
    PASSWORD_NICENESS, PASSWORDS_WAITING, PASSWORDS_WAITING_PER_ADDRESS, WRONG_PASSWORD_PAUSE,
};
use vigia_kit::places::{Place, Places, host};

/// Whose turn it is, and what was right before.
#[derive(Debug)]
pub struct Passwords {
    /// For those who wait, and the one that is under way.
    places: Places<IpAddr>,
    turn: Arc<Semaphore>,
    /// Of this process only, so that the marks below say nothing to anybody else.
    key: [u8; 32],
    /// By user: the hash that a password was checked against, and the password's mark. Users have
    /// accounts, which bounds them.
    right: Mutex<HashMap<String, (SecretHash, blake3::Hash)>>,
}

/// The turn of one check.
pub struct Turn {
    _place: Place<IpAddr>,
    turn: OwnedSemaphorePermit,
}

impl Passwords {
    /// None are known.
    pub fn new() -> Self {
        Self {
            places: Places::new(PASSWORDS_WAITING, PASSWORDS_WAITING_PER_ADDRESS),
            turn: Arc::new(Semaphore::new(1)),
            key: clock::random(),
            right: Mutex::default(),
        }
    }

    /// Whether this password of this user was right before, and its hash is still the same.
    pub fn was_right(&self, user: &str, hash: &SecretHash, password: &[u8]) -> bool {
        let mark = blake3::keyed_hash(&self.key, password);
        let right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.get(user).is_some_and(|(then, known)| then == hash && *known == mark)
    }

    /// Remembers that it was.
    pub fn remember(&self, user: &str, hash: SecretHash, password: &[u8]) {
        let mark = blake3::keyed_hash(&self.key, password);
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        right.insert(user.to_owned(), (hash, mark));
    }

    /// Forgets everything; the accounts are others.
    pub fn forget(&self) {
        self.right.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits for a turn; `None` if too many wait.
    pub async fn turn(&self, from: IpAddr) -> Option<Turn> {
        let place = self.places.take(host(from))?;
        let turn = self.turn.clone().acquire_owned().await.ok()?;
        Some(Turn { _place: place, turn })
    }
}

impl Turn {
    /// Whether the hash is the password's; `judged` hears of it even if nobody waits for the answer any
    /// more. `None` if the process ends or has no threads left.
    pub async fn check(
        self,
        hash: SecretHash,
        password: &[u8],
        judged: impl FnOnce(bool) + Send + 'static,
    ) -> Option<bool> {
        let password = Zeroizing::new(password.to_vec());
        let turn = self.turn;
        let check = tokio::spawn(async move {
            let right = unhurried(move || hash.matches(&password)).await?;
            judged(right);
            if !right {
                tokio::spawn(async move {
                    sleep(WRONG_PASSWORD_PAUSE).await;
                    drop(turn);
                });
            }
            Some(right)
        });
        check.await.ok().flatten()
    }
}

/// Computes on a thread that yields to others.
async fn unhurried<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("password".to_owned()).spawn(move || {
        // On Linux it is the thread's own, and a lower priority is always allowed.
        let _ = setpriority_process(None, PASSWORD_NICENESS);
        let _ = tell.send(work());
    });
    thread.ok()?;
    told.await.ok()
}
