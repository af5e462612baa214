//! Accepts connections, by TLS or not, and not too many at once.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use poem::http::uri::Scheme;
use poem::listener::Acceptor;
use poem::web::{LocalAddr, RemoteAddr};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::http::patience::Patience;
use crate::limits::{
    HTTP_ACCEPT_PAUSE, HTTP_CONNECTIONS, HTTP_CONNECTIONS_PER_ADDRESS, HTTP_HANDSHAKE_WITHIN,
};
use crate::places::{Place, Places, host};
use crate::tls_server::TlsServer;

/// Connections that are ready to be served: those by TLS have shaken hands.
#[derive(Debug)]
pub struct Connections {
    local: LocalAddr,
    scheme: Scheme,
    ready: mpsc::Receiver<(Connection, SocketAddr)>,
}

impl Connections {
    /// Takes a bound listener over. It waits while too many connections are open.
    ///
    /// # Errors
    /// If it has no address.
    pub fn new(listener: TcpListener, tls: Option<TlsServer>) -> io::Result<Self> {
        let local = LocalAddr(listener.local_addr()?.into());
        let scheme = if tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        let (sender, ready) = mpsc::channel(1);
        tokio::spawn(accept(listener, tls.map(Arc::new), sender));
        Ok(Self { local, scheme, ready })
    }
}

impl Acceptor for Connections {
    type Io = Connection;

    fn local_addr(&self) -> Vec<LocalAddr> {
        vec![self.local.clone()]
    }

    async fn accept(&mut self) -> io::Result<(Connection, LocalAddr, RemoteAddr, Scheme)> {
        let (connection, peer) = self.ready.recv().await.ok_or(io::ErrorKind::NotConnected)?;
        Ok((connection, self.local.clone(), RemoteAddr(peer.into()), self.scheme.clone()))
    }
}

/// Accepts until nobody waits for connections any more.
async fn accept(
    listener: TcpListener,
    tls: Option<Arc<TlsServer>>,
    ready: mpsc::Sender<(Connection, SocketAddr)>,
) {
    let permits = Arc::new(Semaphore::new(HTTP_CONNECTIONS));
    let inside = Places::new(HTTP_CONNECTIONS, HTTP_CONNECTIONS_PER_ADDRESS);
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            () = ready.closed() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                // Out of file descriptors, most likely: let some connections end first.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(HTTP_ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = inside.take(host(peer.ip())) else { continue };
        // Small answers should not wait for a full segment.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let (tls, ready) = (tls.clone(), ready.clone());
        tokio::spawn(async move {
            let stream = match tls {
                None => Stream::Plain(stream),
                Some(tls) => {
                    let handshake = TlsAcceptor::from(tls.newest()).accept(stream);
                    match timeout(HTTP_HANDSHAKE_WITHIN, handshake).await {
                        Ok(Ok(stream)) => Stream::Tls(Box::new(stream)),
                        _ => return,
                    }
                }
            };
            let patience = Patience::new();
            let _ =
                ready.send((Connection { stream, patience, _place: (permit, place) }, peer)).await;
        });
    }
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

/// A connection and its permission to be open.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    patience: Patience,
    _place: (OwnedSemaphorePermit, Place<IpAddr>),
}

macro_rules! on_stream {
    ($connection:expr, $method:ident $(, $argument:expr)*) => {
        match &mut $connection.stream {
            Stream::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Tls(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = on_stream!(self, poll_read, context, buffer);
        if buffer.filled().len() > before {
            self.patience.heard();
        }
        if polled.is_pending() {
            self.patience.check(context)?;
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = on_stream!(self, poll_write, context, bytes);
        match polled {
            Poll::Ready(_) => self.patience.written(),
            Poll::Pending => {
                self.patience.blocked();
                self.patience.check(context)?;
            }
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = on_stream!(self, poll_flush, context);
        if polled.is_pending() {
            self.patience.blocked();
            self.patience.check(context)?;
        }
        polled
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, poll_shutdown, context)
    }
}
