//! Bits that turn over in files while nothing runs.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use vigia_kit::site::Role;

use super::Scene;
use crate::load::copy_files;
use crate::wait;

/// After a start, the system serves or says why not.
const DECIDED_WITHIN: Duration = Duration::from_secs(20);

/// What all roles kept when everything was stored.
#[derive(Debug)]
pub struct Kept(PathBuf);

/// What came of a bit.
#[derive(Debug)]
enum Came {
    /// What is exported is what was sent.
    Unharmed,
    /// The system says that it cannot, with these words.
    Told(String),
}

impl Scene {
    /// Ends the load, waits until everything is stored, stops the system, and copies what it keeps.
    ///
    /// # Errors
    /// If something is not delivered, or does not stop.
    pub async fn rests_with_everything_stored(&mut self) -> anyhow::Result<Kept> {
        self.load.stop().await?;
        let acknowledged = self.load.acknowledgements();
        self.drained(acknowledged).await?;
        self.stop_system().await?;
        let kept = Kept(self.site.file("kept"));
        for role in Role::ALL {
            let (from, to) = (self.kept_by(role), kept.0.join(role.name()));
            copy_files(&from, &to).with_context(|| format!("{}", from.display()))?;
        }
        Ok(kept)
    }

    fn kept_by(&self, role: Role) -> PathBuf {
        self.site.file("data").join(role.name())
    }

    fn put_back(&self, kept: &Kept) -> anyhow::Result<()> {
        for role in Role::ALL {
            fs::remove_dir_all(self.kept_by(role))?;
            copy_files(&kept.0.join(role.name()), &self.kept_by(role))?;
        }
        Ok(())
    }

    /// Turns one bit over that is not in an empty place, starts the system, and looks what it makes of it.
    ///
    /// # Errors
    /// If something wrong is served as if it were right.
    pub async fn bears_a_bit_in(&mut self, kept: &Kept, file: &str) -> anyhow::Result<()> {
        self.put_back(kept)?;
        let path = self.site.file("data").join(file);
        let mut bytes = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        ensure!(bytes.iter().any(|byte| *byte != 0), "{} is empty", path.display());
        let at = loop {
            let at = self.random.below(bytes.len());
            if bytes[at] != 0 {
                break at;
            }
        };
        let bit = self.random.below(8);
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes)?;
        let what = format!("bit {bit} of byte {at} of {file}");
        self.system.launch(&self.site)?;
        let came = self.what_came_of_it().await.with_context(|| what.clone())?;
        self.system.stop().await?;
        self.saw(match came {
            Came::Unharmed => format!("{what}: all that is exported is as it was sent"),
            Came::Told(words) => format!("{what}: {words}"),
        });
        Ok(())
    }

    async fn what_came_of_it(&self) -> anyhow::Result<Came> {
        let what = || "it serves, or says why not".to_owned();
        let ended = wait::until(DECIDED_WITHIN, what, async || {
            let ended = Role::ALL.into_iter().find(|role| self.system.restarts(*role) > 0);
            let serves = self.api.ledger().await.is_ok_and(|books| !books.journals.is_empty());
            Ok(ended.map(Some).or(serves.then_some(None)))
        })
        .await?;
        if let Some(role) = ended {
            let words = self.system.newest_error().unwrap_or_default();
            ensure!(!words.is_empty(), "{} ends without a word", role.name());
            return Ok(Came::Told(format!("{} refuses to serve: {words}", role.name())));
        }
        match self.exported_findings().await {
            Err(error) => Ok(Came::Told(format!("the API refuses: {error:#}"))),
            Ok(found) => {
                let wrong = found.lost + found.unexpected + found.duplicated + found.disordered;
                ensure!(wrong == 0, "wrong readings are served as if they were right: {found:?}");
                Ok(Came::Unharmed)
            }
        }
    }

    /// Starts the system with what it kept, and without a load.
    ///
    /// # Errors
    /// If it does not start.
    pub async fn goes_on_with(&mut self, kept: &Kept) -> anyhow::Result<()> {
        self.put_back(kept)?;
        self.system.start(&self.site).await
    }
}
