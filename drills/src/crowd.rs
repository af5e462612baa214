//! Who comes to a port without good intentions: a thread of its own that runs when nothing else wants to, as if on
//! another machine. It ends when it is dropped.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::gettid;

use crate::random::Random;

const DIAL_WITHIN: Duration = Duration::from_millis(500);
/// An answer is waited for so long.
const ANSWER_WITHIN: Duration = Duration::from_millis(20);
/// Between two connections of a flood that is as large as it is to be: faster, and this machine has no ports left.
const FLOOD_PACE: Duration = Duration::from_millis(2);
/// Between two bytes of a slow one.
const CRAWL_PACE: Duration = Duration::from_secs(1);
/// Between two looks whether a slow one is closed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Descriptors that are for others than a flood.
const OTHER_FILES: u64 = 256;

/// See the module.
#[derive(Debug)]
pub struct Crowd<T> {
    enough: Arc<AtomicBool>,
    thread: Option<JoinHandle<T>>,
}

impl<T: Send + 'static> Crowd<T> {
    /// Begins; `act` is given what says that it is enough.
    pub fn begin(act: impl FnOnce(&AtomicBool) -> T + Send + 'static) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let thread = {
            let enough = Arc::clone(&enough);
            thread::spawn(move || {
                run_when_idle();
                act(&enough)
            })
        };
        Self { enough, thread: Some(thread) }
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// It is enough. Returns what it has to tell.
    ///
    /// # Errors
    /// If it broke.
    pub fn end(mut self) -> anyhow::Result<T> {
        self.enough.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("a crowd ends once")?;
        thread.join().map_err(|_| anyhow::anyhow!("a crowd's thread broke"))
    }
}

impl<T> Drop for Crowd<T> {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is measured is what it makes the system do, not its own computing. Where it cannot be had, it is measured, too.
fn run_when_idle() {
    let thread = gettid().as_raw_nonzero().to_string();
    let _ = Command::new("chrt")
        .args(["--idle", "--pid", "0", &thread])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// Lets this process have so many connections at once.
///
/// # Errors
/// If the machine does not.
pub fn allow_connections(count: usize) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let needed = count as u64 + OTHER_FILES;
    let most = limit.maximum.unwrap_or(u64::MAX);
    ensure!(needed <= most, "{needed} open files are needed, {most} are allowed (ulimit -Hn)");
    if limit.current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), ..limit })?;
    }
    Ok(())
}

/// What a flood did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flooded {
    /// Connections made.
    pub connections: u64,
    /// Attempts that came to nothing.
    pub turned_away: u64,
    /// Bytes taken of it.
    pub bytes: u64,
}

/// Holds on to so many connections, and says to all what `junk` makes up.
pub fn flood(
    address: SocketAddr,
    connections: usize,
    mut junk: impl FnMut() -> Vec<u8>,
    enough: &AtomicBool,
) -> Flooded {
    let mut done = Flooded::default();
    let mut held: VecDeque<TcpStream> = VecDeque::with_capacity(connections);
    while !enough.load(Ordering::Relaxed) {
        if held.len() >= connections {
            held.pop_front();
            thread::sleep(FLOOD_PACE);
        }
        let dialed = TcpStream::connect_timeout(&address, DIAL_WITHIN);
        let Ok(stream) = dialed.and_then(|one| one.set_nonblocking(true).map(|()| one)) else {
            done.turned_away += 1;
            continue;
        };
        done.connections += 1;
        held.push_back(stream);
        let middle = held.len() / 2;
        for at in [held.len() - 1, middle] {
            done.bytes += held[at].write(&junk()).unwrap_or(0) as u64;
        }
    }
    done
}

/// How long slow ones were borne: the longest, and how many to the end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Borne {
    /// Of those that were closed, the longest life.
    pub longest: Duration,
    /// Not closed.
    pub left: usize,
}

/// Opens so many connections, and says a byte of `beginning` a second on each until all are closed or it is enough.
pub fn crawl(
    address: SocketAddr,
    connections: usize,
    beginning: &[u8],
    enough: &AtomicBool,
) -> Borne {
    let begun = Instant::now();
    let dial = |_| {
        let stream = TcpStream::connect_timeout(&address, DIAL_WITHIN).ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(stream)
    };
    let mut open: Vec<TcpStream> = (0..connections).filter_map(dial).collect();
    let mut borne = Borne::default();
    let mut said = 0;
    while !open.is_empty() && !enough.load(Ordering::Relaxed) {
        let byte = &beginning[said % beginning.len()..][..1];
        said += 1;
        open.retain_mut(|stream| stream.write_all(byte).is_ok());
        let next = begun + CRAWL_PACE * said as u32;
        while Instant::now() < next {
            open.retain_mut(is_open);
            thread::sleep(LOOK_EVERY);
        }
        borne.longest = begun.elapsed();
    }
    borne.left = open.len();
    borne
}

fn is_open(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1024]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

/// Sends mutations of the `seeds` of one port after the other. Returns how many were sent.
pub fn babble(ports: &[(SocketAddr, Vec<Vec<u8>>)], seed: u64, enough: &AtomicBool) -> u64 {
    let mut random = Random::new(seed);
    let mut sent = 0;
    while !enough.load(Ordering::Relaxed) {
        let (address, seeds) = &ports[random.below(ports.len())];
        let Ok(mut stream) = TcpStream::connect_timeout(address, DIAL_WITHIN) else { continue };
        let timed = stream
            .set_read_timeout(Some(ANSWER_WITHIN))
            .and_then(|()| stream.set_write_timeout(Some(DIAL_WITHIN)));
        if timed.is_err() {
            continue;
        }
        // Most often the first is as it should be, so that what follows is looked at.
        if random.below(4) > 0 && stream.write_all(&seeds[0]).is_err() {
            continue;
        }
        for _ in 0..=random.below(20) {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            random.mutate(&mut bytes);
            sent += 1;
            if stream.write_all(&bytes).is_err() {
                break;
            }
        }
        if random.below(8) > 0 {
            let _ = stream.read(&mut [0; 4096]);
        }
    }
    sent
}

impl Random {
    /// Some bytes are others, more or fewer.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes[at] = self.below(256) as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes.insert(at, self.below(256) as u8),
                3 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
    }
}
