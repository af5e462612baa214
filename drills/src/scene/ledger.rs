//! What the ledger is expected to say meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Scene;
use crate::books::Books;
use crate::wait;

/// What becomes of a lost log is told when the lost journal has been silent for a while.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

impl Scene {
    /// The ids of all logs the ledger knows; there is one at least.
    ///
    /// # Errors
    /// If there is none.
    pub async fn logs(&self) -> anyhow::Result<BTreeSet<String>> {
        let ids = |books: Books| books.logs.into_iter().map(|log| log.log).collect();
        self.known("a log", ids).await
    }

    /// The ids of all journals the ledger knows; there is one at least.
    ///
    /// # Errors
    /// If there is none.
    pub async fn journals(&self) -> anyhow::Result<BTreeSet<String>> {
        let ids =
            |books: Books| books.journals.into_iter().map(|journal| journal.journal).collect();
        self.known("a journal", ids).await
    }

    async fn known(
        &self,
        what: &str,
        ids: impl Fn(Books) -> BTreeSet<String>,
    ) -> anyhow::Result<BTreeSet<String>> {
        let words = || format!("the ledger names {what}");
        wait::until(TOLD_WITHIN, words, async || {
            let ids = self.api.ledger().await.map(&ids).unwrap_or_default();
            Ok(Some(ids).filter(|ids| !ids.is_empty()))
        })
        .await
    }

    /// Waits until the ledger says what `shown` looks for, and takes that as evidence.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ledger_shows(
        &mut self,
        what: &str,
        shown: impl Fn(&Books) -> Option<String>,
    ) -> anyhow::Result<()> {
        let words = || format!("the ledger shows {what}");
        let found = wait::until(TOLD_WITHIN, words, async || {
            Ok(self.api.ledger().await.ok().as_ref().and_then(&shown))
        });
        let found = found.await?;
        self.saw(format!("the ledger shows {what}: {found}"));
        Ok(())
    }

    /// Readings that the ledger counts in quarantine.
    ///
    /// # Errors
    /// If the API does not answer.
    pub async fn quarantined(&self) -> anyhow::Result<u64> {
        Ok(self.api.ledger().await?.readings.quarantined)
    }
}
