//! What the gate counts, for `$SYS` and for `/metrics`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::wire::No;

/// A number that grows, or one that goes up and down.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// So many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// All counts of the gate.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections that logged in.
    pub connections: Count,
    /// What each user did.
    pub users: Users,
    /// Bytes read from clients.
    pub bytes_received: Count,
    /// Bytes written to clients.
    pub bytes_sent: Count,
    /// Packets read.
    pub packets_received: Count,
    /// Messages that a subscriber was too slow for: gone from the router's log before it took them,
    /// or larger than it takes.
    pub publish_dropped: Count,
    /// Subscriptions now.
    pub subscriptions: Count,
    /// Logins refused.
    pub logins_refused: Count,
    /// Publications refused, by reason.
    pub publish_refused: Refusals,
    /// Subscriptions refused, by reason.
    pub subscribe_refused: Refusals,
    /// Connections closed before they were accepted: too many in all, from one address, or waiting.
    pub connections_refused: Count,
    /// Connections closed because what came was not MQTT.
    pub violations: Count,
    /// Connections closed because nothing could be written to them for too long.
    pub too_slow: Count,
}

/// What one user did.
#[derive(Debug, Default)]
pub struct UserCounters {
    /// PUBLISH packets read.
    pub published: Count,
    /// PUBLISH packets written.
    pub delivered: Count,
}

/// Counters by user: as many as there were accounts.
#[derive(Debug, Default)]
pub struct Users(Mutex<BTreeMap<String, Arc<UserCounters>>>);

impl Users {
    /// Those of one user.
    pub fn of(&self, name: &str) -> Arc<UserCounters> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(users.entry(name.to_owned()).or_default())
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<(String, Arc<UserCounters>)> {
        let users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        users.iter().map(|(name, counters)| (name.clone(), Arc::clone(counters))).collect()
    }
}

/// Refusals by reason.
#[derive(Debug, Default)]
pub struct Refusals([Count; REASONS.len()]);

const REASONS: [No; 4] = [No::NotAuthorized, No::Quota, No::BadTopic, No::Shared];

impl Refusals {
    /// One more.
    pub fn up(&self, no: No) {
        if let Some(place) = REASONS.iter().position(|reason| *reason == no) {
            self.0[place].up();
        }
    }

    /// Every reason with its count.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.iter().zip(&self.0).map(|(reason, count)| (reason.name(), count.get()))
    }
}
