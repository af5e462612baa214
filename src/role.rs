//! `vigia broker`, `vigia store`, …: one role in the foreground, until SIGTERM or SIGINT.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::runtime::{Builder, Runtime};
use vigia_kit::shutdown::Shutdown;
use vigia_kit::site::{Role, Site};
use vigia_kit::telemetry;

use crate::exit::{Answer, Outcome};
use crate::heap;
use crate::leash;

/// Options of every role.
#[derive(Debug, Args)]
pub struct Options {
    /// The site directory, made by `vigia init`
    #[arg(long, value_name = "DIR", default_value = "site", global = true)]
    pub site: PathBuf,
    /// End when this process, the parent, ends
    #[arg(long, value_name = "PID", hide = true)]
    supervised: Option<i32>,
}

/// Runs the role.
pub fn run(role: Role, options: &Options) -> Outcome {
    heap::make_lean().context("cannot start anew with another heap")?;
    leash::forbid_core_files()?;
    if let Some(parent) = options.supervised {
        leash::tie_to(parent)?;
    }
    telemetry::start(std::io::stderr);
    let site = Site::open(&options.site)?;
    let runtime = runtime(role).context("cannot start the runtime")?;
    let result = runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("cannot watch signals")?;
        match role {
            Role::Broker => vigia_broker::run(site, shutdown).await,
            Role::Verify => vigia_verify::run(site, shutdown).await,
            Role::Transform => vigia_transform::run(site, shutdown).await,
            Role::Store => vigia_store::run(site, shutdown).await,
            Role::Alert => vigia_alert::run(site, shutdown).await,
            Role::Modbus => vigia_modbus::run(site, shutdown).await,
        }
    });
    // A role has finished its work when it returns; what still blocks a thread is not worth waiting for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result.map(|()| Answer::Yes)
}

/// The stages are one stream in, one stream out: one thread does, and costs the least memory. Broker
/// and store also serve many connections, which a long computation must not hold up.
fn runtime(role: Role) -> std::io::Result<Runtime> {
    match role {
        Role::Broker | Role::Store => {
            Builder::new_multi_thread().worker_threads(2).enable_all().build()
        }
        Role::Verify | Role::Transform | Role::Alert | Role::Modbus => {
            Builder::new_current_thread().enable_all().build()
        }
    }
}
