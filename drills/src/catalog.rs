//! All drills, by name. The sentence says what is promised.

use std::pin::Pin;

use vigia_kit::site::Role;

use crate::chaos;
use crate::drills::{
    clocks, crowds, disk, insider, journal, kill, network, plant, poison, power, restore, router,
    sensor, stop, strangers,
};
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
    /// Whether it belongs to those that tests run: one of each kind of fault.
    pub short: bool,
    /// Does it.
    pub play: fn(&mut Scene) -> Playing<'_>,
}

impl Drill {
    /// Whether this program has the deliberate defect that the drill needs.
    pub fn is_built(&self) -> bool {
        self.site.sabotage.is_none() || cfg!(feature = "sabotage")
    }
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
    site: Settings::PLAIN,
    load: LIVE,
    expected: Expected::NOTHING,
    control: None,
    short: false,
    play: |_| Box::pin(async { Ok(()) }),
};

/// What must pass.
pub const DRILLS: &[Drill] = &[
    Drill {
        name: "kill-broker",
        sentence: "kill -9 of the broker under load while limits are crossed: it is back in 5 s, nothing is lost, and \
                   every alarm is what the newest reading calls for",
        play: |scene| Box::pin(kill::broker(scene)),
        short: true,
        ..USUAL
    },
    Drill {
        name: "kill-store",
        sentence: "kill -9 of the store under load: a commit that was under way counts once",
        play: |scene| Box::pin(kill::store(scene)),
        short: true,
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
        short: true,
        ..USUAL
    },
    Drill {
        name: "stop-store",
        sentence: "the store stopped while three times the broker's log is produced: the credit holds, \
                   memory stays bounded, acknowledgements go on",
        load: FLOOD,
        play: |scene| Box::pin(stop::store(scene)),
        short: true,
        ..USUAL
    },
    Drill {
        name: "lose-journal",
        sentence: "everything killed and the journal deleted under load: sensors deliver again what was \
                   not stored, and the ledger names the lost logs",
        expected: Expected { duplicates: true, ..Expected::NOTHING },
        play: |scene| Box::pin(journal::lose(scene)),
        short: true,
        ..USUAL
    },
    Drill {
        name: "restore-store",
        sentence: "the store is restored from a backup taken while it ran, under load: the journal fills \
                   in what came since, once",
        play: |scene| Box::pin(restore::store(scene)),
        short: true,
        ..USUAL
    },
    Drill {
        name: "sensor-restart",
        sentence: "the system down for a minute, sensors killed and restarted meanwhile: they deliver \
                   everything afterwards, in order, once",
        play: |scene| Box::pin(sensor::restart(scene)),
        short: true,
        ..USUAL
    },
    Drill {
        name: "kill-alert",
        sentence: "kill -9 of alert while limits are crossed: every alarm is raised once",
        play: |scene| Box::pin(kill::alert(scene)),
        short: true,
        ..USUAL
    },
    Drill {
        name: "kill-modbus",
        sentence: "kill -9 of modbus under load: it is back in 5 s, and nobody else noticed",
        play: |scene| Box::pin(kill::modbus(scene)),
        ..USUAL
    },
    Drill {
        name: "modbus-faults",
        sentence: "Modbus devices are dead, slow, answer garbage and restart while the broker is killed: every \
                   reading taken is stored once, and the healthy are polled at every tick",
        site: Settings { plant: true, ..Settings::PLAIN },
        play: |scene| Box::pin(plant::fails(scene)),
        ..USUAL
    },
    Drill {
        name: "stop-in-order",
        sentence: "SIGTERM to every role in a random order: each ends in 10 s, and all resumes",
        play: |scene| Box::pin(stop::in_any_order(scene)),
        ..USUAL
    },
    Drill {
        name: "crash-loop",
        sentence: "a role that dies at its start, again and again: it is tried ever more rarely, the \
                   others live, and it is back when the cause is gone",
        play: |scene| Box::pin(kill::at_start(scene)),
        ..USUAL
    },
    Drill {
        name: "cut-sensors",
        sentence: "the network between sensors and broker is cut: what they took meanwhile is delivered \
                   in order, five times as fast as it came",
        site: PROXIED,
        play: |scene| Box::pin(network::cut_from_sensors(scene)),
        short: true,
        ..USUAL
    },
    Drill {
        name: "cut-bus",
        sentence: "each role in turn is cut off from the broker, both ways and one way: \
                   acknowledgements go on, and nothing is lost",
        site: PROXIED,
        play: |scene| Box::pin(network::cut_from_roles(scene)),
        ..USUAL
    },
    Drill {
        name: "flaky-network",
        sentence: "everything takes 200 ms and connections are reset at random: no storm of new ones",
        site: PROXIED,
        play: |scene| Box::pin(network::is_slow_and_resets(scene)),
        ..USUAL
    },
    Drill {
        name: "vanished-peer",
        sentence: "the other side of a connection is gone without a word: the broker notices within one and \
                   a half keep-alives, a role within two",
        site: PROXIED,
        play: |scene| Box::pin(network::swallows_a_peer(scene)),
        ..USUAL
    },
    Drill {
        name: "corrupt-link",
        sentence: "bits turned over between sensor and broker: the connection is closed, and everything \
                   sent again as it was",
        site: PROXIED,
        play: |scene| Box::pin(network::flips_bits(scene)),
        short: true,
        ..USUAL
    },
    Drill {
        name: "replay",
        sentence: "a recorded connection, a frame and an answer of it played again: no row is added, and \
                   the sensor forgets nothing",
        site: PROXIED,
        play: |scene| Box::pin(network::plays_again(scene)),
        ..USUAL
    },
    Drill {
        name: "strangers",
        sentence: "sensors with a wrong key, an unknown id, a revoked one, an old epoch: not let in, told \
                   in the log, and others are served as before",
        play: |scene| Box::pin(strangers::are_refused(scene)),
        ..USUAL
    },
    Drill {
        name: "sensor-forgets",
        sentence: "a sensor's spool is deleted: it goes on in a new stream",
        play: |scene| Box::pin(sensor::forgets(scene)),
        ..USUAL
    },
    Drill {
        name: "sensor-rollback",
        sentence: "a sensor's spool is an old copy of itself: it goes on in a new stream, and what it \
                   still held there is another reading",
        expected: Expected { copies: true, ..Expected::NOTHING },
        play: |scene| Box::pin(sensor::is_rolled_back(scene)),
        ..USUAL
    },
    Drill {
        name: "sensor-clone",
        sentence: "two sensors with one key and one memory: each acknowledged reading of both is there",
        expected: Expected { copies: true, ..Expected::NOTHING },
        play: |scene| Box::pin(sensor::is_cloned(scene)),
        ..USUAL
    },
    Drill {
        name: "router-dead",
        sentence: "the router hangs inside a broker that lives: the broker is replaced within 20 s",
        site: TRACED,
        play: |scene| Box::pin(router::hangs(scene)),
        ..USUAL
    },
    Drill {
        name: "journal-disk-full",
        sentence: "the journal's disk is nearly full, and then wholly: nothing is acknowledged, and all \
                   resumes when there is room",
        site: Settings { small_disk: Some(Role::Broker), ..Settings::PLAIN },
        play: |scene| Box::pin(disk::of_the_journal_is_full(scene)),
        ..USUAL
    },
    Drill {
        name: "store-disk-full",
        sentence: "the store's disk is full: the store ends, acknowledgements go on, and all resumes when \
                   there is room",
        site: Settings { small_disk: Some(Role::Store), ..Settings::PLAIN },
        play: |scene| Box::pin(disk::of_the_store_is_full(scene)),
        ..USUAL
    },
    Drill {
        name: "fsync-eio-journal",
        sentence: "the first, second … tenth sync of the journal fails: the broker ends, and what was not \
                   synced was not acknowledged",
        site: TRACED,
        play: |scene| Box::pin(disk::of_the_journal_fails(scene)),
        ..USUAL
    },
    Drill {
        name: "fsync-eio-store",
        sentence: "the first, second … tenth sync of the store fails: the store ends, and is filled again",
        site: TRACED,
        play: |scene| Box::pin(disk::of_the_store_fails(scene)),
        ..USUAL
    },
    Drill {
        name: "bit-flips",
        sentence: "bits turned over in the files of journal and store while nothing runs: what is exported then \
                   is right, or it is said that it cannot be had",
        play: |scene| Box::pin(disk::turns_bits_over(scene)),
        ..USUAL
    },
    Drill {
        name: "poison",
        sentence: "a frame of which verify dies, and one of which transform does: at the third death their \
                   batches go into quarantine, named one by one, and all else flows",
        site: Settings { sabotage: Some("deadly-frame"), ..Settings::PLAIN },
        expected: Expected { poison: true, ..Expected::NOTHING },
        play: |scene| Box::pin(poison::is_quarantined(scene)),
        ..USUAL
    },
    Drill {
        name: "insider",
        sentence: "MQTT accounts of the site forge messages, play recorded ones again, and listen: nothing is \
                   believed, no row is added, and nothing is told that is not theirs",
        play: |scene| Box::pin(insider::is_refused(scene)),
        ..USUAL
    },
    Drill {
        name: "flood",
        sentence: "5,000 connections with junk frames from one address at the sensor port: memory stays \
                   bounded, and sensors are served",
        play: |scene| Box::pin(crowds::flood(scene)),
        ..USUAL
    },
    Drill {
        name: "slowloris",
        sentence: "connections that say a byte a second at every port: they are closed in time, and others \
                   are served",
        play: |scene| Box::pin(crowds::crawl(scene)),
        ..USUAL
    },
    Drill {
        name: "fuzz",
        sentence: "what is nearly right at every port: nothing ends, memory stays bounded, and others are served",
        play: |scene| Box::pin(crowds::babble(scene)),
        ..USUAL
    },
    Drill {
        name: "clocks",
        sentence: "sensors whose clocks are an hour fast and slow: their readings are marked, and none is lost",
        play: |scene| Box::pin(clocks::are_wrong(scene)),
        ..USUAL
    },
    Drill {
        name: "chaos",
        sentence: "faults of every kind, at random, one after the other",
        site: Settings { proxied: true, ..FORGETFUL },
        play: |scene| Box::pin(chaos::play(scene)),
        ..USUAL
    },
];

const FORGETFUL: Settings = Settings { forgetful: true, ..Settings::PLAIN };
const PROXIED: Settings = Settings { proxied: true, ..Settings::PLAIN };
const TRACED: Settings = Settings { traced: true, ..Settings::PLAIN };

/// What must fail.
pub const CONTROLS: &[Drill] = &[
    Drill {
        name: "ack-before-fsync",
        sentence: "negative control: the journal acknowledges before its sync, and the power is cut",
        site: Settings { sabotage: Some("ack-before-fsync"), ..FORGETFUL },
        control: Some(Control { shows: Shows::Lost }),
        play: |scene| Box::pin(power::off(scene)),
        ..USUAL
    },
    Drill {
        name: "trim-on-puback",
        sentence: "negative control: a PUBACK frees the journal, and broker and store die",
        site: Settings { sabotage: Some("trim-on-puback"), ..Settings::PLAIN },
        control: Some(Control { shows: Shows::Lost }),
        play: |scene| Box::pin(kill::broker_and_store(scene)),
        ..USUAL
    },
    Drill {
        name: "ack-out-of-order",
        sentence: "negative control: the journal acknowledges a frame with those after it and commits it \
                   later, and the broker dies",
        site: Settings { sabotage: Some("ack-out-of-order"), ..Settings::PLAIN },
        control: Some(Control { shows: Shows::Lost }),
        play: |scene| Box::pin(kill::broker(scene)),
        ..USUAL
    },
    Drill {
        name: "drop-one",
        sentence: "negative control: the store forgets one reading of 1,000",
        site: Settings { sabotage: Some("drop-one"), ..Settings::PLAIN },
        control: Some(Control { shows: Shows::Lost }),
        play: |scene| Box::pin(kill::verify(scene)),
        ..USUAL
    },
    Drill {
        name: "store-twice",
        sentence: "negative control: the store keeps one reading of 1,000 twice",
        site: Settings { sabotage: Some("store-twice"), ..Settings::PLAIN },
        control: Some(Control { shows: Shows::Duplicated }),
        play: |scene| Box::pin(kill::verify(scene)),
        ..USUAL
    },
];

/// The drill or negative control of this name.
pub fn find(name: &str) -> Option<&'static Drill> {
    DRILLS.iter().chain(CONTROLS).find(|drill| drill.name == name)
}
