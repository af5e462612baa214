//! One connection to a device, and one request on it: what came back, or what went wrong.
//!
//! RTU frames have no transaction number: an answer that comes too late looks like that to the next question. So
//! after any trouble other than an exception the connection is given up, and what was under way dies with it.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_modbus::client::{Client, Context, rtu, tcp};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{Error, Request, Response, Slave};
use vigia_protocol::quality::Status;

use crate::map::Transport;
use crate::register::{Cells, Kind, Span};
use crate::serial::{self, silence};

/// Why a device gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There is no connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The connection ended, or what came was no frame.
    #[error("the connection failed: {0}")]
    Broken(String),
    /// A frame of another unit, of another request or with another function.
    #[error("an answer to something else: {0}")]
    Foreign(String),
    /// The answer does not have the length that was asked for.
    #[error("{got} elements where {expected} were asked for")]
    Length {
        /// How many were to come.
        expected: usize,
        /// How many came.
        got: usize,
    },
    /// The device answers that it will not (MAP 7).
    #[error("exception {0}, {name}", name = exception_name(*.0))]
    Exception(u8),
}

impl Trouble {
    /// The status of the values that are missing for it.
    pub fn status(&self) -> Status {
        match self {
            Self::Connect(_) | Self::Silent(_) | Self::Broken(_) | Self::Foreign(_) => {
                Status::NO_COMMUNICATION
            }
            Self::Length { .. } | Self::Exception(_) => Status::DEVICE_FAILURE,
        }
    }

    /// Whether the device may be asked on: it answered, and to this request.
    pub(crate) fn leaves_link_usable(&self) -> bool {
        matches!(self, Self::Exception(_))
    }

    /// Whether nothing better is to be expected of the next request.
    pub(crate) fn is_of_the_device(&self) -> bool {
        !matches!(self, Self::Exception(_) | Self::Length { .. })
    }
}

/// The names of MAP 7.
fn exception_name(code: u8) -> &'static str {
    match code {
        1 => "illegal function",
        2 => "illegal data address",
        3 => "illegal data value",
        4 => "server device failure",
        5 => "acknowledge",
        6 => "server device busy",
        8 => "memory parity error",
        10 => "gateway path unavailable",
        11 => "gateway target device failed to respond",
        _ => "not one of the standard",
    }
}

/// What a request brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Bits(Vec<bool>),
    Words(Vec<u16>),
}

impl Answer {
    pub(crate) fn cells(&self) -> Cells<'_> {
        match self {
            Self::Bits(bits) => Cells::Bits(bits),
            Self::Words(words) => Cells::Words(words),
        }
    }
}

/// A connection.
pub(crate) struct Link {
    context: Context,
    /// Between two frames, on a serial line; and the end of the last one.
    silence: Duration,
    spoke: Instant,
}

impl Link {
    pub(crate) async fn open(
        transport: &Transport,
        unit: u8,
        within: Duration,
    ) -> Result<Self, Trouble> {
        let unit = Slave(unit);
        let mut between_frames = Duration::ZERO;
        let context = match transport {
            Transport::Tcp(address) => tcp::attach_slave(connect(address, within).await?, unit),
            Transport::RtuOverTcp(address) => {
                rtu::attach_slave(connect(address, within).await?, unit)
            }
            Transport::Serial(line) => {
                between_frames = silence(line.baud);
                let line = serial::open(line)
                    .map_err(|error| Trouble::Connect(format!("{}: {error}", line.path)))?;
                rtu::attach_slave(line, unit)
            }
        };
        Ok(Self { context, silence: between_frames, spoke: Instant::now() })
    }

    /// From now on the questions are for this unit.
    pub(crate) fn ask_of(&mut self, unit: u8) {
        self.context.set_slave(Slave(unit));
    }

    /// Reads a span. Not by the library's readers: those trust the answer's length.
    pub(crate) async fn read(&mut self, span: Span, within: Duration) -> Result<Answer, Trouble> {
        let (start, count) = (span.start(), span.count());
        let request = match span.kind() {
            Kind::Coil => Request::ReadCoils(start, count),
            Kind::Discrete => Request::ReadDiscreteInputs(start, count),
            Kind::Input => Request::ReadInputRegisters(start, count),
            Kind::Holding => Request::ReadHoldingRegisters(start, count),
        };
        tokio::time::sleep_until(self.spoke + self.silence).await;
        let response = timeout(within, self.context.call(request)).await;
        self.spoke = Instant::now();
        let response = response
            .map_err(|_| Trouble::Silent(within))?
            .map_err(trouble)?
            .map_err(|exception| Trouble::Exception(exception.into()))?;
        match (span.kind(), response) {
            (Kind::Coil, Response::ReadCoils(bits))
            | (Kind::Discrete, Response::ReadDiscreteInputs(bits)) => {
                // Whole bytes come, the last one filled up (MAP 6.1).
                expect(usize::from(count).div_ceil(8) * 8, bits.len())?;
                Ok(Answer::Bits(bits))
            }
            (Kind::Input, Response::ReadInputRegisters(words))
            | (Kind::Holding, Response::ReadHoldingRegisters(words)) => {
                expect(count.into(), words.len())?;
                Ok(Answer::Words(words))
            }
            _ => Err(Trouble::Foreign("another function".to_owned())),
        }
    }
}

async fn connect(address: &str, within: Duration) -> Result<TcpStream, Trouble> {
    let broken = |error: std::io::Error| Trouble::Connect(format!("{address}: {error}"));
    let stream = timeout(within, TcpStream::connect(address))
        .await
        .map_err(|_| Trouble::Silent(within))?
        .map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    Ok(stream)
}

fn expect(expected: usize, got: usize) -> Result<(), Trouble> {
    if expected == got { Ok(()) } else { Err(Trouble::Length { expected, got }) }
}

fn trouble(error: Error) -> Trouble {
    match error {
        Error::Transport(error) => Trouble::Broken(error.to_string()),
        Error::Protocol(error) => {
            // It shows the whole answer, which may be long.
            let text = error.to_string();
            Trouble::Foreign(text.chars().take(crate::limits::MAX_SHOWN_CHARS).collect())
        }
    }
}
