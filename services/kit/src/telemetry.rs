//! Log lines on standard error, and what a process does when it panics.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Libraries that report every connection as news.
const TALKATIVE: [&str; 2] = ["rumqttd", "poem"];

/// Starts logging, and turns every panic into the end of the process: a supervisor repairs that, and
/// a process with a dead thread inside it could not.
pub fn start() {
    let level = std::env::var("VIGIA_LOG").ok().and_then(|text| text.parse().ok());
    let level = level.unwrap_or(LevelFilter::INFO);
    let levels = Targets::new()
        .with_default(level)
        .with_targets(TALKATIVE.map(|library| (library, level.min(LevelFilter::WARN))));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false);
    tracing_subscriber::registry().with(levels).with(lines).init();
    std::panic::set_hook(Box::new(|info| {
        eprintln!("panic: {info}");
        std::process::abort();
    }));
}
