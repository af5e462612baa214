//! What polling costs: 1,000 registers of 50 devices every second, 5 of the devices dead, each reading written to a spool.
//!
//! `cargo run --release -p vigia-modbus --example load [SECONDS]` prints the share of one core that polling and the spool take, and
//! how late readings are: from when a poll was due until its reading is there. The devices are another process.

use std::future::{Ready, ready};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_modbus::server::{Service, tcp};
use tokio_modbus::{ExceptionCode, Request, Response};
use vigia_disk::Unsynced;
use vigia_modbus::limits::SPOOL_BYTES_PER_DEVICE;
use vigia_modbus::map::{Device, Map};
use vigia_modbus::poll::{Poller, Sample};
use vigia_modbus::spool::{Keeper, Spool};
use vigia_protocol::held::Held;
use vigia_protocol::profile::{Number, Profile, Profiles, Quantity};
use vigia_protocol::reading::{Flags, Reading};
use vigia_protocol::time::Micros;

const DEVICES: usize = 50;
const DEAD: usize = 5;
/// A profile has 16 quantities at most: 4 of two registers, and 12 of one.
const REGISTERS: usize = 20;
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone)]
struct Answering;

impl Service for Answering {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Ready<std::result::Result<Response, ExceptionCode>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        ready(match request {
            Request::ReadHoldingRegisters(_, count) => {
                Ok(Response::ReadHoldingRegisters(vec![7; count.into()]))
            }
            _ => Err(ExceptionCode::IllegalFunction),
        })
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let argument = std::env::args().nth(1);
    if argument.as_deref() == Some("devices") {
        return be_devices().await;
    }
    let seconds: u64 = argument.map_or(Ok(30), |text| text.parse()).context("SECONDS")?;
    let (mut child, ports) = start_devices()?;
    let measured = measure(&devices(&ports)?, Duration::from_secs(seconds)).await;
    child.kill()?;
    child.wait()?;
    measured
}

async fn measure(devices: &[Device], time: Duration) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (spool, _) = Spool::open(directory.path(), Unsynced::Kernel)?;
    let (keeper, _writer) = spool.serve()?;
    let late: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let before = cpu_seconds()?;
    let begin = Instant::now();
    for (nth, device) in (0..).zip(devices) {
        let first = begin + INTERVAL * nth / DEVICES as u32;
        tokio::spawn(poll(device.clone(), first, keeper.clone(), Arc::clone(&late)));
    }
    tokio::time::sleep(time).await;
    let cpu = (cpu_seconds()? - before) / begin.elapsed().as_secs_f64();
    let mut late = late.lock().expect("nobody panics").clone();
    late.sort();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!("registers every second  {}", DEVICES * REGISTERS);
    println!("devices                 {DEVICES}, of which dead {DEAD}");
    println!("good readings           {}", late.len());
    println!("share of a core         {:.1} %", 100.0 * cpu);
    println!(
        "late, ms                p50 {:.2}, p99 {:.2}, most {:.2}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

async fn poll(device: Device, first: Instant, keeper: Keeper, late: Arc<Mutex<Vec<Duration>>>) {
    let (sender, mut samples) = tokio::sync::mpsc::unbounded_channel();
    let (sensor, profile) = (device.sensor, device.profile.clone());
    let each = move |sample: Sample| {
        let was_late = sample.due.elapsed();
        if sample.values.iter().all(std::result::Result::is_ok) {
            late.lock().expect("nobody panics").push(was_late);
        }
        let _ = sender.send(sample);
    };
    tokio::spawn(Poller::new(device).run(first, each));
    let mut held = Held::new(SPOOL_BYTES_PER_DEVICE);
    while let Some(sample) = samples.recv().await {
        let mut bytes = Vec::new();
        let (time, status) = (Micros(0), sample.status());
        let reading =
            Reading { time, flags: Flags::CLOCK_SYNCED, status, values: sample.numbers() };
        reading.encode(&profile, &mut bytes);
        let mut changes = Vec::new();
        held.take(&bytes, &mut changes);
        let Ok(done) = keeper.keep(sensor, changes, false).await else { return };
        let _ = done.await;
    }
}

fn devices(ports: &[u16]) -> Result<Vec<Device>> {
    let quantity = |nth: usize| Quantity {
        name: format!("q{nth}"),
        unit: String::new(),
        number: Number::F64,
        range: None,
    };
    let mut profiles = Profiles::default();
    profiles.insert(Profile::new("wide", (0..16).map(quantity).collect())?);
    let point = |nth: usize| {
        let (address, kind) = if nth < 4 { (2 * nth, "u32") } else { (4 + nth, "u16") };
        format!(
            "[[device.point]]\nquantity = \"q{nth}\"\nkind = \"holding\"\naddress = {address}\ntype = \"{kind}\"\n"
        )
    };
    let points: String = (0..16).map(point).collect();
    let device = |(nth, port): (usize, &u16)| {
        format!(
            "[[device]]\nname = \"device-{nth}\"\ntransport = {{ tcp = \"127.0.0.1:{port}\" }}\nunit = 1\n\
             interval_ms = 1000\nsensor = {nth}\nprofile = \"wide\"\n{points}"
        )
    };
    let text: String = ports.iter().enumerate().map(device).collect();
    Ok(Map::parse("load", &text, &profiles)?.devices().to_vec())
}

/// Prints the ports of all, of which the last ones take connections and never answer.
async fn be_devices() -> Result<()> {
    let mut silent = Vec::new();
    for nth in 0..DEVICES {
        let socket = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", socket.local_addr()?.port());
        if nth >= DEVICES - DEAD {
            silent.push(socket);
            continue;
        }
        tokio::spawn(async move {
            let accept = |stream, _| ready(Ok(Some((Answering, stream))));
            tcp::Server::new(socket).serve(&accept, |_| ()).await
        });
    }
    std::future::pending().await
}

fn start_devices() -> Result<(Child, Vec<u16>)> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = command.arg("devices").stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("a pipe")?;
    let ports = BufReader::new(output).lines().take(DEVICES).map(|line| Ok(line?.parse()?));
    let ports = ports.collect::<Result<Vec<u16>>>()?;
    Ok((child, ports))
}

/// Of this process so far, in the kernel and outside.
fn cpu_seconds() -> Result<f64> {
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').context("a process has a name")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / ticks_per_second)
}
