//! The poller against simulated devices: what they say is what the map means, and each fault is seen as what it is.

use std::time::Duration;

use vigia_kit::shutdown::{Shutdown, Switch};
use vigia_modbus::link::Trouble;
use vigia_modbus::map::{Device, Map, Transport};
use vigia_modbus::poll::{Poller, Sample};
use vigia_modbus::simulator::Simulator;
use vigia_modbus::simulator::fault::{Fault, Faults};
use vigia_modbus::simulator::serve::Listen;
use vigia_protocol::profile::{Number, Profile, Profiles, Quantity};
use vigia_protocol::quality::Status;

/// Every type in every order, and bits of all sorts; the second device is behind the same gateway.
fn map() -> Map {
    let mut quantities = Vec::new();
    let mut points = String::new();
    let mut point = |name: String, rest: String| {
        points.push_str(&format!("  {{ quantity = {name:?}, {rest} }},\n"));
        let quantity = Quantity { name, unit: String::new(), number: Number::F64, range: None };
        quantities.push(quantity);
    };
    for (index, (what, order)) in
        [("i16", "BADC"), ("u16", "ABCD"), ("i32", "ABCD"), ("u32", "CDAB"), ("i64", "BADC")]
            .into_iter()
            .chain([("u64", "DCBA"), ("f32", "CDAB"), ("f32", "DCBA"), ("f64", "BADC")])
            .enumerate()
    {
        point(
            format!("number_{index}"),
            format!(
                "kind = \"holding\", address = {}, type = {what:?}, order = {order:?}, \
                 scale = 0.01, offset = 5, valid = [10, 60]",
                10 * index
            ),
        );
    }
    point("wide".to_owned(), "reference = \"30001\", type = \"u16\"".to_owned());
    point("bit".to_owned(), "reference = \"40101\", type = \"bool\", bit = 3".to_owned());
    point("other_bit".to_owned(), "reference = \"40101\", type = \"bool\", bit = 4".to_owned());
    point("coil".to_owned(), "reference = \"00004\", type = \"bool\"".to_owned());
    point("contact".to_owned(), "reference = \"10004\", type = \"bool\"".to_owned());
    let mut profiles = Profiles::default();
    profiles.insert(Profile::new("all", quantities).unwrap());
    let device = |name: &str, transport: &str, unit: u8, sensor: u8| {
        format!(
            "[[device]]\nname = {name:?}\ntransport = {transport}\nunit = {unit}\ninterval_ms = 1000\n\
             gap = 3\nsensor = {sensor}\nprofile = \"all\"\npoint = [\n{points}]\n"
        )
    };
    let text = [
        device("boiler", "{ tcp = \"gateway:502\" }", 1, 1),
        device("pump", "{ tcp = \"gateway:502\" }", 2, 2),
        device("serial", "{ rtu_over_tcp = \"converter:4001\" }", 9, 3),
    ];
    Map::parse("all.toml", &text.concat(), &profiles).unwrap()
}

/// The devices as they can be reached, their faults, and what ends them.
async fn simulate() -> (Vec<Device>, Faults, Switch) {
    let map = map();
    let simulator = Simulator::bind(&map, Listen::FreePorts).await.unwrap();
    let devices = map.devices().iter().zip(simulator.addresses()).map(|(device, address)| {
        let transport = match device.transport {
            Transport::RtuOverTcp(_) => Transport::RtuOverTcp(address.to_string()),
            _ => Transport::Tcp(address.to_string()),
        };
        Device { transport, ..device.clone() }
    });
    let devices = devices.collect();
    let faults = simulator.faults();
    let (switch, shutdown) = Shutdown::new();
    tokio::spawn(simulator.serve(shutdown));
    (devices, faults, switch)
}

async fn sample(poller: &mut Poller) -> Sample {
    Sample { due: tokio::time::Instant::now(), values: poller.poll().await }
}

fn assert_good(sample: &Sample) {
    assert_eq!(sample.status(), Status::GOOD, "{sample:?}");
    let numbers = sample.numbers();
    for (index, value) in numbers[..9].iter().enumerate() {
        assert!((10.0..=60.0).contains(value), "number {index}: {value}");
    }
    assert!((0.0..=100.0).contains(&numbers[9]));
    assert!(numbers[10..].iter().all(|value| [0.0, 1.0].contains(value)));
}

#[tokio::test]
async fn what_a_device_says_is_what_its_map_means_by_both_framings() {
    let (devices, _faults, _switch) = simulate().await;
    assert_eq!(devices[0].transport, devices[1].transport, "one gateway");
    for device in devices {
        assert_good(&sample(&mut Poller::new(device)).await);
    }
}

#[tokio::test]
async fn each_fault_is_seen_as_what_it_is_and_goes_away() {
    let (devices, faults, _switch) = simulate().await;
    let within = Duration::from_millis(200);
    for device in devices {
        let is_tcp = matches!(device.transport, Transport::Tcp(_));
        let (name, device) = (device.name.clone(), Device { timeout: within, ..device });
        let trouble = async |fault| {
            faults.set(&name, fault).unwrap();
            // Each fault meets who was not warned by the one before.
            let troubled = sample(&mut Poller::new(device.clone())).await;
            faults.set(&name, Fault::None).unwrap();
            assert!(troubled.numbers().iter().all(|value| value.is_nan()), "{fault}: {troubled:?}");
            troubled.values[0].clone().unwrap_err()
        };
        assert_eq!(trouble(Fault::Silence).await, Trouble::Silent(within));
        assert_eq!(trouble(Fault::Delay(10 * within)).await, Trouble::Silent(within));
        assert_eq!(trouble(Fault::Exception(4)).await, Trouble::Exception(4));
        assert!(matches!(trouble(Fault::Dead).await, Trouble::Broken(_)));
        assert!(matches!(trouble(Fault::WrongUnit).await, Trouble::Foreign(_)));
        let short = trouble(Fault::Short).await;
        assert!(matches!(short, Trouble::Length { .. }), "{short:?}");
        let garbage = trouble(Fault::Garbage).await;
        assert!(
            matches!(garbage, Trouble::Broken(_) | Trouble::Foreign(_) | Trouble::Silent(_)),
            "{is_tcp}: {garbage:?}"
        );
        assert_good(&sample(&mut Poller::new(device.clone())).await);
    }
}

#[tokio::test]
async fn a_fault_is_of_one_device_alone_and_a_short_delay_costs_nothing_but_time() {
    let (devices, faults, _switch) = simulate().await;
    faults.set("boiler", Fault::Silence).unwrap();
    faults.set("pump", Fault::Delay(Duration::from_millis(1))).unwrap();
    assert_good(&sample(&mut Poller::new(devices[1].clone())).await);
}

#[tokio::test]
async fn what_no_point_has_is_not_there_nor_is_a_unit_that_no_device_is() {
    let (devices, _faults, _switch) = simulate().await;
    let mut elsewhere = devices[0].clone();
    elsewhere.points[9].span =
        vigia_modbus::register::Span::new(vigia_modbus::register::Kind::Input, 1, 1).unwrap();
    let sample_elsewhere = sample(&mut Poller::new(elsewhere)).await;
    assert_eq!(sample_elsewhere.values[9], Err(Trouble::Exception(2)));
    let nobody = Device { unit: 3, ..devices[0].clone() };
    let nobody = sample(&mut Poller::new(nobody)).await;
    assert_eq!(nobody.values[0], Err(Trouble::Exception(11)));
}
