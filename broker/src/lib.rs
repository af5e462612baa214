//! The broker role: sensors in, journal, publisher, embedded MQTT broker.

mod accept;
mod adoption;
pub mod gate;
pub mod ingress;
pub mod journal;
pub mod limits;
mod metrics;
mod publisher;
#[cfg(feature = "sabotage")]
mod sabotage;
mod waiting;
mod watchdog;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

pub use adoption::adopt_store;
use anyhow::Context;
use tokio::net::TcpListener;
use vigia_disk::{Opening, Unsynced};
use vigia_kit::audit::Audit;
use vigia_kit::bus::BusLogin;
use vigia_kit::clock;
use vigia_kit::config::Unsynced as Mode;
use vigia_kit::metrics as kit_metrics;
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_protocol::topic::Arrow;

use crate::gate::Entrance;
use crate::gate::identity::Identity;
use crate::gate::tls::Tls;
use crate::ingress::Online;
use crate::journal::{Bounds, CannotUse, Opened, Terms};

/// Runs the role until the end.
///
/// # Errors
/// A configuration that cannot be used, an address that cannot be bound, a journal that cannot be
/// opened, an MQTT broker that stopped.
pub async fn run(site: Site, shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = site.lock_role(Role::Broker)?;
    let secrets = site.secrets(Role::Broker)?;
    let login = BusLogin::of(&site, Role::Broker, &secrets)?;
    let audit = Arc::new(Audit::of_role(&site, Role::Broker).context("the audit log")?);
    let config = &site.config.broker;
    let node = site.config.node.clone();
    let directory = site.data_dir(Role::Broker)?;
    let listener = TcpListener::bind(config.sensors)
        .await
        .with_context(|| format!("cannot listen for sensors on {}", config.sensors))?;
    let mut entrances = vec![Entrance { listener: mqtt_listener(config.mqtt).await?, tls: None }];
    let mut addresses = vec![("sensor", listener.local_addr()?), ("mqtt", config.mqtt)];
    if let (Some(tls), Some(address)) = (Tls::load(&site)?, config.mqtt_tls) {
        let tls = Some(Arc::new(tls));
        entrances.push(Entrance { listener: mqtt_listener(address).await?, tls });
        addresses.push(("mqtt-tls", address));
    }
    let metrics_listener = kit_metrics::listen(&site, Role::Broker).await?;
    let identity = Identity::open(&site.users_path())?;
    let gate = Arc::new(gate::Shared::open(identity, &directory, Arc::clone(&audit))?);

    let opened = open_journal(&site, &directory)?;
    tracing::info!(log = %opened.current().id, logs = opened.held().len(), "journal open");
    let disk = opened.disk();
    let terms = Terms {
        key: secrets.arrow(Arrow::Raw).clone(),
        topic: Arrow::Raw.topic(&node),
        disk_reserve: config.disk_reserve_mib << 20,
        directory,
        sabotage: site.config.drills.sabotage,
    };
    let (journal, writer) = journal::spawn(opened, terms)?;

    let online = Online::default();
    site.publish_addresses(&addresses)?;
    tracing::info!(sensors = %listener.local_addr()?, mqtt = %config.mqtt, "serving");
    let drain = Arc::new(metrics::Drain::default());
    let sources = metrics::Sources {
        gate: Arc::clone(&gate),
        journal: journal.clone(),
        drain: Arc::clone(&drain),
        online: online.clone(),
    };
    let publisher = publisher::Surroundings {
        login: login.clone(),
        node: node.clone(),
        journal: journal.clone(),
        rows: journal::Rows::new(disk, secrets.arrow(Arrow::Raw).clone(), Arrow::Raw.topic(&node)),
        raw: secrets.arrow(Arrow::Raw).clone(),
        stored: secrets.arrow(Arrow::Stored).clone(),
        reports: secrets.arrow(Arrow::Journal).clone(),
        online: online.clone(),
        drain,
        #[cfg(feature = "sabotage")]
        believes_pubacks: site.config.drills.sabotage
            == Some(vigia_kit::config::Sabotage::TrimOnPuback),
    };
    let around = ingress::Around {
        site: Arc::new(site),
        journal,
        online,
        new_streams: Arc::default(),
        audit,
    };
    let mut end = shutdown.clone();
    let page = move || metrics::page(&sources);
    let numbers = kit_metrics::serve(metrics_listener, page, shutdown.clone());
    let served = tokio::select! {
        () = end.ended() => Ok(()),
        () = gate::serve(Arc::clone(&gate), entrances, shutdown.clone()) => Ok(()),
        served = numbers => served.context("metrics"),
        () = watchdog::watch(login, node, shutdown.clone()) => Ok(()),
        () = publisher::run(publisher, shutdown.clone()) => Ok(()),
        () = ingress::serve(listener, around, shutdown.clone()) => Ok(()),
    };
    gate.close();
    // The sessions end by the same switch and drop their way to the writer; it commits what it has.
    tokio::task::spawn_blocking(move || writer.join()).await.ok();
    served
}

fn open_journal(site: &Site, directory: &Path) -> Result<Opened, CannotUse> {
    let config = &site.config.broker;
    let opening = Opening {
        cache_bytes: limits::JOURNAL_CACHE_BYTES,
        unsynced: match site.config.drills.unsynced {
            Mode::Kernel => Unsynced::Kernel,
            Mode::Process => Unsynced::Process,
        },
    };
    let bounds = Bounds { bytes: config.journal_mib << 20, keep_hours: config.keep_hours };
    let random = [u64::from_le_bytes(clock::random()), u64::from_le_bytes(clock::random())];
    Opened::open(&directory.join("journal.redb"), opening, bounds, clock::now(), random)
}

async fn mqtt_listener(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen for MQTT on {address}"))
}
