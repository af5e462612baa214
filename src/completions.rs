//! `vigia completions SHELL`: what a shell needs to complete this command; made from the same description as `--help`.

use clap::Args;
use clap_complete::Shell;

use crate::exit::{Answer, Outcome};
use crate::table::print;

/// `vigia completions`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vigia completions bash > ~/.local/share/bash-completion/completions/vigia
  vigia completions zsh > /usr/local/share/zsh/site-functions/_vigia
  vigia completions fish > ~/.config/fish/completions/vigia.fish")]
pub struct Options {
    /// Which shell
    #[arg(value_parser = clap::builder::EnumValueParser::<Shell>::new())]
    shell: Shell,
}

/// Prints it.
pub fn run(options: &Options, mut command: clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "vigia", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(Answer::Yes)
}
