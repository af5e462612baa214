//! Log lines, and what a process does when it panics.

use std::io::Write;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// A library that reports every request as news.
const TALKATIVE: &str = "poem";
/// What rumqttd says of a link that a client has left is for its authors, and a client could fill a
/// disk with it. What matters of it is counted by the gate.
const NOISY: &str = "rumqttd";

/// Starts logging to what `writer` makes, a line at a time, and turns every panic into the end of the process: a supervisor repairs that, and
/// a process with a dead thread inside it could not.
pub fn start<W: Write + 'static>(writer: fn() -> W) {
    let level = std::env::var("VIGIA_LOG").ok().and_then(|text| text.parse().ok());
    let level = level.unwrap_or(LevelFilter::INFO);
    let levels = Targets::new()
        .with_default(level)
        .with_target(TALKATIVE, level.min(LevelFilter::WARN))
        .with_target(NOISY, LevelFilter::OFF);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false).with_target(false);
    tracing_subscriber::registry().with(levels).with(lines).init();
    std::panic::set_hook(Box::new(|info| {
        eprintln!("panic: {info}");
        std::process::abort();
    }));
}
