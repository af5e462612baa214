//! How many reads a second the server answers: `cargo run --release -p vigia-modbus --example reads [SECONDS]`.
//!
//! Eight clients, each on a connection of its own, read the block of a sensor as fast as it is answered or as the limit of a
//! connection allows, while every sensor's reading is replaced ten times a second.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vigia_kit::clock;
use vigia_kit::network::Network;
use vigia_kit::shutdown::Shutdown;
use vigia_modbus::server::frame;
use vigia_modbus::server::image::{Image, Newest};
use vigia_modbus::server::layout::{BLOCK, block_of};
use vigia_modbus::server::serve::{Counts, serve};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::profile::Profile;
use vigia_protocol::quality::Status;

const CLIENTS: i16 = 8;
const SENSORS: i16 = 50;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(5);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let climate = Arc::new(Profile::climate());
    let image = Arc::new(Image::new((0..SENSORS).map(|id| (SensorId(id), Arc::clone(&climate)))));
    let (_switch, shutdown) = Shutdown::new();
    let allow = vec![Network::of(Ipv4Addr::LOCALHOST.into())];
    tokio::spawn(serve(listener, Arc::clone(&image), allow, Arc::<Counts>::default(), shutdown));
    tokio::spawn(async move {
        for seq in 1.. {
            let now = clock::now();
            let newest = Newest {
                place: Place { stream: 1, seq },
                time: now,
                received: now,
                is_clock_synced: true,
                status: vec![Status::GOOD; 3],
                values: vec![21.5, 1013.25, 40.0],
            };
            (0..SENSORS).for_each(|id| image.update(SensorId(id), &climate, newest.clone()));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|id| {
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (unit, start) = block_of(SensorId(id));
                let [high, low] = start.to_be_bytes();
                let request = frame::frame(1, unit, &[4, high, low, 0, BLOCK as u8]);
                let mut answer = [0; frame::HEADER_BYTES + 2 + 2 * BLOCK as usize];
                let mut reads = 0_u64;
                while Instant::now() < end {
                    stream.write_all(&request).await?;
                    stream.read_exact(&mut answer).await?;
                    reads += 1;
                }
                std::io::Result::Ok(reads)
            })
        })
        .collect();
    let mut reads = 0;
    for client in clients {
        reads += client.await??;
    }
    println!(
        "{} reads/s of {BLOCK} registers, {CLIENTS} connections, {seconds} s",
        reads / seconds
    );
    Ok(())
}
