//! The machine: room on disks, the clock, how many files may be open.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::process::Command;
use tokio::time::timeout;
use vigia_broker::limits::{BUS_LINKS, MQTT_CONNECTIONS, SENSOR_CONNECTIONS};
use vigia_kit::limits::HTTP_CONNECTIONS;
use vigia_kit::site::{Role, Site};

use super::check::Check;
use super::processes::Processes;

const MIB: u64 = 1 << 20;
/// The store has no bound; with less of its disk free than this share, somebody should look at it.
const STORE_FREE_PERCENT: u64 = 10;
/// Files a role has open besides connections: databases, logs, pipes.
const OTHER_FILES: usize = 64;
/// What systemd-timesyncd leaves where it has set the clock.
const TIMESYNC: &str = "/run/systemd/timesync/synchronized";
/// Time for `timedatectl`, which waits for others.
const ASKED_WITHIN: Duration = Duration::from_secs(3);

/// Room for the journal and for the store.
pub fn disks(site: &Site) -> Vec<Check> {
    let reserve = site.config.broker.disk_reserve_mib;
    let journal = |directory: &Path, free: u64, _: u64| {
        let held = fs::metadata(directory.join("journal.redb")).map_or(0, |file| file.len() / MIB);
        let may_grow = site.config.broker.journal_mib.saturating_sub(held);
        let found = format!("{free} MiB free, the journal may grow by {may_grow}");
        (found, free >= may_grow + reserve, "or lower broker.journal_mib")
    };
    let store = |directory: &Path, free: u64, of: u64| {
        let held = fs::metadata(directory.join("store.redb")).map_or(0, |file| file.len() / MIB);
        let found = format!("{free} MiB of {of} free, the store has {held}");
        (found, free * 100 >= of * STORE_FREE_PERCENT, "the store grows with every reading")
    };
    let mut checks = Vec::new();
    for (role, look) in [
        (Role::Broker, &journal as &dyn Fn(&Path, u64, u64) -> (String, bool, &'static str)),
        (Role::Store, &store),
    ] {
        if !site.keys_dir(role).exists() {
            continue;
        }
        let check = format!("disk of {}", role.name());
        let data = site.dir().join("data");
        let own = data.join(role.name());
        let directory = [&own, &data].into_iter().find(|path| path.exists());
        let space = rustix::fs::statvfs(directory.map_or(site.dir(), |path| path.as_path()));
        checks.push(match space {
            Err(error) => {
                Check::warn(check, format!("cannot look at it: {error}"), "'df' may tell more")
            }
            Ok(space) => {
                let [free, of] = [space.f_bavail, space.f_blocks]
                    .map(|blocks| blocks.saturating_mul(space.f_frsize) / MIB);
                let (found, enough, advice) = look(&own, free, of);
                let room = format!("make room ({advice})");
                match () {
                    () if free < reserve => {
                        let least = format!("{found}; below {reserve} nothing is accepted");
                        Check::fail(check, least, room)
                    }
                    () if !enough => Check::warn(check, found, room),
                    () => Check::ok(check, found),
                }
            }
        });
    }
    checks
}

/// Whether something keeps the clock right.
pub async fn clock() -> Check {
    let todo =
        "run one of systemd-timesyncd, chrony, ntpd: readings and certificates depend on clocks";
    if Path::new(TIMESYNC).exists() {
        return Check::ok("clock", "synchronised by systemd-timesyncd");
    }
    // It asks the kernel, and so knows of every program that keeps clocks right.
    let mut command = Command::new("timedatectl");
    command.args(["show", "--property=NTPSynchronized", "--value"]).kill_on_drop(true);
    let answer = timeout(ASKED_WITHIN, command.output()).await;
    let answer = answer.ok().and_then(Result::ok).map(|output| output.stdout);
    match answer.as_deref().map(<[u8]>::trim_ascii) {
        Some(b"yes") => Check::ok("clock", "synchronised"),
        Some(b"no") => Check::warn("clock", "nothing synchronises it", todo),
        _ => Check::warn(
            "clock",
            "cannot tell whether something synchronises it (a container sees its host's clock)",
            todo,
        ),
    }
}

/// Whether broker and store may have as many connections as they accept.
pub fn open_files(site: &Site, processes: &Processes) -> Vec<Check> {
    let broker = SENSOR_CONNECTIONS + MQTT_CONNECTIONS + BUS_LINKS + HTTP_CONNECTIONS;
    let needs = [(Role::Broker, broker), (Role::Store, HTTP_CONNECTIONS)];
    let here = needs.into_iter().filter(|(role, _)| site.keys_dir(*role).exists());
    here.map(|(role, connections)| {
        let needed = (connections + OTHER_FILES) as u64;
        let own = || getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let may = processes.open_files(role).unwrap_or_else(own);
        let check = format!("open files of {}", role.name());
        let found = format!("{may} may be open, {needed} are needed with all connections");
        match may >= needed {
            true => Check::ok(check, found),
            false => Check::warn(
                check,
                found,
                format!("'ulimit -n {needed}', or LimitNOFILE={needed} in the systemd unit"),
            ),
        }
    })
    .collect()
}
