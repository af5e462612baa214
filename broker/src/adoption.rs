//! Which store frees the journal, where that cannot be left to what stores say: decided by the operator.

use anyhow::Context;
use vigia_kit::config::ConfigError;
use vigia_kit::site::{Role, Site};
use vigia_protocol::position::LogId;

use crate::open_journal;

/// Has the store of this instance free the journal from now on, and fills it again. Returns whose place it
/// takes. The broker must not run.
///
/// # Errors
/// If it runs, there is no journal, or it cannot be opened.
pub fn adopt_store(site: &Site, store: LogId) -> anyhow::Result<Option<LogId>> {
    let _lock = site.lock(Role::Broker.name())?;
    let directory = site.data_dir(Role::Broker)?;
    if !directory.join("journal.redb").exists() {
        return Err(ConfigError(format!(
            "{} has no journal yet; it will adopt the first store that reports",
            directory.display()
        ))
        .into());
    }
    let mut journal = open_journal(site, &directory)?;
    let old = journal.store().map(LogId);
    journal.adopt(store.0).context("the journal")?;
    Ok(old)
}
