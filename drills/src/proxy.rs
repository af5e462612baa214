//! A bad network: a TCP proxy that can be told to hold bytes back, to delay, to reset, to swallow, to
//! alter, and that remembers what it has seen.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Read and passed on at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Remembered of each connection and direction.
const RECORDED_BYTES: usize = 64 * 1024;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who connected.
    Up,
    /// To who connected.
    Down,
}

/// Both of them.
pub const BOTH: &[Way] = &[Way::Up, Way::Down];

/// What is done to the next bytes of one connection.
#[derive(Debug, Clone)]
pub enum Tampering {
    /// One bit is turned over: this one, counted from the first and beginning again at the last.
    Flip(usize),
    /// These bytes come in front of them.
    Insert(Vec<u8>),
}

/// See the module. Its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    weather: watch::Sender<Weather>,
    /// Everything it has ever connected.
    links: Mutex<Vec<Arc<Link>>>,
    name_of: fn(&[u8]) -> Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Weather {
    latency: Duration,
    held: Vec<(String, Way)>,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Carried,
    /// Neither side hears of the other again, nor that it is gone.
    Vanished,
    Reset,
}

/// One connection.
#[derive(Debug)]
pub struct Link {
    name: OnceLock<String>,
    fate: watch::Sender<Fate>,
    tampering: Mutex<Option<(Way, Tampering)>>,
    up: Direction,
    down: Direction,
}

#[derive(Debug, Default)]
struct Direction {
    recorded: Mutex<Vec<u8>>,
    ended: OnceLock<Instant>,
}

impl Proxy {
    /// Passes on to `target`. `name_of` tells from its first bytes who connects.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn start(
        target: SocketAddr,
        name_of: fn(&[u8]) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("the proxy cannot listen")?;
        let address = listener.local_addr().context("the proxy has no address")?;
        let shared = Arc::new(Shared {
            weather: watch::Sender::default(),
            links: Mutex::default(),
            name_of,
        });
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds back what goes these ways, of all connections that `whose` names, also of new ones. Nobody
    /// is told. What is held back is delivered when the weather is fair again.
    pub fn hold(&self, whose: &str, ways: &[Way]) {
        self.shared.weather.send_modify(|weather| {
            weather.held.extend(ways.iter().map(|way| (whose.to_owned(), *way)));
        });
    }

    /// Delays everything.
    pub fn delay(&self, latency: Duration) {
        self.shared.weather.send_modify(|weather| weather.latency = latency);
    }

    /// Passes everything on again, at once.
    pub fn clear_up(&self) {
        self.shared.weather.send_replace(Weather::default());
    }

    /// The connections there are now that `whose` names.
    pub fn links(&self, whose: &str) -> Vec<Arc<Link>> {
        let links = self.shared.links();
        links.iter().filter(|link| link.is_open() && link.is(whose)).cloned().collect()
    }

    /// How many connections it has ever taken.
    pub fn connections(&self) -> usize {
        self.shared.links().len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.shared.links().iter().for_each(|link| link.reset());
    }
}

impl Shared {
    fn links(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Weather {
    fn holds(&self, link: &Link, way: Way) -> bool {
        self.held.iter().any(|(whose, held)| *held == way && link.is(whose))
    }
}

impl Link {
    fn new() -> Self {
        Self {
            name: OnceLock::new(),
            fate: watch::Sender::new(Fate::Carried),
            tampering: Mutex::default(),
            up: Direction::default(),
            down: Direction::default(),
        }
    }

    /// Who connected.
    pub fn name(&self) -> &str {
        self.name.get().map_or("", String::as_str)
    }

    /// Everybody is meant by nothing; `verify` is also `verify-in` and `verify-out`.
    fn is(&self, whose: &str) -> bool {
        let rest = self.name().strip_prefix(whose);
        rest.is_some_and(|rest| whose.is_empty() || rest.is_empty() || rest.starts_with('-'))
    }

    fn direction(&self, way: Way) -> &Direction {
        match way {
            Way::Up => &self.up,
            Way::Down => &self.down,
        }
    }

    /// When the side from which these bytes come has closed it.
    pub fn ended(&self, way: Way) -> Option<Instant> {
        self.direction(way).ended.get().copied()
    }

    fn is_open(&self) -> bool {
        self.ended(Way::Up).is_none() && self.ended(Way::Down).is_none()
    }

    /// The first bytes that came this way.
    pub fn recorded(&self, way: Way) -> Vec<u8> {
        self.direction(way).recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Resets it, both ways.
    pub fn reset(&self) {
        self.fate.send_replace(Fate::Reset);
    }

    /// Swallows everything from now on; neither side hears of the other's end.
    pub fn vanish(&self) {
        self.fate.send_replace(Fate::Vanished);
    }

    /// Does that to the next bytes.
    pub fn tamper(&self, way: Way, tampering: Tampering) {
        *self.tampering() = Some((way, tampering));
    }

    /// Whether that has been done.
    pub fn is_tampered(&self) -> bool {
        self.tampering().is_none()
    }

    fn tampering(&self) -> MutexGuard<'_, Option<(Way, Tampering)>> {
        self.tampering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_note(&self, way: Way, bytes: &[u8]) {
        let recorded = &self.direction(way).recorded;
        let mut recorded = recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let room = RECORDED_BYTES - recorded.len();
        recorded.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn alter(&self, way: Way, bytes: &mut Vec<u8>) {
        match self.tampering().take_if(|(meant, _)| *meant == way) {
            Some((_, Tampering::Flip(bit))) => {
                let bit = bit % (8 * bytes.len());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Some((_, Tampering::Insert(foreign))) => {
                bytes.splice(..0, foreign);
            }
            None => {}
        }
    }
}

async fn accept(listener: TcpListener, target: SocketAddr, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        let link = Arc::new(Link::new());
        shared.links().push(Arc::clone(&link));
        tokio::spawn(carry(client, target, link, Arc::clone(&shared)));
    }
}

async fn carry(mut client: TcpStream, target: SocketAddr, link: Arc<Link>, shared: Arc<Shared>) {
    let connected = TcpStream::connect(target).await;
    if let Ok(mut server) = connected {
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        pass_on(&mut client, &mut server, &link, &shared).await;
        if *link.fate.borrow() == Fate::Reset {
            let _ = (client.set_zero_linger(), server.set_zero_linger());
        }
    } else {
        // As if nobody listened.
        let _ = client.set_zero_linger();
    }
    for way in BOTH {
        let _ = link.direction(*way).ended.set(Instant::now());
    }
}

async fn pass_on(client: &mut TcpStream, server: &mut TcpStream, link: &Link, shared: &Shared) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let mut up = pin!(pump(Way::Up, from_client, to_server, link, shared));
    let mut down = pin!(pump(Way::Down, from_server, to_client, link, shared));
    let mut fate = link.fate.subscribe();
    let is_reset = fate.wait_for(|fate| *fate == Fate::Reset);
    let has_vanished = || *link.fate.borrow() == Fate::Vanished;
    tokio::select! {
        _ = async {
            tokio::select! {
                () = &mut up => if has_vanished() { down.await },
                () = &mut down => if has_vanished() { up.await },
            }
        } => {}
        _ = is_reset => {}
    }
}

async fn pump(
    way: Way,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    link: &Link,
    shared: &Shared,
) {
    let mut weather = shared.weather.subscribe();
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut bytes = buffer[..count].to_vec();
        if way == Way::Up && link.name.get().is_none() {
            let _ = link.name.set((shared.name_of)(&bytes).unwrap_or_default());
        }
        link.take_note(way, &bytes);
        link.alter(way, &mut bytes);
        let latency = weather.borrow().latency;
        tokio::time::sleep(latency).await;
        if weather.wait_for(|weather| !weather.holds(link, way)).await.is_err() {
            break;
        }
        if *link.fate.borrow() == Fate::Vanished {
            continue;
        }
        if to.write_all(&bytes).await.is_err() {
            break;
        }
    }
    let _ = link.direction(way).ended.set(Instant::now());
}

/// A sensor's number, from its HELLO.
pub fn sensor_name(first: &[u8]) -> Option<String> {
    let id = first.get(6..8)?.try_into().ok()?;
    Some(i16::from_le_bytes(id).to_string())
}

/// An MQTT client's id, from its CONNECT.
pub fn client_name(first: &[u8]) -> Option<String> {
    let length_bytes = first.get(1..)?.iter().position(|byte| byte & 0x80 == 0)? + 1;
    // The name of the protocol, its level, flags and the keep-alive stand in front.
    let rest = first.get(1 + length_bytes + 2 + 4 + 1 + 1 + 2..)?;
    let (length, id) = rest.split_at_checked(2)?;
    let length = u16::from_be_bytes(length.try_into().ok()?);
    Some(String::from_utf8_lossy(id.get(..length.into())?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(50);

    /// Both ends of a connection through a proxy, whose name is `verify-in`.
    async fn connected() -> (Proxy, TcpStream, TcpStream) {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(target.local_addr().unwrap(), |_| Some("verify-in".to_owned()));
        let proxy = proxy.await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (mut client, (mut server, _)) = (client, target.accept().await.unwrap());
        client.write_all(b"hello").await.unwrap();
        assert_eq!(read(&mut server).await.unwrap(), b"hello");
        (proxy, client, server)
    }

    async fn read(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
        let mut bytes = [0; 64];
        let count = tokio::time::timeout(WITHIN, stream.read(&mut bytes)).await.expect("bytes")?;
        Ok(bytes[..count].to_vec())
    }

    #[tokio::test]
    async fn what_is_held_back_one_way_comes_later_and_the_other_way_is_free() {
        let (proxy, mut client, mut server) = connected().await;
        proxy.hold("verify", &[Way::Up]);
        client.write_all(b"up").await.unwrap();
        server.write_all(b"down").await.unwrap();
        assert_eq!(read(&mut client).await.unwrap(), b"down");
        assert!(tokio::time::timeout(SHORT, server.readable()).await.is_err());
        proxy.clear_up();
        assert_eq!(read(&mut server).await.unwrap(), b"up");
        proxy.hold("veri", BOTH);
        client.write_all(b"more").await.unwrap();
        assert_eq!(read(&mut server).await.unwrap(), b"more", "that is nobody's name");
    }

    #[tokio::test]
    async fn a_reset_is_an_error_on_both_sides() {
        let (proxy, mut client, mut server) = connected().await;
        let links = proxy.links("verify-in");
        links[0].reset();
        read(&mut client).await.unwrap_err();
        read(&mut server).await.unwrap_err();
        assert!(proxy.links("").is_empty());
        assert_eq!(proxy.connections(), 1);
    }

    #[tokio::test]
    async fn who_vanishes_is_not_heard_of_again_not_even_that_it_is_gone() {
        let (proxy, client, server) = connected().await;
        let link = proxy.links("verify").remove(0);
        link.vanish();
        drop(client);
        assert!(tokio::time::timeout(SHORT, server.readable()).await.is_err());
        assert!(link.ended(Way::Up).is_some() && link.ended(Way::Down).is_none());
    }

    #[tokio::test]
    async fn bytes_are_altered_once_and_remembered_as_they_were() {
        let (proxy, mut client, mut server) = connected().await;
        let link = proxy.links("").remove(0);
        for (tampering, expected) in
            [(Tampering::Flip(8), &b"acc"[..]), (Tampering::Insert(b"x".to_vec()), b"xabc")]
        {
            link.tamper(Way::Up, tampering);
            for expected in [expected, b"abc"] {
                client.write_all(b"abc").await.unwrap();
                assert_eq!(read(&mut server).await.unwrap(), expected);
            }
        }
        assert_eq!(link.recorded(Way::Up), b"helloabcabcabcabc");
    }

    #[test]
    fn clients_are_known_by_their_first_bytes() {
        let connect = b"\x10\x16\0\x04MQTT\x04\xc2\0\x0a\0\x0averify-out";
        assert_eq!(client_name(connect).as_deref(), Some("verify-out"));
        assert_eq!(client_name(&connect[..20]), None);
        assert_eq!(sensor_name(b"VG\x01\x01\x3a\0\xff\xff\x01\0").as_deref(), Some("-1"));
    }
}
