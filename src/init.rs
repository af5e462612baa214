//! `vigia init`: makes a site directory.

mod accounts;
mod configuration;
mod credentials;
pub mod ports;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use vigia_kit::config::{Config, ConfigError};
use vigia_kit::private::{make_private_dir, write_public};
use vigia_kit::site::{Role, Site};
use vigia_kit::tls::Files;
use vigia_protocol::topic::NodeName;

use crate::cert::authority::{Authority, host, identities};
use crate::cert::certificate::Certificate;
use crate::exit::{Answer, Outcome};
use crate::table::print;

/// The MQTT user for people, besides one user per role.
pub const INSPECTOR: &str = "inspector";

/// `vigia init`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia init /srv/vigia                   the usual ports: 7700 sensors, 1883 MQTT, 8080 API
  vigia init /tmp/trial --ports auto      ports that are free on this machine
  vigia init /srv/vigia --tls --host plant.example --host 192.0.2.7
                                          certificates for TLS, with the names by which others reach it
  vigia init /srv/vigia --config my.toml  with this configuration instead of one made here
  vigia init /srv/vigia --complete        after an update: add the roles that are new")]
pub struct Options {
    /// The directory to make
    dir: PathBuf,
    /// Give a site that is there the roles that an earlier version did not have
    #[arg(long, conflicts_with_all = ["ports", "node", "config", "tls"])]
    complete: bool,
    /// Which ports the site listens on
    #[arg(long, value_enum, default_value = "default")]
    ports: PortChoice,
    /// Name of the broker node, a label in MQTT topics: 1 to 32 of a-z, 0-9 and -
    #[arg(long, value_name = "NAME", default_value = "node1", value_parser = node_name)]
    node: NodeName,
    /// A vigia.toml to take instead of making one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ports", "node"])]
    config: Option<PathBuf>,
    /// Make a certificate authority and certificates, and have the roles use TLS
    #[arg(long)]
    tls: bool,
    /// A name or IP address by which other machines reach the servers, for their certificates
    #[arg(long = "host", value_name = "NAME", value_parser = host, requires = "tls")]
    hosts: Vec<String>,
}

/// Which ports a new site listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PortChoice {
    /// 7700 for sensors, 1883 and 8883 for MQTT, 8080 for the API
    Default,
    /// Ports that are free now, written into the configuration
    Auto,
}

/// Makes the site and says what to do next.
pub fn run(options: &Options) -> Outcome {
    if options.complete {
        return complete(&options.dir);
    }
    let hosts = options.tls.then_some(options.hosts.as_slice());
    let site = match &options.config {
        Some(file) => make_with(&options.dir, &read(file)?, hosts)?,
        None => make(&options.dir, &options.node, options.ports, hosts)?,
    };
    let dir = site.dir().display();
    let certificates = if options.tls { certificates_text(&site)? } else { String::new() };
    print(&format!(
        "Made the site {dir}.

  configuration  {dir}/vigia.toml
  secrets        {dir}/keys/, one directory per role, readable by you only
  MQTT login     user {INSPECTOR}, password in {}
{certificates}
Next:
  vigia sensor add 1 --site {dir}    make the first sensor's key
  vigia up --site {dir}              run everything
  vigia up --site {dir} --demo 4     run everything, with 4 simulated sensors
",
        inspector_password(&site).display()
    ))?;
    Ok(Answer::Yes)
}

fn complete(dir: &Path) -> Outcome {
    let site = Site::open(dir)?;
    let added = credentials::complete(&site)?;
    print(&match added.as_slice() {
        [] => "The site has every role.\n".to_owned(),
        added => {
            let names: Vec<&str> = added.iter().map(|role| role.name()).collect();
            format!(
                "The site now has the role {}, with secrets and an MQTT account of its own.\n\
                 'vigia up' runs it from its next start on.\n",
                names.join(" and the role ")
            )
        }
    })?;
    Ok(Answer::Yes)
}

/// Makes a site directory with a configuration made here. `hosts` makes it a site with TLS, whose
/// servers have these names besides their own.
///
/// # Errors
/// If it is a site already, or what the file system says.
pub fn make(
    dir: &Path,
    node: &NodeName,
    ports: PortChoice,
    hosts: Option<&[String]>,
) -> anyhow::Result<Site> {
    let ports = match ports {
        PortChoice::Default => None,
        PortChoice::Auto => Some(ports::free().context("cannot find free ports")?),
    };
    let text = configuration::text(node, ports, hosts.is_some());
    let node = Config::parse(&text)
        .context("the configuration made here is wrong; this is a defect")?
        .node;
    make_with(dir, &Configuration { text, node }, hosts)
}

/// Makes a site on free ports, whose modbus role has this map, with profiles of its own.
///
/// # Errors
/// As [`make`].
pub fn make_for_demo(
    dir: &Path,
    node: &NodeName,
    map: &str,
    profiles: &str,
) -> anyhow::Result<Site> {
    let ports = ports::free().context("cannot find free ports")?;
    let mut text = configuration::with_map(&configuration::text(node, Some(ports), false), map);
    text.push_str(profiles);
    make_with(dir, &Configuration { text, node: node.clone() }, None)
}

/// A configuration that has been checked.
struct Configuration {
    text: String,
    node: NodeName,
}

fn read(file: &Path) -> Result<Configuration, ConfigError> {
    let text = fs::read_to_string(file)
        .map_err(|error| ConfigError(format!("cannot read {}: {error}", file.display())))?;
    let Config { node, .. } = Config::parse(&text)
        .map_err(|error| ConfigError(format!("{}, {error}", file.display())))?;
    Ok(Configuration { text, node })
}

/// The configuration is written last: it is what makes the directory a site, so that after a failure
/// the same command can be given again.
fn make_with(
    dir: &Path,
    configuration: &Configuration,
    hosts: Option<&[String]>,
) -> anyhow::Result<Site> {
    let file = dir.join("vigia.toml");
    if file.exists() {
        return Err(ConfigError(format!(
            "{} is there already: {} is a site; another directory was expected ('vigia init {} --complete' adds what a \
             newer version needs)",
            file.display(),
            dir.display(),
            dir.display()
        ))
        .into());
    }
    let made = || format!("cannot make the site {}", dir.display());
    write_secrets(dir).with_context(made)?;
    if let Some(hosts) = hosts {
        write_certificates(dir, &configuration.node, hosts).with_context(made)?;
    }
    write_public(&file, &configuration.text).with_context(made)?;
    Ok(Site::open(dir)?)
}

fn write_secrets(dir: &Path) -> io::Result<()> {
    // Somebody's directory keeps its mode: others may have business in it.
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        fs::create_dir_all(dir)?;
    } else {
        make_private_dir(dir)?;
    }
    credentials::write(dir)?;
    for part in ["data", "devices"] {
        make_private_dir(&dir.join(part))?;
    }
    fs::create_dir_all(dir.join("sensors"))
}

fn write_certificates(dir: &Path, node: &NodeName, hosts: &[String]) -> anyhow::Result<()> {
    let authority = Authority::make(dir, node)?;
    identities().try_for_each(|name| authority.write(dir, name, hosts))
}

fn certificates_text(site: &Site) -> Result<String, ConfigError> {
    let dir = site.dir().display();
    let until =
        Certificate::read(&Files::of(site.dir(), Role::Broker.name()).certificate)?.not_after;
    Ok(format!(
        "  TLS            clients need {dir}/tls/ca.pem; certificates are valid until
                 {until}: 'vigia cert renew --site {dir}' before that
"
    ))
}

/// Where the password of the MQTT user for people is.
pub fn inspector_password(site: &Site) -> PathBuf {
    let keys = site.keys_dir(Role::Broker);
    keys.with_file_name(INSPECTOR).join("password")
}

fn node_name(text: &str) -> Result<NodeName, String> {
    NodeName::new(text).ok_or_else(|| "expected 1 to 32 of a-z, 0-9 and -".to_owned())
}
