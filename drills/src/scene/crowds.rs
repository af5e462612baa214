//! Crowds at the ports, while sensors are to be served.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use jiff::Timestamp;
use vigia_kit::site::Role;
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::message::Hello;

use super::Scene;
use crate::crowd::{Borne, Crowd, allow_connections, babble, crawl, flood};
use crate::random::Random;
use crate::roster::Pids;

/// Between two looks for new acknowledgements.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long acknowledgements are looked at before anybody comes.
const CALM: Duration = Duration::from_secs(2);
/// Bytes that follow a HELLO of a flood, as if they were frames.
const JUNK_BYTES: usize = 2_000;
/// A sensor that nobody has registered.
const NOBODY: SensorId = SensorId(32_000);
/// The user for people, as `vigia init` makes it.
const USER: &str = "inspector";

/// How old newest readings were when they were seen to be acknowledged.
struct Ages(Vec<Duration>);

impl std::fmt::Display for Ages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut all = self.0.clone();
        all.sort_unstable();
        let at = |share: usize| {
            all.get((all.len().max(1) - 1) * share / 100).map_or(0, Duration::as_millis)
        };
        write!(f, "p50 {} ms, p99 {} ms", at(50), at(99))
    }
}

/// A port, and what is said there, the beginning first.
struct Port {
    name: &'static str,
    address: SocketAddr,
    said: Vec<Vec<u8>>,
}

impl Scene {
    /// So many connections with junk from one address at the sensor port.
    ///
    /// # Errors
    /// If they cannot be made.
    pub async fn is_flooded(&mut self, connections: usize, time: Duration) -> anyhow::Result<()> {
        allow_connections(connections)?;
        let address = self.site.addresses().context("the site has no addresses")?.sensor;
        let before = self.ages_of_acknowledged(CALM).await?;
        self.fault_comes()?;
        let mut random = Random::new(self.seed());
        let junk = move || {
            let mut bytes = stranger();
            bytes.extend((0..JUNK_BYTES).map(|_| random.below(256) as u8));
            bytes
        };
        let crowd = Crowd::begin(move |enough| flood(address, connections, junk, enough));
        let during = self.ages_of_acknowledged(time).await?;
        let done = crowd.end()?;
        let words = format!(
            "{} connections and {} MB of junk from one address in {time:?}, {} turned away; readings were \
             acknowledged at the age of {before} before, {during} during",
            done.connections,
            done.bytes / 1_000_000,
            done.turned_away
        );
        ensure!(done.connections >= connections as u64, "{words}: expected {connections} at least");
        self.saw(words);
        self.repaired();
        Ok(())
    }

    async fn ages_of_acknowledged(&mut self, time: Duration) -> anyhow::Result<Ages> {
        let begun = Instant::now();
        let mut ages = Ages(Vec::new());
        self.listen()?;
        let mut before = self.load.fronts();
        while begun.elapsed() < time {
            tokio::time::sleep(LOOK_EVERY).await;
            self.listen()?;
            let now = Timestamp::now().as_microsecond();
            let fronts = self.load.fronts();
            for ((id, (stream, below)), old) in fronts.iter().zip(&before) {
                let sent = || {
                    let truth = self.load.truth(*id)?;
                    truth.sent.get(&(*stream, below.checked_sub(1)?))
                };
                if let Some(newest) = sent().filter(|_| old.1 != (*stream, *below)) {
                    let age = now.saturating_sub(newest.time).max(0);
                    ages.0.push(Duration::from_micros(age.unsigned_abs()));
                }
            }
            before = fronts;
        }
        Ok(ages)
    }

    /// So many connections at every port that say a byte a second. All must be closed in time.
    ///
    /// # Errors
    /// If one is not, or others are not answered meanwhile.
    pub async fn is_crawled_upon(&mut self, each: usize, within: Duration) -> anyhow::Result<()> {
        let ports = self.ports()?;
        allow_connections(each * ports.len())?;
        self.fault_comes()?;
        let mut crowds = Vec::new();
        for Port { name, address, .. } in ports {
            let beginning = beginning(name);
            let crowd = Crowd::begin(move |enough| crawl(address, each, &beginning, enough));
            crowds.push((name, crowd));
        }
        let begun = Instant::now();
        while begun.elapsed() < within && crowds.iter().any(|(_, crowd)| !crowd.is_over()) {
            self.api
                .ledger()
                .await
                .context("while slow ones are there, the API does not answer")?;
            self.load_goes_on_for(Duration::from_millis(200)).await?;
        }
        self.repaired();
        for (name, crowd) in crowds {
            let Borne { longest, left } = crowd.end()?;
            let words = format!(
                "{each} connections of a byte a second at the port {name}: closed within {:.1} s, {left} \
                 left",
                longest.as_secs_f64()
            );
            ensure!(left == 0, "{words} after {within:?}");
            self.saw(words);
        }
        Ok(())
    }

    /// What is nearly right, at every port, for so long.
    ///
    /// # Errors
    /// If there is no such port.
    pub async fn is_babbled_at(&mut self, time: Duration) -> anyhow::Result<()> {
        let ports: Vec<_> =
            self.ports()?.into_iter().map(|port| (port.address, port.said)).collect();
        let count = ports.len();
        self.fault_comes()?;
        let seed = self.seed();
        let crowd = Crowd::begin(move |enough| babble(&ports, seed, enough));
        self.load_goes_on_for(time).await?;
        let sent = crowd.end()?;
        self.repaired();
        ensure!(sent > 0, "nothing could be sent to any of {count} ports");
        self.saw(format!("{sent} mutated messages to {count} ports in {time:?}"));
        Ok(())
    }

    /// Every port with what is said there.
    fn ports(&self) -> anyhow::Result<Vec<Port>> {
        let addresses = self.site.addresses().context("the site has no addresses")?;
        let password = self.site.file(&format!("keys/{USER}/password"));
        let password = fs::read_to_string(&password).context("the inspector has no password")?;
        let text = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        let web: Vec<Vec<u8>> = text(&[
            "GET /api/v1/ledger HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "GET /api/v1/sensors/1/readings?limit=10&cursor=1.2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n",
            "POST /api/v1/quarantine HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n0\r\n\r\n",
        ]);
        let mut frames = vec![stranger()];
        frames.push([stranger(), vec![0x5a; 300]].concat());
        Ok(vec![
            Port { name: "sensor", address: addresses.sensor, said: frames },
            Port { name: "mqtt", address: addresses.mqtt, said: mqtt(password.trim()) },
            Port { name: "api", address: addresses.api, said: web.clone() },
            Port { name: "metrics", address: addresses.metrics, said: web },
        ])
    }

    /// Every role is the process it was.
    ///
    /// # Errors
    /// If one is not.
    pub fn nobody_has_died(&mut self, before: &Pids) -> anyhow::Result<()> {
        let now = self.system.pids();
        ensure!(now == *before, "roles are not the processes they were: {before:?}, now {now:?}");
        self.say("every role is the process it was");
        Ok(())
    }

    /// No role has ever had more memory than this.
    ///
    /// # Errors
    /// If one has.
    pub fn all_memory_stays_below(&mut self, bytes: u64) -> anyhow::Result<()> {
        Role::ALL.into_iter().try_for_each(|role| self.memory_stays_below(role, bytes))
    }
}

/// A HELLO whose tag fits nothing.
fn stranger() -> Vec<u8> {
    let hello = Hello {
        sensor: NOBODY,
        epoch: 1,
        oldest: Place { stream: 1, seq: 1 },
        nonce: [7; 16],
        lowest: 1,
        highest: 1,
    };
    [hello.encode(), vec![0; 16]].concat()
}

/// What a slow one says at this port again and again, without an end.
fn beginning(port: &str) -> Vec<u8> {
    match port {
        "sensor" => stranger(),
        "mqtt" => b"\x10\x7f\x00\x04MQTT\x04\x02\x00\x3c\x00\x70slow".to_vec(),
        _ => b"GET /metrics HTTP/1.1\r\nX: a\r\nY: b".to_vec(),
    }
}

/// Packets as an MQTT client sends them, the login first.
fn mqtt(password: &str) -> Vec<Vec<u8>> {
    let text = |text: &str| [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    let packet = |first: u8, body: Vec<u8>| {
        let length = body.len();
        let digits = if length < 128 {
            vec![length as u8]
        } else {
            vec![(length % 128) as u8 | 0x80, (length / 128) as u8]
        };
        [vec![first], digits, body].concat()
    };
    let connect =
        [text("MQTT"), vec![4, 0b1100_0010, 0, 60], text("fuzz"), text(USER), text(password)];
    vec![
        packet(0x10, connect.concat()),
        packet(0x30, [text("vigia/v1/raw/plant"), b"zero".to_vec()].concat()),
        packet(0x32, [text("vigia/v1/text/plant"), vec![0, 9], b"one".to_vec()].concat()),
        packet(0x82, [vec![0, 2], text("vigia/v1/#"), vec![1]].concat()),
        packet(0x82, [vec![0, 3], text("$share/g/vigia/+"), vec![2]].concat()),
        packet(0xa2, [vec![0, 5], text("vigia/v1/#")].concat()),
        packet(0x40, vec![0, 1]),
        packet(0xc0, Vec::new()),
        packet(0xe0, Vec::new()),
    ]
}
