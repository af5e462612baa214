//! The gate: where every MQTT client comes in, our own roles included.
//!
//! rumqttd routes messages and keeps their log, and is embedded without a door of its own. It knows
//! no access rights, and several ordinary inputs kill it; so all of MQTT that clients see is here:
//!
//! ```text
//! door ── tls ── client ─┬─ io, wire        bytes ↔ requests and answers, both versions
//!                        ├─ identity        who, and which topics (account, passwords, lockout)
//!                        ├─ session(s)      subscriptions, what is in flight, wills
//!                        ├─ retained        the newest message of each topic
//!                        ├─ system          $SYS
//!                        └─ router ─ rumqttd
//! ```
//!
//! Not offered: QoS 2 (a subscription is granted QoS 1; a QoS 2 publication ends the connection),
//! topic aliases, shared subscriptions, extended authentication. CONNACK says so, where it can.

pub mod account;
mod client;
mod counters;
mod door;
pub mod identity;
mod io;
mod lockout;
mod message;
pub mod metrics;
mod passwords;
mod retained;
mod router;
mod session;
mod sessions;
mod system;
pub mod tls;
mod wire;

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use vigia_kit::audit::Audit;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::Role;

use counters::Counters;
use door::House;
use identity::Identity;
use retained::RetainedMessages;
use router::Router;
use sessions::Sessions;
use system::System;
use tls::Tls;

use crate::limits::{MQTT_CONNECTIONS, MQTT_CONNECTIONS_PER_ACCOUNT};
use vigia_kit::places::Places;

/// What all connections share.
pub struct Shared {
    identity: Identity,
    router: Router,
    retained: Arc<RetainedMessages>,
    sessions: Sessions,
    system: System,
    counters: Counters,
    /// For the connections of accounts that are not our own roles'.
    guests: Places<String>,
    audit: Arc<Audit>,
}

/// A listener, with TLS or without.
pub struct Entrance {
    /// Where clients connect.
    pub listener: TcpListener,
    /// How they are encrypted.
    pub tls: Option<Arc<Tls>>,
}

impl Shared {
    /// Starts the router and opens what is kept. Refused logins are noted in `audit`.
    ///
    /// # Errors
    /// If the router does not start or the file of retained messages cannot be opened.
    pub fn open(identity: Identity, directory: &Path, audit: Arc<Audit>) -> anyhow::Result<Self> {
        Ok(Self {
            identity,
            router: Router::start()?,
            retained: Arc::new(RetainedMessages::open(directory)?),
            sessions: Sessions::default(),
            system: System::new(),
            counters: Counters::default(),
            guests: Places::new(MQTT_CONNECTIONS / 4 * 3, MQTT_CONNECTIONS_PER_ACCOUNT),
            audit,
        })
    }

    /// Keeps what is to be kept; the last thing the process does with it.
    pub fn close(&self) {
        self.retained.flush();
    }

    /// Whether this account is one of our own roles'.
    fn is_role(&self, user: &str) -> bool {
        Role::ALL.iter().any(|role| role.name() == user)
    }
}

/// Serves MQTT clients until the end.
pub async fn serve(shared: Arc<Shared>, entrances: Vec<Entrance>, shutdown: Shutdown) {
    let house = House::new();
    for Entrance { listener, tls } in entrances {
        let (house, shared) = (house.clone(), Arc::clone(&shared));
        tokio::spawn(door::serve(listener, tls, house, shared, shutdown.clone()));
    }
    tokio::spawn(Arc::clone(&shared.retained).keep_up(shutdown.clone()));
    tokio::join!(
        shared.identity.watch(shutdown.clone()),
        shared.sessions.sweep(&shared, shutdown.clone()),
        shared.system.tell(&shared, shutdown.clone()),
    );
}
