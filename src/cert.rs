//! `vigia cert`: certificates for the site's roles, and for its users.

pub mod authority;
pub mod certificate;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Serialize;
use vigia_kit::clock;
use vigia_kit::config::ConfigError;
use vigia_kit::private::{make_private_dir, write_private, write_public};
use vigia_kit::site::Site;
use vigia_kit::tls::{self, Files};
use vigia_protocol::topic::NodeName;

use crate::audit;
use crate::cert::authority::{Authority, further_hosts, host, identities, is_server};
use crate::cert::certificate::Certificate;
use crate::exit::{Answer, Outcome};
use crate::table::{columns, print};

const MICROS_PER_DAY: i64 = 24 * 60 * 60 * 1_000_000;

/// `vigia cert`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia cert list --site /srv/vigia
  vigia cert renew                        new certificates for all roles, with the hosts they have
  vigia cert renew --role broker --host plant.example --host 192.0.2.7
  vigia cert issue ana --out /media/usb   for a person or device: ana.pem, ana.key and ca.pem

The servers' names in a certificate are checked by who connects; a client's first name is its user.")]
pub struct Options {
    /// The site directory, made by `vigia init --tls`
    #[arg(long, value_name = "DIR", default_value = "site", global = true)]
    site: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the site's certificates; those of users are not kept here
    #[command(after_help = "\
Examples:
  vigia cert list --site /srv/vigia
  vigia cert list --json")]
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make new certificates and keys; running roles take them up
    #[command(after_help = "\
Examples:
  vigia cert renew --site /srv/vigia
  vigia cert renew --role broker --host plant.example")]
    Renew {
        /// Only this one
        #[arg(long = "role", value_name = "NAME", value_parser = PossibleValuesParser::new(identities()))]
        roles: Vec<String>,
        /// By which other machines reach broker and store, instead of what their certificates say now
        #[arg(long = "host", value_name = "NAME", value_parser = host)]
        hosts: Vec<String>,
    },
    /// Make a certificate with which a user connects
    #[command(after_help = "\
Examples:
  vigia cert issue ana --out /media/usb")]
    Issue {
        /// The user: 1 to 32 of a-z, 0-9 and -
        name: String,
        /// The directory for it, the key and the authority's certificate
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

/// Does what was asked.
pub fn run(options: &Options) -> Outcome {
    let site = Site::open(&options.site)?;
    match &options.action {
        Action::List { json } => list(&site, *json)?,
        Action::Renew { roles, hosts } => renew(&site, roles, hosts)?,
        Action::Issue { name, out } => issue(&site, name, out)?,
    }
    Ok(Answer::Yes)
}

/// A certificate, as `list --json` shows it.
#[derive(Serialize)]
struct Shown {
    name: &'static str,
    /// RFC 3339.
    not_after: String,
    /// Whole days; below 0 when it has ended.
    days_left: i64,
    sans: Vec<String>,
}

fn list(site: &Site, json: bool) -> anyhow::Result<()> {
    Authority::check_present(site.dir())?;
    let now = clock::now();
    let authority = [("ca", tls::authority(site.dir()))];
    let leaves = identities().map(|name| (name, Files::of(site.dir(), name).certificate));
    let shown = authority
        .into_iter()
        .chain(leaves)
        .map(|(name, path)| {
            let Certificate { not_after, names } = Certificate::read(&path)?;
            let days_left = (not_after.0 - now.0).div_euclid(MICROS_PER_DAY);
            Ok(Shown { name, not_after: not_after.to_string(), days_left, sans: names })
        })
        .collect::<Result<Vec<Shown>, ConfigError>>()?;
    if json {
        print(&format!("{}\n", serde_json::to_string(&shown)?))?;
        return Ok(());
    }
    let heading = ["NAME", "NOT AFTER", "DAYS LEFT", "SANS"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(shown.into_iter().map(|Shown { name, not_after, days_left, sans }| {
        vec![name.to_owned(), not_after, days_left.to_string(), sans.join(", ")]
    }));
    print(&columns(&rows))?;
    Ok(())
}

fn renew(site: &Site, roles: &[String], hosts: &[String]) -> anyhow::Result<()> {
    let _one_at_a_time = site.lock("cert")?;
    let authority = Authority::open(site.dir())?;
    let names: Vec<&str> = identities()
        .filter(|name| roles.is_empty() || roles.iter().any(|role| role == name))
        .collect();
    if !hosts.is_empty() && !names.iter().any(|name| is_server(name)) {
        let names = names.join(", ");
        return Err(ConfigError(format!("--host for {names}, expected broker or store")).into());
    }
    for name in &names {
        let hosts = if hosts.is_empty() && is_server(name) {
            let certificate = Certificate::read(&Files::of(site.dir(), name).certificate)
                .map_err(|error| ConfigError(format!("{error}; --host says its names anew")))?;
            further_hosts(name, &certificate.names).cloned().collect()
        } else {
            hosts.to_vec()
        };
        authority
            .write(site.dir(), name, &hosts)
            .with_context(|| format!("cannot renew the certificate of {name}"))?;
        audit::note(site, "certificate-renewed", &[("name", name)])?;
    }
    let until = Certificate::read(&Files::of(site.dir(), names[0]).certificate)?.not_after;
    print(&format!(
        "Renewed: {}; valid until {until}. Running roles take it up without a restart.\n",
        names.join(", ")
    ))?;
    Ok(())
}

fn issue(site: &Site, name: &str, out: &Path) -> anyhow::Result<()> {
    let authority = Authority::open(site.dir())?;
    if NodeName::new(name).is_none() {
        return Err(ConfigError(format!(
            "{name:?} is not a user's name, expected 1 to 32 of a-z, 0-9 and -"
        ))
        .into());
    }
    if name == "ca" || identities().any(|identity| identity == name) {
        return Err(ConfigError(format!(
            "{name} is a name of the site itself, expected another; 'vigia cert renew' renews the site's own"
        ))
        .into());
    }
    let [certificate, key, ca] =
        [&format!("{name}.pem"), &format!("{name}.key"), "ca.pem"].map(|file| out.join(file));
    if key.exists() {
        return Err(ConfigError(format!(
            "{} is there already, expected a directory without a key of {name}",
            key.display()
        ))
        .into());
    }
    let issued = authority.client(name)?;
    let public = fs::read_to_string(tls::authority(site.dir()))?;
    let write = || {
        // Somebody's directory keeps its mode: others may have business in it.
        if !out.exists() {
            make_private_dir(out)?;
        }
        write_private(&key, &issued.key)?;
        write_public(&certificate, &issued.certificate)?;
        write_public(&ca, &public)
    };
    write().with_context(|| format!("cannot write to {}", out.display()))?;
    audit::note(site, "certificate-issued", &[("name", &name)])?;
    print(&format!(
        "{name} can show who it is until {}.\n\n  certificate  {}\n  key          {}\n  authority    {}\n\n\
         Carry them to {name} and delete the key here: who has it can speak as {name}.\n",
        Certificate::read(&certificate)?.not_after,
        certificate.display(),
        key.display(),
        ca.display()
    ))?;
    Ok(())
}
