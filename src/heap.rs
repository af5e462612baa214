//! The heap of a role's process.

use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Settings of glibc's allocator, which it reads only from the environment at a program's start.
/// Batches come and go in pieces of 30 to 130 KB, and a password's check takes 19 MiB for a moment; by
/// default they leave a heap per thread behind that is full of holes: a third more memory at the
/// peak, and after some logins 440 MiB in the broker.
const LEAN: [(&str, &str); 4] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "32768"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
    ("MALLOC_TOP_PAD_", "16384"),
];

/// The settings that nobody has made: what somebody else has set stays.
pub fn missing() -> impl Iterator<Item = (&'static str, &'static str)> {
    LEAN.into_iter().filter(|(name, _)| env::var_os(name).is_none())
}

/// Starts this program anew in the same process, with the settings; does nothing if they are there, as where a
/// supervisor has made them.
///
/// # Errors
/// If the program cannot be started.
pub fn make_lean() -> io::Result<()> {
    if missing().next().is_none() {
        return Ok(());
    }
    // By its name, which ps shows; or as it runs, where a newer one has taken its place on disk.
    let own = env::current_exe().ok().filter(|path| path.exists());
    let mut arguments = env::args_os();
    let mut again = Command::new(own.unwrap_or_else(|| "/proc/self/exe".into()));
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).envs(missing()).exec())
}
