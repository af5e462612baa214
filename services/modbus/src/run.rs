//! The role: every device of the map is polled, and is a sensor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use vigia_disk::Unsynced;
use vigia_kit::audit::Audit;
use vigia_kit::bus::BusLogin;
use vigia_kit::config::Unsynced as Mode;
use vigia_kit::meter::Meter;
use vigia_kit::sensors::{SensorEntry, Sensors};
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_kit::{clock, metrics};
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::Profile;
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::time::Micros;
use vigia_protocol::topic::Arrow;

use crate::delivery::{Around, Delivery, Feed};
use crate::enrolment;
use crate::limits::{LAST_COMMIT_WITHIN, WAITING_SAMPLES};
use crate::map::Device;
use crate::numbers::{self, All, Numbers, Trouble};
use crate::poll::{Lines, Poller, Sample};
use crate::scada;
use crate::server::feed;
use crate::server::image::Image;
use crate::server::serve::{Counts, serve};
use crate::spool::{Gone, Keeper, Kept, Spool};

/// Runs the role until the end.
///
/// # Errors
/// Secrets, a map, keys or a spool that cannot be used; an address that cannot be bound.
pub async fn run(site: Site, mut shutdown: Shutdown) -> anyhow::Result<()> {
    let _lock = site.lock_role(Role::Modbus)?;
    let secrets = site.secrets(Role::Modbus)?;
    Audit::of_role(&site, Role::Modbus)?;
    let login = BusLogin::of(&site, Role::Modbus, &secrets)?;
    let devices = enrolment::devices(&site)?;
    let address = site.config.modbus.metrics;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen for Prometheus on {address}"))?;
    let address = site.config.modbus.listen;
    let server = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen for Modbus clients on {address}"))?;
    site.publish_addresses(&[
        ("modbus", server.local_addr()?),
        ("modbus-metrics", listener.local_addr()?),
    ])?;
    let image = Arc::new(Image::new(known(&site)?));
    let feed = feed::Feed::new(secrets.arrow(Arrow::Text).clone(), Arc::clone(&image));
    let counts = Arc::new(Counts::default());
    let unsynced = match site.config.drills.unsynced {
        Mode::Kernel => Unsynced::Kernel,
        Mode::Process => Unsynced::Process,
    };
    let (spool, kept) = Spool::open(&site.data_dir(Role::Modbus)?, unsynced)?;
    let (keeper, writer) = spool.serve().context("cannot start the spool's writer")?;

    let (mut tasks, all) = start(&site, devices, kept, &keeper, &shutdown)?;
    drop(keeper);
    let meter = Arc::new(Meter::default());
    let (shown, of, end) = (Arc::clone(&counts), Arc::clone(&meter), shutdown.clone());
    let page = move || numbers::page(&all, &shown, &of);
    let allow = site.config.modbus.allow.clone();
    let answered = serve(server, image, allow, counts, shutdown.clone());
    let served = tokio::select! {
        () = shutdown.ended() => Ok(()),
        () = scada::follow(login, feed, meter) => Ok(()),
        () = answered => Ok(()),
        served = metrics::serve(listener, page, end) => served.map_err(Into::into),
        ended = first_failure(&mut tasks) => ended,
    };
    let last = async {
        while tasks.join_next().await.is_some() {}
        tokio::task::spawn_blocking(move || writer.join()).await.ok();
    };
    timeout(LAST_COMMIT_WITHIN, last).await.ok();
    served
}

/// Every sensor of the site with its profile, so that those that never sent anything are there too.
fn known(site: &Site) -> anyhow::Result<Vec<(SensorId, Arc<Profile>)>> {
    let profiles = site.config.profiles()?;
    let sensors = Sensors::of(site).all()?.into_iter();
    let known = |(id, sensor): (SensorId, SensorEntry)| {
        profiles.get(&sensor.profile).map(|profile| (id, Arc::new(profile.clone())))
    };
    Ok(sensors.filter_map(known).collect())
}

/// Waits for a delivery that ends before its time.
async fn first_failure(tasks: &mut JoinSet<Result<(), Gone>>) -> anyhow::Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    std::future::pending().await
}

/// Starts the polling and the delivery of every device, and the delivery of what is left of others.
fn start(
    site: &Site,
    devices: Vec<Device>,
    mut kept: BTreeMap<SensorId, Kept>,
    keeper: &Keeper,
    shutdown: &Shutdown,
) -> anyhow::Result<(JoinSet<Result<(), Gone>>, All)> {
    let mut tasks = JoinSet::new();
    let mut all = Vec::new();
    let around = |sensor: SensorId, numbers: &Arc<Numbers>| Around {
        sensor,
        key: enrolment::key_path(site, sensor),
        address: site.config.sensors_address(),
        keeper: keeper.clone(),
        numbers: Arc::clone(numbers),
    };
    let count = u32::try_from(devices.len()).unwrap_or(u32::MAX).max(1);
    let mut lines = Lines::default();
    let begin = Instant::now();
    tracing::info!(devices = devices.len(), "polling");
    for (nth, device) in (0..).zip(devices) {
        let numbers = Arc::new(Numbers::default());
        all.push((device.name.clone(), Arc::clone(&numbers)));
        let (sender, readings) = mpsc::channel(WAITING_SAMPLES);
        let feed = Feed { readings, profile: device.profile.clone() };
        let delivery = Delivery::new(around(device.sensor, &numbers), kept.remove(&device.sensor))?;
        tasks.spawn(delivery.run(Some(feed), shutdown.clone()));
        // Spread over their interval: they neither ask nor are written down all at once.
        let first = begin + device.interval * nth / count;
        let trouble = Trouble::of(&device);
        let poller = lines.poller(device);
        tokio::spawn(poll(poller, first, trouble, sender, numbers, shutdown.clone()));
    }
    for (sensor, left) in kept {
        let readings = left.held.len();
        let numbers = Arc::new(Numbers::default());
        match Delivery::new(around(sensor, &numbers), Some(left)) {
            Ok(_) if readings == 0 => {}
            Ok(delivery) => {
                tracing::info!(%sensor, readings, "not in the map any more; what it took is delivered");
                all.push((format!("sensor {sensor}"), numbers));
                tasks.spawn(delivery.run(None, shutdown.clone()));
            }
            Err(error) => {
                tracing::warn!(%sensor, readings, %error, "not in the map any more, and without a key: its readings stay in the spool");
            }
        }
    }
    Ok((tasks, Arc::new(all)))
}

/// Polls a device until the end.
async fn poll(
    poller: Poller,
    first: Instant,
    mut trouble: Trouble,
    sender: mpsc::Sender<Reading>,
    numbers: Arc<Numbers>,
    mut shutdown: Shutdown,
) {
    let mut flags = Flags(Flags::CLOCK_SYNCED.0 | Flags::FIRST_AFTER_BOOT.0);
    let each = |sample: Sample| {
        trouble.hear(&sample, &numbers);
        let reading = reading(&sample, flags);
        flags = Flags::CLOCK_SYNCED;
        if sender.try_send(reading).is_err() {
            numbers::count(&numbers.left_out);
        }
    };
    tokio::select! {
        () = shutdown.ended() => {}
        () = poller.run(first, each) => {}
    }
}

/// The sample with the time at which its poll was due, by the wall clock.
fn reading(sample: &Sample, flags: Flags) -> Reading {
    let ago: Duration = sample.due.elapsed();
    let ago = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
    Reading {
        time: Micros(clock::now().0.saturating_sub(ago)),
        flags,
        status: sample.status(),
        values: sample.numbers(),
    }
}
