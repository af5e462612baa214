//! Roles: whether they run, are well by a real round trip, and are the program that is installed.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use vigia_kit::config::within_this_machine;
use vigia_kit::site::{Role, Site};

use super::check::Check;
use super::processes::Processes;
use crate::addresses::Addresses;
use crate::health;
use crate::up::run_state;

/// Time to connect to the sensors' port.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// One check for each role whose keys are here, and one for the sensors' port.
pub async fn checks(site: &Site, processes: &Processes) -> Vec<Check> {
    let run = format!("'vigia up --site {}' runs them", site.dir().display());
    if processes.is_empty() {
        return vec![Check::warn("roles", "none runs on this machine", run)];
    }
    let mut checks = Vec::new();
    for role in Role::ALL.into_iter().filter(|role| site.keys_dir(*role).exists()) {
        let name = role.name();
        let check = format!("role {name}");
        checks.push(match processes.pid(role) {
            Some(pid) => running(site, role, pid, processes.is_replaced(role)).await,
            // Its supervisor runs all.
            None if run_state::Processes::read(site).is_some() => {
                Check::fail(check, "does not run", "read the first lines of its log")
            }
            None => Check::warn(
                check,
                "does not run on this machine",
                format!("'vigia {name} --site DIR', unless it runs elsewhere"),
            ),
        });
    }
    if processes.pid(Role::Broker).is_some() {
        checks.push(sensors_port(site).await);
    }
    checks
}

async fn running(site: &Site, role: Role, pid: u32, is_replaced: bool) -> Check {
    let name = role.name();
    let check = format!("role {name}");
    match health::ask(site, role).await {
        Err(error) => Check::fail(
            check,
            format!("runs (process {pid}), but is not well: {error:#}"),
            "read its log; docs/OPERATIONS.md has what fails and what to do",
        ),
        Ok(Some(version)) if version != OWN_VERSION => Check::warn(
            check,
            format!("well, version {version}; this program is {OWN_VERSION}"),
            "stop it and start the installed one",
        ),
        Ok(_) if is_replaced => Check::warn(
            check,
            format!("well, but process {pid} runs a program that was replaced on disk"),
            "stop it and start the installed one",
        ),
        Ok(_) => Check::ok(check, format!("well (process {pid})")),
    }
}

async fn sensors_port(site: &Site) -> Check {
    let address = Addresses::read(site).sensor.unwrap_or(site.config.broker.sensors);
    let address = within_this_machine(address);
    let problem = match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
        Ok(Ok(_)) => return Check::ok("sensors' port", format!("{address} accepts connections")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no connection within {CONNECT_WITHIN:?}"),
    };
    Check::fail(
        "sensors' port",
        format!("{address}: {problem}"),
        "look for a firewall, and at the broker's log",
    )
}
