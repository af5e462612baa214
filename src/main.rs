//! The `vigia` command. This file is its table of contents; each subcommand has a file of its own.

mod addresses;
mod audit;
mod bench;
mod broker;
mod cert;
mod colour;
mod completions;
mod doctor;
mod drill;
mod duration;
mod exit;
mod health;
mod heap;
mod init;
mod leash;
mod ledger;
mod man;
mod modbus;
mod openapi;
mod role;
mod sensor;
mod store;
mod table;
mod token;
mod up;
mod user;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use vigia_kit::site::Role;

/// Secure monitoring of machines: from a sensor's socket to the API, and nothing is lost on the way.
#[derive(Debug, Parser)]
#[command(name = "vigia", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  vigia up --demo 4                  make ./site if it is not there, run everything, with 4 simulated sensors
  vigia init /srv/vigia              make a site directory: configuration and secrets
  vigia sensor add 7 --name boiler --site /srv/vigia
  vigia up --site /srv/vigia         run every role, and restart what dies
  vigia ledger --site /srv/vigia     what became of every accepted reading
  vigia doctor --site /srv/vigia     whether all is as it should be, and what to do
  vigia watch --api http://127.0.0.1:8080
                                     what begins to be wrong, and what ends

Exit codes:
  0 done   1 the answer is no   64 wrong usage or configuration   69 something cannot be reached
  70 a fault inside   74 the disk";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a site directory: configuration, secrets, credentials
    Init(init::Options),
    /// Add, list, revoke sensors, and rotate their keys
    Sensor(sensor::Options),
    /// List, renew and issue certificates for TLS
    Cert(cert::Options),
    /// Add, list, remove MQTT users, and change their passwords
    User(user::Options),
    /// Add, list, revoke tokens of the API
    Token(token::Options),
    /// Show what was noted: refused logins, changed users and keys; and verify it
    Audit(audit::Options),
    /// Run every role of a site, and restart what dies
    Up(up::Options),
    /// Show what became of every accepted reading; exits 0 only if the books balance
    Ledger(ledger::Options),
    /// Watch a plant by its API: tell what begins to be wrong, and what ends
    Watch(watch::Options),
    /// Look a site over: what is wrong, and what to do
    Doctor(doctor::Options),
    /// Whether a running role does its work, by a real round trip
    Health(health::Options),
    /// Run one role: sensors' port, journal, embedded MQTT broker; or adopt another store
    Broker(broker::Options),
    /// Run one role: open and check what sensors sent
    #[command(after_help = "\
Examples:
  vigia verify --site /srv/vigia")]
    Verify(role::Options),
    /// Run one role: turn readings into text
    #[command(after_help = "\
Examples:
  vigia transform --site /srv/vigia")]
    Transform(role::Options),
    /// Run one role: keep readings, serve the API; or back it up, restore it
    Store(store::Options),
    /// Run one role: watch limits, raise alarms
    #[command(after_help = "\
Examples:
  vigia alert --site /srv/vigia")]
    Alert(role::Options),
    /// Run one role: poll Modbus devices, serve SCADA; or probe devices, check and simulate maps
    Modbus(modbus::Options),
    /// Break the system on purpose, in processes of its own, and judge what became of the readings
    Drill(drill::Options),
    /// Measure speed, latency and cost on this machine, and what was lost: nothing
    Bench(bench::Options),
    /// Print the description of the API (OpenAPI, YAML)
    #[command(after_help = "\
Examples:
  vigia openapi > vigia.yaml")]
    Openapi,
    /// Print what a shell needs to complete this command
    Completions(completions::Options),
    /// Write man pages
    Man(man::Options),
    /// Run a program that must not outlive its supervisor
    #[command(hide = true)]
    Leash(leash::Options),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    exit::code(match cli.command {
        Command::Init(options) => init::run(&options),
        Command::Sensor(options) => sensor::run(&options),
        Command::Cert(options) => cert::run(&options),
        Command::User(options) => user::run(&options),
        Command::Token(options) => token::run(&options),
        Command::Audit(options) => audit::run(&options),
        Command::Up(options) => up::run(&options),
        Command::Ledger(options) => ledger::run(&options),
        Command::Watch(options) => watch::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Health(options) => health::run(&options),
        Command::Broker(options) => broker::run(&options),
        Command::Verify(options) => role::run(Role::Verify, &options),
        Command::Transform(options) => role::run(Role::Transform, &options),
        Command::Store(options) => store::run(&options),
        Command::Alert(options) => role::run(Role::Alert, &options),
        Command::Modbus(options) => modbus::run(&options),
        Command::Drill(options) => drill::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Openapi => openapi::run(),
        Command::Completions(options) => completions::run(&options, Cli::command()),
        Command::Man(options) => man::run(&options, Cli::command()),
        Command::Leash(options) => leash::run(&options),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This command and all below it that are for people.
    fn shown(command: &clap::Command) -> Vec<&clap::Command> {
        let below = command.get_subcommands().filter(|below| !below.is_hide_set());
        std::iter::once(command).chain(below.flat_map(shown)).collect()
    }

    #[test]
    fn every_command_has_examples() {
        let command = Cli::command();
        let all = shown(&command);
        assert!(all.len() > 20, "{}", all.len());
        let has = |command: &clap::Command| {
            command
                .get_after_help()
                .is_some_and(|help| help.to_string().contains("Examples:\n  vigia"))
        };
        let without: Vec<&str> =
            all.into_iter().filter(|command| !has(command)).map(clap::Command::get_name).collect();
        assert!(without.is_empty(), "{without:?}");
    }

    #[test]
    fn the_description_of_the_commands_is_sound() {
        Cli::command().debug_assert();
    }
}
