//! What is done to a deployment that runs, and what is promised.

use std::time::Duration;

use vigia_kit::site::Role;

use crate::oracle::Expected;

/// One drill for a deployment that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL.
    Kill(Role),
    /// SIGTERM.
    Stop(Role),
    /// Frozen: connections stay, nothing answers.
    Pause(Role),
    /// Off the network between the roles.
    Cut(Role),
    /// SIGKILL to all roles at once.
    PowerOff,
    /// The store is what it was at a backup.
    RestoreStore,
    /// The journal's file is gone.
    LoseJournal,
    /// Others at random, for a time.
    Chaos,
}

/// What random faults go on for, if nothing else is asked for.
pub const CHAOS: Duration = Duration::from_secs(60);

impl Fault {
    /// One of each of these kinds for each role.
    pub fn of_each_role(kinds: &[fn(Role) -> Self]) -> impl Iterator<Item = Self> {
        kinds.iter().flat_map(|kind| Role::ALL.iter().map(|role| kind(*role)))
    }

    /// What it is called by.
    pub fn name(self) -> String {
        match self {
            Self::Kill(role) => format!("kill-{}", role.name()),
            Self::Stop(role) => format!("stop-{}", role.name()),
            Self::Pause(role) => format!("pause-{}", role.name()),
            Self::Cut(role) => format!("cut-{}", role.name()),
            Self::PowerOff => "power-off".to_owned(),
            Self::RestoreStore => "restore-store".to_owned(),
            Self::LoseJournal => "lose-journal".to_owned(),
            Self::Chaos => "chaos".to_owned(),
        }
    }

    /// What is done, and what is promised.
    pub fn sentence(self) -> String {
        let nothing = "nothing is lost or counted twice";
        match self {
            Self::Kill(role) => format!("{} killed: {nothing}", role.name()),
            Self::Stop(role) => format!("{} told to end: {nothing}", role.name()),
            Self::Pause(role) => format!("{} frozen: {nothing}", role.name()),
            Self::Cut(role) => format!("{} cut off the other roles: {nothing}", role.name()),
            Self::PowerOff => format!("all roles killed at once: {nothing}"),
            Self::RestoreStore => {
                "the store replaced by a backup of itself: the journal fills it again".to_owned()
            }
            Self::LoseJournal => "the broker killed and its journal deleted: sensors deliver \
                                  again what was not stored"
                .to_owned(),
            Self::Chaos => format!("the faults above at random, for a time: {nothing}"),
        }
    }

    /// Whether sensors are acknowledged meanwhile.
    pub fn leaves_the_broker(self) -> bool {
        match self {
            Self::Kill(role) | Self::Stop(role) | Self::Pause(role) => role != Role::Broker,
            // Sensors come by another network.
            Self::Cut(_) | Self::RestoreStore => true,
            Self::PowerOff | Self::LoseJournal | Self::Chaos => false,
        }
    }

    /// What it may leave in the ledger.
    pub fn expected(self) -> Expected {
        Expected { duplicates: self == Self::LoseJournal, ..Expected::NOTHING }
    }
}
