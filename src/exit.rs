//! How the command ends: exit codes after sysexits.h, one sentence on standard error.

use std::io;
use std::process::ExitCode;

use vigia_kit::bus::BusError;
use vigia_kit::config::ConfigError;

/// EX_USAGE: wrong usage or configuration; trying again without a change is useless.
pub const USAGE: u8 = 64;
/// EX_UNAVAILABLE: something cannot be reached, found or bound.
pub const UNAVAILABLE: u8 = 69;
const INTERNAL: u8 = 70;
const IO: u8 = 74;

/// What a subcommand that did its work has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, or the answer is yes.
    Yes,
    /// The answer is no: the books do not balance.
    No,
}

/// How a subcommand ends.
pub type Outcome = anyhow::Result<Answer>;

/// Something cannot be reached, found or bound.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// The process's exit code; an error is told in one sentence.
pub fn code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => {
            eprintln!("vigia: {error:#}");
            ExitCode::from(status(&error))
        }
    }
}

/// What clap found wrong with the arguments; or the help that was asked for.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nothing is left to do if the terminal is gone.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS }
}

fn status(error: &anyhow::Error) -> u8 {
    error.chain().find_map(status_of_cause).unwrap_or(INTERNAL)
}

fn status_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<ConfigError>() {
        return Some(USAGE);
    }
    if cause.is::<Unavailable>() || cause.is::<BusError>() || cause.is::<reqwest::Error>() {
        return Some(UNAVAILABLE);
    }
    cause.downcast_ref::<io::Error>().map(|error| match error.kind() {
        io::ErrorKind::AddrInUse
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::ConnectionRefused
        | io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable => UNAVAILABLE,
        _ => IO,
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_cause_decides_the_code_through_every_context() {
        let wrapped = |error: anyhow::Error| status(&error.context("outer").context("outermost"));
        assert_eq!(wrapped(ConfigError("bad".to_owned()).into()), USAGE);
        assert_eq!(wrapped(Unavailable("gone".to_owned()).into()), UNAVAILABLE);
        assert_eq!(wrapped(anyhow::anyhow!("a defect")), INTERNAL);
        let bound = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let again = std::net::TcpListener::bind(bound.local_addr().unwrap()).context("api");
        assert_eq!(wrapped(again.unwrap_err()), UNAVAILABLE);
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(wrapped(full.into()), IO);
    }
}
