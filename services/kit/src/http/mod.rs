//! How every HTTP port of a role is served: bounded in connections and in time, by TLS or not.

mod connections;
mod patience;

use std::io;

use poem::{Endpoint, Server};
use tokio::net::TcpListener;

use crate::http::connections::Connections;
use crate::limits::{HTTP_DRAIN_WITHIN, HTTP_IDLE};
use crate::shutdown::Shutdown;
use crate::tls_server::TlsServer;

/// Serves a bound listener until the end.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve(
    listener: TcpListener,
    tls: Option<TlsServer>,
    endpoint: impl Endpoint + 'static,
    mut shutdown: Shutdown,
) -> io::Result<()> {
    Server::new_with_acceptor(Connections::new(listener, tls)?)
        .idle_timeout(HTTP_IDLE)
        .run_with_graceful_shutdown(endpoint, shutdown.ended(), Some(HTTP_DRAIN_WITHIN))
        .await
}
