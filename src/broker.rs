//! `vigia broker`: the role; and which store it believes.

use clap::{Args, Subcommand};
use vigia_broker::adopt_store;
use vigia_kit::site::{Role, Site};
use vigia_protocol::position::LogId;

use crate::audit;
use crate::exit::{Answer, Outcome};
use crate::role;
use crate::table::print;

/// `vigia broker`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia broker --site /srv/vigia                 run the role
  vigia broker adopt-store 0123456789abcdef      everything stopped; have another store free the journal

The journal is freed by one store. Another one frees nothing, so that no store started by mistake costs a
reading; only one restored from a backup of the first takes its place by itself. Where a store was lost
without a backup, adopt the new one: 'vigia ledger --json' shows its instance.")]
pub struct Options {
    #[command(flatten)]
    role: role::Options,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Have this store free the journal, and fill it from there
    #[command(after_help = "\
Examples:
  vigia broker adopt-store 0123456789abcdef --site /srv/vigia")]
    AdoptStore {
        /// Its instance, 16 hexadecimal digits
        instance: LogId,
    },
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let Some(Action::AdoptStore { instance }) = &options.action else {
        return role::run(Role::Broker, &options.role);
    };
    let site = Site::open(&options.role.site)?;
    let old = adopt_store(&site, *instance)?;
    let old = old.map_or_else(|| "none".to_owned(), |old| old.to_string());
    audit::note(&site, "store-adopted", &[("instance", instance), ("instead_of", &old)])?;
    print(&format!("The store {instance} frees the journal from now on; before, it was {old}.\n"))?;
    Ok(Answer::Yes)
}
