//! Drills for a deployment of containers: `kill`, `stop`, `pause`, `network disconnect`, and volumes.
//!
//! They need nothing but the `docker` command, and work on what `docker compose up` has made, with
//! sensors that write truth files. The oracle is the same as for processes. What sensors claim adds up
//! from drill to drill, and so does what is exported.

mod deployment;
mod docker;

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use vigia_kit::config::ConfigError;
use vigia_kit::site::Role;

use self::deployment::{Deployment, RECOVERED_WITHIN};
use crate::judgement::{drained, judge};
use crate::oracle::Expected;
use crate::random::Random;
use crate::report::{Report, Verdict};
use crate::{Options, print, tell, wait};

/// What is down, is down for so long.
const DOWN: Duration = Duration::from_secs(5);
/// A fault comes this long after the sensors have started.
const MOMENTS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(4));
/// The network between the roles, as compose.yaml calls it.
const BUS: &str = "bus";

/// A drill for containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComposeDrill {
    /// SIGKILL, and started again later.
    Kill(Role),
    /// SIGTERM, and started again later.
    Stop(Role),
    /// Frozen: connections stay, nothing answers.
    Pause(Role),
    /// Off the network between the roles.
    Cut(Role),
    /// All roles at once.
    PowerOff,
    /// The journal's file is gone.
    LoseJournal,
    /// The store is what it was at a backup.
    RestoreStore,
}

impl ComposeDrill {
    /// All of them. What leaves traces in the ledger comes last.
    pub fn all() -> Vec<Self> {
        let kinds = [Self::Kill, Self::Stop, Self::Pause, Self::Cut];
        let each = kinds.iter().flat_map(|kind| Role::ALL.iter().map(|role| kind(*role)));
        each.chain([Self::PowerOff, Self::RestoreStore, Self::LoseJournal]).collect()
    }

    /// What it is called by.
    pub fn name(self) -> String {
        match self {
            Self::Kill(role) => format!("kill-{}", role.name()),
            Self::Stop(role) => format!("stop-{}", role.name()),
            Self::Pause(role) => format!("pause-{}", role.name()),
            Self::Cut(role) => format!("cut-{}", role.name()),
            Self::PowerOff => "power-off".to_owned(),
            Self::LoseJournal => "lose-journal".to_owned(),
            Self::RestoreStore => "restore-store".to_owned(),
        }
    }

    /// What is done, and what is promised.
    pub fn sentence(self) -> String {
        let nothing = "nothing is lost or counted twice";
        match self {
            Self::Kill(role) => format!("the container of {} killed: {nothing}", role.name()),
            Self::Stop(role) => format!("the container of {} stopped: {nothing}", role.name()),
            Self::Pause(role) => format!("the container of {} frozen: {nothing}", role.name()),
            Self::Cut(role) => format!("{} cut off the other roles: {nothing}", role.name()),
            Self::RestoreStore => {
                "the store replaced by a backup of itself: the journal fills it again".to_owned()
            }
            Self::PowerOff => format!("the containers of all roles killed at once: {nothing}"),
            Self::LoseJournal => {
                "the broker killed and its journal deleted: sensors deliver again what was \
                                  not stored"
                    .to_owned()
            }
        }
    }

    /// Whether sensors are acknowledged meanwhile.
    fn leaves_the_broker(self) -> bool {
        match self {
            Self::Kill(role) | Self::Stop(role) | Self::Pause(role) => role != Role::Broker,
            // Sensors come by another network.
            Self::Cut(_) | Self::RestoreStore => true,
            Self::PowerOff | Self::LoseJournal => false,
        }
    }

    fn expected(self) -> Expected {
        Expected { duplicates: self == Self::LoseJournal, ..Expected::NOTHING }
    }
}

/// Runs those of the drills that are called so (or `all`) on a Compose project; says whether all passed.
///
/// # Errors
/// A project that cannot be drilled, an unknown name.
pub async fn run(
    project: &str,
    name: &str,
    options: &Options,
) -> anyhow::Result<(Vec<Report>, bool)> {
    let mut drills = ComposeDrill::all();
    drills.retain(|drill| name == "all" || drill.name() == name);
    if drills.is_empty() {
        let names: Vec<String> = ComposeDrill::all().into_iter().map(ComposeDrill::name).collect();
        return Err(ConfigError(format!(
            "there is no drill {name:?} for containers, expected all or one of {}",
            names.join(", ")
        ))
        .into());
    }
    let mut deployment = Deployment::find(project).await?;
    let mut random = Random::new(options.seed);
    let mut reports = Vec::new();
    for drill in drills {
        if options.account {
            print(&format!("{}: {}", drill.name(), drill.sentence()));
        }
        let report = one(&mut deployment, drill, options, &mut random).await;
        tell(&report, options);
        reports.push(report);
    }
    // As they were found.
    deployment.start_sensors().await?;
    let good = reports.iter().all(|report| report.verdict == Verdict::Pass);
    Ok((reports, good))
}

async fn one(
    deployment: &mut Deployment,
    drill: ComposeDrill,
    options: &Options,
    random: &mut Random,
) -> Report {
    let begun = Instant::now();
    let mut report = Report::new(drill.name(), drill.sentence(), options.seed);
    let down = options.down.unwrap_or(DOWN);
    let moment = random.between(MOMENTS.0, MOMENTS.1);
    let done = async {
        let duplicates = prepare(deployment).await?;
        tokio::time::sleep(moment).await;
        play(deployment, drill, down, &mut report).await?;
        deployment.stop_sensors().await?;
        let api = deployment.api().await?;
        let waited = drained(&api, deployment.acknowledged()).await?;
        report.account.push(format!("drained after {:.1} s", waited.as_secs_f64()));
        let mut expected = drill.expected();
        // The ledger remembers those of drills before.
        expected.duplicates |= duplicates > 0;
        judge(&api, deployment.claims(), expected, &mut report).await
    };
    if let Err(error) = done.await {
        report.reasons.push(format!("{error:#}"));
    }
    report.decide();
    report.seconds = (begun.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    report
}

/// Everything runs and is well. Returns how many duplicates the ledger has from before.
async fn prepare(deployment: &mut Deployment) -> anyhow::Result<u64> {
    deployment.start_sensors().await?;
    deployment.recovers().await.context("before the fault")?;
    let api = deployment.api().await?;
    let what = || "the ledger is balanced before the fault".to_owned();
    wait::until(RECOVERED_WITHIN, what, async || {
        let books = api.ledger().await.ok().filter(|books| books.verdict == "balanced");
        Ok(books.map(|books| books.readings.duplicate))
    })
    .await
}

/// The fault, and what it shows of itself; its repair; and the recovery.
async fn play(
    deployment: &mut Deployment,
    drill: ComposeDrill,
    down: Duration,
    report: &mut Report,
) -> anyhow::Result<()> {
    const PID: &str = "{{.State.Pid}}";
    deployment.catch_up().await?;
    let acknowledged = deployment.acknowledged();
    let fault = Instant::now();
    let repair;
    match drill {
        ComposeDrill::Kill(role) | ComposeDrill::Stop(role) => {
            let container = deployment.role(role).clone();
            let old = container.inspect(PID).await?;
            let verb = if matches!(drill, ComposeDrill::Kill(_)) { "kill" } else { "stop" };
            container.to(verb).await?;
            let code = container.inspect("{{.State.Status}} with code {{.State.ExitCode}}").await?;
            down_for(deployment, drill, down, acknowledged, report).await?;
            container.to("start").await?;
            repair = Instant::now();
            let new = container.inspect(PID).await?;
            ensure!(new != old, "{} is still process {old}", role.name());
            report.evidence.push(format!("{}: {code}; process {old}, then {new}", role.name()));
        }
        ComposeDrill::Pause(role) => {
            let container = deployment.role(role).clone();
            container.to("pause").await?;
            let state = container.inspect("{{.State.Status}}").await?;
            ensure!(state == "paused", "{} is {state}, expected paused", role.name());
            down_for(deployment, drill, down, acknowledged, report).await?;
            container.to("unpause").await?;
            repair = Instant::now();
            report.evidence.push(format!("{}: was {state}", role.name()));
        }
        ComposeDrill::Cut(role) => {
            let container = deployment.role(role).clone();
            let network = container.network(BUS).await?;
            container.disconnect(&network).await?;
            let is_off = container.network(BUS).await.is_err();
            ensure!(is_off, "{} is still in {network}", role.name());
            down_for(deployment, drill, down, acknowledged, report).await?;
            container.connect(&network, role.name()).await?;
            repair = Instant::now();
            report.evidence.push(format!("{}: was not in {network}", role.name()));
        }
        ComposeDrill::PowerOff => {
            let roles = deployment.all_roles();
            docker::all("kill", &roles).await?;
            for container in &roles {
                let state = container.inspect("{{.State.Status}}").await?;
                ensure!(state == "exited", "a role is {state}, expected exited");
            }
            down_for(deployment, drill, down, acknowledged, report).await?;
            docker::all("start", &roles).await?;
            repair = Instant::now();
            report.evidence.push(format!("{} containers had exited", roles.len()));
        }
        ComposeDrill::RestoreStore => {
            const BACKUP: &str = "/site/data/store/drill.backup";
            let store = deployment.role(Role::Store).clone();
            let vigia = |verb| ["vigia", "store", verb, BACKUP, "--site", "/site"];
            let backed_up = store.run(&vigia("backup")).await?;
            down_for(deployment, drill, down, acknowledged, report).await?;
            store.to("stop").await?;
            let restored = store.run_beside(&vigia("restore")).await;
            store.run_beside(&["rm", BACKUP]).await?;
            report.evidence.extend([backed_up, restored?].map(|said| said.trim_end().to_owned()));
            store.to("start").await?;
            repair = Instant::now();
        }
        ComposeDrill::LoseJournal => {
            let broker = deployment.role(Role::Broker).clone();
            let before = deployment.api().await?.ledger().await?.logs.len();
            broker.to("kill").await?;
            broker.run_beside(&["rm", "/site/data/broker/journal.redb"]).await?;
            broker.to("start").await?;
            repair = Instant::now();
            report.evidence.push(format!("the journal's file is removed; it had {before} logs"));
        }
    }
    deployment.recovers().await?;
    let (took, after) = (fault.elapsed(), repair.elapsed());
    report.recovery_s = Some((took.as_secs_f64() * 1000.0).round() / 1000.0);
    report.account.push(format!(
        "recovered {:.1} s after the fault, {:.1} s after its repair",
        took.as_secs_f64(),
        after.as_secs_f64()
    ));
    Ok(())
}

/// It stays so for a while; where the broker lives, sensors do not notice.
async fn down_for(
    deployment: &mut Deployment,
    drill: ComposeDrill,
    down: Duration,
    acknowledged: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    tokio::time::sleep(down).await;
    deployment.catch_up().await?;
    let meanwhile = deployment.acknowledged() - acknowledged;
    report.account.push(format!("{meanwhile} readings acknowledged meanwhile"));
    ensure!(
        !drill.leaves_the_broker() || meanwhile > 0,
        "nothing was acknowledged although the broker ran"
    );
    Ok(())
}
