//! Which session belongs to whom, and what becomes of those without a connection.
//!
//! A client id belongs to its user: two users may use the same one and never meet.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use vigia_kit::shutdown::Shutdown;

use super::Shared;
use super::session::Session;
use super::wire::Will;
use crate::limits::{OFFLINE_SESSIONS, SESSION_SWEEP, TAKEOVER_WITHIN};

/// User and client id.
pub type Key = (String, String);

/// Tells a connection that another one of the same client has come, and takes its session, if that
/// is kept.
pub type HandOver = oneshot::Sender<Option<Session>>;

/// All sessions.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<Key, Slot>>);

enum Slot {
    /// With a connection of this serial.
    Online(u64, oneshot::Sender<HandOver>),
    Offline(Box<Offline>),
}

struct Offline {
    session: Session,
    since: Instant,
    /// When it ends, if ever.
    ends: Option<Instant>,
    /// A will whose delay runs.
    will: Option<(Will, Instant)>,
}

impl Sessions {
    /// A connection takes its place; returns the session from before. An older connection ends.
    pub async fn claim(
        &self,
        key: &Key,
        connection: u64,
        order: oneshot::Sender<HandOver>,
    ) -> Option<Session> {
        let before = self.lock().insert(key.clone(), Slot::Online(connection, order));
        match before? {
            Slot::Offline(mut offline) => {
                // Its delay ends here: whoever goes on with the session drops it, whoever ends the
                // session publishes it.
                offline.session.will = offline.will.take().map(|(will, _)| will);
                Some(offline.session)
            }
            Slot::Online(_, older) => {
                let (reply, replied) = oneshot::channel();
                older.send(reply).ok()?;
                timeout(TAKEOVER_WITHIN, replied).await.ok()?.ok()?
            }
        }
    }

    /// A connection has ended; its session is kept or ended. Returns a will that is due now.
    ///
    /// # Errors
    /// The session, if another connection has claimed it: it is about to ask for it.
    pub fn release(
        &self,
        key: &Key,
        connection: u64,
        mut session: Session,
        shared: &Shared,
    ) -> Result<Option<Will>, Box<Session>> {
        let mut all = self.lock();
        if !matches!(all.get(key), Some(Slot::Online(current, _)) if *current == connection) {
            return Err(Box::new(session));
        }
        if session.expiry == 0 {
            all.remove(key);
            drop(all);
            return Ok(session.end(shared));
        }
        let now = Instant::now();
        let after = |seconds: u32| now + Duration::from_secs(seconds.into());
        let ends = (session.expiry != u32::MAX).then(|| after(session.expiry));
        let (due, waiting) = match session.will.take() {
            Some(will) if will.delay > 0 => {
                let at = after(will.delay);
                (None, Some((will, ends.map_or(at, |ends| ends.min(at)))))
            }
            will => (will, None),
        };
        let offline = Offline { session, since: now, ends, will: waiting };
        all.insert(key.clone(), Slot::Offline(Box::new(offline)));
        drop(all);
        Ok(due)
    }

    /// How many sessions have a connection, and how many have none.
    pub fn count(&self) -> (usize, usize) {
        let all = self.lock();
        let online = all.values().filter(|slot| matches!(slot, Slot::Online(..))).count();
        (online, all.len() - online)
    }

    /// Ends sessions whose time is over, publishes wills whose delay is over, until the end.
    pub async fn sweep(&self, shared: &Shared, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.ended() => return,
                () = tokio::time::sleep(SESSION_SWEEP) => {}
            }
            let now = Instant::now();
            let mut wills = Vec::new();
            let mut over = Vec::new();
            {
                let mut all = self.lock();
                for (key, slot) in all.iter_mut() {
                    let Slot::Offline(offline) = slot else { continue };
                    if offline.will.as_ref().is_some_and(|(_, at)| *at <= now) {
                        wills.extend(offline.will.take().map(|(will, _)| will));
                    }
                    if offline.ends.is_some_and(|end| end <= now) {
                        over.push(key.clone());
                    }
                }
                over.extend(too_many(&all, shared));
                for key in over {
                    if let Some(Slot::Offline(mut offline)) = all.remove(&key) {
                        wills.extend(offline.will.take().map(|(will, _)| will));
                        let _ = offline.session.end(shared);
                    }
                }
            }
            for will in wills {
                shared.publish_will(will).await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Beyond the bound those go that have been away for longest; never one of our own roles.
fn too_many(all: &HashMap<Key, Slot>, shared: &Shared) -> Vec<Key> {
    let mut offline: Vec<(Instant, &Key)> = all
        .iter()
        .filter_map(|(key, slot)| match slot {
            Slot::Offline(offline) if !shared.is_role(&key.0) => Some((offline.since, key)),
            _ => None,
        })
        .collect();
    let surplus = offline.len().saturating_sub(OFFLINE_SESSIONS);
    if surplus == 0 {
        return Vec::new();
    }
    offline.sort_unstable_by_key(|(since, _)| *since);
    tracing::warn!(surplus, most = OFFLINE_SESSIONS, "too many sessions of clients that are away");
    offline[..surplus].iter().map(|(_, key)| (*key).clone()).collect()
}
