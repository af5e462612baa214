//! The site directory: configuration, secrets, registry, data, run-time files.
//!
//! ```text
//! vigia.toml              configuration
//! keys/ROLE/secrets.toml  the role's MQTT password and the arrows' keys it needs (0600)
//! keys/broker/users.toml  the MQTT accounts: who may publish and subscribe to what (0600)
//! keys/store/tokens.toml  the API's tokens: who may do what there (0600)
//! keys/alert/api.token    alert's own token (0600)
//! keys/modbus/devices/    the keys of the sensors that the modbus role is (0600)
//! keys/prometheus/api.token  Prometheus's (0600)
//! keys/grafana/password   the first password of Grafana's admin (0600)
//! keys/broker/sensors/    K_link of each sensor and epoch
//! keys/verify/sensors/    K_payload and K_sig of each sensor and epoch
//! keys/ROLE/tls.pem, .key the role's certificate and its key (0600), if the site has TLS
//! keys/ca/ca.key          signs certificates: who has it can be anybody (0600)
//! tls/ca.pem              what certificates are checked against; for clients
//! sensors/ID.toml         the registry: public facts about each sensor
//! devices/ID.key          what to carry to the sensor, and then delete here (0600)
//! modbus.toml             the map of Modbus devices, if vigia.toml names one
//! data/ROLE/              what the role keeps
//! run/                    addresses, locks
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use vigia_protocol::keys::Secret;
use vigia_protocol::stage::StageKey;
use vigia_protocol::topic::Arrow;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::clock;
use crate::config::{Config, ConfigError};
use crate::limits::{LOCK_AGAIN, LOCK_WITHIN};
use crate::private::{make_private_dir, read_private, write_public};

/// The roles that have secrets of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ingress, journal, bus.
    Broker,
    /// Opens and checks.
    Verify,
    /// Makes text.
    Transform,
    /// Keeps and serves.
    Store,
    /// Watches.
    Alert,
    /// Polls Modbus devices, each as a sensor.
    Modbus,
}

impl Role {
    /// All of them, in the order in which they are started.
    pub const ALL: [Self; 6] =
        [Self::Broker, Self::Verify, Self::Transform, Self::Store, Self::Alert, Self::Modbus];

    /// Its one name: folder, command, MQTT user and client id, first name in its certificate.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Verify => "verify",
            Self::Transform => "transform",
            Self::Store => "store",
            Self::Alert => "alert",
            Self::Modbus => "modbus",
        }
    }

    /// Whether there are sites that were made before this role was. They run without it until it is added.
    pub const fn came_later(self) -> bool {
        matches!(self, Self::Modbus)
    }

    /// The arrows whose keys it holds, as writer or as reader.
    pub const fn arrows(self) -> &'static [Arrow] {
        match self {
            Self::Broker => &[Arrow::Raw, Arrow::Stored, Arrow::Journal],
            Self::Verify => &[Arrow::Raw, Arrow::Verified],
            Self::Transform => &[Arrow::Verified, Arrow::Text],
            Self::Store => &[Arrow::Text, Arrow::Stored, Arrow::Journal],
            Self::Alert | Self::Modbus => &[Arrow::Text],
        }
    }
}

/// An opened site directory.
#[derive(Debug, Clone)]
pub struct Site {
    dir: PathBuf,
    /// Its configuration.
    pub config: Config,
}

/// What a role must know and nobody else may.
#[derive(Debug, Clone)]
pub struct Secrets {
    /// Its MQTT password.
    pub password: Password,
    arrows: BTreeMap<&'static str, StageKey>,
}

/// A role's MQTT password: 32 random bytes as hexadecimal. Never printed.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(transparent)]
pub struct Password(pub String);

impl Password {
    /// A new one.
    pub fn random() -> Self {
        let mut bytes = clock::random::<32>();
        let password = Self(hex::encode(bytes));
        bytes.zeroize();
        password
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The layout of `secrets.toml`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretsFile {
    /// The role's MQTT password.
    pub password: Password,
    /// Keys of arrows by name, as hexadecimal.
    pub arrows: BTreeMap<String, Password>,
}

impl Secrets {
    /// The key of one of the role's arrows.
    ///
    /// # Panics
    /// If the role has no business with it; [`Role::arrows`] says which it has.
    pub fn arrow(&self, arrow: Arrow) -> &StageKey {
        self.arrows.get(arrow.name()).expect("a role asks only for its own arrows")
    }
}

impl Site {
    /// Opens a site.
    ///
    /// # Errors
    /// One sentence about what is wrong with the directory or its configuration.
    pub fn open(dir: &Path) -> Result<Self, ConfigError> {
        Ok(Self { dir: dir.to_owned(), config: Config::load(&dir.join("vigia.toml"))? })
    }

    /// The directory itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Public facts about sensors, a file each.
    pub fn sensors_dir(&self) -> PathBuf {
        self.dir.join("sensors")
    }

    /// The role's keys.
    pub fn keys_dir(&self, role: Role) -> PathBuf {
        self.dir.join("keys").join(role.name())
    }

    /// The file of the MQTT accounts.
    pub fn users_path(&self) -> PathBuf {
        self.keys_dir(Role::Broker).join("users.toml")
    }

    /// The file of the API's tokens.
    pub fn tokens_path(&self) -> PathBuf {
        self.keys_dir(Role::Store).join("tokens.toml")
    }

    /// The token with which the alert role asks the API.
    pub fn api_token_path(&self) -> PathBuf {
        self.keys_dir(Role::Alert).join("api.token")
    }

    /// What the role keeps; made if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn data_dir(&self, role: Role) -> io::Result<PathBuf> {
        let path = self.dir.join("data").join(role.name());
        make_private_dir(&path)?;
        Ok(path)
    }

    /// Run-time files; made if it is not there.
    ///
    /// # Errors
    /// What the file system says.
    pub fn run_dir(&self) -> io::Result<PathBuf> {
        let path = self.dir.join("run");
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Whether the site was made with this role, or it was added since.
    pub fn has(&self, role: Role) -> bool {
        !role.came_later() || self.secrets_path(role).exists()
    }

    /// The file of the role's secrets.
    pub fn secrets_path(&self, role: Role) -> PathBuf {
        self.keys_dir(role).join("secrets.toml")
    }

    /// Reads the file of the role's secrets.
    ///
    /// # Errors
    /// A file that is missing, readable by others, or not what `vigia init` makes.
    pub fn secrets_file(&self, role: Role) -> Result<SecretsFile, ConfigError> {
        let path = self.secrets_path(role);
        if !self.has(role) {
            let (path, name, dir) = (path.display(), role.name(), self.dir.display());
            return Err(ConfigError(format!(
                "{path} is not there: the site was made before the role {name} was; 'vigia init {dir} --complete' adds it"
            )));
        }
        toml::from_str(&read_private(&path)?)
            .map_err(|error| ConfigError(format!("{}: {}", path.display(), error.message())))
    }

    /// Reads the role's secrets.
    ///
    /// # Errors
    /// As [`Site::secrets_file`], or a key that is missing or none.
    pub fn secrets(&self, role: Role) -> Result<Secrets, ConfigError> {
        let file = self.secrets_file(role)?;
        let path = self.secrets_path(role);
        let bad = |problem: String| ConfigError(format!("{}: {problem}", path.display()));
        let mut arrows = BTreeMap::new();
        for arrow in role.arrows() {
            let text = file
                .arrows
                .get(arrow.name())
                .ok_or_else(|| bad(format!("arrows.{} is missing", arrow.name())))?;
            let mut bytes = [0; 32];
            hex::decode_to_slice(&text.0, &mut bytes).map_err(|_| {
                bad(format!("arrows.{} is not 64 hexadecimal digits", arrow.name()))
            })?;
            arrows.insert(arrow.name(), StageKey::new(Secret::new(bytes)));
        }
        Ok(Secrets { password: file.password, arrows })
    }

    /// Takes the lock of this name for as long as the returned value lives.
    ///
    /// # Errors
    /// If another process has it.
    pub fn lock(&self, name: &str) -> Result<SiteLock, ConfigError> {
        let locked = self.run_dir().and_then(|run| {
            let file = File::create(run.join(format!("{name}.lock")))?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            Ok(file)
        });
        match locked {
            Ok(file) => Ok(SiteLock { _file: file }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(ConfigError(format!(
                "another 'vigia {name}' is running on the site {}",
                self.dir.display()
            ))),
            Err(error) => {
                Err(ConfigError(format!("cannot lock the site {}: {error}", self.dir.display())))
            }
        }
    }

    /// Takes a role's lock, and waits a moment for it: who had it may have been killed, and not be gone yet.
    ///
    /// # Errors
    /// If another process has it, and lives.
    pub fn lock_role(&self, role: Role) -> Result<SiteLock, ConfigError> {
        let begun = Instant::now();
        loop {
            match self.lock(role.name()) {
                Err(_) if begun.elapsed() < LOCK_WITHIN => std::thread::sleep(LOCK_AGAIN),
                locked => return locked,
            }
        }
    }

    /// Adds what a role really bound to `run/addresses.json`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn publish_addresses(&self, addresses: &[(&str, std::net::SocketAddr)]) -> io::Result<()> {
        let run = self.run_dir()?;
        let guard = File::create(run.join("addresses.lock"))?;
        flock(&guard, FlockOperation::LockExclusive)?;
        let path = run.join("addresses.json");
        let mut all: BTreeMap<String, String> = fs::read_to_string(&path)
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        for (name, address) in addresses {
            all.insert((*name).to_owned(), address.to_string());
        }
        let mut text = serde_json::to_string_pretty(&all).expect("strings have an encoding");
        text.push('\n');
        write_public(&path, &text)
    }
}

/// A held lock.
#[derive(Debug)]
pub struct SiteLock {
    _file: File,
}
