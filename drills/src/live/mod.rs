//! Drills on a deployment that runs and allows it: a site of processes, or a Compose project.
//!
//! The oracle is the same as for a site of a drill's own. What sensors claim adds up from drill to drill,
//! and so does what is exported.

mod containers;
mod docker;
mod fault;
mod guests;
mod processes;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use vigia_kit::config::ConfigError;

use self::containers::Project;
use self::fault::CHAOS;
pub use self::fault::Fault;
pub use self::processes::NotRunning;
use self::processes::RunningSite;
use crate::api::Api;
use crate::books::Books;
use crate::judgement::caught_up;
use crate::random::Random;
use crate::report::{Report, Verdict};
use crate::scene::recovery::first_newer;
use crate::truth::Place;
use crate::{Options, print, tell, wait};

/// A deployment that has not recovered by then is not waited for.
const RECOVERED_WITHIN: Duration = Duration::from_secs(90);
/// What is down, is down for so long.
const DOWN: Duration = Duration::from_secs(5);
/// A fault comes this long after the sensors have started, or after the last one.
const MOMENTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(4));

/// What a drill needs of a deployment.
trait Deployment {
    /// In which order the faults are tried. What leaves traces in the ledger comes last.
    fn faults() -> Vec<Fault>;

    /// Lets sensors measure.
    async fn start_sensors(&mut self) -> anyhow::Result<()>;

    /// Ends the sensors, once they have delivered what they hold.
    async fn stop_sensors(&mut self) -> anyhow::Result<()>;

    /// Reads what the sensors have written since.
    async fn catch_up(&mut self) -> anyhow::Result<()>;

    /// Numbers acknowledged to all sensors, as of the last [`Deployment::catch_up`].
    fn acknowledged(&self) -> u64;

    /// How far acknowledgements have come, per sensor; as of the last [`Deployment::catch_up`].
    fn fronts(&self) -> Vec<(i16, Place)>;

    /// The API where it is now.
    async fn api(&self) -> anyhow::Result<Api>;

    /// Brings the fault on, and repairs it.
    async fn bring(&mut self, trial: &mut Trial<'_>) -> anyhow::Result<()>;

    /// Waits until all is accounted for, and lets the oracle judge; `before` is the ledger before the fault.
    async fn judge(
        &mut self,
        fault: Fault,
        before: &Books,
        report: &mut Report,
    ) -> anyhow::Result<()>;

    /// Leaves what its sensors wrote where it is, and says where.
    fn keep(&mut self) -> Option<PathBuf>;
}

/// Runs those of the drills that are called so (or `all`) on a Compose project; says whether all passed.
///
/// # Errors
/// A project that cannot be drilled, an unknown name.
pub async fn on_project(
    project: &str,
    name: &str,
    options: &Options,
) -> anyhow::Result<(Vec<Report>, bool)> {
    let faults = named::<Project>(name)?;
    let mut project = Project::find(project).await?;
    let done = run(&mut project, faults, options).await;
    // As they were found.
    project.start_sensors().await?;
    Ok(done)
}

/// Runs those of the drills that are called so (or `all`) on the site in this directory, with sensors of
/// its own, which are revoked afterwards; says whether all passed.
///
/// # Errors
/// A site that cannot be drilled, an unknown name.
pub async fn on_site(
    site: &Path,
    name: &str,
    options: &Options,
) -> anyhow::Result<(Vec<Report>, bool)> {
    let faults = named::<RunningSite>(name)?;
    let mut site = RunningSite::find(site, options.seed)?;
    Ok(run(&mut site, faults, options).await)
}

/// What can be done to a Compose project.
pub fn project_faults() -> Vec<Fault> {
    Project::faults()
}

/// What can be done to a site of processes.
pub fn site_faults() -> Vec<Fault> {
    RunningSite::faults()
}

fn named<D: Deployment>(name: &str) -> Result<Vec<Fault>, ConfigError> {
    let all = D::faults();
    let mut faults = all.clone();
    faults.retain(|fault| name == "all" || fault.name() == name);
    if faults.is_empty() {
        let names: Vec<String> = all.into_iter().map(Fault::name).collect();
        return Err(ConfigError(format!(
            "there is no drill {name:?} for what runs already, expected all or one of {}",
            names.join(", ")
        )));
    }
    Ok(faults)
}

async fn run<D: Deployment>(
    deployment: &mut D,
    faults: Vec<Fault>,
    options: &Options,
) -> (Vec<Report>, bool) {
    let mut random = Random::new(options.seed);
    let mut reports = Vec::new();
    for fault in faults {
        if options.account {
            print(&format!("{}: {}", fault.name(), fault.sentence()));
        }
        let report = one(deployment, fault, options, &mut random).await;
        tell(&report, options);
        reports.push(report);
    }
    let good = reports.iter().all(|report| report.verdict == Verdict::Pass);
    (reports, good)
}

async fn one<D: Deployment>(
    deployment: &mut D,
    fault: Fault,
    options: &Options,
    random: &mut Random,
) -> Report {
    let begun = Instant::now();
    let mut report = Report::new(fault.name(), fault.sentence(), options.seed);
    let done = async {
        let before = prepare(deployment).await.context("before the fault")?;
        play(deployment, fault, options, random, &mut report).await?;
        deployment.stop_sensors().await?;
        deployment.judge(fault, &before, &mut report).await
    };
    if let Err(error) = done.await {
        report.reasons.push(format!("{error:#}"));
    }
    report.decide();
    report.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    if options.keep || report.verdict != Verdict::Pass {
        report.site = deployment.keep();
    }
    report
}

/// Everything runs and is well, and of earlier drills nothing is under way. Returns the ledger.
async fn prepare<D: Deployment>(deployment: &mut D) -> anyhow::Result<Books> {
    deployment.start_sensors().await?;
    recovers(deployment).await?;
    caught_up(&deployment.api().await?).await
}

/// The fault as often as asked for; or others at random, for as long as asked for.
async fn play<D: Deployment>(
    deployment: &mut D,
    fault: Fault,
    options: &Options,
    random: &mut Random,
    report: &mut Report,
) -> anyhow::Result<()> {
    let down = options.down.unwrap_or(DOWN);
    if fault != Fault::Chaos {
        for _ in 0..options.times.unwrap_or(1) {
            tokio::time::sleep(random.between(MOMENTS.0, MOMENTS.1)).await;
            strike(deployment, fault, down, report).await?;
        }
        return Ok(());
    }
    let others: Vec<Fault> = D::faults().into_iter().filter(|other| *other != fault).collect();
    let (begun, time) = (Instant::now(), options.time.unwrap_or(CHAOS));
    while begun.elapsed() < time {
        tokio::time::sleep(random.between(MOMENTS.0, MOMENTS.1)).await;
        strike(deployment, random.pick(&others), down, report).await?;
    }
    Ok(())
}

/// The fault, and what it shows of itself; its repair; and the recovery.
async fn strike<D: Deployment>(
    deployment: &mut D,
    fault: Fault,
    down: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    deployment.catch_up().await?;
    let acknowledged = deployment.acknowledged();
    let begun = Instant::now();
    let mut trial = Trial { fault, down, acknowledged, repair: begun, report };
    deployment.bring(&mut trial).await.with_context(|| fault.name())?;
    let repair = trial.repair;
    recovers(deployment).await.with_context(|| fault.name())?;
    let (took, after) = (begun.elapsed().as_secs_f64(), repair.elapsed().as_secs_f64());
    let longest = report.recovery_s.unwrap_or_default().max(took);
    report.recovery_s = Some((longest * 1000.0).round() / 1000.0);
    let words = format!("recovered {took:.1} s after the fault, {after:.1} s after its repair");
    report.account.push(words);
    Ok(())
}

/// Waits until a reading that is acknowledged from now on can be queried.
async fn recovers<D: Deployment>(deployment: &mut D) -> anyhow::Result<()> {
    deployment.catch_up().await?;
    let before = deployment.fronts();
    let what = || "a newly acknowledged reading can be queried".to_owned();
    let mut api = None;
    wait::until(RECOVERED_WITHIN, what, async || {
        deployment.catch_up().await?;
        let Some((sensor, place)) = first_newer(&before, &deployment.fronts()) else {
            return Ok(None);
        };
        if api.is_none() {
            api = deployment.api().await.ok();
        }
        let Some(api) = &api else { return Ok(None) };
        let latest = api.latest(sensor).await;
        Ok(latest.is_ok_and(|latest| latest >= place).then_some(()))
    })
    .await
}

/// One fault, while it lasts.
struct Trial<'a> {
    fault: Fault,
    down: Duration,
    /// Before it.
    acknowledged: u64,
    /// When what it had hit was there again.
    repair: Instant,
    report: &'a mut Report,
}

impl Trial<'_> {
    /// The fault was seen like this.
    fn saw(&mut self, evidence: String) {
        self.report.evidence.push(evidence);
    }

    /// What the fault had hit is there again.
    fn repaired(&mut self) {
        self.repair = Instant::now();
    }

    /// It stays so for a while; where the broker lives, sensors do not notice.
    async fn stays(&mut self, deployment: &mut impl Deployment) -> anyhow::Result<()> {
        tokio::time::sleep(self.down).await;
        deployment.catch_up().await?;
        let meanwhile = deployment.acknowledged() - self.acknowledged;
        self.report.account.push(format!("{meanwhile} readings acknowledged meanwhile"));
        ensure!(
            !self.fault.leaves_the_broker() || meanwhile > 0,
            "nothing was acknowledged although the broker ran"
        );
        Ok(())
    }
}
