//! A sensor's connection to the sensor port: the socket around the device state machine.
//!
//! What is durable first, and when a reading is taken, is for whoever owns the device.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vigia_protocol::device::{Device, LinkError};

use crate::clock;
use crate::limits::{CONNECT_WITHIN, SENSOR_READ_BYTES};

/// A device may have no deadline, and a timer has bounds.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// Why a connection has ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkEnd {
    /// The network, or the broker closed it.
    #[error("{0}")]
    Network(#[from] io::Error),
    /// The device gives it up.
    #[error("{0}")]
    Device(#[from] LinkError),
}

/// See the module.
#[derive(Debug)]
pub struct SensorLink {
    stream: TcpStream,
    read: Vec<u8>,
    out: Vec<u8>,
}

impl SensorLink {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// What the network says, or that it says nothing.
    pub async fn connect(address: &str) -> io::Result<Self> {
        let connecting = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await;
        let stream = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: vec![0; SENSOR_READ_BYTES], out: Vec::new() })
    }

    /// Bytes of the device for the network; [`SensorLink::turn`] sends them.
    pub fn push(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Sends and receives what can be right now; waits until there is something, or the device's deadline has come.
    /// Cancelling the wait loses nothing.
    ///
    /// # Errors
    /// The connection is to be given up.
    pub async fn turn(&mut self, device: &mut Device) -> Result<(), LinkEnd> {
        let micros = device.deadline().0.saturating_sub(clock::now().0);
        let deadline = Duration::from_micros(micros.max(0).unsigned_abs());
        let (mut reader, mut writer) = self.stream.split();
        tokio::select! {
            read = reader.read(&mut self.read) => {
                let count = read?;
                if count == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                device.receive(&self.read[..count], clock::now())?;
            }
            written = writer.write(&self.out), if !self.out.is_empty() => {
                self.out.drain(..written?);
            }
            () = tokio::time::sleep(deadline.min(LONGEST_WAIT)) => {}
        }
        Ok(device.check_time(clock::now())?)
    }
}
