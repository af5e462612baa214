//! The load: real C++ sensors, each with its key, its spool and its truth file.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;
use tokio::process::{Child, Command};

use crate::process::Process;
use crate::site::Site;
use crate::system::append;
use crate::truth::{Place, Truth, TruthFile};
use crate::wait;

const PROGRAM: &str = "vigia-sensor";
/// Where the build leaves it, below the directory of the sources.
const BUILT: &str = "build/sensor-release/vigia-sensor";
/// How long stopped sensors go on delivering what they hold.
const LINGER: Duration = Duration::from_secs(90);
/// And a little longer, until they are gone.
const DELIVERED_WITHIN: Duration = Duration::from_secs(100);
const MOMENT_WITHIN: Duration = Duration::from_secs(1);
/// Dead processes are gone this soon.
const CLEARED_WITHIN: Duration = Duration::from_secs(5);
const FIRST_WITHIN: Duration = Duration::from_secs(30);

/// There is no such program.
#[derive(Debug, thiserror::Error)]
#[error("there is no {PROGRAM} at {0}: 'make build' builds it, VIGIA_SENSOR names another")]
pub struct NoSensorProgram(String);

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Sensors 1 to this.
    pub sensors: i16,
    /// Readings per second of each.
    pub hertz: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Load {
    program: PathBuf,
    executable: PathBuf,
    /// Of spools, truth files, and what sensors say.
    directory: PathBuf,
    ingress: SocketAddr,
    seed: u64,
    hertz: u32,
    /// By their numbers, from 1.
    sensors: Vec<Sensor>,
}

#[derive(Debug)]
struct Sensor {
    id: i16,
    /// Of its spool and its truth file: its number, but for a clone.
    name: String,
    key: PathBuf,
    /// Whether it must deliver everything before the end; a stranger need not, and is not let in.
    owes: bool,
    /// It does not start again.
    retired: bool,
    /// The file with what it measures; simulated if there is none.
    recorded: Option<PathBuf>,
    child: Option<Child>,
    truth: TruthFile,
}

impl Load {
    /// For a site of a drill's own, whose sensors connect to `ingress`. None runs yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn new(
        site: &Site,
        ingress: SocketAddr,
        program: PathBuf,
        rate: Rate,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let executable = site.executable.clone();
        let mut load = Self::within(site.path(), executable, ingress, program, rate.hertz, seed)?;
        for id in 1..=rate.sensors {
            load.add(id, site.file(&format!("devices/{id}.key")), true);
        }
        Ok(load)
    }

    /// Without sensors yet; what those write goes to this directory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn within(
        directory: &Path,
        executable: PathBuf,
        ingress: SocketAddr,
        program: PathBuf,
        hertz: u32,
        seed: u64,
    ) -> anyhow::Result<Self> {
        for part in ["truth", "spools"] {
            let part = directory.join(part);
            fs::create_dir_all(part).context("cannot make the sensors' directories")?;
        }
        let (directory, sensors) = (directory.to_owned(), Vec::new());
        Ok(Self { program, executable, directory, ingress, seed, hertz, sensors })
    }

    /// One more sensor with this key, which does not run yet. `owes`: it must deliver all it takes.
    pub fn add(&mut self, id: i16, key: PathBuf, owes: bool) {
        self.add_as(id, id.to_string(), key, owes, None);
    }

    /// One more that measures what stands in this file, at its pace, and delivers all of it.
    pub fn add_recorded(&mut self, id: i16, key: PathBuf, recorded: PathBuf) {
        self.add_as(id, id.to_string(), key, true, Some(recorded));
    }

    fn add_as(
        &mut self,
        id: i16,
        name: String,
        key: PathBuf,
        owes: bool,
        recorded: Option<PathBuf>,
    ) {
        let truth = TruthFile::new(self.directory.join(format!("truth/{name}.txt")));
        let (retired, child) = (false, None);
        self.sensors.push(Sensor { id, name, key, owes, retired, recorded, child, truth });
    }

    /// Another sensor of the same number, with the same key and a copy of the dead one's memory. It owes
    /// nothing, as it need not live to the end.
    ///
    /// # Errors
    /// What the file system says.
    pub fn clone_sensor(&mut self, id: i16) -> anyhow::Result<()> {
        let name = format!("{id}-clone");
        copy_files(&self.spool(id), &self.directory.join("spools").join(&name))?;
        let original = self.sensors.iter().find(|sensor| sensor.id == id);
        let key = original.context("there is no sensor to clone")?.key.clone();
        self.add_as(id, name, key, false, None);
        Ok(())
    }

    /// Starts those that do not run, and waits until each has been acknowledged something.
    ///
    /// # Errors
    /// What did not come.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        self.start_blindly()?;
        let what = || "every sensor has been acknowledged its first reading".to_owned();
        wait::until(FIRST_WITHIN, what, async || {
            self.catch_up()?;
            let all = self.sensors.iter().all(|sensor| sensor.truth.truth.acknowledgements() > 0);
            Ok(all.then_some(()))
        })
        .await
    }

    /// Starts those that do not run, whether or not there is anybody to answer.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start_blindly(&mut self) -> anyhow::Result<()> {
        let file = |path: String| self.directory.join(path);
        let is_down = |sensor: &&mut Sensor| sensor.child.is_none() && !sensor.retired;
        for sensor in self.sensors.iter_mut().filter(is_down) {
            let id = sensor.id;
            let seed = self.seed.wrapping_mul(1_000).wrapping_add(id.unsigned_abs().into());
            let (hertz, seed) = (self.hertz.to_string(), seed.to_string());
            let source: Vec<&OsStr> = match &sensor.recorded {
                Some(file) => vec!["--csv".as_ref(), file.as_os_str()],
                None => vec!["--rate".as_ref(), hertz.as_ref(), "--seed".as_ref(), seed.as_ref()],
            };
            let child = Command::new(&self.executable)
                .args(["leash", "--to", &std::process::id().to_string(), "--"])
                .arg(&self.program)
                .args(["--connect", &self.ingress.to_string()])
                .arg("--key")
                .arg(&sensor.key)
                .arg("--spool")
                .arg(file(format!("spools/{}", sensor.name)))
                .arg("--truth")
                .arg(file(format!("truth/{}.txt", sensor.name)))
                .args(source)
                .args(["--linger", &format!("{}s", LINGER.as_secs())])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(append(&file("sensors.log".to_owned()))?)
                .process_group(0)
                .kill_on_drop(true)
                .spawn()
                .context("cannot start a sensor")?;
            sensor.child = Some(child);
        }
        Ok(())
    }

    /// Reads what truth files say by now.
    ///
    /// # Errors
    /// What the file system says.
    pub fn catch_up(&mut self) -> anyhow::Result<()> {
        for sensor in &mut self.sensors {
            sensor.truth.catch_up().with_context(|| format!("the truth file of {}", sensor.id))?;
        }
        Ok(())
    }

    /// All sensors with what they claim, as of the last [`Load::catch_up`].
    pub fn truths(&self) -> impl Iterator<Item = (i16, &TruthFile)> {
        self.sensors.iter().map(|sensor| (sensor.id, &sensor.truth))
    }

    /// What all that have a sensor's number claim, as of the last [`Load::catch_up`].
    pub fn claims(&self) -> BTreeMap<i16, Vec<&Truth>> {
        let mut claims: BTreeMap<i16, Vec<&Truth>> = BTreeMap::new();
        for (sensor, file) in self.truths() {
            claims.entry(sensor).or_default().push(&file.truth);
        }
        claims
    }

    /// Numbers acknowledged to all of them. What was acknowledged to a sensor and to its clone is one.
    pub fn acknowledgements(&self) -> u64 {
        let mut numbers: BTreeMap<(i16, u32), u64> = BTreeMap::new();
        for (id, file) in self.truths() {
            for (stream, below) in &file.truth.acknowledged {
                let known = numbers.entry((id, *stream)).or_default();
                *known = (*known).max(below.saturating_sub(1));
            }
        }
        numbers.values().sum()
    }

    /// What one sensor claims, as of the last [`Load::catch_up`].
    pub fn truth(&self, id: i16) -> Option<&Truth> {
        self.truths().find(|(own, _)| *own == id).map(|(_, file)| &file.truth)
    }

    /// How far acknowledgements have come, per sensor.
    pub fn fronts(&self) -> Vec<(i16, Place)> {
        self.truths().map(|(id, file)| (id, file.truth.front())).collect()
    }

    /// The processes, by sensor.
    pub fn processes(&self) -> Vec<(i16, Process)> {
        let process = |sensor: &Sensor| Process::new(sensor.child.as_ref()?.id()?);
        self.sensors.iter().filter_map(|sensor| Some((sensor.id, process(sensor)?))).collect()
    }

    /// kill -9 of those that `chosen` names.
    ///
    /// # Errors
    /// If one cannot be watched.
    pub async fn kill(
        &mut self,
        chosen: impl Fn(i16) -> bool,
    ) -> anyhow::Result<Vec<(i16, Process)>> {
        let killed: Vec<_> = self.processes().into_iter().filter(|(id, _)| chosen(*id)).collect();
        killed.iter().for_each(|(_, process)| process.kill());
        for sensor in self.sensors.iter_mut().filter(|sensor| chosen(sensor.id)) {
            if let Some(mut child) = sensor.child.take() {
                child.wait().await.context("a sensor cannot be watched")?;
            }
        }
        Ok(killed)
    }

    /// kill -9 of a sensor that is not to start again.
    ///
    /// # Errors
    /// If it cannot be watched.
    pub async fn retire(&mut self, id: i16) -> anyhow::Result<()> {
        self.kill(|own| own == id).await?;
        let retired = self.sensors.iter_mut().filter(|sensor| sensor.id == id);
        retired.for_each(|sensor| sensor.retired = true);
        Ok(())
    }

    /// Where the sensor keeps what it holds.
    pub fn spool(&self, id: i16) -> PathBuf {
        self.directory.join(format!("spools/{id}"))
    }

    /// Takes a dead sensor's memory.
    ///
    /// # Errors
    /// What the file system says.
    pub fn destroy_spool(&self, id: i16) -> anyhow::Result<()> {
        let spool = self.spool(id);
        fs::remove_dir_all(&spool).with_context(|| format!("cannot remove {}", spool.display()))
    }

    /// Blocks until one of those that `chosen` names has been acknowledged more. Looks without a pause:
    /// what follows is to happen right then.
    ///
    /// # Errors
    /// What the file system says. That nothing comes within a second is none.
    pub fn at_an_acknowledgement(&mut self, chosen: impl Fn(i16) -> bool) -> anyhow::Result<()> {
        self.catch_up()?;
        let begun = Instant::now();
        while begun.elapsed() < MOMENT_WITHIN {
            for sensor in self.sensors.iter_mut().filter(|sensor| chosen(sensor.id)) {
                let before = sensor.truth.truth.acknowledgements();
                sensor.truth.catch_up()?;
                if sensor.truth.truth.acknowledgements() > before {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// SIGTERM to all: they take nothing new, deliver what they hold, and end.
    ///
    /// # Errors
    /// If one ends otherwise than with everything delivered.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        for sensor in self.sensors.iter_mut().filter(|sensor| !sensor.owes) {
            if let Some(mut child) = sensor.child.take() {
                child.kill().await.context("a sensor cannot be watched")?;
            }
        }
        for (_, process) in self.processes() {
            process.signal(Signal::TERM)?;
        }
        for sensor in &mut self.sensors {
            let Some(mut child) = sensor.child.take() else { continue };
            let id = sensor.id;
            let Ok(status) = tokio::time::timeout(DELIVERED_WITHIN, child.wait()).await else {
                bail!("sensor {id} does not end");
            };
            let status = status.context("a sensor cannot be watched")?;
            if !status.success() {
                bail!("sensor {id} could not deliver what it held: {status}, see sensors.log");
            }
        }
        self.catch_up()
    }
}

/// Copies a directory's files, with its mode. Sockets in it are doors, not files.
///
/// # Errors
/// What the file system says.
pub fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Whatever happened: no sensor is left.
impl Drop for Load {
    fn drop(&mut self) {
        let left = self.processes();
        left.iter().for_each(|(_, process)| process.kill());
        let begun = Instant::now();
        let is_left = || left.iter().any(|(_, process)| process.state().is_some());
        while is_left() && begun.elapsed() < CLEARED_WITHIN {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Finds the sensors' program.
///
/// # Errors
/// [`NoSensorProgram`], or what the file system says.
pub fn find_program() -> anyhow::Result<PathBuf> {
    let candidates = match env::var_os("VIGIA_SENSOR") {
        Some(named) => vec![PathBuf::from(named)],
        None => {
            let own = env::current_exe().context("cannot find the running program's file")?;
            vec![own.with_file_name(PROGRAM), PathBuf::from(BUILT)]
        }
    };
    let Some(found) = candidates.iter().find(|path| path.is_file()) else {
        let places: Vec<String> =
            candidates.iter().map(|path| path.display().to_string()).collect();
        return Err(NoSensorProgram(places.join(" or ")).into());
    };
    // Absolute, because a bare name would be looked up in PATH.
    fs::canonicalize(found).with_context(|| format!("{}", found.display()))
}
