//! A map is taken whole or refused with its file, line, key, what was found and what is allowed.

use std::time::Duration;

use proptest::prelude::*;
use vigia_modbus::encoding::{Encoding, Order, Raw, Type};
use vigia_modbus::map::{Map, MapError, Parity, Serial, Transport};
use vigia_modbus::register::{Kind, Span};
use vigia_protocol::header::SensorId;
use vigia_protocol::profile::{Number, Profile, Profiles, Quantity};

const BOILER: &str = r#"
[[device]]
name = "boiler"
transport = { tcp = "10.0.0.5:502" }
unit = 1
interval_ms = 1000
sensor = 12
profile = "boiler"

[[device.point]]
quantity = "energy"
kind = "input"
address = 16
type = "u64"
order = "CDAB"

[[device.point]]
quantity = "flow"
reference = "40001"
type = "i16"
scale = 0.1
offset = -40
unit = "°C"
bad = [-32768]
valid = [-30, 120]

[[device.point]]
quantity = "burning"
reference = "10010"
type = "bool"
"#;

fn quantity(name: &str, unit: &str, number: Number) -> Quantity {
    Quantity { name: name.to_owned(), unit: unit.to_owned(), number, range: None }
}

fn profiles() -> Profiles {
    let quantities = vec![
        quantity("flow", "°C", Number::F32),
        quantity("energy", "kWh", Number::F64),
        quantity("burning", "", Number::F32),
    ];
    let mut profiles = Profiles::default();
    profiles.insert(Profile::new("boiler", quantities).unwrap());
    profiles
}

fn parse(text: &str) -> Result<Map, MapError> {
    Map::parse("plant.toml", text, &profiles())
}

/// The map with one line replaced; how the error reads.
fn refused(line: &str, by: &str) -> String {
    assert!(BOILER.contains(&format!("\n{line}\n")), "{line:?}");
    let error =
        parse(&BOILER.replacen(&format!("\n{line}\n"), &format!("\n{by}\n"), 1)).unwrap_err();
    error.to_string()
}

#[test]
fn a_map_in_both_notations() {
    let map = parse(BOILER).unwrap();
    let [device] = map.devices() else { panic!("one device") };
    assert_eq!(device.transport, Transport::Tcp("10.0.0.5:502".to_owned()));
    assert_eq!((device.unit, device.gap, device.sensor), (1, 0, SensorId(12)));
    assert_eq!(device.interval, Duration::from_secs(1));
    let [flow, energy, burning] = &device.points[..] else { panic!("three points") };
    assert_eq!(flow.quantity, "flow", "in the profile's order, not the file's");
    assert_eq!(flow.span, Span::new(Kind::Holding, 0, 1).unwrap());
    assert_eq!(flow.encoding, Encoding::Number(Type::I16, Order::Abcd));
    assert_eq!((flow.scale, flow.offset, flow.valid), (0.1, -40.0, Some([-30.0, 120.0])));
    assert_eq!(flow.bad, [Raw::Integer(-32768)]);
    assert_eq!(energy.span, Span::new(Kind::Input, 16, 4).unwrap());
    assert_eq!(energy.encoding, Encoding::Number(Type::U64, Order::Cdab));
    assert_eq!(energy.number, Number::F64);
    assert_eq!(burning.span, Span::new(Kind::Discrete, 9, 1).unwrap());
    assert_eq!(burning.encoding, Encoding::Bit);
}

#[test]
fn every_transport() {
    let transport = |text: &str| {
        let line = format!("transport = {text}");
        let text = BOILER.replace(r#"transport = { tcp = "10.0.0.5:502" }"#, &line);
        parse(&text).map(|map| map.devices()[0].transport.clone())
    };
    assert_eq!(
        transport(r#"{ rtu_over_tcp = "[2001:db8::1]:4001" }"#).unwrap(),
        Transport::RtuOverTcp("[2001:db8::1]:4001".to_owned())
    );
    let serial = Serial {
        path: "/dev/ttyUSB0".to_owned(),
        baud: 19_200,
        parity: Parity::Even,
        stop_bits: 1,
    };
    let standard = transport(r#"{ serial = "/dev/ttyUSB0" }"#).unwrap();
    assert_eq!(standard, Transport::Serial(serial.clone()));
    let other = transport(r#"{ serial = "/dev/ttyUSB0", baud = 9600, parity = "none" }"#).unwrap();
    let expected = Serial { baud: 9_600, parity: Parity::None, stop_bits: 2, ..serial };
    assert_eq!(other, Transport::Serial(expected));
    for bad in [
        r#""10.0.0.5:502""#,
        "{}",
        r#"{ tcp = "10.0.0.5" }"#,
        r#"{ tcp = "10.0.0.5:0" }"#,
        r#"{ tcp = "2001:db8::1:502" }"#,
        r#"{ tcp = ":502" }"#,
        r#"{ tcp = "a:1", rtu_over_tcp = "a:1" }"#,
        r#"{ tcp = "a:1", baud = 9600 }"#,
        r#"{ serial = "ttyUSB0" }"#,
        r#"{ serial = "/dev/ttyUSB0", baud = 1 }"#,
        r#"{ serial = "/dev/ttyUSB0", stop_bits = 3 }"#,
        r#"{ serial = "/dev/ttyUSB0", parity = "mark" }"#,
    ] {
        assert_eq!(transport(bad).unwrap_err().line, 4, "{bad}");
    }
}

#[test]
fn an_error_reads_like_this() {
    assert_eq!(
        refused(r#"type = "i16""#, r#"type = "i128""#),
        "plant.toml, line 20: device.point.type = \"i128\", expected one of bool, i16, u16, i32, u32, \
         i64, u64, f32, f64"
    );
    assert_eq!(
        refused("unit = 1", "unit = 256"),
        "plant.toml, line 5: device.unit = 256, expected 0 to 255"
    );
    assert_eq!(
        refused("unit = 1", "units = 1"),
        "plant.toml, line 2: device.unit is missing, expected 0 to 255"
    );
    assert_eq!(
        refused("sensor = 12", "sensor = 12\ncolour = 1"),
        "plant.toml, line 8: device.colour is unknown, expected one of name, transport, unit, \
         interval_ms, timeout_ms, gap, sensor, profile, point"
    );
    assert_eq!(
        refused("bad = [-32768]", "bad = [-32768, 0xFFFF]"),
        "plant.toml, line 24: device.point.bad = 0xFFFF, expected integers from -32768 to 32767, as \
         the device says them"
    );
    assert_eq!(
        refused("profile = \"boiler\"", "profile = \"pump\""),
        "plant.toml, line 8: device.profile = \"pump\", expected a profile of the site: boiler, climate"
    );
}

#[test]
fn an_address_is_never_ambiguous() {
    let reference = r#"reference = "40001""#;
    for (by, line) in [
        // A number could be either notation.
        ("reference = 40001", 19),
        ("address = 0", 17),
        (r#"reference = "40000""#, 19),
        (r#"reference = "20001""#, 19),
        ("reference = \"40001\"\naddress = 0", 20),
        ("reference = \"40001\"\nkind = \"input\"", 20),
        ("kind = \"holding\"", 17),
        ("kind = \"holding\"\naddress = 65536", 20),
        ("kind = \"holding\"\naddress = -1", 20),
        ("kind = \"register\"\naddress = 1", 19),
        // It would have to be a bool.
        (r#"reference = "10001""#, 20),
    ] {
        let error = refused(reference, by);
        assert!(error.starts_with(&format!("plant.toml, line {line}: ")), "{by}: {error}");
    }
    // To say the kind twice is allowed, if it is the same.
    let text = BOILER.replace(reference, "reference = \"400001\"\nkind = \"holding\"");
    assert_eq!(parse(&text).unwrap(), parse(BOILER).unwrap());
    assert!(refused("address = 16", "address = 65533").contains("line 13"));
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (line, by) in [
        ("sensor = 12", "sensor = 32768"),
        ("interval_ms = 1000", "interval_ms = 0"),
        ("interval_ms = 1000", "interval_ms = 1000\ntimeout_ms = 1001"),
        ("interval_ms = 1000", "interval_ms = 1.5"),
        ("name = \"boiler\"", "name = \"Boiler 1\""),
        ("quantity = \"flow\"", "quantity = \"energy\""),
        ("quantity = \"flow\"", "quantity = \"pressure\""),
        // The profile has it as f32.
        ("type = \"i16\"", "type = \"i64\""),
        ("type = \"i16\"", "type = \"bool\""),
        ("type = \"i16\"", "type = \"i16\"\nbit = 3"),
        ("type = \"bool\"", "type = \"bool\"\norder = \"ABCD\""),
        ("type = \"bool\"", "type = \"bool\"\nbit = 0"),
        ("type = \"bool\"", "type = \"bool\"\nscale = 2"),
        ("type = \"bool\"", "type = \"bool\"\nbad = [1]"),
        ("order = \"CDAB\"", "order = \"cdab\""),
        ("scale = 0.1", "scale = 0"),
        ("scale = 0.1", "scale = nan"),
        ("offset = -40", "offset = inf"),
        ("unit = \"°C\"", "unit = \"°F\""),
        ("valid = [-30, 120]", "valid = [120, -30]"),
        ("valid = [-30, 120]", "valid = [120]"),
    ] {
        refused(line, by);
    }
    let (_, without_energy) = BOILER.split_once("[[device.point]]\nquantity = \"flow\"").unwrap();
    let (head, _) = BOILER.split_once("[[device.point]]").unwrap();
    let text = format!("{head}[[device.point]]\nquantity = \"flow\"{without_energy}");
    assert_eq!(parse(&text).unwrap_err().line, 2, "a quantity without a point");
    for empty in ["", "device = []", "[[device]]", "[device]", "device = 1"] {
        parse(empty).unwrap_err();
    }
    assert_eq!(parse(&format!("{BOILER}{BOILER}")).unwrap_err().line, 33, "the same name");
}

#[test]
fn a_bool_in_a_register_says_which_bit() {
    let text = BOILER.replace(
        "reference = \"10010\"\ntype = \"bool\"",
        "reference = \"40010\"\ntype = \"bool\"\nbit = 15",
    );
    let map = parse(&text).unwrap();
    assert_eq!(map.devices()[0].points[2].encoding, Encoding::RegisterBit(15));
}

#[test]
fn the_example_is_a_map() {
    let quantities = vec![
        quantity("flow_temperature", "°C", Number::F32),
        quantity("energy", "kWh", Number::F64),
        quantity("fault", "", Number::F32),
        quantity("burning", "", Number::F32),
    ];
    let mut profiles = Profiles::default();
    profiles.insert(Profile::new("boiler", quantities).unwrap());
    let example = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/example.toml"));
    let map = Map::load(example, &profiles).unwrap();
    let text = std::fs::read_to_string(example).unwrap();
    // What stands there as the default is one, and what stands there as another choice is allowed.
    let told = text.replace("# timeout_ms", "timeout_ms");
    assert_eq!(Map::parse("example", &told, &profiles).unwrap(), map);
    let other = text.replace("reference = \"40001\"", "").replace("# kind", "kind");
    let other = other.replace("# address", "address");
    assert_eq!(Map::parse("example", &other, &profiles).unwrap(), map);
    let tcp = "transport = { tcp = \"10.0.0.5:502\" }";
    for way in ["rtu_over_tcp", "serial"] {
        let choice = format!("transport = {{ {way}");
        let other = text.replace(tcp, "").replace(&format!("# {choice}"), &choice);
        Map::parse("example", &other, &profiles).unwrap();
    }
}

#[test]
fn a_file_is_read_with_its_name() {
    let error = Map::load(std::path::Path::new("/nowhere/plant.toml"), &profiles()).unwrap_err();
    assert_eq!(error.file, "/nowhere/plant.toml");
}

proptest! {
    /// A damaged map is taken or refused in a sentence; never a panic, never a line that is not there.
    #[test]
    fn any_damage_is_a_sentence(at in 0..BOILER.len(), cut in 0..40_usize, by in "[ -~\n]{0,6}") {
        let at = BOILER.floor_char_boundary(at);
        let end = BOILER.ceil_char_boundary((at + cut).min(BOILER.len()));
        let text = format!("{}{by}{}", &BOILER[..at], &BOILER[end..]);
        if let Err(error) = parse(&text) {
            prop_assert!((1..=text.lines().count() + 1).contains(&error.line));
            prop_assert!(!error.found.is_empty() && !error.allowed.is_empty());
        }
    }
}
