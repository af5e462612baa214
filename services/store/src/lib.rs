//! The store role: what arrives as text is kept in redb, accounted for, and served.
//!
//! Text in, through [`batch`] (opened, parsed, counted), into [`state`] (judged, in memory), through
//! [`tables`] (one transaction), and then acknowledged and reported by [`ingest`]. Out again through
//! [`query`] and [`ledger`], served by [`api`].

mod account;
pub mod api;
pub mod backup;
pub mod batch;
mod duplicates;
mod extents;
pub mod health;
mod ingest;
mod journals;
pub mod ledger;
pub mod limits;
mod metrics;
mod present;
pub mod query;
mod run;
mod sabotage;
mod state;
pub mod store;
pub mod stream;
mod streams;
mod tables;

use std::sync::Arc;

use anyhow::Context;
pub use api::openapi_yaml;
use tokio::net::TcpListener;
use vigia_kit::audit::Audit;
use vigia_kit::bus::BusLogin;
use vigia_kit::clock::now;
use vigia_kit::config::Unsynced;
use vigia_kit::metrics as kit_metrics;
use vigia_kit::names::Names;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_kit::tls::Files;
use vigia_kit::tls_server::{Clients, TlsServer};
use vigia_protocol::topic::Arrow;

use crate::api::Shared;
use crate::api::access::Access;
use crate::batch::Keys;
use crate::health::Health;
use crate::ingest::{Ingest, die};
pub use crate::present::Present;
use crate::store::Store;

/// Runs the role until the end.
///
/// # Errors
/// What keeps it from starting: secrets, another store on the site, the file, the address.
pub async fn run(site: Site, shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = site.lock_role(Role::Store)?;
    let secrets = site.secrets(Role::Store)?;
    let audit = Arc::new(Audit::of_role(&site, Role::Store).context("the audit log")?);
    let login = BusLogin::of(&site, Role::Store, &secrets)?;
    let address = site.config.store.api;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("store.api: cannot listen on {address}"))?;
    let bound = listener.local_addr()?;
    let files = site.config.store.tls.then(|| Files::of(site.dir(), Role::Store.name()));
    let tls = files.map(|files| TlsServer::load(files, Clients::Nameless)).transpose()?;
    let access = Access::open(&site.tokens_path(), bound, now, audit.clone())?;

    let numbers = kit_metrics::listen(&site, Role::Store).await?;

    let directory = site.data_dir(Role::Store)?;
    let path = directory.join("store.redb");
    let unsynced = match site.config.drills.unsynced {
        Unsynced::Kernel => vigia_disk::Unsynced::Kernel,
        Unsynced::Process => vigia_disk::Unsynced::Process,
    };
    let defect = site.config.drills.sabotage;
    let opening = tokio::task::spawn_blocking(move || Store::open(&path, unsynced, defect, now()));
    let store = Arc::new(opening.await??);
    site.publish_addresses(&[("api", bound)])?;
    tracing::info!(api = %bound, instance = format!("{:016x}", store.instance()), "ready");

    let health = Arc::new(Health::default());
    let ingest = Ingest {
        store: store.clone(),
        login: login.clone(),
        keys: Arc::new(Keys {
            text: secrets.arrow(Arrow::Text).clone(),
            journal: secrets.arrow(Arrow::Journal).clone(),
        }),
        stored: secrets.arrow(Arrow::Stored).clone(),
        health: health.clone(),
    };
    let names = Arc::new(Names::new(site.sensors_dir()));
    let (of, its, called) = (store.clone(), health.clone(), names.clone());
    let page = move || metrics::page(&of, &its, &called);
    let numbers = kit_metrics::serve(numbers, page, shutdown.clone());
    let present = Arc::new(Present::default());
    let shared = Shared::new(store.clone(), health, present.clone(), names, shutdown.clone());
    let served = api::serve(listener, tls, access, shared);
    // Of its own: what is shown to people must not hold up what is stored.
    let listening = present.listen(BusLogin { status: None, ..login.clone() }, shutdown.clone());
    let node = site.config.node.clone();
    let backups = backup::request::serve(&directory, store.clone(), node, audit, shutdown.clone());
    let (served, numbered, (), (), ()) =
        tokio::join!(served, numbers, backups, listening, ingest.run(shutdown));
    let last = tokio::task::spawn_blocking(move || store.checkpoint(now()));
    if let Err(failed) = last.await? {
        die(&failed);
    }
    numbered.context("metrics")?;
    served.context("the API")
}
