//! Accepts MQTT connections within the bounds.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use vigia_kit::shutdown::Shutdown;

use super::Shared;
use super::client::{self, Arrival};
use super::tls::{self, Tls};
use crate::limits::{
    ACCEPT_PAUSE, MQTT_CONNECTIONS, MQTT_CONNECTIONS_PER_ADDRESS, MQTT_UNAUTHENTICATED,
    TLS_HANDSHAKE_WITHIN,
};
use crate::waiting::Waiting;

/// Who is inside, by address, and who has not shown who it is.
#[derive(Clone)]
pub struct House {
    inside: Arc<Mutex<HashMap<IpAddr, usize>>>,
    waiting: Waiting,
    numbers: Arc<AtomicU64>,
}

impl House {
    /// Empty.
    pub fn new() -> Self {
        Self {
            inside: Arc::default(),
            waiting: Waiting::new(MQTT_UNAUTHENTICATED),
            numbers: Arc::default(),
        }
    }

    fn enter(&self, peer: IpAddr) -> Option<Place> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = inside.values().sum();
        let here = inside.get(&peer).copied().unwrap_or(0);
        if total >= MQTT_CONNECTIONS || here >= MQTT_CONNECTIONS_PER_ADDRESS {
            return None;
        }
        inside.insert(peer, here + 1);
        Some(Place { house: self.clone(), peer })
    }
}

/// A connection's place; given back when dropped.
struct Place {
    house: House,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.house.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = inside.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                inside.remove(&self.peer);
            }
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
    loop {
        let accepted = tokio::select! {
            () = shutdown.ended() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end first.
                tracing::warn!(%error, "cannot accept an MQTT connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = house.enter(peer.ip()) else {
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
            waiting.clone(),
            Arc::clone(&shared),
            shutdown.clone(),
        );
        house.waiting.admit(number, async move {
            task.await;
            waiting.leave(number);
            drop(place);
        });
    }
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
    if stream.set_nodelay(true).is_err() {
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
