//! Bytes between a socket and its connection's buffers, both ways at once.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::{MQTT_READ_BYTES, MQTT_READ_BYTES_IDLE};

/// A socket, plain or TLS.
pub struct Io<S> {
    stream: S,
    /// Grows while it is filled at one go, so that an idle connection costs little.
    buffer: Vec<u8>,
    unflushed: bool,
    /// Bytes written since it was last set to 0.
    pub written: u64,
}

/// What a transfer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// So many bytes were read; see [`Io::read_bytes`].
    Read(usize),
    /// Something was written.
    Written,
    /// The peer has closed.
    Closed,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    /// Around a socket.
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: vec![0; MQTT_READ_BYTES_IDLE], unflushed: false, written: 0 }
    }

    /// Writes from `out` and, if wanted, reads; returns after the first of both. Cancelling loses
    /// nothing.
    ///
    /// # Errors
    /// The socket's.
    pub async fn transfer(&mut self, out: &mut BytesMut, read: bool) -> io::Result<Moved> {
        poll_fn(|context| {
            let mut written = false;
            while !out.is_empty() {
                match Pin::new(&mut self.stream).poll_write(context, out)? {
                    Poll::Ready(0) => return Poll::Ready(Ok(Moved::Closed)),
                    Poll::Ready(count) => {
                        out.advance(count);
                        written = true;
                        self.written += count as u64;
                        self.unflushed = true;
                    }
                    Poll::Pending => break,
                }
            }
            if self.unflushed
                && out.is_empty()
                && Pin::new(&mut self.stream).poll_flush(context)?.is_ready()
            {
                self.unflushed = false;
                written = true;
            }
            if read {
                let mut buffer = ReadBuf::new(&mut self.buffer);
                if Pin::new(&mut self.stream).poll_read(context, &mut buffer)?.is_ready() {
                    let count = buffer.filled().len();
                    return Poll::Ready(Ok(match count {
                        0 => Moved::Closed,
                        count => Moved::Read(count),
                    }));
                }
            }
            if written { Poll::Ready(Ok(Moved::Written)) } else { Poll::Pending }
        })
        .await
    }

    /// The bytes of the last [`Moved::Read`].
    pub fn read_bytes(&self, count: usize) -> &[u8] {
        &self.buffer[..count]
    }

    /// Makes room for more at once, after so many bytes came.
    pub fn adapt(&mut self, count: usize) {
        if count == self.buffer.len() && count < MQTT_READ_BYTES {
            self.buffer.resize(count * 2, 0);
        }
    }
}
