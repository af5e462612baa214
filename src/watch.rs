//! `vigia watch`: asks the API every few seconds, and says what is wrong: once when it begins, once when it ends.

mod conditions;
mod courier;
mod event;
mod limits;
mod newest;
mod plant;
mod rules;
mod sensors;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use vigia_kit::clock;
use vigia_kit::config::ConfigError;
use vigia_kit::shutdown::Shutdown;

use crate::colour::Colours;
use crate::duration;
use crate::exit::{Answer, Outcome};
use crate::ledger::Api;
use crate::table::grouped;
use conditions::Conditions;
use courier::{Courier, Hooks, Webhook};
use event::Event;
use limits::{EVERY_AT_LEAST, SENSORS};
use plant::{Found, Plant};

/// `vigia watch`
#[derive(Debug, Args)]
#[command(after_help = "\
What is wrong: a value outside of a limit, a sensor without a new reading (for 10 of its usual intervals, 30 s at
least), bad readings, a ledger that does not balance, an API that does not answer. Each is told once when it begins and
once when it ends. Only newest readings are looked at; the alert role sees every one.

With --once it exits 0 if nothing is wrong, 1 if something is, 69 if the API does not answer.

The command gets VIGIA_TIME, VIGIA_CHANGE (begins, ends), VIGIA_CONDITION (limit, silence, quality, ledger-unknown,
ledger-unbalanced, api), VIGIA_MESSAGE, and where they apply VIGIA_SENSOR, VIGIA_RULE, VIGIA_QUANTITY, VIGIA_VALUE and
VIGIA_LIMIT in its environment, and 30 s. The webhook gets the same as --json shows.

Examples:
  vigia watch --api http://127.0.0.1:8080
  vigia watch --api https://plant:8080 --ca ca.pem --token-file watch.token --rules site/vigia.toml
  vigia watch --api http://127.0.0.1:8080 --once --json          for cron and monitoring systems
  vigia watch --api http://127.0.0.1:8080 --run ./ring-the-bell --webhook http://127.0.0.1:9000/vigia")]
pub struct Options {
    /// Base URL of the API
    #[arg(long, value_name = "URL")]
    api: String,
    /// A file (mode 0600) with a token; none is needed for an API that listens on this machine alone
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authorities (PEM) whose certificates are believed, tls/ca.pem of the site; also for the webhook
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// From the beginning of one look to the next, if that takes no longer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = every)]
    every: Duration,
    /// [[alert.limits]] in TOML, such as a site's vigia.toml; without it each quantity's plausible range
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// A line of JSON for each event
    #[arg(long)]
    json: bool,
    /// Look once, and exit
    #[arg(long)]
    once: bool,
    /// A program to run for each event
    #[arg(long, value_name = "COMMAND")]
    run: Option<PathBuf>,
    /// Where to POST each event
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
}

/// Watches until it is told to stop.
pub fn run(options: &Options) -> Outcome {
    let limits = options.rules.as_deref().map(rules::load).transpose()?;
    let ca = options.ca.as_deref();
    let api = Api::at(&options.api, ca, options.token_file.as_deref())?;
    let webhook = options.webhook.as_ref().map(|url| Webhook::new(url, ca)).transpose()?;
    let hooks = Hooks { command: options.run.clone(), webhook };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let courier = Courier::start(hooks);
        let watch = Watch {
            options,
            plant: Plant::new(api),
            conditions: Conditions::new(limits),
            colours: Colours::of(&io::stdout()),
            courier: &courier,
        };
        let result = watch.run().await;
        courier.finish().await;
        result
    })
}

struct Watch<'a> {
    options: &'a Options,
    plant: Plant,
    conditions: Conditions,
    colours: Colours,
    courier: &'a Courier,
}

impl Watch<'_> {
    async fn run(mut self) -> Outcome {
        let mut shutdown = Shutdown::on_signals().context("cannot watch signals")?;
        let mut never = true;
        loop {
            let begun = Instant::now();
            let looked = tokio::select! {
                () = shutdown.ended() => return Ok(Answer::Yes),
                looked = self.plant.look() => looked,
            };
            let (now, wall) = (Instant::now(), clock::now());
            let events = match &looked {
                Ok(found) => self.conditions.found(found, &mut self.plant.sensors, now, wall),
                // A wrong token or authority; later, somebody may be about to renew it.
                Err(error) if never && error.is::<ConfigError>() => {
                    return looked.map(|_| Answer::No);
                }
                Err(error) => self.conditions.unreachable(&format!("{error:#}"), wall),
            };
            let mut heard = self.tell(events, looked.is_err())?;
            if let Ok(found) = &looked
                && never
            {
                never = false;
                heard = heard && self.welcome(found)?;
            }
            if self.options.once {
                looked?;
                return Ok(if self.conditions.any() { Answer::No } else { Answer::Yes });
            }
            // Who reads no more wants no more, as in `vigia watch | head -1`.
            if !heard {
                return Ok(Answer::Yes);
            }
            tokio::select! {
                () = shutdown.ended() => return Ok(Answer::Yes),
                () = tokio::time::sleep_until((begun + self.options.every).into()) => {}
            }
        }
    }

    /// Whether somebody reads it. That the one look has `failed` is said to people when the program ends.
    fn tell(&self, events: Vec<Event>, failed: bool) -> io::Result<bool> {
        let mut text = String::new();
        for event in events {
            let line = match self.options.json {
                true => event.json() + "\n",
                false if failed && self.options.once => String::new(),
                false => event.text(self.colours) + "\n",
            };
            text.push_str(&line);
            self.courier.take(event);
        }
        say(&text)
    }

    /// Says what is watched, after the first look.
    fn welcome(&self, found: &Found) -> io::Result<bool> {
        if found.too_many {
            eprintln!(
                "vigia: there are more sensors, the first {} are watched",
                grouped(SENSORS as u64)
            );
        }
        if self.options.json {
            return Ok(true);
        }
        let wrong = if self.conditions.any() { "" } else { "; nothing is wrong" };
        let sensors = match found.newest.len() {
            1 => "1 sensor".to_owned(),
            number => format!("{number} sensors"),
        };
        let Options { api, .. } = self.options;
        say(&format!("{api}: {sensors}, ledger {}{wrong}\n", found.books.verdict))
    }
}

/// Whether somebody reads it.
fn say(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

fn every(text: &str) -> Result<Duration, String> {
    duration::parse(text).and_then(|every| match every >= EVERY_AT_LEAST {
        true => Ok(every),
        false => Err(format!("expected {EVERY_AT_LEAST:?} or more")),
    })
}
