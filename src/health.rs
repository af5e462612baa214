//! `vigia health ROLE`: whether a running role does its work, asked as its peers would. An open port says little:
//! it stays open in front of a router that is dead.
//!
//! For the health checks of containers: it runs beside the role, with the role's own keys, and knows nothing else.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use tokio::time::timeout;
use vigia_kit::bus::{BusError, BusLogin, Consumer};
use vigia_kit::site::{Role, Site};
use vigia_protocol::topic;

use crate::exit::{Answer, Outcome, Unavailable};
use crate::leash;
use crate::ledger::Api;

/// The broker's watchdog speaks every 2 s.
const WITHIN: Duration = Duration::from_secs(5);

/// `vigia health`
#[derive(Debug, Args)]
#[command(after_help = "\
Exits 0 if it does, else 69. To be asked where the role runs, for example by the health check of its container:

  broker                    delivers a message of its watchdog to a client that logs in
  verify, transform, alert, modbus
                            the broker says that it is connected
  store                     its API answers, and the pipeline moves up to it

Examples:
  vigia health store --site /srv/vigia")]
pub struct Options {
    /// The role
    #[arg(value_parser = PossibleValuesParser::new(Role::ALL.map(Role::name)).map(role))]
    role: Role,
    /// The site directory
    #[arg(long, value_name = "DIR", default_value = "site")]
    site: PathBuf,
}

/// Asks.
pub fn run(options: &Options) -> Outcome {
    leash::forbid_core_files()?;
    let site = Site::open(&options.site)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(ask(&site, options.role))?;
    Ok(Answer::Yes)
}

/// Asks a role whether it is well. Returns the program's version, if the role tells it.
///
/// # Errors
/// If it is not.
pub async fn ask(site: &Site, role: Role) -> anyhow::Result<Option<String>> {
    match role {
        Role::Store => {
            Api::of(site, None)?.get("/api/v1/health/ready").await?;
            Ok(None)
        }
        Role::Broker => {
            heard(site, role, topic::watchdog(&site.config.node), |_| true).await?;
            Ok(None)
        }
        role => {
            let status = topic::status(role.name(), &site.config.node);
            Ok(version(&heard(site, role, status, is_online).await?))
        }
    }
}

/// Waits for such a message on the topic.
async fn heard(
    site: &Site,
    role: Role,
    topic: String,
    wanted: impl Fn(&[u8]) -> bool,
) -> anyhow::Result<Vec<u8>> {
    let mut login = BusLogin::of(site, role, &site.secrets(role)?)?;
    // It asks; the role itself is who says that it is there.
    login.status = None;
    let listen = async {
        // Neither the role's own connections nor another one that asks have this name: all go on.
        let name = format!("health-{}", std::process::id());
        let mut consumer = Consumer::look(&login, &name, std::slice::from_ref(&topic)).await?;
        loop {
            let said = consumer.receive().await?;
            if wanted(said.payload()) {
                return Ok::<_, BusError>(said.payload().to_vec());
            }
            consumer.acknowledge(&said).await?;
        }
    };
    match timeout(WITHIN, listen).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Unavailable(format!(
            "{topic} does not say within {WITHIN:?} that {} is well",
            role.name()
        ))
        .into()),
    }
}

fn is_online(status: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(status)
        .is_ok_and(|status| status["state"] == "online")
}

fn version(status: &[u8]) -> Option<String> {
    let status: serde_json::Value = serde_json::from_slice(status).ok()?;
    status["version"].as_str().map(str::to_owned)
}

fn role(name: String) -> Role {
    Role::ALL.into_iter().find(|role| role.name() == name).expect("one of the possible values")
}
