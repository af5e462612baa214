//! The server, asked by tokio-modbus's client and by bare sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_modbus::client::{Context, Reader, Writer, tcp};
use tokio_modbus::{ExceptionCode, Slave};
use vigia_kit::shutdown::{Shutdown, Switch};
use vigia_modbus::limits::SERVER_CONNECTIONS_PER_ADDRESS;
use vigia_modbus::server::image::{Image, Newest};
use vigia_modbus::server::layout::{BLOCK, VALUE, VALUES};
use vigia_modbus::server::serve::{Counts, serve};
use vigia_protocol::header::{Place, SensorId};
use vigia_protocol::profile::{Number, Profile, Quantity};
use vigia_protocol::quality::Status;
use vigia_protocol::time::Micros;

struct Server {
    address: SocketAddr,
    image: Arc<Image>,
    counts: Arc<Counts>,
    switch: Option<Switch>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(allow: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let image = Arc::new(Image::new([(SensorId(7), wide())]));
        let counts = Arc::new(Counts::default());
        let (switch, shutdown) = Shutdown::new();
        let allow = allow.iter().map(|one| one.parse().unwrap()).collect();
        let serving = serve(listener, Arc::clone(&image), allow, Arc::clone(&counts), shutdown);
        Self { address, image, counts, switch: Some(switch), task: tokio::spawn(serving) }
    }

    async fn client(&self, unit: u8) -> Context {
        tcp::connect_slave(self.address, Slave(unit)).await.unwrap()
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Sixteen singles: a whole block.
fn wide() -> Arc<Profile> {
    let quantity = |index| Quantity {
        name: format!("q{index}"),
        unit: String::new(),
        number: Number::F32,
        range: None,
    };
    Arc::new(Profile::new("wide", (0..16).map(quantity).collect()).unwrap())
}

/// All values are the number.
fn reading(seq: u64) -> Newest {
    Newest {
        place: Place { stream: 1, seq },
        time: Micros(0),
        received: Micros(0),
        is_clock_synced: true,
        status: vec![Status::GOOD; 16],
        values: vec![seq as f64; 16],
    }
}

async fn is_closed(mut socket: TcpStream) -> bool {
    matches!(socket.read(&mut [0; 1]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn both_kinds_of_registers_show_the_same_and_nothing_else_is_done() {
    let server = Server::start(&["127.0.0.1"]).await;
    server.image.update(SensorId(7), &wide(), reading(5));
    for unit in [1, 0, 255] {
        let mut client = server.client(unit).await;
        let values = client.read_input_registers(700 + VALUES, 4).await.unwrap().unwrap();
        assert_eq!(values, [0x40A0, 0, 0, 0]);
        let same = client.read_holding_registers(700 + VALUES, 4).await.unwrap().unwrap();
        assert_eq!(same, values);
    }
    let mut client = server.client(1).await;
    let illegal_function = Some(ExceptionCode::IllegalFunction);
    assert_eq!(client.write_single_register(700, 1).await.unwrap().err(), illegal_function);
    assert_eq!(client.write_multiple_registers(700, &[1]).await.unwrap().err(), illegal_function);
    assert_eq!(client.write_single_coil(700, true).await.unwrap().err(), illegal_function);
    assert_eq!(client.read_coils(700, 1).await.unwrap().err(), illegal_function);
    let illegal_address = Some(ExceptionCode::IllegalDataAddress);
    assert_eq!(client.read_input_registers(699, 2).await.unwrap().err(), illegal_address);
    assert_eq!(client.read_input_registers(800, 1).await.unwrap().err(), illegal_address);
    let illegal_value = Some(ExceptionCode::IllegalDataValue);
    assert_eq!(client.read_input_registers(700, 126).await.unwrap().err(), illegal_value);
    assert_eq!(client.read_input_registers(700, 0).await.unwrap().err(), illegal_value);
    assert_eq!(server.counts.exceptions.load(Relaxed), 8);
    assert_eq!(server.counts.requests.load(Relaxed), 14);
}

#[tokio::test]
async fn a_stranger_is_not_answered() {
    let server = Server::start(&["10.0.0.0/8", "::1"]).await;
    assert!(is_closed(server.socket().await).await);
    assert_eq!(server.counts.strangers.load(Relaxed), 1);
    assert_eq!(server.counts.connections.load(Relaxed), 0);
}

#[tokio::test]
async fn there_is_room_for_so_many_and_again_when_one_has_gone() {
    let server = Server::start(&["127.0.0.1"]).await;
    let mut inside = Vec::new();
    for _ in 0..SERVER_CONNECTIONS_PER_ADDRESS {
        let mut client = server.client(1).await;
        client.read_input_registers(700, 1).await.unwrap().unwrap();
        inside.push(client);
    }
    assert!(is_closed(server.socket().await).await);
    assert_eq!(server.counts.crowded_out.load(Relaxed), 1);
    inside.pop();
    // The server hears of it a moment later.
    while server.client(1).await.read_input_registers(700, 1).await.is_err() {}
}

#[tokio::test]
async fn a_read_never_mixes_two_readings() {
    let server = Server::start(&["127.0.0.1"]).await;
    server.image.update(SensorId(7), &wide(), reading(1));
    let image = Arc::clone(&server.image);
    let writing = std::thread::spawn(move || {
        let profile = wide();
        for seq in 2..200_000 {
            image.update(SensorId(7), &profile, reading(seq));
        }
    });
    let mut client = server.client(1).await;
    let mut seen = std::collections::BTreeSet::new();
    while !writing.is_finished() {
        let words = client.read_input_registers(700, BLOCK).await.unwrap().unwrap();
        let values = words[VALUES.into()..].chunks(VALUE.into()).map(|slot| [slot[0], slot[1]]);
        let values: Vec<[u16; 2]> = values.collect();
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        seen.insert(values[0]);
    }
    writing.join().unwrap();
    assert!(seen.len() > 1, "it was written between two reads");
}

#[tokio::test]
async fn requests_may_come_in_pieces_and_several_at_once() {
    let server = Server::start(&["127.0.0.1"]).await;
    let mut socket = server.socket().await;
    let request = |transaction: u8| [0, transaction, 0, 0, 0, 6, 1, 4, 2, 0xBC, 0, 1];
    for byte in request(1) {
        socket.write_all(&[byte]).await.unwrap();
    }
    socket.write_all(&[request(2), request(3)].concat()).await.unwrap();
    for transaction in 1..=3 {
        let mut answer = [0; 11];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0, transaction, 0, 0, 0, 5, 1, 4, 2, 0, 2], "quality: bad");
    }
}

#[tokio::test]
async fn what_is_not_modbus_is_hung_up_on() {
    let server = Server::start(&["127.0.0.1"]).await;
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0, 1, 0, 0, 0, 1, 1], &[0, 1, 0, 0, 1, 0, 1]] {
        let mut socket = server.socket().await;
        socket.write_all(bytes).await.unwrap();
        assert!(is_closed(socket).await, "{bytes:?}");
    }
}

#[tokio::test]
async fn the_end_ends_connections_too() {
    let mut server = Server::start(&["127.0.0.1"]).await;
    let mut client = server.client(1).await;
    client.read_input_registers(700, 1).await.unwrap().unwrap();
    server.switch.take().unwrap().end();
    server.task.await.unwrap();
    assert!(client.read_input_registers(700, 1).await.is_err());
}
