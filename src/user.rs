//! `vigia user`: who may log in at the MQTT port, and what they may publish and receive there.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use vigia_kit::config::ConfigError;
use vigia_kit::private::read_private;
use vigia_kit::secret_hash::SecretHash;
use vigia_kit::site::{Password, Role, Site};
use vigia_kit::users::{User, UserName, Users};
use vigia_protocol::filter::Filter;
use zeroize::Zeroizing;

use crate::audit;
use crate::exit::{Answer, Outcome};
use crate::init::{INSPECTOR, inspector_password};
use crate::table::{columns, print};

/// Characters of a password that a person chose.
const PASSWORD_CHARACTERS: std::ops::RangeInclusive<usize> = 12..=1024;

/// `vigia user`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia user add scada --subscribe 'vigia/v1/sensor/+' --subscribe 'vigia/v1/alarm/+/+'
  vigia user add line3 --publish 'plant/line3/#' --messages-per-second 50 --password-file line3.secret
  vigia user list --site /srv/vigia
  vigia user passwd scada           a new password; the old one opens nothing any more
  vigia user remove scada

A running broker notices within seconds.")]
pub struct Options {
    /// The site directory, made by `vigia init`
    #[arg(long, value_name = "DIR", default_value = "site", global = true)]
    site: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account
    #[command(after_help = "\
Examples:
  vigia user add scada --subscribe 'vigia/v1/sensor/+'
  vigia user add line3 --publish 'plant/line3/#' --password-file line3.secret")]
    Add(NewUser),
    /// Show all accounts
    #[command(after_help = "\
Examples:
  vigia user list --site /srv/vigia
  vigia user list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give an account a new password
    #[command(after_help = "\
Examples:
  vigia user passwd scada
  vigia user passwd scada --password-file scada.secret")]
    Passwd {
        /// Its name
        #[arg(value_parser = UserName::new)]
        name: UserName,
        /// A file (mode 0600) with the password; if absent, one is made and shown once
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Remove an account
    #[command(after_help = "\
Examples:
  vigia user remove scada --site /srv/vigia")]
    Remove {
        /// Its name
        #[arg(value_parser = UserName::new)]
        name: UserName,
    },
}

#[derive(Debug, Args)]
struct NewUser {
    /// Its name: 1 to 64 of a-z, 0-9, -, _ and .
    #[arg(value_parser = UserName::new)]
    name: UserName,
    /// A topic or filter of topics that it may publish to; may be given several times
    #[arg(long, value_name = "FILTER", value_parser = Filter::parse)]
    publish: Vec<Filter>,
    /// A topic or filter of topics that it may receive; may be given several times
    #[arg(long, value_name = "FILTER", value_parser = Filter::parse)]
    subscribe: Vec<Filter>,
    /// How many packets it may send a second: 5,000 if absent
    #[arg(long, value_name = "N")]
    messages_per_second: Option<NonZeroU32>,
    /// A file (mode 0600) with its password; if absent, one is made and shown once
    #[arg(long, value_name = "FILE", conflicts_with = "certificate_only")]
    password_file: Option<PathBuf>,
    /// No password: only a client certificate with its name opens the account
    #[arg(long)]
    certificate_only: bool,
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let site = Site::open(&options.site)?;
    match &options.action {
        Action::Add(new) => change(&site, ("user-added", &new.name), |users| add(users, new))?,
        Action::List { json } => list(&Users::load(&site.users_path())?, *json)?,
        Action::Passwd { name, password_file } => {
            change(&site, ("user-password-changed", name), |users| {
                set_password(users, name, password_file.as_deref())
            })?;
            forget_first_password(&site, name)?;
        }
        Action::Remove { name } => {
            change(&site, ("user-removed", name), |users| remove(users, name))?;
            forget_first_password(&site, name)?;
        }
    }
    Ok(Answer::Yes)
}

/// Writes the accounts as `what` left them, notes the event, and says what it says.
fn change(
    site: &Site,
    (event, name): (&str, &UserName),
    what: impl FnOnce(&mut Users) -> Result<String, ConfigError>,
) -> anyhow::Result<()> {
    // Two commands at the same time must not lose each other's change.
    let _one_at_a_time = site.lock("user")?;
    let path = site.users_path();
    let mut users = Users::load(&path)?;
    let said = what(&mut users)?;
    users.save(&path)?;
    audit::note(site, event, &[("user", name)])?;
    print(&said)?;
    Ok(())
}

fn add(users: &mut Users, new: &NewUser) -> Result<String, ConfigError> {
    let name = &new.name;
    if users.get(name.as_str()).is_some() {
        return Err(ConfigError(format!(
            "user {name} is there already; 'vigia user passwd {name}' gives it a new password"
        )));
    }
    let (secret, said) = if new.certificate_only {
        (None, "Only a client certificate with this name opens the account.\n".to_owned())
    } else {
        let (hash, said) = secret(new.password_file.as_deref())?;
        (Some(hash), said)
    };
    let user = User {
        secret,
        publish: new.publish.clone(),
        subscribe: new.subscribe.clone(),
        messages_per_second: new.messages_per_second,
    };
    users.insert(name.clone(), user);
    Ok(format!("User {name} is registered.\n{said}"))
}

fn set_password(
    users: &mut Users,
    name: &UserName,
    file: Option<&Path>,
) -> Result<String, ConfigError> {
    refuse_role(name, "its password is also in its own secrets.toml")?;
    let user = users.get_mut(name.as_str()).ok_or_else(|| unknown(name))?;
    let (hash, said) = secret(file)?;
    user.secret = Some(hash);
    Ok(format!("User {name} has a new password; the old one opens nothing any more.\n{said}"))
}

fn remove(users: &mut Users, name: &UserName) -> Result<String, ConfigError> {
    refuse_role(name, "the pipeline stands still without it")?;
    if !users.remove(name.as_str()) {
        return Err(unknown(name));
    }
    Ok(format!("User {name} is removed.\n"))
}

fn unknown(name: &UserName) -> ConfigError {
    ConfigError(format!("there is no user {name}; 'vigia user add {name}' registers it"))
}

fn refuse_role(name: &UserName, why: &str) -> Result<(), ConfigError> {
    if Role::ALL.iter().any(|role| role.name() == name.as_str()) {
        return Err(ConfigError(format!("user {name} is a role of the site: {why}")));
    }
    Ok(())
}

/// The password that `vigia init` wrote down for the inspector is not its password any more.
fn forget_first_password(site: &Site, name: &UserName) -> io::Result<()> {
    if name.as_str() != INSPECTOR {
        return Ok(());
    }
    match fs::remove_file(inspector_password(site)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The hash of the file's password, or of one made here, and what to say about it.
fn secret(file: Option<&Path>) -> Result<(SecretHash, String), ConfigError> {
    let Some(path) = file else {
        let password = Password::random();
        let said = format!("Its password, shown this once: {}\n", password.0);
        return Ok((SecretHash::of_random(&password), said));
    };
    let text = Zeroizing::new(read_private(path)?);
    let password = text.trim_end_matches(['\r', '\n']);
    let bad = |problem: String| ConfigError(format!("{}: {problem}", path.display()));
    if password.contains('\n') {
        return Err(bad("has more than one line, expected the password alone".to_owned()));
    }
    let characters = password.chars().count();
    let (least, most) = (PASSWORD_CHARACTERS.start(), PASSWORD_CHARACTERS.end());
    if !PASSWORD_CHARACTERS.contains(&characters) {
        return Err(bad(format!(
            "the password has {characters} characters, expected {least} to {most}"
        )));
    }
    Ok((SecretHash::of_password(password.as_bytes()), String::new()))
}

/// An account, as `list --json` shows it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a UserName,
    /// `generated`, `chosen`, or `none`: it has a client certificate only.
    password: &'static str,
    publish: &'a [Filter],
    subscribe: &'a [Filter],
    messages_per_second: Option<NonZeroU32>,
}

fn list(users: &Users, json: bool) -> anyhow::Result<()> {
    let shown: Vec<Shown> = users
        .iter()
        .map(|(name, user)| Shown {
            name,
            password: match user.secret {
                Some(SecretHash::Fast(_)) => "generated",
                Some(SecretHash::Argon2(_)) => "chosen",
                None => "none",
            },
            publish: &user.publish,
            subscribe: &user.subscribe,
            messages_per_second: user.messages_per_second,
        })
        .collect();
    if json {
        print(&format!("{}\n", serde_json::to_string(&shown)?))?;
        return Ok(());
    }
    let filters = |filters: &[Filter]| {
        let texts: Vec<&str> = filters.iter().map(Filter::as_str).collect();
        texts.join(" ")
    };
    let heading = ["NAME", "PASSWORD", "MESSAGES/S", "PUBLISH", "SUBSCRIBE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(shown.iter().map(|user| {
        vec![
            user.name.to_string(),
            user.password.to_owned(),
            user.messages_per_second.map_or_else(|| "-".to_owned(), |bound| bound.to_string()),
            filters(user.publish),
            filters(user.subscribe),
        ]
    }));
    print(&columns(&rows))?;
    Ok(())
}
