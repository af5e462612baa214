//! `vigia user`: who may log in at the MQTT port, and what they may publish and receive there.

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

use crate::exit::{Answer, Outcome};
use crate::table::{columns, print};

/// Characters of a password that a person chose.
const MIN_PASSWORD_CHARACTERS: usize = 12;

/// `vigia user`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia user add scada --subscribe 'vigia/v1/sensor/+' --subscribe 'vigia/v1/alarm/+/+'
  vigia user add line3 --publish 'plant/line3/#' --messages-per-second 50 --password-file line3.secret
  vigia user list --site /srv/vigia
  vigia user passwd scada           a new password; the old one opens no connection any more
  vigia user remove scada

A running broker takes the change over within a second or two.")]
pub struct Options {
    /// The site directory, made by `vigia init`
    #[arg(long, value_name = "DIR", default_value = "site", global = true)]
    site: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account, and a password for it
    Add {
        /// Its name: 1 to 64 of a-z, 0-9, -, _ and .
        #[arg(value_parser = UserName::new)]
        name: UserName,
        /// A topic, or filter of topics, that it may publish to; can be given several times
        #[arg(long, value_name = "FILTER", value_parser = Filter::parse)]
        publish: Vec<Filter>,
        /// A topic, or filter of topics, that it may receive; can be given several times
        #[arg(long, value_name = "FILTER", value_parser = Filter::parse)]
        subscribe: Vec<Filter>,
        /// How many messages it may publish a second; no bound of its own if absent
        #[arg(long, value_name = "N")]
        messages_per_second: Option<NonZeroU32>,
        /// A file (mode 0600) with its password in the first line; one is made and shown if absent
        #[arg(long, value_name = "FILE", conflicts_with = "certificate_only")]
        password_file: Option<PathBuf>,
        /// No password: only a client certificate with its name opens the account
        #[arg(long)]
        certificate_only: bool,
    },
    /// Show all accounts
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give an account a new password
    Passwd {
        /// Its name
        #[arg(value_parser = UserName::new)]
        name: UserName,
        /// A file (mode 0600) with the password in the first line; one is made and shown if absent
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Remove an account
    Remove {
        /// Its name
        #[arg(value_parser = UserName::new)]
        name: UserName,
    },
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let site = Site::open(&options.site)?;
    // Two commands at the same time must not lose each other's change.
    let _one_at_a_time = site.lock("user")?;
    let path = site.users_path();
    let mut users = Users::load(&path)?;
    let said = match &options.action {
        Action::List { json } => {
            list(&users, *json)?;
            return Ok(Answer::Yes);
        }
        Action::Add {
            name,
            publish,
            subscribe,
            messages_per_second,
            password_file,
            certificate_only,
        } => {
            if users.get(name.as_str()).is_some() {
                return Err(ConfigError(format!(
                    "user {name} is there already; 'vigia user passwd {name}' gives it a new password"
                ))
                .into());
            }
            let (secret, said) = match certificate_only {
                true => (None, "Only a client certificate with this name opens it.\n".to_owned()),
                false => {
                    let (hash, said) = secret(password_file.as_deref())?;
                    (Some(hash), said)
                }
            };
            let user = User {
                secret,
                publish: publish.clone(),
                subscribe: subscribe.clone(),
                messages_per_second: *messages_per_second,
            };
            users.insert(name.clone(), user);
            format!("User {name} is registered.\n{said}")
        }
        Action::Passwd { name, password_file } => {
            refuse_role(name, "its password is also in the role's own secrets.toml")?;
            let user = users.get_mut(name.as_str()).ok_or_else(|| unknown(name))?;
            let (hash, said) = secret(password_file.as_deref())?;
            user.secret = Some(hash);
            format!("User {name} has a new password; the old one opens nothing any more.\n{said}")
        }
        Action::Remove { name } => {
            refuse_role(name, "without it the pipeline stands still")?;
            if !users.remove(name.as_str()) {
                return Err(unknown(name).into());
            }
            format!("User {name} is removed.\n")
        }
    };
    users.save(&path)?;
    print(&said)?;
    Ok(Answer::Yes)
}
