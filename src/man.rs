//! `vigia man DIR`: a man page for this command and each subcommand; made from the same description as `--help`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use crate::exit::{Answer, Outcome};
use crate::table::print;

/// `vigia man`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia man /usr/local/share/man/man1     then: man vigia-watch
  vigia man .")]
pub struct Options {
    /// The directory to write to; made if it is not there
    dir: PathBuf,
}

/// Writes them.
pub fn run(options: &Options, command: clap::Command) -> Outcome {
    let dir = &options.dir;
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command, dir))
        .with_context(|| format!("cannot write to {}", dir.display()))?;
    print(&format!("Wrote the man pages to {}, of which vigia.1 is the first.\n", dir.display()))?;
    Ok(Answer::Yes)
}
