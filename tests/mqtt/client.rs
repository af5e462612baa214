//! A client library of others, in a process of its own. `clients/README.md` describes what it says.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::server::Login;

const PATIENCE: Duration = Duration::from_secs(30);

/// Who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    PahoPython,
    MqttJs,
    PahoCpp,
    Mosquitto,
}

/// The protocol it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// MQTT 3.1.1
    V4,
    /// MQTT 5.0
    V5,
}

impl Library {
    fn command(self) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = root.join("build/venv/bin/python");
        let (program, script) = match self {
            Self::PahoPython => (python, Some("clients/paho-python/client.py")),
            Self::MqttJs => ("node".into(), Some("clients/mqttjs/client.mjs")),
            Self::PahoCpp => (root.join("build/clients/paho-cpp/client"), None),
            Self::Mosquitto => (python, Some("clients/mosquitto/client.py")),
        };
        // What a test leaves behind when it dies would try to connect for ever.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command.args(script.map(|script| root.join(script)));
        command
    }
}

/// A driver that runs. It is killed when dropped.
pub struct Driver {
    process: Child,
    said: Arc<Said>,
}

/// Its lines up to now.
#[derive(Default)]
struct Said {
    lines: Mutex<(Vec<String>, bool)>,
    more: Condvar,
}

/// A line `message`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub retained: bool,
    pub payload: Vec<u8>,
}

impl Message {
    fn parse(line: &str) -> Option<Self> {
        let rest = line.strip_prefix("message ")?;
        let (rest, payload) = rest.rsplit_once(' ')?;
        let (topic, retained) = rest.rsplit_once(" retained=")?;
        Some(Self {
            topic: topic.to_owned(),
            retained: retained == "1",
            payload: hex::decode(payload).ok()?,
        })
    }

    /// What `publish` sends.
    pub fn number(&self) -> Option<u64> {
        std::str::from_utf8(&self.payload).ok()?.parse().ok()
    }
}

impl Driver {
    /// Publishes the numbers `from` to `to`, and pauses after each.
    pub fn publish(
        (library, level): (Library, Level),
        login: &Login,
        id: &str,
        topic: &str,
        numbers: std::ops::RangeInclusive<u64>,
        pace: Duration,
    ) -> Self {
        let numbers = (numbers.start().to_string(), numbers.end().to_string());
        let pace = pace.as_millis().to_string();
        let more = ["--topic", topic, "--from", &numbers.0, "--to", &numbers.1, "--pace", &pace];
        Self::start("publish", (library, level), login, id, &more)
    }

    /// Subscribes; `more` are further options of the driver.
    pub fn subscribe(
        client: (Library, Level),
        login: &Login,
        id: &str,
        filters: &[&str],
        more: &[&str],
    ) -> Self {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let arguments: Vec<&str> = filters.chain(more.iter().copied()).collect();
        Self::start("subscribe", client, login, id, &arguments)
    }

    fn start(
        what: &str,
        (library, level): (Library, Level),
        login: &Login,
        id: &str,
        more: &[&str],
    ) -> Self {
        let (port, level) = match level {
            Level::V4 => (login.port, "4"),
            Level::V5 => (login.port_v5, "5"),
        };
        let mut command = library.command();
        command
            .args([what, "--port", &port.to_string(), "--level", level, "--id", id])
            .args(["--user", &login.user, "--password-file"])
            .arg(&login.password_file)
            .args(more)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}"));
        let out = BufReader::new(process.stdout.take().expect("a pipe"));
        let said = Arc::new(Said::default());
        let hears = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                hears.lines.lock().expect("no panic").0.push(line);
                hears.more.notify_all();
            }
            hears.lines.lock().expect("no panic").1 = true;
            hears.more.notify_all();
        });
        Self { process, said }
    }

    /// Waits until `ask` has an answer about the lines up to now, within the patience or `within`.
    #[track_caller]
    pub fn until<T>(&self, what: &str, ask: impl FnMut(&[String]) -> Option<T>) -> T {
        self.within(PATIENCE, ask).unwrap_or_else(|| {
            let lines = self.lines();
            let last = &lines[lines.len().saturating_sub(10)..];
            panic!("not within {PATIENCE:?}: {what}; {} lines, the last: {last:#?}", lines.len())
        })
    }

    /// The same, or nothing.
    pub fn within<T>(
        &self,
        time: Duration,
        mut ask: impl FnMut(&[String]) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + time;
        let mut lines = self.said.lines.lock().expect("no panic");
        loop {
            if let Some(answer) = ask(&lines.0) {
                return Some(answer);
            }
            // The last word was spoken; waiting for more is in vain.
            if lines.1 {
                return None;
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.said.more.wait_timeout(lines, left).expect("no panic").0;
        }
    }

    /// Waits for the first line that begins like this.
    #[track_caller]
    pub fn says(&self, beginning: &str) -> String {
        self.until(beginning, |lines| {
            lines.iter().find(|line| line.starts_with(beginning)).cloned()
        })
    }

    /// Waits until this many lines begin like this; returns the last of them.
    #[track_caller]
    pub fn says_times(&self, times: usize, beginning: &str) -> String {
        self.until(&format!("{times} × {beginning:?}"), |lines| {
            lines.iter().filter(|line| line.starts_with(beginning)).nth(times - 1).cloned()
        })
    }

    /// All lines up to now.
    pub fn lines(&self) -> Vec<String> {
        self.said.lines.lock().expect("no panic").0.clone()
    }

    /// All messages up to now.
    pub fn messages(&self) -> Vec<Message> {
        messages(&self.lines())
    }

    /// Waits for the end, which must come.
    #[track_caller]
    pub fn ends(&mut self) -> ExitStatus {
        let ended = self.within(PATIENCE, |_| None::<()>);
        assert!(ended.is_none() && self.said.lines.lock().expect("no panic").1, "it does not end");
        self.process.wait().expect("a child")
    }

    /// Sends a signal to the process and its children.
    pub fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(self.process.id().cast_signed()).expect("a process");
        // It may have ended by itself.
        let _ = kill_process_group(group, signal);
    }

    /// kill -9; returns what it had said.
    pub fn kill(mut self) -> Vec<String> {
        self.signal(Signal::KILL);
        let _ = self.process.wait();
        let spoken = |said: &Said| said.lines.lock().expect("no panic").1;
        super::super::support::eventually("its last line", || spoken(&self.said).then_some(()));
        self.lines()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.process.wait();
    }
}

/// The messages among these lines.
pub fn messages(lines: &[String]) -> Vec<Message> {
    lines.iter().filter_map(|line| Message::parse(line)).collect()
}

/// The numbers among these lines' messages.
pub fn numbers(lines: &[String]) -> Vec<u64> {
    messages(lines).iter().filter_map(Message::number).collect()
}
