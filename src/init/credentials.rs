//! Every secret of a new site: 32 random bytes each, made here, in files of their owner's only.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use vigia_kit::clock;
use vigia_kit::private::{make_private_dir, write_private};
use vigia_kit::site::{Password, Role, SecretsFile};
use vigia_kit::tokens::{BearerToken, Moment, Scope, Token, Tokens};
use vigia_kit::users::UserName;
use vigia_protocol::topic::Arrow;

use super::{INSPECTOR, accounts};

/// The holder of the token by which Prometheus reads what is stored.
const PROMETHEUS: &str = "prometheus";

/// Writes `keys/ROLE/secrets.toml` of every role, the inspector's password, the accounts of all,
/// tokens of the API for alert and Prometheus, and Grafana's first password.
///
/// # Errors
/// What the file system says.
pub fn write(dir: &Path) -> io::Result<()> {
    let passwords: BTreeMap<String, Password> = Role::ALL
        .map(Role::name)
        .iter()
        .chain([&INSPECTOR])
        .map(|name| ((*name).to_owned(), Password::random()))
        .collect();
    let arrows: BTreeMap<&str, Password> =
        Arrow::ALL.iter().map(|arrow| (arrow.name(), Password::random())).collect();
    let keys = dir.join("keys");
    make_private_dir(&keys)?;
    for role in Role::ALL {
        let secrets = SecretsFile {
            password: passwords[role.name()].clone(),
            arrows: role
                .arrows()
                .iter()
                .map(|arrow| (arrow.name().to_owned(), arrows[arrow.name()].clone()))
                .collect(),
        };
        let directory = keys.join(role.name());
        make_private_dir(&directory)?;
        let text = toml::to_string(&secrets).expect("strings have an encoding");
        write_private(&directory.join("secrets.toml"), &text)?;
    }
    accounts::of(&passwords).save(&keys.join(Role::Broker.name()).join("users.toml"))?;
    write_tokens(&keys)?;
    write_grafana_password(&keys)?;
    let directory = keys.join(INSPECTOR);
    make_private_dir(&directory)?;
    write_private(&directory.join("password"), &format!("{}\n", passwords[INSPECTOR].0))
}

/// Alert asks the API for what the bus did not bring, Prometheus for readings.
fn write_tokens(keys: &Path) -> io::Result<()> {
    let mut tokens = Tokens::default();
    for holder in [Role::Alert.name(), PROMETHEUS] {
        let bearer = BearerToken::random();
        let token = Token {
            secret: bearer.hash(),
            scope: Scope::Read,
            created: Moment(clock::now()),
            expires: None,
        };
        let name = UserName::new(holder).expect("names of roles are names of users");
        tokens.insert(name, token).expect("the first ones have room");
        let directory = keys.join(holder);
        make_private_dir(&directory)?;
        bearer.save(&directory.join("api.token"))?;
    }
    tokens.save(&keys.join(Role::Store.name()).join("tokens.toml"))
}

/// The first password of Grafana's `admin`: nobody's default.
fn write_grafana_password(keys: &Path) -> io::Result<()> {
    let directory = keys.join("grafana");
    make_private_dir(&directory)?;
    write_private(&directory.join("password"), &format!("{}\n", Password::random().0))
}
