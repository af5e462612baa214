//! A simulator's sockets. Devices with the same address are units behind one gateway.
//!
//! Answers are framed here and not by tokio-modbus: a device that lies must be able to.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use vigia_kit::clock;
use vigia_kit::shutdown::Shutdown;

use crate::limits::{SERVER_ACCEPT_PAUSE, SIMULATOR_CONNECTIONS};
use crate::link::Answer;
use crate::map::{Map, Transport};
use crate::server::frame::{
    self, HEADER_BYTES, Header, MAX_PDU_BYTES, Refusal, exception::NO_SUCH_UNIT,
};
use crate::simulator::device::Simulated;
use crate::simulator::fault::{Fault, Faults};

/// All devices of a map, listening.
#[derive(Debug)]
pub struct Simulator {
    gateways: Vec<(TcpListener, Gateway)>,
    faults: Faults,
    /// For each device of the map, in its order, where it listens.
    addresses: Vec<SocketAddr>,
}

/// What cannot be simulated.
#[derive(Debug, thiserror::Error)]
pub enum CannotSimulate {
    /// There is no other end of a line that could be opened.
    #[error("device {0:?} is on a serial line, expected tcp or rtu_over_tcp")]
    Serial(String),
    /// The same address with both transports.
    #[error("{0} is the address of a tcp and of an rtu_over_tcp device, expected one of the two")]
    BothFramings(String),
    /// Two devices that nobody can tell apart.
    #[error("unit {unit} of {address} is there twice, expected a device for each unit")]
    SameUnit {
        /// Which unit.
        unit: u8,
        /// Where.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        #[source]
        error: io::Error,
    },
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Where the map says.
    AsMapped,
    /// On free ports of this machine, one for each address of the map.
    FreePorts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Tcp,
    Rtu,
}

/// The devices behind one address, each with its name, by unit.
type Units = BTreeMap<u8, (String, Simulated)>;

/// What stands at one address.
#[derive(Debug, Clone)]
struct Gateway {
    framing: Framing,
    units: Arc<Units>,
}

impl Simulator {
    /// Listens for every device of a map.
    ///
    /// # Errors
    /// A device that cannot be simulated, or an address that cannot be listened on.
    pub async fn bind(map: &Map, listen: Listen) -> Result<Self, CannotSimulate> {
        let mut planned: BTreeMap<&str, (Framing, Units)> = BTreeMap::new();
        let mut wanted = Vec::new();
        for device in map.devices() {
            let (address, framing) = match &device.transport {
                Transport::Tcp(address) => (address, Framing::Tcp),
                Transport::RtuOverTcp(address) => (address, Framing::Rtu),
                Transport::Serial(_) => return Err(CannotSimulate::Serial(device.name.clone())),
            };
            let (known, units) = planned.entry(address).or_insert((framing, Units::new()));
            if *known != framing {
                return Err(CannotSimulate::BothFramings(address.clone()));
            }
            let simulated = (device.name.clone(), Simulated::new(device));
            if units.insert(device.unit, simulated).is_some() {
                return Err(CannotSimulate::SameUnit {
                    unit: device.unit,
                    address: address.clone(),
                });
            }
            wanted.push(address.as_str());
        }
        let mut gateways = Vec::new();
        let mut bound = BTreeMap::new();
        for (address, (framing, units)) in planned {
            let place = if listen == Listen::AsMapped { address } else { "127.0.0.1:0" };
            let cannot = |error| CannotSimulate::Listen { address: place.to_owned(), error };
            let listener = TcpListener::bind(place).await.map_err(cannot)?;
            bound.insert(address, listener.local_addr().map_err(cannot)?);
            gateways.push((listener, Gateway { framing, units: Arc::new(units) }));
        }
        let addresses = wanted.iter().map(|address| bound[address]).collect();
        let faults = Faults::new(map.devices().iter().map(|device| device.name.as_str()));
        Ok(Self { gateways, faults, addresses })
    }

    /// For each device of the map, in its order, where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// With which the devices are made to misbehave.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Serves until the end.
    pub async fn serve(self, mut shutdown: Shutdown) {
        let mut listening = JoinSet::new();
        for (listener, gateway) in self.gateways {
            listening.spawn(accept(listener, gateway, self.faults.clone()));
        }
        shutdown.ended().await;
    }
}

/// Accepts until it is dropped, and its connections with it. It waits while too many are open.
async fn accept(listener: TcpListener, gateway: Gateway, faults: Faults) {
    let permits = Arc::new(Semaphore::new(SIMULATOR_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(SERVER_ACCEPT_PAUSE).await;
            continue;
        };
        let (gateway, faults) = (gateway.clone(), faults.clone());
        connections.spawn(async move {
            let _permit = permit;
            // A client that is gone or speaks something else is no matter of a simulator's.
            let _ = gateway.converse(stream, &faults).await;
        });
    }
}

/// A request as it came, by either framing.
struct Asked {
    transaction: u16,
    unit: u8,
    pdu: Vec<u8>,
}

impl Gateway {
    async fn converse(&self, stream: TcpStream, faults: &Faults) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        loop {
            let asked = self.receive(&mut stream).await?;
            let Some((name, device)) = self.units.get(&asked.unit) else {
                // A gateway by TCP says that nobody is there; on a line there is only silence.
                if self.framing == Framing::Tcp {
                    let function = asked.pdu.first().copied().unwrap_or(0);
                    let pdu = frame::refusal(Refusal { function, code: NO_SUCH_UNIT });
                    stream.write_all(&self.frame(&asked, asked.unit, &pdu)).await?;
                }
                continue;
            };
            let fault = faults.of(name);
            let (mut unit, mut fewer) = (asked.unit, false);
            match fault {
                Fault::None | Fault::Exception(_) => {}
                Fault::Silence => continue,
                Fault::Dead => return Ok(()),
                Fault::Delay(time) => sleep(time).await,
                Fault::WrongUnit => unit = unit.wrapping_add(1),
                Fault::Short => fewer = true,
                Fault::Garbage => {
                    stream.write_all(&garbage(asked.transaction)).await?;
                    continue;
                }
            }
            let refused = match fault {
                Fault::Exception(code) => Some(code),
                _ => None,
            };
            let pdu = answer(device, &asked.pdu, refused, fewer).unwrap_or_else(frame::refusal);
            stream.write_all(&self.frame(&asked, unit, &pdu)).await?;
        }
    }

    async fn receive(&self, stream: &mut BufReader<TcpStream>) -> io::Result<Asked> {
        let no_modbus = || io::Error::from(io::ErrorKind::InvalidData);
        match self.framing {
            Framing::Tcp => {
                let mut header = [0; HEADER_BYTES];
                stream.read_exact(&mut header).await?;
                let header = Header::parse(header).ok_or_else(no_modbus)?;
                let mut pdu = vec![0; header.pdu_bytes.min(MAX_PDU_BYTES)];
                stream.read_exact(&mut pdu).await?;
                Ok(Asked { transaction: header.transaction, unit: header.unit, pdu })
            }
            Framing::Rtu => {
                // All requests that read have this length; where another one ends cannot be known.
                let mut bytes = [0; 8];
                stream.read_exact(&mut bytes).await?;
                let [unit, pdu @ .., low, high] = bytes;
                let is_whole = crc(&bytes[..6]) == u16::from_le_bytes([low, high]);
                let asked = Asked { transaction: 0, unit, pdu: pdu.to_vec() };
                is_whole.then_some(asked).ok_or_else(no_modbus)
            }
        }
    }

    fn frame(&self, asked: &Asked, unit: u8, pdu: &[u8]) -> Vec<u8> {
        match self.framing {
            Framing::Tcp => frame::frame(asked.transaction, unit, pdu),
            Framing::Rtu => {
                let mut bytes = vec![unit];
                bytes.extend(pdu);
                bytes.extend(crc(&bytes).to_le_bytes());
                bytes
            }
        }
    }
}

/// The protocol data unit that answers one, or the exception.
fn answer(
    device: &Simulated,
    pdu: &[u8],
    refused: Option<u8>,
    fewer: bool,
) -> Result<Vec<u8>, Refusal> {
    let span = frame::request(pdu)?;
    let refuse = |code| Refusal { function: frame::function(span.kind()), code };
    if let Some(code) = refused {
        return Err(refuse(code));
    }
    let seconds = clock::now().0 as f64 / 1e6;
    let mut answer = device.read(span, seconds).map_err(refuse)?;
    if fewer {
        match &mut answer {
            Answer::Words(words) => drop(words.pop()),
            Answer::Bits(bits) => bits.truncate((bits.len() - 1) / 8 * 8),
        }
    }
    Ok(frame::answer(span.kind(), &answer))
}

/// The check of a serial frame (MSL 6.2.2): polynomial 0xA001, the low byte goes first.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte),
            |crc, _| {
                if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 }
            },
        )
    })
}

/// Bytes that are no answer: other ones for each request, the same in every run.
fn garbage(seed: u16) -> Vec<u8> {
    let mut state = u64::from(seed) ^ 0x9E37_79B9_7F4A_7C15;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let count = 1 + usize::from(byte() % 64);
    (0..count).map(|_| byte()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_of_a_serial_frame() {
        // MSL, appendix B: the characters 02 07 have the check 41 12.
        assert_eq!(crc(&[2, 7]).to_le_bytes(), [0x41, 0x12]);
    }
}
