//! The server under test: Vigia's gate, or one to compare with.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::wire;
use crate::support::{TestSite, command, eventually};

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `vigia broker` alone on a site of its own.
    Gate,
    /// `vigia up` with two simulated sensors.
    Site,
    /// rumqttd as it is embedded, but bare: `broker/examples/bare_rumqttd.rs`. It knows no permissions.
    Rumqttd,
    /// Debian's mosquitto, what the tests themselves are held against.
    Mosquitto,
}

impl Kind {
    /// The gate, or what the environment variable `MQTT_SERVER` names.
    pub fn chosen() -> Self {
        match std::env::var("MQTT_SERVER").as_deref() {
            Err(_) | Ok("gate") => Self::Gate,
            Ok("mosquitto") => Self::Mosquitto,
            Ok(other) => panic!("MQTT_SERVER={other}: expected gate or mosquitto"),
        }
    }
}

/// Somebody who may do something.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub name: &'static str,
    pub publish: &'static [&'static str],
    pub subscribe: &'static [&'static str],
    /// Packets a second, if not as usual. Only the gate has such a bound.
    pub messages_per_second: Option<u32>,
}

impl User {
    pub const fn new(
        name: &'static str,
        publish: &'static [&'static str],
        subscribe: &'static [&'static str],
    ) -> Self {
        Self { name, publish, subscribe, messages_per_second: None }
    }
}

/// How to get in.
#[derive(Debug, Clone)]
pub struct Login {
    pub port: u16,
    /// rumqttd speaks MQTT 5 on another port.
    pub port_v5: u16,
    pub user: String,
    pub password_file: PathBuf,
}

impl Login {
    /// The same with another password.
    pub fn with_password_file(&self, file: PathBuf) -> Self {
        Self { password_file: file, ..self.clone() }
    }

    pub fn password(&self) -> String {
        let text = fs::read_to_string(&self.password_file).expect("a password");
        text.lines().next().expect("a line").to_owned()
    }
}

/// A server that runs. It is killed when dropped.
pub struct Server {
    kind: Kind,
    site: Option<TestSite>,
    dir: TempDir,
    process: Option<Child>,
    ports: (u16, u16),
    users: &'static [User],
}

impl Server {
    /// Starts it, with these users.
    pub fn start(kind: Kind, users: &'static [User]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let site = matches!(kind, Kind::Gate | Kind::Site).then(TestSite::new);
        let ports = site.as_ref().map_or_else(free_port, mqtt_port);
        let mut server = Self { kind, site, dir, process: None, ports: (ports, ports), users };
        for user in users {
            server.add(user);
        }
        server.run();
        server
    }

    fn add(&self, user: &User) {
        let password = format!("the password of {}", user.name);
        let file = self.new_password_file(user.name, &password);
        match (&self.site, self.kind) {
            (Some(site), _) => {
                let mut arguments = vec!["user", "add", user.name, "--password-file"];
                arguments.push(file.to_str().expect("UTF-8"));
                arguments.extend(user.publish.iter().flat_map(|filter| ["--publish", filter]));
                arguments.extend(user.subscribe.iter().flat_map(|filter| ["--subscribe", filter]));
                let bound = user.messages_per_second.map(|bound| bound.to_string());
                arguments.extend(bound.iter().flat_map(|bound| ["--messages-per-second", bound]));
                site.vigia(&arguments).succeeded();
            }
            (None, Kind::Mosquitto) => self.add_to_mosquitto(user, &password),
            (None, _) => append(&self.path("users"), &format!("{} {password}\n", user.name)),
        }
    }

    fn add_to_mosquitto(&self, user: &User, password: &str) {
        let file = self.path("passwords");
        append(&file, "");
        let mut add = Command::new("mosquitto_passwd");
        add.arg("-b").arg(file).args([user.name, password]);
        assert!(add.status().expect("mosquitto_passwd").success());
        let mut rules = format!("user {}\n", user.name);
        for (verb, filters) in [("write", user.publish), ("read", user.subscribe)] {
            rules.extend(filters.iter().map(|filter| format!("topic {verb} {filter}\n")));
        }
        append(&self.path("rules"), &rules);
    }

    fn run(&mut self) {
        let log = self.path("log");
        let log = File::options().create(true).append(true).open(log).expect("a log");
        let mut command = match (self.kind, &self.site) {
            (Kind::Gate, Some(site)) => command(&["broker", "--site", site.arg()]),
            (Kind::Site, Some(site)) => command(&["up", "--demo", "2", "--site", site.arg()]),
            (Kind::Mosquitto, _) => self.mosquitto(),
            _ => {
                let mut command = Command::new(built("examples/bare_rumqttd"));
                command.arg(self.path("users")).arg(self.path("ports"));
                command
            }
        };
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        self.process = Some(command.spawn().unwrap_or_else(|error| panic!("{error}: {command:?}")));
        if self.kind == Kind::Rumqttd {
            self.ports = eventually("rumqttd's ports", || {
                let text = fs::read_to_string(self.path("ports")).ok()?;
                let (v4, v5) = text.trim_end().split_once(' ')?;
                Some((v4.parse().ok()?, v5.parse().ok()?))
            });
        }
        eventually("a server that listens", || wire::dial(self.ports.0).ok());
        if self.kind == Kind::Site {
            eventually("a broker", || self.broker_pid());
        }
    }

    fn mosquitto(&self) -> Command {
        let (dir, port) = (self.dir.path().display(), self.ports.0);
        let text = format!(
            "listener {port} 127.0.0.1\npassword_file {dir}/passwords\nacl_file {dir}/rules\n\
             max_queued_messages 0\nuser root\n"
        );
        let file = self.path("mosquitto.conf");
        fs::write(&file, text).expect("a configuration");
        let mut command = Command::new("mosquitto");
        command.arg("-c").arg(file);
        command
    }

    /// kill -9, and another of the same.
    pub fn kill_and_start_again(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it runs");
        process.wait().expect("a child");
        self.run();
    }

    /// How the user of this name gets in.
    pub fn login(&self, user: &str) -> Login {
        let password_file = self.path(user);
        let (port, port_v5) = self.ports;
        Login { port, port_v5, user: user.to_owned(), password_file }
    }

    /// How the first user gets in.
    pub fn first(&self) -> Login {
        self.login(self.users[0].name)
    }

    /// A file with a password, only for its owner.
    pub fn new_password_file(&self, name: &str, password: &str) -> PathBuf {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path(name);
        let file = File::options().create_new(true).write(true).mode(0o600).open(&path);
        std::io::Write::write_all(
            &mut file.expect("a new file"),
            format!("{password}\n").as_bytes(),
        )
        .expect("space");
        path
    }

    /// The site, if it has one.
    pub fn site(&self) -> &TestSite {
        self.site.as_ref().expect("a site")
    }

    /// The process that speaks MQTT.
    pub fn broker_pid(&self) -> Option<i32> {
        if self.kind != Kind::Site {
            return self.process.as_ref().map(|process| process.id().cast_signed());
        }
        let state = fs::read(self.site().path("run/up.json")).ok()?;
        let state: Value = serde_json::from_slice(&state).ok()?;
        state["roles"]["broker"]["pid"].as_i64()?.try_into().ok()
    }

    /// Its memory now, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it had at once.
    pub fn peak_bytes(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, key: &str) -> u64 {
        let pid = self.broker_pid().expect("it runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("its line");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kib << 10
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            eprintln!("the server's last words, newest first: {last:#?}");
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn append(path: &Path, text: &str) {
    let file = File::options().create(true).append(true).open(path);
    std::io::Write::write_all(&mut file.expect("a file"), text.as_bytes()).expect("space");
}

fn mqtt_port(site: &TestSite) -> u16 {
    let text = fs::read_to_string(site.path("vigia.toml")).expect("a configuration");
    let config: toml::Table = text.parse().expect("TOML");
    let address = config["broker"]["mqtt"].as_str().expect("an address");
    address.rsplit_once(':').expect("a port").1.parse().expect("a number")
}

/// For servers that cannot be told to choose. Others could take it meanwhile; in practice none does.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A program that cargo builds along with the tests.
fn built(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_vigia")).with_file_name(name);
    assert!(path.exists(), "{}: 'cargo test --workspace' builds it", path.display());
    path
}
