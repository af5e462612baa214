//! The command as its users see it: arguments in, exit code and text out.

pub mod up;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// It said no in one sentence, with this exit code; returns the sentence.
    #[track_caller]
    pub fn refused_with(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:?}");
        let sentences: Vec<&str> = self.err.lines().collect();
        assert_eq!(sentences.len(), 1, "{self:?}");
        sentences[0].strip_prefix("vigia: ").unwrap_or_else(|| panic!("{self:?}"))
    }

    /// It did what was asked; returns what it printed.
    #[track_caller]
    pub fn succeeded(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        &self.out
    }
}

/// The command with these arguments, not yet started.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vigia"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the command to its end, which must come.
#[track_caller]
pub fn vigia(arguments: &[&str]) -> Ended {
    let mut command = command(arguments);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let begun = Instant::now();
    // What these commands print fits into a pipe.
    while child.try_wait().expect("a child").is_none() {
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("not ended within {PATIENCE:?}: {command:?}, {:?}", child.wait_with_output());
        }
        std::thread::sleep(POLL_EVERY);
    }
    let output = child.wait_with_output().expect("a child");
    Ended {
        code: output.status.code().expect("an exit code"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A site in a temporary directory, on free ports.
pub struct TestSite {
    _temporary: TempDir,
    dir: PathBuf,
}

impl TestSite {
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// Made with further options.
    pub fn with(options: &[&str]) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let dir = temporary.path().join("site");
        let site = Self { _temporary: temporary, dir };
        vigia(&[&["init", site.arg(), "--ports", "auto"], options].concat()).succeeded();
        site
    }

    /// Its directory, as an argument.
    pub fn arg(&self) -> &str {
        self.dir.to_str().expect("UTF-8")
    }

    pub fn path(&self, part: &str) -> PathBuf {
        self.dir.join(part)
    }

    /// Runs the command with `--site`.
    pub fn vigia(&self, arguments: &[&str]) -> Ended {
        vigia(&[arguments, &["--site", self.arg()]].concat())
    }
}

/// Asks again until there is an answer.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(POLL_EVERY);
    }
}

/// The permissions of a file.
pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).mode()
        & 0o777
}
