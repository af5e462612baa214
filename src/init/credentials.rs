//! Every secret of a new site: 32 random bytes each, made here, in files of their owner's only.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use vigia_kit::clock;
use vigia_kit::private::{make_private_dir, write_private};
use vigia_kit::site::{Password, Role, SecretsFile, Site};
use vigia_kit::tls;
use vigia_kit::tokens::{BearerToken, Moment, Scope, Token, Tokens};
use vigia_kit::users::{UserName, Users};
use vigia_protocol::topic::Arrow;

use super::{INSPECTOR, accounts};
use crate::cert::authority::Authority;

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
    let arrows: BTreeMap<String, Password> =
        Arrow::ALL.iter().map(|arrow| (arrow.name().to_owned(), Password::random())).collect();
    let keys = dir.join("keys");
    make_private_dir(&keys)?;
    for role in Role::ALL {
        write_secrets(&keys, role, passwords[role.name()].clone(), &arrows)?;
    }
    accounts::of(&passwords).save(&keys.join(Role::Broker.name()).join("users.toml"))?;
    write_tokens(&keys)?;
    write_grafana_password(&keys)?;
    let directory = keys.join(INSPECTOR);
    make_private_dir(&directory)?;
    write_private(&directory.join("password"), &format!("{}\n", passwords[INSPECTOR].0))
}

/// Gives a site the roles that came after it was made. Says which.
///
/// # Errors
/// Secrets that are not what `vigia init` makes, or what the file system says.
pub fn complete(site: &Site) -> anyhow::Result<Vec<Role>> {
    let (present, absent): (Vec<Role>, Vec<Role>) =
        Role::ALL.into_iter().partition(|role| site.has(*role));
    let mut arrows = BTreeMap::new();
    for role in present {
        arrows.extend(site.secrets_file(role)?.arrows);
    }
    for role in &absent {
        let password = Password::random();
        if tls::authority(site.dir()).exists() {
            Authority::open(site.dir())?.write(site.dir(), role.name(), &[])?;
        }
        let mut users = Users::load(&site.users_path())?;
        let (name, user) = accounts::of_role(*role, &password);
        users.insert(name, user);
        users.save(&site.users_path())?;
        // Last: with this file the site has the role.
        write_secrets(&site.dir().join("keys"), *role, password, &arrows)?;
    }
    Ok(absent)
}

fn write_secrets(
    keys: &Path,
    role: Role,
    password: Password,
    arrows: &BTreeMap<String, Password>,
) -> io::Result<()> {
    let own = |name: &str| (name.to_owned(), arrows[name].clone());
    let arrows = role.arrows().iter().map(|arrow| own(arrow.name())).collect();
    let directory = keys.join(role.name());
    make_private_dir(&directory)?;
    let text = toml::to_string(&SecretsFile { password, arrows });
    write_private(&directory.join("secrets.toml"), &text.expect("strings have an encoding"))
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
