//! What strangers and careless clients do to the MQTT port, while somebody else works with it. Whoever works
//! must get all messages; how long they take is reported (`--no-capture`), before and during the abuse.
//!
//! `FUZZ_SECONDS=60` fuzzes for longer than usual. `FUZZ_SEED` repeats a run.

#[allow(dead_code)]
mod mqtt;
#[allow(dead_code)]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mqtt::server::{Kind, Login, Server, User};
use mqtt::wire::{self, Wire};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::gettid;

const USERS: &[User] = &[
    User::new("worker", &["work/#"], &["work/#"]),
    User::new("abuser", &["abuse/#"], &["abuse/#"]),
];
/// What the broker may need at most, whatever is done to it.
const MEMORY_BOUND: u64 = 200 << 20;
const CALM: Duration = Duration::from_secs(2);
const ABUSE: Duration = Duration::from_secs(5);
const PACE: Duration = Duration::from_millis(5);

/// Connections that send one byte a second and never finish a CONNECT.
#[test]
fn slow_strangers_do_not_hold_the_door() {
    let scene = Scene::open();
    let connect = wire::connect(&scene.login("abuser"), "slow");
    scene.abuse("800 connections of a byte a second", |scene, end| {
        let mut slow: Vec<TcpStream> = Vec::new();
        for byte in connect.iter().take(connect.len() - 1).cycle() {
            while slow.len() < 800 {
                let Ok(stream) = scene.dial() else { break };
                slow.push(stream);
            }
            slow.retain_mut(|stream| stream.write_all(&[*byte]).is_ok());
            pause(Duration::from_secs(1), end)?;
        }
        None
    });
}

/// More connections of one address than there is room for.
#[test]
fn five_thousand_connections_of_one_address_lock_nobody_out() {
    let scene = Scene::open();
    scene.abuse("5,000 connections of one address", |scene, end| {
        // Those that are closed meanwhile count, too: whoever floods does not look.
        let mut flood = Vec::new();
        for _ in 0..5_000 {
            flood.extend(scene.dial().ok());
            pause(Duration::ZERO, end)?;
        }
        scene.serves_another_address();
        pause(ABUSE, end)
    });
}

/// Messages of 10 MB, promised before the login, and sent after it.
#[test]
fn huge_packets_fill_no_memory() {
    let scene = Scene::open();
    let huge = wire::publish("abuse/huge", Some(1), &vec![b'x'; 10_000_000]);
    scene.abuse("packets of 10 MB", |scene, end| {
        loop {
            let mut strangers: Vec<TcpStream> = (0..20).filter_map(|_| scene.dial().ok()).collect();
            for stranger in &mut strangers {
                // A server that neither reads nor closes is as good as one that closes.
                stranger.set_write_timeout(Some(Duration::from_millis(100))).expect("a socket");
                let _ = stranger.write_all(&wire::packet(wire::CONNECT, &huge)[..1_000_000]);
            }
            if let Ok(mut known) = Wire::open(&scene.login("abuser"), "huge") {
                let _ = known.send(&huge);
            }
            pause(Duration::from_millis(50), end)?;
        }
    });
}

/// Subscribers that never read, peers that stop in the middle of a packet, and others that close one way.
#[test]
fn those_who_never_read_keep_nobody_waiting() {
    let scene = Scene::open();
    let login = scene.login("abuser");
    scene.abuse("20 subscribers that never read, 20 half-open peers", |_, end| {
        let mut deaf: Vec<Wire> =
            (0..20).filter_map(|n| Wire::open(&login, &format!("deaf{n}")).ok()).collect();
        for wire in &mut deaf {
            wire.subscribes("abuse/#", 1).expect("a subscription");
        }
        let mut halves: Vec<Wire> =
            (0..20).filter_map(|n| Wire::open(&login, &format!("half{n}")).ok()).collect();
        for (n, wire) in halves.iter_mut().enumerate() {
            let _ = wire.send(&wire::publish("abuse/half", Some(1), &[0; 5_000])[..100]);
            if n % 2 == 0 {
                let _ = wire.stream().shutdown(std::net::Shutdown::Write);
            }
        }
        let mut loud = Wire::open(&login, "loud").ok()?;
        let message = wire::publish("abuse/loud", None, &[b'x'; 10_000]);
        loop {
            // The gate may make it wait, or send it away.
            if loud.send(&message).is_err() {
                loud = Wire::open(&login, "loud").ok()?;
            }
            pause(Duration::from_millis(1), end)?;
        }
    });
}

/// Packets that are nearly right, before the login and after it.
#[test]
fn packets_that_are_nearly_right_break_nothing() {
    let scene = Scene::open();
    let login = scene.login("abuser");
    let number = |name, usual| {
        std::env::var(name).map_or(usual, |text| text.parse::<u64>().expect("a number"))
    };
    let time = Duration::from_secs(number("FUZZ_SECONDS", 5));
    let seed = number("FUZZ_SEED", u64::from(std::process::id()));
    let mut random = Random(seed | 1);
    let seeds = seeds(&login);
    let begun = Instant::now();
    let mut sent = 0_u64;
    scene.abuse(&format!("mutated packets, FUZZ_SEED={seed}"), |scene, _| {
        while begun.elapsed() < CALM + time {
            let mut stream = scene.dial().expect("a port that accepts");
            stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
            if random.below(4) > 0 && stream.write_all(&seeds[random.below(2)]).is_err() {
                continue;
            }
            for _ in 0..random.below(20) + 1 {
                let mut bytes = seeds[random.below(seeds.len())].clone();
                random.mutate(&mut bytes);
                sent += 1;
                if stream.write_all(&bytes).is_err() {
                    break;
                }
            }
            // Most often it is read what it says to that.
            if random.below(8) > 0 {
                let _ = stream.read(&mut [0; 4096]);
            }
        }
        None
    });
    report(&format!("  {sent} packets sent"));
}

/// One of each kind that a client sends, of both versions; CONNECTs first.
fn seeds(login: &Login) -> Vec<Vec<u8>> {
    let v4 = wire::connect(login, "fuzz");
    let mut v5 = v4.clone();
    v5[8] = 5;
    // No properties, after the keep-alive.
    v5.insert(12, 0);
    v5[1] += 1;
    let mut seeds = vec![v4, v5];
    seeds.extend([
        wire::publish("abuse/fuzz", None, b"zero"),
        wire::publish("abuse/fuzz", Some(9), b"one"),
        wire::packet(0x34, b"\x00\x0aabuse/fuzz\x00\x0atwo"),
        wire::packet(0x32, b"\x00\x0aabuse/fuzz\x00\x0b\x07\x26\x00\x01k\x00\x01vproperty"),
        wire::packet(0x31, b"\x00\x0aabuse/fuzzretained"),
        wire::subscribe(2, "abuse/#", 1),
        wire::subscribe(3, "$share/g/abuse/+", 2),
        wire::packet(wire::SUBSCRIBE, b"\x00\x04\x02\x0b\x01\x00\x07abuse/#\x29"),
        wire::packet(0xa2, b"\x00\x05\x00\x07abuse/#"),
        wire::packet(wire::PUBACK, b"\x00\x01"),
        wire::packet(0x50, b"\x00\x01"),
        wire::packet(0x62, b"\x00\x0a"),
        wire::packet(0x70, b"\x00\x0a"),
        wire::packet(wire::PINGREQ, b""),
        wire::packet(0xf0, b"\x18\x00"),
        wire::packet(wire::DISCONNECT, b""),
        wire::packet(wire::DISCONNECT, b"\x04\x05\x11\x00\x00\x00\x0a"),
    ]);
    seeds
}

/// A server, and somebody at work with it. One scene at a time, in whichever process: they load the machine,
/// and measure.
struct Scene {
    server: Server,
    _turn: File,
}

impl Scene {
    fn open() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gate_abuse.lock");
        let turn = File::create(path).expect("a lock file");
        flock(&turn, FlockOperation::LockExclusive).expect("a lock");
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("a limit");
        Self { server: Server::start(Kind::chosen(), USERS), _turn: turn }
    }

    fn login(&self, user: &str) -> Login {
        self.server.login(user)
    }

    fn dial(&self) -> std::io::Result<TcpStream> {
        wire::dial(self.server.first().port)
    }

    /// Lets the worker work alone, and during the abuse. `abuse` gets a flag that says it is enough; it
    /// returns early with `?` on a pause that found it set.
    fn abuse(&self, what: &str, abuse: impl FnOnce(&Self, &AtomicBool) -> Option<()>) {
        let worker = Worker::start(&self.login("worker"));
        thread::sleep(CALM);
        let before = worker.latencies_until_now();
        let end = Arc::new(AtomicBool::new(false));
        let alarm = {
            let end = Arc::clone(&end);
            thread::spawn(move || {
                thread::sleep(ABUSE);
                end.store(true, Ordering::Relaxed);
            })
        };
        run_when_idle();
        abuse(self, &end);
        alarm.join().expect("no panic");
        let memory = self.server.peak_bytes();
        let during = worker.end();
        report(&format!(
            "{what}: publish to receive {before} before, {during} during; {} MiB at the peak",
            memory >> 20
        ));
        assert!(during.count > 100, "the worker worked on: {during}");
        assert!(memory < MEMORY_BOUND, "{} MiB", memory >> 20);
        // It is over, and whoever comes is served.
        support::eventually("a new client is served", || {
            wire::is_served(&self.login("worker"), "newcomer", "work/newcomer").ok()
        });
    }

    /// Somebody who comes from another address than the tests' usual one gets in.
    fn serves_another_address(&self) {
        let login = self.login("worker");
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, login.port));
        let stream = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(async {
                let socket = tokio::net::TcpSocket::new_v4()?;
                socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0)))?;
                socket.connect(server).await?.into_std()
            })
            .expect("a connection");
        stream.set_nonblocking(false).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        Wire::over(stream, &login, "neighbour").expect("another address gets in");
    }
}

/// From now on this thread runs when nothing else wants to. Who abuses has a machine of its own: it is not
/// its computing that is measured here, but what it makes the broker do.
fn run_when_idle() {
    let thread = gettid().as_raw_nonzero().to_string();
    let changed = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
    assert!(changed.expect("chrt is part of every Linux system").success());
}

/// Waits, or returns nothing when it is enough.
fn pause(time: Duration, end: &AtomicBool) -> Option<()> {
    let until = Instant::now() + time;
    loop {
        if end.load(Ordering::Relaxed) {
            return None;
        }
        let Some(left) = until.checked_duration_since(Instant::now()) else { return Some(()) };
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}

/// Publishes a message every few milliseconds and awaits each; none may be missing.
struct Worker {
    thread: JoinHandle<Vec<Duration>>,
    split: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    calm: std::sync::mpsc::Receiver<Vec<Duration>>,
}

impl Worker {
    fn start(login: &Login) -> Self {
        let mut publisher = Wire::open(login, "publisher").expect("a connection");
        let mut subscriber = Wire::open(login, "subscriber").expect("a connection");
        subscriber.subscribes("work/#", 1).expect("a subscription");
        let split = Arc::new(AtomicBool::new(false));
        let end = Arc::new(AtomicBool::new(false));
        let (tells, calm) = std::sync::mpsc::channel();
        let thread = {
            let (split, end) = (Arc::clone(&split), Arc::clone(&end));
            thread::spawn(move || {
                let mut latencies = Vec::new();
                for id in (1..=u16::MAX).cycle() {
                    let payload = id.to_be_bytes();
                    let begun = Instant::now();
                    let sent = publisher.send(&wire::publish("work/x", Some(id), &payload));
                    sent.expect("the worker can send");
                    let got = subscriber.message().expect("the worker receives");
                    latencies.push(begun.elapsed());
                    assert_eq!(got, payload, "what was published, in order");
                    let (kind, _) = publisher.receive().expect("the worker is acknowledged");
                    assert_eq!(kind, wire::PUBACK);
                    if split.swap(false, Ordering::Relaxed) {
                        tells.send(std::mem::take(&mut latencies)).expect("somebody asks");
                    }
                    if end.load(Ordering::Relaxed) {
                        break;
                    }
                    thread::sleep(PACE);
                }
                latencies
            })
        };
        Self { thread, split, end, calm }
    }

    fn latencies_until_now(&self) -> Latencies {
        self.split.store(true, Ordering::Relaxed);
        Latencies::of(self.calm.recv().expect("the worker works"))
    }

    fn end(self) -> Latencies {
        self.end.store(true, Ordering::Relaxed);
        Latencies::of(self.thread.join().expect("the worker missed nothing"))
    }
}

struct Latencies {
    count: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl Latencies {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |share: usize| all[(all.len() - 1) * share / 100];
        Self { count: all.len(), p50: at(50), p99: at(99), max: at(100) }
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let (p50, p99, max) = (ms(self.p50), ms(self.p99), ms(self.max));
        write!(f, "p50 {p50:.2} p99 {p99:.2} max {max:.1} ms ({} messages)", self.count)
    }
}

/// xorshift64*: the same packets for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Some bytes are others, more or fewer; half of the time the length is made right again, so that what is
    /// wrong is deeper.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.insert(at, self.next() as u8),
                3 if bytes.len() > 2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at.max(2)),
            }
        }
        if self.below(2) == 0 && (2..130).contains(&bytes.len()) {
            bytes[1] = (bytes.len() - 2) as u8;
        }
    }
}

/// What was measured, for people.
fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
