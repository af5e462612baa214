//! A backup, and what comes after it.

use anyhow::ensure;

use super::{RECOVERED_WITHIN, Scene};
use crate::wait;

/// What the store had.
#[derive(Debug, Default)]
pub(super) struct Held {
    instance: String,
    at_backup: u64,
    before_restore: u64,
}

impl Scene {
    /// Takes a backup of the running store.
    ///
    /// # Errors
    /// What the command says.
    pub async fn back_up(&mut self, name: &str) -> anyhow::Result<()> {
        let books = self.api.ledger().await?;
        self.held =
            Held { instance: books.instance, at_backup: books.readings.stored, ..Held::default() };
        let said = self.site.store("backup", &self.site.file(name)).await?;
        self.say(said.trim());
        Ok(())
    }

    /// Waits until so many readings are stored that were not when the backup was taken.
    ///
    /// # Errors
    /// If they are not.
    pub async fn more_is_stored(&mut self, readings: u64) -> anyhow::Result<()> {
        let least = self.held.at_backup + readings;
        let what = || format!("{readings} more readings are stored than before the backup");
        let stored = wait::until(RECOVERED_WITHIN, what, async || {
            let stored = self.api.ledger().await?.readings.stored;
            Ok((stored >= least).then_some(stored))
        });
        self.held.before_restore = stored.await?;
        Ok(())
    }

    /// Puts the backup in the place of the stopped store.
    ///
    /// # Errors
    /// What the command says.
    pub async fn restore(&mut self, name: &str) -> anyhow::Result<()> {
        self.fault_comes()?;
        let said = self.site.store("restore", &self.site.file(name)).await?;
        self.say(said.lines().next().unwrap_or_default());
        Ok(())
    }

    /// Waits until another store has at least as much as the one before it.
    ///
    /// # Errors
    /// If it has not.
    pub async fn is_filled_again(&mut self) -> anyhow::Result<()> {
        let before = self.held.before_restore;
        let what = || format!("the restored store has the {before} readings of the one before it");
        let books = wait::until(RECOVERED_WITHIN, what, async || {
            let books = self.api.ledger().await?;
            Ok((books.readings.stored >= before).then_some(books))
        });
        let books = books.await?;
        ensure!(
            books.instance != self.held.instance,
            "the store is still {}, expected the restored one",
            books.instance
        );
        self.saw(format!(
            "at least {} readings stored at the backup, {before} before the restore; then store {}, in the \
             place of {}, has {}",
            self.held.at_backup, books.instance, self.held.instance, books.readings.stored
        ));
        Ok(())
    }
}
