//! What the gate costs: one load against the gate, bare rumqttd and mosquitto, in turn.
//!
//! `cargo bench --bench gate -- [throughput|idle] [--json] [--rounds N] [--messages N]`. Ratios matter; the
//! numbers of two runs on a shared machine do not compare.

#[allow(dead_code)]
#[path = "../tests/mqtt/mod.rs"]
mod mqtt;
#[allow(dead_code)]
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::Command;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use mqtt::server::{Kind, Login, Server, User};
use mqtt::wire::Wire;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

const USERS: &[User] = &[User {
    messages_per_second: Some(10_000_000),
    ..User::new("load", &["load/#"], &["load/#"])
}];
// Windows of half a MiB: rumqttd's log has 1 MiB here, and whoever is further behind loses messages.
const SMALL: Case = Case { payload: 128, share: 1, window: 2_000 };
const LARGE: Case = Case { payload: 8 * 1024, share: 4, window: 64 };
/// Messages on their way to the server without an acknowledgement.
const INFLIGHT: u16 = 200;
const IDLE_CONNECTIONS: usize = 2_000;

#[derive(Parser)]
struct Options {
    #[arg(value_enum, default_value = "throughput")]
    what: What,
    /// Lines of JSON
    #[arg(long)]
    json: bool,
    /// How often each server takes its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Messages a turn; a quarter of it where they are large
    #[arg(long, default_value_t = 300_000)]
    messages: usize,
    /// Only these servers; ratios are of the first to the others
    #[arg(long = "server", value_enum, default_values = ["gate", "rumqttd", "mosquitto"])]
    servers: Vec<Contender>,
    /// What cargo says
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// Messages a second from one publisher to one subscriber, and what they cost the server
    Throughput,
    /// What 2,000 connections that do nothing cost the gate
    Idle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Contender {
    Gate,
    Rumqttd,
    /// If it is installed
    Mosquitto,
}

#[derive(Clone, Copy)]
struct Case {
    payload: usize,
    share: usize,
    /// Messages sent that have not arrived.
    window: usize,
}

fn main() {
    let options = Options::parse();
    match options.what {
        What::Throughput => throughput(&options),
        What::Idle => idle(&options),
    }
}

/// What a turn showed.
#[derive(Clone, Copy)]
struct Turn {
    per_second: f64,
    cpu_seconds_per_million: f64,
}

fn throughput(options: &Options) {
    let has_mosquitto = Command::new("mosquitto").arg("-h").output().is_ok();
    let servers: Vec<(&str, Server)> = options
        .servers
        .iter()
        .filter_map(|contender| match contender {
            Contender::Gate => Some(("gate", Kind::Gate)),
            Contender::Rumqttd => Some(("rumqttd", Kind::Rumqttd)),
            Contender::Mosquitto => has_mosquitto.then_some(("mosquitto", Kind::Mosquitto)),
        })
        .map(|(name, kind)| (name, Server::start(kind, USERS)))
        .collect();
    for case in [SMALL, LARGE] {
        let messages = options.messages / case.share;
        let mut turns = vec![Vec::new(); servers.len()];
        for _ in 0..options.rounds {
            for ((_, server), turns) in servers.iter().zip(&mut turns) {
                turns.push(turn(server, case, messages));
            }
        }
        let medians: Vec<Turn> = turns.into_iter().map(median).collect();
        show(options, case, &servers, &medians);
    }
}

fn show(options: &Options, case: Case, servers: &[(&str, Server)], medians: &[Turn]) {
    if !options.json {
        let bytes = case.payload;
        println!(
            "\nQoS 1, one publisher to one subscriber, {bytes} bytes, median of {}",
            options.rounds
        );
        println!(
            "{:<10} {:>12} {:>8} {:>22} {:>14} {:>8}",
            "", "messages/s", "MB/s", "server CPU s/million", "first's rate", "its CPU"
        );
    }
    let first = medians[0];
    for ((name, _), turn) in servers.iter().zip(medians) {
        let rate = first.per_second / turn.per_second;
        let cpu = first.cpu_seconds_per_million / turn.cpu_seconds_per_million;
        if options.json {
            println!(
                "{}",
                json!({
                    "server": name, "payload": case.payload, "messages_per_second": turn.per_second.round(),
                    "cpu_seconds_per_million": turn.cpu_seconds_per_million,
                    "rate_ratio": rate, "cpu_ratio": cpu,
                })
            );
        } else {
            println!(
                "{name:<10} {:>12.0} {:>8.1} {:>22.1} {:>12.2} × {:>6.2} ×",
                turn.per_second,
                turn.per_second * case.payload as f64 / 1e6,
                turn.cpu_seconds_per_million,
                rate,
                cpu
            );
        }
    }
}

fn median(mut turns: Vec<Turn>) -> Turn {
    turns.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    turns[turns.len() / 2]
}

/// One publisher, one subscriber, a thread each.
fn turn(server: &Server, case: Case, messages: usize) -> Turn {
    let login = server.first();
    let (ready, is_ready) = mpsc::channel();
    let window = Arc::new(Semaphore::new(case.window));
    let subscriber = {
        let (login, window) = (login.clone(), Arc::clone(&window));
        thread::spawn(move || runtime().block_on(subscribe(&login, messages, &window, &ready)))
    };
    is_ready.recv().expect("the subscriber subscribes");
    let cpu = cpu_seconds(server);
    let begun = Instant::now();
    thread::spawn(move || runtime().block_on(publish(&login, case.payload, messages, window)))
        .join()
        .expect("the publisher publishes");
    subscriber.join().expect("everything arrives");
    let seconds = begun.elapsed().as_secs_f64();
    let millions = messages as f64 / 1e6;
    Turn {
        per_second: messages as f64 / seconds,
        cpu_seconds_per_million: (cpu_seconds(server) - cpu) / millions,
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn client(login: &Login, id: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(id, "127.0.0.1", login.port);
    options.set_credentials(&login.user, login.password());
    options.set_keep_alive(Duration::from_secs(15));
    options.set_max_packet_size(1 << 20, 1 << 20);
    options.set_inflight(INFLIGHT);
    let (client, mut events) = AsyncClient::new(options, usize::from(INFLIGHT));
    events.network_options.set_tcp_nodelay(true);
    (client, events)
}

async fn publish(login: &Login, payload: usize, messages: usize, window: Arc<Semaphore>) {
    let (client, mut events) = client(login, "load-publisher");
    tokio::spawn(async move {
        let payload = vec![b'x'; payload];
        for _ in 0..messages {
            window.acquire().await.expect("never closed").forget();
            let sent = client.publish("load/x", QoS::AtLeastOnce, false, payload.clone()).await;
            sent.expect("the event loop lives");
        }
        // Dropped now, the client would end the event loop before the last acknowledgements.
        std::future::pending::<()>().await;
    });
    let mut acknowledged = 0;
    while acknowledged < messages {
        if let Event::Incoming(Packet::PubAck(_)) = next(&mut events).await {
            acknowledged += 1;
        }
    }
}

async fn subscribe(login: &Login, messages: usize, window: &Semaphore, ready: &mpsc::Sender<()>) {
    let (client, mut events) = client(login, "load-subscriber");
    client.subscribe("load/#", QoS::AtLeastOnce).await.expect("the event loop lives");
    let mut received = 0;
    while received < messages {
        match next(&mut events).await {
            Event::Incoming(Packet::SubAck(_)) => ready.send(()).expect("somebody waits"),
            Event::Incoming(Packet::Publish(_)) => {
                received += 1;
                window.add_permits(1);
            }
            _ => {}
        }
    }
}

/// What happens next; a server that lost a message would leave both sides waiting.
async fn next(events: &mut EventLoop) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(20), events.poll()).await;
    event.expect("no message was lost").expect("a connection")
}

/// User and system time of the server's process.
fn cpu_seconds(server: &Server) -> f64 {
    let pid = server.broker_pid().expect("it runs");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    // The name, in parentheses, may contain anything; user and system time are the 12th and 13th after it.
    let after = stat.rsplit_once(')').expect("a name").1;
    let ticks = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

fn idle(options: &Options) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("a limit");
    let server = Server::start(Kind::Gate, USERS);
    // Not a person's password: that is hashed slowly, on purpose.
    let login = Login {
        user: "inspector".to_owned(),
        password_file: server.site().path("keys/inspector/password"),
        ..server.first()
    };
    let before = server.resident_bytes();
    let begun = Instant::now();
    let open: Vec<Wire> = (0..IDLE_CONNECTIONS)
        .map(|n| Wire::open(&login, &format!("idle{n}")).expect("a connection"))
        .collect();
    let seconds = begun.elapsed().as_secs_f64();
    let after = server.resident_bytes();
    let each = (after.saturating_sub(before)) / open.len() as u64;
    if options.json {
        println!(
            "{}",
            json!({
                "connections": open.len(), "resident_before": before, "resident_after": after,
                "bytes_per_connection": each, "connects_per_second": open.len() as f64 / seconds,
            })
        );
    } else {
        println!(
            "{} idle connections, opened in {seconds:.1} s: {} KiB resident before, {} after, {each} bytes each",
            open.len(),
            before >> 10,
            after >> 10
        );
    }
}
