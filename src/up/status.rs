//! The line below the log, on a terminal: how much arrives, what is under way, whether all is well.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::task::JoinHandle;
use vigia_kit::site::{Role, Site};

use super::run_state::RunState;
use super::terminal;
use crate::colour::Colour::{Green, Red, Yellow};
use crate::colour::Colours;
use crate::ledger::{Api, Books};
use crate::table::grouped;

const EVERY: Duration = Duration::from_secs(1);

/// The line is there as long as this is.
#[derive(Debug)]
pub struct Status(Option<JoinHandle<()>>);

impl Status {
    /// Shows it, if there is a terminal.
    pub fn begin(site: &Site, state: Arc<RunState>) -> Self {
        if !io::IsTerminal::is_terminal(&io::stderr()) {
            return Self(None);
        }
        // Without a token: on this machine none is needed to read, unless the API is open to others.
        let Ok(api) = Api::of(site, None) else { return Self(None) };
        Self(Some(tokio::spawn(keep(api, state))))
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            terminal::show(String::new());
        }
    }
}

#[derive(Deserialize)]
struct Alarms {
    alarms: Vec<Alarm>,
}

#[derive(Deserialize)]
struct Alarm {
    active: bool,
}

async fn keep(api: Api, state: Arc<RunState>) {
    let colours = Colours::of(&io::stderr());
    let mut before: Option<(u64, Instant)> = None;
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let ledger = api.ledger().await.ok();
        let books = ledger.and_then(|text| Books::parse(&text).ok());
        let alarms = api.get("/api/v1/alarms").await.ok();
        let alarms = alarms.and_then(|text: String| serde_json::from_str::<Alarms>(&text).ok());
        let running = state.running_roles();
        let colour = if running == Role::ALL.len() { Green } else { Red };
        let roles = colours.paint(colour, &format!("{running} of {} roles", Role::ALL.len()));
        let (mut rate, mut in_flight) = ("? readings/s".to_owned(), "? in flight".to_owned());
        let mut verdict = colours.paint(Yellow, "the store does not answer");
        if let Some(books) = books {
            let now = Instant::now();
            if let Some(accepted) = books.readings.accepted {
                if let Some((earlier, when)) = before {
                    let seconds = now.duration_since(when).as_secs_f64().max(0.001);
                    let arrived = accepted.saturating_sub(earlier) as f64 / seconds;
                    rate = format!("{} readings/s", grouped(arrived.round() as u64));
                }
                before = Some((accepted, now));
            }
            if let Some(under_way) = books.readings.in_flight {
                in_flight = format!("{} in flight", grouped(under_way));
            }
            let colour = match books.verdict.as_str() {
                "balanced" => Green,
                "unbalanced" => Red,
                _ => Yellow,
            };
            verdict = colours.paint(colour, &books.verdict);
        }
        let alarms = match alarms.map(|known| known.alarms.iter().filter(|one| one.active).count())
        {
            None => colours.paint(Yellow, "alarms unknown"),
            Some(0) => colours.paint(Green, "no alarms"),
            Some(1) => colours.paint(Red, "1 alarm"),
            Some(count) => colours.paint(Red, &format!("{count} alarms")),
        };
        terminal::show(format!("{rate}, {in_flight}, {alarms}, {roles}, {verdict}"));
    }
}
