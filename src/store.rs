//! `vigia store`: the role; and its backups.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use vigia_kit::audit::Audit;
use vigia_kit::clock;
use vigia_kit::config::ConfigError;
use vigia_kit::site::{Role, Site};
use vigia_protocol::position::LogId;
use vigia_store::backup::{Progress, note, request, restore};
use vigia_store::store::{Store, Unsynced};

use crate::audit;
use crate::exit::{Answer, Outcome, Unavailable};
use crate::role;
use crate::table::{grouped, print};

/// `vigia store`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia store --site /srv/vigia                  run the role
  vigia store backup /mnt/nas/vigia-monday       of the running store, or of one that is stopped
  vigia store restore /mnt/nas/vigia-monday      everything stopped; the file before it is kept
  vigia store write-off 0123456789abcdef         the store stopped; of a journal that is gone for good

After a restore the journal fills in what came since the backup: it keeps stored readings for a day
(broker.keep_hours). So take a backup more often than that.")]
pub struct Options {
    #[command(flatten)]
    role: role::Options,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write everything that is stored now to a new file, while the store runs
    #[command(after_help = "\
Examples:
  vigia store backup /mnt/nas/vigia-monday --site /srv/vigia")]
    Backup {
        /// Where to; nothing is overwritten
        file: PathBuf,
    },
    /// Put a backup in the place of the stopped store
    #[command(after_help = "\
Examples:
  vigia store restore /mnt/nas/vigia-monday --site /srv/vigia")]
    Restore {
        /// What 'vigia store backup' wrote
        file: PathBuf,
    },
    /// Have the stopped store ask no more for what a lost journal had acknowledged
    #[command(after_help = "\
A journal's disk and a sensor's memory were lost together: the ledger says how many readings are missing, and stays
unknown until somebody says that they will not come any more.

Examples:
  vigia store write-off 0123456789abcdef --site /srv/vigia")]
    WriteOff {
        /// The journal as 'vigia ledger' names it, 16 hexadecimal digits
        journal: LogId,
    },
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let Some(action) = &options.action else {
        return role::run(Role::Store, &options.role);
    };
    let site = Site::open(&options.role.site)?;
    match action {
        Action::Backup { file } => back_up(&site, file)?,
        Action::Restore { file } => put_back(&site, file)?,
        Action::WriteOff { journal } => write_off(&site, *journal)?,
    }
    Ok(Answer::Yes)
}

fn back_up(site: &Site, file: &Path) -> anyhow::Result<()> {
    // The store that writes it runs in another directory.
    let file = std::path::absolute(file)?;
    if file.try_exists()? {
        return Err(ConfigError(format!(
            "{} exists, and a backup overwrites nothing",
            file.display()
        ))
        .into());
    }
    let directory = site.data_dir(Role::Store)?;
    let path = directory.join("store.redb");
    if !path.exists() {
        return Err(ConfigError(format!(
            "{} is not there: this site has no store to back up",
            path.display()
        ))
        .into());
    }
    let label = match site.lock(Role::Store.name()) {
        Ok(_lock) => {
            let audit = Audit::open(&directory).context("the audit log")?;
            let store = Store::open(&path, Unsynced::Kernel, None, clock::now())?;
            let mut tell = |progress| {
                show(progress);
                Ok(())
            };
            let label = store.back_up(&site.config.node, &file, clock::now(), &mut tell)?;
            note(&audit, "store-backed-up", &file, &label);
            label
        }
        Err(_) => request::ask(&directory, &file, show)
            .map_err(|error| Unavailable(format!("no backup was made: {error:#}")))?,
    };
    print(&format!(
        "Backup {} of the store {} has its {} readings as of {}.\n",
        file.display(),
        label.instance,
        grouped(label.readings),
        label.made
    ))?;
    Ok(())
}

fn put_back(site: &Site, file: &Path) -> anyhow::Result<()> {
    let _lock = site.lock(Role::Store.name()).map_err(|_| {
        ConfigError(format!(
            "the store of the site {} runs, expected that everything is stopped for a restore",
            site.dir().display()
        ))
    })?;
    let directory = site.data_dir(Role::Store)?;
    let audit = Audit::open(&directory).context("the audit log")?;
    let restored = restore::restore(file, &directory, &site.config.node, clock::now())?;
    note(&audit, "store-restored", file, &restored.label);
    let mut said = format!(
        "Restored {} readings as of {}; the store is {} now.\n",
        grouped(restored.label.readings),
        restored.label.made,
        restored.instance
    );
    if let Some(aside) = &restored.set_aside {
        said.push_str(&format!("The file before it is {}.\n", aside.display()));
    }
    said.push_str("Once everything runs, the journal fills in what came since the backup.\n");
    print(&said)?;
    Ok(())
}

fn write_off(site: &Site, journal: LogId) -> anyhow::Result<()> {
    let _lock = site.lock(Role::Store.name()).map_err(|_| {
        ConfigError(format!(
            "the store of the site {} runs, expected it to be stopped",
            site.dir().display()
        ))
    })?;
    let path = site.data_dir(Role::Store)?.join("store.redb");
    let store = Store::open(&path, Unsynced::Kernel, None, clock::now())?;
    if !store.write_off(journal.0, clock::now())? {
        return Err(ConfigError(format!("the store never heard of a journal {journal}")).into());
    }
    audit::note(site, "journal-written-off", &[("journal", &journal)])?;
    print(&format!("The ledger asks no more for what the journal {journal} had acknowledged.\n"))?;
    Ok(())
}

/// For who waits at a terminal.
fn show(progress: Progress) {
    if io::stderr().is_terminal() {
        let percent = progress.rows * 100 / progress.of.max(1);
        let end = if progress.rows == progress.of { "\n" } else { "" };
        eprint!("\r{percent:3} % of {} rows{end}", grouped(progress.of));
    }
}
