//! The process's clock, at the edge where times enter.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use vigia_protocol::time::Micros;

/// The time now.
pub fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A time to measure spans with: it began as [`now`], and has gone on since then however the clock was set.
pub fn steady() -> Micros {
    static BEGUN: LazyLock<(Micros, Instant)> = LazyLock::new(|| (now(), Instant::now()));
    let (begun, instant) = *BEGUN;
    let since = i64::try_from(instant.elapsed().as_micros()).unwrap_or(i64::MAX);
    Micros(begun.0.saturating_add(since))
}

/// Random bytes from the operating system.
///
/// # Panics
/// If the system has none: nothing safe can be done without.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
