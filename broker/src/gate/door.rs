//! Accepts MQTT connections within the bounds.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use vigia_kit::shutdown::Shutdown;

use super::Shared;
use super::client::{self, Arrival};
use super::tls::{self, Tls};
use crate::accept;
use crate::limits::{
    MQTT_CONNECTIONS, MQTT_CONNECTIONS_PER_ADDRESS, MQTT_UNAUTHENTICATED, TCP_KEEP_ALIVE,
    TLS_HANDSHAKE_WITHIN,
};
use crate::waiting::Waiting;
use vigia_kit::places::{Places, host};

/// Who is inside, by address, and who has not shown who it is.
#[derive(Clone)]
pub struct House {
    inside: Places<IpAddr>,
    waiting: Waiting,
    numbers: Arc<AtomicU64>,
}

impl House {
    /// Empty.
    pub fn new() -> Self {
        Self {
            inside: Places::new(MQTT_CONNECTIONS, MQTT_CONNECTIONS_PER_ADDRESS),
            waiting: Waiting::new(MQTT_UNAUTHENTICATED),
            numbers: Arc::default(),
        }
    }
}

/// Serves one listener until the end; with TLS, if given.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    house: House,
    shared: Arc<Shared>,
    mut shutdown: Shutdown,
) {
    while let Some((stream, peer)) =
        accept::next(&listener, "an MQTT connection", &mut shutdown).await
    {
        let Some(place) = house.inside.take(host(peer.ip())) else {
            shared.counters.connections_refused.up();
            continue;
        };
        let number = house.numbers.fetch_add(1, Relaxed) + 1;
        let waiting = house.waiting.clone();
        let task = welcome(
            stream,
            peer,
            number,
            tls.clone(),
            waiting,
            Arc::clone(&shared),
            shutdown.clone(),
        );
        house.waiting.admit(number, async move {
            task.await;
            drop(place);
        });
    }
}

/// No waiting for more to send; and a peer that vanished is noticed, whatever its MQTT keep-alive is.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (idle, every, times) = TCP_KEEP_ALIVE;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, idle)?;
    sockopt::set_tcp_keepintvl(stream, every)?;
    sockopt::set_tcp_keepcnt(stream, times)?;
    Ok(())
}

async fn welcome(
    stream: TcpStream,
    peer: SocketAddr,
    number: u64,
    tls: Option<Arc<Tls>>,
    waiting: Waiting,
    shared: Arc<Shared>,
    shutdown: Shutdown,
) {
    if prepare(&stream).is_err() {
        return;
    }
    let known = move || waiting.leave(number);
    // Boxed: a future that holds another in two states would be twice its size, for every connection.
    match tls {
        None => {
            let arrival = Arrival { number, peer, certificate: None };
            Box::pin(client::serve(stream, arrival, shared, shutdown, known)).await;
        }
        Some(tls) => match timeout(TLS_HANDSHAKE_WITHIN, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let arrival = Arrival { number, peer, certificate: tls::peer_name(&stream) };
                Box::pin(client::serve(stream, arrival, shared, shutdown, known)).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake not finished in time"),
        },
    }
}
