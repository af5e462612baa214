//! Two devices on one serial line, which is a pair of pseudo-terminals.

use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use vigia_modbus::map::{Device, Map};
use vigia_modbus::poll::{Lines, Sample};
use vigia_protocol::profile::{Number, Profile, Profiles, Quantity};
use vigia_protocol::quality::{Quality, Status};

/// What the plant's side of the line answers: units with an even number hold their own, others are dead.
fn serve(mut line: File) {
    let mut request = [0; 8];
    while line.read_exact(&mut request).is_ok() {
        let [unit, function, .., count, _, _] = request;
        if unit % 2 == 1 {
            continue;
        }
        let mut answer = vec![unit, function, 2 * count];
        (0..count).for_each(|_| answer.extend([0, unit]));
        answer.extend(crc(&answer).to_le_bytes());
        line.write_all(&answer).unwrap();
    }
}

/// CRC-16 of MSL 6.2.2.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0xA001 } else { 0 }
        })
    })
}

fn devices(path: &str) -> Vec<Device> {
    let quantities = vec![Quantity {
        name: "own".to_owned(),
        unit: String::new(),
        number: Number::F64,
        range: None,
    }];
    let mut profiles = Profiles::default();
    profiles.insert(Profile::new("one", quantities).unwrap());
    let device = |unit: u8| {
        format!(
            "[[device]]\nname = \"unit-{unit}\"\ntransport = {{ serial = {path:?}, baud = 115200 }}\nunit = {unit}\n\
             interval_ms = 1000\ntimeout_ms = 200\nsensor = {unit}\nprofile = \"one\"\n\
             [[device.point]]\nquantity = \"own\"\nreference = \"40001\"\ntype = \"u16\"\n"
        )
    };
    let text = [2, 3, 4].map(device).concat();
    Map::parse("line.toml", &text, &profiles).unwrap().devices().to_vec()
}

#[tokio::test]
async fn devices_on_a_line_take_turns_and_a_dead_one_costs_its_timeout() {
    let plant = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&plant).unwrap();
    unlockpt(&plant).unwrap();
    let path = ptsname(&plant, Vec::new()).unwrap().into_string().unwrap();
    // Open for the whole test: where nobody has the other side open, a terminal is hung up.
    let _open = File::open(&path).unwrap();
    std::thread::spawn(move || serve(File::from(plant)));

    let mut lines = Lines::default();
    let polling = devices(&path).into_iter().map(|device| {
        let mut poller = lines.poller(device);
        tokio::spawn(async move {
            let began = Instant::now();
            let due = tokio::time::Instant::now();
            let sample = Sample { due, values: poller.poll().await };
            (sample, began.elapsed())
        })
    });
    let polling: Vec<_> = polling.collect();
    let mut samples = Vec::new();
    for one in polling {
        samples.push(one.await.unwrap());
    }
    let [(two, _), (three, _), (four, last)] = samples.as_slice() else { panic!("{samples:?}") };
    assert_eq!((two.numbers(), two.status()), (vec![2.0], Status::GOOD), "{two:?}");
    assert_eq!(three.status().quality(), Quality::Bad, "{three:?}");
    assert_eq!((four.numbers(), four.status()), (vec![4.0], Status::GOOD), "{four:?}");
    let timeout = Duration::from_millis(200);
    assert!(*last >= timeout && *last < 2 * timeout, "it waited for the dead one's turn: {last:?}");
}
