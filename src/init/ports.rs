//! Ports that are free on this machine.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use vigia_kit::clock;

/// Below the range from which Linux takes the ports of outgoing connections, and above what services
/// register: chosen at random, so that sites made at the same time do not meet.
const RANGE: std::ops::RangeInclusive<u16> = 20_000..=32_000;
const ATTEMPTS: usize = 1_000;

/// The ports of a site.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Sensors.
    pub sensors: u16,
    /// MQTT clients.
    pub mqtt: u16,
    /// MQTT clients by TLS.
    pub mqtt_tls: u16,
    /// The broker's metrics.
    pub metrics: u16,
    /// The API.
    pub api: u16,
    /// Modbus clients.
    pub modbus: u16,
    /// The modbus role's metrics.
    pub modbus_metrics: u16,
    /// Metrics of verify, transform, store and alert.
    pub roles: [u16; 4],
}

/// Different ports to which nothing is bound now.
///
/// # Errors
/// If there are none.
pub fn free() -> io::Result<Ports> {
    let [sensors, mqtt, mqtt_tls, metrics, api, modbus, modbus_metrics, a, b, c, d] = find()?;
    let roles = [a, b, c, d];
    Ok(Ports { sensors, mqtt, mqtt_tls, metrics, api, modbus, modbus_metrics, roles })
}

/// As many as are asked for.
///
/// # Errors
/// If there are not so many.
pub fn find<const N: usize>() -> io::Result<[u16; N]> {
    // All are held until all are found, so that they differ.
    let mut held: Vec<TcpListener> = Vec::new();
    let mut ports = [0; N];
    let mut last_error = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        if held.len() == N {
            return Ok(ports);
        }
        let span = RANGE.end() - RANGE.start() + 1;
        let port = RANGE.start() + u16::from_le_bytes(clock::random()) % span;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => {
                ports[held.len()] = port;
                held.push(listener);
            }
            Err(error) => last_error = error,
        }
    }
    Err(last_error)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ports_are_different_and_within_the_range() {
        let ports = find::<11>().unwrap();
        assert!(ports.iter().all(|port| RANGE.contains(port)));
        assert_eq!(BTreeSet::from(ports).len(), ports.len());
    }
}
