//! A poller against devices on sockets: those of tokio-modbus, and some that answer what they like.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_modbus::server::{Service, rtu_over_tcp, tcp};
use tokio_modbus::{ExceptionCode, Request, Response};
use vigia_modbus::link::Trouble;
use vigia_modbus::map::{Device, Map};
use vigia_modbus::poll::{Poller, Sample};
use vigia_protocol::profile::{Number, Profile, Profiles, Quantity};
use vigia_protocol::quality::{Quality, Status};

/// Of a device whose registers hold their own address.
const FOUR: &str = r#"
unit = 7
interval_ms = 1000
timeout_ms = 1000
sensor = 1
profile = "four"
point = [
  { quantity = "coil", reference = "00004", type = "bool" },
  { quantity = "contact", kind = "discrete", address = 2, type = "bool" },
  { quantity = "input", reference = "30101", type = "u16", scale = 0.5 },
  { quantity = "holding", reference = "40011", type = "u32", order = "CDAB" },
]
"#;

const HEALTHY: u8 = 0;
const SILENT: u8 = 1;
const NO_INPUTS: u8 = 2;
const SHORT_INPUTS: u8 = 3;

#[derive(Clone, Default)]
struct Simulated(Arc<AtomicU8>);

impl Simulated {
    fn is(&self, fault: u8) {
        self.0.store(fault, Ordering::SeqCst);
    }
}

impl Service for Simulated {
    type Request = Request<'static>;
    type Response = Response;
    type Exception = ExceptionCode;
    type Future = Pin<Box<dyn Future<Output = Result<Response, ExceptionCode>> + Send>>;

    fn call(&self, request: Self::Request) -> Self::Future {
        let fault = self.0.load(Ordering::SeqCst);
        Box::pin(async move {
            if fault == SILENT {
                std::future::pending::<()>().await;
            }
            let bits =
                |start: u16, count: u16| (start..start + count).map(|at| at % 2 == 1).collect();
            let words = |start: u16, count: u16| (start..start + count).collect();
            match request {
                Request::ReadCoils(start, count) => Ok(Response::ReadCoils(bits(start, count))),
                Request::ReadDiscreteInputs(start, count) => {
                    Ok(Response::ReadDiscreteInputs(bits(start, count)))
                }
                Request::ReadInputRegisters(..) if fault == NO_INPUTS => {
                    Err(ExceptionCode::IllegalDataAddress)
                }
                Request::ReadInputRegisters(start, count) => {
                    let count = if fault == SHORT_INPUTS { count - 1 } else { count };
                    Ok(Response::ReadInputRegisters(words(start, count)))
                }
                Request::ReadHoldingRegisters(start, count) => {
                    Ok(Response::ReadHoldingRegisters(words(start, count)))
                }
                _ => Err(ExceptionCode::IllegalFunction),
            }
        })
    }
}

/// Serves until the handle is aborted; its connections end with it.
fn serve(listener: TcpListener, device: Simulated) -> JoinHandle<()> {
    tokio::spawn(async move {
        let accept = |stream, _| std::future::ready(Ok(Some((device.clone(), stream))));
        tcp::Server::new(listener).serve(&accept, |_| ()).await.unwrap();
    })
}

fn serve_rtu(listener: TcpListener, device: Simulated) -> JoinHandle<()> {
    tokio::spawn(async move {
        let accept = |stream, _| std::future::ready(Ok(Some((device.clone(), stream))));
        rtu_over_tcp::Server::new(listener).serve(&accept, |_| ()).await.unwrap();
    })
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn device(transport: &str) -> Device {
    let quantities = ["coil", "contact", "input", "holding"].map(|name| Quantity {
        name: name.to_owned(),
        unit: String::new(),
        number: Number::F64,
        range: None,
    });
    let mut profiles = Profiles::default();
    profiles.insert(Profile::new("four", quantities.to_vec()).unwrap());
    let text = format!("[[device]]\nname = \"simulated\"\ntransport = {transport}\n{FOUR}");
    Map::parse("four.toml", &text, &profiles).unwrap().devices()[0].clone()
}

fn by_tcp(address: &str) -> Device {
    device(&format!("{{ tcp = {address:?} }}"))
}

async fn sample(poller: &mut Poller) -> Sample {
    Sample { due: Instant::now(), values: poller.poll().await }
}

/// What a healthy device says: coil 3, input 2, register 100 × 0.5, registers 10 and 11, low one first.
const EXPECTED: [f64; 4] = [1.0, 0.0, 50.0, (11 * 65_536 + 10) as f64];

fn assert_good(sample: &Sample) {
    assert_eq!(sample.numbers(), EXPECTED, "{sample:?}");
    assert_eq!(sample.status(), Status::GOOD);
    assert!((0..4).all(|index| sample.reason(index).is_none()));
}

fn only_trouble(sample: &Sample) -> Trouble {
    assert_eq!(sample.status().quality(), Quality::Bad);
    assert!(sample.numbers().iter().all(|value| value.is_nan()));
    let first = sample.values[0].clone().unwrap_err();
    assert!(sample.values.iter().all(|value| value.as_ref().err() == Some(&first)), "{sample:?}");
    first
}

#[tokio::test]
async fn all_four_kinds_by_tcp_and_by_rtu_over_tcp() {
    let (socket, address) = listener().await;
    serve(socket, Simulated::default());
    assert_good(&sample(&mut Poller::new(by_tcp(&address))).await);

    let (socket, address) = listener().await;
    serve_rtu(socket, Simulated::default());
    let device = device(&format!("{{ rtu_over_tcp = {address:?} }}"));
    assert_good(&sample(&mut Poller::new(device)).await);
}

#[tokio::test]
async fn an_exception_and_a_short_answer_spoil_their_own_points_alone() {
    let (socket, address) = listener().await;
    let simulated = Simulated::default();
    serve(socket, simulated.clone());
    let mut poller = Poller::new(by_tcp(&address));
    for (fault, trouble) in [
        (NO_INPUTS, Trouble::Exception(2)),
        (SHORT_INPUTS, Trouble::Length { expected: 1, got: 0 }),
    ] {
        simulated.is(fault);
        let spoilt = sample(&mut poller).await;
        assert_eq!(spoilt.values[2], Err(trouble.clone()));
        assert_eq!(spoilt.reason(2), Some(trouble.to_string()));
        for index in [0, 1, 3] {
            assert_eq!(spoilt.values[index].as_ref().unwrap().value, EXPECTED[index]);
        }
        assert_eq!(spoilt.status(), Status::GOOD, "the others are");
        simulated.is(HEALTHY);
        assert_good(&sample(&mut poller).await);
    }
}

#[tokio::test]
async fn a_silent_device_costs_one_timeout_and_comes_back() {
    let (socket, address) = listener().await;
    let simulated = Simulated::default();
    serve(socket, simulated.clone());
    let timeout = Duration::from_millis(200);
    let mut poller = Poller::new(Device { timeout, ..by_tcp(&address) });
    assert_good(&sample(&mut poller).await);
    simulated.is(SILENT);
    let started = Instant::now();
    assert_eq!(only_trouble(&sample(&mut poller).await), Trouble::Silent(timeout));
    assert!(started.elapsed() >= timeout);
    simulated.is(HEALTHY);
    assert_good(&sample(&mut poller).await);
}

#[tokio::test]
async fn a_restarted_device_costs_no_sample_and_a_dead_one_is_tried_again() {
    let (socket, address) = listener().await;
    let server = serve(socket, Simulated::default());
    let mut poller = Poller::new(by_tcp(&address));
    assert_good(&sample(&mut poller).await);
    server.abort();
    server.await.unwrap_err();
    let server = serve(TcpListener::bind(&address).await.unwrap(), Simulated::default());
    assert_good(&sample(&mut poller).await);

    server.abort();
    server.await.unwrap_err();
    for _ in 0..3 {
        assert!(matches!(only_trouble(&sample(&mut poller).await), Trouble::Connect(_)));
    }
    serve(TcpListener::bind(&address).await.unwrap(), Simulated::default());
    let mut samples = 0;
    while sample(&mut poller).await.status() != Status::GOOD {
        samples += 1;
        assert!(samples < 10, "it comes back after a few ticks");
    }
}

/// Answers each request with what `answer` makes of it.
async fn lying(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> String {
    let (socket, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = socket.accept().await.unwrap();
            let mut request = [0; 12];
            while stream.read_exact(&mut request).await.is_ok() {
                if stream.write_all(&answer(&request)).await.is_err() {
                    break;
                }
            }
        }
    });
    address
}

#[tokio::test]
async fn answers_to_something_else_are_no_values() {
    // Transaction, protocol, length, unit, function, bytes, one coil: as it would be right, and then altered.
    let right = |request: &[u8]| {
        let mut answer = request[..4].to_vec();
        answer.extend([0, 4, request[6], request[7], 1, 1]);
        answer
    };
    for (at, by) in [(0, 1), (6, 1), (7, 1)] {
        let address = lying(move |request| {
            let mut answer = right(request);
            answer[at] ^= by;
            answer
        })
        .await;
        let trouble = only_trouble(&sample(&mut Poller::new(by_tcp(&address))).await);
        assert!(matches!(trouble, Trouble::Foreign(_) | Trouble::Broken(_)), "{at}: {trouble:?}");
    }
}

#[tokio::test]
async fn garbage_is_no_value_and_kills_nobody() {
    // A generator with a fixed seed: the same garbage in every run.
    let state = Arc::new(Mutex::new(0x9E37_79B9_7F4A_7C15_u64));
    let byte = move || {
        let mut state = state.lock().unwrap();
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 32) as u8
    };
    let address = lying(move |request| {
        let length = byte() % 64;
        let mut answer: Vec<u8> = (0..length).map(|_| byte()).collect();
        // Half of it behind a header that fits.
        if byte() % 2 == 0 {
            let mut whole = request[..4].to_vec();
            whole.extend([0, length, request[6]]);
            whole.append(&mut answer);
            return whole;
        }
        answer
    })
    .await;
    for _ in 0..100 {
        for transport in ["tcp", "rtu_over_tcp"] {
            let mut device = device(&format!("{{ {transport} = {address:?} }}"));
            device.timeout = Duration::from_millis(2);
            let sample = sample(&mut Poller::new(device)).await;
            assert_ne!(sample.numbers(), EXPECTED);
        }
    }
}

#[tokio::test]
async fn ticks_are_multiples_of_the_interval_whatever_the_device_does() {
    let (socket, address) = listener().await;
    let simulated = Simulated::default();
    serve(socket, simulated.clone());
    let (sender, mut samples) = tokio::sync::mpsc::unbounded_channel();
    let first = Instant::now();
    // A silent device takes longer than an interval: at least every fourth tick is missed.
    let (interval, timeout) = (Duration::from_millis(50), Duration::from_millis(75));
    let poller = Poller::new(Device { interval, timeout, ..by_tcp(&address) });
    let polling = tokio::spawn(poller.run(first, move |sample| sender.send(sample).unwrap()));
    let mut last = None;
    for index in 0..12 {
        simulated.is(if index % 4 == 3 { SILENT } else { HEALTHY });
        let sample = samples.recv().await.unwrap();
        let micros = sample.due.duration_since(first).as_micros();
        assert_eq!(micros % 50_000, 0, "sample {index}");
        assert!(last < Some(micros));
        last = Some(micros);
    }
    polling.abort();
}
