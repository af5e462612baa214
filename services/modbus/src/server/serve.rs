//! The server's sockets: who comes in, and one request after the other.
//!
//! A stranger is not answered, not even by an exception: the connection is closed and counted. Function 3 answers
//! as function 4 does, since many clients can only read holding registers. No other function is there.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use vigia_kit::clock;
use vigia_kit::network::Network;
use vigia_kit::places::{Places, host};
use vigia_kit::shutdown::Shutdown;
use vigia_protocol::time::Micros;

use crate::limits::{
    SERVER_ACCEPT_PAUSE, SERVER_CONNECTIONS, SERVER_CONNECTIONS_PER_ADDRESS, SERVER_FRAME_WITHIN,
    SERVER_IDLE, SERVER_REQUESTS_PER_SECOND,
};
use crate::link::Answer;
use crate::server::frame::{
    self, HEADER_BYTES, Header, MAX_PDU_BYTES, Refusal, exception::ILLEGAL_FUNCTION,
};
use crate::server::image::Image;
use crate::server::pace::Pace;

/// What the server did since its start.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections that were served.
    pub connections: AtomicU64,
    /// Connections of those who are not on the list, closed at once.
    pub strangers: AtomicU64,
    /// Connections for which there was no room, closed at once.
    pub crowded_out: AtomicU64,
    /// Requests that were answered, exceptions among them.
    pub requests: AtomicU64,
    /// Requests that were answered with an exception.
    pub exceptions: AtomicU64,
}

/// Serves those whose addresses are allowed, until the end.
pub async fn serve(
    listener: TcpListener,
    image: Arc<Image>,
    allow: Vec<Network>,
    counts: Arc<Counts>,
    mut shutdown: Shutdown,
) {
    let places = Places::new(SERVER_CONNECTIONS, SERVER_CONNECTIONS_PER_ADDRESS);
    // They end with this function.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.ended() => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer): (TcpStream, SocketAddr) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end first.
                tracing::warn!(%error, "cannot accept a Modbus connection");
                sleep(SERVER_ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !allow.iter().any(|network| network.contains(peer.ip())) {
            counts.strangers.fetch_add(1, Relaxed);
            tracing::debug!(%peer, "a Modbus client that is not on the list");
            continue;
        }
        let Some(place) = places.take(host(peer.ip())) else {
            counts.crowded_out.fetch_add(1, Relaxed);
            continue;
        };
        counts.connections.fetch_add(1, Relaxed);
        let (image, counts) = (Arc::clone(&image), Arc::clone(&counts));
        connections.spawn(async move {
            let _place = place;
            // That a client is gone, or speaks something else, is not worth a line.
            let _ = converse(stream, &image, &counts).await;
        });
    }
}

async fn converse(stream: TcpStream, image: &Image, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut pace = Pace::new(SERVER_REQUESTS_PER_SECOND, Instant::now());
    let mut header = [0; HEADER_BYTES];
    let mut pdu = [0; MAX_PDU_BYTES];
    loop {
        timeout(SERVER_IDLE, stream.read_exact(&mut header[..1])).await??;
        let request = async {
            stream.read_exact(&mut header[1..]).await?;
            let header = Header::parse(header).ok_or(io::ErrorKind::InvalidData)?;
            stream.read_exact(&mut pdu[..header.pdu_bytes]).await?;
            io::Result::Ok(header)
        };
        let header = timeout(SERVER_FRAME_WITHIN, request).await??;
        let wait = pace.take(Instant::now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let answer = answer(header.unit, &pdu[..header.pdu_bytes], image, clock::now());
        counts.requests.fetch_add(1, Relaxed);
        let answer = answer.unwrap_or_else(|refused| {
            counts.exceptions.fetch_add(1, Relaxed);
            frame::refusal(refused)
        });
        let bytes = frame::frame(header.transaction, header.unit, &answer);
        timeout(SERVER_FRAME_WITHIN, stream.write_all(&bytes)).await??;
    }
}

/// The protocol data unit that answers one, or the exception.
fn answer(unit: u8, pdu: &[u8], image: &Image, now: Micros) -> Result<Vec<u8>, Refusal> {
    let span = frame::request(pdu)?;
    let refuse = |code| Refusal { function: frame::function(span.kind()), code };
    if span.kind().is_bit() {
        return Err(refuse(ILLEGAL_FUNCTION));
    }
    let words = image.read(unit, span, now).map_err(refuse)?;
    Ok(frame::answer(span.kind(), &Answer::Words(words)))
}
