//! Ports: free, or held by the role they are for. Only looked at: binding them to try would keep a role that starts
//! at that moment from it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use vigia_kit::site::{Role, Site};

use super::check::Check;
use super::processes::Processes;

/// The state of a listening socket in /proc/net/tcp.
const LISTEN: &str = "0A";

/// A listening socket of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    inode: u64,
}

/// One check for each address that the site's roles listen at.
pub fn checks(site: &Site, processes: &Processes) -> Vec<Check> {
    let broker = &site.config.broker;
    let wanted = [
        ("sensors", Role::Broker, Some(broker.sensors)),
        ("mqtt", Role::Broker, Some(broker.mqtt)),
        ("mqtt_tls", Role::Broker, broker.mqtt_tls),
        ("metrics", Role::Broker, Some(broker.metrics)),
        ("api", Role::Store, Some(site.config.store.api)),
    ];
    let listeners = match listeners() {
        Ok(listeners) => listeners,
        Err(error) => {
            let found = format!("cannot read /proc/net/tcp: {error}");
            return vec![Check::warn("ports", found, "'ss -ltn' may show who has them")];
        }
    };
    let present =
        wanted.into_iter().filter_map(|(name, role, address)| Some((name, role, address?)));
    present
        // Role elsewhere, port elsewhere.
        .filter(|(_, role, _)| site.keys_dir(*role).exists())
        .map(|(name, role, address)| check(name, role, address, &listeners, processes))
        .collect()
}

fn check(
    name: &str,
    role: Role,
    address: SocketAddr,
    listeners: &[Listener],
    processes: &Processes,
) -> Check {
    let check = format!("port {name}");
    let role_name = role.name();
    let holders: Vec<&Listener> =
        listeners.iter().filter(|listener| meet(listener.address, address)).collect();
    let pid = processes.pid(role);
    let own = |listener: &&&Listener| {
        pid.is_some_and(|pid| processes.has_socket(pid, listener.inode) != Some(false))
    };
    if address.port() == 0 {
        return Check::ok(check, format!("{address}: any free port"));
    }
    if let Some(other) = holders.iter().find(|holder| !own(holder)) {
        let port = address.port();
        return Check::fail(
            check,
            format!("{address} is taken: another program listens at {}", other.address),
            format!("end it ('ss -ltnp sport = :{port}' names it), or change vigia.toml"),
        );
    }
    if !holders.is_empty() {
        return Check::ok(check, format!("{address}, held by {role_name}"));
    }
    if let Err(error) = TcpListener::bind((address.ip(), 0)) {
        return Check::fail(
            check,
            format!("{} is no address of this machine: {error}", address.ip()),
            "change vigia.toml, or give this machine the address",
        );
    }
    match pid {
        None => Check::ok(check, format!("{address} is free")),
        Some(pid) => Check::warn(
            check,
            format!("nobody listens at {address}, although {role_name} runs (process {pid})"),
            "read its log; if vigia.toml was changed, start it again",
        ),
    }
}

/// Whether one of these listeners keeps the other from its port.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = |ip: IpAddr| ip.is_unspecified();
    let same = one.ip().to_canonical() == other.ip().to_canonical();
    one.port() == other.port() && (same || everywhere(one.ip()) || everywhere(other.ip()))
}

fn listeners() -> std::io::Result<Vec<Listener>> {
    let mut text = fs::read_to_string("/proc/net/tcp")?;
    // A machine may have no IPv6.
    text.push_str(&fs::read_to_string("/proc/net/tcp6").unwrap_or_default());
    Ok(text.lines().filter_map(listener).collect())
}

/// A line of /proc/net/tcp or tcp6, if it is about a listening socket.
fn listener(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, LISTEN, _, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
    let (ip, port) = local.split_once(':')?;
    // Words of 32 bits, each as the machine's own number.
    let words: Option<Vec<[u8; 4]>> = (0..ip.len() / 8)
        .map(|word| u32::from_str_radix(ip.get(8 * word..8 * word + 8)?, 16).ok())
        .map(|word| word.map(u32::to_ne_bytes))
        .collect();
    let words = words?;
    let ip: IpAddr = match words.as_slice() {
        [word] => Ipv4Addr::from(*word).into(),
        [_, _, _, _] => Ipv6Addr::from(<[u8; 16]>::try_from(words.concat()).ok()?).into(),
        _ => return None,
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listener { address: SocketAddr::new(ip, port), inode: inode.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn what_listens_is_found() {
        for ip in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(bound) = TcpListener::bind(ip) else { continue };
            let bound = bound.local_addr().map(|address| (bound, address)).unwrap();
            let found = listeners().unwrap();
            assert!(found.iter().any(|listener| listener.address == bound.1), "{found:?}");
        }
        assert_eq!(listener("sl local_address rem_address st tx_queue"), None);
    }

    #[test]
    fn listeners_meet_at_one_address_or_where_one_is_everywhere() {
        let meets = |one: &str, other: &str| meet(address(one), address(other));
        assert!(meets("127.0.0.1:9", "127.0.0.1:9"));
        assert!(meets("0.0.0.0:9", "127.0.0.1:9") && meets("127.0.0.1:9", "[::]:9"));
        assert!(!meets("127.0.0.1:9", "127.0.0.2:9") && !meets("0.0.0.0:9", "0.0.0.0:10"));
    }
}
