//! What is done to the network.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Scene, Wires};
use crate::proxy::{BOTH, Link, Proxy, Tampering, Way};
use crate::wait;

/// Closing a connection over which nonsense came takes no longer, with the bytes it waits for.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// What sensors took meanwhile is delivered.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// Which connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Of sensors to the broker; they are named by their numbers.
    Sensors,
    /// Of roles to the broker; they are named by their client ids.
    Bus,
}

impl Wires {
    fn proxy(&self, wire: Wire) -> &Proxy {
        match wire {
            Wire::Sensors => &self.sensors,
            Wire::Bus => &self.bus,
        }
    }
}

impl Scene {
    fn proxy(&self, wire: Wire) -> &Proxy {
        let wires = self.wires.as_ref().expect("the drill's settings name a proxy");
        wires.proxy(wire)
    }

    /// Nothing comes through these ways any more, and nobody is told.
    ///
    /// # Errors
    /// If there is no such connection.
    pub fn cut(&mut self, wire: Wire, whose: &[&str], ways: &[Way]) -> anyhow::Result<()> {
        self.fault_comes()?;
        let proxy = self.proxy(wire);
        let links: usize = whose.iter().map(|whose| proxy.links(whose).len()).sum();
        ensure!(links > 0, "nobody is connected as {whose:?}");
        whose.iter().for_each(|whose| proxy.hold(whose, ways));
        self.saw(format!("{links} connections of {wire:?} {whose:?} cut: {ways:?}"));
        Ok(())
    }

    /// The network is as it should be again. Recovery counts from here.
    ///
    /// # Errors
    /// What the file system says.
    pub fn heal(&mut self) -> anyhow::Result<()> {
        for wire in [Wire::Sensors, Wire::Bus] {
            self.proxy(wire).clear_up();
        }
        self.repaired();
        self.say("the network is whole again");
        Ok(())
    }

    /// Everything takes so long to arrive.
    pub fn delay_everything(&mut self, latency: Duration) {
        for wire in [Wire::Sensors, Wire::Bus] {
            self.proxy(wire).delay(latency);
        }
        self.say(&format!("every byte is {latency:?} under way"));
    }

    /// Resets one connection that the seed chooses. Returns whether there was any.
    pub fn reset_any(&mut self, wire: Wire) -> bool {
        let links = self.proxy(wire).links("");
        if links.is_empty() {
            return false;
        }
        let link = &links[self.random.below(links.len())];
        link.reset();
        let name = link.name().to_owned();
        self.say(&format!("reset {wire:?} {name}"));
        true
    }

    /// How many connections there have been.
    pub fn connections(&self, wire: Wire) -> usize {
        self.proxy(wire).connections()
    }

    /// A connection that there is.
    ///
    /// # Errors
    /// If there is none.
    pub async fn link(&self, wire: Wire, whose: &str) -> anyhow::Result<Arc<Link>> {
        let what = || format!("{whose} is connected");
        let answers = |link: &Arc<Link>| !link.recorded(Way::Down).is_empty();
        wait::until(DELIVERED_WITHIN, what, async || {
            Ok(self.proxy(wire).links(whose).into_iter().find(answers))
        })
        .await
    }

    /// Neither side of these connections hears of the other again. Waits until both have given them up:
    /// who had connected within `there`, the broker within `here`.
    ///
    /// # Errors
    /// If one does not, or later.
    pub async fn vanish(
        &mut self,
        wire: Wire,
        whose: &str,
        there: Duration,
        here: Duration,
    ) -> anyhow::Result<()> {
        self.link(wire, whose).await?;
        let links = self.proxy(wire).links(whose);
        self.fault_comes()?;
        links.iter().for_each(|link| link.vanish());
        let begun = Instant::now();
        let ended = |way| links.iter().filter(|link| link.ended(way).is_some()).count();
        let what = || {
            let (up, down) = (ended(Way::Up), ended(Way::Down));
            format!("{} connections of {whose} are given up: {up} there, {down} here", links.len())
        };
        wait::until(there.max(here) * 2, what, async || {
            Ok(BOTH.iter().all(|way| ended(*way) == links.len()).then_some(()))
        })
        .await?;
        for link in &links {
            let after = |way| link.ended(way).map_or(Duration::MAX, |end| end - begun);
            let (by_itself, by_broker) = (after(Way::Up), after(Way::Down));
            let words = format!(
                "{whose} ({}) vanished without a word: given up by itself after {:.1} s, by the broker \
                 after {:.1} s",
                link.name(),
                by_itself.as_secs_f64(),
                by_broker.as_secs_f64()
            );
            let in_time = by_itself <= there && by_broker <= here;
            ensure!(in_time, "{words}; expected {there:?} and {here:?} at most");
            self.saw(words);
        }
        self.repaired();
        Ok(())
    }

    /// Does that to the next bytes of a connection, and waits until it is closed for that.
    ///
    /// # Errors
    /// If it is not.
    pub async fn tamper(
        &mut self,
        whose: &str,
        way: Way,
        tampering: Tampering,
    ) -> anyhow::Result<()> {
        let link = self.link(Wire::Sensors, whose).await?;
        self.fault_comes()?;
        let words = format!("sensor {whose}, {way:?}: {}", describe(&tampering));
        link.tamper(way, tampering);
        let what = || format!("the connection is closed for it ({words})");
        wait::until(CLOSED_WITHIN, what, async || {
            let closed = BOTH.iter().any(|way| link.ended(*way).is_some());
            Ok((closed && link.is_tampered()).then_some(()))
        })
        .await?;
        self.repaired();
        self.saw(format!("{words}; the connection was closed"));
        Ok(())
    }

    /// What sensors have taken since the fault is delivered so many times faster than it came.
    ///
    /// # Errors
    /// If it is slower.
    pub async fn backlog_drains(&mut self, times: f64) -> anyhow::Result<()> {
        let crate::load::Rate { sensors, hertz } = self.drill.load;
        let live = f64::from(sensors) * f64::from(hertz);
        let backlog = (self.repair - self.fault).as_secs_f64() * live;
        self.load.catch_up()?;
        let before = self.load.acknowledgements();
        let mut first = None;
        let load = &mut self.load;
        let what = || format!("{backlog:.0} readings are delivered");
        let took = wait::until(DELIVERED_WITHIN, what, async || {
            load.catch_up()?;
            let delivered = load.acknowledgements() - before;
            if delivered > 0 && first.is_none() {
                first = Some(Instant::now());
            }
            let done = delivered as f64 >= backlog;
            Ok(first.filter(|_| done).map(|first| first.elapsed()))
        })
        .await?;
        let rate = backlog / took.as_secs_f64().max(1e-3);
        let words = format!(
            "a backlog of {backlog:.0} readings delivered in {:.2} s: {:.1} times the live rate",
            took.as_secs_f64(),
            rate / live
        );
        ensure!(rate >= times * live, "{words}, expected {times} times");
        self.saw(words);
        Ok(())
    }

    /// Plays a connection that the sensor really had to the broker's sensor port. Returns what was
    /// answered.
    ///
    /// # Errors
    /// If the broker does not close it.
    pub async fn replay(&mut self, bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let ingress = self.site.addresses().context("the site has no addresses")?.sensor;
        let mut stream = tokio::net::TcpStream::connect(ingress).await?;
        // HELLO first, as it was; the rest when it has been answered, or the whole is too much at once.
        let (hello, rest) = bytes.split_at(58.min(bytes.len()));
        stream.write_all(hello).await?;
        let mut answer = vec![0; 4096];
        let read = tokio::time::timeout(CLOSED_WITHIN, stream.read(&mut answer)).await;
        answer.truncate(read.context("HELLO is not answered")??);
        // Closed in the middle of it, most likely.
        let _ = stream.write_all(rest).await;
        let mut more = Vec::new();
        let closed = tokio::time::timeout(CLOSED_WITHIN, stream.read_to_end(&mut more)).await;
        // A reset is an end, too.
        let _ = closed.context("a replayed connection is not closed")?;
        answer.extend(more);
        Ok(answer)
    }
}

fn describe(tampering: &Tampering) -> String {
    match tampering {
        Tampering::Flip(bit) => format!("bit {bit} turned over"),
        Tampering::Insert(bytes) => format!("{} recorded bytes put in", bytes.len()),
    }
}
