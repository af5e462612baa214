//! Accepts connections, come what may.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use vigia_kit::shutdown::Shutdown;

use crate::limits::ACCEPT_PAUSE;

/// The next connection; `None` at the end of the process. `what` is accepted, for the log. Those who are
/// inside go first, however many come.
pub async fn next(
    listener: &TcpListener,
    what: &str,
    shutdown: &mut Shutdown,
) -> Option<(TcpStream, SocketAddr)> {
    tokio::task::yield_now().await;
    loop {
        let accepted = tokio::select! {
            () = shutdown.ended() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(connection) => return Some(connection),
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end first.
                tracing::warn!(%error, "cannot accept {what}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
