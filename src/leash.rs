//! No process outlives its supervisor.
//!
//! The kernel sends the signal when the *thread* that started the child ends, so that the supervisor
//! starts children from its main thread only.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;
use clap::Args;
use rustix::process::{
    Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit,
};

use crate::exit::{Outcome, Unavailable};

/// `vigia leash`
#[derive(Debug, Args)]
pub struct Options {
    /// Process id of the supervisor
    #[arg(long, value_name = "PID")]
    to: i32,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

/// Becomes the program; the tie survives that.
pub fn run(options: &Options) -> Outcome {
    tie_to(options.to)?;
    let (program, arguments) = options.program.split_first().expect("clap requires one");
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// Has the kernel send SIGTERM to this process when its parent dies.
///
/// # Errors
/// If the parent is already another than expected.
pub fn tie_to(parent: i32) -> anyhow::Result<()> {
    set_parent_process_death_signal(Some(Signal::TERM)).context("cannot watch the supervisor")?;
    // It may have died before the line above took effect; then somebody else is the parent by now.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(parent) {
        return Err(Unavailable(format!("the supervisor, process {parent}, is gone")).into());
    }
    Ok(())
}

/// Has the kernel write no core files of this process, which would carry keys away.
///
/// The limit is 1 byte because the kernel takes 0 as no limit when cores are piped to a program, and
/// 1 as a refusal in both cases. Where a hard limit of 0 cannot be raised, 0 has to do.
///
/// # Errors
/// What the kernel says.
pub fn forbid_core_files() -> anyhow::Result<()> {
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Core, limit(1))
        .or_else(|_| setrlimit(Resource::Core, limit(0)))
        .context("cannot turn core files off")
}
