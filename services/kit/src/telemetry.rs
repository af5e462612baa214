//! Log lines on standard error, and what a process does when it panics.

use tracing::level_filters::LevelFilter;

/// Starts logging, and turns every panic into the end of the process: a supervisor repairs that, and
/// a process with a dead thread inside it could not.
pub fn start() {
    let level = std::env::var("VIGIA_LOG").ok().and_then(|text| text.parse().ok());
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(level.unwrap_or(LevelFilter::INFO))
        .with_ansi(false)
        .with_target(false)
        .init();
    std::panic::set_hook(Box::new(|info| {
        eprintln!("panic: {info}");
        std::process::abort();
    }));
}
