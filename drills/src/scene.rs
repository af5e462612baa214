//! The vocabulary of drills: a running system under load, the faults it is subjected to, and what is
//! expected of it. A drill is a few of these sentences.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::Signal;
use vigia_kit::site::Role;

use crate::Options;
use crate::api::Api;
use crate::books::Books;
use crate::catalog::Drill;
use crate::load::{Load, find_program};
use crate::oracle::{disagreements, judge};
use crate::random::Random;
use crate::report::{Report, Verdict};
use crate::site::Site;
use crate::system::{Pids, System};
use crate::truth::Place;
use crate::wait;

/// Faults come this long after the system has recovered from the last one.
const MOMENTS: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(2));
/// A role that died is there again, with its supervisor's pauses.
const REPLACED_WITHIN: Duration = Duration::from_secs(30);
/// A system that has not recovered by then is not waited for.
const RECOVERED_WITHIN: Duration = Duration::from_secs(60);
/// Where the broker lives through the fault, nobody waits longer for an acknowledgement.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);
/// Everything acknowledged is accounted for this long after the sensors have ended.
const DRAINED_WITHIN: Duration = Duration::from_secs(60);
/// A journal reports every second: where nothing is in flight and nothing changes for so long, nothing will.
const STILL_FOR: Duration = Duration::from_secs(5);
/// What becomes of a lost log is told when the lost journal has been silent for a while.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// See the module. Its parts end in this order.
#[derive(Debug)]
pub struct Scene {
    load: Load,
    system: System,
    site: Site,
    api: Api,
    drill: &'static Drill,
    options: Options,
    random: Random,
    begun: Instant,
    /// When the fault that is not yet recovered from came.
    fault: Instant,
    /// When what it had hit was there again: its supervisor pauses before it starts what dies often.
    repair: Instant,
    silence: Silence,
    evidence: Vec<String>,
    recovery: Option<Duration>,
}

/// How long acknowledgements have kept sensors waiting.
#[derive(Debug, Clone, Copy)]
struct Silence {
    acknowledgements: u64,
    since: Instant,
    longest: Duration,
}

impl Silence {
    fn begin(acknowledgements: u64) -> Self {
        Self { acknowledgements, since: Instant::now(), longest: Duration::ZERO }
    }

    fn listen(&mut self, acknowledgements: u64) {
        self.longest = self.longest.max(self.since.elapsed());
        if acknowledgements > self.acknowledgements {
            *self = Self { longest: self.longest, ..Self::begin(acknowledgements) };
        }
    }
}

impl Scene {
    /// Makes the site, starts the system and the load.
    ///
    /// # Errors
    /// What cannot be had here: that is no verdict about the system.
    pub async fn open(drill: &'static Drill, options: &Options) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let program = find_program()?;
        let site = Site::make(drill.name, drill.site, drill.load.sensors).await?;
        let mut system = System::new(&site);
        system.start(&site).await?;
        let load = Load::new(&site, program, drill.load, options.seed)?;
        let api = Api::new(&site)?;
        let mut scene = Self {
            load,
            system,
            site,
            api,
            drill,
            options: options.clone(),
            random: Random::new(options.seed),
            begun,
            fault: Instant::now(),
            repair: Instant::now(),
            silence: Silence::begin(0),
            evidence: Vec::new(),
            recovery: None,
        };
        if options.keep {
            scene.site.keep();
        }
        scene.load.start().await?;
        scene.say(&format!(
            "{} sensors send {} readings a second each; site {}",
            drill.load.sensors,
            drill.load.hertz,
            scene.site.path().display()
        ));
        Ok(scene)
    }

    /// How often the fault is to come: as often as asked for, or `usually`.
    pub fn times(&self, usually: u32) -> u32 {
        self.options.times.unwrap_or(usually)
    }

    /// How long something is to be down: as long as asked for, or `usually`.
    pub fn down_time(&self, usually: Duration) -> Duration {
        self.options.down.unwrap_or(usually)
    }

    /// Tells people what is done.
    pub fn say(&self, words: &str) {
        if self.options.account {
            crate::print(&format!("  {:6.1} s  {words}", self.begun.elapsed().as_secs_f64()));
        }
    }

    /// The fault was seen like this.
    pub fn saw(&mut self, evidence: String) {
        self.say(&evidence);
        self.evidence.push(evidence);
    }

    /// Lets the load run for a time that only the seed knows.
    pub async fn random_moment(&mut self) {
        let (least, most) = MOMENTS;
        tokio::time::sleep(self.random.between(least, most)).await;
    }

    /// kill -9 of a role; the supervisor starts another.
    ///
    /// # Errors
    /// If it is not replaced.
    pub async fn kill(&mut self, role: Role) -> anyhow::Result<()> {
        self.fault_comes()?;
        let old = self.system.kill(role)?;
        let Self { system, load, silence, .. } = self;
        let what = || format!("{} runs again", role.name());
        let new = wait::until(REPLACED_WITHIN, what, async || {
            load.catch_up()?;
            silence.listen(load.acknowledgements());
            Ok(system.replacement(role, old))
        });
        let new = new.await?;
        self.repair = Instant::now();
        self.saw(format!("{}: process {old} killed, {new} took its place", role.name()));
        Ok(())
    }

    /// kill -9 of the supervisor and all roles at once; sensors stay.
    ///
    /// # Errors
    /// If they do not die.
    pub async fn kill_everything(&mut self) -> anyhow::Result<Pids> {
        self.fault_comes()?;
        let pids = self.system.kill_all(|| Ok(())).await?;
        self.say("supervisor and all roles killed at once");
        Ok(pids)
    }

    /// The same right after a sensor that `chosen` names was acknowledged something. Those sensors, too,
    /// are destroyed with all they remember: what was acknowledged to them is in the journal or nowhere.
    ///
    /// # Errors
    /// If something does not die.
    pub async fn cut_the_power(&mut self, chosen: fn(i16) -> bool) -> anyhow::Result<Pids> {
        self.fault_comes()?;
        let load = &mut self.load;
        let pids = self.system.kill_all(|| load.at_an_acknowledgement(chosen)).await?;
        let killed = self.load.kill(chosen).await?;
        for (id, _) in &killed {
            self.load.destroy_spool(*id)?;
        }
        self.say(&format!(
            "power cut: unsynced writes are gone, {} sensors destroyed with their spools",
            killed.len()
        ));
        Ok(pids)
    }

    /// Starts the system again, and the sensors that are down.
    ///
    /// # Errors
    /// If it does not start, or a process that was killed is still there.
    pub async fn start_again(&mut self, killed: &Pids) -> anyhow::Result<()> {
        self.system.start(&self.site).await?;
        self.repair = Instant::now();
        self.load.start_blindly()?;
        let new = self.system.pids();
        for (role, old) in killed {
            ensure!(new.get(role).is_some_and(|new| new != old), "{role} is still process {old}");
        }
        let pairs: Vec<String> = killed
            .iter()
            .filter_map(|(role, old)| Some(format!("{role} {old} → {}", new.get(role)?)))
            .collect();
        self.saw(format!("started again with other processes: {}", pairs.join(", ")));
        Ok(())
    }

    /// SIGTERM to the supervisor, which stops everything in order.
    ///
    /// # Errors
    /// If it does not stop.
    pub async fn stop_system(&mut self) -> anyhow::Result<Pids> {
        let pids = self.system.pids();
        let took = self.system.stop().await?;
        self.say(&format!("system stopped in order, in {:.1} s", took.as_secs_f64()));
        Ok(pids)
    }

    /// Lets the load run with nobody to answer.
    ///
    /// # Errors
    /// If somebody answers.
    pub async fn nobody_answers_for(&mut self, time: Duration) -> anyhow::Result<()> {
        self.load.catch_up()?;
        let before = self.load.acknowledgements();
        tokio::time::sleep(time).await;
        self.load.catch_up()?;
        let after = self.load.acknowledgements();
        ensure!(before == after, "{} were acknowledged by nobody", after - before);
        Ok(())
    }

    /// kill -9 of all sensors, which then start again with the spools they have.
    ///
    /// # Errors
    /// If they do not die, or cannot be started.
    pub async fn restart_sensors(&mut self) -> anyhow::Result<()> {
        let killed = self.load.kill(|_| true).await?;
        self.load.start_blindly()?;
        let pairs: Vec<String> = killed
            .iter()
            .zip(self.load.processes())
            .map(|((id, old), (_, new))| format!("{id}: {old} → {new}"))
            .collect();
        self.saw(format!("sensors killed and started again: {}", pairs.join(", ")));
        Ok(())
    }

    /// Takes a file of the system's away.
    ///
    /// # Errors
    /// What the file system says.
    pub fn destroy(&mut self, path: &str) -> anyhow::Result<()> {
        let path = self.site.file(path);
        let bytes = fs::metadata(&path).with_context(|| format!("{}", path.display()))?.len();
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        self.say(&format!("{} of {bytes} bytes is gone", path.display()));
        Ok(())
    }

    /// SIGSTOP of a role until so many readings have been acknowledged since, then SIGCONT.
    ///
    /// # Errors
    /// If it does not stop, or acknowledgements do not go on.
    pub async fn stop_while_acknowledged(
        &mut self,
        role: Role,
        readings: u64,
    ) -> anyhow::Result<()> {
        self.fault_comes()?;
        let process = self.system.role(role)?;
        process.signal(Signal::STOP)?;
        let what = || format!("{} is stopped", role.name());
        wait::until(LONGEST_SILENCE, what, async || {
            Ok((process.state() == Some('T')).then_some(()))
        })
        .await?;
        self.saw(format!("{}: process {process} in state T", role.name()));
        let stopped = Instant::now();
        let before = self.load.acknowledgements();
        let acknowledged = loop {
            self.listen()?;
            let acknowledged = self.load.acknowledgements() - before;
            if acknowledged >= readings {
                break acknowledged;
            }
            ensure!(
                stopped.elapsed() < RECOVERED_WITHIN,
                "only {acknowledged} of {readings} readings were acknowledged in {RECOVERED_WITHIN:?}"
            );
            ensure!(process.state() == Some('T'), "process {process} did not stay stopped");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        process.signal(Signal::CONT)?;
        self.fault = Instant::now();
        self.repair = self.fault;
        self.saw(format!(
            "{acknowledged} readings acknowledged in {:.1} s meanwhile",
            stopped.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// The role has never had more memory than this.
    ///
    /// # Errors
    /// If it has.
    pub fn memory_stays_below(&mut self, role: Role, bytes: u64) -> anyhow::Result<()> {
        let peak = self.system.role(role)?.peak_bytes().context("no VmHWM in /proc")?;
        let words = format!("{} used {} MiB at its peak", role.name(), peak >> 20);
        ensure!(peak < bytes, "{words}, expected less than {} MiB", bytes >> 20);
        self.saw(words);
        Ok(())
    }

    /// A reading that is acknowledged from now on can be queried, not later than this after what the
    /// fault had hit was there again. What is reported counts from the fault itself.
    ///
    /// # Errors
    /// If it cannot, or later.
    pub async fn recovers_within(&mut self, limit: Duration) -> anyhow::Result<()> {
        self.listen()?;
        let before = self.load.fronts();
        let mut answer = None;
        loop {
            if let Some((sensor, place)) = first_newer(&before, &self.load.fronts()) {
                let latest = self.api.latest(sensor).await;
                if latest.as_ref().is_ok_and(|latest| *latest >= place) {
                    break;
                }
                answer = Some(latest);
            }
            if self.fault.elapsed() >= RECOVERED_WITHIN {
                bail!(
                    "{RECOVERED_WITHIN:?} after the fault no newly acknowledged reading can be queried: {answer:?}"
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.listen()?;
        }
        let (took, after_repair) = (self.fault.elapsed(), self.repair.elapsed());
        self.recovery = self.recovery.max(Some(took));
        self.say(&format!(
            "recovered {:.2} s after the fault, {:.2} s after its repair",
            took.as_secs_f64(),
            after_repair.as_secs_f64()
        ));
        ensure!(
            after_repair <= limit,
            "recovered {:.2} s after the repair, expected at most {limit:?}",
            after_repair.as_secs_f64()
        );
        Ok(())
    }

    /// Since the fault, sensors were not kept waiting.
    ///
    /// # Errors
    /// If they were.
    pub fn acknowledgements_went_on(&mut self) -> anyhow::Result<()> {
        self.listen()?;
        let longest = self.silence.longest;
        self.say(&format!("no sensor waited longer than {} ms meanwhile", longest.as_millis()));
        ensure!(
            longest <= LONGEST_SILENCE,
            "nothing was acknowledged for {:.1} s although the broker ran",
            longest.as_secs_f64()
        );
        Ok(())
    }

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

    /// What happened so far was no fault of the system's: recovery counts from now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn fault_ends(&mut self) -> anyhow::Result<()> {
        self.fault_comes()
    }

    fn fault_comes(&mut self) -> anyhow::Result<()> {
        self.load.catch_up()?;
        self.silence = Silence::begin(self.load.acknowledgements());
        self.fault = Instant::now();
        Ok(())
    }

    fn listen(&mut self) -> anyhow::Result<()> {
        self.load.catch_up()?;
        self.silence.listen(self.load.acknowledgements());
        Ok(())
    }

    /// Ends the load, waits until everything is accounted for, and lets the oracle judge. `played` is
    /// how the drill itself went.
    pub async fn close(mut self, played: anyhow::Result<()>) -> Report {
        let mut report = Report {
            drill: self.drill.name,
            seed: self.options.seed,
            evidence: std::mem::take(&mut self.evidence),
            acknowledged: 0,
            stored: 0,
            lost: 0,
            duplicated: 0,
            unexpected: 0,
            recovery_s: self.recovery.map(|time| (time.as_secs_f64() * 1000.0).round() / 1000.0),
            verdict: Verdict::Unknown,
            ledger: "unknown".to_owned(),
            seconds: 0.0,
            reasons: Vec::new(),
            site: None,
        };
        let complain = |reasons: &mut Vec<String>, result: anyhow::Result<()>| {
            reasons.extend(result.err().map(|error| format!("{error:#}")));
        };
        complain(&mut report.reasons, played);
        let judged = self.drain_and_judge(&mut report).await;
        complain(&mut report.reasons, judged);
        report.decide();
        report.seconds = (self.begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
        // A failure that nobody asked for is to be looked into.
        if self.options.keep || (report.verdict != Verdict::Pass && self.drill.control.is_none()) {
            self.site.keep();
            report.site = Some(self.site.path().to_owned());
        }
        report
    }

    async fn drain_and_judge(&mut self, report: &mut Report) -> anyhow::Result<()> {
        if self.system.pids().is_empty() {
            bail!("the system does not run, so that nothing can be judged");
        }
        self.load.stop().await.context("at the end")?;
        let acknowledged = self.load.acknowledgements();
        self.say(&format!("sensors have delivered and ended: {acknowledged} acknowledged"));
        if let Err(error) = self.drained(acknowledged).await {
            report.reasons.push(format!("{error:#}"));
        }
        let mut exports = Vec::new();
        for (sensor, _) in self.load.truths() {
            exports.push(self.api.export(sensor).await?);
        }
        let books = self.api.ledger().await?;
        report.ledger = books.verdict.clone();
        let claims = self.load.truths().zip(&exports);
        let findings =
            judge(claims.map(|((id, file), export)| (id, &file.truth, export.as_slice())));
        report.found(&findings);
        report.reasons.extend(findings.defects());
        report.reasons.extend(disagreements(&findings, &books, self.drill.expected));
        report.reasons.extend(books.reasons.iter().map(|reason| format!("ledger: {reason}")));
        report.reasons.extend(findings.examples.iter().map(|example| format!("such as {example}")));
        Ok(())
    }

    /// Waits until everything acknowledged is accounted for; or nothing moves any more.
    async fn drained(&self, acknowledged: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        let mut moved = begun;
        let mut before = None;
        loop {
            let books = self.api.ledger().await;
            if books.as_ref().is_ok_and(|books| books.are_settled(acknowledged)) {
                self.say(&format!("drained after {:.1} s", begun.elapsed().as_secs_f64()));
                return Ok(());
            }
            let counts = books.as_ref().ok().map(|books| books.readings);
            if counts != before {
                (before, moved) = (counts, Instant::now());
            }
            let still = counts.is_some_and(|counts| counts.in_flight == Some(0))
                && moved.elapsed() >= STILL_FOR;
            if still || begun.elapsed() >= DRAINED_WITHIN {
                let words = match books {
                    Ok(books) => {
                        format!("{}, {:?}, {:?}", books.verdict, books.readings, books.reasons)
                    }
                    Err(error) => format!("{error:#}"),
                };
                bail!(
                    "{:.0} s after the sensors ended not all of {acknowledged} is accounted for: {words}",
                    begun.elapsed().as_secs_f64()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// The first reading that was acknowledged between the two, and whose it is.
fn first_newer(before: &[(i16, Place)], now: &[(i16, Place)]) -> Option<(i16, Place)> {
    let mut pairs = before.iter().zip(now);
    pairs.find_map(|((sensor, (old_stream, old_below)), (_, (stream, below)))| {
        let first = if stream == old_stream { (*old_below).max(1) } else { 1 };
        (*below > first).then_some((*sensor, (*stream, first)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reading_after_a_fault_is_found_in_the_old_stream_and_in_a_new_one() {
        let before = [(1, (1, 10)), (2, (1, 20)), (3, (0, 0))];
        assert_eq!(first_newer(&before, &before), None);
        let later = |fronts: [Place; 3]| {
            let ids = before.map(|(id, _)| id);
            let now: Vec<_> = ids.into_iter().zip(fronts).collect();
            first_newer(&before, &now)
        };
        assert_eq!(later([(1, 10), (1, 25), (0, 0)]), Some((2, (1, 20))));
        assert_eq!(later([(1, 10), (2, 1), (0, 0)]), None);
        assert_eq!(later([(1, 10), (2, 3), (0, 0)]), Some((2, (2, 1))));
        assert_eq!(later([(1, 10), (1, 20), (1, 2)]), Some((3, (1, 1))));
    }
}
