//! All drills, by name. The sentence says what is promised.

use std::pin::Pin;

use crate::drills::{journal, kill, power, sensor, stop};
use crate::load::Rate;
use crate::oracle::Expected;
use crate::scene::Scene;
use crate::site::Settings;

/// A drill on its way.
pub type Playing<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// See the module.
#[derive(Debug)]
pub struct Drill {
    /// What it is called by.
    pub name: &'static str,
    /// What is done, and what is promised.
    pub sentence: &'static str,
    /// The site it is done to.
    pub site: Settings,
    /// The load meanwhile.
    pub load: Rate,
    /// What may be in the ledger afterwards.
    pub expected: Expected,
    /// Whether it is a negative control.
    pub control: Option<Control>,
    /// Does it.
    pub play: fn(&mut Scene) -> Playing<'_>,
}

/// A drill that must fail: the site has a deliberate defect, and the oracle must see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// What must be seen.
    pub shows: Shows,
}

/// A count of the oracle's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// Acknowledged readings are missing.
    Lost,
    /// Readings are stored more than once.
    Duplicated,
}

/// 2,000 readings a second.
const LIVE: Rate = Rate { sensors: 8, hertz: 250 };
/// As much as two cores take with the sensors on them.
const FLOOD: Rate = Rate { sensors: 8, hertz: 3_000 };

/// What most drills have.
const USUAL: Drill = Drill {
    name: "",
    sentence: "",
    site: Settings { forgetful: false, sabotage: None },
    load: LIVE,
    expected: Expected { duplicates: false },
    control: None,
    play: |_| Box::pin(async { Ok(()) }),
};

/// What must pass.
pub const DRILLS: &[Drill] = &[
    Drill {
        name: "kill-broker",
        sentence: "kill -9 of the broker under load: it is back in 5 s and nothing is lost",
        play: |scene| Box::pin(kill::broker(scene)),
        ..USUAL
    },
    Drill {
        name: "kill-store",
        sentence: "kill -9 of the store under load: a commit that was under way counts once",
        play: |scene| Box::pin(kill::store(scene)),
        ..USUAL
    },
    Drill {
        name: "kill-verify",
        sentence: "kill -9 of verify under load: what it had taken is delivered again",
        play: |scene| Box::pin(kill::verify(scene)),
        ..USUAL
    },
    Drill {
        name: "kill-transform",
        sentence: "kill -9 of transform under load: what it had taken is delivered again",
        play: |scene| Box::pin(kill::transform(scene)),
        ..USUAL
    },
    Drill {
        name: "kill-all",
        sentence: "kill -9 of the supervisor and every role at once, sensors stay: all resumes",
        play: |scene| Box::pin(kill::all(scene)),
        ..USUAL
    },
    Drill {
        name: "power-off",
        sentence: "everything killed right after an acknowledgement, unsynced writes and half of the \
                   sensors destroyed: all that was acknowledged is there",
        site: FORGETFUL,
        play: |scene| Box::pin(power::off(scene)),
        ..USUAL
    },
    Drill {
        name: "stop-store",
        sentence: "the store stopped while three times the broker's log is produced: the credit holds, \
                   memory stays bounded, acknowledgements go on",
        load: FLOOD,
        play: |scene| Box::pin(stop::store(scene)),
        ..USUAL
    },
    Drill {
        name: "lose-journal",
        sentence: "everything killed and the journal deleted under load: sensors deliver again what was \
                   not stored, and the ledger names the lost logs",
        expected: Expected { duplicates: true },
        play: |scene| Box::pin(journal::lose(scene)),
        ..USUAL
    },
    Drill {
        name: "sensor-restart",
        sentence: "the system down for a minute, sensors killed and restarted meanwhile: they deliver \
                   everything afterwards, in order, once",
        play: |scene| Box::pin(sensor::restart(scene)),
        ..USUAL
    },
];

const FORGETFUL: Settings = Settings { forgetful: true, sabotage: None };

/// What must fail.
pub const CONTROLS: &[Drill] = &[
    Drill {
        name: "ack-before-fsync",
        sentence: "negative control: the journal acknowledges before its sync, and the power is cut",
        site: Settings { forgetful: true, sabotage: Some("ack-before-fsync") },
        control: Some(Control { shows: Shows::Lost }),
        play: |scene| Box::pin(power::off(scene)),
        ..USUAL
    },
    Drill {
        name: "trim-on-puback",
        sentence: "negative control: a PUBACK frees the journal, and broker and store die",
        site: Settings { forgetful: false, sabotage: Some("trim-on-puback") },
        control: Some(Control { shows: Shows::Lost }),
        play: |scene| Box::pin(kill::broker_and_store(scene)),
        ..USUAL
    },
    Drill {
        name: "drop-one",
        sentence: "negative control: the store forgets one reading of 1,000",
        site: Settings { forgetful: false, sabotage: Some("drop-one") },
        control: Some(Control { shows: Shows::Lost }),
        play: |scene| Box::pin(kill::verify(scene)),
        ..USUAL
    },
    Drill {
        name: "store-twice",
        sentence: "negative control: the store keeps one reading of 1,000 twice",
        site: Settings { forgetful: false, sabotage: Some("store-twice") },
        control: Some(Control { shows: Shows::Duplicated }),
        play: |scene| Box::pin(kill::verify(scene)),
        ..USUAL
    },
];

/// The drill or negative control of this name.
pub fn find(name: &str) -> Option<&'static Drill> {
    DRILLS.iter().chain(CONTROLS).find(|drill| drill.name == name)
}
